"""Fetching what ads spent: 300 accounts of 500 ads over 28 days into PostgreSQL, beside singer's tap-facebook, which stores nothing.

The sandbox runs in a process of its own (ads_meta.py). The tap takes one account a run and one day a report; it is run for a few
accounts, and its time for 300 follows from them.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from statistics import median
from uuid import UUID

import msgspec
import uvloop

from benchmarks.ads_meta import ADS, CURRENCY, DAYS, ZONE, AdsMeta, Served, account_number
from benchmarks.database import Cluster, connect
from benchmarks.processes import cpu_s, in_process
from whatrack import flow
from whatrack.connections.keys import Keys
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.inbox import days
from whatrack.insights import schedule
from whatrack.insights.sync import Syncer
from whatrack.meta import insights
from whatrack.meta.graph import Graph
from whatrack.sandbox.graph import NEWEST
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id
from whatrack.workers import FETCHERS

TAP = "tap-facebook==1.26.0"
SEALER = Sealer(["a-key-for-the-benchmark-and-nothing-else"])
SETUP = (
    b"""INSERT INTO meta_connections (organization_id, id, fb_user_id, fb_user_name, access_token, token_app_id, checked_at,
            check_after, list_after, created_by) VALUES (%(org)s, %(profile)s, '1', 'Ana', %(token)s, '', now(), now() + interval '1 day',
            now() + interval '1 day', 'bench')""",
    b"""INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name,
            connection_id, is_active, seen_at)
        SELECT %(org)s, gen_random_uuid(), 'act_' || n, n, 1, %(currency)s, %(zone)s, %(profile)s, true, now()
        FROM unnest(%(numbers)s::text[]) AS n""",
    b"""INSERT INTO meta_ad_account_access SELECT organization_id, id, %(profile)s FROM meta_ad_accounts WHERE organization_id = %(org)s""",
)
CHECK = b"""SELECT count(*), coalesce(sum(f.spend), 0) FROM meta_ad_insights_daily f
JOIN meta_ad_accounts a ON a.organization_id = f.organization_id AND a.ref = f.account_ref
WHERE f.organization_id = %s AND f.day < (SELECT max(day) FROM insight_days WHERE organization_id = %s)"""


class Ours(msgspec.Struct, frozen=True):
    """A run of ours. client_s and postgres_s: CPU; calls: of Meta; again_*: the same days once more, nothing restated."""

    accounts: int
    wall_s: float
    client_s: float
    postgres_s: float
    calls: int
    rows: int
    again_s: float
    memory_mb: float


class Tap(msgspec.Struct, frozen=True):
    """Runs of the tap, one account each: medians of the runs. records: it wrote to its stdout, all runs together."""

    runs: int
    wall_s: float
    client_s: float
    calls: float
    records: int


class InsightsResult(msgspec.Struct, frozen=True):
    """What was measured. faster, less_cpu, fewer_calls: the tap's, for as many accounts, over ours."""

    ours: Ours
    tap: Tap
    faster: float
    less_cpu: float
    fewer_calls: float


def measure(running: Cluster, *, quick: bool) -> InsightsResult:
    """Both, against the same sandbox. Both ask once before, so that the sandbox has its answers ready."""
    accounts, runs = (12, 1) if quick else (300, 3)
    with tempfile.TemporaryDirectory(prefix="whatrack-tap-") as text, Served(accounts) as served:
        folder = Path(text)
        python = _tap_environment(folder)
        in_process(_run, running.conninfo, running.pid, served.meta, "warm", 1)
        _tap(python, folder, served, 0)
        before = served.calls()
        ours = in_process(_run, running.conninfo, running.pid, served.meta, "measured", accounts)
        ours = msgspec.structs.replace(ours, calls=(served.calls() - before) // 2)
        tap = _median([_tap(python, folder, served, place) for place in range(runs)])
    wall, cpu, calls = (each * accounts for each in (tap.wall_s, tap.client_s, tap.calls))
    return InsightsResult(
        ours, tap, wall / ours.wall_s, cpu / (ours.client_s + ours.postgres_s), calls / ours.calls
    )


def _run(conninfo: str, server_pid: int, meta: AdsMeta, slug: str, accounts: int) -> Ours:
    return uvloop.run(_ours(conninfo, server_pid, meta, slug, accounts))


async def _ours(conninfo: str, server_pid: int, meta: AdsMeta, slug: str, accounts: int) -> Ours:
    db = Database(conninfo)
    await db.open()
    await days.ensure_days(db)
    organization = await _connected(db, meta, slug, accounts)
    graph, keys = Graph(meta.url, NEWEST), Keys(SEALER, None)
    syncers = [Syncer(db, db.system, graph, keys, depth=DAYS - 1)] * FETCHERS
    wall, client, postgres = time.perf_counter(), time.process_time(), cpu_s(server_pid)
    await _until_done(db, syncers)
    first = time.perf_counter() - wall, time.process_time() - client, cpu_s(server_pid) - postgres
    found = _checked(conninfo, organization, meta, accounts)
    _make_due(conninfo, organization)
    began = time.perf_counter()
    await _until_done(db, syncers)
    again_s = time.perf_counter() - began
    await graph.close()
    await db.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return Ours(accounts, *first, 0, found, again_s, memory)


async def _connected(db: Database, meta: AdsMeta, slug: str, accounts: int) -> UUID:
    """An organization whose one profile sees the accounts, all of them on."""
    made = await flow.open_organization(db, Organization(new_id(), slug.title(), f"insights-{slug}"))
    values = {
        "org": made.id,
        "profile": new_id(),
        "token": SEALER.seal(meta.token),
        "currency": CURRENCY,
        "zone": ZONE,
        "numbers": [account_number(place) for place in range(accounts)],
    }
    async with db.system() as conn:
        for statement in SETUP:
            await conn.execute(statement, values)
    return made.id


async def _until_done(db: Database, syncers: list[Syncer]) -> None:
    async with db.system() as conn:
        await schedule.follow_accounts(conn)

    async def run(syncer: Syncer) -> None:
        while await syncer.step():
            pass

    await asyncio.gather(*(run(each) for each in syncers))


def _checked(conninfo: str, organization: UUID, meta: AdsMeta, accounts: int) -> int:
    """How many rows are kept; RuntimeError unless every day but today is what the sandbox knows, to the cent."""
    with connect(conninfo) as conn:
        kept = conn.execute(CHECK, [organization, organization]).fetchone()
        count = b"SELECT count(*) FROM meta_ad_insights_daily WHERE organization_id = %s"
        whole = conn.execute(count, [organization]).fetchone()
    if kept != (meta.rows * accounts, meta.spend * accounts) or whole is None:
        raise RuntimeError(f"fetched {kept}, and not {meta.rows * accounts, meta.spend * accounts}")
    return int(whole[0])


def _make_due(conninfo: str, organization: UUID) -> None:
    with connect(conninfo) as conn:
        conn.execute(b"UPDATE insight_days SET due_at = now() WHERE organization_id = %s", [organization])
        conn.execute(
            b"UPDATE insight_accounts SET next_at = now() WHERE organization_id = %s", [organization]
        )


def _tap_environment(folder: Path) -> Path:
    """The tap in an environment of its own; its Python."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", TAP], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    return python


def _tap(python: Path, folder: Path, served: Served, place: int) -> Tap:
    meta, before = served.meta, served.calls()
    script = Path(__file__).with_name("tap_peer.py")
    arguments = [
        str(folder),
        meta.url,
        meta.token,
        account_number(place),
        meta.since,
        meta.until,
        insights.FIELDS,
    ]
    output = folder / "records.jsonl"
    wall, used = time.perf_counter(), _children_s()
    with output.open("wb") as records:
        subprocess.run([python, script, *arguments], check=True, stdout=records, env={**os.environ, "PYTHONHASHSEED": "0"})  # fmt: skip
    wall_s, client_s = time.perf_counter() - wall, _children_s() - used
    count = sum(b'"RECORD"' in line for line in output.open("rb"))
    if not meta.rows <= count <= ADS * DAYS:
        sys.exit(f"tap-facebook gave {count} records, and not {meta.rows} or today's more")
    return Tap(1, wall_s, client_s, served.calls() - before, count)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(runs: list[Tap]) -> Tap:
    return Tap(
        len(runs),
        median(each.wall_s for each in runs),
        median(each.client_s for each in runs),
        median(each.calls for each in runs),
        sum(each.records for each in runs),
    )

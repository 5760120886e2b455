"""How fast the report is where one organization has 10,000,000 ad-days, 1,000,000 tickets and 300 accounts.

The same rows for the same seed: every number is a hash of seed, account, ad and day, so nothing has to be kept. Rows are
written set by set as their writers would leave them; some account-days are then derived anew by the product and compared.
A whole run takes some five minutes, most of them to fill; --quick has a tenth of the accounts and takes less than one.
Nothing that was answered is kept: each page is asked for anew, the first time right after PostgreSQL was started.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any, LiteralString
from uuid import UUID

import msgspec
import psycopg

from benchmarks.database import Cluster, connect, open_shops
from benchmarks.processes import cpu_s
from whatrack.db import Database
from whatrack.db import now as clock
from whatrack.insights import rollups
from whatrack.roi import facts
from whatrack.roi import report as reports
from whatrack.roi.ask import Ask, Level, Within

SEED = 20261126
ACCOUNTS, DAYS, SLOTS, LIFE = 300, 366, 91, 120  # ads at a time in an account, and the days that one lives
TICKETS = 1_000_000
ROUNDS = 60
WRITERS = 2

ACCOUNT_ROWS: LiteralString = """
INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status, currency, timezone_name, is_active, seen_at)
SELECT %(organization)s, md5('account' || n)::uuid, 'act_' || 7000000 + n, 'Cliente ' || n, 1, CASE WHEN n %% 75 = 0 THEN 'USD' ELSE 'BRL' END,
       CASE WHEN n %% 50 = 1 THEN 'America/Manaus' ELSE 'America/Sao_Paulo' END, true, now()
FROM generate_series(1, %(accounts)s) AS n
"""
# An account's ads by slot and generation; a campaign has about ten of them at a time, an ad set three.
AD_ROWS: LiteralString = """
INSERT INTO meta_ads (organization_id, meta_ad_id, name, effective_status, meta_ad_set_id, meta_ad_set_name, meta_campaign_id,
                      meta_campaign_name, meta_account_id, fetched_at)
SELECT %(organization)s, format('23%%s%%s%%s', lpad(a::text, 4, '0'), lpad(s::text, 3, '0'), g), format('Anúncio %%s-%%s de %%s', s, g, a),
       CASE WHEN (s + g) %% 7 = 0 THEN 'PAUSED' WHEN g < %(generations)s - 2 THEN 'DELETED' ELSE 'ACTIVE' END,
       format('22%%s%%s%%s', lpad(a::text, 4, '0'), lpad((s / 3)::text, 3, '0'), g), format('Conjunto %%s-%%s', s / 3, g),
       format('21%%s%%s%%s', lpad(a::text, 4, '0'), lpad((s / 10)::text, 3, '0'), g), format('Campanha %%s-%%s', s / 10, g),
       (7000000 + a)::text, now()
FROM generate_series(1, %(accounts)s) AS a, generate_series(0, %(slots)s - 1) AS s, generate_series(0, %(generations)s - 1) AS g
ORDER BY a, g, s
"""
AD_DAYS: LiteralString = """
INSERT INTO meta_ad_insights_daily
SELECT %(organization)s, account.ref, %(first)s::date + d, ad.ref, 300 + (h & 16383), 900 + (h >> 3 & 4095), 800 + (h >> 5 & 2047),
       30 + (h >> 7 & 127), 20 + (h >> 9 & 63), (h >> 11 & 15), (h >> 13 & 3), CASE WHEN h & 31 = 0 THEN 1 ELSE 0 END,
       CASE WHEN h & 31 = 0 THEN 15000 ELSE 0 END
FROM meta_ad_accounts account
JOIN LATERAL (SELECT row_number() OVER (ORDER BY m.ref) - 1 AS place, m.ref FROM meta_ads m
    WHERE m.organization_id = %(organization)s AND m.meta_account_id = substr(account.ad_account_id, 5)) AS ad ON true
CROSS JOIN LATERAL generate_series(0, %(days)s - 1) AS d
CROSS JOIN LATERAL (SELECT hashint8(%(seed)s::bigint * 7919 + ad.ref::bigint * 1000003 + d)::bigint & 1073741823 AS h) AS chance
WHERE account.organization_id = %(organization)s AND account.ref = ANY(%(refs)s)
AND (d + (ad.place %% %(slots)s) * 7 %% %(life)s) / %(life)s = ad.place / %(slots)s
ORDER BY account.ref, d, ad.ref
"""
SMALLEST = min(rollups.STEPS)
SUM_SMALLEST: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, days, {rollups.COLUMNS})
SELECT organization_id, account_ref, %(size)s, floor((day - date '2000-01-01')::numeric / %(size)s)::int, ad_ref, count(*), {rollups.SUMS}
FROM meta_ad_insights_daily WHERE account_ref = ANY(%(refs)s) GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
"""
SUM_LARGER: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, days, {rollups.COLUMNS})
SELECT organization_id, account_ref, %(size)s, (block - p.place) / %(ratio)s, ad_ref, sum(days), {rollups.SUMS}
FROM insight_ad_blocks CROSS JOIN unnest(%(parts)s::int[]) AS p (place)
WHERE account_ref = ANY(%(refs)s) AND size = %(part)s AND (block - p.place) %% %(ratio)s = 0 GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3, 4, 5
"""
SUM_PARENTS: LiteralString = """
SELECT sum_insight_blocks(%(organization)s, account_ref, array_agg(size), array_agg(block))
FROM (SELECT DISTINCT account_ref, 1 AS size, day - date '2000-01-01' AS block FROM meta_ad_insights_daily WHERE account_ref = ANY(%(refs)s)
      UNION ALL SELECT DISTINCT account_ref, size, block FROM insight_ad_blocks WHERE account_ref = ANY(%(refs)s)) AS b GROUP BY account_ref
"""
# One person a ticket. seven in ten from an ad; of the leads a third qualified, a tenth sold, one sale in thirty partly given back.
PEOPLE: LiteralString = """
INSERT INTO contacts (organization_id, id, created_at)
SELECT %(organization)s, md5('contact' || n)::uuid, now() FROM generate_series(%(from)s::int, %(to)s::int) AS n
"""
TICKET_ROWS: LiteralString = """
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, deal_value, currency, source, follow_up,
                     opened_at, last_message_at, active_at, closed_at, won_at, created_at, updated_at)
SELECT %(organization)s, md5('ticket' || n)::uuid, md5('contact' || n)::uuid, %(number)s, s.id,
       CASE WHEN won THEN 'closed' ELSE 'open' END, CASE WHEN won THEN 'WON' END, CASE WHEN won THEN 50 + (h & 4095) / 4.0 END, 'BRL', 'message',
       h & 63 = 0, at, at, at, CASE WHEN won THEN sold END, CASE WHEN won THEN sold END, at, at
FROM (SELECT n, h, at, h %% 10 = 0 AS won, at + make_interval(hours => (h >> 5 & 255)::int) AS sold
      FROM generate_series(%(from)s::int, %(to)s::int) AS n
      CROSS JOIN LATERAL (SELECT hashint8(%(seed)s::bigint + n)::bigint & 1073741823 AS h) AS chance
      CROSS JOIN LATERAL (SELECT %(first)s::date + make_interval(secs => n::float * %(days)s * 86400 / %(tickets)s) AS at) AS moment) AS t
JOIN stages s ON s.organization_id = %(organization)s AND s.role = CASE WHEN won THEN 'won' ELSE 'new' END
"""
TRACKING_ROWS: LiteralString = """
INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_ad_id, meta_enrichment_status, ctwa_clid, last_touch_at,
                             first_touch_at, first_source_type)
SELECT %(organization)s, md5('ticket' || n)::uuid, kind, CASE WHEN kind = 'ad' THEN format('23%%s%%s%%s', lpad(a::text, 4, '0'),
           lpad(s::text, 3, '0'), (d + s * 7 %% %(life)s) / %(life)s) END,
       CASE WHEN kind = 'ad' THEN 'COMPLETED' ELSE 'NOT_APPLICABLE' END, CASE WHEN kind = 'ad' AND h & 15 > 0 THEN 'Aff-' || n END,
       CASE WHEN kind <> 'organic' THEN at END, CASE WHEN kind <> 'organic' THEN at END, CASE WHEN kind <> 'organic' THEN kind END
FROM generate_series(%(from)s::int, %(to)s::int) AS n
CROSS JOIN LATERAL (SELECT hashint8(%(seed)s::bigint * 31 + n)::bigint & 1073741823 AS h) AS chance
CROSS JOIN LATERAL (SELECT CASE WHEN h %% 10 < 7 THEN 'ad' WHEN h %% 10 = 7 THEN 'post' ELSE 'organic' END AS kind,
    1 + (h >> 4) %% %(accounts)s AS a, (h >> 13) %% %(slots)s AS s, (n::bigint * %(days)s / %(tickets)s)::int AS d,
    %(first)s::date + make_interval(secs => n::float * %(days)s * 86400 / %(tickets)s) AS at) AS of
"""
MOVES: LiteralString = """
INSERT INTO ticket_stage_changes (organization_id, id, ticket_id, from_stage_id, to_stage_id, from_stage, to_stage, currency, happened_at,
                                  changed_at, actor, version, reached)
SELECT %(organization)s, md5('move' || n)::uuid, md5('ticket' || n)::uuid, s.id, s.id, 'Novo', 'Qualificado', 'BRL', at, at, 'system', 2, 'qualified'
FROM generate_series(%(from)s::int, %(to)s::int, 3) AS n
CROSS JOIN LATERAL (SELECT %(first)s::date + make_interval(secs => n::float * %(days)s * 86400 / %(tickets)s + 7200) AS at) AS moment
JOIN stages s ON s.organization_id = %(organization)s AND s.role = 'qualified'
"""
REFUNDS: LiteralString = """
INSERT INTO ticket_refunds (organization_id, id, ticket_id, amount, currency, reason, refunded_at, created_at, actor)
SELECT organization_id, md5('refund' || id)::uuid, id, 20, 'BRL', '', won_at + interval '2 days', now(), 'system'
FROM tickets WHERE organization_id = %(organization)s AND close_reason = 'WON' AND hashtext(id::text) %% 30 = 0
"""
FOLLOWED: LiteralString = "INSERT INTO roi_tickets SELECT * FROM ticket_facts WHERE organization_id = %(organization)s ORDER BY opened_at"
TICKET_SUMS: LiteralString = "INSERT INTO roi_ticket_sums {} ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9".format(
    facts.SUMS.format(
        facts="SELECT 1 AS w, t.* FROM roi_tickets t WHERE t.organization_id = %(organization)s"
    )
)
RULES: LiteralString = """
INSERT INTO cost_settings (organization_id, id, kind, rate, since, created_at, actor)
VALUES (%(organization)s, gen_random_uuid(), 'meta_tax', 0.1215, %(middle)s, now(), 'system'),
       (%(organization)s, gen_random_uuid(), 'fee', 0.0499, NULL, now(), 'system')
"""
RATES: LiteralString = """
INSERT INTO fx_rates SELECT %(organization)s, 'USD', 'BRL', %(first)s::date + d, 5 + d / 1000.0, 'imported', now(), 'system'
FROM generate_series(0, %(days)s) AS d
"""
REFS: LiteralString = "SELECT ref FROM meta_ad_accounts WHERE organization_id = %(organization)s ORDER BY ref"
SWITCHED = ("tickets", "ticket_tracking", "ticket_stage_changes", "meta_ads")
TIDIED: LiteralString = """VACUUM (ANALYZE) tickets, ticket_tracking, ticket_stage_changes, ticket_refunds, contacts, meta_ads, meta_ad_accounts,
    meta_ad_insights_daily, insight_ad_blocks, insight_blocks, roi_tickets,
    roi_ticket_sums, fx_rates, cost_settings"""
SIZES: LiteralString = """
SELECT relname, reltuples::bigint, pg_total_relation_size(oid) FROM pg_class
WHERE relname IN ('meta_ad_insights_daily', 'insight_ad_blocks', 'insight_blocks', 'roi_tickets', 'roi_ticket_sums') ORDER BY 1
"""


class Size(msgspec.Struct, frozen=True):
    """How much is written, and how often each page is asked for."""

    accounts: int
    days: int
    tickets: int
    rounds: int


FULL = Size(ACCOUNTS, DAYS, TICKETS, ROUNDS)
QUICK = Size(30, DAYS, 50_000, 10)


class Filled(msgspec.Struct, frozen=True):
    """The organization, and the last day that has rows."""

    organization_id: UUID
    last: date


class Timing(msgspec.Struct, frozen=True):
    """Milliseconds of server time, one after the other; rows shown, of how many.

    first_ms: right after the server was started, its memory empty, what the system keeps of files is not. cpu_ms: PostgreSQL's.
    """

    first_ms: float
    cpu_ms: float
    p50_ms: float
    p95_ms: float
    rows: int
    count: int


class RoiResult(msgspec.Struct, frozen=True):
    """Each page's times, and how large the tables are (rows, bytes)."""

    size: Size
    pages: dict[str, Timing]
    tables: dict[str, tuple[int, int]]
    fill_s: float


def measure(running: Cluster, *, quick: bool) -> RoiResult:
    """Fill an organization of its own, then ask for each page again and again."""
    size = QUICK if quick else FULL
    began = time.monotonic()
    filled = fill(running.conninfo, size)
    seconds = time.monotonic() - began
    with connect(running.conninfo) as conn:
        tables = {name: (rows, size) for name, rows, size in conn.execute(SIZES).fetchall()}
    found = {}
    for name, (ask, function) in pages(filled.last).items():
        running.restart()
        found[name] = asyncio.run(timed(running, filled, ask, function, size.rounds))
    return RoiResult(size, found, tables, seconds)


def fill(conninfo: str, size: Size) -> Filled:
    """Write everything, as its writers leave it."""
    organization, number, today = asyncio.run(_open(conninfo))
    first = today - timedelta(days=size.days - 1)
    values = {
        "organization": organization, "accounts": size.accounts, "days": size.days, "slots": SLOTS, "life": LIFE, "seed": SEED,
        "first": first, "middle": first + timedelta(days=size.days // 2), "tickets": size.tickets, "number": number,
        "generations": (size.days + LIFE) // LIFE + 1,
    }  # fmt: skip
    with connect(conninfo) as conn:
        _write(conninfo, conn, values)
        _check(conn, organization)
        conn.execute(TIDIED)
    return Filled(organization, today)


async def _open(conninfo: str) -> tuple[UUID, str, date]:
    db = Database(conninfo)
    await db.open()
    try:
        (shop,) = await open_shops(db, 1, people=0, first_person=0, first_number=950_001)
        async with db.system() as conn:
            row = await (
                await conn.execute("SELECT id, current_date FROM organizations WHERE slug = 'clinica-950001'")
            ).fetchone()
        return row[0], shop.number, row[1]  # type: ignore[index] # it was just made
    finally:
        await db.close()


def _write(conninfo: str, conn: psycopg.Connection, values: dict[str, Any]) -> None:
    _hurry(conn)
    for table in SWITCHED:
        conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    for statement in (ACCOUNT_ROWS, AD_ROWS):
        conn.execute(statement, values)
    conn.execute("ANALYZE meta_ads")
    found = conn.execute(REFS, values).fetchall()
    refs = [row[0] for row in found]
    jobs = [(_spend, values | {"refs": refs[start : start + 10]}) for start in range(0, len(refs), 10)]
    jobs += [
        (_tickets, values | {"from": start, "to": min(start + 50_000, values["tickets"]) - 1})
        for start in range(0, values["tickets"], 50_000)
    ]
    with ThreadPoolExecutor(WRITERS) as pool:
        for job in [pool.submit(_alone, conninfo, *each) for each in jobs]:
            job.result()
    conn.execute("ANALYZE tickets, ticket_tracking, ticket_stage_changes")
    for statement in (REFUNDS, FOLLOWED, TICKET_SUMS, RULES, RATES):
        conn.execute(statement, values)
    for table in SWITCHED:
        conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())


def _hurry(conn: psycopg.Connection) -> None:
    for setting in ("statement_timeout = 0", "synchronous_commit = off", "work_mem = '256MB'"):
        conn.execute(f"SET {setting}".encode())


def _alone(
    conninfo: str, write: Callable[[psycopg.Connection, dict[str, Any]], None], values: dict[str, Any]
) -> None:
    """Write a part over a connection of its own."""
    with connect(conninfo) as conn:
        _hurry(conn)
        write(conn, values)


def _spend(conn: psycopg.Connection, values: dict[str, Any]) -> None:
    conn.execute(AD_DAYS, values)
    conn.execute(SUM_SMALLEST, values | {"size": SMALLEST})
    for size in rollups.STEPS:
        if size > SMALLEST:
            conn.execute(SUM_LARGER, values | {"size": size, **rollups.parts(size)})
    conn.execute(SUM_PARENTS, values)


def _tickets(conn: psycopg.Connection, values: dict[str, Any]) -> None:
    for statement in (PEOPLE, TICKET_ROWS, TRACKING_ROWS, MOVES):
        conn.execute(statement, values)


ONE_ACCOUNT: LiteralString = """
SELECT account_ref, min(day), max(day) FROM meta_ad_insights_daily
WHERE organization_id = %(organization)s AND account_ref = (SELECT min(ref) FROM meta_ad_accounts WHERE organization_id = %(organization)s) GROUP BY 1
"""
ITS_SUMS: LiteralString = """
SELECT 3, size, block, ad_ref::text, days, spend, impressions, meta_purchase_value FROM insight_ad_blocks WHERE organization_id = %s AND account_ref = %s
UNION ALL
SELECT level, size, block, key, days, spend, impressions, meta_purchase_value FROM insight_blocks WHERE organization_id = %s AND account_ref = %s
ORDER BY 1, 2, 3, 4
"""


def _check(conn: psycopg.Connection, organization: UUID) -> None:
    """RuntimeError when the product would have derived an account's sums otherwise than we did."""
    account, since, until = conn.execute(ONE_ACCOUNT, {"organization": organization}).fetchone()  # type: ignore[misc] # it was just written
    keys = [organization, account] * 2
    before = conn.execute(ITS_SUMS, keys).fetchall()

    async def derive() -> None:
        async with await psycopg.AsyncConnection.connect(conn.info.dsn, password=conn.info.password) as other:
            await other.execute("SELECT set_config('whatrack.org', %s, false)", [str(organization)])
            days = [since + timedelta(days=place) for place in range((until - since).days + 1)]
            await rollups.replace_days(other, organization, account, days)

    asyncio.run(derive())
    if conn.execute(ITS_SUMS, keys).fetchall() != before:
        raise RuntimeError("the product derives other sums than were written")


Asked = Callable[..., Awaitable[Any]]


def pages(last: date) -> dict[str, tuple[Ask, Asked]]:
    """The list: what is asked for, by the name it is published under."""
    thirty = last - timedelta(days=32), last - timedelta(days=3)  # no edge on a block's
    year = last - timedelta(days=364), last
    found: dict[str, tuple[Ask, Asked]] = {}
    for name, (since, until) in (("30 days", thirty), ("365 days", year)):
        for page, ask in _asks(since, until).items():
            found[f"{page}, {name}"] = ask, reports.report
        account = Ask(level="account", since=since, until=until)
        for function in (reports.daily, reports.funnel, reports.times):
            found[f"{function.__name__}, {name}"] = account, function
    return found


def _asks(since: date, until: date) -> dict[str, Ask]:
    def ask(level: Level, **more: Any) -> Ask:
        return Ask(level=level, since=since, until=until, limit=50, **more)

    return {
        "account": ask("account"),
        "campaign": ask("campaign"),
        "adset": ask("adset"),
        "ad": ask("ad"),
        "campaign, compared": ask("campaign", compare=True),
        "ad by ROAS": ask("ad", sort="roas"),
        "ad by profit": ask("ad", sort="profit"),
        "ad by CTR": ask("ad", sort="ctr"),
        "ad by name": ask("ad", sort="name"),
        "ad by click": ask("ad", basis="click"),
        "ad, one account": ask("ad", accounts=("act_7000007",)),
        "adset, one campaign": ask("adset", within=(Within("campaign", "2100070032"),)),
        "campaign, text": ask("campaign", text="campanha 3"),
        "ad, text": ask("ad", text="anúncio 3"),
        "adset, active": ask("adset", statuses=("active",)),
        "ad, active": ask("ad", statuses=("active",)),
        "ad, not active": ask("ad", statuses=("paused", "archived", "other")),
    }


async def timed(running: Cluster, filled: Filled, ask: Ask, function: Asked, rounds: int) -> Timing:
    """Server time from the transaction's begin to its end."""
    db = Database(running.conninfo)
    await db.open()
    times, answer, cpu = [], None, 0.0
    gc.collect()
    try:
        for place in range(rounds + 2):
            if place == 2:
                cpu = cpu_s(running.pid)
            began = time.perf_counter()
            async with db.tenant(filled.organization_id) as conn:
                answer = await function(conn, filled.organization_id, ask, await clock(conn))
            times.append((time.perf_counter() - began) * 1000)
        cpu_ms = (cpu_s(running.pid) - cpu) / rounds * 1000
    finally:
        await db.close()
    warm = sorted(times[2:])
    p50, p95 = warm[len(warm) // 2], warm[min(int(len(warm) * 0.95), len(warm) - 1)]
    rows, count = (len(answer.rows), answer.count) if isinstance(answer, reports.Report) else (0, 0)
    return Timing(times[0], cpu_ms, p50, p95, rows, count)

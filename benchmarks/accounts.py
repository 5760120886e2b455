"""How long a person with 1,000 ad accounts waits: their list read from the sandbox for the first time, and from then on.

The sandbox is a process of its own and answers at once; a real Meta takes its time for each of the two calls. Cold: nothing
of the list is known, so a request reads it whole from Meta, stores it, and answers. Warm: what is stored is shown.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from statistics import median
from typing import Any
from urllib.request import Request, urlopen
from uuid import UUID

import msgspec

from benchmarks.database import Cluster, connect, open_shops
from benchmarks.pages import PageTime
from benchmarks.processes import running as a_process
from benchmarks.processes import wait_for
from benchmarks.servers import ROOT, answers, free_port, whatrack
from whatrack.db import Database
from whatrack.tenants import members, sessions, users

ACCOUNTS = 1000
NUMBER = 910_001
LIST = "/api/v1/meta-ads/ad-accounts"
PAGE = "/settings/meta"
FORGET = (
    "DELETE FROM meta_ad_accounts WHERE organization_id = %s",
    "UPDATE meta_connections SET listed_at = NULL, list_after = now() WHERE organization_id = %s",
)


class AccountsResult(msgspec.Struct, frozen=True):
    """Each request's times. calls: to Meta for one whole list."""

    accounts: int
    calls: float
    cold: dict[str, PageTime]
    warm: dict[str, PageTime]


def measure(running: Cluster, *, quick: bool) -> AccountsResult:
    """Connect a person with a thousand accounts, then ask for them cold and warm."""
    laps = 5 if quick else 30
    organization, token = asyncio.run(_owner(running))
    with _meta(running) as (url, clients):
        environ = {
            "META_GRAPH_URL": url,
            "META_DIALOG_URL": url,
            "META_APP_ID": clients["app_id"],
            "META_APP_SECRET": clients["app_secret"],
        }
        with whatrack(running, with_workers=True, more=environ) as target:
            browser = _Browser(target.port, token)
            browser.connect_profile(clients["access_token"])
            before = _listings(url)
            cold = {
                "the API's first 200": [_cold(running, organization, browser, f"{LIST}?limit=200") for _ in range(laps)],
                "the page": [_cold(running, organization, browser, PAGE) for _ in range(laps)],
            }  # fmt: skip
            calls = (_listings(url) - before) / (2 * laps)
            following = json.loads(browser.get(f"{LIST}?limit=50")[1])["next"]
            warm = {
                "the page": PAGE,
                "its second page": f"{PAGE}?after={following}",
                "searched by name": f"{PAGE}?q=conta+09",
                "searched by id": f"{PAGE}?q=act_2",
                "searched, nothing found": f"{PAGE}?q=ninguem",
                "the API's first 200": f"{LIST}?limit=200",
            }
            times = {name: [browser.timed(path) for _ in range(laps)] for name, path in warm.items()}
    return AccountsResult(ACCOUNTS, calls, _summed(cold), _summed(times))


class _Browser:
    """One kept-alive connection of a signed-in owner."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port)
        self._origin = f"http://127.0.0.1:{port}"
        self._headers = {"Cookie": f"whatrack={token}", "Accept-Encoding": "gzip", "Accept-Language": "pt-BR"}

    def connect_profile(self, access_token: str) -> None:
        """Paste the token of the person with the accounts."""
        headers = {**self._headers, "Content-Type": "application/json", "Origin": self._origin}
        body = json.dumps({"access_token": access_token})
        self._connection.request("POST", "/api/v1/meta-ads/connections", body, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"connecting was answered {answer.status}: {text[:200]!r}")

    def get(self, path: str, *, plain: bool = True) -> tuple[int, bytes]:
        """(bytes on the wire, body)."""
        headers = {
            name: value for name, value in self._headers.items() if not plain or name != "Accept-Encoding"
        }
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        return len(body), body

    def timed(self, path: str) -> tuple[float, int]:
        """(milliseconds, bytes) of one request."""
        began = time.perf_counter()
        size, _ = self.get(path, plain=False)
        return (time.perf_counter() - began) * 1000, size


def _cold(running: Cluster, organization: UUID, browser: _Browser, path: str) -> tuple[float, int]:
    with connect(running.conninfo) as conn:
        for statement in FORGET:
            conn.execute(statement.encode(), [organization])
    found = browser.timed(path)
    with connect(running.conninfo) as conn:
        row = conn.execute("SELECT count(*) FROM meta_ad_accounts WHERE organization_id = %s", [organization])
        if (count := (row.fetchone() or (0,))[0]) != ACCOUNTS:
            raise RuntimeError(f"{path} left {count} of {ACCOUNTS} accounts")
    return found


def _summed(laps: dict[str, list[tuple[float, int]]]) -> dict[str, PageTime]:
    found = {}
    for name, each in laps.items():
        times = sorted(ms for ms, _ in each)
        found[name] = PageTime(median(times), times[int(len(times) * 0.95)], times[-1], each[-1][1])
    return found


@contextmanager
def _meta(running: Cluster) -> Iterator[tuple[str, dict[str, Any]]]:
    """(the sandbox's address, what a client needs): a process of its own, whose Thiago sees a thousand accounts."""
    port = free_port()
    command = [sys.executable, "-c", "from whatrack.cli import main; main()", "sandbox", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with a_process(command, {"PYTHONPATH": str(ROOT)}, running.data_dir.parent / "sandbox.log"):
        wait_for(lambda: answers(f"{url}/_sandbox/clients"), "the sandbox")
        clients = _json(f"{url}/_sandbox/clients")
        seen = len(next(each for each in _json(f"{url}/_sandbox/state")["people"] if each["id"] == clients["person"]["id"])["ad_accounts"])  # fmt: skip
        _json(f"{url}/_sandbox/accounts/grow", person_id=clients["person"]["id"], accounts=ACCOUNTS - seen)
        _json(f"{url}/_sandbox/faults", kind="usage", percent=1, path="me/adaccounts", times=None)  # counts
        yield url, clients


def _listings(url: str) -> int:
    """How many pages of the list were asked for so far."""
    return int(_json(f"{url}/_sandbox/faults")["data"][0]["taken"])


def _json(url: str, **values: Any) -> dict[str, Any]:
    body = json.dumps(values).encode() if values else None
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


async def _owner(running: Cluster) -> tuple[UUID, str]:
    """(an organization of its own, the session of its owner)."""
    db = Database(running.conninfo)
    await db.open()
    try:
        await open_shops(db, 1, people=0, first_person=0, first_number=NUMBER)
        async with db.system() as conn:
            query = "SELECT id FROM organizations WHERE slug = %s"
            row = await (await conn.execute(query, [f"clinica-{NUMBER}"])).fetchone()
            organization: UUID = row[0]  # type: ignore[index] # it was just made
            person = await users.create(conn, email="accounts@example.com", name="Bench", password_hash=None)
            await members.put(conn, organization, person.id, "owner")
            token = await sessions.start(conn, person.id, agent="bench", address="127.0.0.1")
        return organization, token
    finally:
        await db.close()

"""How fast the site's pages are with many tickets: the board, the list and a ticket, as a browser asks for them."""

import asyncio
import random
import re
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from http.client import HTTPConnection
from uuid import UUID

import msgspec

from benchmarks.database import Cluster, connect, open_shops, settled
from benchmarks.load import Target
from benchmarks.processes import cpu_s
from benchmarks.servers import whatrack
from whatrack.db import Database
from whatrack.tenants import members, sessions, users

TICKETS = 100_000
# Shares of the stages in a shop that has sold for a while, by role; None: Proposta.
SHARES = (("new", 0.35), ("qualified", 0.15), (None, 0.05), ("won", 0.15), ("lost", 0.30))
CONTACTS = """
INSERT INTO contacts (organization_id, id, name, wa_id, created_at)
SELECT %(organization)s, md5('c' || n)::uuid, (ARRAY['Ana','Bruno','Camila','Diego','Elisa'])[1 + n %% 5] || ' ' || n,
       '5511' || lpad(n::text, 9, '9'), now() FROM generate_series(1, %(count)s) AS n
"""
TERMS = """
INSERT INTO contact_terms (organization_id, term, contact_id)
SELECT %(organization)s, lower((ARRAY['Ana','Bruno','Camila','Diego','Elisa'])[1 + n %% 5]), md5('c' || n)::uuid
FROM generate_series(1, %(count)s) AS n
UNION ALL SELECT %(organization)s, n::text, md5('c' || n)::uuid FROM generate_series(1, %(count)s) AS n
"""
FILL = """
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, deal_value, currency,
                     source, follow_up, opened_at, last_message_at, active_at, closed_at, won_at, created_at, updated_at)
SELECT %(organization)s, md5('t' || n)::uuid, md5('c' || n)::uuid, %(number)s, s.id,
       CASE s."group" WHEN 'ACTIVE' THEN 'open' ELSE 'closed' END, CASE s."group" WHEN 'ACTIVE' THEN NULL ELSE s."group" END,
       CASE WHEN s.role = 'won' THEN 100 + n %% 900 END, 'BRL', 'message', false, at, at, at,
       CASE s."group" WHEN 'ACTIVE' THEN NULL ELSE at END, CASE s.role WHEN 'won' THEN at END, at, at
FROM (SELECT n, now() - make_interval(mins => n * 3) AS at, (hashint4(n)::bigint & 1023) / 1024.0 AS chance
      FROM generate_series(1, %(count)s) AS n) AS t
JOIN (SELECT id, role, "group", %(starts)s::float[] AS starts, row_number() OVER (ORDER BY position) AS place
      FROM stages WHERE organization_id = %(organization)s) AS s
  ON t.chance >= s.starts[s.place] AND t.chance < s.starts[s.place + 1]
"""
TRACKING = """
INSERT INTO ticket_tracking (organization_id, ticket_id, meta_source_type, meta_enrichment_status, meta_ad_id, source_id, headline,
                             ctwa_clid, last_touch_at, first_touch_at)
SELECT %(organization)s, md5('t' || n)::uuid, kind, CASE kind WHEN 'ad' THEN 'PENDING' ELSE 'NOT_APPLICABLE' END,
       CASE kind WHEN 'ad' THEN (1000 + n %% 300)::text END, CASE kind WHEN 'organic' THEN NULL ELSE (1000 + n %% 300)::text END,
       CASE kind WHEN 'organic' THEN NULL ELSE 'Oferta ' || n %% 300 END, CASE kind WHEN 'ad' THEN 'Aff-' || n END, now(), now()
FROM (SELECT n, CASE WHEN n %% 10 < 6 THEN 'ad' WHEN n %% 100 = 99 THEN 'post' ELSE 'organic' END AS kind
      FROM generate_series(1, %(count)s) AS n) AS k
"""
# Somebody wrote: each ticket comes to the top of its column.
CHANGE = """
UPDATE tickets SET last_message_at = now(), active_at = now(), updated_at = now(), version = version + 1
WHERE organization_id = %s AND id IN (SELECT md5('t' || n)::uuid FROM unnest(%s::int[]) AS n)
"""
CHANGED = 20  # between two requests
SEED = 20261126
STARTS = 5
WARMING = 10  # requests that are not timed: they prepare statements and compile templates


class PageTime(msgspec.Struct, frozen=True):
    """Milliseconds from request to the whole answer, one at a time, the answer's size on the wire, and what CPU the service used."""

    p50_ms: float
    p95_ms: float
    most_ms: float
    bytes: int
    cpu_ms: float | None = None


class PagesResult(msgspec.Struct, frozen=True):
    """Each page's times. first: the board's in as many new processes, each its first request."""

    tickets: int
    requests: int
    pages: dict[str, PageTime]
    first: list[float]


def measure(running: Cluster, *, quick: bool) -> PagesResult:
    """Fill a shop of its own, then ask for each page again and again."""
    count, requests = (TICKETS // 5, 20) if quick else (TICKETS, 100)
    organization, token = asyncio.run(_shop(running))
    _fill(running, organization, count)
    ticket = _one(running, organization)
    paths = {
        "board": "/tickets",
        "board, one ad": "/tickets?ad=1007",
        "board, only mine": "/tickets?owner=me",
        "list": "/tickets?view=list",
        "list, by word and digits": "/tickets?view=list&q=ana+1234",
        "list, one campaign's ad": "/tickets?view=list&ad=1007",
        "list, posts": "/tickets?view=list&source=post",
        "list, organic, 30 days": "/tickets?view=list&source=organic&period=30",
        "a ticket": f"/tickets/{ticket}",
    }
    with whatrack(running, with_workers=True) as target:
        settled(running)
        pages = {name: _timed(target, token, path, requests) for name, path in paths.items()}
        changing = _Changing(running, organization, count)
        pages["board, tickets changing"] = _timed(target, token, "/tickets", requests, before=changing)
        seen = f"/tickets?seen={_digest(target.port, token)}"
        pages["board, asked again, unchanged"] = _timed(target, token, seen, requests, expected=204)
        pages["board, asked again, changed"] = _timed(
            target, token, seen, requests, before=changing, by_htmx=True
        )
    first = [_first(running, token) for _ in range(2 if quick else STARTS)]
    return PagesResult(count, requests, pages, first)


class _Changing:
    """Changes tickets of everywhere in the shop, before a request that is timed."""

    def __init__(self, running: Cluster, organization: UUID, count: int) -> None:
        self._conn = connect(running.conninfo)
        self._organization = organization
        self._count = count
        self._chance = random.Random(SEED)

    def __call__(self) -> None:
        """As if CHANGED people had written."""
        chosen = self._chance.sample(range(1, self._count + 1), CHANGED)
        self._conn.execute(CHANGE, [self._organization, chosen])


def _first(running: Cluster, token: str) -> float:
    """The board, asked of a process that has answered nothing yet."""
    with whatrack(running, with_workers=True) as target:
        return _asked(HTTPConnection("127.0.0.1", target.port), "/tickets", _headers(token), 200)[0]


async def _shop(running: Cluster) -> tuple[UUID, str]:
    db = Database(running.conninfo)
    await db.open()
    try:
        await open_shops(db, 1, people=0, first_person=0, first_number=900_001)
        async with db.system() as conn:
            row = await (
                await conn.execute("SELECT id FROM organizations WHERE slug = 'clinica-900001'")
            ).fetchone()
            person = await users.create(conn, email="bench@example.com", name="Bench", password_hash=None)
            await members.put(conn, row[0], person.id, "owner")  # type: ignore[index] # it was just made
            token = await sessions.start(conn, person.id, agent="bench", address="127.0.0.1")
        return row[0], token  # type: ignore[index] # it was just made
    finally:
        await db.close()


def _fill(running: Cluster, organization: UUID, count: int) -> None:
    starts = [Decimal(0)]
    for _, share in SHARES:
        starts.append(starts[-1] + Decimal(str(share)))
    values = {
        "organization": organization,
        "count": count,
        "number": "10654900001",
        "starts": [float(each) for each in starts],
    }
    with connect(running.conninfo) as conn:
        for statement in (CONTACTS, TERMS, FILL, TRACKING):
            conn.execute(statement.encode(), values)
        conn.execute("VACUUM ANALYZE tickets, ticket_tracking, contacts, contact_terms")


def _one(running: Cluster, organization: UUID) -> UUID:
    with connect(running.conninfo) as conn:
        row = conn.execute(
            "SELECT id FROM tickets WHERE organization_id = %s LIMIT 1", [organization]
        ).fetchone()
    return row[0]  # type: ignore[index, no-any-return] # there are many


def _digest(port: int, token: str) -> str:
    """What the board's own script sends, so that it is answered only when something changed."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/tickets", headers={"Cookie": f"whatrack={token}"})
    found = re.search(r"seen=(\w+)", connection.getresponse().read().decode())
    connection.close()
    return found[1]  # type: ignore[index] # a board always says it


def _timed(
    target: Target,
    token: str,
    path: str,
    requests: int,
    *,
    expected: int = 200,
    by_htmx: bool = False,
    before: Callable[[], None] | None = None,
) -> PageTime:
    """The page, again and again over one connection. before: what happens between two requests, untimed."""
    connection = HTTPConnection("127.0.0.1", target.port)
    headers = _headers(token) | ({"HX-Request": "true"} if by_htmx or expected == 204 else {})
    service, used, size = target.pids[0], 0.0, 0
    times: list[float] = []
    for place in range(WARMING + requests):
        if place == WARMING:
            used, times = cpu_s(service), []
        if before:
            before()
        took, size = _asked(connection, path, headers, expected)
        times.append(took)
    cpu_ms = (cpu_s(service) - used) * 1000 / requests
    connection.close()
    times.sort()
    return PageTime(statistics.median(times), times[int(requests * 0.95)], times[-1], size, cpu_ms)


def _headers(token: str) -> dict[str, str]:
    return {"Cookie": f"whatrack={token}", "Accept-Encoding": "gzip", "Accept-Language": "pt-BR"}


def _asked(
    connection: HTTPConnection, path: str, headers: dict[str, str], expected: int
) -> tuple[float, int]:
    """Milliseconds to the last byte, and how many bytes."""
    began = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    size = len(answer.read())
    took = (time.perf_counter() - began) * 1000
    if answer.status != expected:
        raise RuntimeError(f"{path} answered {answer.status}")
    return took, size

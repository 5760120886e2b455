"""Claiming queue rows for the drain, and settling them in the same transaction.

A partition belongs to whoever holds its advisory lock in their transaction: a lost connection gives it back, and no
two drainers ever work on one organization. The lock is taken in one statement and the rows read in a later one, so
that rows another drainer has just finished are not seen again.
"""

from collections import Counter
from datetime import date, datetime
from typing import LiteralString

import msgspec
from psycopg.rows import args_row

from whatrack.columns import numbers, texts
from whatrack.db import Connection
from whatrack.inbox.reading import Delivery
from whatrack.inbox.routes import UNROUTED
from whatrack.observe import logger

LOCK_CLASS = 0x7761  # "wa": our class of advisory locks, the partition is the object
MAX_BYTES = 4 * 1024 * 1024  # as much as the largest body, or it would be the memory of several

# Partitions with work, the longest-waiting first, and how much (capped) each has.
HEADS: LiteralString = """
SELECT p, head.rows FROM generate_series(0, 63) AS p,
LATERAL (SELECT min(id) AS id, count(*) AS rows FROM
    (SELECT id FROM delivery_queue WHERE partition = p ORDER BY id LIMIT %s) AS first) AS head
WHERE head.rows > 0 ORDER BY head.id
"""
# The queue's statistics are always wrong, and with wrong ones a bitmap scan and a sort of the whole queue look cheap.
BY_INDEX: LiteralString = "SELECT set_config('enable_bitmapscan', 'off', true)"
TRY_LOCK: LiteralString = "SELECT p FROM unnest(%s::int[]) AS p WHERE pg_try_advisory_xact_lock(%s, p)"
# Partition by partition, each in the order of its primary key: the cost does not grow with the queue.
ROWS: LiteralString = """
SELECT q.* FROM unnest(%(partitions)s::smallint[]) AS p, LATERAL (
    SELECT ctid::text, partition, id, route, day, bytes, origin FROM delivery_queue
    WHERE partition = p ORDER BY id, route LIMIT %(limit)s) AS q
ORDER BY q.id, q.partition, q.route LIMIT %(limit)s
"""
AT_PLACES: LiteralString = """
SELECT ctid::text, partition, id, route, day, bytes, origin FROM delivery_queue WHERE ctid = ANY(%b::tid[])
"""
# One row of three columns: a row for each body would come in as many pieces as there are buffers of 8 kB to send.
BODIES: LiteralString = """
SELECT array_agg(id), array_agg(received_at), array_agg(body) FROM webhook_deliveries WHERE day = %s AND id = ANY(%b)
"""
EXCEPTION_BODIES: LiteralString = """
SELECT DISTINCT ON (id) id, received_at, body FROM delivery_exceptions WHERE id = ANY(%s) ORDER BY id
"""
# By physical place: nothing else deletes or moves the rows of a partition whose lock we hold.
DELETE: LiteralString = "DELETE FROM delivery_queue WHERE ctid = ANY(%b::tid[])"
DONE: LiteralString = """
INSERT INTO delivery_counters (day, partition, done)
SELECT (now() AT TIME ZONE 'UTC')::date, p, n FROM unnest(%s::smallint[], %s::bigint[]) AS d (p, n)
ON CONFLICT (day, partition) DO UPDATE SET done = delivery_counters.done + excluded.done
"""
MOVE: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
# What was set aside before anything of it was processed: then a replay is its first time.
UNPROCESSED: LiteralString = """
SELECT e.id, e.route FROM unnest(%s::bigint[], %s::text[]) AS q (id, route) JOIN delivery_exceptions e USING (id, route)
WHERE e.state = 'quarantined' OR e.reason IN ('refused_by_database', 'not_json', 'not_a_webhook')
"""
FORGET: LiteralString = """
DELETE FROM delivery_exceptions e USING unnest(%s::bigint[], %s::text[]) AS d (id, route)
WHERE e.id = d.id AND e.route = d.route
"""

RowKey = tuple[int, str]  # delivery id, route

log = logger(__name__)


class QueueRow(msgspec.Struct, frozen=True, gc=False):
    """One row of the queue, with its physical place."""

    place: str
    partition: int
    id: int
    route: str
    day: date
    bytes: int
    origin: str


class Claim(msgspec.Struct, frozen=True):
    """Rows held until the transaction ends, and their deliveries in arrival order.

    more: whether work was probably left.
    """

    rows: list[QueueRow]
    deliveries: list[Delivery]
    more: bool

    @property
    def bytes(self) -> int:
        """How much their bodies are together."""
        return sum(row.bytes for row in self.rows)


async def claim(conn: Connection, limit: int, *, unrouted: bool = False) -> Claim:
    """Take up to `limit` rows or 4 MB of free partitions (or of the unrouted one)."""
    partitions = await _lock_partitions(conn, limit, unrouted=unrouted)
    if not partitions:
        return Claim([], [], more=False)
    await conn.execute(BY_INDEX)
    async with conn.cursor(binary=True, row_factory=args_row(QueueRow)) as cursor:
        found = await (await cursor.execute(ROWS, {"partitions": partitions, "limit": limit})).fetchall()
    rows = _within_bytes(found)
    bodies = await _bodies(conn, rows)
    unprocessed = await _unprocessed(conn, rows)
    deliveries = [
        Delivery(
            id=row.id,
            route=row.route,
            received_at=bodies[row.id][0],
            body=bodies[row.id][1],
            day=row.day,
            counts=row.origin == "intake" or (row.id, row.route) in unprocessed,
            partition=row.partition,
            set_aside=row.origin != "intake",
        )
        for row in rows
        if row.id in bodies
    ]
    if len(deliveries) < len(rows):  # its day was dropped between the request for a replay and now
        log.error("delivery_body_gone", deliveries=[row.id for row in rows if row.id not in bodies])
    return Claim(rows, deliveries, more=len(found) == limit or len(rows) < len(found))


async def claim_again(conn: Connection, before: Claim) -> Claim | None:
    """The same rows once more, in a new transaction; None when another drainer has them, or has finished them."""
    partitions = sorted({row.partition for row in before.rows})
    if set(await _try_lock(conn, partitions)) != set(partitions):
        return None
    async with conn.cursor(binary=True, row_factory=args_row(QueueRow)) as cursor:
        await cursor.execute(AT_PLACES, [texts(row.place for row in before.rows)])
        still = set(await cursor.fetchall())
    return before if still == set(before.rows) else None


async def settle(conn: Connection, claimed: Claim, *, moved: set[RowKey], failed: set[RowKey]) -> None:
    """Delete the claimed rows; count those that are done; forget the exceptions that are mended.

    moved: rows whose every part went to another partition. A moved part is mended there, once it is processed; a whole
    body (route '') is mended as soon as it could be read.
    """
    await conn.execute(DELETE, [texts(row.place for row in claimed.rows)])
    done = Counter(row.partition for row in claimed.rows if (row.id, row.route) not in moved | failed)
    if done:
        await conn.execute(DONE, [list(done.keys()), list(done.values())])
    mended = [each for each in claimed.deliveries if each.set_aside and _is_mended(each, moved, failed)]
    if mended:
        await conn.execute(FORGET, [[each.id for each in mended], [each.route for each in mended]])


def _is_mended(delivery: Delivery, moved: set[RowKey], failed: set[RowKey]) -> bool:
    key = (delivery.id, delivery.route)
    return key not in failed and (key not in moved or not delivery.route)


async def move(conn: Connection, delivery: Delivery, partition: int, route: str) -> None:
    """Queue a claimed delivery in another partition, as first seen or as a replay like before.

    A whole body (route '') that nobody could read until now is seen for the first time, in each of its parts.
    """
    seen = delivery.set_aside and (delivery.route or not delivery.counts)
    origin = "intake" if not seen else "released" if delivery.counts else "replay"
    values = [partition, delivery.id, route, delivery.day, len(delivery.body), origin]
    await conn.execute(MOVE, values)


async def _unprocessed(conn: Connection, rows: list[QueueRow]) -> set[RowKey]:
    """Which of the rows that are no first arrivals are to be processed for the first time all the same."""
    again = [row for row in rows if row.origin != "intake"]
    if not again:
        return set()
    keys = [[row.id for row in again], [row.route for row in again]]
    return set(await (await conn.execute(UNPROCESSED, keys)).fetchall())


async def _lock_partitions(conn: Connection, limit: int, *, unrouted: bool) -> list[int]:
    """Lock free partitions, the longest-waiting first, until they hold `limit` rows."""
    if unrouted:
        return await _try_lock(conn, [UNROUTED])
    locked: list[int] = []
    wanted: list[int] = []
    held = sought = 0
    heads = await (await conn.execute(HEADS, [limit])).fetchall()
    sizes = dict(heads)
    for partition, rows in heads:
        wanted.append(partition)
        sought += rows
        if held + sought >= limit:
            got = await _try_lock(conn, wanted)
            locked += got
            held += sum(sizes[each] for each in got)
            wanted, sought = [], 0
            if held >= limit:
                return locked
    return locked + (await _try_lock(conn, wanted) if wanted else [])


async def _try_lock(conn: Connection, partitions: list[int]) -> list[int]:
    return [row[0] for row in await (await conn.execute(TRY_LOCK, [partitions, LOCK_CLASS])).fetchall()]


def _within_bytes(rows: list[QueueRow]) -> list[QueueRow]:
    """The first rows whose bodies fit into 4 MB together; at least one."""
    total = 0
    for count, row in enumerate(rows):
        total += row.bytes
        if total > MAX_BYTES and count:
            return rows[:count]
    return rows


async def _bodies(conn: Connection, rows: list[QueueRow]) -> dict[int, tuple[datetime, bytes]]:
    """id → (received_at, body), from the day's partition or, when it was dropped, from the exceptions' copy."""
    found: dict[int, tuple[datetime, bytes]] = {}
    days: dict[date, list[int]] = {}
    for row in rows:
        days.setdefault(row.day, []).append(row.id)
    async with conn.cursor(binary=True) as cursor:
        for day, ids in days.items():
            columns = await (await cursor.execute(BODIES, [day, numbers(ids)])).fetchone()
            if columns and columns[0]:
                found.update(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
        missing = [row.id for row in rows if row.id not in found]
        if missing:
            for delivery_id, received_at, body in await (
                await cursor.execute(EXCEPTION_BODIES, [missing])
            ).fetchall():
                found[delivery_id] = (received_at, body)
    return found

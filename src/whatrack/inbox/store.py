"""Deliveries at rest: append, queue, count, set aside. One writer of the delivery tables (with days.py, claim.py, replay.py)."""

from datetime import date, datetime
from typing import LiteralString

import msgspec
from psycopg.rows import class_row

from whatrack.columns import blobs, texts
from whatrack.db import Connection
from whatrack.inbox.reading import Failure

# One statement: the bytes and the queue rows over them. Ids come from one sequence, in arrival order.
# routes holds, per body, its queue rows as 'partition route' lines; a body without rows is one that needs nothing.
APPEND: LiteralString = """
WITH arrived AS MATERIALIZED (
    SELECT nextval('delivery_ids') AS id, clock.today AS day, b.body, b.routes
    FROM unnest(%(bodies)b::bytea[], %(routes)b::text[]) WITH ORDINALITY AS b (body, routes, place),
         (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock
), stored AS (
    INSERT INTO webhook_deliveries (day, id, received_at, body) SELECT day, id, now(), body FROM arrived
)
INSERT INTO delivery_queue (partition, id, route, day, bytes)
SELECT split_part(line, ' ', 1)::smallint, id, split_part(line, ' ', 2), day, length(body)
FROM arrived, unnest(string_to_array(routes, ',')) AS line
"""
SET_ASIDE: LiteralString = """
INSERT INTO delivery_exceptions (id, route, state, reason, detail, day, received_at, body)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (id, route) DO UPDATE SET state = excluded.state, reason = excluded.reason, detail = excluded.detail,
    attempts = delivery_exceptions.attempts + 1, last_at = now()
"""
LIST_EXCEPTIONS: LiteralString = """
SELECT id, route, state, reason, detail, attempts, received_at, first_at, last_at, length(body) AS bytes, day
FROM delivery_exceptions WHERE state = %(state)s AND (id, route) < (%(id)s, %(route)s)
ORDER BY id DESC, route DESC LIMIT %(limit)s
"""
LIST_PENDING: LiteralString = """
SELECT q.id, q.route, 'pending' AS state, q.origin AS reason, '' AS detail, 0 AS attempts, q.queued_at AS received_at,
       q.queued_at AS first_at, q.queued_at AS last_at, q.bytes, q.day
FROM generate_series(-1, 63) AS p, LATERAL (
    SELECT * FROM delivery_queue WHERE partition = p AND (id, route) < (%(id)s, %(route)s)
    ORDER BY id DESC, route DESC LIMIT %(limit)s) AS q
ORDER BY q.id DESC, q.route DESC LIMIT %(limit)s
"""
# From the partial index delivery_exceptions_route.
QUARANTINED: LiteralString = """
SELECT route, count(*) FROM delivery_exceptions WHERE state = 'quarantined' AND route = ANY(%s) GROUP BY route
"""
COUNTS: LiteralString = """
SELECT (SELECT count(*) FROM delivery_queue), (SELECT coalesce(sum(done), 0)::bigint FROM delivery_counters),
       (SELECT count(*) FROM delivery_exceptions WHERE state = 'failed'),
       (SELECT count(*) FROM delivery_exceptions WHERE state = 'quarantined')
"""
# The head of each partition by primary key: cheap however long the queue is.
LAG: LiteralString = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(head.queued_at)), 0)::float8
FROM generate_series(-1, 63) AS p,
     LATERAL (SELECT queued_at FROM delivery_queue WHERE partition = p ORDER BY id LIMIT 1) AS head
"""
# A commit that has to reach the disk, without a row. The server refuses the INSERT where it takes no writes, and a full
# disk fails the commit.
PROVE_COMMIT: LiteralString = """
WITH nothing AS (
    INSERT INTO delivery_queue (partition, id, route, day, bytes) SELECT 0, 0, '', current_date, 0 WHERE false
)
SELECT pg_logical_emit_message(true, 'whatrack', 'ready')
"""


class Counts(msgspec.Struct, frozen=True):
    """Queue rows by state. done: since the installation began."""

    pending: int
    done: int
    failed: int
    quarantined: int


class DeliveryState(msgspec.Struct, frozen=True):
    """One delivery that is not done, as an operator sees it. No body: it holds people's messages."""

    id: int
    route: str
    state: str
    reason: str
    detail: str
    attempts: int
    received_at: datetime
    first_at: datetime
    last_at: datetime
    bytes: int
    day: date


async def append(conn: Connection, bodies: list[bytes], routes: list[str]) -> None:
    """Store bodies and their queue rows; `conn` is in a transaction or commits by itself.

    routes: per body, comma-separated 'partition route' pairs. Raises CheckViolation when today has no partition.
    """
    await conn.execute(APPEND, {"bodies": blobs(bodies), "routes": texts(routes)})


async def prove_commit(conn: Connection) -> None:
    """Write what only shows, once the transaction commits, that a delivery could be committed too."""
    await conn.execute(PROVE_COMMIT)


async def set_aside(conn: Connection, failure: Failure, state: str, route: str | None = None) -> None:
    """Put a delivery among the exceptions, with its own copy of the body; again, and its attempts go up."""
    delivery = failure.delivery
    values = [
        delivery.id,
        delivery.route if route is None else route,
        state,
        failure.reason,
        failure.detail[:500],
    ]
    await conn.execute(SET_ASIDE, [*values, delivery.day, delivery.received_at, delivery.body])


async def list_states(
    conn: Connection, state: str, before: tuple[int, str], limit: int
) -> list[DeliveryState]:
    """Deliveries in one state (pending, failed, quarantined), newest first, from below `before`: an id and route."""
    async with conn.cursor(row_factory=class_row(DeliveryState)) as cursor:
        query = LIST_PENDING if state == "pending" else LIST_EXCEPTIONS
        await cursor.execute(query, {"state": state, "id": before[0], "route": before[1], "limit": limit})
        return await cursor.fetchall()


async def counts(conn: Connection) -> Counts:
    """How many queue rows are in each state."""
    row = await (await conn.execute(COUNTS)).fetchone()
    return Counts(*row) if row else Counts(0, 0, 0, 0)


async def quarantined(conn: Connection, routes: list[str]) -> dict[str, int]:
    """How many deliveries each of these routes has in quarantine; routes without any are left out."""
    return dict(await (await conn.execute(QUARANTINED, [routes])).fetchall())


async def lag_seconds(conn: Connection) -> float:
    """The age of the oldest delivery that waits for the drain; 0 when none waits."""
    row = await (await conn.execute(LAG)).fetchone()
    return float(row[0]) if row else 0.0

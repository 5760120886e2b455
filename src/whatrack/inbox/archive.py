"""The kept deliveries as an operator reads them: the latest, and one with its body. People's words and phones are in there."""

from datetime import date, datetime
from typing import LiteralString

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.inbox.store import DeliveryState
from whatrack.meta import webhook

READ_BYTES = 65_536  # a larger body is not read for a list: its routes stay unnamed

# In the order of the primary keys, newest partition first: only those that a page needs are read.
RECENT: LiteralString = """
SELECT id, day, received_at, length(body) AS size, CASE WHEN length(body) <= %(read)s THEN body END AS body
FROM webhook_deliveries WHERE day <= %(day)s AND (day, id) < (%(day)s, %(id)s)
ORDER BY day DESC, id DESC LIMIT %(limit)s
"""
BODY: LiteralString = "SELECT received_at, body FROM webhook_deliveries WHERE day = %s AND id = %s"
COPY: LiteralString = (
    "SELECT received_at, body FROM delivery_exceptions WHERE day = %s AND id = %s ORDER BY route LIMIT 1"
)
# What of a delivery is not done: its queue rows, by the key of each partition, and its exceptions.
NOT_DONE: LiteralString = """
SELECT id, route, state, reason, detail, attempts, received_at, first_at, last_at, length(body) AS bytes, day
FROM delivery_exceptions WHERE id = %(id)s
UNION ALL
SELECT q.id, q.route, 'pending', q.origin, '', 0, q.queued_at, q.queued_at, q.queued_at, q.bytes, q.day
FROM generate_series(-1, 63) AS p, LATERAL (SELECT * FROM delivery_queue WHERE partition = p AND id = %(id)s) AS q
ORDER BY route, state
"""


class Arrived(msgspec.Struct, frozen=True):
    """One webhook in the list. body: None when it is too long to be read here."""

    id: int
    day: date
    received_at: datetime
    size: int
    body: bytes | None

    @property
    def routes(self) -> list[str] | None:
        """The numbers and WABAs it names, '' for what names none; None when it was not read."""
        found = webhook.quick_routes(self.body) if self.body is not None else None
        return None if found is None else sorted(found)


class Opened(msgspec.Struct, frozen=True):
    """One delivery with its bytes, and what of it is not done."""

    id: int
    day: date
    received_at: datetime
    body: bytes
    not_done: list[DeliveryState]


async def recent(conn: Connection, before: tuple[date, int], limit: int) -> list[Arrived]:
    """Deliveries as they arrived, newest first, from below `before`: a day and id."""
    values = {"day": before[0], "id": before[1], "limit": limit, "read": READ_BYTES}
    async with conn.cursor(binary=True, row_factory=class_row(Arrived)) as cursor:
        return await (await cursor.execute(RECENT, values)).fetchall()


async def one(conn: Connection, day: date, delivery_id: int) -> Opened:
    """One delivery, from its day or from the exceptions' copy; NotFound when it is kept nowhere."""
    async with conn.cursor(binary=True) as cursor:
        row = await (await cursor.execute(BODY, [day, delivery_id])).fetchone()
        row = row or await (await cursor.execute(COPY, [day, delivery_id])).fetchone()
    if row is None:
        raise NotFound("There is no such delivery, or its day was dropped.")
    async with conn.cursor(row_factory=class_row(DeliveryState)) as reader:
        not_done = await (await reader.execute(NOT_DONE, {"id": delivery_id})).fetchall()
    return Opened(delivery_id, day, row[0], row[1], not_done)

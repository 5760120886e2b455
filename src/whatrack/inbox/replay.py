"""Queueing deliveries again: those of a number that went live, and those an operator asks for."""

from datetime import date, datetime
from typing import LiteralString

from whatrack.db import Connection
from whatrack.inbox.routes import UNROUTED

# Quarantined deliveries whose number (or WABA) is live now; queued already, they stay queued once.
RELEASE: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin)
SELECT DISTINCT r.partition, e.id, e.route, e.day, length(e.body), 'released'
FROM delivery_exceptions e
JOIN (SELECT phone_number_id AS route, partition FROM number_routes
      UNION SELECT 'waba:' || waba_id, partition FROM number_routes) AS r ON r.route = e.route
WHERE e.state = 'quarantined'
ON CONFLICT DO NOTHING
"""
# A replay goes through routing again, so that it follows today's numbers. What waits there already is not queued twice.
REPLAY_IDS: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin)
SELECT %(partition)s, d.id, '', d.day, length(d.body), 'replay' FROM webhook_deliveries d
WHERE d.id = ANY(%(ids)s) AND NOT EXISTS (SELECT FROM delivery_queue q WHERE q.partition = %(partition)s AND q.id = d.id)
ON CONFLICT DO NOTHING
"""
REPLAY_ONE: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin)
SELECT %(partition)s, d.id, '', d.day, length(d.body), 'replay' FROM webhook_deliveries d
WHERE d.day = %(day)s AND d.id = %(id)s
  AND NOT EXISTS (SELECT FROM delivery_queue q WHERE q.partition = %(partition)s AND q.id = d.id)
ON CONFLICT DO NOTHING
"""
REPLAY_RANGE: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin)
SELECT %(partition)s, d.id, '', d.day, length(d.body), 'replay' FROM webhook_deliveries d
WHERE d.day BETWEEN (%(since)s AT TIME ZONE 'UTC')::date AND (%(until)s AT TIME ZONE 'UTC')::date
  AND d.received_at >= %(since)s AND d.received_at < %(until)s
  AND NOT EXISTS (SELECT FROM delivery_queue q WHERE q.partition = %(partition)s AND q.id = d.id)
ON CONFLICT DO NOTHING
"""
# The exceptions keep their route: only that part of the body was not done. Whether its statuses are still to be counted
# is asked when it is claimed. A whole body that waits for routing brings them along.
REPLAY_EXCEPTIONS: LiteralString = """
INSERT INTO delivery_queue (partition, id, route, day, bytes, origin)
SELECT %(partition)s, e.id, e.route, e.day, length(e.body), 'replay' FROM delivery_exceptions e
WHERE (%(state)s::text IS NULL OR e.state = %(state)s) AND (%(ids)s::bigint[] IS NULL OR e.id = ANY(%(ids)s))
  AND NOT EXISTS (SELECT FROM delivery_queue q WHERE q.partition = %(partition)s AND q.id = e.id AND q.route = '')
ON CONFLICT DO NOTHING
"""


async def release(conn: Connection) -> int:
    """Queue what is quarantined for numbers that are live now; answers how many rows. Idempotent."""
    return (await conn.execute(RELEASE)).rowcount


async def replay_ids(conn: Connection, ids: list[int]) -> int:
    """Queue deliveries again by id, from the kept days and from the exceptions; answers how many rows."""
    kept = await conn.execute(REPLAY_IDS, {"partition": UNROUTED, "ids": ids})
    aside = await conn.execute(REPLAY_EXCEPTIONS, {"partition": UNROUTED, "ids": ids, "state": None})
    return kept.rowcount + aside.rowcount


async def replay_one(conn: Connection, day: date, delivery_id: int) -> int:
    """Queue one delivery again: the kept body, or what of it was set aside; answers how many rows."""
    values = {"partition": UNROUTED, "day": day, "id": delivery_id}
    kept = await conn.execute(REPLAY_ONE, values)
    aside = await conn.execute(
        REPLAY_EXCEPTIONS, {"partition": UNROUTED, "ids": [delivery_id], "state": None}
    )
    return kept.rowcount + aside.rowcount


async def replay_range(conn: Connection, since: datetime, until: datetime) -> int:
    """Queue again what arrived in [since, until); answers how many rows."""
    return (
        await conn.execute(REPLAY_RANGE, {"partition": UNROUTED, "since": since, "until": until})
    ).rowcount


async def replay_state(conn: Connection, state: str) -> int:
    """Queue again everything failed, or everything quarantined; answers how many rows."""
    parameters = {"partition": UNROUTED, "ids": None, "state": state}
    return (await conn.execute(REPLAY_EXCEPTIONS, parameters)).rowcount

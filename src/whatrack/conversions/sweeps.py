"""What changes about owed events without a move: Meta's window closes, what was in the way is mended, a duplicate is free again.

Each function is one bounded round over all organizations (system scope) and answers how many rows it changed.
"""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.rows import args_row

from whatrack.conversions import rules
from whatrack.conversions.claim import Due, routes_of, way_of
from whatrack.conversions.rules import Hold, Send
from whatrack.db import Connection
from whatrack.db import now as clock

LIMIT = 1000

# By meta_conversion_events_window. Under a lease it may be arriving right now.
EXPIRE: LiteralString = """
WITH over AS (
    SELECT organization_id, id FROM meta_conversion_events
    WHERE status IN ('PENDING', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') AND event_time < now() - %(window)s
    AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY event_time LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE meta_conversion_events e SET status = 'EXPIRED_WINDOW', hold_reason = NULL, lease_id = NULL, lease_until = NULL,
    was_unknown = was_unknown OR lease_id IS NOT NULL, updated_at = now()
FROM over WHERE e.organization_id = over.organization_id AND e.id = over.id
"""
MENDABLE: LiteralString = """
SELECT DISTINCT organization_id FROM meta_conversion_events
WHERE status IN ('SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') AND event_time >= now() - %(window)s LIMIT %(limit)s
"""
SKIPPED: LiteralString = """
SELECT e.id, e.event_name, e.event_id, e.ctwa_clid, t.phone_number_id, e.value, e.currency, e.event_time, e.not_before, e.batch_limit,
       e.attempts, e.lease_id, a.meta_account_id, false
FROM meta_conversion_events e
JOIN tickets t ON t.organization_id = e.organization_id AND t.id = e.ticket_id
LEFT JOIN meta_ads a ON a.organization_id = e.organization_id AND a.meta_ad_id = e.meta_ad_id
WHERE e.organization_id = %(organization)s AND e.status IN ('SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE')
AND e.event_time >= now() - %(window)s AND e.ctwa_clid IS NOT NULL
ORDER BY e.event_time LIMIT %(limit)s FOR NO KEY UPDATE OF e SKIP LOCKED
"""
MEND: LiteralString = """
UPDATE meta_conversion_events SET status = 'PENDING', next_attempt_at = now(), hold_reason = NULL, updated_at = now()
WHERE organization_id = %s AND id = ANY(%s) AND status IN ('SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE')
AND NOT (event_name = 'LeadSubmitted' AND EXISTS (SELECT FROM meta_conversion_events o
         WHERE o.organization_id = meta_conversion_events.organization_id AND o.ctwa_clid_hash = meta_conversion_events.ctwa_clid_hash
         AND o.event_name = 'LeadSubmitted' AND o.status IN ('PENDING', 'SENT')))
"""
# The first of the tickets whose click nobody reports any more.
FREE: LiteralString = """
WITH free AS (
    SELECT DISTINCT ON (d.organization_id, d.ctwa_clid_hash) d.organization_id, d.id FROM meta_conversion_events d
    WHERE d.status = 'SKIPPED_DUPLICATE_LEAD' AND d.event_time >= now() - %(window)s
    AND NOT EXISTS (SELECT FROM meta_conversion_events o
        WHERE o.organization_id = d.organization_id AND o.ctwa_clid_hash = d.ctwa_clid_hash
        AND o.event_name = 'LeadSubmitted' AND o.status IN ('PENDING', 'SENT'))
    ORDER BY d.organization_id, d.ctwa_clid_hash, d.event_time LIMIT %(limit)s
)
UPDATE meta_conversion_events e SET status = 'PENDING', next_attempt_at = now(), updated_at = now()
FROM free WHERE e.organization_id = free.organization_id AND e.id = free.id AND e.status = 'SKIPPED_DUPLICATE_LEAD'
"""
WAITING: LiteralString = """
UPDATE meta_conversion_events SET next_attempt_at = now(), updated_at = now()
WHERE organization_id = %s AND status = 'PENDING' AND lease_id IS NULL AND next_attempt_at > now()
"""
FOR_AD: LiteralString = WAITING + " AND hold_reason = 'enrichment' AND meta_ad_id = ANY(%s)"
FOR_PROFILE: LiteralString = WAITING + " AND hold_reason IN ('token', 'permission', 'no_token', 'blocked')"


async def expire(conn: Connection) -> int:
    """End what Meta would refuse as too old."""
    values = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    return (await conn.execute(EXPIRE, values)).rowcount


async def free_duplicates(conn: Connection) -> int:
    """Owe the lead of a click whose other ticket ended without being told."""
    values = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    return (await conn.execute(FREE, values)).rowcount


async def mend(conn: Connection) -> int:
    """Owe again what only lacked a dataset, or whose account was off."""
    values: dict[str, object] = {"window": rules.WINDOW - rules.WINDOW_MARGIN, "limit": LIMIT}
    organizations = await (await conn.execute(MENDABLE, values)).fetchall()
    now = await clock(conn)
    return sum([await _mend(conn, row[0], values, now) for row in organizations])


async def _mend(conn: Connection, organization_id: UUID, values: dict[str, object], now: datetime) -> int:
    async with conn.cursor(binary=True, row_factory=args_row(Due)) as cursor:
        skipped = await (
            await cursor.execute(SKIPPED, {**values, "organization": organization_id})
        ).fetchall()
    ways = await routes_of(conn, organization_id, skipped)
    open_ = [
        event
        for event in skipped
        if isinstance(way_of(event, ways[event.meta_account_id, event.phone_number_id], now), Send | Hold)
    ]
    # Of several leads of one click the first goes.
    leads = {event.ctwa_clid: event.id for event in reversed(open_) if event.event_name == rules.LEAD}
    mended = [event.id for event in open_ if event.event_name != rules.LEAD] + [*leads.values()]
    if not mended:
        return 0
    return (await conn.execute(MEND, [organization_id, mended])).rowcount


async def ads_found(conn: Connection, organization_id: UUID, ads: list[str]) -> int:
    """These ads are known now, or will not be: what waited for them waits no longer."""
    return (await conn.execute(FOR_AD, [organization_id, ads])).rowcount


async def profile_connected(conn: Connection, organization_id: UUID) -> int:
    """Somebody may send again: what waited for a token is due at once."""
    return (await conn.execute(FOR_PROFILE, [organization_id])).rowcount

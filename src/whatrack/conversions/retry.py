"""Trying again what failed: one event, all, or all of one cause; only while Meta's window is open."""

from typing import LiteralString
from uuid import UUID

from whatrack.conversions import rules
from whatrack.db import Connection
from whatrack.db import now as clock
from whatrack.errors import NotFound, Refused
from whatrack.tenants import audit
from whatrack.tenants.access import Access

ONE: LiteralString = """
SELECT status, event_time, lease_until > now() FROM meta_conversion_events WHERE organization_id = %s AND id = %s FOR NO KEY UPDATE
"""
# A lead whose click another ticket reports stays as it is: it would be told twice.
AGAIN: LiteralString = """
UPDATE meta_conversion_events e SET status = 'PENDING', next_attempt_at = now(), hold_reason = NULL, trouble = 0,
    batch_limit = 1000, updated_at = now()
WHERE organization_id = %(organization)s AND id = ANY(SELECT id FROM meta_conversion_events
    WHERE organization_id = %(organization)s AND status = 'FAILED' AND event_time > now() - %(window)s {}
    ORDER BY id FOR NO KEY UPDATE)
AND NOT (event_name = 'LeadSubmitted' AND EXISTS (SELECT FROM meta_conversion_events o
    WHERE o.organization_id = e.organization_id AND o.ctwa_clid_hash = e.ctwa_clid_hash AND o.id <> e.id
    AND o.event_name = 'LeadSubmitted' AND (o.status IN ('PENDING', 'SENT')
        OR (o.status = 'FAILED' AND o.id < e.id AND o.event_time > now() - %(window)s {}))))
"""
# Of several failed leads of one click the first of those that are asked for goes.
ALL: LiteralString = ""
OF_CAUSE: LiteralString = "AND error_code IS NOT DISTINCT FROM %(cause)s"
ONE_OF: LiteralString = "AND id = %(id)s"
# What waits for its pause goes at once; what can still be undone, or is on its way, does not.
NOW: LiteralString = """
UPDATE meta_conversion_events SET next_attempt_at = now(), updated_at = now()
WHERE organization_id = %s AND id = %s AND status = 'PENDING' AND not_before <= now() AND (lease_until IS NULL OR lease_until <= now())
"""


async def one(conn: Connection, who: Access, event_id: UUID) -> None:
    """Send an event again: now, if it waits; anew, if it failed. Refused with the reason when there is nothing to retry."""
    row = await (await conn.execute(ONE, [who.organization_id, event_id])).fetchone()
    if row is None:
        raise NotFound("There is no such conversion event.")
    status, event_time, sending = row
    if status == "SENT":
        raise Refused("already_sent", "Meta has accepted this event: it is not sent twice.")
    if sending:
        raise Refused("being_sent", "This event is being sent right now.")
    if status not in ("FAILED", "PENDING"):
        raise Refused("not_retryable", f"An event that is {status} cannot be sent again.")
    if rules.window_closed(event_time, await clock(conn)):
        raise Refused("window_closed", "The event is older than the 7 days that Meta accepts.")
    if status == "PENDING":
        await conn.execute(NOW, [who.organization_id, event_id])
    elif not await _again(conn, who, ONE_OF, id=event_id):
        raise Refused("duplicate_lead", "Another ticket reports this click: it would be told twice.")
    await audit.record(conn, who.organization_id, who.actor, "event_retried", f"event:{event_id}")


async def failed(conn: Connection, who: Access, cause: str | None = None) -> int:
    """Send all failed events again that Meta still takes, or those of one cause. How many."""
    count = await _again(conn, who, OF_CAUSE if cause else ALL, cause=cause)
    if count:
        told = {"count": count, "cause": cause or ""}
        await audit.record(conn, who.organization_id, who.actor, "events_retried", "events", told)
    return count


async def _again(conn: Connection, who: Access, which: LiteralString, **values: object) -> int:
    about = {"organization": who.organization_id, "window": rules.WINDOW - rules.WINDOW_MARGIN}
    return (await conn.execute(AGAIN.format(which, which), {**about, **values})).rowcount

"""What Meta is owed, written in the transaction of the move that owes it. One writer of `meta_conversion_events`, with dispatch.

Every way a ticket can move ends in `moved` or `undone`, which flow.py calls; a removed stage's tickets come as a set.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

from psycopg import errors
from psycopg.rows import class_row

from whatrack.conversions import rules
from whatrack.conversions.rules import LEAD, Click, Entered, Owed
from whatrack.db import Connection
from whatrack.tickets.moves import Record
from whatrack.tickets.stages import Stage
from whatrack.units import new_id

NO_HOLD = timedelta()
CLASHES = 5  # how often another ticket of the same click may be quicker

# By the primary keys of the three tables.
CLICKS: LiteralString = """
SELECT t.id AS ticket_id, k.ctwa_clid, k.meta_ad_id, k.meta_enrichment_status = 'PENDING' AS enriching, n.waba_id
FROM tickets t
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
LEFT JOIN whatsapp_numbers n ON n.organization_id = t.organization_id AND n.phone_number_id = t.phone_number_id
WHERE t.organization_id = %s AND t.id = ANY(%s)
"""
# The clicks whose lead another ticket already owes or sent: from meta_conversion_events_lead.
TAKEN: LiteralString = """
SELECT ctwa_clid_hash, ticket_id FROM meta_conversion_events
WHERE organization_id = %s AND ctwa_clid_hash = ANY(%s) AND event_name = 'LeadSubmitted' AND status IN ('PENDING', 'SENT')
"""
# A row that is there stays as it is, so that no event is told twice; one that an undo cancelled begins anew.
OWE: LiteralString = """
INSERT INTO meta_conversion_events AS e (
    organization_id, ticket_id, event_name, event_id, status, ctwa_clid, ctwa_clid_hash, meta_ad_id, waba_id, value, currency,
    event_time, owed_version, not_before, hold_reason, id, next_attempt_at, created_at, updated_at)
SELECT n.*, n.not_before, %(now)s, %(now)s
FROM unnest(%(organization_id)s::uuid[], %(ticket_id)s::uuid[], %(event_name)s::text[], %(event_id)s::text[], %(status)s::text[],
            %(ctwa_clid)s::text[], %(ctwa_clid_hash)s::bytea[], %(meta_ad_id)s::text[], %(waba_id)s::text[], %(value)s::numeric[],
            %(currency)s::text[], %(event_time)s::timestamptz[], %(owed_version)s::int[], %(not_before)s::timestamptz[],
            %(hold_reason)s::text[], %(id)s::uuid[])
    AS n (organization_id, ticket_id, event_name, event_id, status, ctwa_clid, ctwa_clid_hash, meta_ad_id, waba_id, value, currency,
          event_time, owed_version, not_before, hold_reason, id)
ORDER BY n.ticket_id
ON CONFLICT (organization_id, ticket_id, event_name) DO UPDATE SET
    status = excluded.status, ctwa_clid = excluded.ctwa_clid, ctwa_clid_hash = excluded.ctwa_clid_hash,
    meta_ad_id = excluded.meta_ad_id, waba_id = excluded.waba_id, value = excluded.value, currency = excluded.currency,
    event_time = excluded.event_time, owed_version = excluded.owed_version, not_before = excluded.not_before,
    next_attempt_at = excluded.not_before, hold_reason = excluded.hold_reason, batch_limit = 1000, updated_at = %(now)s
WHERE e.status = 'CANCELLED'
"""
# What the undone move owed and nobody has sent yet. A row under a lease has an attempt.
CANCEL: LiteralString = """
UPDATE meta_conversion_events SET status = 'CANCELLED', hold_reason = NULL, updated_at = %(now)s
WHERE organization_id = %(organization)s AND ticket_id = %(ticket)s AND attempts = 0
AND status IN ('PENDING', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE', 'SKIPPED_DUPLICATE_LEAD')
"""
OF_MOVE: LiteralString = CANCEL + " AND owed_version = %(version)s"
OF_SALE: LiteralString = CANCEL + " AND event_name = 'Purchase'"
# A value or date that was corrected before anything was sent.
CORRECT: LiteralString = """
UPDATE meta_conversion_events SET value = %(value)s, currency = %(currency)s, event_time = %(at)s, updated_at = %(now)s
WHERE organization_id = %(organization)s AND ticket_id = %(ticket)s AND event_name = 'Purchase' AND NOT was_unknown
AND status IN ('PENDING', 'FAILED', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') AND lease_id IS NULL
AND (value, currency, event_time) IS DISTINCT FROM (%(value)s, %(currency)s, %(at)s)
"""
REVIVE: LiteralString = """
UPDATE meta_conversion_events SET status = 'PENDING', not_before = %(now)s, next_attempt_at = %(now)s, updated_at = %(now)s
WHERE organization_id = %(organization)s AND ticket_id = %(ticket)s AND event_name = 'Purchase' AND status = 'CANCELLED'
AND ctwa_clid IS NOT NULL AND event_time > %(since)s
"""
# Of a removed stage's tickets, those that are somebody's decision: an expired or lost one was only carried along.
CARRIED: LiteralString = """
SELECT id, version, deal_value, currency, won_at FROM tickets
WHERE organization_id = %s AND id = ANY(%s) AND (status = 'open' OR close_reason = 'WON')
"""


async def moved(
    conn: Connection,
    before: Record,
    after: Record,
    stage: Stage,
    *,
    at: datetime,
    now: datetime,
    hold: timedelta = NO_HOLD,
) -> None:
    """Owe what a move owes, and take back or correct what it changes of a sale that Meta has not heard of.

    stage: where the ticket is now. at: when the move happened, now unless told afterwards. hold: how long the move can be undone before anything is sent.
    """
    if before.close_reason == "WON" and after.close_reason != "WON":
        await conn.execute(OF_SALE, _about(after, now))
    elif before.close_reason == "WON":
        corrected = {"value": after.deal_value, "currency": after.currency, "at": after.won_at}
        await conn.execute(CORRECT, {**_about(after, now), **corrected})
    move = entered(before, after, stage, at)
    if move is not None:
        await owe(conn, [move], now=now, hold=hold)


async def undone(conn: Connection, before: Record, restored: Record, *, now: datetime) -> None:
    """Cancel what the undone move owed; a sale that the move had taken back is owed again."""
    await conn.execute(OF_MOVE, {**_about(before, now), "version": before.version})
    if restored.close_reason == "WON" and before.close_reason != "WON":
        await conn.execute(REVIVE, {**_about(before, now), "since": now - rules.WINDOW})


async def moved_along(
    conn: Connection, organization_id: UUID, tickets: Collection[UUID], stage: Stage, *, now: datetime
) -> None:
    """Owe what a removed stage's tickets owe in the stage that took them over."""
    if stage.event_name is None or not tickets:
        return
    found = await (await conn.execute(CARRIED, [organization_id, list(tickets)])).fetchall()
    moves = [
        Entered(organization_id, ticket_id, stage.event_name, won_at or now, value, currency, version)
        for ticket_id, version, value, currency, won_at in found
    ]
    await owe(conn, moves, now=now)


def entered(before: Record, after: Record, stage: Stage, at: datetime) -> Entered | None:
    """What a move of this moment into a stage owes; None when nothing was entered, or the stage has no event."""
    where = (before.stage_id, before.status, before.close_reason)
    if stage.event_name is None or where == (after.stage_id, after.status, after.close_reason):
        return None
    return Entered(
        organization_id=after.organization_id,
        ticket_id=after.id,
        event_name=stage.event_name,
        happened_at=after.won_at if after.won_at and stage.group == "WON" else at,
        value=after.deal_value,
        currency=after.currency,
        version=after.version,
    )


async def owe(
    conn: Connection, moves: Sequence[Entered], *, now: datetime, hold: timedelta = NO_HOLD
) -> None:
    """Write what these moves of one organization owe. Idempotent per ticket and event."""
    if not moves:
        return
    clicks = await _clicks(conn, moves[0].organization_id, [move.ticket_id for move in moves])
    for attempt in range(CLASHES):
        wanted = await _wanted(conn, moves, clicks, now=now, hold=hold)
        try:
            async with conn.transaction():  # a savepoint: another ticket of the same click may be quicker
                await conn.execute(OWE, {**_columns(wanted), "now": now})
        except errors.UniqueViolation as error:
            if error.diag.constraint_name != "meta_conversion_events_lead" or attempt + 1 == CLASHES:
                raise
        else:
            return


async def _wanted(
    conn: Connection, moves: Sequence[Entered], clicks: dict[UUID, Click], *, now: datetime, hold: timedelta
) -> list[Owed]:
    """The rows, one click's lead to the first of its tickets."""
    taken = await _taken(conn, moves, clicks)
    rows = []
    for move in sorted(moves, key=lambda each: each.ticket_id):
        click = clicks[move.ticket_id]
        holder = taken.get(rules.click_hash(click.ctwa_clid)) if move.event_name == LEAD else None
        row = rules.owed(move, click, taken=holder not in (None, move.ticket_id), now=now, hold=hold)
        if row.status == "PENDING" and move.event_name == LEAD:
            taken[row.ctwa_clid_hash] = move.ticket_id
        rows.append(row)
    return rows


async def _taken(
    conn: Connection, moves: Sequence[Entered], clicks: dict[UUID, Click]
) -> dict[bytes | None, UUID]:
    """Hash of a click id → the ticket whose lead of that click is owed or sent."""
    leads = [clicks[move.ticket_id].ctwa_clid for move in moves if move.event_name == LEAD]
    hashes = [rules.click_hash(clid) for clid in leads if clid]
    if not hashes:
        return {}
    found = await (await conn.execute(TAKEN, [moves[0].organization_id, hashes])).fetchall()
    return {bytes(each): ticket_id for each, ticket_id in found}


async def _clicks(conn: Connection, organization_id: UUID, tickets: Collection[UUID]) -> dict[UUID, Click]:
    async with conn.cursor(row_factory=class_row(Click)) as cursor:
        await cursor.execute(CLICKS, [organization_id, list(tickets)])
        return {click.ticket_id: click for click in await cursor.fetchall()}


def _columns(rows: Sequence[Owed]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {
        name: [getattr(row, name) for row in rows] for name in Owed.__struct_fields__
    }
    return {**columns, "id": [new_id() for _ in rows]}


def _about(ticket: Record, now: datetime) -> dict[str, object]:
    return {"organization": ticket.organization_id, "ticket": ticket.id, "now": now}

"""Tickets as people open and move them, at rest."""

from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg import errors
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.db import now as clock
from whatrack.errors import NotFound, Refused
from whatrack.tickets.moves import Before, Record
from whatrack.tickets.stages import Stage, reached
from whatrack.units import new_id

COLUMNS: LiteralString = """
organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, lost_reason, deal_value, currency,
opened_at, active_at, closed_at, won_at, owner_id, version
"""
ONE: LiteralString = f"SELECT {COLUMNS} FROM tickets WHERE organization_id = %s AND id = %s"  # noqa: S608 - constants only
LOCKED: LiteralString = f"{ONE} FOR NO KEY UPDATE"
OPEN_ID: LiteralString = """
SELECT id FROM tickets WHERE organization_id = %s AND contact_id = %s AND phone_number_id = %s AND status = 'open'
"""
INSERT: LiteralString = """
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, currency, source, follow_up,
                     opened_at, active_at, created_at, updated_at)
VALUES (%(organization_id)s, %(id)s, %(contact_id)s, %(phone_number_id)s, %(stage_id)s, 'open', %(currency)s, 'manual', false,
        %(opened_at)s, %(active_at)s, %(opened_at)s, %(opened_at)s)
"""
UPDATE: LiteralString = """
UPDATE tickets SET stage_id = %(stage_id)s, status = %(status)s, close_reason = %(close_reason)s, lost_reason = %(lost_reason)s,
    deal_value = %(deal_value)s, currency = %(currency)s, active_at = %(active_at)s, closed_at = %(closed_at)s,
    won_at = %(won_at)s, version = %(version)s, updated_at = %(now)s
WHERE organization_id = %(organization_id)s AND id = %(id)s
"""
MOVED: LiteralString = """
INSERT INTO ticket_stage_changes (organization_id, id, ticket_id, from_stage_id, to_stage_id, from_stage, to_stage, deal_value,
                                  currency, lost_reason, happened_at, changed_at, actor, before, version, is_undo, reached)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
# The ticket's last move, if the ticket is as that move left it.
LAST_MOVE: LiteralString = """
SELECT before::text, actor, changed_at FROM ticket_stage_changes
WHERE organization_id = %s AND ticket_id = %s AND version = %s ORDER BY changed_at DESC LIMIT 1
"""
TOUCH: LiteralString = (
    "UPDATE tickets SET version = version + 1, updated_at = %s WHERE organization_id = %s AND id = %s"
)
ASSIGN: LiteralString = """
UPDATE tickets SET owner_id = %s, version = version + 1, updated_at = %s WHERE organization_id = %s AND id = %s
"""


async def one(conn: Connection, organization_id: UUID, ticket_id: UUID, *, lock: bool = False) -> Record:
    """One ticket of the organization; NotFound for an unknown one and for another organization's alike."""
    async with conn.cursor(row_factory=class_row(Record)) as cursor:
        row = await (await cursor.execute(LOCKED if lock else ONE, [organization_id, ticket_id])).fetchone()
    if row is None:
        raise NotFound("There is no such ticket.")
    return row


async def open_by_hand(conn: Connection, ticket: Record) -> None:
    """Write a new open ticket; Refused `open_ticket_exists` when the contact has one on this number."""
    key = [ticket.organization_id, ticket.contact_id, ticket.phone_number_id]
    taken = await (await conn.execute(OPEN_ID, key)).fetchone()
    if taken:
        raise Refused(
            "open_ticket_exists",
            f"The contact has an open ticket on this number: {taken[0]}.",
            about=taken[0],
        )
    await conn.execute(INSERT, msgspec.structs.asdict(ticket))


async def write_move(
    conn: Connection,
    before: Record,
    after: Record,
    stages: tuple[Stage, Stage],
    *,
    actor: str,
    at: datetime,
    now: datetime,
    is_undo: bool = False,
) -> None:
    """Write a changed ticket and, when it moved or its status changed, the move, which happened at `at` and is told now.

    What an undo did is not undone again.
    """
    try:
        await conn.execute(UPDATE, {**msgspec.structs.asdict(after), "now": now})
    except errors.UniqueViolation as error:
        if error.diag.constraint_name != "tickets_one_open":
            raise
        raise Refused(
            "open_ticket_exists", "The contact has another open ticket on this number: move that one."
        ) from None
    if (before.stage_id, before.status, before.close_reason) == (
        after.stage_id,
        after.status,
        after.close_reason,
    ):
        return
    old, new = stages
    happened_at = after.won_at if new.group == "WON" and after.won_at else at
    values = [after.organization_id, new_id(), after.id, old.id, new.id, old.name, new.name, after.deal_value]
    was = None if is_undo else msgspec.json.encode(Before.of(before)).decode()
    more = [after.currency, after.lost_reason, happened_at, now, actor, was, after.version, is_undo]
    await conn.execute(MOVED, [*values, *more, None if is_undo else reached(new)])


class LastMove(msgspec.Struct, frozen=True):
    """The move that left a ticket as it is, by whom and when, and what was before."""

    before: Before
    actor: str
    at: datetime


async def last_move(conn: Connection, ticket: Record) -> LastMove | None:
    """The move that made this very version; None when something else changed the ticket last."""
    key = [ticket.organization_id, ticket.id, ticket.version]
    row = await (await conn.execute(LAST_MOVE, key)).fetchone()
    if row is None or row[0] is None:
        return None
    return LastMove(msgspec.json.decode(row[0], type=Before), row[1], row[2])


async def undoable(
    conn: Connection, organization_id: UUID, ticket_id: UUID, *, actor: str, within_s: float
) -> bool:
    """Whether this person may take the ticket's last move back, and it is not older than so many seconds."""
    move = await last_move(conn, await one(conn, organization_id, ticket_id))
    if move is None or move.actor != actor:
        return False
    return await clock(conn) - move.at < timedelta(seconds=within_s)


async def raise_version(conn: Connection, ticket: Record, now: datetime) -> None:
    """Let whoever looks at the ticket know that something about it changed."""
    await conn.execute(TOUCH, [now, ticket.organization_id, ticket.id])


async def assign(conn: Connection, ticket: Record, owner_id: UUID | None, now: datetime) -> None:
    """Give a ticket to somebody, or to nobody."""
    await conn.execute(ASSIGN, [owner_id, now, ticket.organization_id, ticket.id])

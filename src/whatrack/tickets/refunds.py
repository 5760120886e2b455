"""Money given back on a won ticket. One writer of `ticket_refunds`; the sale itself stays what it was."""

from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.db import now as clock
from whatrack.errors import NotFound, Refused, bad_value
from whatrack.tenants import audit
from whatrack.tickets import people
from whatrack.tickets.moves import Record, check_version
from whatrack.units import new_id

INSERT: LiteralString = """
INSERT INTO ticket_refunds (organization_id, id, ticket_id, amount, currency, reason, refunded_at, created_at, actor)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
OF_TICKET: LiteralString = """
SELECT id, amount, currency, reason, refunded_at, created_at, actor FROM ticket_refunds
WHERE organization_id = %s AND ticket_id = %s ORDER BY refunded_at, id
"""
DELETE: LiteralString = "DELETE FROM ticket_refunds WHERE organization_id = %s AND ticket_id = %s AND id = %s"


class Refund(msgspec.Struct, frozen=True):
    """One repayment, in the currency of the sale."""

    id: UUID
    amount: Decimal
    currency: str
    reason: str
    refunded_at: datetime
    created_at: datetime
    actor: str


def check(ticket: Record, earlier: list[Refund], amount: Decimal, at: datetime, now: datetime) -> None:
    """Refused unless the ticket is won, the date lies between sale and now, and no more is given back than was paid."""
    if ticket.close_reason != "WON" or ticket.deal_value is None or ticket.won_at is None:
        raise Refused("not_won", "Only a won ticket can have a refund.")
    if amount <= 0:
        raise bad_value("amount", "A refund is more than zero.", code="amount_not_positive")
    if sum((refund.amount for refund in earlier), amount) > ticket.deal_value:
        raise bad_value("amount", "All refunds together exceed the sale.", code="refund_exceeds_sale")
    if at > now:
        raise bad_value("refunded_at", "A refund cannot lie in the future.", code="in_the_future")
    if at < ticket.won_at:
        raise bad_value("refunded_at", "A refund cannot come before its sale.", code="before_the_sale")


def check_still_fit(ticket: Record, refunds: list[Refund]) -> None:
    """Refused `has_refunds` when the ticket, as it is about to be, could not have had these refunds."""
    if not refunds:
        return
    given_back = sum((refund.amount for refund in refunds), Decimal(0))
    is_sale = ticket.close_reason == "WON" and ticket.deal_value is not None and ticket.won_at is not None
    if not is_sale or (ticket.deal_value or 0) < given_back or ticket.won_at > refunds[0].refunded_at:  # type: ignore[operator] # a sale has a date
        raise Refused("has_refunds", "The ticket has refunds that this would contradict: remove them first.")


async def _add(
    conn: Connection, ticket: Record, *, amount: Decimal, reason: str, at: datetime, now: datetime, actor: str
) -> UUID:
    """Write a refund that was checked; the caller holds the ticket's row."""
    refund_id = new_id()
    values = [ticket.organization_id, refund_id, ticket.id, amount, ticket.currency, reason, at, now, actor]
    await conn.execute(INSERT, values)
    return refund_id


async def of_ticket(conn: Connection, organization_id: UUID, ticket_id: UUID) -> list[Refund]:
    """The ticket's refunds, oldest first."""
    async with conn.cursor(row_factory=class_row(Refund)) as cursor:
        return await (await cursor.execute(OF_TICKET, [organization_id, ticket_id])).fetchall()


async def _remove(conn: Connection, organization_id: UUID, ticket_id: UUID, refund_id: UUID) -> None:
    """Take back a refund that was entered by mistake; NotFound when there is none."""
    done = await conn.execute(DELETE, [organization_id, ticket_id, refund_id])
    if done.rowcount == 0:
        raise NotFound("There is no such refund.")


async def give(
    conn: Connection,
    organization_id: UUID,
    ticket_id: UUID,
    *,
    amount: Decimal,
    reason: str,
    at: datetime | None,
    version: int | None,
    actor: str,
) -> UUID:
    """Write down money given back on a won ticket. at: None for now. Refused `stale` when a version is given and not the ticket's."""
    ticket = await people.one(conn, organization_id, ticket_id, lock=True)
    check_version(ticket, version)
    earlier = await of_ticket(conn, organization_id, ticket_id)
    now = await clock(conn)
    moment = at or now
    check(ticket, earlier, amount, moment, now)
    await people.raise_version(conn, ticket, now)
    refund_id = await _add(conn, ticket, amount=amount, reason=reason, at=moment, now=now, actor=actor)
    told = {"value": str(amount), "currency": ticket.currency}
    await audit.record(conn, organization_id, actor, "refund_added", f"ticket:{ticket_id}", told)
    return refund_id


async def take_back(
    conn: Connection, organization_id: UUID, ticket_id: UUID, refund_id: UUID, *, actor: str
) -> None:
    """Take back a refund that was entered by mistake."""
    ticket = await people.one(conn, organization_id, ticket_id, lock=True)
    await _remove(conn, organization_id, ticket_id, refund_id)
    await people.raise_version(conn, ticket, await clock(conn))
    await audit.record(conn, organization_id, actor, "refund_removed", f"ticket:{ticket_id}")

"""Tickets at rest. One writer of `tickets` and `ticket_stage_changes`."""

from collections.abc import Collection
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from whatrack.columns import flags, moments, numbers, texts, uuids
from whatrack.contacts.identity import Contact
from whatrack.db import Connection
from whatrack.tickets.lifecycle import Rules, Ticket

CLOSED_LATELY = 20  # how many closed tickets of a contact a decision looks back on

COLUMNS: LiteralString = """
t.organization_id, t.id, t.contact_id, t.phone_number_id, t.stage_id, t.status, t.close_reason, t.currency,
t.follow_up, t.opened_at, t.last_message_at, t.active_at, t.closed_at, t.version
"""
# Served by tickets_one_open and tickets_closed.
OF_CONTACTS: LiteralString = f"""
SELECT {COLUMNS} FROM unnest(%(organizations)b, %(contacts)b) AS c (organization_id, id)
JOIN tickets t ON t.organization_id = c.organization_id AND t.contact_id = c.id AND t.status = 'open'
UNION ALL
SELECT {COLUMNS} FROM unnest(%(organizations)b, %(contacts)b) AS c (organization_id, id),
LATERAL (SELECT * FROM tickets t WHERE t.organization_id = c.organization_id AND t.contact_id = c.id
         AND t.status = 'closed' ORDER BY t.closed_at DESC LIMIT {CLOSED_LATELY}) AS t
"""  # noqa: S608 - constants only
RULES: LiteralString = """
SELECT o.id, o.ticket_expiration_days, o.base_currency,
       (SELECT s.id FROM stages s WHERE s.organization_id = o.id AND s.role = 'new')
FROM organizations o WHERE o.id = ANY(%s)
"""
INSERT: LiteralString = """
INSERT INTO tickets (organization_id, id, contact_id, phone_number_id, stage_id, status, close_reason, currency, follow_up,
                     opened_at, last_message_at, active_at, closed_at, source, created_at, updated_at)
SELECT n.*, 'message', %(now)s, %(now)s
FROM unnest(%(organization_id)b, %(id)b, %(contact_id)b, %(phone_number_id)b, %(stage_id)b, %(status)b, %(close_reason)b,
            %(currency)b, %(follow_up)b, %(opened_at)b, %(last_message_at)b, %(active_at)b, %(closed_at)b) AS n
"""
# Nobody's rows are locked while a batch is decided: a ticket that somebody changed meanwhile has another version, is not
# written, and the batch is decided anew. A message that changes the status makes a new version; others do not.
UPDATE: LiteralString = """
UPDATE tickets t SET contact_id = n.contact_id, status = n.status, close_reason = n.close_reason, follow_up = n.follow_up,
    opened_at = n.opened_at, last_message_at = n.last_message_at, active_at = n.active_at, closed_at = n.closed_at, updated_at = %(now)s,
    version = t.version + (t.status <> n.status)::int
FROM unnest(%(organization_id)b, %(id)b, %(contact_id)b, %(status)b, %(close_reason)b, %(follow_up)b, %(opened_at)b,
            %(last_message_at)b, %(active_at)b, %(closed_at)b, %(version)b)
    AS n (organization_id, id, contact_id, status, close_reason, follow_up, opened_at, last_message_at, active_at, closed_at, version)
WHERE t.organization_id = n.organization_id AND t.id = n.id AND t.version = n.version
"""
# The merged contact's tickets that the batch did not load.
GIVE: LiteralString = """
UPDATE tickets SET contact_id = %s, updated_at = %s WHERE organization_id = %s AND contact_id = %s
"""
# A ticket that is busy now is swept next time. 24 h, not "1 day": an interval of days would follow the session's zone
# over a change of clocks.
SWEEP: LiteralString = """
WITH due AS (
    SELECT t.organization_id, t.id, o.ticket_expiration_days * interval '24 hours' AS life
    FROM organizations o
    CROSS JOIN LATERAL (
        SELECT * FROM tickets t WHERE t.organization_id = o.id AND t.status = 'open'
        AND t.active_at < now() - o.ticket_expiration_days * interval '24 hours'
        ORDER BY t.active_at LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED) AS t
    LIMIT %(limit)s
)
UPDATE tickets t SET status = 'closed', close_reason = 'EXPIRED', closed_at = t.active_at + due.life, updated_at = now(),
    version = t.version + 1
FROM due
WHERE t.organization_id = due.organization_id AND t.id = due.id AND t.status = 'open' AND t.active_at < now() - due.life
"""


class Overtaken(Exception):
    """Somebody changed a ticket while the batch was decided: decide it anew."""


async def of_contacts(conn: Connection, contacts: Collection[Contact]) -> list[Ticket]:
    """These contacts' tickets: the open ones and those closed lately."""
    if not contacts:
        return []
    whose = {
        "organizations": uuids(each.organization_id for each in contacts),
        "contacts": uuids(each.id for each in contacts),
    }
    cursor = conn.cursor(binary=True)
    await cursor.execute(OF_CONTACTS, whose)
    return [Ticket(*row) for row in await cursor.fetchall()]


async def rules(conn: Connection, organization_ids: Collection[UUID]) -> dict[UUID, Rules]:
    """What each organization decides about its tickets."""
    rows = await (await conn.execute(RULES, [list(organization_ids)])).fetchall()
    return {organization_id: Rules(days, currency, stage) for organization_id, days, currency, stage in rows}


async def write(conn: Connection, tickets: Collection[Ticket], now: datetime) -> None:
    """Write new and changed tickets. What closes goes first, because a contact has one open ticket per number.

    Raises Overtaken when somebody changed one of them since it was loaded; the transaction must then be rolled back.
    """
    changed = [ticket for ticket in tickets if ticket.changed and not ticket.is_new]
    new = [ticket for ticket in tickets if ticket.is_new]
    for statement, rows in (
        (UPDATE, [ticket for ticket in changed if ticket.status == "closed"]),
        (UPDATE, [ticket for ticket in changed if ticket.status == "open"]),
        (INSERT, new),
    ):
        if rows:
            cursor = await conn.execute(statement, {**_columns(rows), "now": now})
            if cursor.rowcount != len(rows):
                raise Overtaken


async def give(
    conn: Connection, organization_id: UUID, loser_id: UUID, survivor_id: UUID, now: datetime
) -> None:
    """Make all that is left of a merged contact's tickets its survivor's."""
    await conn.execute(GIVE, [survivor_id, now, organization_id, loser_id])


async def expire_due(conn: Connection, limit: int) -> int:
    """Close open tickets whose time is over, by the database's clock; answers how many. System scope."""
    return (await conn.execute(SWEEP, {"limit": limit})).rowcount


def _columns(tickets: list[Ticket]) -> dict[str, object]:
    return {
        "organization_id": uuids(each.organization_id for each in tickets),
        "id": uuids(each.id for each in tickets),
        "contact_id": uuids(each.contact_id for each in tickets),
        "phone_number_id": texts(each.phone_number_id for each in tickets),
        "stage_id": uuids(each.stage_id for each in tickets),
        "status": texts(each.status for each in tickets),
        "close_reason": texts(each.close_reason for each in tickets),
        "currency": texts(each.currency for each in tickets),
        "follow_up": flags(each.follow_up for each in tickets),
        "opened_at": moments(each.opened_at for each in tickets),
        "last_message_at": moments(each.last_message_at for each in tickets),
        "active_at": moments(each.active_at for each in tickets),
        "closed_at": moments(each.closed_at for each in tickets),
        "version": numbers(each.version for each in tickets),
    }

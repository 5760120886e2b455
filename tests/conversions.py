"""What tests of conversions need: tickets that came by a click, moves, and what is owed for them."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.support import NOON, Shop, ad, body, change, message, process, rows
from whatrack import flow
from whatrack.db import Database
from whatrack.tickets.moves import Change, Record
from whatrack.tickets.stages import Stage, find_stage

ACTOR = "user:00000000-0000-0000-0000-000000000001"


async def tickets_of(
    db: Database, shop: Shop, *clids: str | None, ad_id: str = "120226305854810726"
) -> list[UUID]:
    """A ticket for each click id, in order; None for a person whose ad told none."""
    found = []
    for place, clid in enumerate(clids):
        phone = f"55119000{abs(hash((shop.number, place, clid))) % 10**5:05d}"
        at = NOON + timedelta(seconds=place)
        await process(db, body(change(shop.number, message(phone, at=at, referral=ad(ad_id, clid)))))
        row = await rows(
            db, "SELECT id FROM tickets WHERE organization_id = %s ORDER BY created_at DESC LIMIT 1", shop.id
        )
        found.append(row[0]["id"])
    return found


async def move(
    db: Database,
    shop: Shop,
    ticket: UUID,
    to: str,
    *,
    value: str | None = None,
    won_at: datetime | None = None,
    hold_s: float = 0,
) -> Record:
    """Move a ticket as a person does."""

    def choose(stages: list[Stage]) -> Change:
        amount = Decimal(value) if value else Decimal("199.90") if to == "won" else None
        return Change(stage=find_stage(stages, to), deal_value=amount, won_at=won_at)

    async with db.tenant(shop.id) as conn:
        hold = timedelta(seconds=hold_s)
        return await flow.move_ticket(conn, shop.id, ticket, choose, actor=ACTOR, hold=hold)


async def undo(db: Database, shop: Shop, moved: Record) -> Record:
    async with db.tenant(shop.id) as conn:
        return await flow.undo_move(conn, shop.id, moved.id, moved.version, actor=ACTOR)


async def events(db: Database, ticket: UUID | None = None) -> list[dict[str, Any]]:
    """Every event, or a ticket's, oldest first."""
    query = "SELECT * FROM meta_conversion_events WHERE %s::uuid IS NULL OR ticket_id = %s ORDER BY created_at, event_name"
    return await rows(db, query, ticket, ticket)


async def status(db: Database, ticket: UUID) -> dict[str, str]:
    """Event name → status, of a ticket."""
    return {row["event_name"]: row["status"] for row in await events(db, ticket)}


async def put(db: Database, query: str, *values: Any) -> int:
    """Change rows past all rules but the database's own."""
    async with db.system() as conn:
        return (await conn.execute(query.encode(), values)).rowcount

"""The board: each stage's newest tickets as cards, read with what a card shows and no more, and what each stage holds."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.board import finding
from whatrack.board.query import Query, conditions, write_cursor
from whatrack.db import Connection
from whatrack.units import masked_phone

# In the order of Card's fields.
SHOWN: LiteralString = """
SELECT t.id, t.stage_id, t.version, c.name, c.wa_id, k.meta_source_type,
       CASE k.meta_source_type WHEN 'ad' THEN coalesce(nullif(k.meta_ad_name, ''), nullif(k.headline, ''), k.source_id) WHEN 'post' THEN k.headline END,
       t.deal_value, t.currency, t.lost_reason, u.name, t.close_reason IS NOT DISTINCT FROM 'EXPIRED',
       coalesce(t.last_message_at, t.opened_at), t.active_at,
       (SELECT p.source_id FROM ad_pictures p WHERE p.organization_id = t.organization_id AND p.source_id = k.source_id AND p.state = 'had')
FROM found
JOIN tickets t ON t.organization_id = %(organization)s AND t.id = found.id
JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
LEFT JOIN users u ON u.id = t.owner_id
ORDER BY t.active_at DESC, t.id DESC
"""
# How many are in each stage and what they are worth, each currency apart.
TOTALS: LiteralString = """
SELECT stage_id, currency, count(*) AS count, sum(deal_value) AS value FROM found GROUP BY 1, 2 ORDER BY count(*) DESC, currency
"""
# Of all tickets: counted in tickets_stage, a stage at a time (in one go PostgreSQL reads every row), summed in tickets_valued.
ALL_TOTALS: LiteralString = """
SELECT s.id AS stage_id, '' AS currency, of_stage.count, NULL::numeric AS value FROM stages s
CROSS JOIN LATERAL (SELECT count(*) AS count FROM tickets t WHERE t.organization_id = s.organization_id AND t.stage_id = s.id) AS of_stage
WHERE s.organization_id = %(organization)s
UNION ALL
SELECT stage_id, currency, 0, sum(deal_value) FROM tickets
WHERE organization_id = %(organization)s AND deal_value IS NOT NULL GROUP BY stage_id, currency
"""


class Card(msgspec.Struct, frozen=True, gc=False):  # gc: hundreds a page, and none can be part of a cycle
    """A ticket as the board shows it.

    phone: masked for who sees no numbers. source: ad, post or organic; origin: the ad's or post's name, as far as known.
    heard_at: the last message, else the opening; active_at orders. picture: whose picture there is to show.
    """

    id: UUID
    stage_id: UUID
    version: int
    name: str | None
    phone: str | None
    source: str
    origin: str | None
    deal_value: Decimal | None
    currency: str
    lost_reason: str | None
    owner: str | None
    expired: bool
    heard_at: datetime
    active_at: datetime
    picture: str | None


class Column(msgspec.Struct, frozen=True):
    """Cards of one stage and where the next ones begin, None at the end."""

    cards: list[Card]
    next: str | None


class Total(msgspec.Struct, frozen=True):
    """Tickets of one stage, as many as count says; value: what those in one currency are worth, None when not asked or none is.

    A stage's rows add up to its count.
    """

    stage_id: UUID
    currency: str
    count: int
    value: Decimal | None


async def columns(
    conn: Connection, organization_id: UUID, query: Query, longer: Mapping[UUID, int], *, phones: bool
) -> dict[UUID, Column]:
    """For each stage that has any, its newest tickets that match, as many as the query's limit.

    longer: stages of which more are wanted, and how many. phones: whether the reader may see numbers in full.
    """
    most = max([query.limit, *longer.values()])
    wanted = conditions(organization_id, msgspec.structs.replace(query, limit=most), phones=phones)
    lengths = {
        "longer": [*longer],
        "lengths": [each + 1 for each in longer.values()],
        "least": query.limit + 1,
    }
    found: dict[UUID, list[Card]] = {}
    for card in await _cards(conn, finding.by_stage(wanted, SHOWN), wanted.values | lengths, phones=phones):
        found.setdefault(card.stage_id, []).append(card)
    return {stage: _column(cards, longer.get(stage, query.limit)) for stage, cards in found.items()}


async def more(conn: Connection, organization_id: UUID, query: Query, *, phones: bool) -> Column:
    """The tickets of one column that follow the query's cursor."""
    wanted = conditions(organization_id, query, phones=phones)
    return _column(await _cards(conn, finding.page(wanted, SHOWN), wanted.values, phones=phones), query.limit)


async def totals(
    conn: Connection, organization_id: UUID, query: Query, *, phones: bool
) -> dict[UUID, list[Total]]:
    """What each stage holds of the tickets that match: how many, and their value in each currency."""
    wanted = conditions(organization_id, query, phones=phones)
    narrowed = wanted.own or wanted.joined or wanted.people
    statement = finding.counted(wanted, TOTALS) if narrowed else ALL_TOTALS
    found: dict[UUID, list[Total]] = {}
    async with conn.cursor(row_factory=class_row(Total)) as cursor:
        for total in await (await cursor.execute(statement, wanted.values)).fetchall():
            found.setdefault(total.stage_id, []).append(total)
    return found


async def _cards(
    conn: Connection, statement: LiteralString, values: dict[str, Any], *, phones: bool
) -> list[Card]:
    cards = [Card(*row) for row in await (await conn.execute(statement, values)).fetchall()]
    return cards if phones else [_masked(card) for card in cards]


def _masked(card: Card) -> Card:
    return msgspec.structs.replace(card, phone=card.phone and masked_phone(card.phone))


def _column(cards: list[Card], limit: int) -> Column:
    kept = cards[:limit]
    following = write_cursor(kept[-1].active_at, kept[-1].id) if len(cards) > limit else None
    return Column(kept, following)

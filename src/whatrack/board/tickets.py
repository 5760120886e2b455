"""Tickets as a person or program reads them: one, a page of the list, the columns of the board."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row, dict_row

from whatrack.board.query import OWN, Conditions, Query, conditions, write_cursor
from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.units import masked_phone

# In two steps: which tickets (narrow rows, found and cut to the page), then all that is shown of them.
SHOWN: LiteralString = """
SELECT t.id, t.status, t.close_reason, t.lost_reason, t.deal_value, t.currency, t.phone_number_id, t.source, t.follow_up,
       t.opened_at, t.last_message_at, t.active_at, t.closed_at, t.won_at, t.version, t.created_at, t.updated_at, t.owner_id,
       s.id AS stage_id, s.name AS stage_name, s."group" AS stage_group, s.role AS stage_role,
       c.wa_id, c.user_id, c.name AS contact_name, u.name AS owner_name, k.*
FROM found
JOIN tickets t ON t.organization_id = %(organization)s AND t.id = found.id
JOIN stages s ON s.organization_id = t.organization_id AND s.id = t.stage_id
JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
LEFT JOIN users u ON u.id = t.owner_id
ORDER BY {} t.active_at DESC, t.id DESC
"""
BY_STAGE: LiteralString = "s.position,"
UNGROUPED: LiteralString = ""
OF_IDS: LiteralString = "t.id = ANY(%(ids)s)"
NO_PEOPLE: LiteralString = ""
# Newest activity first without sorting them all: each stage's newest come from tickets_stage in order, then are merged.
NEWEST: LiteralString = """
SELECT t.id, t.stage_id, t.active_at FROM stages s
CROSS JOIN LATERAL (SELECT * FROM tickets t WHERE t.organization_id = s.organization_id AND t.stage_id = s.id AND {}
                    ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s) AS t
WHERE s.organization_id = %(organization)s
"""
# What an ad, a campaign, an owner or a search finds is few: found first, sorted then.
MATCHING: LiteralString = """
SELECT t.id, t.stage_id, t.active_at, t.currency, t.deal_value FROM {} WHERE t.organization_id = %(organization)s AND {}
"""
TICKETS: LiteralString = "tickets t"
# Of the people searched for: open and closed tickets each have an index by contact.
THEIR_TICKETS: LiteralString = """
(SELECT t.* FROM people p JOIN tickets t ON t.organization_id = %(organization)s AND t.contact_id = p.contact_id AND t.status = 'open'
 UNION ALL
 SELECT t.* FROM people p JOIN tickets t ON t.organization_id = %(organization)s AND t.contact_id = p.contact_id AND t.status = 'closed') AS t
"""
WITH_TRACKING: LiteralString = (
    " JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id"
)
PEOPLE: LiteralString = "people AS MATERIALIZED ({}), "
PAGE: LiteralString = "WITH {} found AS MATERIALIZED (SELECT id FROM ({}) AS t ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s) {}"
BOARD: LiteralString = """
WITH {} found AS MATERIALIZED (
    SELECT id FROM (SELECT id, stage_id, row_number() OVER (PARTITION BY stage_id ORDER BY active_at DESC, id DESC) AS place FROM ({}) AS t) AS t
    LEFT JOIN unnest(%(longer)s::uuid[], %(lengths)s::int[]) AS asked (longer, length) ON longer = t.stage_id
    WHERE place <= coalesce(length, %(least)s)) {}
"""
# How many are in each stage and what they are worth, each currency apart.
TOTALS: LiteralString = """
WITH {} found AS ({})
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
TRACKING_FIELDS = (
    "meta_source_type", "meta_ad_id", "meta_ad_set_id", "meta_campaign_id", "meta_account_id", "meta_ad_name",
    "meta_ad_set_name", "meta_campaign_name", "meta_placement", "meta_enrichment_status", "meta_enrichment_error",
    "last_enrichment_at", "meta_ad_id_at_enrichment", "source_id", "ctwa_clid", "source_url", "headline", "ad_body",
    "image_url", "video_url", "thumbnail_url", "welcome_message", "last_touch_at", "first_touch_at", "first_source_type",
    "first_source_id", "first_ctwa_clid",
)  # fmt: skip


class Page(msgspec.Struct, frozen=True):
    """One page of tickets and where the next one begins, None at the end."""

    data: list[dict[str, Any]]
    next: str | None


class Total(msgspec.Struct, frozen=True):
    """Tickets of one stage, as many as count says; value: what those in one currency are worth, None when not asked or none is.

    A stage's rows add up to its count.
    """

    stage_id: UUID
    currency: str
    count: int
    value: Decimal | None


async def page(conn: Connection, organization_id: UUID, query: Query, *, phones: bool) -> Page:
    """The tickets that match, newest activity first. phones: whether the reader may see numbers in full."""
    wanted = conditions(organization_id, query, phones=phones)
    statement = PAGE.format(_people(wanted), _found(wanted), SHOWN.format(UNGROUPED))
    rows = await _rows(conn, statement, wanted.values)
    return _page(rows, query.limit, phones=phones)


async def some(
    conn: Connection, organization_id: UUID, ids: Sequence[UUID], *, phones: bool
) -> list[dict[str, Any]]:
    """The tickets of these ids that there are, in no order that is promised."""
    values = {"organization": organization_id, "ids": list(ids), "limit": len(ids)}
    wanted = Conditions([OF_IDS], [], None, values)
    rows = await _rows(conn, PAGE.format(NO_PEOPLE, _matching(wanted), SHOWN.format(UNGROUPED)), values)
    return [as_json(row, phones=phones) for row in rows]


async def columns(
    conn: Connection, organization_id: UUID, query: Query, longer: Mapping[UUID, int], *, phones: bool
) -> dict[UUID, Page]:
    """The board: for each stage that has any, its newest tickets that match, as many as the query's limit.

    longer: stages of which more are wanted, and how many.
    """
    most = max([query.limit, *longer.values()])
    wanted = conditions(organization_id, msgspec.structs.replace(query, limit=most), phones=phones)
    statement = BOARD.format(_people(wanted), _found(wanted), SHOWN.format(BY_STAGE))
    lengths = {
        "longer": [*longer],
        "lengths": [each + 1 for each in longer.values()],
        "least": query.limit + 1,
    }
    rows = await _rows(conn, statement, wanted.values | lengths)
    by_stage: dict[UUID, list[dict[str, Any]]] = {}
    for row in rows:
        by_stage.setdefault(row["stage_id"], []).append(row)
    return {
        each: _page(found, longer.get(each, query.limit), phones=phones) for each, found in by_stage.items()
    }


async def totals(conn: Connection, organization_id: UUID, query: Query, *, phones: bool) -> list[Total]:
    """What each stage holds of the tickets that match: how many, and their value in each currency."""
    wanted = conditions(organization_id, query, phones=phones)
    narrowed = wanted.own or wanted.joined or wanted.people
    statement = TOTALS.format(_people(wanted), _matching(wanted)) if narrowed else ALL_TOTALS
    async with conn.cursor(row_factory=class_row(Total)) as cursor:
        return await (await cursor.execute(statement, wanted.values)).fetchall()


async def one(conn: Connection, organization_id: UUID, ticket_id: UUID, *, phones: bool) -> dict[str, Any]:
    """One ticket; NotFound for an unknown one and for another organization's alike."""
    values = {"organization": organization_id, "id": ticket_id, "limit": 1}
    wanted = Conditions([OWN["id"]], [], None, values)
    rows = await _rows(conn, PAGE.format(NO_PEOPLE, _matching(wanted), SHOWN.format(UNGROUPED)), values)
    if not rows:
        raise NotFound("There is no such ticket.")
    return as_json(rows[0], phones=phones)


def _people(wanted: Conditions) -> LiteralString:
    return PEOPLE.format(wanted.people) if wanted.people else NO_PEOPLE


def _found(wanted: Conditions) -> LiteralString:
    """The tickets that meet every condition: by the walk over the newest, or all of the few that match."""
    if wanted.joined or wanted.people:
        return _matching(wanted)
    return NEWEST.format(" AND ".join(wanted.own or ["true"]))


def _matching(wanted: Conditions) -> LiteralString:
    source = THEIR_TICKETS if wanted.people else TICKETS
    joins = WITH_TRACKING if wanted.joined else NO_PEOPLE
    return MATCHING.format(source + joins, " AND ".join([*wanted.own, *wanted.joined] or ["true"]))


async def _rows(
    conn: Connection, statement: LiteralString, values: dict[str, object]
) -> list[dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, values)).fetchall()


def _page(rows: list[dict[str, Any]], limit: int, *, phones: bool) -> Page:
    kept = rows[:limit]
    following = write_cursor(kept[-1]["active_at"], kept[-1]["id"]) if len(rows) > limit else None
    return Page([as_json(row, phones=phones) for row in kept], following)


def as_json(row: dict[str, Any], *, phones: bool) -> dict[str, Any]:
    """A ticket row in the API's shape."""
    fields = (
        "id", "status", "close_reason", "lost_reason", "deal_value", "currency", "phone_number_id", "source", "follow_up",
        "opened_at", "last_message_at", "closed_at", "won_at", "version", "created_at", "updated_at",
    )  # fmt: skip
    wa_id = row["wa_id"]
    return {
        **{name: row[name] for name in fields},
        "stage": {name: row[f"stage_{name}"] for name in ("id", "name", "group", "role")},
        "owner": {"id": row["owner_id"], "name": row["owner_name"]} if row["owner_id"] else None,
        "contact": {
            "wa_id": wa_id if phones or wa_id is None else masked_phone(wa_id),
            "user_id": row["user_id"],
            "name": row["contact_name"],
        },
        "tracking": {name: row[name] for name in TRACKING_FIELDS},
    }

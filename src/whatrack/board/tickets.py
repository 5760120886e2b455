"""Tickets as a person or program reads them: one, or a page of the list. The board's are in cards.py."""

from collections.abc import Sequence
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.board import finding
from whatrack.board.query import OWN, Conditions, Query, conditions, write_cursor
from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.units import masked_phone

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
ORDER BY t.active_at DESC, t.id DESC
"""
OF_IDS: LiteralString = "t.id = ANY(%(ids)s)"
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


async def page(conn: Connection, organization_id: UUID, query: Query, *, phones: bool) -> Page:
    """The tickets that match, newest activity first. phones: whether the reader may see numbers in full."""
    wanted = conditions(organization_id, query, phones=phones)
    rows = await _rows(conn, finding.page(wanted, SHOWN), wanted.values)
    return _page(rows, query.limit, phones=phones)


async def some(
    conn: Connection, organization_id: UUID, ids: Sequence[UUID], *, phones: bool
) -> list[dict[str, Any]]:
    """The tickets of these ids that there are, in no order that is promised."""
    values = {"organization": organization_id, "ids": list(ids), "limit": len(ids)}
    wanted = Conditions([OF_IDS], [], None, values)
    rows = await _rows(conn, finding.few(wanted, SHOWN), values)
    return [as_json(row, phones=phones) for row in rows]


async def one(conn: Connection, organization_id: UUID, ticket_id: UUID, *, phones: bool) -> dict[str, Any]:
    """One ticket; NotFound for an unknown one and for another organization's alike."""
    values = {"organization": organization_id, "id": ticket_id, "limit": 1}
    wanted = Conditions([OWN["id"]], [], None, values)
    rows = await _rows(conn, finding.few(wanted, SHOWN), values)
    if not rows:
        raise NotFound("There is no such ticket.")
    return as_json(rows[0], phones=phones)


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

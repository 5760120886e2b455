"""Tickets as a person or program reads them: one, or a page of the list."""

import base64
import binascii
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from whatrack.contacts.identity import MAX_TERM, words
from whatrack.db import Connection
from whatrack.errors import NotFound, bad_value
from whatrack.units import masked_phone, phone_key

LAST_CHARACTER = "\U0010ffff"

COLUMNS: LiteralString = """
SELECT t.id, t.status, t.close_reason, t.lost_reason, t.deal_value, t.currency, t.phone_number_id, t.source, t.follow_up,
       t.opened_at, t.last_message_at, t.active_at, t.closed_at, t.won_at, t.version, t.created_at, t.updated_at,
       s.id AS stage_id, s.name AS stage_name, s."group" AS stage_group, s.role AS stage_role,
       c.wa_id, c.user_id, c.name AS contact_name, k.*
FROM stages s
"""
# Newest activity first without sorting them all: each stage's newest come from tickets_stage in order, then are merged.
NEWEST: LiteralString = """
CROSS JOIN LATERAL (SELECT * FROM tickets t WHERE t.organization_id = s.organization_id AND t.stage_id = s.id AND {}
                    ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s) AS t
"""
# What an ad, a campaign or a search finds is few: found first, sorted then.
MATCHING: LiteralString = (
    "JOIN tickets t ON t.organization_id = s.organization_id AND t.stage_id = s.id AND {}"
)
JOINS: LiteralString = """
JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
WHERE s.organization_id = %(organization)s AND {}
ORDER BY t.active_at DESC, t.id DESC LIMIT %(limit)s
"""
# Each filter is one fragment: on the ticket alone, or on what is joined to it.
OWN: dict[str, LiteralString] = {
    "id": "t.id = %(id)s",
    "status": "t.status = %(status)s",
    "stage": "t.stage_id = %(stage)s",
    "cursor": "(t.active_at, t.id) < (%(cursor_at)s, %(cursor_id)s)",
}
JOINED: dict[str, LiteralString] = {
    "campaign": "(k.meta_campaign_id = %(campaign)s OR k.meta_campaign_name = %(campaign)s)",
    "ad": "k.meta_ad_id = %(ad)s",
}
# One word of the search: a prefix of one of the contact's terms, as a range that the index serves.
WORD: tuple[LiteralString, ...] = tuple(
    f"""EXISTS (SELECT FROM contact_terms ct WHERE ct.organization_id = t.organization_id AND ct.contact_id = t.contact_id
        AND ct.term >= %(word{place})s AND ct.term < %(word{place}_end)s)"""
    for place in range(5)
)
# Either reading of a phone's digits: see readings().
EITHER: LiteralString = f"({WORD[0]} OR {WORD[1]})"
NOTHING: LiteralString = "false"
TRACKING_FIELDS = (
    "meta_source_type", "meta_ad_id", "meta_ad_set_id", "meta_campaign_id", "meta_account_id", "meta_ad_name",
    "meta_ad_set_name", "meta_campaign_name", "meta_placement", "meta_enrichment_status", "meta_enrichment_error",
    "last_enrichment_at", "meta_ad_id_at_enrichment", "source_id", "ctwa_clid", "source_url", "headline", "ad_body",
    "image_url", "video_url", "thumbnail_url", "welcome_message", "last_touch_at", "first_touch_at", "first_source_type",
    "first_source_id", "first_ctwa_clid",
)  # fmt: skip


class Query(msgspec.Struct, frozen=True):
    """Which tickets, newest activity first. text: words and digits, each a prefix; cursor: as a page gave it."""

    status: str | None = None
    stage: UUID | None = None
    campaign: str | None = None
    ad: str | None = None
    text: str | None = None
    cursor: str | None = None
    limit: int = 50


class Page(msgspec.Struct, frozen=True):
    """One page of tickets and where the next one begins, None at the end."""

    data: list[dict[str, Any]]
    next: str | None


async def page(conn: Connection, organization_id: UUID, query: Query, *, phones: bool) -> Page:
    """The tickets that match. phones: whether the reader may see numbers in full."""
    parameters: dict[str, object] = {"organization": organization_id, "limit": query.limit + 1}
    given = {name: value for name in (*OWN, *JOINED) if (value := getattr(query, name, None)) is not None}
    parameters |= given
    if query.cursor:
        parameters["cursor_at"], parameters["cursor_id"] = read_cursor(query.cursor)
    sought = search_words(query.text or "")
    for place, word in enumerate(sought):
        parameters[f"word{place}"], parameters[f"word{place}_end"] = word, word + LAST_CHARACTER
    joined = [JOINED[name] for name in given if name in JOINED] + search_conditions(query.text or "", sought)
    rows = await _rows(conn, [OWN[name] for name in given if name in OWN], joined, parameters)
    more = len(rows) > query.limit
    kept = rows[: query.limit]
    following = write_cursor(kept[-1]["active_at"], kept[-1]["id"]) if more else None
    return Page([as_json(row, phones=phones) for row in kept], following)


async def one(conn: Connection, organization_id: UUID, ticket_id: UUID, *, phones: bool) -> dict[str, Any]:
    """One ticket; NotFound for an unknown one and for another organization's alike."""
    rows = await _rows(conn, [OWN["id"]], [], {"organization": organization_id, "id": ticket_id, "limit": 1})
    if not rows:
        raise NotFound("There is no such ticket.")
    return as_json(rows[0], phones=phones)


async def _rows(
    conn: Connection, own: list[LiteralString], joined: list[LiteralString], parameters: dict[str, object]
) -> list[dict[str, Any]]:
    """The tickets that meet every condition, newest activity first."""
    source = (MATCHING if joined or "id" in parameters else NEWEST).format(" AND ".join(own or ["true"]))
    statement = COLUMNS + source + JOINS.format(" AND ".join(joined or ["true"]))
    async with conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(statement, parameters)).fetchall()


def search_words(text: str) -> list[str]:
    """What a search looks for: a typed phone as its digits (in both readings where there are two), else up to five words."""
    if is_phone(text):
        return readings("".join(char for char in text if char.isdecimal()))
    return [word[:MAX_TERM] for word in words(text)[: len(WORD)]]


def search_conditions(text: str, sought: list[str]) -> list[LiteralString]:
    """All of the words, or either reading of a phone; a text without a letter or digit finds nothing."""
    if not sought:
        return [NOTHING] if text.strip() else []
    if is_phone(text) and len(sought) > 1:
        return [EITHER]
    return list(WORD[: len(sought)])


def readings(digits: str) -> list[str]:
    """The digits of a phone as typed, and with Brazil's ninth digit where it may have been left out.

    Ten digits, or twelve with the country code, are a whole old mobile, or a new one not typed to the end.
    """
    country = "55" if len(digits) == 10 else ""
    whole = (phone_key(country + digits) or "").removeprefix(country)
    return [digits, whole] if whole != digits else [digits] if digits else []


def is_phone(text: str) -> bool:
    """Whether a text is written as people write phones, whole or in part."""
    return all(char in "0123456789+-(). " for char in text.strip())


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
        "contact": {
            "wa_id": wa_id if phones or wa_id is None else masked_phone(wa_id),
            "user_id": row["user_id"],
            "name": row["contact_name"],
        },
        "tracking": {name: row[name] for name in TRACKING_FIELDS},
    }


def write_cursor(at: datetime, row_id: UUID | str) -> str:
    """Where a page ended, as an opaque word."""
    return base64.urlsafe_b64encode(f"{at.isoformat()} {row_id}".encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Where a page ended; 422 when the word is not one of ours."""
    try:
        at, _, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        return datetime.fromisoformat(at), UUID(row_id)
    except (ValueError, binascii.Error):
        raise bad_value("cursor", "This cursor is not one that a list gave.") from None

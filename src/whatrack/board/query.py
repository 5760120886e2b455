"""Which tickets a reader asks for: filters and search as conditions that an index serves."""

import base64
import binascii
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.contacts.identity import MAX_TERM, words
from whatrack.errors import bad_value
from whatrack.units import phone_key

LAST_CHARACTER = "\U0010ffff"

# On the ticket alone: tested while the newest are walked, until the page is full.
OWN: dict[str, LiteralString] = {
    "id": "t.id = %(id)s",
    "status": "t.status = %(status)s",
    "stage": "t.stage_id = %(stage)s",
    "since": "t.opened_at >= %(since)s AND t.active_at >= %(since)s",
    "until": "t.opened_at < %(until)s",
    "cursor": "(t.active_at, t.id) < (%(cursor_at)s, %(cursor_id)s)",
}
# Most tickets are one or the other, so the walk finds them soon.
COMMON_SOURCE: LiteralString = """EXISTS (SELECT FROM ticket_tracking o WHERE o.organization_id = t.organization_id
    AND o.ticket_id = t.id AND o.meta_source_type = %(source)s)"""
# What these find is few, by an index of their own: found first, sorted then.
JOINED: dict[str, LiteralString] = {
    "campaign": "(k.meta_campaign_id = %(campaign)s OR k.meta_campaign_name = %(campaign)s)",
    "ad": "k.meta_ad_id = %(ad)s",
    "owner": "t.owner_id = %(owner)s",
}
POSTS: LiteralString = "k.meta_source_type = 'post'"
# One word of the search: who has a term that begins with it, as a range that the index serves.
WORD: LiteralString = """SELECT contact_id FROM contact_terms
    WHERE organization_id = %(organization)s AND term >= %(word{0})s AND term < %(word{0}_end)s"""
WORDS: tuple[LiteralString, ...] = tuple(WORD.format(place) for place in ("0", "1", "2", "3", "4"))
ALL_WORDS: LiteralString = " INTERSECT "
EITHER_READING: LiteralString = " UNION "  # of a phone's digits: see readings()
NOBODY: LiteralString = "SELECT NULL::uuid AS contact_id WHERE false"


class Query(msgspec.Struct, frozen=True):
    """Which tickets, newest activity first. text: words and digits, each a prefix; cursor: as a page gave it.

    source: ad, post or organic. since, until: when they opened, UTC, half open.
    """

    status: str | None = None
    stage: UUID | None = None
    campaign: str | None = None
    ad: str | None = None
    owner: UUID | None = None
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    cursor: str | None = None
    limit: int = 50


class Conditions(msgspec.Struct, frozen=True):
    """A query as SQL: what the walk over the newest tests, what finds few, who was searched for, and the values of all."""

    own: list[LiteralString]
    joined: list[LiteralString]
    people: LiteralString | None
    values: dict[str, object]


def conditions(organization_id: UUID, query: Query, *, phones: bool) -> Conditions:
    """The query as conditions; 422 for a cursor that no list gave. phones: whether the reader may search by number."""
    values: dict[str, object] = {"organization": organization_id, "limit": query.limit + 1}
    asked = {
        name: value for name in (*OWN, *JOINED, "source") if (value := getattr(query, name, None)) is not None
    }
    values |= asked
    if query.cursor:
        values["cursor_at"], values["cursor_id"] = read_cursor(query.cursor)
    text = (query.text or "") if phones else without_digits(query.text or "")
    sought = search_words(text)
    for place, word in enumerate(sought):
        values[f"word{place}"], values[f"word{place}_end"] = word, word + LAST_CHARACTER
    own = [OWN[name] for name in asked if name in OWN]
    joined = [JOINED[name] for name in asked if name in JOINED]
    if query.source == "post":
        joined.append(POSTS)
    elif query.source:
        own.append(COMMON_SOURCE)
    return Conditions(own, joined, people_sought(text, sought), values)


def search_words(text: str) -> list[str]:
    """What a search looks for: a typed phone as its digits (in both readings where there are two), else up to five words."""
    if is_phone(text):
        return readings("".join(char for char in text if char.isdecimal()))
    return [word[:MAX_TERM] for word in words(text)[: len(WORDS)]]


def without_digits(text: str) -> str:
    """A search by somebody who sees no numbers: its words without digits, or one that finds nothing."""
    kept = " ".join(word for word in text.split() if not any(char.isdecimal() for char in word))
    return kept or (text and "?")


def people_sought(text: str, sought: list[str]) -> LiteralString | None:
    """Who has all of the words, or either reading of a phone; nobody for a text without a letter or digit."""
    if not sought:
        return NOBODY if text.strip() else None
    joint = EITHER_READING if is_phone(text) else ALL_WORDS
    return joint.join(WORDS[: len(sought)])


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

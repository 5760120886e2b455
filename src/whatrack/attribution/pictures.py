"""The picture of an ad or post, copied while its link lives: links die in days. One writer of `ad_pictures`.

The drain writes down which pictures are wanted; a loop fetches them, with no transaction open meanwhile.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.attribution.touch import Tracking
from whatrack.db import Connection
from whatrack.meta.webhook import MAX_ID

MAX_ATTEMPTS = 5
FIRST_WAIT = timedelta(minutes=1)  # then 4, 16, 64 minutes: Meta's servers have bad hours, not bad weeks
LEASE = timedelta(minutes=2)
MAX_URL = 4096

# What is known already costs one look at the primary key.
WANT: LiteralString = """
INSERT INTO ad_pictures (organization_id, source_id, url, state, next_attempt_at)
SELECT organization_id, source_id, url, 'wanted', now()
FROM unnest(%b::uuid[], %b::text[], %b::text[]) AS n (organization_id, source_id, url) ORDER BY 1, 2
ON CONFLICT DO NOTHING
"""
# From the index ad_pictures_wanted. The lease is the next attempt's time: a fetcher that died is not waited for longer.
CLAIM: LiteralString = """
UPDATE ad_pictures p SET attempts = attempts + 1, next_attempt_at = now() + %(lease)s
FROM (SELECT organization_id, source_id FROM ad_pictures WHERE state = 'wanted' AND next_attempt_at <= now()
      ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED) AS due
WHERE p.organization_id = due.organization_id AND p.source_id = due.source_id
RETURNING p.organization_id, p.source_id, p.url, p.attempts
"""
# Only who holds the attempt settles it: another may have taken over.
HAVE: LiteralString = """
UPDATE ad_pictures SET state = 'had', bytes = %(bytes)s, media_type = %(type)s, fetched_at = now(), reason = NULL
WHERE organization_id = %(organization)s AND source_id = %(source)s AND state = 'wanted' AND attempts = %(attempts)s
"""
AGAIN: LiteralString = """
UPDATE ad_pictures SET next_attempt_at = now() + %(wait)s, reason = %(reason)s
WHERE organization_id = %(organization)s AND source_id = %(source)s AND state = 'wanted' AND attempts = %(attempts)s
"""
GONE: LiteralString = """
UPDATE ad_pictures SET state = 'gone', reason = %(reason)s
WHERE organization_id = %(organization)s AND source_id = %(source)s AND state = 'wanted' AND attempts = %(attempts)s
"""
HAS: LiteralString = """
SELECT EXISTS (SELECT FROM ad_pictures WHERE organization_id = %s AND source_id = %s AND state = 'had')
"""
WHICH: LiteralString = """
SELECT source_id FROM ad_pictures WHERE organization_id = %s AND source_id = ANY(%s) AND state = 'had'
"""
ONE: LiteralString = """
SELECT media_type, bytes FROM ad_pictures WHERE organization_id = %s AND source_id = %s AND state = 'had'
"""


class Wanted(msgspec.Struct, frozen=True):
    """A picture to be fetched. attempts: this one included."""

    organization_id: UUID
    source_id: str
    url: str
    attempts: int


class Picture(msgspec.Struct, frozen=True):
    """A picture as fetched; media_type by its content."""

    media_type: str
    content: bytes


async def want(conn: Connection, trackings: Collection[Tracking]) -> None:
    """Write down the pictures of a batch's touches: one statement, and none when there is none. Idempotent."""
    wanted: dict[tuple[UUID, str], str] = {}
    for tracking in trackings:
        touch = tracking.touch
        if touch is None or touch.source_id is None or len(touch.source_id) > MAX_ID:
            continue
        url = touch.image_url or touch.thumbnail_url
        if url and len(url) <= MAX_URL:
            wanted.setdefault((tracking.organization_id, touch.source_id), url)
    if wanted:
        organizations, sources = (list(column) for column in zip(*wanted, strict=True))
        await conn.execute(WANT, [organizations, sources, list(wanted.values())])


async def claim(conn: Connection, limit: int) -> list[Wanted]:
    """Take pictures that are due; nobody else takes them before the lease is over. System scope."""
    async with conn.cursor(row_factory=class_row(Wanted)) as cursor:
        return await (await cursor.execute(CLAIM, {"limit": limit, "lease": LEASE})).fetchall()


async def keep(conn: Connection, wanted: Wanted, picture: Picture) -> None:
    """Store what was fetched."""
    await conn.execute(HAVE, {**_key(wanted), "bytes": picture.content, "type": picture.media_type})


async def give_up(conn: Connection, wanted: Wanted, reason: str, *, for_good: bool) -> None:
    """Try later, up to five attempts; or never again. reason: a closed set of words, and a status."""
    if for_good or wanted.attempts >= MAX_ATTEMPTS:
        await conn.execute(GONE, {**_key(wanted), "reason": reason})
        return
    wait = FIRST_WAIT * 4 ** (wanted.attempts - 1)
    await conn.execute(AGAIN, {**_key(wanted), "reason": reason, "wait": wait})


async def has(conn: Connection, organization_id: UUID, source_id: str | None) -> bool:
    """Whether there is a picture to show."""
    row = await (await conn.execute(HAS, [organization_id, source_id])).fetchone()
    return bool(row and row[0])


async def which(conn: Connection, organization_id: UUID, source_ids: Collection[str]) -> frozenset[str]:
    """Of these ads and posts those that have a picture; no statement for none."""
    if not source_ids:
        return frozenset()
    rows = await (await conn.execute(WHICH, [organization_id, list(source_ids)])).fetchall()
    return frozenset(row[0] for row in rows)


async def one(conn: Connection, organization_id: UUID, source_id: str) -> Picture | None:
    """An ad's or post's picture; None when it was never had."""
    row = await (await conn.execute(ONE, [organization_id, source_id])).fetchone()
    return Picture(row[0], row[1]) if row else None


def _key(wanted: Wanted) -> dict[str, object]:
    whose = {"organization": wanted.organization_id, "source": wanted.source_id}
    return {**whose, "attempts": wanted.attempts}

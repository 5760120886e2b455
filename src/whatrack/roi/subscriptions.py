"""Who wants yesterday's figures by mail at eight in the morning, and which days they were told.

One writer of `report_subscriptions` and `report_letters`. A letter is about yesterday of the organization's zone, and is owed
from eight there until that day is over; its row is written in the transaction that owes it, and no later one is about that day or
an earlier one. So a start in the night brings none, a morning that was slept through brings its letter later the same day, and
neither a crash nor another zone, nor asking anew, brings a day twice.
"""

from datetime import date, datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.roi import secret_links

STOP = "/roi/mail/stop/"  # and a letter's token
# Eight o'clock of the organization's zone: today while it is still to come, else tomorrow. Then it is looked for a letter.
IS_EARLY: LiteralString = "(now() AT TIME ZONE o.timezone)::time < '08:00'"
NEXT: LiteralString = f"""
((now() AT TIME ZONE o.timezone)::date + CASE WHEN {IS_EARLY} THEN 0 ELSE 1 END + time '08:00') AT TIME ZONE o.timezone
"""
# Who asks after eight is told of today tomorrow, and not of yesterday at once.
PUT: LiteralString = f"""
INSERT INTO report_subscriptions (organization_id, user_id, due_at, first_day)
SELECT o.id, %(user)s, {NEXT}, (now() AT TIME ZONE o.timezone)::date - CASE WHEN {IS_EARLY} THEN 1 ELSE 0 END
FROM organizations o WHERE o.id = %(organization)s
ON CONFLICT (organization_id, user_id) DO NOTHING
"""  # noqa: S608 - constants only
DELETE: LiteralString = "DELETE FROM report_subscriptions WHERE organization_id = %s AND user_id = %s"
HAS: LiteralString = (
    "SELECT EXISTS (SELECT FROM report_subscriptions WHERE organization_id = %s AND user_id = %s)"
)
# All who are due in the organization that has waited longest and that no other process serves: one report for them all.
# Their memberships are held before a letter is owed, which needs them, and nothing is waited for: who is being removed is left out.
# Waiting for them after the rows here, while a removal waits for these, neither would get on.
CLAIM: LiteralString = f"""
WITH first AS (
    SELECT s.organization_id FROM report_subscriptions s JOIN memberships m USING (organization_id, user_id)
    WHERE s.due_at <= now() ORDER BY s.due_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED FOR KEY SHARE OF m SKIP LOCKED
), due AS (
    SELECT s.organization_id, s.user_id FROM report_subscriptions s JOIN first USING (organization_id)
    JOIN memberships m USING (organization_id, user_id)
    WHERE s.due_at <= now() FOR UPDATE OF s SKIP LOCKED FOR KEY SHARE OF m SKIP LOCKED
)
UPDATE report_subscriptions s SET due_at = {NEXT}
FROM due, users u, organizations o CROSS JOIN LATERAL (SELECT (now() AT TIME ZONE o.timezone)::date - 1 AS day) AS yesterday
WHERE s.organization_id = due.organization_id AND s.user_id = due.user_id AND o.id = s.organization_id AND u.id = s.user_id
RETURNING s.organization_id, s.user_id, u.email, u.language, yesterday.day,
    (yesterday.day + 2)::timestamp AT TIME ZONE o.timezone AS until,
    u.disabled_at IS NULL AND NOT {IS_EARLY} AND yesterday.day >= s.first_day AND NOT EXISTS (SELECT FROM report_letters l
        WHERE l.organization_id = s.organization_id AND l.user_id = s.user_id AND l.day >= yesterday.day) AS is_owed
"""  # noqa: S608 - constants only
LATER: LiteralString = """
UPDATE report_subscriptions SET due_at = now() + interval '30 minutes' WHERE organization_id = %s AND user_id = ANY(%s)
"""
OF_LETTER: LiteralString = """
SELECT l.user_id, u.email, u.language, o.name AS organization, o.slug, EXISTS (SELECT FROM report_subscriptions s
    WHERE s.organization_id = l.organization_id AND s.user_id = l.user_id) AS is_on
FROM report_letters l JOIN users u ON u.id = l.user_id JOIN organizations o ON o.id = l.organization_id
WHERE l.organization_id = %s AND l.token_hash = %s
"""
TELL: LiteralString = (
    "INSERT INTO report_letters (organization_id, user_id, day, token_hash) VALUES (%s, %s, %s, %s)"
)
DROP_OLD: LiteralString = "DELETE FROM report_letters WHERE owed_at < now() - interval '400 days'"


class Reader(msgspec.Struct, frozen=True):
    """Somebody for whom it was time to look. language: None for who chose none. day: yesterday of the organization's zone.

    is_owed: a letter about it is. until: that day's letter is of use to nobody any more.
    """

    organization_id: UUID
    user_id: UUID
    email: str
    language: str | None
    day: date
    until: datetime
    is_owed: bool


class Addressee(msgspec.Struct, frozen=True):
    """Whom a letter went to, about which organization. is_on: whether they get the next ones. language: None for who chose none."""

    user_id: UUID
    email: str
    language: str | None
    organization: str
    slug: str
    is_on: bool


async def subscribe(conn: Connection, organization_id: UUID, user_id: UUID) -> None:
    """Send the letter each morning from now on. Idempotent."""
    await conn.execute(PUT, {"organization": organization_id, "user": user_id})


async def unsubscribe(conn: Connection, organization_id: UUID, user_id: UUID) -> None:
    """Send it no more. Idempotent."""
    await conn.execute(DELETE, [organization_id, user_id])


async def is_subscribed(conn: Connection, organization_id: UUID, user_id: UUID) -> bool:
    """Whether a member gets the letter."""
    row = await (await conn.execute(HAS, [organization_id, user_id])).fetchone()
    return bool(row and row[0])


async def of_letter(conn: Connection, organization_id: UUID, token: str) -> Addressee:
    """Whom the letter with this token went to, in the organization that it names; NotFound for an unknown one."""
    async with conn.cursor(row_factory=class_row(Addressee)) as cursor:
        found = await (
            await cursor.execute(OF_LETTER, [organization_id, secret_links.hash_of(token)])
        ).fetchone()
    if found is None:
        raise NotFound(secret_links.GONE)
    return found


async def claim(conn: Connection) -> list[Reader]:
    """Those of one organization for whom it is time to look, moved on to the next morning (system scope)."""
    async with conn.cursor(row_factory=class_row(Reader)) as cursor:
        return await (await cursor.execute(CLAIM)).fetchall()


async def tell(conn: Connection, reader: Reader, token_hash: bytes) -> None:
    """Keep that a reader's letter about their day is owed, in the transaction that owes it. token_hash: of its link to stop it."""
    await conn.execute(TELL, [reader.organization_id, reader.user_id, reader.day, token_hash])


async def put_off(conn: Connection, readers: list[Reader]) -> None:
    """Look again in half an hour: their report could not be made."""
    if readers:
        await conn.execute(LATER, [readers[0].organization_id, [each.user_id for each in readers]])


async def drop_old(conn: Connection) -> None:
    """Forget letters of more than a year ago (system scope); what they told, no new one is about."""
    await conn.execute(DROP_OLD)

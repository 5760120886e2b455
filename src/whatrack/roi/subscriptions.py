"""Who wants yesterday's figures by mail at eight in the morning. One writer of `report_subscriptions`.

A letter is owed in the transaction that moves its subscription on to the next morning: one a day, also after a crash. A
morning that was slept through is made up for on the same day.
"""

from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection

# Eight o'clock of the organization's zone: today while it is still to come, else tomorrow.
NEXT: LiteralString = """
((now() AT TIME ZONE o.timezone)::date + CASE WHEN (now() AT TIME ZONE o.timezone)::time < '08:00' THEN 0 ELSE 1 END
 + time '08:00') AT TIME ZONE o.timezone
"""
PUT: LiteralString = f"""
INSERT INTO report_subscriptions (organization_id, user_id, due_at)
SELECT o.id, %(user)s, {NEXT} FROM organizations o WHERE o.id = %(organization)s
ON CONFLICT (organization_id, user_id) DO NOTHING
"""  # noqa: S608 - constants only
DELETE: LiteralString = "DELETE FROM report_subscriptions WHERE organization_id = %s AND user_id = %s"
HAS: LiteralString = (
    "SELECT EXISTS (SELECT FROM report_subscriptions WHERE organization_id = %s AND user_id = %s)"
)
# All who are due in the organization that has waited longest: one report serves them all.
CLAIM: LiteralString = f"""
WITH first AS (
    SELECT organization_id FROM report_subscriptions WHERE due_at <= now() ORDER BY due_at LIMIT 1
), due AS (
    SELECT s.organization_id, s.user_id FROM report_subscriptions s JOIN first USING (organization_id)
    WHERE s.due_at <= now() FOR UPDATE OF s SKIP LOCKED
)
UPDATE report_subscriptions s SET due_at = {NEXT}
FROM due, organizations o, users u
WHERE s.organization_id = due.organization_id AND s.user_id = due.user_id AND o.id = s.organization_id AND u.id = s.user_id
RETURNING s.organization_id, s.user_id, u.email, u.language, u.disabled_at IS NOT NULL AS is_disabled, o.name AS organization
"""  # noqa: S608 - constants only
LATER: LiteralString = """
UPDATE report_subscriptions SET due_at = now() + interval '30 minutes' WHERE organization_id = %s AND user_id = ANY(%s)
"""


class Reader(msgspec.Struct, frozen=True):
    """Somebody whose letter is due. language: None for who chose none."""

    organization_id: UUID
    user_id: UUID
    email: str
    language: str | None
    is_disabled: bool
    organization: str


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


async def claim(conn: Connection) -> list[Reader]:
    """Those of one organization whose letter is due, moved on to the next morning (system scope)."""
    async with conn.cursor(row_factory=class_row(Reader)) as cursor:
        return await (await cursor.execute(CLAIM)).fetchall()


async def put_off(conn: Connection, readers: list[Reader]) -> None:
    """Try these again in half an hour: their report could not be made."""
    if readers:
        await conn.execute(LATER, [readers[0].organization_id, [each.user_id for each in readers]])

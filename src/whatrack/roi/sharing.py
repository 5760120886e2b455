"""Read-only links to a report, for people without an account. One writer of `report_links`.

The address names its organization and is kept as its hash alone (secret_links.py); it works until it expires or is revoked, and shows the report of the day it is opened, as it was filtered when the link was made.
"""

from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused
from whatrack.roi import secret_links
from whatrack.tenants import audit
from whatrack.tenants.access import Access
from whatrack.units import new_id

PATH = "/shared/"
LIFETIMES = (7, 30, 90)  # days that may be chosen
MOST = 100  # links of one organization

COUNT: LiteralString = "SELECT count(*) FROM report_links WHERE organization_id = %s AND expires_at > now()"
INSERT: LiteralString = """
INSERT INTO report_links (organization_id, id, token_hash, title, question, created_by, expires_at)
VALUES (%(organization)s, %(id)s, %(hash)s, %(title)s, %(question)s, %(actor)s, now() + %(lifetime)s)
"""
ALL: LiteralString = """
SELECT l.id, l.title, l.question, u.name AS made_by, l.created_at, l.expires_at, l.opened_at, l.expires_at <= now() AS is_over
FROM report_links l LEFT JOIN users u ON l.created_by = 'user:' || u.id
WHERE l.organization_id = %s ORDER BY l.created_at DESC, l.id DESC LIMIT 200
"""
DELETE: LiteralString = "DELETE FROM report_links WHERE organization_id = %s AND id = %s RETURNING title"
OPEN: LiteralString = """
UPDATE report_links SET opened_at = now() WHERE organization_id = %s AND token_hash = %s AND expires_at > now()
RETURNING title, question, expires_at
"""
DROP_OLD: LiteralString = (
    "DELETE FROM report_links WHERE organization_id = %s AND expires_at < now() - interval '30 days'"
)


class Link(msgspec.Struct, frozen=True):
    """A link as its organization lists it. made_by: None for somebody who is gone. opened_at: last, None if never."""

    id: UUID
    title: str
    question: str
    made_by: str | None
    created_at: datetime
    expires_at: datetime
    opened_at: datetime | None
    is_over: bool


class Shared(msgspec.Struct, frozen=True):
    """What a link shows. question: the report's own parameters, as its address has them."""

    title: str
    question: str
    expires_at: datetime


async def create(conn: Connection, access: Access, title: str, question: str, days: int) -> str:
    """A new link's path, which is kept nowhere else. Refused `too_many_links`."""
    access.require("agent")
    if days not in LIFETIMES:
        raise ValueError("no such lifetime")
    await conn.execute(DROP_OLD, [access.organization_id])
    row = await (await conn.execute(COUNT, [access.organization_id])).fetchone()
    if row and row[0] >= MOST:
        raise Refused("too_many_links", f"There are {MOST} links already: revoke one first.")
    token, token_hash = secret_links.make(access.organization_id)
    values = {"organization": access.organization_id, "id": new_id(), "hash": token_hash, "title": title}
    more = {"question": question, "actor": access.actor, "lifetime": timedelta(days=days)}
    await conn.execute(INSERT, {**values, **more})
    detail = {"title": title, "days": days}
    await audit.record(
        conn, access.organization_id, access.actor, "report_shared", f"report:{values['id']}", detail
    )
    return PATH + token


async def everyone(conn: Connection, organization_id: UUID) -> list[Link]:
    """The organization's links, newest first; those that expired in the last 30 days are among them."""
    async with conn.cursor(row_factory=class_row(Link)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def revoke(conn: Connection, access: Access, link_id: UUID) -> None:
    """The link works no longer; NotFound when there is none."""
    access.require("agent")
    row = await (await conn.execute(DELETE, [access.organization_id, link_id])).fetchone()
    if row is None:
        raise NotFound("There is no such link.")
    target = f"report:{link_id}"
    await audit.record(
        conn, access.organization_id, access.actor, "report_unshared", target, {"title": row[0]}
    )


async def opened(conn: Connection, organization_id: UUID, token: str) -> Shared:
    """What a link shows, noting that it was opened; NotFound when it is unknown, revoked or too old."""
    row = await (await conn.execute(OPEN, [organization_id, secret_links.hash_of(token)])).fetchone()
    if row is None:
        raise NotFound(secret_links.GONE)
    return Shared(*row)

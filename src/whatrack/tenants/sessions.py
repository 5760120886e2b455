"""Signed-in browsers. The cookie holds a token of 256 random bits, the row its SHA-256. One writer of `sessions`."""

import hashlib
import secrets
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.tenants.access import Access
from whatrack.tenants.users import User
from whatrack.units import new_id

LIFETIME = timedelta(days=30)  # since last seen
SEEN_EVERY = timedelta(minutes=5)  # how exactly "last seen" is kept: a write for each page would be a waste

INSERT: LiteralString = """
INSERT INTO sessions (id, token_hash, user_id, organization_id, agent, address, created_at, seen_at, expires_at)
VALUES (%(id)s, %(hash)s, %(user)s, %(organization)s, %(agent)s, %(address)s, now(), now(), now() + %(lifetime)s)
"""
FIND: LiteralString = """
SELECT s.id AS session_id, s.organization_id, s.seen_at, now() AS now, u.id, u.email, u.name, u.is_operator, u.language, u.theme,
       u.password_hash IS NOT NULL AS has_password, u.totp_secret IS NOT NULL AS has_totp
FROM sessions s JOIN users u ON u.id = s.user_id
WHERE s.token_hash = %s AND s.expires_at > now() AND u.disabled_at IS NULL
"""
MEMBERSHIPS: LiteralString = """
SELECT o.id, o.name, o.slug, o.timezone, o.base_currency, m.role FROM memberships m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = %s ORDER BY o.name, o.id
"""
SEEN: LiteralString = "UPDATE sessions SET seen_at = now(), expires_at = now() + %s WHERE id = %s"
CHOOSE: LiteralString = "UPDATE sessions SET organization_id = %s WHERE id = %s"
OF_USER: LiteralString = """
SELECT id, agent, address, created_at, seen_at FROM sessions WHERE user_id = %s AND expires_at > now() ORDER BY seen_at DESC
"""
END: LiteralString = "DELETE FROM sessions WHERE user_id = %s AND id = %s"
END_OTHERS: LiteralString = "DELETE FROM sessions WHERE user_id = %s AND id IS DISTINCT FROM %s"
END_HELD: LiteralString = "DELETE FROM sessions WHERE token_hash = %s"
DROP_EXPIRED: LiteralString = "DELETE FROM sessions WHERE expires_at < now()"


class Home(msgspec.Struct, frozen=True):
    """An organization that a person belongs to, and as what."""

    id: UUID
    name: str
    slug: str
    timezone: str
    base_currency: str
    role: str


class Visitor(msgspec.Struct, frozen=True):
    """Who is looking, in which session, and at which of their organizations (None: they belong to none)."""

    user: User
    session_id: UUID
    homes: list[Home]
    home: Home | None

    @property
    def access(self) -> Access | None:
        """What they may do in the organization on screen."""
        return Access(self.home.id, self.home.role, self.user.actor) if self.home else None


class Place(msgspec.Struct, frozen=True):
    """Where somebody signs in from. token: of the session that this browser has already."""

    address: str
    agent: str
    token: str | None = None


class Session(msgspec.Struct, frozen=True):
    """A signed-in browser, as its owner sees it in a list."""

    id: UUID
    agent: str
    address: str
    created_at: datetime
    seen_at: datetime


async def start(
    conn: Connection, user_id: UUID, *, agent: str, address: str, organization_id: UUID | None = None
) -> str:
    """A new session; answers the cookie's token, which is kept nowhere else."""
    token = secrets.token_urlsafe(32)
    values = {"id": new_id(), "hash": _hash(token), "user": user_id, "organization": organization_id}
    more = {"agent": agent[:300], "address": address[:64], "lifetime": LIFETIME}
    await conn.execute(INSERT, {**values, **more})
    return token


async def visitor(conn: Connection, token: str) -> Visitor | None:
    """Whose token this is (system scope: their organizations are not known yet); None when it is no longer good."""
    found = await (await conn.execute(FIND, [_hash(token)])).fetchone()
    if found is None:
        return None
    session_id, organization_id, seen_at, now, *user = found
    if now - seen_at > SEEN_EVERY:
        await conn.execute(SEEN, [LIFETIME, session_id])
    who = User(*user)
    async with conn.cursor(row_factory=class_row(Home)) as cursor:
        homes = await (await cursor.execute(MEMBERSHIPS, [who.id])).fetchall()
    chosen = next((home for home in homes if home.id == organization_id), homes[0] if homes else None)
    return Visitor(who, session_id, homes, chosen)


async def choose(conn: Connection, session_id: UUID, organization_id: UUID) -> None:
    """Put one of the person's organizations on screen. The caller has checked that it is one."""
    await conn.execute(CHOOSE, [organization_id, session_id])


async def of_user(conn: Connection, user_id: UUID) -> list[Session]:
    """The person's signed-in browsers, last seen first."""
    async with conn.cursor(row_factory=class_row(Session)) as cursor:
        return await (await cursor.execute(OF_USER, [user_id])).fetchall()


async def end(conn: Connection, user_id: UUID, session_id: UUID) -> None:
    """Sign one of the person's browsers out. Idempotent."""
    await conn.execute(END, [user_id, session_id])


async def end_token(conn: Connection, token: str) -> None:
    """Sign out the browser that holds this token, whoever it is. Idempotent."""
    await conn.execute(END_HELD, [_hash(token)])


async def end_others(conn: Connection, user_id: UUID, but: UUID | None) -> int:
    """Sign all the person's browsers out but one; answers how many."""
    return (await conn.execute(END_OTHERS, [user_id, but])).rowcount


async def drop_expired(conn: Connection) -> int:
    """Forget sessions that ended by themselves."""
    return (await conn.execute(DROP_EXPIRED)).rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

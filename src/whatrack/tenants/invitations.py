"""Invitations: an address that may join an organization, by a link of seven days. One writer of `invitations`.

Whoever may invite may send again or withdraw; nobody hands out, or renews, a role above their own.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection, Database
from whatrack.errors import NotFound, Refused
from whatrack.tenants import audit, members, sessions, users
from whatrack.tenants.access import Access
from whatrack.tenants.links import token_hash
from whatrack.tenants.sessions import Place
from whatrack.tenants.users import User
from whatrack.units import new_id

LIFETIME = timedelta(days=7)
PATH = "/invite/"

# Inviting an address again replaces the link it had.
PUT: LiteralString = """
INSERT INTO invitations (organization_id, id, email, role, token_hash, invited_by, expires_at)
VALUES (%(organization)s, %(id)s, %(email)s, %(role)s, %(hash)s, %(actor)s, now() + %(lifetime)s)
ON CONFLICT (organization_id, lower(email)) DO UPDATE SET role = excluded.role, token_hash = excluded.token_hash,
    invited_by = excluded.invited_by, created_at = now(), expires_at = excluded.expires_at
RETURNING id
"""
IS_MEMBER: LiteralString = """
SELECT EXISTS (SELECT FROM memberships m JOIN users u ON u.id = m.user_id
               WHERE m.organization_id = %s AND lower(u.email) = lower(%s))
"""
ALL: LiteralString = """
SELECT id, email, role, created_at, expires_at, expires_at < now() AS is_over FROM invitations
WHERE organization_id = %s ORDER BY created_at DESC, id DESC
"""
ONE: LiteralString = """
SELECT id, email, role, created_at, expires_at, expires_at < now() AS is_over FROM invitations
WHERE organization_id = %s AND id = %s
"""
WITHDRAW: LiteralString = "DELETE FROM invitations WHERE organization_id = %s AND id = %s"
FIND: LiteralString = """
SELECT i.organization_id, o.name AS organization, i.email, i.role,
       (SELECT id FROM users u WHERE lower(u.email) = lower(i.email)) AS user_id
FROM invitations i JOIN organizations o ON o.id = i.organization_id
WHERE i.token_hash = %s AND i.expires_at > now()
"""
TAKE: LiteralString = "DELETE FROM invitations WHERE token_hash = %s AND expires_at > now()"


class Invitation(msgspec.Struct, frozen=True):
    """An invitation as its organization lists it. is_over: its link is too old to work."""

    id: UUID
    email: str
    role: str
    created_at: datetime
    expires_at: datetime
    is_over: bool


class Invited(msgspec.Struct, frozen=True):
    """An invitation as its link shows it. user_id: the account that its address has, if any."""

    organization_id: UUID
    organization: str
    email: str
    role: str
    user_id: UUID | None


async def put(conn: Connection, access: Access, email: str, role: str) -> str:
    """Invite an address; answers the link's path. Refused `already_member`."""
    access.require("admin")
    access.require(role)
    row = await (await conn.execute(IS_MEMBER, [access.organization_id, email])).fetchone()
    if row and row[0]:
        raise Refused("already_member", "This person is a member already.", field="email")
    token = secrets.token_urlsafe(32)
    values = {"organization": access.organization_id, "id": new_id(), "email": email, "role": role}
    more = {"hash": token_hash(token), "actor": access.actor, "lifetime": LIFETIME}
    found = await (await conn.execute(PUT, {**values, **more})).fetchone()
    target, detail = f"invitation:{found and found[0]}", {"email": email, "role": role}
    await audit.record(conn, access.organization_id, access.actor, "invitation_sent", target, detail)
    return PATH + token


async def everyone(conn: Connection, organization_id: UUID) -> list[Invitation]:
    """Who was invited and has not joined, last invited first."""
    async with conn.cursor(row_factory=class_row(Invitation)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def one(conn: Connection, organization_id: UUID, invitation_id: UUID) -> Invitation:
    """One invitation; NotFound when the organization has no such."""
    async with conn.cursor(row_factory=class_row(Invitation)) as cursor:
        row = await (await cursor.execute(ONE, [organization_id, invitation_id])).fetchone()
    if row is None:
        raise NotFound("There is no such invitation.")
    return row


async def withdraw(conn: Connection, access: Access, invitation_id: UUID) -> None:
    """Let an invitation's link work no longer."""
    access.require("admin")
    found = await one(conn, access.organization_id, invitation_id)
    await conn.execute(WITHDRAW, [access.organization_id, invitation_id])
    target, detail = f"invitation:{invitation_id}", {"email": found.email}
    await audit.record(conn, access.organization_id, access.actor, "invitation_withdrawn", target, detail)


async def find(db: Database, token: str) -> Invited | None:
    """What a link invites to; None when it is unknown, used, withdrawn or too old. Changes nothing."""
    async with db.system() as conn, conn.cursor(row_factory=class_row(Invited)) as cursor:
        return await (await cursor.execute(FIND, [token_hash(token)])).fetchone()


async def accept(db: Database, token: str, user: User, session_id: UUID) -> bool:
    """The invited person, signed in, joins; False when the link no longer works or is for another address."""
    async with db.system() as conn:
        invited = await _take(conn, token, lambda invited: invited.user_id == user.id)
        if invited is None:
            return False
        await members.join(conn, invited.organization_id, user.id, invited.role)
        await sessions.choose(conn, session_id, invited.organization_id)
        return True


async def accept_new(
    db: Database, token: str, place: Place, *, name: str, password_hash: str, language: str
) -> str | None:
    """Somebody without an account makes one and joins; answers their session's token, or None as `accept` does."""
    async with db.system() as conn:
        invited = await _take(conn, token, lambda invited: invited.user_id is None)
        if invited is None:
            return None
        user = await users.create(
            conn, email=invited.email, name=name, password_hash=password_hash, language=language
        )
        await members.join(conn, invited.organization_id, user.id, invited.role)
        if place.token:
            await sessions.end_token(conn, place.token)
        return await sessions.start(
            conn,
            user.id,
            agent=place.agent,
            address=place.address,
            organization_id=invited.organization_id,
        )


async def _take(conn: Connection, token: str, fits: Callable[[Invited], bool]) -> Invited | None:
    """Use a link up, if it is for whoever holds it."""
    async with conn.cursor(row_factory=class_row(Invited)) as cursor:
        invited = await (await cursor.execute(FIND, [token_hash(token)])).fetchone()
    if invited is None or not fits(invited):
        return None
    taken = (await conn.execute(TAKE, [token_hash(token)])).rowcount
    return invited if taken else None

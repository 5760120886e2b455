"""Who belongs to an organization, and as what. One writer of `memberships`.

Admins look after everybody but owners; an organization keeps at least one owner, however many act at once.
"""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused
from whatrack.tenants import audit
from whatrack.tenants.access import Access

ADD: LiteralString = """
INSERT INTO memberships (organization_id, user_id, role) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
"""
# An invitation never takes away what somebody has by now.
JOIN: LiteralString = """
INSERT INTO memberships (organization_id, user_id, role) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, user_id) DO NOTHING
"""
COUNT_OF: LiteralString = "SELECT count(*) FROM memberships WHERE user_id = %s"
ALL: LiteralString = """
SELECT u.id, u.name, u.email, m.role, m.created_at FROM memberships m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = %s ORDER BY lower(u.name), u.id
"""
ONE: LiteralString = """
SELECT u.id, u.name, u.email, m.role, m.created_at FROM memberships m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = %s AND m.user_id = %s
"""
# Of two owners who demote each other at the same time, the second waits here and finds one owner left.
OWNERS: LiteralString = """
SELECT user_id FROM memberships WHERE organization_id = %s AND role = 'owner' ORDER BY user_id FOR UPDATE
"""
CHANGE: LiteralString = "UPDATE memberships SET role = %s WHERE organization_id = %s AND user_id = %s"
REMOVE: LiteralString = "DELETE FROM memberships WHERE organization_id = %s AND user_id = %s"


class Member(msgspec.Struct, frozen=True):
    """A person in an organization."""

    id: UUID
    name: str
    email: str
    role: str
    created_at: datetime


async def put(conn: Connection, organization_id: UUID, user_id: UUID, role: str) -> None:
    """Make a person a member with this role. Idempotent."""
    await conn.execute(ADD, [organization_id, user_id, role])


async def join(conn: Connection, organization_id: UUID, user_id: UUID, role: str) -> None:
    """Make a person a member, and say so in the audit; who is one already keeps their role."""
    if (await conn.execute(JOIN, [organization_id, user_id, role])).rowcount:
        actor = f"user:{user_id}"
        await audit.record(conn, organization_id, actor, "member_joined", actor, {"role": role})


async def count_of(conn: Connection, user_id: UUID) -> int:
    """How many organizations a person belongs to (system scope)."""
    row = await (await conn.execute(COUNT_OF, [user_id])).fetchone()
    return int(row[0]) if row else 0


async def everyone(conn: Connection, organization_id: UUID) -> list[Member]:
    """The members, by name."""
    async with conn.cursor(row_factory=class_row(Member)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def one(conn: Connection, organization_id: UUID, user_id: UUID) -> Member:
    """One member; NotFound for anybody else, known elsewhere or not."""
    async with conn.cursor(row_factory=class_row(Member)) as cursor:
        row = await (await cursor.execute(ONE, [organization_id, user_id])).fetchone()
    if row is None:
        raise NotFound("There is no such member.")
    return row


async def change_role(conn: Connection, access: Access, user_id: UUID, role: str) -> None:
    """Give a member another role. Forbidden to who ranks below either; Refused `last_owner`."""
    owners = await _owners(conn, access)
    member = await one(conn, access.organization_id, user_id)
    access.require(role)
    if member.role == role:
        return
    _check(access, member, owners)
    await conn.execute(CHANGE, [role, access.organization_id, user_id])
    detail = {"name": member.name, "from": member.role, "to": role}
    target = f"user:{user_id}"
    await audit.record(conn, access.organization_id, access.actor, "member_role_changed", target, detail)


async def remove(conn: Connection, access: Access, user_id: UUID) -> None:
    """Let a member go; their next click no longer shows the organization. Refused `last_owner`."""
    owners = await _owners(conn, access)
    member = await one(conn, access.organization_id, user_id)
    _check(access, member, owners)
    await conn.execute(REMOVE, [access.organization_id, user_id])
    detail = {"name": member.name, "role": member.role}
    await audit.record(
        conn, access.organization_id, access.actor, "member_removed", f"user:{user_id}", detail
    )


def _check(access: Access, member: Member, owners: list[UUID]) -> None:
    access.require("admin")
    access.require(member.role)
    if owners == [member.id]:
        raise Refused("last_owner", "An organization keeps at least one owner: make somebody else one first.")


async def _owners(conn: Connection, access: Access) -> list[UUID]:
    found = await (await conn.execute(OWNERS, [access.organization_id])).fetchall()
    return [row[0] for row in found]

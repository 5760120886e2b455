"""Who belongs to an organization, and as what. One writer of `memberships`."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection

ADD: LiteralString = """
INSERT INTO memberships (organization_id, user_id, role) VALUES (%s, %s, %s)
ON CONFLICT (organization_id, user_id) DO UPDATE SET role = excluded.role
"""
ALL: LiteralString = """
SELECT u.id, u.name, u.email, m.role, m.created_at FROM memberships m JOIN users u ON u.id = m.user_id
WHERE m.organization_id = %s ORDER BY lower(u.name), u.id
"""


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


async def everyone(conn: Connection, organization_id: UUID) -> list[Member]:
    """The members, by name."""
    async with conn.cursor(row_factory=class_row(Member)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()

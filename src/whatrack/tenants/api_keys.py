"""API keys: shown once, kept as a SHA-256 (they are 256 random bits, so a slow hash would add nothing)."""

import hashlib
import secrets
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection, Database
from whatrack.errors import NotFound, Unauthorized
from whatrack.tenants import audit
from whatrack.tenants.access import Access, Operator
from whatrack.units import new_id

PREFIX = "wt_"
ORGANIZATION_ROLES = ("owner", "admin", "agent", "viewer")

INSERT: LiteralString = (
    "INSERT INTO api_key_hashes (id, hash, organization_id, role, name) VALUES (%s, %s, %s, %s, %s)"
)
FIND: LiteralString = """
SELECT id, organization_id, role, coalesce(used_at < date_trunc('hour', now()), true) FROM api_key_hashes
WHERE hash = %s AND revoked_at IS NULL
"""
# To the hour: a write for each request would be a waste.
USED: LiteralString = "UPDATE api_key_hashes SET used_at = date_trunc('hour', now()) WHERE id = %s"
ALL: LiteralString = """
SELECT id, name, role, created_at, used_at FROM api_key_hashes
WHERE organization_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL ORDER BY created_at DESC, id DESC
"""
REVOKE: LiteralString = """
UPDATE api_key_hashes SET revoked_at = now()
WHERE id = %s AND organization_id IS NOT DISTINCT FROM %s AND revoked_at IS NULL RETURNING name
"""
BELONGS: LiteralString = "SELECT organization_id FROM api_key_hashes WHERE id = %s AND revoked_at IS NULL"


class ApiKey(msgspec.Struct, frozen=True):
    """A key that works, without the key itself. used_at: the hour of its last use."""

    id: UUID
    name: str
    role: str
    created_at: datetime
    used_at: datetime | None


async def create(
    conn: Connection, organization_id: UUID | None, role: str, name: str = ""
) -> tuple[UUID, str]:
    """Make a key for an organization with one of its roles, or for the operator; answers its id and the key itself."""
    key_id, key = new_id(), PREFIX + secrets.token_urlsafe(32)
    await conn.execute(INSERT, [key_id, _hash(key), organization_id, role, name])
    return key_id, key


async def issue(conn: Connection, access: Access, role: str, name: str) -> tuple[UUID, str]:
    """A member makes a key with at most their own role; the audit says so. Answers its id and the key itself."""
    access.require("admin")
    access.require(role)
    key_id, key = await create(conn, access.organization_id, role, name)
    detail = {"name": name, "role": role}
    await audit.record(conn, access.organization_id, access.actor, "key_created", f"api_key:{key_id}", detail)
    return key_id, key


async def everyone(conn: Connection, organization_id: UUID | None) -> list[ApiKey]:
    """The keys that work: an organization's, or (None) the operator's. Newest first."""
    async with conn.cursor(row_factory=class_row(ApiKey)) as cursor:
        return await (await cursor.execute(ALL, [organization_id])).fetchall()


async def revoke(conn: Connection, organization_id: UUID | None, actor: str, key_id: UUID) -> None:
    """Let a key work no longer. NotFound when this organization has no such key, or revoked it before."""
    row = await (await conn.execute(REVOKE, [key_id, organization_id])).fetchone()
    if row is None:
        raise NotFound("There is no such key.")
    if organization_id is not None:
        await audit.record(conn, organization_id, actor, "key_revoked", f"api_key:{key_id}", {"name": row[0]})


async def owner_of(conn: Connection, key_id: UUID) -> UUID | None:
    """Whose key this is, None for the operator's. NotFound when there is none that works."""
    row = await (await conn.execute(BELONGS, [key_id])).fetchone()
    if row is None:
        raise NotFound("There is no such key.")
    found: UUID | None = row[0]
    return found


async def authenticate(db: Database, key: str) -> Access | Operator:
    """Who holds this key; raises Unauthorized, in the same words for unknown and revoked."""
    async with db.installation() as conn:
        row = await (await conn.execute(FIND, [_hash(key)])).fetchone()
        if row and row[3]:
            await conn.execute(USED, [row[0]])
    if row is None:
        raise Unauthorized("The API key is unknown or revoked. Make one with `whatrack api-key create`.")
    key_id, organization_id, role, _ = row
    actor = f"api_key:{key_id}"
    return Operator(actor) if organization_id is None else Access(organization_id, role, actor)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

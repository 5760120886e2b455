"""API keys: shown once, kept as a SHA-256 (they are 256 random bits, so a slow hash would add nothing)."""

import hashlib
import secrets
from typing import LiteralString
from uuid import UUID

from whatrack.db import Connection, Database
from whatrack.errors import Unauthorized
from whatrack.tenants.access import Access, Operator
from whatrack.units import new_id

PREFIX = "wt_"
ORGANIZATION_ROLES = ("owner", "admin", "agent", "viewer")

INSERT: LiteralString = "INSERT INTO api_key_hashes (id, hash, organization_id, role) VALUES (%s, %s, %s, %s)"
FIND: LiteralString = (
    "SELECT id, organization_id, role FROM api_key_hashes WHERE hash = %s AND revoked_at IS NULL"
)


async def create(conn: Connection, organization_id: UUID | None, role: str) -> tuple[UUID, str]:
    """Make a key for an organization with one of its roles, or for the operator; answers its id and the key itself."""
    key_id, key = new_id(), PREFIX + secrets.token_urlsafe(32)
    await conn.execute(INSERT, [key_id, _hash(key), organization_id, role])
    return key_id, key


async def authenticate(db: Database, key: str) -> Access | Operator:
    """Who holds this key; raises Unauthorized, in the same words for unknown and revoked."""
    async with db.installation() as conn:
        row = await (await conn.execute(FIND, [_hash(key)])).fetchone()
    if row is None:
        raise Unauthorized("The API key is unknown or revoked. Make one with `whatrack api-key create`.")
    key_id, organization_id, role = row
    actor = f"api_key:{key_id}"
    return Operator(actor) if organization_id is None else Access(organization_id, role, actor)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()

"""Links that work once: set-up, sign-in from the command line, forgotten password. One writer of `one_time_links`.

Looking at a link changes nothing, for mail programs open links before people do; only `take` uses it up.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import Literal, LiteralString
from uuid import UUID

import msgspec

from whatrack.db import Connection

Kind = Literal["setup", "sign_in", "reset"]
LIFETIMES: dict[Kind, timedelta] = {
    "setup": timedelta(hours=24),
    "sign_in": timedelta(hours=1),
    "reset": timedelta(hours=1),
}
# Where each is opened.
PATHS: dict[Kind, str] = {"setup": "/setup/", "sign_in": "/enter/", "reset": "/reset/"}

VOID: LiteralString = "DELETE FROM one_time_links WHERE kind = %s AND user_id IS NOT DISTINCT FROM %s"
INSERT: LiteralString = """
INSERT INTO one_time_links (hash, kind, user_id, expires_at) VALUES (%s, %s, %s, now() + %s)
"""
FIND: LiteralString = """
SELECT user_id FROM one_time_links WHERE hash = %s AND kind = %s AND expires_at > now()
"""
TAKE: LiteralString = """
DELETE FROM one_time_links WHERE hash = %s AND kind = %s AND expires_at > now() RETURNING user_id
"""
DROP_EXPIRED: LiteralString = "DELETE FROM one_time_links WHERE expires_at < now()"


class Link(msgspec.Struct, frozen=True):
    """A link that still works. user_id: whose, None for the set-up."""

    kind: Kind
    user_id: UUID | None


async def make(conn: Connection, kind: Kind, user_id: UUID | None = None) -> str:
    """A new link's path; earlier ones of the same kind for the same person no longer work."""
    token = secrets.token_urlsafe(32)
    await conn.execute(VOID, [kind, user_id])
    await conn.execute(INSERT, [token_hash(token), kind, user_id, LIFETIMES[kind]])
    return PATHS[kind] + token


async def find(conn: Connection, kind: Kind, token: str) -> Link | None:
    """The link with this token, left as it is; None when it is unknown, used or too old."""
    return await _one(conn, FIND, kind, token)


async def take(conn: Connection, kind: Kind, token: str) -> Link | None:
    """Use the link up; None when somebody did before."""
    return await _one(conn, TAKE, kind, token)


async def void(conn: Connection, kind: Kind, user_id: UUID) -> None:
    """Take a person's links of one kind back."""
    await conn.execute(VOID, [kind, user_id])


async def drop_expired(conn: Connection) -> None:
    """Forget links that are too old to work."""
    await conn.execute(DROP_EXPIRED)


async def _one(conn: Connection, query: LiteralString, kind: Kind, token: str) -> Link | None:
    row = await (await conn.execute(query, [token_hash(token), kind])).fetchone()
    return Link(kind, row[0]) if row else None


def token_hash(token: str) -> bytes:
    """What is kept of a token: it is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

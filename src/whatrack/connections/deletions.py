"""Data deletions that Meta asked for: a code each, for the status page that Meta requires. One writer of `meta_data_deletions`."""

import secrets
from datetime import datetime
from typing import LiteralString

from whatrack.db import Connection

INSERT: LiteralString = "INSERT INTO meta_data_deletions (code, profiles) VALUES (%s, %s)"
FIND: LiteralString = "SELECT done_at FROM meta_data_deletions WHERE code = %s"


async def record(conn: Connection, profiles: int) -> str:
    """Keep that so many profiles were deleted; the code by which anybody may ask."""
    code = secrets.token_urlsafe(12)
    await conn.execute(INSERT, [code, profiles])
    return code


async def done_at(conn: Connection, code: str) -> datetime | None:
    """When the deletion of this code was done; None for an unknown code."""
    row = await (await conn.execute(FIND, [code])).fetchone()
    return row[0] if row else None

"""Signing in and being recognised: the only module of tenants that looks at every organization."""

from whatrack.db import Database
from whatrack.tenants import sessions
from whatrack.tenants.sessions import Visitor


async def visitor(db: Database, token: str) -> Visitor | None:
    """Whose session this token is; None when it is unknown, ended or expired."""
    async with db.system() as conn:
        return await sessions.visitor(conn, token)

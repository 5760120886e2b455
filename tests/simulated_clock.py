"""A database whose clock a test moves: now() is a function of ours for the connections made with the simulated conninfo.

Only now() is moved, which is what the product reads its time from; nothing else of the product is touched.
"""

from psycopg import AsyncConnection, conninfo

from whatrack.db import Database

SCHEMA = "simulated_clock"
SETUP = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.ahead (by interval NOT NULL);
CREATE OR REPLACE FUNCTION {SCHEMA}.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + (SELECT by FROM {SCHEMA}.ahead)';
DELETE FROM {SCHEMA}.ahead;
INSERT INTO {SCHEMA}.ahead VALUES ('0 s');
"""


class SimulatedClock:
    """now(), as far from the real one as `move` says. Use it inside `async with`; the schema goes with it."""

    def __init__(self, real: str) -> None:
        self._real = real
        self.conninfo = conninfo.make_conninfo(real, options=f"-c search_path={SCHEMA},pg_catalog,public")

    async def __aenter__(self) -> "SimulatedClock":
        await self._run(SETUP)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._run(f"DROP SCHEMA {SCHEMA} CASCADE")

    async def move(self, seconds: float) -> None:
        """Set the clock so many seconds ahead of the real one; fewer than zero: behind it."""
        await self._run(f"UPDATE {SCHEMA}.ahead SET by = make_interval(secs => {float(seconds)})")

    async def open(self) -> Database:
        """The database as its users see it, with the moved clock."""
        db = Database(self.conninfo)
        await db.open()
        return db

    async def _run(self, statements: str) -> None:
        async with await AsyncConnection.connect(self._real, autocommit=True) as conn:
            await conn.execute(statements.encode())

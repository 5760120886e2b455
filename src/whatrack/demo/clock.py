"""A database whose clock may stand in the past: for a demo that lives its last month, and for tests. Nothing else uses it.

now() is a function of ours for connections made with the moved conninfo, which is what the product reads its time from;
nothing else of the product is touched, and other connections know nothing of it.
"""

from typing import LiteralString

from psycopg import AsyncConnection, conninfo

# How many seconds it is ahead stands in a sequence, which is no table and is seen at once.
SETUP: LiteralString = """
CREATE SCHEMA IF NOT EXISTS moved_clock;
CREATE SEQUENCE IF NOT EXISTS moved_clock.ahead MINVALUE -1000000000000 START 0;
CREATE OR REPLACE FUNCTION moved_clock.now() RETURNS timestamptz LANGUAGE sql STABLE
    AS 'SELECT pg_catalog.now() + (SELECT make_interval(secs => last_value) FROM moved_clock.ahead)';
"""
AS_IT_IS: LiteralString = """
CREATE OR REPLACE FUNCTION moved_clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT pg_catalog.now()';
"""
MOVE: LiteralString = "SELECT setval('moved_clock.ahead', %s)"


class MovedClock:
    """The clock of who connects with `conninfo`. real: another conninfo of the same database."""

    def __init__(self, real: str) -> None:
        self._real = real
        self.conninfo = conninfo.make_conninfo(real, options="-c search_path=moved_clock,pg_catalog,public")

    async def start(self, seconds: int) -> None:
        """Make the clock, so many seconds ahead of the real one; fewer than zero: behind it."""
        await self._run(SETUP)
        await self.move(seconds)

    async def move(self, seconds: int) -> None:
        """Set it so many seconds ahead of the real one."""
        await self._run(MOVE, seconds)

    async def stop(self) -> None:
        """From now on it is the real one, at no cost."""
        await self._run(AS_IT_IS)

    async def remove(self) -> None:
        """Take it away; nobody may be connected by it any more."""
        await self._run("DROP SCHEMA moved_clock CASCADE")

    async def _run(self, statements: LiteralString, *values: int) -> None:
        async with await AsyncConnection.connect(self._real, autocommit=True) as conn:
            await conn.execute(statements, values or None)

"""The only ways to a database connection: `tenant(org)` sees one organization's rows, `reading(org)` too, `system()` sees all.

All open a transaction and name their scope in the same round trip, for that transaction only: no session state,
so a transaction pooler works. Row-level security reads the scope (see migrations/); a query that forgets its
organization gets no rows of others. `system()` is for the inbox, flow, work, workers, login and the command line;
an architecture test keeps it there.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import AsyncConnection, OperationalError, sql
from psycopg_pool import AsyncConnectionPool

from whatrack.errors import ConfigError

ALL_TENANTS = UUID("ffffffff-ffff-ffff-ffff-ffffffffffff")
NO_TENANT = UUID(int=0)
APP_ROLE = "whatrack_app"
MIN_VERSION = 150000
# What a connection sends and receives at once, it keeps room for as long as it lives (libpq never gives a buffer back).
MUCH_BYTES = 2 * 1024 * 1024
# When the pool is to close a connection and open another, as it does with each at the end of max_lifetime: it warns of one that comes
# back closed. psycopg keeps the field for the pool, and has no public name for it.
EXPIRED = float("-inf")

Connection = AsyncConnection[Any]

# Every setting ends with the transaction. jit: compiling a batch statement costs more than running it.
BEGIN: LiteralString = """
BEGIN {mode}; {role} SELECT set_config('whatrack.org', {scope}, true), set_config('statement_timeout', '30s', true),
set_config('lock_timeout', '10s', true), set_config('idle_in_transaction_session_timeout', '60s', true),
set_config('jit', 'off', true),
set_config('timezone', 'UTC', true)
"""
READING: LiteralString = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
# Would row-level security be bypassed, is there a role for which it would not, and which server is it?
WHO: LiteralString = """
SELECT rolsuper OR rolbypassrls, EXISTS (SELECT FROM pg_roles WHERE rolname = %s),
       current_setting('server_version_num')::int
FROM pg_roles WHERE rolname = current_user
"""


class Database:
    """A pool of connections to one PostgreSQL. Open it once per process, close it at the end."""

    def __init__(self, conninfo: str, *, max_size: int = 10) -> None:
        self.conninfo = conninfo
        self._role: str | None = None
        self._pool = AsyncConnectionPool(
            conninfo, min_size=1, max_size=max_size, open=False, timeout=10, kwargs={"autocommit": True}
        )

    async def open(self) -> None:
        """Connect; ConfigError when the server is out of reach, too old, or would bypass row-level security."""
        self._role = await app_role(self.conninfo)
        await self._pool.open()

    @property
    def takes_role(self) -> bool:
        """Whether every transaction takes another role, because the connection's own bypasses row-level security."""
        return self._role is not None

    async def close(self) -> None:
        """Give every connection back. Idempotent."""
        await self._pool.close()

    def tenant(self, organization_id: UUID) -> AbstractAsyncContextManager[Connection]:
        """A transaction that sees and writes one organization's rows; committed when the block ends well."""
        if organization_id in (ALL_TENANTS, NO_TENANT):
            raise ValueError("a reserved id is not an organization")
        return self._scoped(organization_id)

    def reading(self, organization_id: UUID) -> AbstractAsyncContextManager[Connection]:
        """The same for who only reads: every statement sees the rows as they were at the first, whatever is written meanwhile."""
        if organization_id in (ALL_TENANTS, NO_TENANT):
            raise ValueError("a reserved id is not an organization")
        return self._scoped(organization_id, READING)

    def system(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction over every organization's rows, for the loops that serve everybody."""
        return self._scoped(ALL_TENANTS)

    def installation(self) -> AbstractAsyncContextManager[Connection]:
        """A transaction over the installation's own tables; it sees no organization's rows."""
        return self._scoped(NO_TENANT)

    @asynccontextmanager
    async def _scoped(self, scope: UUID, mode: LiteralString = "") -> AsyncIterator[Connection]:
        conn = await self._begun(scope, mode)
        try:
            try:
                yield conn
            except BaseException:
                if not conn.broken:
                    await conn.rollback()
                raise
            await conn.commit()
        finally:
            await self._pool.putconn(conn)

    def carried(self, conn: Connection, size: int) -> None:
        """Say that a transaction's connection carried so many bytes: much of them, and it is not used again."""
        if size > MUCH_BYTES:
            conn._expire_at = EXPIRED

    async def _begun(self, scope: UUID, mode: LiteralString) -> Connection:
        """A connection in a transaction. One that died in the pool, as all do when the server restarts, is replaced."""
        for attempt in range(self._pool.max_size + 1):
            conn = await self._pool.getconn()
            try:
                await self.begin(conn, scope, mode)
            except BaseException as error:
                died = conn.broken and isinstance(error, OperationalError)
                await self._pool.putconn(conn)
                if not died or attempt == self._pool.max_size:
                    raise
            else:
                return conn
        raise RuntimeError("unreachable: the last attempt raises")

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        """A connection without a transaction, for what refuses to run in one (DETACH … CONCURRENTLY, NOTIFY)."""
        async with self._pool.connection() as conn:
            if self._role:
                await conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._role)), prepare=False)
            try:
                yield conn
            finally:
                if self._role and not conn.broken:
                    await conn.execute("RESET ROLE", prepare=False)

    async def dedicated(self) -> Connection:
        """A connection outside the pool, for a loop that keeps one for life; the caller closes it."""
        return await AsyncConnection.connect(self.conninfo, autocommit=True, connect_timeout=5)

    async def begin(self, conn: Connection, scope: UUID, mode: LiteralString = "") -> None:
        """Open a scoped transaction on a connection; `conn.commit()` or `conn.rollback()` ends it."""
        role = sql.SQL("SET LOCAL ROLE {};").format(sql.Identifier(self._role)) if self._role else sql.SQL("")
        statement = sql.SQL(BEGIN).format(mode=sql.SQL(mode), role=role, scope=sql.Literal(str(scope)))
        await conn.execute(statement, prepare=False)


async def app_role(conninfo: str) -> str | None:
    """The role to take in every transaction, or None when the connection's own is bound by row-level security.

    A superuser or BYPASSRLS role would see every organization, so it takes `whatrack_app`, which `whatrack migrate`
    makes; without that role the start is refused.
    """
    try:
        conn = await AsyncConnection.connect(conninfo, autocommit=True, connect_timeout=10)
    except OperationalError as error:
        raise ConfigError(f"DATABASE_URL: the server cannot be reached: {_first_line(error)}") from None
    async with conn:
        row = await (await conn.execute(WHO, [APP_ROLE])).fetchone()
    bypasses, has_app_role, version = row or (True, False, 0)
    if version < MIN_VERSION:
        raise ConfigError(f"DATABASE_URL: PostgreSQL 15 or newer is needed, this one is {version // 10000}.")
    if not bypasses:
        return None
    if not has_app_role:
        raise ConfigError(
            f"DATABASE_URL: its role bypasses row-level security and there is no role {APP_ROLE} to take instead: "
            "run `whatrack migrate` once as that role, or connect as a role that is neither superuser nor BYPASSRLS."
        )
    return APP_ROLE


async def now(conn: Connection) -> datetime:
    """The database's clock at the start of this transaction, UTC: leases, windows and partitions use it."""
    row = await (await conn.execute("SELECT now()")).fetchone()
    if row is None:
        raise RuntimeError("SELECT now() gave no row")
    moment: datetime = row[0]
    return moment


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]

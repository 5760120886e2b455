"""Day partitions of the deliveries: made ahead, dropped whole. One day is one table; there is no default one."""

from contextlib import suppress
from datetime import date, timedelta
from typing import LiteralString

from psycopg import errors, sql

from whatrack.db import Connection, Database
from whatrack.inbox.claim import LOCK_CLASS
from whatrack.observe import logger

DAYS_AHEAD = 14
MIN_DAYS_AHEAD = 3  # readiness is red below
DROPPING = -2  # an object of our class of advisory locks, beside the partitions -1 to 63

TODAY: LiteralString = "SELECT (now() AT TIME ZONE 'UTC')::date"
# The day stands in the partition's name; pg_inherits knows which are attached.
ATTACHED: LiteralString = """
SELECT to_date(right(c.relname, 8), 'YYYYMMDD') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'webhook_deliveries'::regclass AND NOT i.inhdetachpending ORDER BY 1
"""
# Every day's table, also one that a crash left half detached (pending) or detached and not dropped (neither).
TABLES: LiteralString = """
SELECT to_date(right(c.relname, 8), 'YYYYMMDD'), i.inhrelid IS NOT NULL, coalesce(i.inhdetachpending, false)
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE c.relkind = 'r' AND c.relname ~ '^webhook_deliveries_[0-9]{8}$' AND pg_table_is_visible(c.oid)
ORDER BY 1
"""
BUSY: LiteralString = "SELECT EXISTS (SELECT FROM delivery_queue WHERE day = %s)"
# One process at a time: two detaches wait for each other. A reader may keep the lock's transaction idle for long.
# Without parameters: a bound statement keeps its snapshot, and FINALIZE waits for everybody who has an older one.
ALONE = sql.SQL("""
SELECT pg_try_advisory_xact_lock({lock_class}, {dropping}), set_config('idle_in_transaction_session_timeout', '0', true)
""").format(lock_class=sql.Literal(LOCK_CLASS), dropping=sql.Literal(DROPPING))

log = logger(__name__)


async def ensure_days(db: Database) -> int:
    """Make the partitions from yesterday to 14 days ahead; answers for how many days ahead they now exist.

    A table is made on its own and then attached, which waits for nobody: CREATE … PARTITION OF would take a lock
    that stops every insert. Safe to run in many processes at once.
    """
    async with db.autocommit() as conn:
        today = await _today(conn)
        attached = set(await attached_days(conn))
        for offset in range(-1, DAYS_AHEAD + 1):
            day = today + timedelta(days=offset)
            if day not in attached:
                await _make(conn, day)
        return await _days_ahead(conn, today)


async def days_ahead(conn: Connection) -> int:
    """For how many days from today on partitions exist without a gap; 0 when today's is missing."""
    return await _days_ahead(conn, await _today(conn))


async def attached_days(conn: Connection) -> list[date]:
    """The days that have a partition, oldest first."""
    return [row[0] for row in await (await conn.execute(ATTACHED)).fetchall()]


async def drop_days(db: Database, keep_days: int) -> list[date]:
    """Drop the days older than `keep_days`; a day with deliveries still queued stays. Answers the days dropped.

    None while another process is at it.
    """
    dropped = []
    async with db.installation() as guard:
        alone = await (await guard.execute(ALONE, prepare=False)).fetchone()
        if not alone or not alone[0]:
            return []
        async with db.autocommit() as conn:
            oldest = await _today(conn) - timedelta(days=keep_days)
            for day, attached, pending in await (await conn.execute(TABLES)).fetchall():
                if day >= oldest:
                    break
                busy = await (await conn.execute(BUSY, [day])).fetchone()
                if busy and busy[0]:
                    log.warning("old_day_still_queued", day=str(day))
                    continue
                await _drop(conn, day, attached=attached, pending=pending)
                dropped.append(day)
    return dropped


async def _today(conn: Connection) -> date:
    row = await (await conn.execute(TODAY)).fetchone()
    today: date = row[0] if row else date.min
    return today


async def _days_ahead(conn: Connection, today: date) -> int:
    attached = set(await attached_days(conn))
    ahead = 0
    while today + timedelta(days=ahead) in attached:
        ahead += 1
    return max(ahead - 1, 0)


def _names(day: date) -> dict[str, sql.Composable]:
    table = f"webhook_deliveries_{day:%Y%m%d}"
    return {
        "table": sql.Identifier(table),
        "day": sql.Literal(str(day)),
        "next": sql.Literal(str(day + timedelta(days=1))),
    }


async def _make(conn: Connection, day: date) -> None:
    names = _names(day)
    make = sql.SQL("CREATE TABLE IF NOT EXISTS {table} (LIKE webhook_deliveries INCLUDING ALL)")
    attach = sql.SQL(
        "ALTER TABLE webhook_deliveries ATTACH PARTITION {table} FOR VALUES FROM ({day}) TO ({next})"
    )
    # Each of these says that another process was quicker: IF NOT EXISTS does not see what is being made right now.
    with suppress(errors.DuplicateTable, errors.DuplicateObject, errors.UniqueViolation):
        await conn.execute(make.format(**names), prepare=False)
    try:
        await conn.execute(attach.format(**names), prepare=False)
    except (errors.WrongObjectType, errors.InvalidObjectDefinition):
        log.info("delivery_day_made_by_another", day=str(day))


async def _drop(conn: Connection, day: date, *, attached: bool, pending: bool) -> None:
    """Detach without stopping inserts, then drop; takes up where an interrupted drop left off."""
    names = _names(day)
    if attached:
        how = sql.SQL("FINALIZE" if pending else "CONCURRENTLY")
        detach = sql.SQL("ALTER TABLE webhook_deliveries DETACH PARTITION {table} {how}").format(
            how=how, **names
        )
        await conn.execute(detach, prepare=False)
    await conn.execute(sql.SQL("DROP TABLE {table}").format(**names), prepare=False)
    log.info("delivery_day_dropped", day=str(day))

"""The deliveries set aside are kept long, not for ever: by age and under a size cap, with a warning before any goes."""

from typing import LiteralString

import msgspec

from whatrack.db import Connection, Database
from whatrack.observe import logger

WARN_DAYS = 7  # what leaves within a week is warned of, and what would pass four fifths of the cap

LEAVING: LiteralString = """
SELECT (SELECT count(*) FROM delivery_exceptions WHERE first_at < now() - make_interval(days => %(days)s)),
       (SELECT count(*) FROM delivery_exceptions WHERE first_at < now() - make_interval(days => %(days)s - %(warn)s)),
       (SELECT coalesce(sum(length(body)), 0)::bigint FROM delivery_exceptions)
"""
DROP_OLD: LiteralString = "DELETE FROM delivery_exceptions WHERE first_at < now() - make_interval(days => %s)"
# The oldest bodies beyond what the newest ones fill the cap with.
DROP_BEYOND: LiteralString = """
DELETE FROM delivery_exceptions e USING (
    SELECT id, route, sum(length(body)) OVER (ORDER BY first_at DESC, id DESC, route DESC) AS filled FROM delivery_exceptions
) AS f WHERE e.id = f.id AND e.route = f.route AND f.filled > %s
"""

log = logger(__name__)


class Leaving(msgspec.Struct, frozen=True):
    """What is about to be dropped. over_age: past its days; soon: within a week, those included; bytes: all bodies."""

    over_age: int
    soon: int
    bytes: int


async def leaving(conn: Connection, keep_days: int) -> Leaving:
    """How many exceptions leave by age now and within a week, and how much room they all take."""
    row = await (await conn.execute(LEAVING, {"days": keep_days, "warn": WARN_DAYS})).fetchone()
    return Leaving(*row) if row else Leaving(0, 0, 0)


async def prune(db: Database, keep_days: int, keep_bytes: int) -> int:
    """Warn of what leaves soon; drop what is too old or beyond the cap, oldest first. Answers how many went."""
    async with db.installation() as conn:
        state = await leaving(conn, keep_days)
        if state.soon or state.bytes > keep_bytes * 4 // 5:
            log.warning(
                "delivery_exceptions_leave_soon",
                within_days=WARN_DAYS,
                count=state.soon,
                bytes=state.bytes,
                cap=keep_bytes,
            )
        dropped = (await conn.execute(DROP_OLD, [keep_days])).rowcount
        if state.bytes > keep_bytes:
            dropped += (await conn.execute(DROP_BEYOND, [keep_bytes])).rowcount
    if dropped:
        log.warning("delivery_exceptions_dropped", count=dropped)
    return dropped

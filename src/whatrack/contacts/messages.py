"""What was written: messages, status counts and kept changes at rest. One writer of `messages`, `number_day_counters`, `webhook_events`."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, date, datetime
from typing import LiteralString
from uuid import UUID

from psycopg import errors, sql

from whatrack.columns import flags, jsons, moments, texts, uuids
from whatrack.db import Connection, Database
from whatrack.inbox.reading import Incoming, Kept, StatusKey
from whatrack.observe import logger

MessageKey = tuple[UUID, str]  # organization, wamid

# A wamid is one message. The months the batch speaks of are searched; the primary key stops the rest. LATERAL … LIMIT
# keeps the planner from joining whole months when its statistics are old.
SEEN: LiteralString = """
SELECT wanted.organization_id, wanted.wamid
FROM unnest(%(organizations)b, %(wamids)b) AS wanted (organization_id, wamid),
LATERAL (SELECT FROM messages m WHERE m.organization_id = wanted.organization_id AND m.wamid = wanted.wamid
         AND m.sent_at >= %(since)s AND m.sent_at < %(until)s LIMIT 1) AS stored
"""
INSERT: LiteralString = """
INSERT INTO messages (organization_id, wamid, sent_at, time_is_ours, phone_number_id, contact_id, ticket_id, origin,
                      from_business, type, body, has_referral, raw)
SELECT organization_id, wamid, sent_at, time_is_ours, phone_number_id, contact_id, ticket_id, origin,
       from_business, type, body, has_referral, raw
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
    AS n (organization_id, wamid, sent_at, time_is_ours, phone_number_id, contact_id, ticket_id, origin,
          from_business, type, body, has_referral, raw)
"""
COUNT_STATUSES: LiteralString = """
INSERT INTO number_day_counters AS c (organization_id, phone_number_id, day, status, count)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::date[], %s::text[], %s::bigint[]) ORDER BY 1, 2, 3, 4
ON CONFLICT (organization_id, phone_number_id, day, status) DO UPDATE SET count = c.count + excluded.count
"""
KEEP: LiteralString = """
INSERT INTO webhook_events (organization_id, digest, waba_id, phone_number_id, field, received_at, value)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
MONTHS: LiteralString = """
SELECT to_date(right(c.relname, 6), 'YYYYMM') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'messages'::regclass
"""

log = logger(__name__)


class Months:
    """Which months of `messages` have a partition; makes the missing ones."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: set[date] = set()

    async def ensure(self, moments: Collection[datetime]) -> None:
        """Make sure the month of each moment (UTC) can be written. Cheap when it could before."""
        months = {(moment.year, moment.month) for moment in moments}
        missing = {date(year, month, 1) for year, month in months} - self._known
        if not missing:
            return
        async with self._db.autocommit() as conn:
            self._known = {row[0] for row in await (await conn.execute(MONTHS)).fetchall()}
            for month in sorted(missing - self._known):
                await _make_month(conn, month)
                self._known.add(month)


def month_of(moment: datetime) -> date:
    """The first day of the moment's month, UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


async def _make_month(conn: Connection, month: date) -> None:
    """Make a partition on its own, protect it, then attach it, which waits for no reader or writer."""
    after = _next_month(month)
    table = f"messages_{month:%Y%m}"
    names = {
        "table": sql.Identifier(table),
        "from_": sql.Literal(f"{month} 00:00:00+00"),
        "to": sql.Literal(f"{after} 00:00:00+00"),
    }
    steps = (
        "CREATE TABLE IF NOT EXISTS {table} (LIKE messages INCLUDING ALL)",
        "ALTER TABLE messages ATTACH PARTITION {table} FOR VALUES FROM ({from_}) TO ({to})",
    )
    try:
        async with conn.transaction():
            await conn.execute(sql.SQL(steps[0]).format(**names), prepare=False)
            await conn.execute("SELECT protect_tenant_table(%s::regclass)", [table])
            await conn.execute(sql.SQL(steps[1]).format(**names), prepare=False)
    except (errors.UniqueViolation, errors.DuplicateTable, errors.DuplicateObject, errors.WrongObjectType):
        log.info("message_month_made_by_another", month=str(month))


async def seen(conn: Connection, messages: list[Incoming]) -> set[MessageKey]:
    """Which of these messages are stored already."""
    found: set[MessageKey] = set()
    dated = [message for message in messages if not message.time_is_ours]
    if dated:
        moments = [message.sent_at for message in dated]
        since, last = month_of(min(moments)), month_of(max(moments))
        found |= await _seen_between(conn, dated, since, _next_month(last))
    undated = [message for message in messages if message.time_is_ours]
    if undated:  # a resent one arrives with another time of arrival, so every month is searched
        found |= await _seen_between(conn, undated, date.min, date.max)
    return found


async def _seen_between(
    conn: Connection, messages: list[Incoming], since: date, until: date
) -> set[MessageKey]:
    cursor = conn.cursor(binary=True)
    parameters = {
        "organizations": uuids(message.organization_id for message in messages),
        "wamids": texts(message.wamid for message in messages),
        "since": "-infinity" if since == date.min else f"{since} 00:00:00+00",
        "until": "infinity" if until == date.max else f"{until} 00:00:00+00",
    }
    await cursor.execute(SEEN, parameters)
    return set(await cursor.fetchall())


def _next_month(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


async def store(conn: Connection, rows: list[tuple[Incoming, UUID, UUID | None]]) -> None:
    """Write messages, each with its contact and ticket."""
    if not rows:
        return
    messages = [message for message, _, _ in rows]
    await conn.execute(
        INSERT,
        [
            uuids(each.organization_id for each in messages),
            texts(each.wamid for each in messages),
            moments(each.sent_at for each in messages),
            flags(each.time_is_ours for each in messages),
            texts(each.phone_number_id for each in messages),
            uuids(contact_id for _, contact_id, _ in rows),
            uuids(ticket_id for _, _, ticket_id in rows),
            texts(each.origin for each in messages),
            flags(each.from_business for each in messages),
            texts(each.type for each in messages),
            texts(each.body for each in messages),
            flags(each.referral is not None for each in messages),
            jsons(each.raw for each in messages),
        ],
    )


async def count_statuses(conn: Connection, statuses: Counter[StatusKey]) -> None:
    """Add to the day's status counts."""
    if statuses:
        organizations, numbers, days, names = (list(column) for column in zip(*statuses, strict=True))
        await conn.execute(COUNT_STATUSES, [organizations, numbers, days, names, list(statuses.values())])


async def keep(conn: Connection, kept: list[Kept]) -> None:
    """Keep changes of other fields whole; the same change again is the same row."""
    for each in kept:
        values = [each.organization_id, each.digest, each.waba_id, each.phone_number_id, each.field]
        await conn.execute(KEEP, [*values, each.received_at, each.value])

"""What each number brought, hour by hour: whether it is alive, without reading its messages. One writer of `number_hours`."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.inbox.reading import Delivery, Incoming, Route

KEEP = timedelta(days=31)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)

# Sorted, as every set write is.
COUNT: LiteralString = """
INSERT INTO number_hours AS h (organization_id, phone_number_id, hour, messages, last_delivery_at)
SELECT * FROM unnest(%b::uuid[], %b::text[], %b::timestamptz[], %b::bigint[], %b::timestamptz[]) ORDER BY 1, 2, 3
ON CONFLICT (organization_id, phone_number_id, hour) DO UPDATE
SET messages = h.messages + excluded.messages, last_delivery_at = greatest(h.last_delivery_at, excluded.last_delivery_at)
"""
OF_ORGANIZATION: LiteralString = """
SELECT phone_number_id, max(last_delivery_at) AS last_delivery_at,
       coalesce(sum(messages) FILTER (WHERE hour > now() - interval '24 hours'), 0)::bigint AS messages_24h
FROM number_hours WHERE organization_id = %s GROUP BY phone_number_id
"""
DROP_OLD: LiteralString = "DELETE FROM number_hours WHERE hour < now() - %s"

HourKey = tuple[UUID, str, datetime]  # organization, number, the hour's beginning


class Hour(msgspec.Struct):
    """What one hour of one number brought."""

    messages: int = 0
    last_delivery_at: datetime | None = None


class Activity(msgspec.Struct, frozen=True):
    """How alive a number is. last_delivery_at: None when nothing came for a month; messages_24h: to the hour."""

    phone_number_id: str
    last_delivery_at: datetime | None
    messages_24h: int


def hours(
    deliveries: Iterable[Delivery],
    targets: Mapping[str, list[Route]],
    messages: Iterable[Incoming],
    now: datetime,
) -> dict[HourKey, Hour]:
    """What a batch adds. messages: only those never stored before, so that a replay adds nothing."""
    found: dict[HourKey, Hour] = {}
    arrivals: dict[tuple[str, int], list[datetime]] = {}
    for each in deliveries:
        arrivals.setdefault((each.route, each.partition), []).append(each.received_at)
    for (route, partition), moments in arrivals.items():
        for target in targets.get(route, ()):
            if target.partition == partition and route.isdigit():
                for place, last in _last_of_hours(moments).items():
                    found[target.organization_id, route, _EPOCH + place * _HOUR] = Hour(0, last)
    sent: dict[tuple[UUID, str], list[datetime]] = {}
    for message in messages:
        if message.origin in ("inbound", "echo"):
            sent.setdefault((message.organization_id, message.phone_number_id), []).append(message.sent_at)
    for number, moments in sent.items():
        for place, messages_then in Counter([(each - _EPOCH) // _HOUR for each in moments]).items():
            found.setdefault((*number, _EPOCH + place * _HOUR), Hour()).messages += messages_then
    return {key: hour for key, hour in found.items() if key[2] > now - KEEP}


def _last_of_hours(moments: list[datetime]) -> dict[int, datetime]:
    """Hours since 1970 → the last of these moments in it."""
    last: dict[int, datetime] = {}
    for each in moments:
        place = (each - _EPOCH) // _HOUR
        if place not in last or each > last[place]:
            last[place] = each
    return last


async def count(conn: Connection, found: Mapping[HourKey, Hour]) -> None:
    """Add to the hours."""
    if found:
        columns: list[Collection[object]] = [list(column) for column in zip(*found, strict=True)]
        columns.append([hour.messages for hour in found.values()])
        columns.append([hour.last_delivery_at for hour in found.values()])
        await conn.execute(COUNT, columns)


async def of_organization(conn: Connection, organization_id: UUID) -> dict[str, Activity]:
    """phone_number_id → how alive it is; a number that brought nothing for a month is left out."""
    async with conn.cursor(row_factory=class_row(Activity)) as cursor:
        rows = await (await cursor.execute(OF_ORGANIZATION, [organization_id])).fetchall()
    return {activity.phone_number_id: activity for activity in rows}


async def drop_old(conn: Connection) -> int:
    """Forget hours older than a month. System scope."""
    return (await conn.execute(DROP_OLD, [KEEP])).rowcount

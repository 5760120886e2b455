"""What each number brought, hour by hour: whether it is alive, without reading its messages. One writer of `number_hours`."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.inbox.reading import Delivery, Incoming, Route

KEEP = timedelta(days=31)

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
    for each in deliveries:
        for target in targets.get(each.route, ()):
            if target.partition == each.partition and each.route.isdigit():
                key = (target.organization_id, each.route, _hour(each.received_at))
                hour = found.setdefault(key, Hour())
                hour.last_delivery_at = max(hour.last_delivery_at or each.received_at, each.received_at)
    for message in messages:
        if message.origin in ("inbound", "echo"):
            key = (message.organization_id, message.phone_number_id, _hour(message.sent_at))
            found.setdefault(key, Hour()).messages += 1
    return {key: hour for key, hour in found.items() if key[2] > now - KEEP}


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


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)

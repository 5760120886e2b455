"""Where a delivery goes: which live number belongs to which organization. One writer of `number_routes`."""

from typing import LiteralString
from uuid import UUID
from zoneinfo import ZoneInfo

from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.inbox.reading import Route

UNROUTED = -1

PUT: LiteralString = """
INSERT INTO number_routes (phone_number_id, waba_id, organization_id, partition) VALUES (%s, %s, %s, %s)
ON CONFLICT (phone_number_id) DO UPDATE SET waba_id = excluded.waba_id
WHERE number_routes.organization_id = excluded.organization_id
"""
# Every route of the installation, for the intake's memory: a number's own, and its WABA's.
ALL: LiteralString = """
SELECT phone_number_id, partition FROM number_routes
UNION SELECT 'waba:' || waba_id, partition FROM number_routes
"""
# A number leads to one organization; a WABA to all that have one of its numbers.
TARGETS: LiteralString = """
SELECT r.route, n.organization_id, n.partition, o.timezone
FROM unnest(%b::text[]) AS r (route)
JOIN (SELECT phone_number_id AS route, organization_id, partition FROM number_routes
      UNION SELECT 'waba:' || waba_id, organization_id, partition FROM number_routes) AS n USING (route)
JOIN organizations o ON o.id = n.organization_id
"""


async def put(
    conn: Connection, phone_number_id: str, waba_id: str, organization_id: UUID, partition: int
) -> None:
    """Send a number's deliveries to an organization; Refused `number_taken` when they go to another one."""
    cursor = await conn.execute(PUT, [phone_number_id, waba_id, organization_id, partition])
    if cursor.rowcount == 0:
        raise Refused("number_taken", f"The number {phone_number_id} is live for another organization.")


async def all_routes(conn: Connection) -> dict[str, frozenset[int]]:
    """Route → the partitions its deliveries are queued in."""
    found: dict[str, set[int]] = {}
    for route, partition in await (await conn.execute(ALL)).fetchall():
        found.setdefault(route, set()).add(partition)
    return {route: frozenset(partitions) for route, partitions in found.items()}


async def targets(conn: Connection, routes: set[str]) -> dict[str, list[Route]]:
    """Route → the organizations it leads to now (system scope); an unknown route is absent."""
    found: dict[str, list[Route]] = {}
    for route, organization_id, partition, timezone in await (
        await conn.execute(TARGETS, [sorted(routes)])
    ).fetchall():
        found.setdefault(route, []).append(Route(organization_id, ZoneInfo(timezone), partition))
    return found

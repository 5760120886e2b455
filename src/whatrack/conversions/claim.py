"""Taking owed events to send them, and writing down what became of them. One writer of `meta_conversion_attempts`.

A claim is one transaction: one organization's due events of one dataset and token, under a lease, with an attempt row each.
Settling is another: only the holder of the lease changes them, but a proof of acceptance is always written down.
"""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

import msgspec
from msgspec import UNSET
from psycopg.rows import args_row

from whatrack.connections import tokens
from whatrack.connections.keys import Held
from whatrack.connections.route import Route
from whatrack.conversions import rules
from whatrack.conversions.rules import Hold, Send, Skip
from whatrack.db import Connection
from whatrack.db import now as clock
from whatrack.meta import capi
from whatrack.meta.capi import CustomData, Event, UserData
from whatrack.units import new_id

# The oldest due event over all organizations that nobody else is claiming; by meta_conversion_events_due.
HEAD: LiteralString = """
SELECT organization_id FROM meta_conversion_events WHERE status = 'PENDING' AND next_attempt_at <= now()
ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED
"""
# By meta_conversion_events_waiting. An ad is known by the catalog; it is being looked up while neither found nor refused.
DUE: LiteralString = """
SELECT e.id, e.event_name, e.event_id, e.ctwa_clid, t.phone_number_id, e.value, e.currency, e.event_time, e.not_before, e.batch_limit,
       e.attempts, e.lease_id, a.meta_account_id,
       e.meta_ad_id IS NOT NULL AND a.meta_ad_id IS NULL AND (l.reason IS NULL OR l.reason IN ('throttled', 'transient'))
FROM meta_conversion_events e
JOIN tickets t ON t.organization_id = e.organization_id AND t.id = e.ticket_id
LEFT JOIN meta_ads a ON a.organization_id = e.organization_id AND a.meta_ad_id = e.meta_ad_id
LEFT JOIN meta_ad_lookups l ON l.organization_id = e.organization_id AND l.meta_ad_id = e.meta_ad_id
WHERE e.organization_id = %s AND e.status = 'PENDING' AND e.next_attempt_at <= now()
ORDER BY e.next_attempt_at LIMIT %s FOR UPDATE OF e SKIP LOCKED
"""
# A dead worker's lease ran out: what it sent may have arrived.
UNENDED: LiteralString = """
UPDATE meta_conversion_attempts SET outcome = 'unknown', ended_at = now()
WHERE organization_id = %s AND lease_id = ANY(%s) AND event_row_id = ANY(%s) AND outcome IS NULL
"""
LEASE: LiteralString = """
UPDATE meta_conversion_events SET lease_id = %(lease)s, lease_until = now() + %(for)s, next_attempt_at = now() + %(for)s,
    was_unknown = was_unknown OR coalesce(lease_id <> %(lease)s, false), attempts = attempts + 1, dataset_id = %(dataset)s,
    updated_at = now()
WHERE organization_id = %(organization)s AND id = ANY(%(ids)s) AND status = 'PENDING'
AND (lease_id IS NULL OR lease_id = %(lease)s OR lease_until <= now())
RETURNING id
"""
BEGIN_ATTEMPTS: LiteralString = """
INSERT INTO meta_conversion_attempts (organization_id, id, event_row_id, number, request, lease_id, dataset_id, connection_id,
                                      request_size, started_at)
SELECT %(organization)s, n.id, n.event, n.number, n.request::json, %(lease)s, %(dataset)s, %(connection)s, %(size)s, now()
FROM unnest(%(attempts)s::uuid[], %(ids)s::uuid[], %(numbers)s::int[], %(requests)s::text[]) AS n (id, event, number, request)
"""
HOLD: LiteralString = """
UPDATE meta_conversion_events SET hold_reason = %(reason)s, next_attempt_at = n.until, lease_id = NULL, lease_until = NULL,
    was_unknown = was_unknown OR lease_id IS NOT NULL, updated_at = now()
FROM unnest(%(ids)s::uuid[], %(untils)s::timestamptz[]) AS n (id, until)
WHERE organization_id = %(organization)s AND meta_conversion_events.id = n.id
"""
END_PENDING: LiteralString = """
UPDATE meta_conversion_events SET status = %(status)s, hold_reason = NULL, lease_id = NULL, lease_until = NULL,
    was_unknown = was_unknown OR lease_id IS NOT NULL, updated_at = now()
WHERE organization_id = %(organization)s AND id = ANY(%(ids)s)
"""
TEST_CODE: LiteralString = (
    "SELECT test_event_code FROM dataset_test_codes WHERE organization_id = %s AND dataset_id = %s"
)


class Due(msgspec.Struct, frozen=True, gc=False):
    """An event that may be sent now."""

    id: UUID
    event_name: str
    event_id: str
    ctwa_clid: str
    phone_number_id: str
    value: Decimal | None
    currency: str
    event_time: datetime
    not_before: datetime
    batch_limit: int
    attempts: int
    lease_id: UUID | None
    meta_account_id: str | None
    enriching: bool

    def for_meta(self, waba_id: str) -> Event:
        """The event in Meta's fields."""
        return Event(
            self.event_name,
            int(self.event_time.timestamp()),
            self.event_id,
            UserData(waba_id, self.ctwa_clid),
            UNSET if self.value is None else CustomData(self.currency, self.value),
        )


class Claim(msgspec.Struct):
    """Events under one lease, for one request. holders: whose tokens may send it, the one in use first."""

    organization_id: UUID
    lease_id: UUID
    dataset_id: str
    waba_id: str
    holders: list[Held]
    events: list[Due]
    test_event_code: str | None
    refusals: list[str] = []

    @property
    def ids(self) -> list[UUID]:
        """The rows."""
        return [event.id for event in self.events]

    @property
    def for_meta(self) -> list[Event]:
        """The events in Meta's fields."""
        return [event.for_meta(self.waba_id) for event in self.events]

    @property
    def connection_id(self) -> UUID | None:
        """Whose token is in use; None for a number's own."""
        held = self.holders[0]
        return UUID(held.owner_id) if held.kind == "profile" else None


class Taken(msgspec.Struct, frozen=True):
    """What a round found: perhaps something to send, and whether more may be due."""

    claim: Claim | None
    more: bool


async def take(conn: Connection, lease: timedelta, most: int = capi.MAX_EVENTS) -> Taken:
    """Claim the events that go together with the oldest due one; put aside those that cannot go. System scope."""
    row = await (await conn.execute(HEAD)).fetchone()
    if row is None:
        return Taken(None, more=False)
    organization_id = row[0]
    now = await clock(conn)
    due = await _due(conn, organization_id, most)
    await _end_lost(conn, organization_id, due)
    ways = await routes_of(
        conn, organization_id, {(event.meta_account_id, event.phone_number_id) for event in due}
    )
    groups: dict[tuple[str | None, str | None, tuple[Held, ...], int], list[Due]] = {}
    aside: dict[str, list[tuple[Due, datetime]]] = {}
    for event in due:
        route = ways[event.meta_account_id, event.phone_number_id]
        match way_of(event, route, now):
            case Send():  # apart by limit too, while a bad one is looked for
                key = (route.dataset_id, route.waba_id, route.tokens, event.batch_limit)
                groups.setdefault(key, []).append(event)
            case Hold(reason, until):
                aside.setdefault(reason, []).append((event, until))
            case Skip(status):
                aside.setdefault(status, []).append((event, now))
    await _put_aside(conn, organization_id, aside)
    if not groups:
        return Taken(None, more=bool(due))
    (dataset_id, waba_id, holders, limit), events = next(iter(groups.items()))
    found = await (await conn.execute(TEST_CODE, [organization_id, dataset_id])).fetchone()
    claim = Claim(
        organization_id,
        new_id(),
        dataset_id or "",
        waba_id or "",
        list(holders),
        events[:limit],
        found[0] if found else None,
    )
    return Taken(await begin(conn, claim, lease), more=True)


def way_of(event: Due, route: Route, now: datetime) -> Send | Hold | Skip:
    """Whether an event goes its route now."""
    return rules.way(
        route.missing,
        enriching=event.enriching,
        event_time=event.event_time,
        not_before=event.not_before,
        now=now,
    )


async def routes_of(
    conn: Connection, organization_id: UUID, wanted: Collection[tuple[str | None, str]]
) -> dict[tuple[str | None, str], Route]:
    """The ways of an organization's events, as things are in this transaction: by the ad's account and the number."""
    facts = await tokens.facts(conn, organization_id)
    accounts = {
        account_id: await tokens.account_facts(conn, organization_id, account_id) if account_id else None
        for account_id in {account_id for account_id, _ in wanted}
    }
    return {(account, number): facts.route(accounts[account], number) for account, number in wanted}


async def _due(conn: Connection, organization_id: UUID, most: int) -> list[Due]:
    async with conn.cursor(binary=True, row_factory=args_row(Due)) as cursor:
        return await (await cursor.execute(DUE, [organization_id, most])).fetchall()


async def _end_lost(conn: Connection, organization_id: UUID, due: Sequence[Due]) -> None:
    lost = [event for event in due if event.lease_id]
    if lost:
        leases = list({event.lease_id for event in lost})
        await conn.execute(UNENDED, [organization_id, leases, [event.id for event in lost]])


async def _put_aside(
    conn: Connection, organization_id: UUID, aside: dict[str, list[tuple[Due, datetime]]]
) -> None:
    for word, events in aside.items():
        ids = [event.id for event, _ in events]
        if word in rules.STATUSES:
            await conn.execute(END_PENDING, {"organization": organization_id, "ids": ids, "status": word})
        else:
            untils = [until for _, until in events]
            values = {"organization": organization_id, "ids": ids, "untils": untils, "reason": word}
            await conn.execute(HOLD, values)


async def begin(conn: Connection, claim: Claim, lease: timedelta) -> Claim:
    """Lease the events, and begin an attempt of each with the token in use; those that nobody else took meanwhile."""
    about = {"organization": claim.organization_id, "lease": claim.lease_id, "dataset": claim.dataset_id}
    leased = await conn.execute(LEASE, {**about, "for": lease, "ids": claim.ids})
    mine = {row[0] for row in await leased.fetchall()}
    claim = msgspec.structs.replace(claim, events=[event for event in claim.events if event.id in mine])
    values = {
        **about,
        "connection": claim.connection_id,
        "size": len(claim.events),
        "attempts": [new_id() for _ in claim.events],
        "ids": claim.ids,
        "numbers": [event.attempts + 1 for event in claim.events],
        "requests": [capi.kept(event, claim.test_event_code) for event in claim.for_meta],
    }
    await conn.execute(BEGIN_ATTEMPTS, values)
    return claim

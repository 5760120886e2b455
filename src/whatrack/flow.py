"""The whole path, and the only place where several packages share a transaction.

Meta ──► inbox.intake ──► deliveries + queue      durable, then 200
queue ──► message_in ──► contacts · messages · tickets · tracking · history     load → decide → write
a person ──► move_ticket ──► ticket + stage change
an operator ──► open_organization · register_number ──► routes, and the quarantine released
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.attribution import tracking
from whatrack.attribution.decide import Desk, decide
from whatrack.attribution.touch import Tracking
from whatrack.connections import whatsapp_numbers
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.contacts import messages
from whatrack.contacts import store as contacts
from whatrack.contacts.identity import People, identity_keys
from whatrack.contacts.messages import Months
from whatrack.db import Connection, Database
from whatrack.inbox import claim as queue
from whatrack.inbox import replay, routes, routing
from whatrack.inbox import store as deliveries
from whatrack.inbox.claim import Claim, RowKey
from whatrack.inbox.reading import Delivery, Failure, Incoming, Reading, Route, read
from whatrack.tenants import organizations
from whatrack.tenants.organizations import Organization
from whatrack.tickets import people as ticket_moves
from whatrack.tickets import stages
from whatrack.tickets import store as tickets
from whatrack.tickets.lifecycle import Tickets
from whatrack.tickets.moves import Change, Record, apply, new_record
from whatrack.units import new_id

SLICE = 40  # deliveries read or decided before others in this process get a turn


class BatchFailed(Exception):
    """A batch was rolled back whole; claimed says which rows it held, __cause__ why."""

    def __init__(self, claimed: Claim) -> None:
        super().__init__("a batch of deliveries was rolled back")
        self.claimed = claimed


class Drained(msgspec.Struct, frozen=True):
    """What one round did. more: work was probably left."""

    rows: int
    messages: int
    failed: int
    more: bool


async def message_in(db: Database, months: Months, limit: int) -> Drained:
    """Drain one batch: claimed, decided and written in one transaction, so that a crash anywhere changes nothing."""
    async with db.system() as conn:
        claimed = await queue.claim(conn, limit)
        if not claimed.rows:
            return Drained(0, 0, 0, more=False)
        try:
            return await _drain(conn, claimed, months)
        except Exception as error:
            raise BatchFailed(claimed) from error


async def _drain(conn: Connection, claimed: Claim, months: Months) -> Drained:
    targets = await routes.targets(conn, {each.route for each in claimed.deliveries})
    homeless: set[RowKey] = set()
    readable = []
    for each in claimed.deliveries:
        if _leads_somewhere(each, targets):
            readable.append(each)
        else:  # the number went away meanwhile
            await queue.move(conn, each, routes.UNROUTED, each.route)
            homeless.add((each.id, each.route))
    reading = await _read(readable, targets)
    await months.ensure([message.sent_at for message in reading.messages])
    now = await database.now(conn)
    if reading.messages:
        desk = await _load(conn, reading.messages, now)
        for place, message in enumerate(reading.messages):
            decide(desk, message)
            if place % SLICE == 0:
                await asyncio.sleep(0)
        await _write(conn, desk)
    await messages.count_statuses(conn, reading.statuses)
    await messages.keep(conn, reading.kept)
    for failure in reading.failures:
        await deliveries.set_aside(conn, failure, "failed")
    failed = {(failure.delivery.id, failure.delivery.route) for failure in reading.failures}
    await queue.settle(conn, claimed, moved=homeless, failed=failed)
    return Drained(len(claimed.rows), len(reading.messages), len(failed), claimed.more)


async def route_in(db: Database, limit: int) -> Drained:
    """Route one batch of deliveries whose number the intake did not know."""
    async with db.system() as conn:
        await replay.release(conn)
        claimed = await queue.claim(conn, limit, unrouted=True)
        if not claimed.rows:
            return Drained(0, 0, 0, more=False)
        moved, failed = await routing.route(conn, claimed)
        await queue.settle(conn, claimed, moved=moved, failed=failed)
        return Drained(len(claimed.rows), 0, len(failed), claimed.more)


async def set_aside(db: Database, row: Claim, reason: Exception) -> None:
    """Put the one delivery of a failed batch among the failed, so that the rest goes on."""
    async with db.system() as conn:
        claimed = await queue.claim_again(conn, row)
        if claimed is None:
            return
        detail = getattr(reason, "sqlstate", None) or type(reason).__name__
        for delivery in claimed.deliveries:
            await deliveries.set_aside(conn, Failure(delivery, "refused_by_database", detail), "failed")
        failed = {(each.id, each.route) for each in claimed.deliveries}
        await queue.settle(conn, claimed, moved=set(), failed=failed)


async def open_organization(db: Database, organization: Organization) -> Organization:
    """A new organization with its five stages."""
    async with db.tenant(organization.id) as conn:
        created = await organizations.create(conn, organization)
        await stages.create_defaults(conn, organization.id)
        return created


async def register_number(db: Database, number: WhatsappNumber) -> int:
    """Make a number live: routed from now on, its quarantined deliveries queued. Answers how many those are."""
    async with db.system() as conn:
        organization = await organizations.by_id(conn, number.organization_id)
        await whatsapp_numbers.put(conn, number)
        await routes.put(
            conn, number.phone_number_id, number.waba_id, organization.id, organization.partition
        )
        return await replay.release(conn)


async def open_ticket(
    conn: Connection, organization_id: UUID, phone_number_id: str | None, *, wa_id: str, name: str | None
) -> UUID:
    """Open a ticket by hand for a person, known or new. Refused `open_ticket_exists` when they have one there."""
    number = await whatsapp_numbers.pick(conn, organization_id, phone_number_id)
    organization = await organizations.by_id(conn, organization_id)
    contact = await contacts.find_or_create(conn, organization_id, wa_id=wa_id, name=name)
    now = await database.now(conn)
    rules = (await tickets.rules(conn, [organization_id]))[organization_id]
    ticket = new_record(
        organization_id, contact.id, number, rules.first_stage_id, organization.base_currency, now
    )
    await ticket_moves.open_by_hand(conn, ticket)
    await tracking.write(conn, [Tracking(organization_id, ticket.id, is_new=True)])
    return ticket.id


async def move_ticket(
    conn: Connection,
    organization_id: UUID,
    ticket_id: UUID,
    choose: Callable[[list[stages.Stage]], Change],
    *,
    actor: str,
) -> Record:
    """Move or value a ticket; every way a person can do so ends here. Idempotent: the same move twice is one."""
    before = await ticket_moves.one(conn, organization_id, ticket_id, lock=True)
    all_stages = await stages.all_stages(conn, organization_id)
    change = choose(all_stages)
    by_id = {stage.id: stage for stage in all_stages}
    now = await database.now(conn)
    after = apply(before, change, by_id[before.stage_id], now)
    if after != before:
        pair = (by_id[before.stage_id], by_id[after.stage_id])
        await ticket_moves.write_move(conn, before, after, pair, actor=actor, now=now)
    return after


def _leads_somewhere(delivery: Delivery, targets: dict[str, list[Route]]) -> bool:
    return any(target.partition == delivery.partition for target in targets.get(delivery.route, ()))


async def _read(claimed: list[Delivery], targets: dict[str, list[Route]]) -> Reading:
    reading = Reading()
    for start in range(0, len(claimed), SLICE):
        read(claimed[start : start + SLICE], targets, reading)
        await asyncio.sleep(0)
    return reading


async def _load(conn: Connection, incoming: list[Incoming], now: datetime) -> Desk:
    """Everything a decision may need about everyone in the batch."""
    keys = {(message.organization_id, key) for message in incoming for key in identity_keys(message)}
    known, identities = await contacts.find(conn, keys)
    theirs, credited = await tracking.of_contacts(conn, known)
    return Desk(
        rules=await tickets.rules(conn, {message.organization_id for message in incoming}),
        people=People(known, identities, new_id),
        tickets=Tickets(theirs, new_id),
        trackings=credited,
        seen=await messages.seen(conn, incoming),
        now=now,
    )


async def _write(conn: Connection, desk: Desk) -> None:
    """Write what was decided, in the order that foreign keys and the one-open-ticket rule need."""
    await contacts.write(conn, desk.people, desk.now)
    await tickets.write(conn, desk.tickets.all.values(), desk.now)
    for merge in desk.people.merges:
        await tickets.give(conn, merge.organization_id, merge.loser_id, merge.survivor_id, desk.now)
    await tracking.write(conn, desk.trackings.values())
    await tracking.record(conn, desk.decisions, desk.now)
    await messages.store(conn, [(each.message, each.contact_id, each.ticket_id) for each in desk.stored])

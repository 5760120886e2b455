"""The whole path, and the only place where several packages share a transaction.

Meta ──► inbox.intake ──► deliveries + queue      durable, then 200
queue ──► message_in ──► contacts · messages · tickets · tracking · history     load → decide → write
a person ──► move_ticket ──► ticket + stage change + what Meta is owed     (undo_move, remove_stage, a sale told by phone alike)
a profile ──► flow_connections.py
an operator ──► open_organization · register_number ──► routes, and the quarantine released
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.attribution import pictures, tracking
from whatrack.attribution.decide import Desk, creditable, decide
from whatrack.attribution.touch import Tracking
from whatrack.connections import whatsapp_numbers
from whatrack.connections.whatsapp_numbers import NumberLogin, WhatsappNumber
from whatrack.contacts import activity, messages
from whatrack.contacts import store as contacts
from whatrack.contacts.identity import People, identity_keys
from whatrack.contacts.messages import Months
from whatrack.conversions import outbox, sales, sweeps
from whatrack.db import Connection, Database
from whatrack.errors import Refused, bad_value
from whatrack.inbox import claim as queue
from whatrack.inbox import replay, routes, routing
from whatrack.inbox import store as deliveries
from whatrack.inbox.claim import Claim, RowKey
from whatrack.inbox.reading import Delivery, Failure, Incoming, Reading, Route, read
from whatrack.tenants import audit, links, members, organizations, sessions, users
from whatrack.tenants.access import Access
from whatrack.tenants.organizations import Organization
from whatrack.tenants.sessions import Place
from whatrack.tenants.users import NewPerson
from whatrack.tickets import people as ticket_moves
from whatrack.tickets import refunds, stage_settings, stages
from whatrack.tickets import store as tickets
from whatrack.tickets.lifecycle import Tickets
from whatrack.tickets.moves import Change, Record, apply, check_version, new_record, taken_back
from whatrack.units import new_id

UNDO_WITHIN = timedelta(seconds=30)  # the page offers it for 8; a slow network must not make it a lie
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
        db.carried(conn, claimed.bytes)
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
    fresh: list[Incoming] = []
    for part, sale in await sales.cut(conn, reading.messages):
        desk = await _take_in(conn, part, now)
        fresh += [each.message for each in desk.stored]
        if sale is not None:
            await _sold(conn, desk, part[-1], sale)
    await activity.count(conn, activity.hours(readable, targets, fresh, now))
    await messages.count_statuses(conn, reading.statuses)
    await messages.keep(conn, reading.kept)
    for failure in reading.failures:
        await deliveries.set_aside(conn, failure, "failed")
    failed = {(failure.delivery.id, failure.delivery.route) for failure in reading.failures}
    await queue.settle(conn, claimed, moved=homeless, failed=failed)
    return Drained(len(claimed.rows), len(reading.messages), len(failed), claimed.more)


async def _take_in(conn: Connection, incoming: list[Incoming], now: datetime) -> Desk:
    desk = await _load(conn, incoming, now)
    for place, message in enumerate(incoming):
        decide(desk, message)
        if place % SLICE == 0:
            await asyncio.sleep(0)
    await _write(conn, desk)
    return desk


async def _sold(conn: Connection, desk: Desk, message: Incoming, value: Decimal) -> None:
    """The business's phone told a sale: its open ticket is won, as if by hand, at the message's time."""
    stored = desk.stored[-1] if desk.stored else None
    if stored is None or stored.message is not message or stored.ticket_id is None:
        return  # seen before, or in no ticket
    ticket = desk.tickets.all[stored.ticket_id]
    if ticket.status == "open":
        at = min(max(message.sent_at, ticket.opened_at), desk.now)
        won = Change(deal_value=value, currency=sales.CURRENCY, won_at=at, happened_at=at)
        await move_ticket(conn, ticket.organization_id, ticket.id, partial(_winning, won), actor=sales.PHONE)


def _winning(change: Change, found: list[stages.Stage]) -> Change:
    stage = min((each for each in found if each.group == "WON"), key=lambda each: each.role != "won")
    return msgspec.structs.replace(change, stage=stage)


async def route_in(db: Database, limit: int) -> Drained:
    """Route one batch of deliveries whose number the intake did not know."""
    async with db.system() as conn:
        await replay.release(conn)
        claimed = await queue.claim(conn, limit, unrouted=True)
        if not claimed.rows:
            return Drained(0, 0, 0, more=False)
        db.carried(conn, claimed.bytes)
        moved, failed = await routing.route(conn, claimed)
        await queue.settle(conn, claimed, moved=moved, failed=failed)
        return Drained(len(claimed.rows), 0, len(failed), claimed.more)


async def set_aside(db: Database, row: Claim, reason: Exception) -> None:
    """Put the one delivery of a failed batch among the failed, so that the rest goes on."""
    async with db.system() as conn:
        claimed = await queue.claim_again(conn, row)
        if claimed is None:
            return
        db.carried(conn, claimed.bytes)
        detail = getattr(reason, "sqlstate", None) or type(reason).__name__
        for delivery in claimed.deliveries:
            await deliveries.set_aside(conn, Failure(delivery, "refused_by_database", detail), "failed")
        failed = {(each.id, each.route) for each in claimed.deliveries}
        await queue.settle(conn, claimed, moved=set(), failed=failed)


async def open_organization(db: Database, organization: Organization) -> Organization:
    """A new organization with its five stages."""
    async with db.tenant(organization.id) as conn:
        return await _opened(conn, organization)


async def set_up(
    db: Database, token: str, place: Place, *, organization: Organization, person: NewPerson
) -> str | None:
    """The set-up link's holder becomes the operator, and owner of a first organization (its slug is found here).

    Answers their session's token; None when the link no longer works, or somebody else was quicker.
    """
    async with db.system() as conn:
        if await links.take(conn, "setup", token) is None or await users.there_are_any(conn):
            return None
        slug = await organizations.free_slug(conn, organization.name)
        opened = await _opened(conn, msgspec.structs.replace(organization, slug=slug))
        user = await users.create(conn, **msgspec.structs.asdict(person), is_operator=True)
        await members.join(conn, opened.id, user.id, "owner")
        detail = {"name": opened.name}
        await audit.record(
            conn, opened.id, user.actor, "organization_created", f"organization:{opened.id}", detail
        )
        return await sessions.start(
            conn, user.id, agent=place.agent, address=place.address, organization_id=opened.id
        )


async def _opened(conn: Connection, organization: Organization) -> Organization:
    created = await organizations.create(conn, organization)
    await stages.create_defaults(conn, organization.id)
    return created


async def register_number(
    db: Database, number: WhatsappNumber, login: NumberLogin | None = None, *, actor: str = "system"
) -> int:
    """Make a number live: routed from now on, its quarantined deliveries queued. Answers how many those are.

    login: what its token proved. Refused `number_taken` when it is live for another organization; then nothing is kept.
    """
    async with db.system() as conn:
        organization = await organizations.by_id(conn, number.organization_id)
        await whatsapp_numbers.put(conn, number)
        if login:
            await whatsapp_numbers.put_token(conn, organization.id, login, actor)
            await sweeps.profile_connected(conn, organization.id)
        await routes.put(
            conn, number.phone_number_id, number.waba_id, organization.id, organization.partition
        )
        return await replay.release(conn)


async def open_ticket(
    conn: Connection,
    organization_id: UUID,
    phone_number_id: str | None,
    *,
    wa_id: str,
    name: str | None,
    actor: str,
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
    await audit.record(conn, organization_id, actor, "ticket_opened", f"ticket:{ticket.id}")
    return ticket.id


async def move_ticket(
    conn: Connection,
    organization_id: UUID,
    ticket_id: UUID,
    choose: Callable[[list[stages.Stage]], Change],
    *,
    actor: str,
    hold: timedelta = outbox.NO_HOLD,
) -> Record:
    """Move or value a ticket; every way a person can do so ends here. Idempotent: the same move twice is one.

    hold: how long what the move owes Meta waits, so that the move can be undone before anything is sent.
    """
    before = await ticket_moves.one(conn, organization_id, ticket_id, lock=True)
    by_id = {stage.id: stage for stage in await stages.held(conn, organization_id)}
    change = _as_now(choose(list(by_id.values())), by_id)
    now = await database.now(conn)
    after = apply(before, change, by_id[before.stage_id], now)
    if after != before:
        moved = (before.stage_id, before.status) != (after.stage_id, after.status)
        action: audit.Action = "ticket_moved" if moved else "ticket_valued"
        at = change.happened_at or now
        await _write_move(conn, before, after, by_id, actor=actor, at=at, now=now, action=action)
        await outbox.moved(conn, before, after, by_id[after.stage_id], at=at, now=now, hold=hold)
    return after


def _as_now(change: Change, by_id: dict[UUID, stages.Stage]) -> Change:
    """The change with its stage as it is now: it was chosen when the page was made, perhaps long ago."""
    if change.stage is None:
        return change
    if change.stage.id not in by_id:
        raise bad_value("stage", "This stage was removed meanwhile: choose another.", code="stage_gone")
    return msgspec.structs.replace(change, stage=by_id[change.stage.id])


async def undo_move(
    conn: Connection, organization_id: UUID, ticket_id: UUID, version: int, *, actor: str
) -> Record:
    """Take one's own last move back, within UNDO_WITHIN: the ticket is exactly as before it.

    Refused `stale` when the ticket changed since, `too_late` when the time is over or the move was someone else's.
    """
    ticket = await ticket_moves.one(conn, organization_id, ticket_id, lock=True)
    check_version(ticket, version)
    move = await ticket_moves.last_move(conn, ticket)
    now = await database.now(conn)
    if move is None or move.actor != actor or now - move.at > UNDO_WITHIN:
        raise Refused("too_late", "This move can no longer be undone: move the ticket again.")
    by_id = {stage.id: stage for stage in await stages.held(conn, organization_id)}
    restored = taken_back(ticket, move.before)
    if restored.stage_id not in by_id:
        raise Refused("too_late", "The stage it came from was removed meanwhile: move the ticket again.")
    await _write_move(
        conn, ticket, restored, by_id, actor=actor, at=now, now=now, action="ticket_move_undone"
    )
    await outbox.undone(conn, ticket, restored, now=now)
    return restored


async def _write_move(
    conn: Connection,
    before: Record,
    after: Record,
    by_id: dict[UUID, stages.Stage],
    *,
    actor: str,
    at: datetime,
    now: datetime,
    action: audit.Action,
) -> None:
    if before.close_reason == "WON":
        refunds.check_still_fit(after, await refunds.of_ticket(conn, after.organization_id, after.id))
    pair = (by_id[before.stage_id], by_id[after.stage_id])
    is_undo = action == "ticket_move_undone"
    await ticket_moves.write_move(conn, before, after, pair, actor=actor, at=at, now=now, is_undo=is_undo)
    told = {
        "from": pair[0].name,
        "to": pair[1].name,
        "value": str(after.deal_value or ""),
        "currency": after.currency,
    }
    await audit.record(conn, after.organization_id, actor, action, f"ticket:{after.id}", told)


async def remove_stage(conn: Connection, who: Access, stage_id: UUID, to: UUID | None) -> int:
    """Remove a stage; its tickets go to `to` and owe what entering that one owes. Answers how many went."""
    moved, target = await stage_settings.remove(conn, who, stage_id, to)
    if target:
        await outbox.moved_along(conn, who.organization_id, moved, target, now=await database.now(conn))
    return len(moved)


async def assign_ticket(
    conn: Connection,
    organization_id: UUID,
    ticket_id: UUID,
    owner_id: UUID | None,
    *,
    actor: str,
    version: int | None = None,
) -> None:
    """Give a ticket to a member of the organization, or to nobody. Idempotent. Refused `stale` as a move is."""
    ticket = await ticket_moves.one(conn, organization_id, ticket_id, lock=True)
    check_version(ticket, version)
    people = {member.id: member for member in await members.everyone(conn, organization_id)}
    if owner_id is not None and owner_id not in people:
        raise bad_value("owner", "This person is not a member of the organization.", code="not_a_member")
    if ticket.owner_id == owner_id:
        return
    await ticket_moves.assign(conn, ticket, owner_id, await database.now(conn))
    told = {"owner": people[owner_id].name if owner_id else "—"}
    await audit.record(conn, organization_id, actor, "ticket_assigned", f"ticket:{ticket_id}", told)


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
    theirs = await tickets.of_contacts(conn, known)
    touched = creditable(incoming, identities)
    credited = await tracking.of_tickets(conn, [each for each in theirs if each.contact_id in touched])
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
    await pictures.want(conn, desk.trackings.values())
    await tracking.record(conn, desk.decisions, desk.now)
    await messages.store(conn, [(each.message, each.contact_id, each.ticket_id) for each in desk.stored])

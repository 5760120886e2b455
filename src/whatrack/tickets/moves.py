"""What a person may do to a ticket: move it between stages, value it, win or lose it. Pure.

Entering a WON stage needs a value above zero and closes the ticket; entering a LOST one closes it; entering an ACTIVE
one opens it again.
"""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from whatrack.errors import Refused, bad_value
from whatrack.tickets.stages import Stage
from whatrack.units import new_id


class Record(msgspec.Struct, frozen=True):
    """A ticket as far as people change it. Times UTC; deal_value in units of currency, two places."""

    organization_id: UUID
    id: UUID
    contact_id: UUID
    phone_number_id: str
    stage_id: UUID
    status: str
    close_reason: str | None
    lost_reason: str | None
    deal_value: Decimal | None
    currency: str
    opened_at: datetime
    active_at: datetime
    closed_at: datetime | None
    won_at: datetime | None
    owner_id: UUID | None
    version: int


class Before(msgspec.Struct, frozen=True):
    """What a move changes of a ticket, as it was before it: enough to take the move back exactly."""

    stage_id: UUID
    status: str
    close_reason: str | None
    lost_reason: str | None
    deal_value: Decimal | None
    currency: str
    active_at: datetime
    closed_at: datetime | None
    won_at: datetime | None

    @classmethod
    def of(cls, ticket: Record) -> "Before":
        """What to keep of a ticket that is about to move."""
        return cls(**{name: getattr(ticket, name) for name in cls.__struct_fields__})


def new_record(
    organization_id: UUID,
    contact_id: UUID,
    phone_number_id: str,
    stage_id: UUID,
    currency: str,
    now: datetime,
) -> Record:
    """A ticket opened by hand, now."""
    return Record(
        organization_id=organization_id,
        id=new_id(),
        contact_id=contact_id,
        phone_number_id=phone_number_id,
        stage_id=stage_id,
        status="open",
        close_reason=None,
        lost_reason=None,
        deal_value=None,
        currency=currency,
        opened_at=now,
        active_at=now,
        closed_at=None,
        won_at=None,
        owner_id=None,
        version=1,
    )


class Change(msgspec.Struct, frozen=True):
    """What is asked for; None leaves as it is. version: the ticket's as the asker last saw it.

    no_value: take the value away, which a won ticket refuses. happened_at: when the move was made, if it is told afterwards.
    """

    stage: Stage | None = None
    deal_value: Decimal | None = None
    no_value: bool = False
    currency: str | None = None
    won_at: datetime | None = None
    lost_reason: str | None = None
    version: int | None = None
    happened_at: datetime | None = None


def check_version(ticket: Record, version: int | None) -> None:
    """Refused `stale` when somebody changed the ticket since the asker saw it."""
    if version is not None and version != ticket.version:
        raise Refused(
            "stale", "Somebody changed this ticket meanwhile: load it again, then decide.", field="version"
        )


def taken_back(ticket: Record, before: Before) -> Record:
    """The ticket as it was before its last move."""
    restored = msgspec.structs.replace(ticket, **msgspec.structs.asdict(before))
    active_at = max(ticket.active_at, before.active_at)  # a message may have come meanwhile
    return msgspec.structs.replace(restored, active_at=active_at, version=ticket.version + 1)


def apply(ticket: Record, change: Change, current: Stage, now: datetime) -> Record:
    """The ticket after the change; the same object when nothing changes. Raises Refused, naming the field."""
    check_version(ticket, change.version)
    at = moment_of(ticket, change, now)
    stage = change.stage or current
    valued = msgspec.structs.replace(
        ticket,
        stage_id=stage.id,
        deal_value=_value(ticket, change),
        currency=change.currency or ticket.currency,
    )
    if change.won_at is not None and stage.group != "WON":
        raise bad_value("won_at", "won_at goes with a stage of the group WON.")
    if change.lost_reason is not None and stage.group != "LOST":
        raise bad_value("lost_reason", "lost_reason goes with a stage of the group LOST.")
    match stage.group if change.stage else None:
        case "ACTIVE":
            changed = _active(valued, at)
        case "LOST":
            changed = _lost(valued, change, at)
        case "WON":
            changed = _won(valued, change, at)
        case _:
            changed = _edited(valued, change, stage, at)
    return ticket if changed == ticket else msgspec.structs.replace(changed, version=ticket.version + 1)


def moment_of(ticket: Record, change: Change, now: datetime) -> datetime:
    """When the change happened: now, unless it is told afterwards. Refused before the ticket, after now, or without a move."""
    at = change.happened_at
    if at is None:
        return now
    if change.stage is None:
        raise bad_value("happened_at", "happened_at goes with a move: name the stage.")
    if at > now:
        raise bad_value("happened_at", "A move cannot lie in the future.")
    if at < ticket.opened_at:
        raise bad_value("happened_at", "A move cannot come before its ticket.")
    return at


def _value(ticket: Record, change: Change) -> Decimal | None:
    if change.deal_value is not None and change.deal_value <= 0:
        raise bad_value("deal_value", "A sale is worth more than zero.")
    if change.no_value:
        return None
    return ticket.deal_value if change.deal_value is None else change.deal_value


def _active(ticket: Record, now: datetime) -> Record:
    if ticket.status == "open":
        return ticket
    return msgspec.structs.replace(
        ticket,
        status="open",
        close_reason=None,
        lost_reason=None,
        closed_at=None,
        won_at=None,
        active_at=max(ticket.active_at, now),
    )


def _lost(ticket: Record, change: Change, now: datetime) -> Record:
    reason = change.lost_reason if change.lost_reason is not None else ticket.lost_reason
    closed_at = ticket.closed_at if ticket.close_reason == "LOST" else now
    return msgspec.structs.replace(
        ticket, status="closed", close_reason="LOST", lost_reason=reason, closed_at=closed_at, won_at=None
    )


def _won(ticket: Record, change: Change, now: datetime) -> Record:
    if ticket.deal_value is None:
        raise bad_value(
            "deal_value",
            "Say what the sale was worth: deal_value is needed to win.",
            code="deal_value_required",
        )
    already = ticket.close_reason == "WON"
    won_at = change.won_at or (ticket.won_at if already and ticket.won_at else now)
    _check_won_at(ticket, change, now)
    closed_at = ticket.closed_at if already else now
    return msgspec.structs.replace(
        ticket, status="closed", close_reason="WON", lost_reason=None, closed_at=closed_at, won_at=won_at
    )


def _edited(ticket: Record, change: Change, stage: Stage, now: datetime) -> Record:
    """Values changed without a move; an expired ticket stays expired."""
    if stage.group == "WON" and ticket.close_reason == "WON":
        return _won(ticket, change, now)
    if stage.group == "LOST" and ticket.close_reason == "LOST":
        return _lost(ticket, change, now)
    return ticket


def _check_won_at(ticket: Record, change: Change, now: datetime) -> None:
    if change.won_at is None:
        return
    if change.won_at > now:
        raise bad_value("won_at", "A sale cannot lie in the future, nor after the move that tells it.")
    if change.won_at < ticket.opened_at:
        raise bad_value("won_at", "A sale cannot come before its ticket.")

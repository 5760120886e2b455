"""When a ticket opens, expires, is joined by a late message, and closes. Pure.

One open ticket per contact and number. It expires `days` after it was last alive (opened, last message, reopened),
by the message's time when one arrives, by the clock in a sweep. A message that falls in a closed ticket's life belongs
to that ticket, however late it comes, and so does one from before it that would have opened it; a person's earliest
message is when the ticket began. Only an expired ticket's life grows by that: a sale, a loss ended when somebody said so.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

FOLLOW_UP_WITHIN = timedelta(days=7)


class Ticket(msgspec.Struct, gc=False):
    """A ticket as far as messages move it. All times UTC. is_new, changed: what has still to be written."""

    organization_id: UUID
    id: UUID
    contact_id: UUID
    phone_number_id: str
    stage_id: UUID
    status: str
    close_reason: str | None
    currency: str
    follow_up: bool
    opened_at: datetime
    last_message_at: datetime | None
    active_at: datetime
    closed_at: datetime | None
    version: int = 1
    is_new: bool = False
    changed: bool = False


class Rules(msgspec.Struct, frozen=True):
    """What an organization decides about its tickets. first_stage_id: where a new one starts."""

    days: int
    currency: str
    first_stage_id: UUID


def expires_at(ticket: Ticket, days: int) -> datetime:
    """The moment an open ticket ends when nothing more is said."""
    return ticket.active_at + timedelta(days=days)


class Tickets:
    """The tickets of a batch's contacts: the open one of each number, and those closed lately."""

    def __init__(self, tickets: Iterable[Ticket], new_id: Callable[[], UUID]) -> None:
        self.all: dict[UUID, Ticket] = {}
        self.open: dict[tuple[UUID, str], Ticket] = {}
        self.closed: dict[UUID, list[Ticket]] = {}
        self._new_id = new_id
        for ticket in tickets:
            self._file(ticket)

    def place(self, contact_id: UUID, number: str, at: datetime, now: datetime, days: int) -> Ticket | None:
        """The ticket a message of this moment belongs to, after expiry has had its say; None when one must open."""
        ticket = self.open.get((contact_id, number))
        if ticket is not None and at > expires_at(ticket, days):
            self.close(ticket, "EXPIRED", expires_at(ticket, days))
            ticket = None
        if ticket is None or at < ticket.opened_at:
            closed = self._closed_at(contact_id, number, at, days)
            if closed is not None:
                self._join_late(closed, at, now, days)
                return closed
        if ticket is not None:
            _said(ticket, at)
        return ticket

    def open_new(
        self,
        organization_id: UUID,
        contact_id: UUID,
        number: str,
        at: datetime,
        rules: Rules,
        *,
        touched: bool,
    ) -> Ticket:
        """Open the contact's ticket with this message. touched: the message came from an ad or post."""
        ticket = Ticket(
            organization_id=organization_id,
            id=self._new_id(),
            contact_id=contact_id,
            phone_number_id=number,
            stage_id=rules.first_stage_id,
            status="open",
            close_reason=None,
            currency=rules.currency,
            follow_up=not touched and self._closed_shortly_before(contact_id, at),
            opened_at=at,
            last_message_at=at,
            active_at=at,
            closed_at=None,
            is_new=True,
        )
        self._file(ticket)
        return ticket

    def began(self, ticket: Ticket, at: datetime, days: int) -> None:
        """A person wrote this, perhaps before what opened the ticket but later to arrive: then the ticket began with it.

        Not when a whole life lies between, nor when the contact's ticket before it was not over yet: that was another talk.
        """
        if at >= ticket.opened_at or ticket.opened_at - at > timedelta(days=days):
            return
        before = (
            other
            for other in self.closed.get(ticket.contact_id, ())
            if other is not ticket and other.phone_number_id == ticket.phone_number_id
            if other.close_reason != "MERGED" and other.opened_at <= ticket.opened_at
        )
        if all(other.closed_at is not None and other.closed_at < at for other in before):
            ticket.opened_at, ticket.changed = at, True

    def close(self, ticket: Ticket, reason: str, at: datetime) -> None:
        """Close an open ticket."""
        self.open.pop((ticket.contact_id, ticket.phone_number_id), None)
        ticket.status, ticket.close_reason, ticket.closed_at, ticket.changed = "closed", reason, at, True
        self.closed.setdefault(ticket.contact_id, []).append(ticket)

    def give(
        self, loser_id: UUID, survivor_id: UUID, touched_at: Callable[[Ticket], datetime | None], at: datetime
    ) -> None:
        """Make one contact's tickets another's. Where both have an open one, one goes on and the other closes.

        A ticket that an ad or post led to goes on before one that came of itself, so that no click is lost; then the
        later touched, or opened.
        """
        for ticket in [ticket for ticket in self.all.values() if ticket.contact_id == loser_id]:
            rival = self.open.get((survivor_id, ticket.phone_number_id))
            if rival is not None and ticket.status == "open":
                self.close(min(rival, ticket, key=lambda each: _claim(each, touched_at(each))), "MERGED", at)
            self._unfile(ticket)
            ticket.contact_id, ticket.changed = survivor_id, True
            self._file(ticket)

    def _join_late(self, ticket: Ticket, at: datetime, now: datetime, days: int) -> None:
        """A late message lengthens an expired ticket's life; when it then would not have ended yet, it goes on."""
        _said(ticket, at)
        if ticket.close_reason != "EXPIRED":
            return
        ticket.closed_at = expires_at(ticket, days)
        if ticket.closed_at > now and (ticket.contact_id, ticket.phone_number_id) not in self.open:
            self.closed[ticket.contact_id].remove(ticket)
            ticket.status, ticket.close_reason, ticket.closed_at, ticket.changed = "open", None, None, True
            self.open[ticket.contact_id, ticket.phone_number_id] = ticket

    def _closed_at(self, contact_id: UUID, number: str, at: datetime, days: int) -> Ticket | None:
        """The closed ticket in whose life this moment falls, the newest of them; before all lives, the first one.

        A sale or loss more than a life after it was another talk, which this moment would not have opened.
        """
        lives = [
            (ticket.opened_at, ticket.closed_at, ticket.id)
            for ticket in self.closed.get(contact_id, ())
            if ticket.phone_number_id == number and ticket.close_reason != "MERGED"
            if ticket.closed_at is not None and at <= ticket.closed_at
            if ticket.close_reason == "EXPIRED" or ticket.opened_at - at <= timedelta(days=days)
        ]
        begun = [life for life in lives if life[0] <= at]
        found = max(begun) if begun else min(lives, default=None)
        return self.all[found[2]] if found else None

    def _closed_shortly_before(self, contact_id: UUID, at: datetime) -> bool:
        """Whether one of the contact's tickets, on any number, closed less than FOLLOW_UP_WITHIN before this moment."""
        return any(
            timedelta() <= at - ticket.closed_at < FOLLOW_UP_WITHIN
            for ticket in self.closed.get(contact_id, ())
            if ticket.closed_at is not None and ticket.close_reason != "MERGED"
        )

    def _file(self, ticket: Ticket) -> None:
        self.all[ticket.id] = ticket
        if ticket.status == "open":
            self.open[ticket.contact_id, ticket.phone_number_id] = ticket
        else:
            self.closed.setdefault(ticket.contact_id, []).append(ticket)

    def _unfile(self, ticket: Ticket) -> None:
        if ticket.status == "open":
            del self.open[ticket.contact_id, ticket.phone_number_id]
        else:
            self.closed[ticket.contact_id].remove(ticket)


def _claim(ticket: Ticket, touched_at: datetime | None) -> tuple[bool, datetime, datetime]:
    """How strongly a ticket asks to go on when two become one."""
    return touched_at is not None, touched_at or ticket.opened_at, ticket.active_at


def _said(ticket: Ticket, at: datetime) -> None:
    """A message of this moment was said in the ticket."""
    if ticket.last_message_at is None or at > ticket.last_message_at:
        ticket.last_message_at, ticket.changed = at, True
    if at > ticket.active_at:
        ticket.active_at, ticket.changed = at, True

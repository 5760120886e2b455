"""What one message does: to whom it belongs, to which ticket, and which ad gets the credit. Pure.

A batch's state is loaded into a Desk, messages are decided one by one in arrival order, and the Desk then says what
has to be written. Any split of a stream into batches gives the same rows: a test compares with a reference.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

import msgspec

from whatrack.attribution.touch import Decision, Tracking, credit, read_touch
from whatrack.contacts.identity import IdentityKey, People, identity_keys
from whatrack.inbox.reading import Incoming
from whatrack.tickets.lifecycle import Rules, Ticket, Tickets

MessageKey = tuple[UUID, str]  # organization, wamid


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message to be written, with the contact and ticket it belongs to."""

    message: Incoming
    contact_id: UUID
    ticket_id: UUID | None


class Desk:
    """The state of everyone a batch is about, and what has been decided so far."""

    def __init__(
        self,
        *,
        rules: dict[UUID, Rules],
        people: People,
        tickets: Tickets,
        trackings: dict[UUID, Tracking],
        seen: set[MessageKey],
        now: datetime,
    ) -> None:
        self.rules = rules
        self.people = people
        self.tickets = tickets
        self.trackings = trackings
        self.seen = seen
        self.now = now
        self.stored: list[Stored] = []
        self.decisions: list[Decision] = []

    def last_touch_at(self, ticket: Ticket) -> datetime | None:
        """When a ticket was last touched by an ad or post."""
        tracking = self.trackings.get(ticket.id)
        return tracking.last_touch_at if tracking else None


def creditable(incoming: Iterable[Incoming], identities: Mapping[IdentityKey, UUID]) -> set[UUID]:
    """The known contacts of whose tickets a decision may ask what they are credited to: who comes from an ad or post, and
    who may turn out to be one person with somebody else, because a message carries an id that does not lead to them.

    identities: what is known of the messages' identity keys before any of them is decided.
    """
    found: set[UUID] = set()
    for message in incoming:
        leads = [identities.get((message.organization_id, key)) for key in identity_keys(message)]
        if message.referral or any(each is not leads[0] for each in leads):
            found.update(each for each in leads if each)
    return found


def decide(desk: Desk, message: Incoming) -> None:
    """Decide one message; a message seen before changes nothing."""
    key = (message.organization_id, message.wamid)
    if key in desk.seen:
        return
    desk.seen.add(key)
    contact, merges = desk.people.person(message)
    for merge in merges:
        desk.tickets.give(merge.loser_id, merge.survivor_id, desk.last_touch_at, message.sent_at)
    ticket = None
    if message.origin in ("inbound", "echo"):
        ticket = _ticket_of(desk, message, contact.id)
    desk.stored.append(Stored(message, contact.id, ticket.id if ticket else None))


def _ticket_of(desk: Desk, message: Incoming, contact_id: UUID) -> Ticket | None:
    """The ticket the message belongs to, opened when a person writes and none is open; the ad credited."""
    rules = desk.rules[message.organization_id]
    touch = (
        read_touch(message.referral, message.sent_at, message.wamid) if message.origin == "inbound" else None
    )
    ticket = desk.tickets.place(contact_id, message.phone_number_id, message.sent_at, desk.now, rules.days)
    if message.origin == "echo":
        return ticket  # the business writing first makes no lead
    if ticket is None:
        ticket = desk.tickets.open_new(
            message.organization_id,
            contact_id,
            message.phone_number_id,
            message.sent_at,
            rules,
            touched=touch is not None,
        )
        desk.trackings[ticket.id] = Tracking(message.organization_id, ticket.id, is_new=True)
    desk.tickets.began(ticket, message.sent_at, rules.days)
    if touch is not None:
        decision = credit(desk.trackings[ticket.id], touch)
        desk.decisions.append(decision)
        if decision.decision in ("first_touch", "new_ad", "same_ad") and ticket.follow_up:
            ticket.follow_up, ticket.changed = False, True
    return ticket

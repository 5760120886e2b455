"""A delivery's bytes as facts to decide on: messages, status counts, changes to keep, and what could not be read.

Pure: no database, no clock. One bad message, status or change becomes a Failure and its neighbours go on.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from whatrack.meta import webhook
from whatrack.meta.text import readable_text
from whatrack.meta.webhook import Referral, Undecodable, present
from whatrack.units import phone_key

EARLIEST = datetime(2009, 1, 1, tzinfo=UTC)  # WhatsApp's first year
LATEST_AHEAD = timedelta(days=1)
MAX_KEY = 200  # what goes into a btree key is bounded: longer ids are kept by their SHA-256

_EMOJI_OR_WORSE = re.compile(rb"\\u[dD][89a-fA-F]")


class Route(msgspec.Struct, frozen=True):
    """Whose a number is, and what reading its deliveries needs to know of them."""

    organization_id: UUID
    zone: ZoneInfo
    partition: int


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One queue row with its body. counts: whether its statuses are to be counted (not so in a replay)."""

    id: int
    route: str
    received_at: datetime
    body: bytes
    day: date
    counts: bool = True
    partition: int = 0
    set_aside: bool = False  # it is in delivery_exceptions, and leaves it when it is processed


class Incoming(msgspec.Struct, frozen=True, gc=False):
    """One message, with everything a decision needs.

    origin: inbound (a person wrote) · echo (the business wrote from its phone) · history · group · system (a
    person's number or id changed). sent_at: UTC; time_is_ours when Meta's was absurd and the arrival stands in.
    wa_id, user_id: the person, either may be None; new_wa_id, new_user_id: what a system message says they become.
    """

    organization_id: UUID
    phone_number_id: str
    wamid: str
    origin: str
    from_business: bool
    type: str
    sent_at: datetime
    time_is_ours: bool
    wa_id: str | None
    user_id: str | None
    new_wa_id: str | None
    new_user_id: str | None
    name: str | None
    body: str | None
    referral: Referral | None
    raw: str


class Kept(msgspec.Struct, frozen=True):
    """A change that is neither messages nor statuses, whole."""

    organization_id: UUID
    digest: bytes
    waba_id: str
    phone_number_id: str | None
    field: str
    received_at: datetime
    value: str


class Failure(msgspec.Struct, frozen=True):
    """A part of a delivery that could not be read. reason: a closed set; detail: where, never the values."""

    delivery: Delivery
    reason: str
    detail: str


StatusKey = tuple[UUID, str, date, str]  # organization, number, day in the organization's zone, status


class Reading(msgspec.Struct):
    """Everything a batch of deliveries holds, in arrival order."""

    messages: list[Incoming] = []
    statuses: Counter[StatusKey] = msgspec.field(default_factory=Counter)
    kept: list[Kept] = []
    failures: list[Failure] = []

    def fail(self, delivery: Delivery, reason: str, detail: str) -> None:
        """Note that a part of a delivery cannot be read: its first one, so that each try is one failure."""
        if not self.failures or self.failures[-1].delivery is not delivery:
            self.failures.append(Failure(delivery, reason, detail))


class _Part(msgspec.Struct, frozen=True):
    """Where in a body we are: one change of one delivery, for one organization."""

    delivery: Delivery
    target: Route
    waba_id: str
    entry_time: object
    number: str | None
    field: str
    raw: msgspec.Raw


def read(deliveries: list[Delivery], targets: dict[str, list[Route]], reading: Reading) -> None:
    """Add to `reading` each delivery's changes that belong to its route. targets: route → the organizations it leads to."""
    for delivery in deliveries:
        try:
            for entry, change in webhook.changes(delivery.body):
                if change is not None:  # what is no change has no route: the unrouted partition sets it aside
                    _read_change(reading, delivery, entry, change, targets)
        except Undecodable as error:
            reading.fail(delivery, "not_a_webhook", str(error))


def _read_change(
    reading: Reading,
    delivery: Delivery,
    entry: webhook.Entry | webhook.PlainEntry,
    change: webhook.Change,
    targets: dict[str, list[Route]],
) -> None:
    metadata = webhook.metadata_of(change)
    if webhook.route_of(entry.id, metadata) != delivery.route:
        return
    field = present(change.field) or ""
    number = present(metadata.phone_number_id) if metadata else None
    for target in targets.get(delivery.route, ()):
        if target.partition != delivery.partition:
            continue  # another queue row of the same delivery serves that organization
        part = _Part(delivery, target, present(entry.id) or "", entry.time, number, field, change.value)
        try:
            if part.number is None or part.field not in ("", "messages", "history", "smb_message_echoes"):
                reading.kept.append(_keep(part))
            else:
                _read_value(reading, part)
        except Undecodable as error:
            reading.fail(delivery, "bad_change", str(error))


def _read_value(reading: Reading, part: _Part) -> None:
    value, left_out = webhook.salvage(webhook.Value, part.raw)
    if left_out:  # what can be read of the value goes on
        reading.fail(part.delivery, "bad_value", f"not of the expected type: {', '.join(left_out)}")
    people = list(_people(value.contacts or ()))
    for raw in value.messages or ():
        _read_message(reading, part, raw, people, "history" if part.field == "history" else "inbound")
    for raw in value.message_echoes or ():
        _read_message(reading, part, raw, people, "echo")
    for raw in value.history or ():
        _read_history(reading, part, raw)
    if part.delivery.counts:
        for raw in value.statuses or ():
            _read_status(reading, part, raw)
    known = (value.messages, value.message_echoes, value.history, value.statuses)
    if not any(known) or not webhook.is_null(value.errors) or not webhook.is_null(value.user_actions):
        reading.kept.append(_keep(part))


def _people(contacts: Any) -> Iterator[webhook.Person]:
    for raw in contacts:
        try:
            yield webhook.salvage(webhook.Person, raw)[0]
        except Undecodable:
            continue  # a name is lost, never the message


def _read_message(
    reading: Reading,
    part: _Part,
    raw: msgspec.Raw,
    people: list[webhook.Person],
    origin: str,
    chat: str | None = None,
) -> None:
    try:
        incoming = _message(part, raw, people, origin, chat)
    except Undecodable as error:
        reading.fail(part.delivery, "bad_message", str(error))
        return
    if incoming.user_id or phone_key(incoming.wa_id or ""):
        reading.messages.append(incoming)
    else:
        reading.fail(part.delivery, "no_sender", "a message names neither a number nor a user id")


def _read_history(reading: Reading, part: _Part, raw: msgspec.Raw) -> None:
    try:
        chunk = webhook.decode_part(webhook.HistoryChunk, raw)
    except Undecodable as error:
        reading.fail(part.delivery, "bad_history", str(error))
        return
    for raw_thread in chunk.threads:
        try:
            thread, _ = webhook.salvage(webhook.Thread, raw_thread)
        except Undecodable as error:
            reading.fail(part.delivery, "bad_history", str(error))
            continue
        for message in thread.messages:
            _read_message(reading, part, message, [], "history", present(thread.id))


def _read_status(reading: Reading, part: _Part, raw: msgspec.Raw) -> None:
    try:
        status, _ = webhook.salvage(webhook.Status, raw)
    except Undecodable as error:
        reading.fail(part.delivery, "bad_status", str(error))
        return
    at, _ = _moment(status.timestamp, part.delivery.received_at)
    day = at.astimezone(part.target.zone).date()
    reading.statuses[part.target.organization_id, part.number or "", day, status.status[:40]] += 1


def _message(
    part: _Part, raw: msgspec.Raw, people: list[webhook.Person], origin: str, chat: str | None
) -> Incoming:
    message, _ = webhook.salvage(webhook.Message, raw)
    kind = present(message.type) or ""
    text = storable(raw)
    sender = present(message.from_)
    from_business = origin == "echo" or (chat is not None and phone_key(sender or "") != phone_key(chat))
    wa_id = chat or (present(message.to) if origin == "echo" else sender)
    user_id = present(message.to_user_id if origin == "echo" else message.from_user_id)
    person = _person(people, wa_id, user_id)
    referral = webhook.read_referral(message.referral)
    system = _system(message) if kind == "system" else None
    at, is_ours = _moment(message.timestamp, part.delivery.received_at)
    if origin == "inbound":
        origin = "group" if present(message.group_id) else "system" if system and not referral else "inbound"
    return Incoming(
        organization_id=part.target.organization_id,
        phone_number_id=part.number or "",
        wamid=bounded(present(message.id) or "sha256:" + hashlib.sha256(raw).hexdigest()),
        origin=origin,
        from_business=from_business,
        type=kind[:60],
        sent_at=at,
        time_is_ours=is_ours,
        wa_id=wa_id or (present(person.wa_id) if person else None),
        user_id=user_id or (present(person.user_id) if person else None),
        new_wa_id=(present(system.wa_id) or present(system.new_wa_id)) if system else None,
        new_user_id=present(system.user_id) if system else None,
        name=present(person.profile.name) if person and person.profile else None,
        body=readable_text(kind, text.encode()),
        referral=referral,
        raw=text,
    )


def _system(message: webhook.Message) -> webhook.System | None:
    try:
        return webhook.salvage(webhook.System, message.system)[0]
    except Undecodable:
        return None


def _person(people: list[webhook.Person], wa_id: str | None, user_id: str | None) -> webhook.Person | None:
    """The contacts[] element about this sender: by user id, by number, or the only one when the message names nobody."""
    for person in people:
        if user_id and present(person.user_id) == user_id:
            return person
        if wa_id and phone_key(present(person.wa_id) or "") == phone_key(wa_id):
            return person
    return people[0] if len(people) == 1 and not wa_id and not user_id else None


def _keep(part: _Part) -> Kept:
    value = storable(part.raw)
    identity = [part.waba_id, part.field, str(part.entry_time), part.number, value]
    return Kept(
        organization_id=part.target.organization_id,
        digest=hashlib.sha256(msgspec.json.encode(identity)).digest(),
        waba_id=part.waba_id,
        phone_number_id=part.number,
        field=part.field[:60],
        received_at=part.delivery.received_at,
        value=value,
    )


def _moment(timestamp: str | float | None, received_at: datetime) -> tuple[datetime, bool]:
    """Meta's unix seconds (a string, or a number in some fields) as UTC; the arrival when they are absurd."""
    try:
        at = datetime.fromtimestamp(int(timestamp or 0), UTC)
    except (ValueError, OverflowError, OSError):
        return received_at, True
    if EARLIEST <= at <= received_at + LATEST_AHEAD:
        return at, False
    return received_at, True


def bounded(key: str) -> str:
    """An id that may stand in a btree key: itself, or its SHA-256 when it is longer than 200 characters."""
    return key if len(key) <= MAX_KEY else "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def storable(raw: msgspec.Raw | bytes) -> str:
    """The JSON text as PostgreSQL can keep and later read it; unchanged unless it holds NUL or lone surrogates."""
    data = bytes(raw)
    try:
        if b"\\u0000" not in data:
            if _EMOJI_OR_WORSE.search(data):
                msgspec.json.decode(data)
            return data.decode()
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        pass  # cleaned below
    try:
        return webhook.clean(data).decode()
    except (ValueError, RecursionError) as error:
        raise Undecodable(type(error).__name__, is_json=True) from None

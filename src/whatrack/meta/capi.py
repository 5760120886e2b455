"""The Conversions API for business messaging: a request of up to 1,000 events as Meta wants it, and what its answer proves. Pure.

Minimal on purpose: no phone, no name, nothing hashed. `whatsapp_business_account_id` and the raw click id identify the click.
Deviations from Meta's SDK, which cannot build this event (its UserData lacks whatsapp_business_account_id): the body is JSON,
and values are numbers with the digits they have in the database, never floats.
Sources: Meta, "Conversions API for business messaging"
<https://developers.facebook.com/documentation/ads-commerce/conversions-api/business-messaging>, "Using the API" and "Server
event parameters", read 2026-11. Refusals by subcode: as seen live and reported by others, with the same reading date.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from whatrack.meta.errors import (
    BadRequest,
    GraphError,
    MissingPermission,
    NoAnswer,
    NotVisible,
    Throttled,
    TokenDead,
    Unreachable,
)

PARTNER_AGENT = "whatrack"
MAX_EVENTS = 1000
CLICK_SHOWN = 12  # of a click id, in what is kept of a request

# What is wrong with the dataset, or with its link to the WhatsApp account: true of every event of a request, so that looking
# for the bad one among them would only ask Meta the same a thousand times.
OF_DATASET = frozenset({2804065, 2804072, 2804131, 2804132, 2804133})


class UserData(msgspec.Struct, frozen=True, gc=False):
    """Whose click it was."""

    whatsapp_business_account_id: str
    ctwa_clid: str


class CustomData(msgspec.Struct, frozen=True, gc=False):
    """What it was worth."""

    currency: str
    value: Decimal


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event, in Meta's field names. event_time: unix seconds of when it happened; event_id: the same at each try.

    custom_data is absent, not null, where it is UNSET.
    """

    event_name: str
    event_time: int
    event_id: str
    user_data: UserData
    custom_data: CustomData | UnsetType = UNSET
    action_source: str = "business_messaging"
    messaging_channel: str = "whatsapp"


class _Request(msgspec.Struct, frozen=True, gc=False):
    data: Sequence[Event]
    partner_agent: str
    test_event_code: str | UnsetType = UNSET


_encoder = msgspec.json.Encoder(decimal_format="number")


def body(events: Sequence[Event], test_event_code: str | None = None) -> bytes:
    """The request's JSON. test_event_code: only when set, because Meta takes a blank one for a test."""
    return _encoder.encode(_Request(events, PARTNER_AGENT, test_event_code or UNSET))


def kept(event: Event, test_event_code: str | None = None) -> str:
    """One event of a request as it is kept and shown: the click id shortened, as the event's row has it whole."""
    clid = event.user_data.ctwa_clid
    short = f"{clid[:CLICK_SHOWN]}…" if len(clid) > CLICK_SHOWN else clid
    shown = msgspec.structs.replace(
        event, user_data=msgspec.structs.replace(event.user_data, ctwa_clid=short)
    )
    return body([shown], test_event_code).decode()


class Answer(msgspec.Struct, frozen=True):
    """What Meta says it took. messages: warnings, kept for people."""

    events_received: int = 0
    messages: list[Any] = []
    fbtrace_id: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What an answer means for each event of its request.

    outcome: accepted · refused (for good) · halve (one of them is refused, nobody knows which) · not_counted (none was taken)
    · throttled · transient · token · permission · blocked · unknown (perhaps taken, perhaps not).
    """

    outcome: str
    wait_s: float = 0.0


def verdict(answer: Answer | GraphError, sent: int) -> Verdict:
    """What becomes of the events of a request.

    200 alone proves nothing: with 0 received none was taken, and all may go again; with fewer than sent nobody knows which, and
    as Meta does not deduplicate these events, guessing would count sales twice.
    """
    if isinstance(answer, Answer):
        if answer.events_received >= sent:
            return Verdict("accepted")
        return Verdict("not_counted" if answer.events_received == 0 else "unknown")
    match answer:
        case Unreachable():
            return Verdict("transient")
        case NoAnswer():
            return Verdict("unknown")
        case Throttled():
            return Verdict("throttled", answer.retry_after_s)
        case TokenDead():
            return Verdict("token")
        case MissingPermission():
            return Verdict("permission")
        case NotVisible():
            return Verdict("refused")
        case BadRequest():
            return _bad(answer, sent)
    return Verdict("transient")


def _bad(error: BadRequest, sent: int) -> Verdict:
    if error.reason == "blocked":
        return Verdict("blocked")
    if sent > 1 and error.subcode not in OF_DATASET:
        return Verdict("halve")
    return Verdict("refused")

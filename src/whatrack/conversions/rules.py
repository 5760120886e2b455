"""What a move owes Meta, when it may be sent, which way, and how long to wait after a failure. Pure.

Entering a stage that has an event owes that event, once per ticket: the first of two stages with the same event wins,
and a ticket that was lost and won again is not reported twice. A ticket that goes straight to won owes Purchase alone.
Meta's window: an event may be 7 days old, else Meta refuses the whole request with 100/2804003.
Source: Meta, "Conversions API for business messaging" and "Server event parameters", read 2026-11.
"""

import hashlib
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

import msgspec

LEAD, PURCHASE = "LeadSubmitted", "Purchase"
# The closed list of Meta; the table's CHECK holds the same. Some live reports take only the first two.
EVENT_NAMES = (
    PURCHASE, LEAD, "QualifiedLead", "InitiateCheckout", "AddToCart", "ViewContent", "OrderCreated", "OrderShipped",
    "OrderDelivered", "OrderCanceled", "OrderReturned", "CartAbandoned", "RatingProvided", "ReviewProvided",
)  # fmt: skip
STATUSES = (
    "PENDING", "SENT", "FAILED", "CANCELLED", "EXPIRED_WINDOW", "SKIPPED_NO_CTWA", "SKIPPED_DUPLICATE_LEAD",
    "SKIPPED_NO_DATASET", "SKIPPED_ACCOUNT_INACTIVE",
)  # fmt: skip
MENDABLE = ("SKIPPED_NO_DATASET", "SKIPPED_ACCOUNT_INACTIVE")
WINDOW = timedelta(days=7)
# An event on its way to Meta may arrive a little later than it left; this much of the window is left to it.
WINDOW_MARGIN = timedelta(minutes=1)
CLOSES_SOON = timedelta(hours=48)  # the countdown turns amber
ENRICHMENT_HOLD = timedelta(minutes=10)
_PREFIX = {LEAD: "lead", PURCHASE: "purchase"}
_HUMP = re.compile(r"(?<!^)(?=[A-Z])")

# Pauses after attempts in a row that were neither taken nor refused: soon at first, then every half hour.
PAUSES = tuple(timedelta(seconds=each) for each in (2, 5, 15, 60, 180, 600, 1800))
# What Meta says of a token, a permission or a person does not pass by itself: asked again now and then, and at once
# when a profile is connected.
SLOW_PAUSE = timedelta(minutes=10)
BLOCKED_PAUSE = timedelta(hours=1)


class Click(msgspec.Struct, frozen=True):
    """What is known of a ticket's click when it moves. waba_id: of the number it belongs to, None when that is gone."""

    ticket_id: UUID
    ctwa_clid: str | None
    meta_ad_id: str | None
    enriching: bool
    waba_id: str | None


class Entered(msgspec.Struct, frozen=True):
    """A ticket that went into a stage with an event. version: the ticket's after the move."""

    organization_id: UUID
    ticket_id: UUID
    event_name: str
    happened_at: datetime
    value: Decimal | None
    currency: str
    version: int


class Owed(msgspec.Struct, frozen=True):
    """A row of meta_conversion_events as a move wants it."""

    organization_id: UUID
    ticket_id: UUID
    event_name: str
    event_id: str
    status: str
    ctwa_clid: str | None
    ctwa_clid_hash: bytes | None
    meta_ad_id: str | None
    waba_id: str | None
    value: Decimal | None
    currency: str
    event_time: datetime
    owed_version: int
    not_before: datetime
    hold_reason: str | None


def event_id(event_name: str, ticket_id: UUID) -> str:
    """lead-…, purchase-…, else the name in snake case: the same ticket and event always have the same id."""
    return f"{_PREFIX.get(event_name) or snake(event_name)}-{ticket_id}"


def snake(name: str) -> str:
    """initiate_checkout."""
    return _HUMP.sub("_", name).lower()


def click_hash(clid: str | None) -> bytes | None:
    """The click id's SHA-256, byte for byte: click ids differ by case."""
    return hashlib.sha256(clid.encode("utf-8", "surrogatepass")).digest() if clid else None


def owed(move: Entered, click: Click, *, taken: bool, now: datetime, hold: timedelta) -> Owed:
    """The row that a move owes. taken: another ticket's lead of the same click is owed or sent. hold: for undo."""
    clid = click.ctwa_clid or None
    waiting = "undo" if hold > timedelta() else "enrichment" if click.enriching else None
    status = _first_status(move, clid, taken=taken, now=now)
    return Owed(
        organization_id=move.organization_id,
        ticket_id=move.ticket_id,
        event_name=move.event_name,
        event_id=event_id(move.event_name, move.ticket_id),
        status=status,
        ctwa_clid=clid,
        ctwa_clid_hash=click_hash(clid),
        meta_ad_id=click.meta_ad_id,
        waba_id=click.waba_id,
        value=move.value,
        currency=move.currency,
        event_time=move.happened_at,
        owed_version=move.version,
        not_before=now + hold,
        hold_reason=waiting if status == "PENDING" else None,
    )


def _first_status(move: Entered, clid: str | None, *, taken: bool, now: datetime) -> str:
    if clid is None:
        return "SKIPPED_NO_CTWA"
    if window_closed(move.happened_at, now):
        return "EXPIRED_WINDOW"
    if taken and move.event_name == LEAD:
        return "SKIPPED_DUPLICATE_LEAD"
    return "PENDING"


def closes_at(event_time: datetime) -> datetime:
    """When Meta stops taking the event."""
    return event_time + WINDOW


def window_closed(event_time: datetime, now: datetime) -> bool:
    """Whether an event is too old to be sent now."""
    return now > closes_at(event_time) - WINDOW_MARGIN


def pause_after(trouble: int) -> timedelta:
    """How long to wait after so many attempts in a row that came to nothing."""
    return PAUSES[min(max(trouble, 1), len(PAUSES)) - 1]


def next_limit(sent: int) -> int:
    """How many to send together when one of so many is refused: half of them, so that the bad one is found."""
    return max(1, (sent + 1) // 2)


class Send(msgspec.Struct, frozen=True):
    """Send it now."""


class Hold(msgspec.Struct, frozen=True):
    """Not yet."""

    reason: str
    until: datetime


class Skip(msgspec.Struct, frozen=True):
    """Not as things are: the status says what is in the way."""

    status: str


def way(
    missing: Collection[str], *, enriching: bool, event_time: datetime, not_before: datetime, now: datetime
) -> Send | Hold | Skip:
    """Whether an event goes its route now. missing: what the route lacks, in the words of connections/route.py.

    enriching: its ad is still being looked up, so that the account, and with it the route, may become another.
    """
    if window_closed(event_time, now):
        return Skip("EXPIRED_WINDOW")
    if enriching and now < not_before + ENRICHMENT_HOLD:
        return Hold("enrichment", not_before + ENRICHMENT_HOLD)
    if "account_inactive" in missing:
        return Skip("SKIPPED_ACCOUNT_INACTIVE")
    if "no_dataset" in missing or "number_unknown" in missing:
        return Skip("SKIPPED_NO_DATASET")
    return Hold("no_token", now + SLOW_PAUSE) if "no_token" in missing else Send()


def mended_by(missing: Collection[str]) -> tuple[str, ...]:
    """Which statuses go on, when this is what their way lacks by now; PENDING means one that waits for a token."""
    if {"account_inactive", "no_dataset", "number_unknown"} & set(missing):
        return ()
    return MENDABLE if "no_token" in missing else (*MENDABLE, "PENDING")


# Money as people write it in Brazil, and as phones' keyboards offer it: R$ 1.234,56 · R$199,90 · R$ 200.
_AMOUNT = r"\s*[:\-–]?\s*R\$\s*(\d{1,3}(?:\.\d{3})+|\d{1,10})(?:,(\d{1,2}))?(?![\d.,]*\d)"


def sale_in(body: str | None, phrase: str) -> Decimal | None:
    """What a message says was sold: the phrase, then an amount in reais. None when it does not, or could mean two things.

    The phrase is compared without regard to case and runs of blanks; "R$ 199.90" is no Brazilian amount and is not guessed.
    """
    wanted = r"\s+".join(re.escape(word) for word in phrase.split())
    if not body or not wanted:
        return None
    found = [*re.finditer(rf"(?<!\w){wanted}{_AMOUNT}", body[:4096], re.IGNORECASE)]
    amounts = {_amount(each[1], each[2]) for each in found}
    amount = amounts.pop() if len(amounts) == 1 else None
    return amount if amount and amount < Decimal(10) ** 10 else None


def _amount(whole: str, cents: str | None) -> Decimal:
    return Decimal(f"{whole.replace('.', '')}.{(cents or '0').ljust(2, '0')}")

"""Which dataset and whose token a conversion goes with, and what is missing for that. Pure; tokens.py loads the facts.

The dataset chosen for the ad's account counts where it is linked to the WhatsApp account the conversation ran on, or where a
person confirmed it all the same; otherwise the WhatsApp account's own. The token is of a profile that sees the account; for
the WhatsApp account's own dataset the number's token comes first.
"""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from whatrack.connections.keys import Held

SENDS_EVENTS = "whatsapp_business_manage_events"

# What may be missing, in the order in which it matters. Those of NOTES do not stop a conversion.
MISSING = ("account_inactive", "number_unknown", "no_dataset", "no_token")
NOTES = ("pixel_not_linked",)


class AccountFacts(msgspec.Struct, frozen=True):
    """The ad's account. connection_id: whose token comes first; seen_by: profiles that see it."""

    id: UUID
    is_active: bool
    pixel_id: str | None
    pixel_confirmed: bool
    connection_id: UUID | None
    seen_by: Sequence[UUID]


class NumberFacts(msgspec.Struct, frozen=True):
    """The number the conversation ran on. held: its token, where it has one that works."""

    phone_number_id: str
    waba_id: str
    dataset_id: str | None
    held: Held | None


class ProfileFacts(msgspec.Struct, frozen=True):
    """A profile that works."""

    id: UUID
    held: Held
    scopes: frozenset[str]


class Route(msgspec.Struct, frozen=True):
    """Where a conversion would go. source: "account" or "waba"; tokens: to be tried in this order.

    missing: codes of MISSING and NOTES; it can be sent when `is_open`.
    """

    dataset_id: str | None = None
    source: str | None = None
    waba_id: str | None = None
    tokens: tuple[Held, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether nothing is missing that a conversion needs."""
        return not any(each in MISSING for each in self.missing)


def choose(
    account: AccountFacts | None,
    number: NumberFacts | None,
    profiles: Sequence[ProfileFacts],
    *,
    others_datasets: frozenset[str] = frozenset(),
) -> Route:
    """The route of a conversion. account: None when the ad's account is unknown; others_datasets: other numbers' own."""
    if account is not None and not account.is_active:
        return Route(waba_id=number.waba_id if number else None, missing=("account_inactive",))
    if number is None:
        return Route(missing=("number_unknown",))
    dataset_id, source, notes = _dataset(account, number, others_datasets)
    tokens = _tokens(account, number, profiles, is_own=dataset_id == number.dataset_id)
    missing = [*(["no_dataset"] if dataset_id is None else []), *([] if tokens else ["no_token"]), *notes]
    return Route(dataset_id, source, number.waba_id, tokens, tuple(missing))


def _dataset(
    account: AccountFacts | None, number: NumberFacts, others: frozenset[str]
) -> tuple[str | None, str | None, list[str]]:
    """(dataset, where it comes from, notes)."""
    own = number.dataset_id
    chosen = account.pixel_id if account else None
    if chosen and chosen == own:
        return chosen, "account", []
    if account and chosen and account.pixel_confirmed and chosen not in others:
        return chosen, "account", []
    notes = ["pixel_not_linked"] if chosen and chosen not in others else []
    return own, "waba" if own else None, notes


def _tokens(
    account: AccountFacts | None, number: NumberFacts, profiles: Sequence[ProfileFacts], *, is_own: bool
) -> tuple[Held, ...]:
    """The tokens to try, the best first."""
    of_number = [number.held] if number.held else []
    if account is None:
        theirs = [each.held for each in profiles if SENDS_EVENTS in each.scopes]
    else:
        theirs = [each.held for each in in_order(account, profiles)]
    return tuple([*of_number, *theirs] if is_own else [*theirs, *of_number])


def in_order(account: AccountFacts, profiles: Sequence[ProfileFacts]) -> list[ProfileFacts]:
    """The working profiles that see an account, its own first."""
    seeing = [each for each in profiles if each.id in account.seen_by]
    return sorted(seeing, key=lambda each: each.id != account.connection_id)

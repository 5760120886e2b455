"""What the report answers: rows, totals, series, steps and the tickets behind them."""

from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from whatrack.roi import metrics
from whatrack.roi.ask import Ask
from whatrack.roi.metrics import Amounts
from whatrack.units import minor_digits

RowKind = Literal[
    "account", "campaign", "adset", "ad", "organic", "post", "unidentified", "unconnected", "total"
]
# Whose tickets can be listed: also those of the person with this id; of nobody where it is ''.
BehindKind = RowKind | Literal["person"]
# The rows without an ad of a connected account, in the order they are shown.
SPECIAL: tuple[RowKind, ...] = ("organic", "post", "unidentified", "unconnected")
Note = Literal[
    "zones_differ",   # rows are in their account's zone, totals in the organization's
    "converted",      # money of another currency was converted at the rate of its day
    "rate_missing",   # there is money whose day has no rate: it is in no sum, see Row.apart
    "immature",       # counted by click, and the period's last clicks may still become sales: see immature_since
    "tax_off",        # nobody has said yet whether Meta's invoice has tax, and Brazil's may be: see asks_tax
    "partial",        # the period has days that are not over, or that Meta may still restate
    "refunds_by_sale",  # refunds stand on the day of their sale, as was asked, not on their own
    "silent_days",    # Meta says that an account spent nothing on days on which people came from its ads: see Freshness
    "gaps",           # days that are over did not come whole: were not read since they ended, of an account that is on or has tickets
]  # fmt: skip


class Apart(msgspec.Struct, frozen=True):
    """Money in a currency for which a day had no rate: as it is, in no sum."""

    currency: str
    spend: Decimal
    revenue: Decimal
    refunds: Decimal


class Row(msgspec.Struct, frozen=True):
    """One line. id: ad_account_id for an account, Meta's id below it, "" for special rows and totals.

    name_then: how it was called at the last click, when that was otherwise. status: of Meta's own words, or None.
    clear_loss: money was lost beyond what chance may excuse, see metrics.is_clear_loss. currency: the account's own; amounts
    are in the report's; own_spend is in the account's, where that is another. zone: that its days are in.
    """

    kind: RowKind
    id: str
    name: str | None
    amounts: Amounts
    status: str | None = None
    name_then: str | None = None
    is_active: bool = True
    account_id: str | None = None
    account_name: str | None = None
    campaign_id: str | None = None
    campaign_name: str | None = None
    adset_id: str | None = None
    adset_name: str | None = None
    currency: str | None = None
    zone: str | None = None
    apart: tuple[Apart, ...] = ()
    clear_loss: bool = False
    own_spend: Decimal | None = None


class Freshness(msgspec.Struct, frozen=True):
    """How current an account's spend is.

    fetched_at: when a try last left nothing of it due and nothing set aside (`whole_at` in insights/). gaps: days of the period that
    are over and not whole, that is, not read since they ended. came: whether any day of the period was ever read, with delivery or without.
    silent_days: those that came without a row though people (silent_people) came from the account's ads.
    """

    ad_account_id: str
    name: str
    fetched_at: datetime | None
    gaps: int
    reason: str | None
    came: bool
    silent_days: int = 0
    silent_people: int = 0


class Report(msgspec.Struct, frozen=True):
    """A page of rows with the totals of everything that was asked for, whatever page it is.

    special: the rows without an ad of a connected account; empty when accounts are filtered. count: rows on all pages.
    break_even, target: ROAS. immature_since: the first day whose clicks may still become sales, by the p75 time to sale.
    asks_tax: nobody has said what Meta's invoice has on top, and Brazil's may be. cuts_apart: some row's period begins or ends at another instant than that of the totals, for their zones differ.
    """

    ask: Ask
    currency: str
    rows: list[Row]
    special: list[Row]
    totals: Row
    previous: Row | None
    count: int
    notes: frozenset[Note]
    freshness: list[Freshness]
    break_even: Decimal | None
    asks_tax: bool
    immature_since: date | None
    taken_at: datetime
    cuts_apart: bool = False

    @property
    def is_told(self) -> bool:
        """Whether losses may be told: not where every click of the period is so young that it may still pay."""
        return self.immature_since is None or self.immature_since > self.ask.since

    @property
    def next_offset(self) -> int | None:
        """Where the next page begins; None on the last one."""
        end = self.ask.offset + len(self.rows)
        return end if end < self.count else None

    @property
    def has_every_row(self) -> bool:
        """Whether this page is the only one."""
        return not self.ask.offset and self.next_offset is None

    def parts_from_totals(self, names: Iterable[str]) -> bool:
        """Whether the zones keep the rows of one of these numbers from summing to its total, in whole minor units.

        Of a page that has every row, its sums tell. Of one that has not, the other rows are not read for this: there the periods
        tell, so that it may say so where the sums happen to agree.
        """
        added = [name for name in names if name in metrics.ADDED]
        if not (self.cuts_apart and added):
            return False
        if not self.has_every_row:
            return True
        rows = metrics.total(row.amounts for row in (*self.rows, *self.special))
        cent = Decimal(1).scaleb(-minor_digits(self.currency))
        return any(
            abs(
                Decimal(metrics.value(rows, name) or 0)
                - Decimal(metrics.value(self.totals.amounts, name) or 0)
            )
            >= cent / 2
            for name in added
        )


class Day(msgspec.Struct, frozen=True):
    """One day of the series, in the organization's zone for what is ours and the account's for spend."""

    day: date
    amounts: Amounts


class Funnel(msgspec.Struct, frozen=True):
    """The steps of what ads brought: each later one is a part of the tickets, not of Meta's clicks.

    beyond_meta: of the conversations, those by ads that Meta's numbers here do not have: of accounts not connected, or unknown.
    """

    link_clicks: int
    meta_conversations: int
    conversations: int
    with_clid: int
    leads: int
    qualified: int
    sales: int
    beyond_meta: int


class Times(msgspec.Struct, frozen=True):
    """How long from the last touch to the sale. curve: (days, share of the sales made within so many), None without sales."""

    sales: int
    median_hours: Decimal | None
    p75_hours: Decimal | None
    curve: list[tuple[int, Decimal]]


class Age(msgspec.Struct, frozen=True):
    """Of the clicks that are at least so many days old: how many leads, and how many of them had bought by that age."""

    days: int
    leads: int
    sales: int


class Cohort(msgspec.Struct, frozen=True):
    """The leads of the period's clicks. sales: bought until now; curve: each age by the clicks that have reached it."""

    leads: int
    sales: int
    curve: list[Age]


class Behind(msgspec.Struct, frozen=True):
    """A ticket that a number is made of, with its part: 1 for a count, money in the report's currency otherwise."""

    ticket_id: UUID
    at: datetime
    part: Decimal


class Salesperson(msgspec.Struct, frozen=True):
    """What one person sold; user_id None: tickets of nobody."""

    user_id: UUID | None
    name: str | None
    sales: int
    revenue: Decimal
    refunds: Decimal

"""The true sums: what ads cost and what came of them, by account, campaign, ad set or ad, and by day if wanted.

Made from the world alone, with whole minor units, so that the product's report can be compared to the cent. Days are those of the
ad's account; of what no known ad led to, those of `zone`. The day of a click is that of the message it led to, which is all that
Meta tells. Nothing counts that has not happened yet.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

from whatrack.sandbox.ancestry import chain
from whatrack.sandbox.cases import AD_KIND, ORGANIC_KIND, Act, Case
from whatrack.sandbox.clock import day_of
from whatrack.sandbox.figures import figures_of
from whatrack.sandbox.state import AD, AD_SET, CAMPAIGN, AdAccount, AdObject, World

LEVELS = ("account", CAMPAIGN, AD_SET, AD)
BASES = ("sale", "click")
HOME = "America/Sao_Paulo"


@dataclass
class Sum:
    """A row of the truth. spend is in the account's currency, revenue and refunds by currency; all in minor units.

    meta_leads, meta_purchases and meta_purchase_value are what Meta reports. revenue is gross.
    """

    kind: str
    id: str
    day: date | None = None
    currency: str | None = None
    spend: int = 0
    impressions: int = 0
    clicks: int = 0
    link_clicks: int = 0
    meta_conversations: int = 0
    meta_leads: int = 0
    meta_purchases: int = 0
    meta_purchase_value: int = 0
    leads: int = 0
    qualified: int = 0
    sales: int = 0
    revenue: dict[str, int] = field(default_factory=dict)
    refunds: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """With the day as text."""
        return {**asdict(self), "day": self.day.isoformat() if self.day else None}


@dataclass(frozen=True)
class Asked:
    """Which sums. Both days are included; level: of LEVELS; basis: of BASES; zone: of what no known ad led to.

    everywhere: count all people by the days of `zone`, as totals over several zones do.
    """

    since: date
    until: date
    level: str = AD
    basis: str = "sale"
    by_day: bool = False
    zone: str = HOME
    everywhere: bool = False


@dataclass(frozen=True)
class _Fact:
    """Something that counts once: in which column, and how much of it."""

    at: int
    column: str
    minor: int = 0


def sums(world: World, cases: Iterable[Case], asked: Asked) -> list[Sum]:
    """The rows that hold anything, in no particular order: one for each object, and those of organic, post and unidentified."""
    if asked.level not in LEVELS or asked.basis not in BASES:
        raise ValueError("level is account, campaign, adset or ad; basis is sale or click")
    table = _Table(world, asked)
    table.add_figures()
    now = world.clock()
    for case in cases:
        if case.is_lead and case.opened_at <= now:
            table.add_case(case, now)
    return list(table.rows.values())


class _Table:
    """The rows so far, by (kind, id, day)."""

    def __init__(self, world: World, asked: Asked) -> None:
        self._world, self._asked = world, asked
        self.rows: dict[tuple[str, str, date | None], Sum] = {}

    def add_figures(self) -> None:
        """Whatever Meta reports of the ads, archived and deleted ones too."""
        for account in self._world.all(AdAccount):
            for ad in self._world.below(account.id, AD):
                for day in _days(self._asked.since, self._asked.until):
                    self._add_delivery(account, ad, day)

    def _add_delivery(self, account: AdAccount, ad: AdObject, day: date) -> None:
        found = figures_of(self._world, ad, day)
        if not any(asdict(found).values()):
            return
        row = self._row(ad, "", day)
        row.spend += found.spend
        row.impressions += found.impressions
        row.clicks += found.clicks
        row.link_clicks += found.link_clicks
        row.meta_conversations += found.conversations
        row.meta_leads += found.leads
        row.meta_purchases += found.purchases
        row.meta_purchase_value += found.purchase_value

    def add_case(self, case: Case, now: float) -> None:
        """What a conversation counts for, on the days that the basis says."""
        credit = case.credited(now)
        ad = None
        if credit and credit[1].kind == AD_KIND:
            ad = self._world.get(AdObject, credit[1].ad_id)
        special = credit[1].kind if credit else ORGANIC_KIND
        zone = self._asked.zone
        if ad and not self._asked.everywhere:
            zone = self._world.get(AdAccount, ad.account_id).zone
        begun = credit[0] if credit else case.opened_at
        for fact in _facts(case, now):
            day = day_of(fact.at if self._asked.basis == "sale" else begun, zone)
            if self._asked.since <= day <= self._asked.until:
                self._add_fact(self._row(ad, special, day), case.currency, fact)

    def _add_fact(self, row: Sum, currency: str, fact: _Fact) -> None:
        if fact.column == "refunds":
            row.refunds[currency] = row.refunds.get(currency, 0) + fact.minor
            return
        setattr(row, fact.column, getattr(row, fact.column) + 1)
        if fact.column == "sales":
            row.revenue[currency] = row.revenue.get(currency, 0) + fact.minor

    def _row(self, ad: AdObject | None, special: str, day: date) -> Sum:
        """The row of an ad's object at the asked level, or the special one; a new one when it is the first time."""
        kind, node_id, currency = special, special, None
        if ad is not None:
            kind, node_id = self._asked.level, chain(self._world, ad)[self._asked.level].id
            currency = self._world.get(AdAccount, ad.account_id).currency
        key = (kind, node_id, day if self._asked.by_day else None)
        if key not in self.rows:
            self.rows[key] = Sum(kind, node_id, key[2], currency)
        return self.rows[key]


def _facts(case: Case, now: float) -> Iterator[_Fact]:
    """A case is one lead; it qualifies once, at the latest with its sale; it is sold once; each refund stands by itself."""
    yield _Fact(case.opened_at, "leads")
    if qualified := case.first(("qualified", "won"), now):
        yield _Fact(qualified.at, "qualified")
    if won := case.first(("won",), now):
        yield _Fact(won.at, "sales", won.minor)
    yield from (_refund(act) for act in case.refunds(now))


def _refund(act: Act) -> _Fact:
    return _Fact(act.at, "refunds", act.minor)


def _days(since: date, until: date) -> Iterator[date]:
    return (since + timedelta(days=step) for step in range((until - since).days + 1))

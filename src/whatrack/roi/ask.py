"""What a reader asks of the report: every choice that the page's address, the API and the export can make. Pure."""

from calendar import monthrange
from datetime import date, timedelta
from typing import Literal, get_args

import msgspec

from whatrack.errors import bad_value
from whatrack.roi.metrics import SORTS
from whatrack.units import check_day

Level = Literal["account", "campaign", "adset", "ad"]
Basis = Literal["sale", "click"]
Status = Literal["active", "paused", "archived", "other"]
Against = Literal["days", "month"]
Refunds = Literal["refund", "sale"]
LEVELS: tuple[Level, ...] = get_args(Level)
BASES: tuple[Basis, ...] = get_args(Basis)
STATUSES: tuple[Status, ...] = get_args(Status)
AGAINST: tuple[Against, ...] = get_args(Against)
REFUNDS: tuple[Refunds, ...] = get_args(Refunds)
MAX_DAYS = 1100  # three years and a few days
MAX_LIMIT = 1000
MAX_OFFSET = 1_000_000  # farther than any report has rows


class Within(msgspec.Struct, frozen=True):
    """A row that is asked about: its children, or itself.

    id: ad_account_id ("act_…") for account, else Meta's id, whole; '' for ads that have no campaign or ad set.
    """

    kind: Level
    id: str


class Ask(msgspec.Struct, frozen=True):
    """One report. since, until: both inclusive, days of each account's zone for its row and of the organization's in totals.

    basis: sale (leads by first message, qualified by first qualification, sales by win) or click (all by the last touch).
    accounts: ad_account_id; profiles: ids of meta_connections; statuses: of the row itself, as Meta last told; empty: all.
    spent_only hides rows without spend, unless they have tickets. sort: a name of metrics.SORTS, or "name".
    currency: what money is shown in; None: the organization's base currency. compare: the previous period's totals too.
    refunds: by sale, dated on their own day or on their sale's; money is converted at the rate of their own day either way.
    against: what is the previous period: as many days right before, or the same days of the month before.
    """

    level: Level
    since: date
    until: date
    basis: Basis = "sale"
    accounts: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    spent_only: bool = True
    text: str = ""
    within: tuple[Within, ...] = ()
    sort: str = "spend"
    descending: bool = True
    offset: int = 0
    limit: int = 100
    currency: str | None = None
    compare: bool = False
    against: Against = "days"
    refunds: Refunds = "refund"

    @property
    def days(self) -> int:
        """How many days the period has."""
        return (self.until - self.since).days + 1

    @property
    def refunds_by_sale(self) -> bool:
        """Whether refunds are moved to the day of their sale; by click all is on the click's day anyhow."""
        return self.basis == "sale" and self.refunds == "sale"

    @property
    def is_whole(self) -> bool:
        """Whether nothing is filtered by account, so that tickets without an ad of ours belong to the answer."""
        return not (self.accounts or self.profiles or self.statuses or self.text.strip() or self.within)


def check(ask: Ask) -> Ask:
    """The same ask; Refused (422) naming the field that cannot be."""
    for name, day in (("since", ask.since), ("until", ask.until)):
        check_day(day, name)
    if ask.until < ask.since:
        raise bad_value("until", "The period ends before it begins.")
    if ask.days > MAX_DAYS:
        raise bad_value("since", f"A period has at most {MAX_DAYS} days.")
    chosen: tuple[tuple[str, str, tuple[str, ...]], ...] = (
        ("level", ask.level, LEVELS),
        ("basis", ask.basis, BASES),
        ("refunds", ask.refunds, REFUNDS),
        ("against", ask.against, AGAINST),
        ("sort", ask.sort, ("name", *SORTS)),
        *(("status", status, STATUSES) for status in ask.statuses),
    )
    for name, value, known in chosen:
        if value not in known:
            raise bad_value(name, f"Use one of {', '.join(known)}.")
    if ask.against == "month" and (ask.since.year, ask.since.month) != (ask.until.year, ask.until.month):
        raise bad_value("against", "Only days of one month have their same days in the month before.")
    if not 1 <= ask.limit <= MAX_LIMIT:
        raise bad_value("limit", f"A page has 1 to {MAX_LIMIT} rows.")
    if not 0 <= ask.offset <= MAX_OFFSET:
        raise bad_value("offset", f"A page begins after 0 to {MAX_OFFSET} rows.")
    return ask


def previous(ask: Ask) -> Ask:
    """The same question about the period before: as many days, right before it, or the same days of the month before.

    A day that the month before lacks is its last one; a whole month stands against the whole month before.
    """
    if ask.against == "month":
        since, until = _month_before(ask.since), _month_before(ask.until)
        if ask.since.day == 1 and ask.until.day == monthrange(ask.until.year, ask.until.month)[1]:
            until = ask.since - timedelta(days=1)
    else:
        until = ask.since - timedelta(days=1)
        since = until - timedelta(days=ask.days - 1)
    return msgspec.structs.replace(ask, since=since, until=until, compare=False)


def _month_before(day: date) -> date:
    """The same day of the month before, or its last one."""
    last = day.replace(day=1) - timedelta(days=1)
    return last.replace(day=min(day.day, last.day))

"""What the report's address asks for: its parameters as typed, and the days they mean. The address is all the state."""

from collections.abc import Collection, Sequence
from datetime import date, timedelta
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

import msgspec

from whatrack.errors import Refused
from whatrack.roi.ask import MAX_OFFSET, REFUNDS, Ask, Basis, Level, Refunds, Status, Within
from whatrack.roi.ask import STATUSES as ROW_STATUSES
from whatrack.roi.metrics import SORTS
from whatrack.units import parse_day
from whatrack.web.pages.i18n import _, marked

HERE = "/roi"
LEVELS = {
    "account": marked("Contas"),
    "campaign": marked("Campanhas"),
    "adset": marked("Conjuntos"),
    "ad": marked("Anúncios"),
}
NEXT = {"account": "campaign", "campaign": "adset", "adset": "ad"}
PERIODS = {
    "today": marked("Hoje"),
    "yesterday": marked("Ontem"),
    "7": marked("7 dias"),
    "14": marked("14 dias"),
    "30": marked("30 dias"),
    "last-week": marked("Semana passada"),
    "month": marked("Este mês"),
    "last-month": marked("Mês passado"),
}
MONTHS = ("month", "last-month")  # compared with the same days of the month before
CUSTOM = "custom"
BASES = {"sale": marked("Data da venda"), "click": marked("Data do clique")}
STATUSES = {
    "active": marked("Ativos"),
    "paused": marked("Pausados"),
    "archived": marked("Arquivados e excluídos"),
    "other": marked("Com problema ou em análise"),
}
SEVERAL = ("account", "profile", "status", "within")
ROWS = 50  # of a page: with a hundred the first paint would weigh more than 100 kB
MOST_DAYS = 730
MOST_CHOSEN = 300


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """The parameters. An unreadable one is as if it were not there.

    spent: "0" shows rows without spend too. within: kind:id of the rows that were opened. offset: rows before the page.
    """

    level: str = "campaign"
    period: str = "30"
    since: str = ""
    until: str = ""
    basis: str = "sale"
    refunds: str = "refund"
    compare: str = "1"
    account: tuple[str, ...] = ()
    profile: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    spent: str = "1"
    q: str = ""
    within: tuple[str, ...] = ()
    sort: str = "spend"
    dir: str = "desc"
    offset: str = ""

    @classmethod
    def read(cls, pairs: Sequence[tuple[str, str]]) -> "Filters":
        """The filters of an address's parameters; others' parameters are ignored."""
        found: dict[str, str | tuple[str, ...]] = {}
        for name, text in pairs:
            value = text[:200].replace("\x00", "").strip()
            if name not in cls.__struct_fields__ or not value or not _known(name, value):
                continue
            if name in SEVERAL:
                before = found.get(name, ())
                found[name] = (*before, value)[:MOST_CHOSEN] if isinstance(before, tuple) else (value,)
            else:
                found[name] = value
        return cls(**found)  # type: ignore[arg-type] # each as its field is declared: see above

    @staticmethod
    def unread(pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """The parameters whose value says nothing that we understand, and which are as if they were not there."""
        return [(name, text[:60]) for name, text in pairs if text.strip() and not _known(name, text.strip())]

    @classmethod
    def of_question(cls, question: str) -> "Filters":
        """The filters of a query string."""
        return cls.read(parse_qsl(question))

    def pairs(self, **changed: str | tuple[str, ...] | None) -> list[tuple[str, str]]:
        """The parameters of an address, some changed; None or '' takes one away. What is as usual is left out."""
        usual = Filters()
        found = []
        for name in self.__struct_fields__:
            value = changed[name] if name in changed else getattr(self, name)
            if isinstance(value, tuple):
                found += [(name, each) for each in value]
            elif value and value != getattr(usual, name):
                found.append((name, value))
        return found

    def to(self, path: str = HERE, **changed: str | tuple[str, ...] | None) -> str:
        """An address with these filters, some changed; a change begins at the first page again."""
        changed.setdefault("offset", None)
        more = [
            (name, value)
            for name, value in changed.items()
            if name not in self.__struct_fields__ and isinstance(value, str)
        ]
        pairs = [*self.pairs(**changed), *more]
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @property
    def question(self) -> str:
        """The filters as a query string, the page left out."""
        return urlencode(self.pairs(offset=None))

    @property
    def narrowed(self) -> bool:
        """Whether anything beside the period narrows the report down."""
        return bool(self.account or self.profile or self.status or self.q or self.within)

    @property
    def chosen(self) -> int:
        """How many of the folded filters are set."""
        return sum(map(bool, (self.account, self.profile, self.status, self.refunds != "refund")))

    @property
    def before(self) -> int:
        """How many rows come before the page; of a number larger than any report has rows, MAX_OFFSET."""
        return min(int(self.offset), MAX_OFFSET) if self.offset.isascii() and self.offset.isdigit() else 0

    @property
    def compares(self) -> bool:
        """Whether the period before stands beside this one."""
        return self.compare != "0"

    @property
    def parents(self) -> tuple[Within, ...]:
        """The rows that were opened."""
        pairs = (each.partition(":") for each in self.within if _is_row(each))
        return tuple(Within(kind, key) for kind, _colon, key in pairs)  # type: ignore[arg-type] # one of NEXT's

    def ask(self, today: date, **more: Any) -> Ask:
        """The question that the report answers. today: in the organization's zone. more: of Ask's own fields."""
        since, until = self.days(today)
        asked: dict[str, Any] = {
            "level": cast(Level, self.level),
            "since": since,
            "until": until,
            "basis": cast(Basis, self.basis),
            "refunds": cast(Refunds, self.refunds),
            "accounts": self.account,
            "profiles": tuple(each for each in self.profile if _is_uuid(each)),
            "statuses": cast(tuple[Status, ...], tuple(each for each in self.status if each in ROW_STATUSES)),
            "spent_only": self.spent != "0",
            "text": self.q,
            "within": self.parents,
            "sort": self.sort,
            "descending": self.dir != "asc",
            "offset": self.before,
            "limit": ROWS,
            "compare": self.compares,
            "against": "month" if self.period in MONTHS else "days",
        }
        return Ask(**{**asked, **more})

    def days(self, today: date) -> tuple[date, date]:
        """The first and last day, both included. today: in the organization's zone."""
        if self.period == CUSTOM:
            since, until = _day(self.since), _day(self.until)
            if since or until:
                return _in_order(since or until or today, until or today)
            return today - timedelta(days=29), today
        return _preset(self.period, today)

    def too_long(self, until: date) -> bool:
        """Whether the address asks for more days than a report has: its last ones are shown. until: the last of these."""
        since, end = _day(self.since), _day(self.until) or until
        return self.period == CUSTOM and since is not None and abs((end - since).days) >= MOST_DAYS

    @property
    def period_name(self) -> str:
        """The period as its menu calls it."""
        return _(PERIODS[self.period]) if self.period in PERIODS else _("Personalizado")


def _known(name: str, value: str) -> bool:
    """Whether a parameter says something that we understand."""
    match name:
        case "since" | "until":
            return _day(value) is not None
        case "within":
            return _is_row(value)
        case "offset":
            return value.isascii() and value.isdigit()
    among: dict[str, Collection[str]] = {
        "level": LEVELS,
        "period": (*PERIODS, CUSTOM),
        "basis": BASES,
        "compare": ("0", "1"),
        "refunds": REFUNDS,
        "dir": ("asc", "desc"),
        "spent": ("0", "1"),
        "sort": ("name", *SORTS),
    }
    return name not in among or value in among[name]


def _is_row(text: str) -> bool:
    """Whether it is kind:id of a row that can be opened."""
    kind, colon, _id = text.partition(":")
    return bool(colon) and kind in NEXT


def _preset(period: str, today: date) -> tuple[date, date]:
    first = today.replace(day=1)
    match period:
        case "today":
            return today, today
        case "yesterday":
            return today - timedelta(days=1), today - timedelta(days=1)
        case "last-week":  # from Monday to Sunday
            last = today - timedelta(days=today.weekday() + 1)
            return last - timedelta(days=6), last
        case "month":
            return first, today
        case "last-month":
            last = first - timedelta(days=1)
            return last.replace(day=1), last
        case _:
            return today - timedelta(days=int(period) - 1), today


def _in_order(one: date, other: date) -> tuple[date, date]:
    since, until = min(one, other), max(one, other)
    return max(since, until - timedelta(days=MOST_DAYS - 1)), until


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _day(text: str) -> date | None:
    try:
        return parse_day(text, "")
    except Refused:
        return None

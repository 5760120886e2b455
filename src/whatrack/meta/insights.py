"""What each ad delivered on each day: the request, its typed rows, reports that Meta makes while we wait, and asking for less.

Figures are strings; money a decimal string in major units of the account's currency, never a float. A day without delivery has
no row. Archived and deleted ads are told only when a filter names their status, so every status is named.

Sources: Meta, "Insights API", its "Best practices", "Error codes" and "Asynchronous jobs", "Ad account insights"
<https://developers.facebook.com/documentation/ads-commerce/marketing-api/insights>, read 2026-11.
"""

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from typing_extensions import override

from whatrack.meta.calls import Token
from whatrack.meta.errors import NoAnswer
from whatrack.meta.graph import Graph
from whatrack.meta.webhook import clean

FIELDS = (
    "account_currency,ad_id,ad_name,adset_id,adset_name,campaign_id,campaign_name,date_start,date_stop,"
    "spend,impressions,reach,clicks,inline_link_clicks,actions,action_values"
)
STATUSES = (
    "ACTIVE", "PAUSED", "DELETED", "ARCHIVED", "PENDING_REVIEW", "DISAPPROVED", "PREAPPROVED", "PENDING_BILLING_INFO",
    "CAMPAIGN_PAUSED", "ADSET_PAUSED", "IN_PROCESS", "WITH_ISSUES",
)  # fmt: skip
PAGE = 2500  # rows; fewer and larger pages cost less of the limits
TWICE = 2  # ordering a report twice does no harm: nobody reads the other
# Action types overlap: the first of each that a row has is the figure.
CONVERSATIONS = ("onsite_conversion.messaging_conversation_started_7d",)
LEADS = ("onsite_conversion.lead_grouped", "lead")
PURCHASES = ("onsite_conversion.purchase", "omni_purchase", "purchase")
COUNTED = frozenset((*CONVERSATIONS, *LEADS, *PURCHASES))
MOST = 2**31 - 1  # of anything counted on one day
_COUNT = re.compile(r"\d{1,18}(\.\d{1,12})?", re.ASCII)
_SHOWN = 40  # characters of a value that a person is shown

Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
AdId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"\A[0-9]+\Z")]


class Ask(msgspec.Struct, frozen=True):
    """What to ask for. account: digits; days inclusive. only and without: ads, where a whole day is too much for one answer."""

    account: str
    since: date
    until: date
    only: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where it is asked."""
        return f"act_{self.account}/insights"

    @property
    def params(self) -> dict[str, Any]:
        """The request."""
        filters: list[dict[str, Any]] = [
            {"field": "ad.effective_status", "operator": "IN", "value": list(STATUSES)}
        ]
        if self.only is not None:
            filters.append({"field": "ad.id", "operator": "IN", "value": list(self.only)})
        if self.without:
            filters.append({"field": "ad.id", "operator": "NOT_IN", "value": list(self.without)})
        return {
            "level": "ad",
            "fields": FIELDS,
            "time_range": {"since": self.since.isoformat(), "until": self.until.isoformat()},
            "time_increment": 1,
            "filtering": filters,
            "limit": PAGE,
        }

    def narrower(self, known: Sequence[str]) -> "tuple[Ask, Ask] | None":
        """The same days in two parts that have every ad in exactly one of them; None when there is nothing to divide by.

        known: ads that may be in it. What nobody knew of is in the second part.
        """
        among = self.only if self.only is not None else [each for each in known if each not in self.without]
        if len(among) < (2 if self.only is not None else 1):
            return None
        middle = (len(among) + 1) // 2
        some, rest = tuple(among[:middle]), tuple(among[middle:])
        first = msgspec.structs.replace(self, only=some, without=())
        if self.only is not None:
            return first, msgspec.structs.replace(self, only=rest)
        return first, msgspec.structs.replace(self, without=(*self.without, *some))


class Action(msgspec.Struct, frozen=True, gc=False):
    """How often, or how much of, something that people did."""

    action_type: str
    value: str = "0"


class UnreadableRow(NoAnswer):
    """A row with a value that counts and cannot be read. ad_id and day: None where those cannot be read either."""

    def __init__(self, ad_id: str | None, day: date | None, field: str, value: object) -> None:
        super().__init__("unreadable")
        self.ad_id, self.day, self.field, self.value = ad_id, day, field, value

    @property
    @override
    def message(self) -> str:
        """Which ad, which field and what it said, for a person to read: no longer than a line."""
        return f"ad {_shown(self.ad_id or '?')}: {self.field} = {_shown(self.value)}"


class Row(msgspec.Struct, frozen=True):
    """An ad on a day. spend: decimal string in major units."""

    ad_id: AdId
    date_start: date
    date_stop: date
    account_currency: str
    spend: str = "0"
    impressions: Count = 0
    reach: Count = 0
    clicks: Count = 0
    inline_link_clicks: Count = 0
    ad_name: str | None = None
    adset_id: Id | None = None
    adset_name: str | None = None
    campaign_id: Id | None = None
    campaign_name: str | None = None
    actions: list[Action] | None = None
    action_values: list[Action] | None = None

    def count(self, types: Sequence[str]) -> int:
        """How often people did the first of these that the row has. UnreadableRow when that is no number that can be."""
        text = first_of(self.actions, types)
        number = round(Decimal(text)) if _COUNT.fullmatch(text) else MOST + 1
        if number > MOST:
            raise self.unreadable("actions", text)
        return number

    def unreadable(self, field: str, value: object) -> UnreadableRow:
        """The error that a value of this row is."""
        return UnreadableRow(self.ad_id, self.date_start, field, value)


class Report(msgspec.Struct, frozen=True):
    """How far a report is. Ready only when it is completed and at 100: either alone is not the end."""

    async_status: str = ""
    async_percent_completion: int = 0

    @property
    def is_ready(self) -> bool:
        """Whether its rows may be read."""
        return self.async_status == "Job Completed" and self.async_percent_completion == 100

    @property
    def has_failed(self) -> bool:
        """Whether it will never be ready."""
        return self.async_status in ("Job Failed", "Job Skipped")


class _Ordered(msgspec.Struct, frozen=True):
    report_run_id: str


_ROW = msgspec.json.Decoder(Row, strict=False)
# The day first, then the ad: an error names them.
_FIRST = ("date_start", "date_stop", "ad_id")
_BY_WEIGHT = sorted(
    msgspec.structs.fields(Row), key=lambda field: (field.name not in _FIRST, field.name == "ad_id")
)


async def read(graph: Graph, token: Token, ask: Ask) -> list[msgspec.Raw]:
    """Every row at once, all pages; BadRequest `too_much_data` when that is too many. Raises GraphError."""
    return await graph.every(ask.path, token, msgspec.Raw, params=ask.params)


async def order(graph: Graph, token: Token, ask: Ask) -> str:
    """Have Meta make a report of it; its id."""
    params = {name: value for name, value in ask.params.items() if name != "limit"}
    found = await graph.post(ask.path, token, _Ordered, params=params, account=ask.account, tries=TWICE)
    return found.report_run_id


async def look(graph: Graph, token: Token, account: str, report_id: str) -> Report:
    """How far a report is."""
    params = {"fields": "async_status,async_percent_completion"}
    return await graph.get(report_id, token, Report, params=params, account=account)


async def result(graph: Graph, token: Token, account: str, report_id: str) -> list[msgspec.Raw]:
    """Every row of a report that is ready, all pages."""
    path = f"{report_id}/insights"
    return await graph.every(path, token, msgspec.Raw, params={"limit": PAGE}, account=account)


def parse(raw: msgspec.Raw) -> Row:
    """A row; UnreadableRow when it is none, is about more than a day, or what counts in it is no number that can be.

    What does not count is mended: NUL and lone surrogates in a name become U+FFFD, no list of actions is none.
    """
    try:
        if b"\\u0000" in bytes(raw):
            return _mended(raw)
        row = _ROW.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _mended(raw)
    if row.date_start != row.date_stop:
        raise UnreadableRow(row.ad_id, None, "date_stop", row.date_stop.isoformat())
    return row


def _mended(raw: msgspec.Raw) -> Row:
    """A row that is not as documented, value by value."""
    try:
        given = msgspec.json.decode(clean(bytes(raw)))
    except (ValueError, RecursionError):
        raise UnreadableRow(None, None, "row", bytes(raw).decode("utf-8", "replace")) from None
    if not isinstance(given, dict):
        raise UnreadableRow(None, None, "row", given)
    given = {name: _mend(name, value) for name, value in given.items()}
    ad_id = given["ad_id"] if isinstance(given.get("ad_id"), str) else None
    read: dict[str, Any] = {}
    for field in _BY_WEIGHT:
        value = given.get(field.name)
        if field.name in given or field.required:
            try:
                read[field.name] = msgspec.convert(value, field.type, strict=False)
            except (msgspec.ValidationError, OverflowError):
                day = read["date_start"] if "date_stop" in read else None
                raise UnreadableRow(ad_id, day, field.name, value) from None
        if field.name == "date_stop" and read["date_start"] != read["date_stop"]:
            raise UnreadableRow(ad_id, None, field.name, value)
    return Row(**read)


def _mend(name: str, value: object) -> object:
    """What a value that does not count had better be."""
    if name in ("actions", "action_values") and isinstance(value, list):
        counted = [each for each in value if isinstance(each, dict) and _counts(each.get("action_type"))]
        return [{**each, "value": _text(each.get("value", "0"))} for each in counted]
    if name in ("ad_name", "adset_name", "campaign_name") and not isinstance(value, str):
        return None
    return _text(value) if name in ("ad_id", "adset_id", "campaign_id") else value


def _counts(action_type: object) -> bool:
    return isinstance(action_type, str) and action_type in COUNTED


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=repr).decode()
    text = "".join(char if char.isprintable() else "\ufffd" for char in text[: _SHOWN + 1])
    return f"{text[:_SHOWN]}…" if len(text) > _SHOWN else text


def first_of(actions: Sequence[Action] | None, types: Sequence[str]) -> str:
    """The value of the first of these types that is there; "0" without any."""
    if not actions:
        return "0"
    known = {each.action_type: each.value for each in actions}
    return next((known[each] for each in types if each in known), "0")

"""What each ad delivered on each day: the request, its typed rows, reports that Meta makes while we wait, and asking for less.

Figures are strings; money a decimal string in major units of the account's currency, never a float. A day without delivery has
no row. Archived and deleted ads are told only when a filter names their status, so every status is named.

Sources: Meta, "Insights API", its "Best practices", "Error codes" and "Asynchronous jobs", "Ad account insights"
<https://developers.facebook.com/documentation/ads-commerce/marketing-api/insights>, read 2026-11.
"""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from whatrack.meta.calls import Token
from whatrack.meta.errors import NoAnswer
from whatrack.meta.graph import Graph

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


class Row(msgspec.Struct, frozen=True):
    """An ad on a day. spend: decimal string in major units."""

    ad_id: str
    date_start: date
    date_stop: date
    account_currency: str
    spend: str = "0"
    impressions: int = 0
    reach: int = 0
    clicks: int = 0
    inline_link_clicks: int = 0
    ad_name: str | None = None
    adset_id: str | None = None
    adset_name: str | None = None
    campaign_id: str | None = None
    campaign_name: str | None = None
    actions: list[Action] = []
    action_values: list[Action] = []

    def count(self, types: Sequence[str]) -> int:
        """How often people did the first of these that the row has."""
        return round(_amount(first_of(self.actions, types)))


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
    """A row; NoAnswer `unreadable` when it is none, or is about more than a day."""
    try:
        row = _ROW.decode(raw)
    except (msgspec.DecodeError, RecursionError):  # the error's text would quote the answer
        raise NoAnswer("unreadable") from None
    if row.date_start != row.date_stop:
        raise NoAnswer("unreadable")
    return row


def first_of(actions: Sequence[Action], types: Sequence[str]) -> str:
    """The value of the first of these types that is there; "0" without any."""
    if not actions:
        return "0"
    known = {each.action_type: each.value for each in actions}
    return next((known[each] for each in types if each in known), "0")


def _amount(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise NoAnswer("unreadable") from None

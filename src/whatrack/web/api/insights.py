"""/api/v1/meta-ads/insights: what accounts, campaigns, ad sets and ads cost and earned."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, create_model

from whatrack.db import now as clock
from whatrack.roi import report as reports
from whatrack.roi import unknown
from whatrack.roi.answers import Note, Row, RowKind
from whatrack.roi.ask import MAX_LIMIT, MAX_OFFSET, Against, Ask, Basis, Level, Refunds, Status, Within
from whatrack.roi.export import COUNTS, NUMBERS, exact, rounded
from whatrack.roi.metrics import DERIVED
from whatrack.web.api.caller import Db, Member
from whatrack.web.api.fields import Day, NoNul
from whatrack.web.problems import OF_EVERY

router = APIRouter(prefix="/api/v1/meta-ads", tags=["insights"], responses=OF_EVERY)


class Filters(BaseModel):
    """What is asked for; an unknown parameter is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")
    level: Level
    since: Day = Field(
        description="first day, of each account's zone for its rows and of the organization's in totals"
    )
    until: Day = Field(description="last day, included")
    basis: Basis = Field(
        "sale", description="sale: each thing on its own day; click: all by the day of the last click"
    )
    refunds: Refunds = Field(
        "refund", description="by sale, a refund's day: its own, or its sale's; by click it is the click's"
    )
    account: list[NoNul] = Field([], description='"act_…" or the bare number; may be repeated')
    profile: list[NoNul] = Field([], description="id of a connected profile; may be repeated")
    status: list[Status] = Field([], description="of the row itself; may be repeated")
    campaign: list[NoNul] = Field([], description="rows of this campaign only; may be repeated")
    adset: list[NoNul] = Field([], description="rows of this ad set only; may be repeated")
    ad: list[NoNul] = Field([], description="this ad only, by its whole id; may be repeated")
    spent_only: bool = Field(False, description="without the rows that have neither spend nor tickets")
    q: NoNul = Field("", description="a part of the row's name")
    sort: NoNul = Field("spend", description="a number's name, or name; null is last in both directions")
    order: Annotated[str, Field(pattern="^(asc|desc)$")] = "desc"
    offset: int = Field(0, ge=0, le=MAX_OFFSET)
    limit: int = Field(100, ge=1, le=MAX_LIMIT)
    compare: bool = Field(False, description="also the totals of the period before")
    against: Against = Field(
        "days",
        description="the period before: as many days right before it, or the same days of the month before (whole months as a whole)",
    )


class WithoutRate(BaseModel):
    """Money as it is, in a currency whose day has no rate."""

    currency: str
    spend: Decimal
    revenue: Decimal
    refunds: Decimal


_OF_COSTS = "what costs make of money: up to six places, so that in one zone rows and special rows sum to the totals to 0.000001 a row"
_SAID = dict.fromkeys(DERIVED, _OF_COSTS) | {"profit": f"{_OF_COSTS}; exactly that of its terms"}
_numbers: dict[str, Any] = {
    name: (int | None if name in COUNTS else Decimal | None, Field(description=_SAID.get(name)))
    for name in NUMBERS
}
Numbers = create_model("Numbers", **_numbers)


class InsightRow(Numbers):
    """One line. kind: the level, or organic, post, unidentified, unconnected, total. id: Meta's, "act_…" for an account.

    Money: decimal strings in the report's currency, with its places; gross_spend, product_cost, fees and profit with up to six.
    Ratios: fractions (0.12 is 12 %). null: nothing divides, or no day of the period came from Meta for the row's account.
    """

    kind: RowKind
    id: str
    name: str | None
    status: str | None
    account_id: str | None
    account_name: str | None
    campaign_id: str | None
    campaign_name: str | None
    adset_id: str | None
    adset_name: str | None
    account_currency: str | None
    timezone: str | None
    account_spend: Decimal | None = Field(
        description="spend in the account's own currency, where that is not the report's; null else"
    )
    clear_loss: bool = Field(
        description="ROAS below break-even beyond what chance may excuse, were the sales few"
    )
    without_rate: list[WithoutRate] = Field(description="money of days without an exchange rate, in no sum")


class AccountFreshness(BaseModel):
    """How current an account's spend is.

    fetched_at: when the last try ended that left nothing due and no day set aside, whatever the period (`whole_at` in
    `/api/v1/meta-ads/sync`, whose `fetched_at` is of its newest answer); gaps: how many of the period's days are over and were not
    read since they ended, so not whole.
    silent_days: came, and Meta says that nothing was spent, while people (silent_people) came from the account's ads.
    """

    ad_account_id: str
    name: str
    fetched_at: datetime | None
    gaps: int
    silent_days: int
    silent_people: int
    reason: str | None


class Insights(BaseModel):
    """rows: one page; special: what no ad of a connected account brought; totals: of everything, whatever the page."""

    level: Level
    since: date
    until: date
    basis: Basis
    currency: str
    rows: list[InsightRow]
    special: list[InsightRow]
    totals: InsightRow
    previous: InsightRow | None
    count: int
    next_offset: int | None
    notes: list[Note]
    break_even_roas: Decimal | None
    immature_since: date | None
    freshness: list[AccountFreshness]
    taken_at: datetime


@router.get("/insights", response_model=Insights)
async def read_insights(db: Db, who: Member, filters: Annotated[Filters, Query()]) -> dict[str, Any]:
    """What was spent and earned: stored rows alone, Meta is not asked. An account, profile or row that is not here is a 422."""
    ask = _ask(filters)
    async with db.reading(who.organization_id) as conn:
        await unknown.refuse(conn, who.organization_id, ask)
        answer = await reports.report(conn, who.organization_id, ask, await clock(conn))
    currency = answer.currency
    return {
        "level": filters.level,
        "since": filters.since,
        "until": filters.until,
        "basis": filters.basis,
        "currency": currency,
        "rows": [_row(row, currency) for row in answer.rows],
        "special": [_row(row, currency) for row in answer.special],
        "totals": _row(answer.totals, currency),
        "previous": _row(answer.previous, currency) if answer.previous else None,
        "count": answer.count,
        "next_offset": answer.next_offset,
        "notes": sorted(answer.notes),
        "break_even_roas": rounded("roas", answer.break_even, currency),
        "immature_since": answer.immature_since,
        "freshness": [msgspec.structs.asdict(each) for each in answer.freshness],
        "taken_at": answer.taken_at,
    }


def _ask(filters: Filters) -> Ask:
    within = [
        *(Within("campaign", each) for each in filters.campaign),
        *(Within("adset", each) for each in filters.adset),
        *(Within("ad", each) for each in filters.ad),
    ]
    return Ask(
        level=filters.level,
        since=filters.since,
        until=filters.until,
        basis=filters.basis,
        accounts=tuple(filters.account),
        profiles=tuple(filters.profile),
        statuses=tuple(filters.status),
        spent_only=filters.spent_only,
        text=filters.q,
        within=tuple(within),
        sort=filters.sort,
        descending=filters.order == "desc",
        offset=filters.offset,
        limit=filters.limit,
        compare=filters.compare,
        against=filters.against,
        refunds=filters.refunds,
    )


def _row(row: Row, currency: str) -> dict[str, Any]:
    texts = (
        "kind", "id", "name", "status", "account_id", "account_name", "campaign_id", "campaign_name", "adset_id", "adset_name",
    )  # fmt: skip
    return {
        **{name: getattr(row, name) for name in texts},
        **exact(row.amounts, currency),
        "account_currency": row.currency,
        "timezone": row.zone,
        "account_spend": row.own_spend,
        "clear_loss": row.clear_loss,
        "without_rate": [msgspec.structs.asdict(each) for each in row.apart],
    }

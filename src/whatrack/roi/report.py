"""The report: the only place where it is defined what an account, campaign, ad set or ad cost and earned.

`report` answers a table and its totals, `daily` a series, `funnel` the steps from click to sale, `times` how long a sale
takes, `tickets_behind` the tickets that a number is made of. All read stored rows and never call Meta.
"""

import math
from collections.abc import Sequence, Set
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from whatrack.db import Connection
from whatrack.roi import apart, metrics, named, own, periods, reading, scope, series
from whatrack.roi import costs as cost_rules
from whatrack.roi.answers import (
    SPECIAL,
    Apart,
    Behind,
    BehindKind,
    Cohort,
    Day,
    Freshness,
    Funnel,
    Note,
    Report,
    Row,
    RowKind,
    Salesperson,
    Times,
)
from whatrack.roi.ask import Ask, check, previous
from whatrack.roi.metrics import Amounts
from whatrack.roi.reading import Found
from whatrack.roi.scope import Scope
from whatrack.roi.sums import ROOM

__all__ = [
    "SPECIAL", "Apart", "Behind", "BehindKind", "Cohort", "Day", "Freshness", "Funnel", "Note", "Report", "Row", "RowKind", "Salesperson", "Times",
    "average_ticket", "cohort", "daily", "funnel", "judged", "report", "salespeople", "tickets_behind", "times",
]  # fmt: skip
PARTIAL = timedelta(days=3)  # Meta restates four weeks, but the last days most
IMMATURE_DAYS = 7  # until enough sales tell how long one takes
ENOUGH_SALES = 20


async def report(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> Report:
    """The table that was asked for. Refused (422) where the ask cannot be."""
    await conn.execute(ROOM)
    about = await reading.converted(conn, await scope.load(conn, organization_id, check(ask)), ask)
    found = await reading.read(conn, about, ask)
    totals = found.whole
    abroad = await own.whole(conn, about, ask) if _is_foreign(about) else None
    earlier = await reading.totals(conn, about, previous(ask)) if ask.compare else None
    missing = await apart.find(conn, about, ask) if found.unrated else {}
    fresh = await named.freshness(conn, about, ask, now)
    came = {each.ad_account_id for each in fresh if each.came}
    told = _unknown_last(ask, [_told(row, came) for row in await _rows(conn, about, ask, found, missing)])
    since = await _immature_since(conn, about, ask, now) if ask.basis == "click" else None
    break_even = _break_even(about, ask, totals)
    answer = Report(
        ask=ask,
        currency=about.currency,
        rows=told,
        special=_special(about, found, missing),
        totals=_told(_total_row(about, totals, missing, abroad), came),
        previous=_total_row(about, earlier, {}) if earlier is not None else None,
        count=found.count,
        notes=_notes(
            about,
            ask,
            now,
            missing,
            immature=since is not None,
            gaps=_has_gaps(about, ask, now, told, fresh),
            is_silent=any(each.silent_days for each in fresh),
        ),
        freshness=fresh,
        break_even=break_even,
        asks_tax=about.asks_tax,
        cuts_apart=about.cuts_apart(ask),
        immature_since=since,
        taken_at=now,
    )
    if not answer.is_told:
        return answer
    rows = [judged(row, totals.attributed_ticket, break_even) for row in answer.rows]
    return msgspec.structs.replace(answer, rows=rows)


def judged(row: Row, average: Decimal | None, break_even: Decimal | None) -> Row:
    """The row, with whether it clearly lost money. average: what a sale by an ad brings, of all that was asked for; pure."""
    lost = metrics.is_clear_loss(row.amounts, average, break_even)
    return msgspec.structs.replace(row, clear_loss=lost)


async def average_ticket(conn: Connection, organization_id: UUID, ask: Ask) -> Decimal | None:
    """What a sale that an ad brought brings on average, of all that was asked for; None without any."""
    about = await scope.load(conn, organization_id, check(ask))
    return (await reading.totals(conn, about, ask)).attributed_ticket


async def daily(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> list[Day]:
    """Each day of the period, zeros included; the sum is the report's totals. Fees, product cost and tax are in it.

    Also what spent_only hides, which has views and clicks but no spend: totals have it too, unless a text or status filters them.
    """
    await conn.execute(ROOM)
    about = await scope.load(conn, organization_id, check(ask))
    return await series.daily(conn, about, ask)


async def funnel(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> Funnel:
    """The steps from click to sale, of what ads brought: conversations and leads without organic ones and posts."""
    await conn.execute(ROOM)
    about = await scope.load(conn, organization_id, check(ask))
    found = await reading.sums_of(conn, about, ask)
    ads = metrics.total(
        [
            found.total,
            *(found.special[kind][0] for kind in ("unidentified", "unconnected") if kind in found.special),
        ]
    )
    return Funnel(
        link_clicks=found.total.link_clicks or 0,
        meta_conversations=found.total.meta_conversations or 0,
        conversations=ads.conversations,
        with_clid=ads.with_clid,
        leads=ads.leads,
        qualified=ads.qualified,
        sales=ads.sales,
        beyond_meta=ads.conversations - found.total.conversations,
    )


async def times(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> Times:
    """How long the period's sales that ads brought took since the last touch."""
    about = await scope.load(conn, organization_id, check(ask))
    return await series.times(conn, about, ask)


async def cohort(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> Cohort:
    """How many of the leads whose clicks lie in the period had bought by which age, of clicks as old as that alone."""
    about = await scope.load(conn, organization_id, check(ask))
    return await series.cohort(conn, about, ask, now)


async def tickets_behind(
    conn: Connection, organization_id: UUID, ask: Ask, metric: str, row: tuple[BehindKind, str], now: datetime
) -> list[Behind]:
    """The tickets that a row's number is made of, newest first; their parts sum to it exactly.

    metric: one of series.METRICS. row: kind and id as in the report; ("total", "") for its totals; ("person", id) for what a
    salesperson sold and gave back, by the date of the sale as in `salespeople`, ("person", "") for what nobody owns.
    """
    about = await scope.load(conn, organization_id, check(ask))
    return await series.behind(conn, about, ask, metric, row)


async def salespeople(conn: Connection, organization_id: UUID, ask: Ask, now: datetime) -> list[Salesperson]:
    """Who sold what in the period, most revenue first; the ticket's owner as it is now."""
    about = await scope.load(conn, organization_id, check(ask))
    return await series.salespeople(conn, about, ask)


async def _rows(
    conn: Connection, about: Scope, ask: Ask, found: Found, missing: dict[tuple[str, str], tuple[Apart, ...]]
) -> list[Row]:
    names = await named.rows(conn, about, ask, [key for key, _, _ in found.rows])
    reaches = await named.reach(conn, about, ask, [key for key, _, _ in found.rows])
    spent = await own.spend(conn, about, ask, {key: names[key].currency for key, _, _ in found.rows})
    return [
        msgspec.structs.replace(
            names[key],
            amounts=msgspec.structs.replace(amounts, reach=reaches.get(key)),
            apart=missing.get(("own", key), ()),
            own_spend=spent.get(key),
        )
        for key, amounts, _ in found.rows
    ]


def _told(row: Row, came: Set[str]) -> Row:
    """The row; Meta's zeros are unknown where no day of the period ever came for its account, or for any, of totals."""
    is_read = bool(came) if row.kind == "total" else row.account_id in came
    if is_read or any(metrics.value(row.amounts, name) for name in metrics.OF_META):
        return row
    unknown: dict[str, Any] = dict.fromkeys(metrics.OF_META)
    return msgspec.structs.replace(
        row, amounts=msgspec.structs.replace(row.amounts, **unknown), own_spend=None
    )


def _unknown_last(ask: Ask, rows: list[Row]) -> list[Row]:
    """The rows of a page in their order, those last of which the number that they are sorted by is not known."""
    if ask.sort == "name":
        return rows
    return sorted(rows, key=lambda row: metrics.value(row.amounts, ask.sort) is None)


def _has_gaps(about: Scope, ask: Ask, now: datetime, rows: Sequence[Row], fresh: Sequence[Freshness]) -> bool:
    """Whether spend of days that are over may be missing.

    They did not come whole; or none came of an account that is on, or of one that is off and whose ads brought people all the
    same, as far as they are among the rows.
    """
    came = {each.ad_account_id for each in fresh if each.came}
    on = any(
        each.is_active and each.ad_account_id not in came and periods.day_in(now, each.zone) > ask.since
        for each in about.asked
    )
    off = any(
        row.account_id not in came and row.amounts.spend is None and (row.amounts.leads or row.amounts.sales)
        for row in rows
    )
    return on or off or any(each.gaps for each in fresh)


def _special(about: Scope, found: Found, missing: dict[tuple[str, str], tuple[Apart, ...]]) -> list[Row]:
    """The rows without an ad of a connected account, those with nothing in them too."""
    if not about.whole:
        return []
    return [
        Row(
            kind=kind,
            id="",
            name=None,
            amounts=found.special[kind][0] if kind in found.special else metrics.NOTHING,
            zone=about.home,
            apart=missing.get((kind, ""), ()),
        )
        for kind in SPECIAL
    ]


def _total_row(
    about: Scope,
    amounts: Amounts,
    missing: dict[tuple[str, str], tuple[Apart, ...]],
    abroad: tuple[str, Decimal] | None = None,
) -> Row:
    every = [each for row in missing.values() for each in row]
    summed = [
        Apart(
            currency,
            *(
                sum((getattr(each, name) for each in every if each.currency == currency), Decimal(0))
                for name in ("spend", "revenue", "refunds")
            ),
        )
        for currency in sorted({each.currency for each in every})
    ]
    return Row(
        kind="total",
        id="",
        name=None,
        amounts=amounts,
        currency=abroad[0] if abroad else about.currency,
        zone=about.zone,
        apart=tuple(summed),
        own_spend=abroad[1] if abroad else None,
    )


def _is_foreign(about: Scope) -> bool:
    return any(account.currency != about.currency for account in about.asked)


def _notes(
    about: Scope,
    ask: Ask,
    now: datetime,
    missing: dict[tuple[str, str], tuple[Apart, ...]],
    *,
    immature: bool,
    gaps: bool,
    is_silent: bool,
) -> frozenset[Note]:
    today = periods.day_in(now, about.home)
    said: dict[Note, bool] = {
        "zones_differ": about.zones_differ,
        "converted": _is_foreign(about),
        "rate_missing": bool(missing),
        "immature": immature,
        "refunds_by_sale": ask.refunds_by_sale,
        "tax_off": about.asks_tax,
        "partial": ask.until > today - PARTIAL,
        "gaps": gaps,
        "silent_days": is_silent,
    }
    return frozenset(note for note, holds in said.items() if holds)


def _break_even(about: Scope, ask: Ask, totals: Amounts) -> Decimal | None:
    """As of the period's last day; of the tax, what it was of all that was spent."""
    cost = cost_rules.sale_cost(about.costs, ask.until)
    if totals.spend and totals.gross_spend:
        tax = 1 - totals.spend / totals.gross_spend
    else:
        tax = cost_rules.tax(about.costs, None, ask.until)
    return metrics.break_even(cost.product_rate + cost.fee_rate, tax)


async def _immature_since(conn: Connection, about: Scope, ask: Ask, now: datetime) -> date | None:
    """The first day of the period whose clicks are younger than three of four sales took; None when all are older."""
    today = periods.day_in(now, about.home)
    took = await series.times(
        conn,
        about,
        msgspec.structs.replace(
            ask, since=today - timedelta(days=90), until=today, basis="sale", text="", statuses=(), within=()
        ),
    )
    days = IMMATURE_DAYS
    if took.p75_hours is not None and took.sales >= ENOUGH_SALES:
        days = max(1, math.ceil(took.p75_hours / 24))
    young = today - timedelta(days=days - 1)
    return max(young, ask.since) if ask.until >= young else None

"""The report's smaller parts: how long a sale takes, and who sold what."""

from decimal import Decimal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.roi import report as reports
from whatrack.tenants import organizations
from whatrack.web.api.caller import Db
from whatrack.web.pages import charts, roi_page, roi_unknown
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import UNKNOWN, number, page, percent
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.visitor import Member

router = APIRouter(prefix="/roi")

HOURS = 48  # up to two days a time is told in hours


class Curve(msgspec.Struct, frozen=True):
    """A curve of shares by age. line: points of a polyline in 1000 × 100; soft_from: the last age that most clicks have reached, None where all ages are such.

    rows: (age in days, share, of how many, whether that is less than half of them).
    """

    line: str
    soft_from: float | None
    ticks: list[str]
    labels: list[str]
    rows: list[tuple[int, Decimal, int, bool]]


@router.get("/time")
async def times(request: Request, db: Db, who: Member) -> Response:
    """From the last click to the sale: of the period's sales, median, third quartile and curve; of its clicks, who bought."""
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reports.times(conn, who.organization_id, ask, now)
        unknown = await roi_unknown.of(conn, who.organization_id, request, filters, ask, "/roi/time")
        cohort = None if ask.basis == "sale" else await reports.cohort(conn, who.organization_id, ask, now)
    if cohort is None:
        whole = next((place for place, (_days, share) in enumerate(found.curve, 1) if share == 1), None)
        rows = [(days, share, found.sales, False) for days, share in found.curve[:whole]]
        curve = _curve(rows, Decimal(1)) if rows else None
    else:
        rows = [
            (each.days, Decimal(each.sales) / each.leads, each.leads, 2 * each.leads < cohort.leads)
            for each in cohort.curve
            if each.leads
        ]
        curve = _curve(rows, charts.ceiling(100 * max(row[1] for row in rows)) / 100) if rows else None
    return page(
        request,
        "roi_time.html",
        **roi_page.places(filters, "/roi/time", ask),
        unknown=unknown,
        times=found,
        cohort=cohort,
        curve=curve,
        median=long(found.median_hours),
        p75=long(found.p75_hours),
    )


def _curve(rows: list[tuple[int, Decimal, int, bool]], top: Decimal) -> Curve:
    """The points of shares in order. top: the share at the upper edge."""
    last = rows[-1][0]
    line = " ".join(
        f"{round(1000 * row[0] / last, 1)},{round(100 - 100 * row[1] / (top or 1), 2)}" for row in rows
    )
    mature = [row[0] for row in rows if not row[3]]
    places = sorted({round(last * part / 3) for part in range(4)})
    return Curve(
        line=f"0,100 {line}",
        soft_from=round(1000 * max(mature, default=0) / last, 1) if len(mature) < len(rows) else None,
        ticks=[percent(top * part / 4) for part in (4, 3, 2, 1, 0)],
        labels=[ngettext("%(num)s dia", "%(num)s dias", place) for place in places],
        rows=rows,
    )


def long(hours: Decimal | None) -> str:
    """A length of time as people say it: hours up to two days, then days."""
    if hours is None:
        return UNKNOWN
    if hours < HOURS:
        return ngettext("%(num)s hora", "%(num)s horas", round(hours))
    days = round(hours / 24, 1)
    return _("%(days)s dias", days=number(days))


class Sum(msgspec.Struct, frozen=True):
    """What everybody sold together."""

    sales: int
    revenue: Decimal
    refunds: Decimal


@router.get("/people")
async def people(request: Request, db: Db, who: Member) -> Response:
    """Who sold what in the period."""
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reports.salespeople(conn, who.organization_id, ask, now)
        unknown = await roi_unknown.of(conn, who.organization_id, request, filters, ask, "/roi/people")
        own = await organizations.by_id(conn, who.organization_id)
    zero = Decimal(0)
    total = Sum(
        sum(each.sales for each in found),
        sum((each.revenue for each in found), zero),
        sum((each.refunds for each in found), zero),
    )
    return page(
        request,
        "roi_people.html",
        **roi_page.places(filters, "/roi/people", ask) | {"with_basis": False},
        unknown=unknown,
        people=found,
        total=total,
        currency=own.base_currency,
    )

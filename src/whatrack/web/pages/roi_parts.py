"""The report's smaller parts: how long a sale takes, and who sold what."""

from decimal import Decimal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.roi import report as reports
from whatrack.tenants import organizations
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_page
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import UNKNOWN, number, page
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.visitor import Member

router = APIRouter(prefix="/roi")

HOURS = 48  # up to two days a time is told in hours


@router.get("/time")
async def times(request: Request, db: Db, who: Member) -> Response:
    """From the last click to the sale: median, third quartile, and the curve."""
    filters = filters_of(request)
    async with db.tenant(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reports.times(conn, who.organization_id, ask, now)
    last = max((days for days, _share in found.curve), default=0) or 1
    curve = " ".join(
        f"{round(1000 * days / last, 1)},{round(100 - 100 * share, 2)}" for days, share in found.curve
    )
    return page(
        request,
        "roi_time.html",
        **roi_page.places(filters, "/roi/time", ask),
        times=found,
        median=long(found.median_hours),
        p75=long(found.p75_hours),
        curve=curve,
        labels=[
            ngettext("%(num)s dia", "%(num)s dias", found.curve[place][0])
            for place in sorted({0, (len(found.curve) - 1) // 2, len(found.curve) - 1})
        ]
        if found.curve
        else [],
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
    async with db.tenant(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reports.salespeople(conn, who.organization_id, ask, now)
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
        people=found,
        total=total,
        currency=own.base_currency,
    )

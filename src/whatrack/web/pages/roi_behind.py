"""What is behind a figure: the tickets that it is made of, to the cent; or its terms, and the days that add up to it."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.board import tickets as board
from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.roi import looks, metrics
from whatrack.roi import report as reports
from whatrack.roi.ask import Ask, Within
from whatrack.roi.metrics import FIELDS
from whatrack.roi.report import Behind, BehindKind, Report, Row, RowKind
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_figures as figures
from whatrack.web.pages import roi_page, roi_unknown
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import page
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_columns import COLUMNS, Column
from whatrack.web.pages.roi_figures import Cell, Judge
from whatrack.web.pages.roi_filters import HERE, LEVELS, Filters
from whatrack.web.pages.visitor import Member

router = APIRouter(prefix="/roi")

SHOWN = 50  # tickets of a page
# Figures whose tickets can be listed; with_clid is a step of the funnel, no column.
TICKETS = {
    "conversations": marked("Conversas (WhaTrack)"),
    "with_clid": marked("Conversas com o identificador do clique"),
    "leads": marked("Leads"),
    "qualified": marked("Qualificados"),
    "sales": marked("Vendas"),
    "revenue": marked("Faturamento"),
    "refunds": marked("Reembolsos"),
}
IN_MONEY = ("revenue", "refunds")
ADS = "ads"  # all rows but those that no ad brought: the funnel's
PERSON = "person"
KINDS = (*LEVELS, *reports.SPECIAL, PERSON, "total")
WITHOUT_AD: tuple[RowKind, ...] = ("organic", "post")


class Term(msgspec.Struct, frozen=True):
    """A part of a formula, with its figure."""

    column: Column
    cell: Cell


@router.get("/tickets")
async def tickets_behind(
    request: Request, db: Db, who: Member, metric: str = "", row: str = "total:"
) -> Response:
    """Exactly the tickets that a figure is made of, newest first, with their sum."""
    filters = filters_of(request)
    if metric not in TICKETS:
        raise NotFound("There is no such figure.")
    _be_a_row(row)
    if row.startswith(f"{PERSON}:"):
        # Who sold what is told by the date of the sale, whatever the filter says.
        filters = msgspec.structs.replace(filters, basis="sale")
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await _behind(conn, who.organization_id, ask, metric, row, now)
        start = filters.before
        part = found[start : start + SHOWN]
        shown = await tickets_of(conn, who, [each.ticket_id for each in part])
        named = await _named(conn, who.organization_id, filters, row, today, now)
    return page(
        request,
        "roi_tickets.html",
        **roi_page.places(filters, "/roi/tickets", ask),
        unknown=roi_unknown.of_days(request, filters, ask, "/roi/tickets", metric=metric, row=row),
        kept={"metric": metric, "row": row},
        home=_home(request, row),
        title=_(TICKETS[metric]),
        named=named,
        count=len({each.ticket_id for each in found}),
        sum=sum((each.part for each in found), Decimal(0)),
        in_money=metric in IN_MONEY,
        lines=[(each, shown.get(each.ticket_id)) for each in part],
        currency=named.currency,
        start=start,
        next=str(start + SHOWN) if start + SHOWN < len(found) else "",
    )


def _home(request: Request, row: str) -> tuple[str, str]:
    """Where the figure stands, and what leads back to it."""
    filters = filters_of(request)
    if row.startswith(f"{PERSON}:"):
        return filters.to("/roi/people"), _("Voltar aos vendedores")
    return filters.to(HERE), _("Voltar ao relatório")


class Named(msgspec.Struct, frozen=True):
    """Whose figure it is. row: None for the funnel's, which is no row."""

    name: str
    row: Row | None
    report: Report

    @property
    def currency(self) -> str:
        """What money is shown in."""
        return self.report.currency


def _be_a_row(row: str) -> None:
    """Refuse the address of a row of no kind: it would be answered with everything."""
    if row.partition(":")[0] not in (*KINDS, ADS):
        raise NotFound("There is no such row.")


async def _behind(
    conn: Connection, organization_id: UUID, ask: Ask, metric: str, row: str, now: datetime
) -> list[Behind]:
    """The tickets of a row; of all ads: those of everything, without those that no ad brought."""
    kind, _colon, key = row.partition(":")
    if kind != ADS:
        wanted = (cast(BehindKind, kind), key)
        return await reports.tickets_behind(conn, organization_id, ask, metric, wanted, now)
    every = await reports.tickets_behind(conn, organization_id, ask, metric, ("total", ""), now)
    other = {
        each.ticket_id
        for without in WITHOUT_AD
        for each in await reports.tickets_behind(conn, organization_id, ask, metric, (without, ""), now)
    }
    return [each for each in every if each.ticket_id not in other]


async def tickets_of(conn: Connection, who: Access, ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    """What the page says of each ticket, by its id; removed ones are not there."""
    found = await board.some(conn, who.organization_id, ids, phones=who.sees_phones)
    return {each["id"]: each for each in found}


@router.get("/number")
async def number(request: Request, db: Db, who: Member, metric: str = "", row: str = "total:") -> Response:
    """A figure taken apart: its formula, each term, and where a term is a sum, the days of it."""
    filters = filters_of(request)
    column = COLUMNS.get(metric)
    if column is None:
        raise NotFound("There is no such figure.")
    _be_a_row(row)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        named = await _named(conn, who.organization_id, filters, row, today, now)
        line = named.row
        if line is None:
            raise NotFound("There is no such row.")
        target = await looks.target(conn, who.organization_id)
        if line.kind in LEVELS and named.report.is_told:  # a loss is judged among all that the table is about
            whole = await reports.average_ticket(conn, who.organization_id, filters.ask(today, offset=0))
            line = reports.judged(line, whole, named.report.break_even)
        days = []
        if metric in FIELDS and metric != "reach":
            ask = narrowed(filters.ask(today, offset=0), line)
            days = await reports.daily(conn, who.organization_id, ask, now)
    judge = Judge(named.report.break_even, target)
    parts = [COLUMNS[name] for name in column.over if name in COLUMNS]
    shown = figures.cells([column, *parts], line, named.report, filters, judge)
    return page(
        request,
        "roi_number.html",
        **roi_page.places(filters, "/roi/number", filters.ask(today)),
        unknown=roi_unknown.of_days(
            request, filters, filters.ask(today), "/roi/number", metric=metric, row=row
        ),
        metric=metric,
        row=row,
        column=column,
        whole=shown[0],
        named=named,
        terms=[Term(part, cell) for part, cell in zip(parts, shown[1:], strict=True)],
        days=[
            (each.day, figures.written(column, metrics.value(each.amounts, metric), named.currency))
            for each in reversed(days)
            if metrics.value(each.amounts, metric)
        ],
        judge=judge,
        now=now,
        freshness=_freshness(named),
    )


async def _person(conn: Connection, organization_id: UUID, ask: Ask, key: str, now: datetime) -> str:
    """What the salespeople's page calls who has this id."""
    if not key:
        return _("Sem responsável")
    everyone = await reports.salespeople(conn, organization_id, ask, now)
    return next(
        (each.name for each in everyone if str(each.user_id) == key and each.name), _("pessoa removida")
    )


def narrowed(ask: Ask, row: Row) -> Ask:
    """The same question about one row alone."""
    if row.kind in ("account", "campaign", "adset"):
        level = {"account": "campaign", "campaign": "adset", "adset": "ad"}[row.kind]
        within = (Within(cast(Any, row.kind), row.id),)
        return msgspec.structs.replace(
            ask, level=cast(Any, level), within=within, text="", statuses=(), spent_only=False
        )
    if row.kind == "ad":
        within = (Within("ad", row.id),)
        return msgspec.structs.replace(ask, level="ad", within=within, text="", statuses=(), spent_only=False)
    return ask


def _freshness(named: Named) -> list[reports.Freshness]:
    """Of the row's account; of all where it is nobody's."""
    account = named.row and (named.row.id if named.row.kind == "account" else named.row.account_id)
    return [each for each in named.report.freshness if account in (None, each.ad_account_id)]


async def _named(
    conn: Connection, organization_id: UUID, filters: Filters, row: str, today: date, now: datetime
) -> Named:
    """The row with its figures, as the report has it."""
    kind, _colon, key = row.partition(":")
    if kind in LEVELS:
        alone: dict[str, Any] = {
            "level": kind,
            "within": (Within(cast(Any, kind), key),),
            "text": "",
            "statuses": (),
        }
        if kind == "account":
            alone["accounts"] = ()  # or those that are filtered would be among them
        ask = filters.ask(today, offset=0, spent_only=False, compare=False, **alone)
        found = await reports.report(conn, organization_id, ask, now)
        line = next((each for each in found.rows if each.id == key), None)
        return Named(figures.name_of(line) if line else key, line, found)
    found = await reports.report(conn, organization_id, filters.ask(today, offset=0, compare=False), now)
    if kind in reports.SPECIAL:
        line = next((each for each in found.special if each.kind == kind), None)
        return Named(_(figures.SPECIAL_NAMES[kind]), line, found)
    if kind == ADS:
        return Named(_("Anúncios"), None, found)
    if kind == PERSON:
        return Named(await _person(conn, organization_id, found.ask, key, now), None, found)
    return Named(_("Total"), found.totals, found)

"""Tickets: the board, the list, and opening one by hand. One ticket's own page is in ticket.py, moves in moves.py."""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack import flow
from whatrack.board import cards, sources
from whatrack.board import tickets as board
from whatrack.board.query import Query
from whatrack.connections import whatsapp_numbers
from whatrack.db import Connection
from whatrack.errors import Refused
from whatrack.tenants.access import Access
from whatrack.tickets import stages
from whatrack.units import FIRST_DAY
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import address_of, age, by_htmx, page, see
from whatrack.web.pages.visitor import Agent, Member, SignedIn

router = APIRouter()
BOARD, LIST = "board", "list"
PERIODS = {"7": 7, "30": 30, "90": 90}
STEP = Query().limit
MOST_LOADED, MOST_COLUMNS = 500, 50


class Filters(msgspec.Struct, frozen=True):
    """What the address asks for. Every value is a text as typed; an unreadable one filters nothing."""

    view: str = BOARD
    q: str = ""
    stage: str = ""
    status: str = ""
    source: str = ""
    campaign: str = ""
    ad: str = ""
    owner: str = ""
    period: str = ""
    since: str = ""
    until: str = ""
    cursor: str = ""

    @classmethod
    def read(cls, parameters: dict[str, str]) -> "Filters":
        """The filters of an address; others' parameters are ignored."""
        known = {
            name: value[:200].replace("\x00", "")
            for name, value in parameters.items()
            if name in cls.__struct_fields__
        }
        return cls(**known)

    @property
    def any(self) -> bool:
        """Whether anything narrows the tickets down."""
        return any(getattr(self, name) for name in self.__struct_fields__ if name not in ("view", "cursor"))

    @property
    def wrong_days(self) -> str:
        """Why days of the address filter nothing; '' where they are read."""
        for text in (self.since, self.until):
            try:
                values.day(text or FIRST_DAY.isoformat())
            except Refused as error:
                told = _("Sem este filtro: %(typed)s não é um dia daqui.", typed=text[:20])
                return f"{told} {error.detail}"
        return ""

    @property
    def more_than_search(self) -> bool:
        """Whether a filter beside the search and the owner is set, so that the filter row shows open."""
        return any(
            getattr(self, name)
            for name in ("stage", "status", "source", "campaign", "ad", "period", "since", "until")
        )


async def query_of(conn: Connection, filters: Filters, who: Access, user_id: UUID) -> Query:
    """The filters as a query; days are those of the organization's zone."""
    since = _start(filters.since)
    if since is None and filters.period in PERIODS:
        since = await database.now(conn) - timedelta(days=PERIODS[filters.period])
    until = _start(filters.until, timedelta(days=1))
    return Query(
        status=filters.status if filters.status in ("open", "closed") else None,
        stage=_uuid(filters.stage),
        source=filters.source if filters.source in ("ad", "post", "organic") else None,
        campaign=filters.campaign or None,
        ad=filters.ad or None,
        owner=user_id if filters.owner == "me" else _uuid(filters.owner),
        since=since,
        until=until,
        text=filters.q or None,
        cursor=filters.cursor or None,
    )


def _start(text: str, later: timedelta = timedelta(0)) -> datetime | None:
    """Midnight of a day as an address has it, or of a later one."""
    try:
        return values.start_of(values.day(text) + later) if text else None
    except (Refused, OverflowError):
        return None


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


@router.get("/tickets")
async def show(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """The board, or the list, as the address says. With `seen`, 204 when the board is still as it was."""
    filters = Filters.read(dict(request.query_params))
    async with db.tenant(who.organization_id) as conn:
        if filters.view == LIST:
            context = await _list(conn, filters, who, visitor.user.id)
            return page(request, "tickets_list.html", **context, **await _choices(conn, who))
        context = await board_of(conn, filters, who, visitor.user.id, loaded(request))
        if not by_htmx(request):
            context |= await _choices(conn, who)
        elif request.query_params.get("seen") == context["digest"]:
            return Response(status_code=204)
    return page(request, "tickets_board.html", "_/board.html", **context)


def loaded(request: Request) -> dict[UUID, int]:
    """The columns in which the reader has loaded more, and how many tickets: what the page's script says of itself.

    In whole steps, so that a column shown to its end stays so when a ticket comes; at most MOST_LOADED each.
    """
    found = {}
    for part in request.headers.get("x-loaded", "").split()[:MOST_COLUMNS]:
        stage, _colon, count = part.partition(":")
        if (stage_id := _uuid(stage)) and count.isdecimal() and len(count) < 7 and int(count) > STEP:
            found[stage_id] = min(-(-int(count) // STEP) * STEP, MOST_LOADED)
    return found


async def board_of(
    conn: Connection, filters: Filters, who: Access, user_id: UUID, longer: Mapping[UUID, int]
) -> dict[str, Any]:
    """What the board itself shows, without the filters above it. longer: see loaded()."""
    query = await query_of(conn, filters, who, user_id)
    wanted = msgspec.structs.replace(query, cursor=None, stage=None)
    columns = await cards.columns(conn, who.organization_id, wanted, longer, phones=who.sees_phones)
    totals = await cards.totals(conn, who.organization_id, wanted, phones=who.sees_phones)
    common = await _common(conn, filters, who)
    now = await database.now(conn)
    ages = [age(card.heard_at, now) for column in columns.values() for card in column.cards]
    reader = (common["may_move"], i18n.language.get())
    look = msgspec.json.encode((columns, totals, common["stages"], ages, reader))
    digest = hashlib.sha256(look).hexdigest()[:16]
    return {**common, "columns": columns, "totals": totals, "digest": digest, "now": now}


async def _list(conn: Connection, filters: Filters, who: Access, user_id: UUID) -> dict[str, Any]:
    """Everything that the list shows."""
    try:
        found = await board.page(
            conn, who.organization_id, await query_of(conn, filters, who, user_id), phones=who.sees_phones
        )
    except Refused:  # a cursor of nobody's: from the top
        first = msgspec.structs.replace(filters, cursor="")
        found = await board.page(
            conn, who.organization_id, await query_of(conn, first, who, user_id), phones=who.sees_phones
        )
    return {**await _common(conn, filters, who), "found": found}


async def _common(conn: Connection, filters: Filters, who: Access) -> dict[str, Any]:
    return {
        "filters": filters,
        "stages": await stages.all_stages(conn, who.organization_id),
        "may_move": who.role != "viewer",
        "back": "",
    }


async def _choices(conn: Connection, who: Access) -> dict[str, Any]:
    """What the filters offer."""
    return {
        "ads": await sources.ads(conn, who.organization_id),
        "campaigns": await sources.campaigns(conn, who.organization_id),
    }


def filters_of_address(address: str) -> Filters:
    """The filters of a page's own address, as a form on it sends it back."""
    return Filters.read(dict(parse_qsl(urlsplit(address).query)))


@router.get("/tickets/column")
async def column(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """The next tickets of one column, for the button at its end."""
    filters = Filters.read(dict(request.query_params))
    async with db.tenant(who.organization_id) as conn:
        query = await query_of(conn, filters, who, visitor.user.id)
        found = await cards.more(conn, who.organization_id, query, phones=who.sees_phones)
        common = {**await _common(conn, filters, who), "now": await database.now(conn)}
    common["back"] = address_of(request, "/tickets", stage=None, cursor=None, seen=None)
    return page(request, "_/column_more.html", found=found, stage_id=filters.stage, **common)


@router.get("/tickets/new")
async def new(request: Request, db: Db, who: Agent) -> Response:
    """The form that opens a ticket by hand."""
    return await _new_form(request, db, who, Form())


@router.post("/tickets/new")
async def open_by_hand(request: Request, db: Db, who: Agent) -> Response:
    """Open a ticket; an open one of the same contact is named instead."""
    form = await sent_form(request)
    phone = form.parsed("phone", values.phone)
    name = form.text("name", required=False)
    number = form.text("number", required=False, most=64)
    if form.ok and phone:
        try:
            async with db.tenant(who.organization_id) as conn:
                ticket_id = await flow.open_ticket(
                    conn, who.organization_id, number or None, wa_id=phone, name=name or None, actor=who.actor
                )
            return see(request, f"/tickets/{ticket_id}", _("Ticket criado."))
        except Refused as error:
            form.refuse(error, ("phone", "name", "number"))
            return await _new_form(request, db, who, form, existing=error.about)
    return await _new_form(request, db, who, form)


async def _new_form(
    request: Request, db: Db, who: Access, form: Form, *, existing: object = None
) -> Response:
    async with db.tenant(who.organization_id) as conn:
        numbers = await whatsapp_numbers.of_organization(conn, who.organization_id)
    status = 200 if form.ok else 422
    return page(request, "ticket_new.html", status=status, form=form, numbers=numbers, existing=existing)

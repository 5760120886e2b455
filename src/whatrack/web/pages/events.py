"""Conversion events: the list with its counts and coverage, one with its attempts, trying again; and ads without names."""

from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack.board import events as board
from whatrack.conversions import retry, rules
from whatrack.db import Connection
from whatrack.enrichment import catalog
from whatrack.errors import Refused
from whatrack.tenants import audit
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db
from whatrack.web.pages import event_words, meta_words
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Agent, Member
from whatrack.web.pages.words import said

router = APIRouter(prefix="/events")
PERIODS = {"7": 7, "30": 30, "90": 90}
USUAL = "30"

Sent = Annotated[Form, Depends(sent_form)]


class Filters(msgspec.Struct, frozen=True):
    """What the address asks for, as typed; an unreadable value filters nothing."""

    group: str = ""
    status: str = ""
    event: str = ""
    dataset: str = ""
    cause: str = ""
    period: str = USUAL
    cursor: str = ""

    @classmethod
    def read(cls, parameters: dict[str, str]) -> "Filters":
        """The filters of an address."""
        known = {name: value[:200] for name, value in parameters.items() if name in cls.__struct_fields__}
        return cls(**known)

    @property
    def days(self) -> int:
        """How far back the page looks."""
        return PERIODS.get(self.period, PERIODS[USUAL])

    @property
    def any(self) -> bool:
        """Whether anything beside the period narrows the list down."""
        return any((self.group, self.status, self.event, self.dataset, self.cause))

    def query(self, now: datetime) -> board.Query:
        """The filters as a query."""
        statuses = (self.status,) if self.status in rules.STATUSES else board.GROUPS.get(self.group, ())
        return board.Query(
            status=statuses,
            event_name=self.event if self.event in rules.EVENT_NAMES else None,
            dataset=self.dataset or None,
            cause=self.cause or None,
            since=now - timedelta(days=self.days),
            cursor=self.cursor or None,
        )


@router.get("")
async def show(request: Request, db: Db, who: Member) -> Response:
    """The list."""
    filters = Filters.read(dict(request.query_params))
    async with db.tenant(who.organization_id) as conn:
        context = await _listed(conn, who, filters)
    return page(request, "events.html", **context)


async def _listed(conn: Connection, who: Access, filters: Filters) -> dict[str, Any]:
    now = await database.now(conn)
    try:
        found = await board.page(conn, who.organization_id, filters.query(now))
    except Refused:  # a cursor of nobody's: from the top
        top = msgspec.structs.replace(filters, cursor="")
        found = await board.page(conn, who.organization_id, top.query(now))
    counted = await board.counts(conn, who.organization_id, now - timedelta(days=filters.days))
    return {
        "filters": filters,
        "found": found,
        "now": now,
        "counts": {
            name: sum(counted.get(each, 0) for each in statuses) for name, statuses in board.GROUPS.items()
        },
        "coverage": board.coverage(counted),
        "causes": await board.causes(conn, who.organization_id),
        "datasets": await board.datasets(conn, who.organization_id),
        "names": rules.EVENT_NAMES,
        "words": event_words,
        "soon": rules.CLOSES_SOON,
        "may_retry": who.role != "viewer",
        "unnamed": len(await catalog.unnamed(conn, who.organization_id)),
    }


@router.post("/retry")
async def retry_failed(request: Request, db: Db, who: Agent, form: Sent) -> Response:
    """Try again all that failed, or all of one cause."""
    cause = form.text("cause", required=False, most=40)
    async with db.tenant(who.organization_id) as conn:
        count = await retry.failed(conn, who, cause or None)
    notice = ngettext(
        "%(num)s evento será enviado de novo.", "%(num)s eventos serão enviados de novo.", count
    )
    return see(request, "/events", notice if count else _("Nada a tentar de novo dentro dos 7 dias da Meta."))


@router.get("/ads")
async def unnamed_ads(request: Request, db: Db, who: Member) -> Response:
    """The ads that could not be looked up, and why."""
    async with db.tenant(who.organization_id) as conn:
        ads = await catalog.unnamed(conn, who.organization_id)
        now = await database.now(conn)
    return page(
        request, "events_ads.html", ads=ads, words=event_words, now=now, may_retry=who.role != "viewer"
    )


@router.post("/ads/retry")
async def retry_ads(request: Request, db: Db, who: Agent, form: Sent) -> Response:
    """Look up again, now: one ad, or all."""
    ad_id = form.text("ad", required=False, most=64)
    async with db.tenant(who.organization_id) as conn:
        if await catalog.retry(conn, who.organization_id, ad_id or None):
            await audit.record(conn, who.organization_id, who.actor, "ad_retried", f"ad:{ad_id or 'all'}")
    return see(request, "/events/ads", _("Vamos perguntar à Meta de novo."))


@router.get("/{event_id}")
async def show_one(request: Request, db: Db, who: Member, event_id: UUID) -> Response:
    """One event with its attempts."""
    async with db.tenant(who.organization_id) as conn:
        event = await board.one(conn, who.organization_id, event_id)
        ahead = await board.ahead(conn, who.organization_id, event_id) if _may_go(event) else None
        now = await database.now(conn)
    tries = [
        {**each, "request_text": _json(each["request"]), "response_text": _json(each["response"])}
        for each in event["tries"]
    ]
    return page(
        request,
        "event.html",
        event=event,
        ahead=ahead,
        missing=meta_words.missing,
        tries=tries,
        now=now,
        words=event_words,
        soon=rules.CLOSES_SOON,
        may_retry=who.role != "viewer",
    )


@router.post("/{event_id}/retry")
async def retry_one(request: Request, db: Db, who: Agent, event_id: UUID, form: Sent) -> Response:
    """Try one again."""
    back = form.values.get("back", "")
    to = back if back.startswith(("/events", "/tickets/")) and "\\" not in back else f"/events/{event_id}"
    try:
        async with db.tenant(who.organization_id) as conn:
            await retry.one(conn, who, event_id)
    except Refused as error:
        return see(request, to, said(error))
    return see(request, to, _("Será enviado de novo em instantes."))


def _may_go(event: dict[str, Any]) -> bool:
    """Whether the event may still be sent."""
    return event["status"] in ("PENDING", "FAILED", *rules.MENDABLE)


def _json(value: Any) -> str:
    """As a person reads it."""
    return "" if value is None else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()

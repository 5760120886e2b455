"""The report for people without an account: links made and revoked, and the page that one opens. No phones, no tickets."""

from datetime import date
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from typing_extensions import override

from whatrack.db import Connection, Database
from whatrack.errors import NotFound, Refused
from whatrack.roi import report as reports
from whatrack.roi import secret_links, sharing
from whatrack.tenants import organizations
from whatrack.tenants.access import Access
from whatrack.tenants.organizations import Organization
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, roi_chips, roi_page
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import by_htmx, page, see
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_columns import USUAL
from whatrack.web.pages.roi_filters import CUSTOM, LEVELS, Filters
from whatrack.web.pages.visitor import Agent
from whatrack.web.state import TheSettings

router = APIRouter()
HERE = "/roi/share"
# A link's address is a secret: it is neither indexed nor told to other sites.
PRIVATE = {"X-Robots-Tag": "noindex, nofollow", "Referrer-Policy": "no-referrer"}
# What a reader may choose; which rows and days there are, the link decides.
ALWAYS = ("level", "sort", "dir")
FREE = (*ALWAYS, "offset")

Sent = Annotated[Form, Depends(sent_form)]


@router.get(HERE)
async def share(request: Request, db: Db, who: Agent) -> Response:
    """The form that makes a link to the report as it is filtered, and the links there are."""
    return await _show(request, db, who, Form(days=30), filters_of(request), 200)


@router.post(HERE)
async def make(request: Request, db: Db, who: Agent, settings: TheSettings, form: Sent) -> Response:
    """A new link, shown in this answer and never again."""
    filters = Filters.of_question(form.values.get("question", ""))
    title = form.line("title", most=120)
    days = form.choice("days", [str(each) for each in sharing.LIFETIMES])
    if form.ok:
        try:
            async with db.tenant(who.organization_id) as conn:
                path = await sharing.create(conn, who, title, filters.question, int(days))
            return page(
                request,
                "roi_link.html",
                link=settings.address + path,
                title=title,
                days=int(days),
                filters=filters,
            )
        except Refused as error:
            form.refuse(error)
    return await _show(request, db, who, form, filters, 422)


@router.post(HERE + "/{link_id}/revoke")
async def revoke(request: Request, db: Db, who: Agent, link_id: UUID) -> Response:
    """The link works no longer."""
    async with db.tenant(who.organization_id) as conn:
        await sharing.revoke(conn, who, link_id)
    return see(request, HERE, _("Link revogado: não abre mais."))


async def _show(
    request: Request, db: Database, who: Access, form: Form, filters: Filters, status: int
) -> Response:
    async with db.tenant(who.organization_id) as conn:
        links = await sharing.everyone(conn, who.organization_id)
        _now, today = await roi_page.today(conn)
    described = [(each, _described(Filters.of_question(each.question), today)) for each in links]
    return page(
        request,
        "roi_share.html",
        status=status,
        form=form,
        filters=filters,
        about=_described(filters, today),
        span=roi_page.span(*filters.days(today)),
        links=described,
        lifetimes=sharing.LIFETIMES,
    )


def _described(filters: Filters, today: date) -> str:
    """What a link shows, in words."""
    parts = [roi_page.span(*filters.days(today)) if filters.period == CUSTOM else filters.period_name]
    if filters.narrowed:
        parts.append(_("com filtros"))
    return " · ".join(parts)


@router.get(sharing.PATH + "{token}")
async def opened(request: Request, db: Db, token: str) -> Response:
    """The report that a link shows, for whoever has it."""
    try:
        link = await _link(request, db, token)
        async with db.reading(link.organization_id) as conn:
            filters = await _narrowed(conn, link, link.filters)
            context = await roi_page.built(
                conn, link.organization_id, filters, USUAL, path=link.path, opens=False
            )
    except NotFound:
        return _gone(request)
    # A row is named as the page names it: a reader learns nothing of what the link leaves out.
    names = roi_chips.parents_of(context["report"])
    every = roi_chips.chips(names, link.filters, link.path, _("linha aberta"))
    chips = [chip for chip, row in zip(every, link.filters.parents, strict=True) if row not in link.given.parents]  # fmt: skip
    if link.given.q or link.given.status:
        context["levels"] = {filters.level: LEVELS[filters.level]}
    return page(request, "roi_shared.html", headers=PRIVATE, **context, shared=link.shared, own=link.own, chips=chips)  # fmt: skip


@router.get(sharing.PATH + "{token}" + roi_page.ROWS)
async def rows(request: Request, db: Db, token: str) -> Response:
    """The children of a row, to stand beneath it; who comes here without a script gets them as a page."""
    try:
        link = await _link(request, db, token)
        whole = link.filters.to(link.path)
        if not by_htmx(request):
            return see(request, whole)
        async with db.reading(link.organization_id) as conn:
            filters = await _narrowed(conn, link, link.filters)
            context = await roi_page.children(
                conn, link.organization_id, filters, USUAL, path=link.path, opens=False
            )
    except NotFound:
        return _gone(request)
    return page(request, "_/roi_rows.html", headers=PRIVATE, **context, whole=whole)


class Bounded(Filters, frozen=True):
    """A link's filters on its page: what its reader may choose always stands in an address, for the link has its own usual."""

    @override
    def pairs(self, **changed: str | tuple[str, ...] | None) -> list[tuple[str, str]]:
        """The parameters of an address, what the reader may choose among them."""
        found = super().pairs(**changed)
        told = {name for name, _value in found}
        chosen = [(name, changed.get(name, getattr(self, name))) for name in ALWAYS if name not in told]
        return found + [(name, value) for name, value in chosen if isinstance(value, str)]


class _Opened(msgspec.Struct, frozen=True):
    """A link that works. given: what it shows; filters: that with what its reader chose."""

    organization_id: UUID
    own: Organization
    shared: sharing.Shared
    path: str
    given: Filters
    filters: Bounded


async def _link(request: Request, db: Database, token: str) -> _Opened:
    """The link, its organization's zone set; NotFound where it does not work, or asks for what it leaves out."""
    organization_id = secret_links.organization_of(token)
    async with db.tenant(organization_id) as conn:
        shared = await sharing.opened(conn, organization_id, token)
        own = await organizations.by_id(conn, organization_id)
    i18n.set_zone(own.timezone)
    given = Filters.of_question(shared.question)
    return _Opened(organization_id, own, shared, sharing.PATH + token, given, _bounded(given, request))


def _gone(request: Request) -> Response:
    text = _("O link expirou ou foi revogado. Peça outro a quem o enviou.")
    context = {"title": _("Este link não funciona mais"), "text": text, "ask": False}
    return page(request, "gone.html", status=404, headers=PRIVATE, **context)


def _bounded(given: Filters, request: Request) -> Bounded:
    """The link's filters with what its reader chose: its own opened rows hold, further ones narrow, no level is above any of them."""
    asked = filters_of(request)
    own = {row.kind: {each.id for each in given.parents if each.kind == row.kind} for row in given.parents}
    both = [row for row in asked.parents if row.id in own.get(row.kind, ())]
    more = [row for row in asked.parents if row.kind not in own]
    kept = [row for row in given.parents if row in both or row.kind not in {each.kind for each in both}]
    chosen = {name: getattr(asked, name) for name in FREE if name in request.query_params}
    chosen["within"] = tuple(f"{row.kind}:{row.id}" for row in (*kept, *more))
    if _depth(chosen.get("level", given.level)) < max(
        (_depth(row.kind) for row in (*kept, *more)), default=0
    ):
        chosen["level"] = given.level
    return Bounded(**{**msgspec.structs.asdict(given), **chosen})


async def _narrowed(conn: Connection, link: _Opened, filters: Bounded) -> Bounded:
    """The same where the link looks for names or a status: of its own rows alone, and what is in one of them whole.

    Its text is for rows of its own level; on another level it would find rows that the link leaves out.
    """
    given = link.given
    if not (given.q or given.status):
        return filters
    level = _depth(given.level)
    opened = [_depth(row.kind) for row in filters.parents if row not in given.parents]
    within = msgspec.structs.replace(filters, level=given.level)
    if len(opened) != 1 or opened[0] < level or _depth(filters.level) <= opened[0]:
        return within  # of several rows one alone might be the link's
    now, today = await roi_page.today(conn)
    ask = within.ask(today, offset=0, limit=1, sort="spend", compare=False)
    found = await reports.report(conn, link.organization_id, ask, now)
    return msgspec.structs.replace(filters, q="", status=()) if found.rows else within


def _depth(level: str) -> int:
    return list(LEVELS).index(level)

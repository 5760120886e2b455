"""The report for people without an account: links made and revoked, and the page that one opens. No phones, no tickets."""

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from typing_extensions import override

from whatrack.db import Database
from whatrack.errors import NotFound, Refused
from whatrack.roi import sharing
from whatrack.tenants import organizations
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, roi_chips, roi_page
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_columns import USUAL
from whatrack.web.pages.roi_filters import Filters
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
    described = [(each, _described(Filters.of_question(each.question))) for each in links]
    return page(
        request,
        "roi_share.html",
        status=status,
        form=form,
        filters=filters,
        about=_described(filters),
        span=roi_page.span(*filters.days(today)),
        links=described,
        lifetimes=sharing.LIFETIMES,
    )


def _described(filters: Filters) -> str:
    """What a link shows, in words."""
    parts = [filters.period_name]
    if filters.period == "custom":
        parts = [f"{filters.since} – {filters.until}"]
    if filters.narrowed:
        parts.append(_("com filtros"))
    return " · ".join(parts)


@router.get(sharing.PATH + "{token}")
async def opened(request: Request, db: Db, token: str) -> Response:
    """The report that a link shows, for whoever has it."""
    try:
        organization_id = sharing.organization_of(token)
        async with db.tenant(organization_id) as conn:
            shared = await sharing.opened(conn, organization_id, token)
            own = await organizations.by_id(conn, organization_id)
        i18n.set_zone(own.timezone)
        path = sharing.PATH + token
        filters = _bounded(Filters.of_question(shared.question), request)
        async with db.reading(organization_id) as conn:
            context = await roi_page.built(conn, organization_id, filters, USUAL, path=path, opens=False)
    except NotFound:
        text = _("O link expirou ou foi revogado. Peça outro a quem o enviou.")
        context = {"title": _("Este link não funciona mais"), "text": text, "ask": False}
        return page(request, "gone.html", status=404, headers=PRIVATE, **context)
    # A row is named as the page names it: a reader learns nothing of what the link leaves out.
    is_given = filters.within == Filters.of_question(shared.question).within
    names = roi_chips.parents_of(context["report"])
    chips = [] if is_given else roi_chips.chips(names, filters, path, _("linha aberta"))
    return page(
        request,
        "roi_shared.html",
        headers=PRIVATE,
        **context,
        shared=shared,
        own=own,
        chips=chips,
    )


class Bounded(Filters, frozen=True):
    """A link's filters on its page: what its reader may choose always stands in an address, for the link has its own usual."""

    @override
    def pairs(self, **changed: str | tuple[str, ...] | None) -> list[tuple[str, str]]:
        """The parameters of an address, what the reader may choose among them."""
        found = super().pairs(**changed)
        told = {name for name, _value in found}
        chosen = [(name, changed.get(name, getattr(self, name))) for name in ALWAYS if name not in told]
        return found + [(name, value) for name, value in chosen if isinstance(value, str)]


def _bounded(given: Filters, request: Request) -> Filters:
    """The link's filters with what its reader chose. Opened rows only narrow: a link that has some keeps its own."""
    asked = filters_of(request)
    free = FREE if given.within else (*FREE, "within")
    chosen = {name: getattr(asked, name) for name in free if name in request.query_params}
    return Bounded(**{**msgspec.structs.asdict(given), **chosen})

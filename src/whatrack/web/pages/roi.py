"""The report: what each account, campaign, ad set and ad cost and earned; and the choice of its columns."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack.insights import progress
from whatrack.roi import looks, named
from whatrack.web.addresses import own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_chips, roi_columns, roi_page, roi_state, roi_unknown
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import by_htmx, page, see
from whatrack.web.pages.roi_columns import COLUMNS, PRESETS, USUAL
from whatrack.web.pages.roi_filters import HERE, Filters
from whatrack.web.pages.visitor import Member, SignedIn
from whatrack.web.state import TheSettings

router = APIRouter(prefix="/roi")

Sent = Annotated[Form, Depends(sent_form)]


def filters_of(request: Request) -> Filters:
    """The filters of the address that was asked for."""
    return Filters.read(request.query_params.multi_items())


@router.get("")
async def show(request: Request, db: Db, who: Member, visitor: SignedIn, settings: TheSettings) -> Response:
    """The report as its address asks for it."""
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        names = await looks.columns(conn, who.organization_id, visitor.user.id) or USUAL
        context = await roi_page.built(conn, who.organization_id, filters, names, path=HERE, opens=True)
        context |= await roi_page.options(conn, who.organization_id)
        names_of = await named.called(conn, who.organization_id, filters.parents)
        fetching = roi_state.syncing(await progress.progress(conn, who.organization_id))
        unknown = await roi_unknown.of(
            conn, who.organization_id, request, filters, context["report"].ask, HERE
        )
    return page(
        request,
        "roi.html",
        **context,
        here=filters.to(HERE, offset=filters.offset),
        chips=roi_chips.chips(names_of, filters, HERE),
        asks_tax=context["report"].asks_tax and who.role in ("owner", "admin"),
        blank=roi_state.blank(context, fetching, settings.insights_days, unknown),
        unknown=unknown,
        sync=fetching,
        why=roi_state.why,
        outlook=roi_state.outlook,
        of_profiles=roi_state.OF_PROFILES,
        back=filters.to(HERE, offset=filters.offset),
        may_sync=who.role != "viewer",
        may_share=who.role != "viewer",
        is_admin=who.role in ("owner", "admin"),
    )


@router.get("/rows")
async def rows(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """The children of a row, to stand beneath it in the table; who comes here without a script gets them as a page."""
    filters = filters_of(request)
    if not by_htmx(request):
        return see(request, filters.to(HERE))
    async with db.reading(who.organization_id) as conn:
        names = await looks.columns(conn, who.organization_id, visitor.user.id) or USUAL
        context = await roi_page.children(conn, who.organization_id, filters, names, path=HERE, opens=True)
    return page(request, "_/roi_rows.html", **context, whole=filters.to(HERE))


@router.get("/columns")
async def choose_columns(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """The chooser: every column, the chosen ones ticked."""
    filters = filters_of(request)
    async with db.tenant(who.organization_id) as conn:
        names = await looks.columns(conn, who.organization_id, visitor.user.id) or list(USUAL)
    chosen = roi_columns.known(names)
    rest = [column for column in COLUMNS.values() if column not in chosen]
    form = Form()
    return page(request, "roi_columns.html", filters=filters, chosen=chosen, rest=rest, form=form)


@router.post("/columns")
async def keep_columns(request: Request, db: Db, who: Member, visitor: SignedIn) -> Response:
    """Remember a preset, or the columns as they were ticked and numbered."""
    async with request.form(max_files=0, max_fields=200) as sent:
        preset, back = str(sent.get("preset", "")), own_path(str(sent.get("back", "")), HERE)
        ticked = [str(each) for each in sent.getlist("column")]
        places = {name: str(sent.get(f"place-{name}", "")) for name in ticked}
    names = list(PRESETS[preset][1]) if preset in PRESETS else sorted(ticked, key=lambda name: _place(places[name]))  # fmt: skip
    wanted = [column.name for column in roi_columns.known(names)] or list(USUAL)
    async with db.tenant(who.organization_id) as conn:
        await looks.remember(conn, who.organization_id, visitor.user.id, wanted)
    return see(request, back if back.startswith(HERE) else HERE, "" if preset else _("Colunas guardadas."))


def _place(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 999

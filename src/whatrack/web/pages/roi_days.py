"""Which account-days came from Meta, when and by whose token, and why some did not; the button that asks for fresh ones."""

from collections import Counter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack.connections import ad_accounts
from whatrack.errors import Refused
from whatrack.insights import progress, wishes
from whatrack.roi import silent
from whatrack.web.addresses import own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_page, roi_unknown
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import page, see
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_filters import HERE
from whatrack.web.pages.roi_state import OF_PROFILES, all_off, syncing, why
from whatrack.web.pages.visitor import Agent, Member
from whatrack.web.pages.words import said
from whatrack.web.state import TheSettings

router = APIRouter(prefix="/roi")

Sent = Annotated[Form, Depends(sent_form)]


@router.get("/days")
async def days(request: Request, db: Db, who: Member, settings: TheSettings) -> Response:
    """Every account: how far it is."""
    filters = filters_of(request)
    async with db.tenant(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        found = await progress.progress(conn, who.organization_id)
        known = await roi_page.options(conn, who.organization_id)
        ask = filters.ask(today)
        silent_days = await silent.find(conn, who.organization_id, None, ask.since, ask.until)
    return page(
        request,
        "roi_days.html",
        **roi_page.places(filters, "/roi/days", ask) | {"with_basis": False},
        unknown=roi_unknown.of_days(request, filters, ask, "/roi/days"),
        progress=found,
        silent_days=Counter(each.ad_account_id for each in silent_days),
        sync=syncing(found),
        back=filters.to("/roi/days"),
        why=why,
        of_profiles=OF_PROFILES,
        all_off=all_off(settings.insights_days),
        now=now,
        known=known,
        may_sync=who.role != "viewer",
    )


@router.get("/days/{account_id}")
async def account(request: Request, db: Db, who: Member, account_id: str) -> Response:
    """One account, day by day."""
    filters = filters_of(request)
    async with db.tenant(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today)
        known = await ad_accounts.one(conn, who.organization_id, account_id)
        found = await progress.account_days(conn, who.organization_id, known.id, ask.since, ask.until)
        silent_days = await silent.find(conn, who.organization_id, [known.id], ask.since, ask.until)
    path = f"/roi/days/{known.ad_account_id}"
    return page(
        request,
        "roi_account_days.html",
        **roi_page.places(filters, path, ask) | {"with_basis": False},
        unknown=roi_unknown.of_days(request, filters, ask, path),
        account=known,
        days=found,
        people={each.day: each.people for each in silent_days},
        why=why,
        now=now,
    )


@router.get("/sync")
async def state(request: Request, db: Db, who: Member, back: str = HERE) -> Response:
    """How fetching goes, for the page that asks every few seconds until it is over."""
    async with db.tenant(who.organization_id) as conn:
        found = await progress.progress(conn, who.organization_id)
    place = _back(back)
    context: dict[str, Any] = {
        "sync": syncing(found),
        "back": place,
        "may_sync": who.role != "viewer",
        "was_busy": True,
    }
    return page(request, "roi_sync.html", "_/roi_sync.html", **context)


@router.post("/sync")
async def ask(request: Request, db: Db, who: Agent, form: Sent) -> Response:
    """Fetch the last days of every account that is on, now."""
    back = _back(form.values.get("back", HERE))
    try:
        async with db.tenant(who.organization_id) as conn:
            done = await wishes.ask(conn, who, form.values.get("account") or None)
    except Refused as error:
        return see(request, back, said(error))
    if done.asked:
        told = ngettext("Buscando %(num)s conta na Meta.", "Buscando %(num)s contas na Meta.", done.asked)
    elif done.throttled:
        told = _("A Meta pediu para esperar: buscamos assim que ela deixar.")
    elif done.added_days:
        told = ngettext("Já estamos buscando, agora com mais %(num)s dia.", "Já estamos buscando, agora com mais %(num)s dias.", done.added_days)  # fmt: skip
    else:
        told = _("Já estamos buscando.")
    return see(request, back, told)


def _back(text: str) -> str:
    """A page of the report; anything else becomes the report."""
    path = own_path(text, HERE)
    return path if path.partition("?")[0].startswith(HERE) else HERE

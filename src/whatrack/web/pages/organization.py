"""The organization's own settings, and the page that leads to all the others."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.tenants import organizations
from whatrack.tenants.organizations import Organization
from whatrack.web.api.caller import Db
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.places import CURRENCIES, currencies, zone_names, zones
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin, Member

router = APIRouter(prefix="/settings")


@router.get("")
async def settings_page(request: Request, who: Member) -> Response:
    """Links to every settings page that this role may open."""
    return page(request, "settings.html", is_admin=who.role in ("owner", "admin"))


@router.get("/organization")
async def organization_page(request: Request, db: Db, who: Admin) -> Response:
    """The form as things are."""
    async with db.tenant(who.organization_id) as conn:
        known = await organizations.by_id(conn, who.organization_id)
    start = Form(
        name=known.name,
        timezone=known.timezone,
        currency=known.base_currency,
        days=known.ticket_expiration_days,
    )
    return _show(request, known, start, 200)


@router.post("/organization")
async def save(request: Request, db: Db, who: Admin) -> Response:
    """Take the changes over."""
    form = await sent_form(request)
    async with db.tenant(who.organization_id) as conn:
        known = await organizations.by_id(conn, who.organization_id)
        wanted = msgspec.structs.replace(
            known,
            name=form.line("name"),
            timezone=form.choice("timezone", zone_names(known.timezone)),
            base_currency=form.choice("currency", {*CURRENCIES, known.base_currency}),
            ticket_expiration_days=form.whole("days", 1, 365),
        )
        if form.ok:
            await organizations.change(conn, who, wanted)
    if not form.ok:
        return _show(request, known, form, 422)
    return see(request, "/settings/organization", _("Salvo."))


def _show(request: Request, known: Organization, form: Form, status: int) -> Response:
    choices: dict[str, Any] = {"zones": zones(), "currencies": currencies(known.base_currency)}
    return page(request, "organization.html", status=status, form=form, known=known, **choices)

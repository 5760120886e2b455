"""The organization's API keys: made, shown once, revoked."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.db import Database
from whatrack.tenants import api_keys
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin
from whatrack.web.pages.words import role_hint, role_name, roles_up_to
from whatrack.web.state import TheSettings

router = APIRouter(prefix="/settings/keys")


@router.get("")
async def keys_page(request: Request, db: Db, who: Admin) -> Response:
    """The keys that work, and the form for another."""
    return await _show(request, db, who, Form(role="agent"), 200)


@router.post("")
async def make(request: Request, db: Db, who: Admin, settings: TheSettings) -> Response:
    """A new key, shown in this answer and never again."""
    form = await sent_form(request)
    name = form.line("name", most=80)
    role = form.choice("role", [given for given, _label in roles_up_to(who.role)])
    if not form.ok:
        return await _show(request, db, who, form, 422)
    async with db.tenant(who.organization_id) as conn:
        _id, key = await api_keys.issue(conn, who, role, name)
    return page(request, "new-key.html", title=name, key=key, base=settings.address)


@router.post("/{key_id}/revoke")
async def revoke(request: Request, db: Db, who: Admin, key_id: UUID) -> Response:
    """The key works no longer."""
    async with db.tenant(who.organization_id) as conn:
        await api_keys.revoke(conn, who.organization_id, who.actor, key_id)
    return see(request, "/settings/keys", _("Chave revogada. Programas que a usavam param agora."))


async def _show(request: Request, db: Database, who: Access, form: Form, status: int) -> Response:
    async with db.tenant(who.organization_id) as conn:
        keys = await api_keys.everyone(conn, who.organization_id)
    context: dict[str, Any] = {"keys": keys, "form": form, "roles": roles_up_to(who.role)}
    return page(request, "keys.html", status=status, role_name=role_name, role_hint=role_hint, **context)

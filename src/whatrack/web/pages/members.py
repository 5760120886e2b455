"""The organization's people: who belongs to it, who is invited, who may do what."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.crypto import Sealer
from whatrack.db import Connection, Database
from whatrack.errors import Refused
from whatrack.settings import Settings
from whatrack.tenants import emails, invitations, members, users
from whatrack.tenants.access import RANK, Access
from whatrack.tenants.members import Member
from whatrack.tenants.users import parse_email
from whatrack.web.api.caller import Db
from whatrack.web.pages import letters
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin, SignedIn
from whatrack.web.pages.words import ROLES, role_hint, role_name, roles_up_to
from whatrack.web.state import TheSealer, TheSettings

router = APIRouter(prefix="/settings/members")


@router.get("")
async def members_page(request: Request, db: Db, who: Admin) -> Response:
    """Everybody, and the invitations that wait."""
    return await _show(request, db, who, Form(role="agent"), 200)


@router.post("")
async def invite(
    request: Request, db: Db, who: Admin, visitor: SignedIn, sealer: TheSealer, settings: TheSettings
) -> Response:
    """Invite an address: by mail, or by a link to copy where this installation sends none."""
    form = await sent_form(request)
    email = form.parsed("email", parse_email)
    role = form.choice("role", [name for name, _label in roles_up_to(who.role)])
    if form.ok and email:
        try:
            async with db.tenant(who.organization_id) as conn:
                link = settings.address + await invitations.put(conn, who, email, role)
                await _mail(conn, sealer, settings, visitor, email, link)
            return _sent(request, settings, email, link)
        except Refused as error:
            form.refuse(error)
    return await _show(request, db, who, form, 422)


@router.post("/invitations/{invitation_id}/again")
async def invite_again(
    request: Request,
    db: Db,
    who: Admin,
    visitor: SignedIn,
    sealer: TheSealer,
    settings: TheSettings,
    invitation_id: UUID,
) -> Response:
    """Another link for seven days more; the one before no longer works."""
    async with db.tenant(who.organization_id) as conn:
        known = await invitations.one(conn, who.organization_id, invitation_id)
        link = settings.address + await invitations.put(conn, who, known.email, known.role)
        await _mail(conn, sealer, settings, visitor, known.email, link)
    return _sent(request, settings, known.email, link)


@router.post("/invitations/{invitation_id}/withdraw")
async def withdraw(request: Request, db: Db, who: Admin, invitation_id: UUID) -> Response:
    """The link works no longer."""
    async with db.tenant(who.organization_id) as conn:
        await invitations.withdraw(conn, who, invitation_id)
    return see(request, "/settings/members", _("Convite retirado."))


@router.get("/{user_id}")
async def member_page(request: Request, db: Db, who: Admin, user_id: UUID) -> Response:
    """One person: their role, and the way out."""
    async with db.tenant(who.organization_id) as conn:
        found = await members.one(conn, who.organization_id, user_id)
    return _one(request, who, found, Form(role=found.role), 200)


@router.post("/{user_id}")
async def change_role(request: Request, db: Db, who: Admin, user_id: UUID) -> Response:
    """Give the person another role."""
    form = await sent_form(request)
    role = form.choice("role", ROLES)
    async with db.tenant(who.organization_id) as conn:
        found = await members.one(conn, who.organization_id, user_id)
        try:
            if form.ok:
                await members.change_role(conn, who, user_id, role)
                text = _("%(name)s agora é: %(role)s.", name=found.name, role=role_name(role))
                return see(request, "/settings/members", text)
        except Refused as error:
            form.refuse(error)
    return _one(request, who, found, form, 422)


@router.post("/{user_id}/remove")
async def remove(request: Request, db: Db, who: Admin, visitor: SignedIn, user_id: UUID) -> Response:
    """Let the person go."""
    async with db.tenant(who.organization_id) as conn:
        found = await members.one(conn, who.organization_id, user_id)
        try:
            await members.remove(conn, who, user_id)
        except Refused as error:
            form = Form(role=found.role)
            form.refuse(error)
            return _one(request, who, found, form, error.status)
    text = _("%(name)s não faz mais parte da organização.", name=found.name)
    return see(request, "/" if user_id == visitor.user.id else "/settings/members", text)


async def _show(request: Request, db: Database, who: Access, form: Form, status: int) -> Response:
    async with db.tenant(who.organization_id) as conn:
        people = await members.everyone(conn, who.organization_id)
        waiting = await invitations.everyone(conn, who.organization_id)
    return page(
        request,
        "members.html",
        status=status,
        people=people,
        waiting=waiting,
        form=form,
        roles=roles_up_to(who.role),
        role_name=role_name,
        role_hint=role_hint,
        may_renew=lambda role: RANK[role] <= RANK[who.role],
    )


def _one(request: Request, who: Access, found: Member, form: Form, status: int) -> Response:
    may = RANK[found.role] <= RANK[who.role]
    context: dict[str, Any] = {"found": found, "form": form, "may": may, "roles": roles_up_to(who.role)}
    return page(request, "member.html", status=status, role_name=role_name, role_hint=role_hint, **context)


async def _mail(
    conn: Connection, sealer: Sealer, settings: Settings, visitor: SignedIn, email: str, link: str
) -> None:
    """Owe the invitation's mail, in the addressee's language where it is known."""
    if not settings.smtp_host or visitor.home is None:
        return
    known = await users.credentials(conn, email)
    letter = letters.invitation(
        email,
        known.language if known else None,
        link,
        organization=visitor.home.name,
        inviter=visitor.user.name,
    )
    await emails.queue(conn, sealer, letter)


def _sent(request: Request, settings: Settings, email: str, link: str) -> Response:
    if settings.smtp_host:
        return see(request, "/settings/members", _("Convite enviado para %(email)s.", email=email))
    return page(request, "invited.html", email=email, link=link)

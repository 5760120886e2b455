"""Accepting an invitation: somebody new makes an account, somebody known signs in and joins."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.errors import Refused
from whatrack.tenants import invitations
from whatrack.tenants.invitations import Invited
from whatrack.tenants.passwords import check_new
from whatrack.tenants.sessions import Visitor
from whatrack.web.addresses import place
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n
from whatrack.web.pages.entrance import SECRET_ADDRESS, gone, let_in
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import MaybeVisitor
from whatrack.web.pages.words import role_name
from whatrack.web.state import ThePasswords

router = APIRouter()


@router.get("/invite/{token}")
async def invite_page(request: Request, db: Db, who: MaybeVisitor, token: str) -> Response:
    """What the link invites to, and the next step for whoever looks."""
    invited = await invitations.find(db, token)
    return _show(request, invited, who, Form(), 200) if invited else _gone(request)


@router.post("/invite/{token}")
async def accept(
    request: Request, db: Db, passwords: ThePasswords, who: MaybeVisitor, token: str
) -> Response:
    """Join; with a new account for who has none."""
    invited = await invitations.find(db, token)
    if invited is None:
        return _gone(request)
    welcome = _("Você agora faz parte de %(organization)s.", organization=invited.organization)
    form = await sent_form(request)
    if who and invited.user_id == who.user.id:
        joined = await invitations.accept(db, token, who.user, who.session_id)
        return see(request, "/", welcome) if joined else _gone(request)
    if who or invited.user_id:
        return _show(request, invited, who, Form(), 409)
    name, password = form.line("name", most=120), form.secret("password")
    try:
        if form.ok:
            check_new(password, email=invited.email, name=name)
            hashed = await passwords.hash(password)
            session = await invitations.accept_new(
                db, token, place(request), name=name, password_hash=hashed, language=i18n.language.get()
            )
            return let_in(request, session, "/", welcome) if session else _gone(request)
    except Refused as error:
        form.refuse(error)
    return _show(request, invited, who, form, 422)


def _show(request: Request, invited: Invited, who: Visitor | None, form: Form, status: int) -> Response:
    """Join (the account is theirs), sign in first (it is another's, or nobody is signed in), or make one."""
    if who:
        step = "join" if who.user.id == invited.user_id else "other"
    else:
        step = "sign_in" if invited.user_id else "create"
    context: dict[str, Any] = {
        "invited": invited,
        "role": role_name(invited.role),
        "step": step,
        "form": form,
    }
    return page(request, "invite.html", status=status, headers=SECRET_ADDRESS, **context)


def _gone(request: Request) -> Response:
    text = _("Um convite vale por sete dias e funciona uma vez só. Peça outro a quem convidou você.")
    return gone(request, _("Este convite não vale mais."), text)

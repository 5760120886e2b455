"""Signing in with a password and, for who wants it, a code; signing out."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.tenants import login, sessions
from whatrack.tenants.throttle import TooMany
from whatrack.web import cookies
from whatrack.web.addresses import client_address, own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages.entrance import STEP_COOKIE, admit, passed_first_step, proceed, wait
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import MaybeVisitor
from whatrack.web.state import ThePasswords, TheSealer

router = APIRouter()


@router.get("/login")
async def login_page(request: Request, who: MaybeVisitor, next: str = "/") -> Response:
    """The form; who is signed in goes on."""
    if who:
        return see(request, own_path(next))
    return page(request, "login.html", form=Form(next=own_path(next)))


@router.post("/login")
async def sign_in(request: Request, db: Db, passwords: ThePasswords, sealer: TheSealer) -> Response:
    """Check address and password. What was wrong is not told, nor whether there is such an account."""
    form = await sent_form(request)
    email, password = form.text("email", most=254), form.secret("password")
    form.values["next"] = onward = own_path(form.values.get("next", "/"))
    if form.ok:
        try:
            person = await login.by_password(db, passwords, email, password, client_address(request))
        except TooMany as error:
            return wait(request, "login.html", form, error)
        if person:
            return await proceed(request, db, sealer, person, onward)
        form.general = _("E-mail ou senha incorretos.")
    return page(request, "login.html", status=422, form=form)


@router.get("/login/code")
async def code_page(request: Request, db: Db, sealer: TheSealer, next: str = "/") -> Response:
    """The second step, for who passed the first."""
    if await passed_first_step(request, db, sealer) is None:
        return see(request, "/login")
    return page(request, "code.html", form=Form(next=own_path(next)))


@router.post("/login/code")
async def check_code(request: Request, db: Db, sealer: TheSealer) -> Response:
    """Check the app's code, or a recovery code."""
    person = await passed_first_step(request, db, sealer)
    if person is None:
        return see(request, "/login", _("A espera foi longa demais. Entre de novo."))
    form = await sent_form(request)
    code = form.text("code", most=60)
    form.values["next"] = onward = own_path(form.values.get("next", "/"))
    if form.ok:
        try:
            passed = await login.by_code(db, sealer, person.id, code, client_address(request))
        except TooMany as error:
            return wait(request, "code.html", form, error)
        if passed:
            return await admit(request, db, person, onward)
        form.wrong("code", _("Este código não vale, ou já foi usado. Espere o próximo do aplicativo."))
    return page(request, "code.html", status=422, form=form)


@router.post("/logout")
async def sign_out(request: Request, db: Db, who: MaybeVisitor) -> Response:
    """End this browser's session."""
    form = await sent_form(request)
    if who:
        async with db.installation() as conn:
            await sessions.end(conn, who.user.id, who.session_id)
    answer = see(request, own_path(form.values.get("next", ""), "/login"))
    cookies.drop(request, answer, cookies.session_cookie(request.app.state.settings))
    cookies.drop(request, answer, STEP_COOKIE)
    return answer

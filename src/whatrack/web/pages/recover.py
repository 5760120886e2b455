"""Ways in by a link that works once: a forgotten password, and a sign-in that the command line printed.

A GET shows and changes nothing, for mail programs open links before people do.
"""

from contextlib import suppress

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.settings import Settings
from whatrack.tenants import emails, links, login, throttle, users
from whatrack.tenants.throttle import TooMany
from whatrack.tenants.users import Credentials, parse_email
from whatrack.web.addresses import client_address
from whatrack.web.api.caller import Db
from whatrack.web.pages import letters
from whatrack.web.pages.entrance import SECRET_ADDRESS, gone, proceed
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.state import ThePasswords, TheSealer, TheSettings

router = APIRouter()


@router.get("/forgot")
async def forgot_page(request: Request, settings: TheSettings) -> Response:
    """Where to ask for a reset link, or whom, when this installation sends no mail."""
    return page(request, "forgot.html", form=Form(), sends_mail=bool(settings.smtp_host))


@router.post("/forgot")
async def forgot(request: Request, db: Db, sealer: TheSealer, settings: TheSettings) -> Response:
    """Send a link to the address if it has an account; the answer is the same if not."""
    form = await sent_form(request)
    email = form.parsed("email", parse_email)
    if email is None or not settings.smtp_host:
        sends_mail = bool(settings.smtp_host)
        return page(request, "forgot.html", status=422, form=form, sends_mail=sends_mail)
    with suppress(TooMany):  # who asks too often hears the same, and no mail goes out
        async with db.installation() as conn:
            keys = [throttle.reset(email), throttle.origin(client_address(request), "reset")]
            await throttle.attempt(conn, keys)
        await _send_link(db, sealer, settings, email)
    text = _("Se houver uma conta com este e-mail, o link para trocar a senha chega em instantes.")
    return see(request, "/login", text)


async def _send_link(db: Database, sealer: Sealer, settings: Settings, email: str) -> None:
    async with db.installation() as conn:
        person = await users.credentials(conn, email)
        if person:
            link = settings.address + await links.make(conn, "reset", person.id)
            await emails.queue(conn, sealer, letters.reset(person.email, person.language, link))


@router.get("/reset/{token}")
async def reset_page(request: Request, db: Db, token: str) -> Response:
    """The form for a new password, as often as it is looked at."""
    person = await _whose(db, token)
    if person is None:
        return _no_reset(request)
    return page(request, "reset.html", headers=SECRET_ADDRESS, form=Form(), email=person.email)


@router.post("/reset/{token}")
async def reset(request: Request, db: Db, passwords: ThePasswords, token: str) -> Response:
    """Take the new password, use the link up, sign every browser out."""
    person = await _whose(db, token)
    if person is None:
        return _no_reset(request)
    form = await sent_form(request)
    password = form.secret("password")
    if form.ok:
        try:
            if await login.reset_password(db, passwords, token, password):
                return see(request, "/login", _("Senha trocada. Entre com a nova."))
            return _no_reset(request)
        except Refused as error:
            form.refuse(error)
    return page(request, "reset.html", status=422, headers=SECRET_ADDRESS, form=form, email=person.email)


@router.get("/enter/{token}")
async def enter_page(request: Request, db: Db, token: str) -> Response:
    """A button: the link itself signs nobody in."""
    async with db.installation() as conn:
        found = await links.find(conn, "sign_in", token)
    return page(request, "enter.html", headers=SECRET_ADDRESS) if found else _no_entry(request)


@router.post("/enter/{token}")
async def enter(request: Request, db: Db, sealer: TheSealer, token: str) -> Response:
    """Use the link up and sign its person in."""
    person = await login.by_link(db, token)
    return await proceed(request, db, sealer, person, "/") if person else _no_entry(request)


async def _whose(db: Database, token: str) -> Credentials | None:
    async with db.installation() as conn:
        link = await links.find(conn, "reset", token)
        return await users.credentials_by_id(conn, link.user_id) if link and link.user_id else None


def _no_reset(request: Request) -> Response:
    text = _("Um link para trocar a senha vale por uma hora e funciona uma vez só.")
    return gone(request, _("Este link não vale mais."), text, ask=True)


def _no_entry(request: Request) -> Response:
    text = _(
        "Um link de entrada vale por uma hora e funciona uma vez só. Peça outro a quem opera a instalação."
    )
    return gone(request, _("Este link não vale mais."), text)

"""Two-step sign-in on one's own account: turn on by scanning and typing one code, recovery codes, turn off."""

from typing import Any

import segno
from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants import login, two_step
from whatrack.tenants.passwords import Passwords
from whatrack.tenants.sessions import Visitor
from whatrack.tenants.throttle import TooMany
from whatrack.web.addresses import client_address
from whatrack.web.api.caller import Db
from whatrack.web.pages.entrance import wait
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import SignedIn
from whatrack.web.state import ThePasswords, TheSealer

router = APIRouter(prefix="/account/two-step")

# Between showing the key and the first code of it, nothing is kept here: the form carries the key, sealed.
PURPOSE, WITHIN_S = "new second step", 3600


@router.get("")
async def two_step_page(request: Request, db: Db, sealer: TheSealer, who: SignedIn) -> Response:
    """What there is: a key to scan, or how many recovery codes are left."""
    if who.user.has_totp:
        return page(request, "two-step.html", form=Form(), left=await _codes_left(db, who))
    return _offer(request, sealer, who, two_step.new_secret(), Form(), 200)


@router.post("")
async def turn_on(request: Request, db: Db, sealer: TheSealer, who: SignedIn) -> Response:
    """The first code proves that the app has the key; the recovery codes are shown this once."""
    form = await sent_form(request)
    code = form.text("code", most=60)
    sealed = sealer.read_token(PURPOSE, form.values.get("key", ""), within_s=WITHIN_S) or ""
    owner, _mark, secret = sealed.partition(":")
    if who.user.has_totp or owner != str(who.user.id):
        return see(request, "/account/two-step")
    if form.ok:
        codes = await login.turn_on_second_step(db, sealer, who.user.id, secret=secret, code=code)
        if codes:
            return page(request, "recovery-codes.html", codes=codes)
        form.wrong(
            "code", _("Este código não confere. Veja se o relógio do celular está certo e tente o próximo.")
        )
    return _offer(request, sealer, who, secret, form, 422)


@router.post("/codes")
async def renew(
    request: Request, db: Db, sealer: TheSealer, passwords: ThePasswords, who: SignedIn
) -> Response:
    """Ten other recovery codes."""
    refused = await _confirmed(request, db, sealer, passwords, who)
    if refused:
        return refused
    return page(request, "recovery-codes.html", codes=await login.renew_recovery_codes(db, who.user.id))


@router.post("/off")
async def turn_off(
    request: Request, db: Db, sealer: TheSealer, passwords: ThePasswords, who: SignedIn
) -> Response:
    """The password alone from now on."""
    refused = await _confirmed(request, db, sealer, passwords, who)
    if refused:
        return refused
    await login.turn_off_second_step(db, who.user.id)
    return see(request, "/account", _("A verificação em duas etapas está desligada."))


@router.get("/codes")
@router.get("/off")
async def back(request: Request) -> Response:
    """A form's address, opened as a page: the page that holds the form."""
    return see(request, "/account/two-step")


async def _confirmed(
    request: Request, db: Database, sealer: Sealer, passwords: Passwords, who: Visitor
) -> Response | None:
    """None when password and code are right; else the form with what was wrong. A wrong password costs no code."""
    form = await sent_form(request)
    current = form.secret("current") if who.user.has_password else ""
    code = form.text("code", most=60)
    left = await _codes_left(db, who)
    if form.ok:
        address = client_address(request)
        try:
            if who.user.has_password:
                await login.confirm_password(db, passwords, who, current, address)
            if await login.by_code(db, sealer, who.user.id, code, address):
                return None
            form.wrong("code", _("Este código não vale, ou já foi usado. Espere o próximo do aplicativo."))
        except TooMany as error:
            return wait(request, "two-step.html", form, error, left=left)
        except Refused as error:
            form.refuse(error)
    return page(request, "two-step.html", status=422, form=form, left=left)


async def _codes_left(db: Database, who: Visitor) -> int:
    async with db.installation() as conn:
        return await two_step.codes_left(conn, who.user.id)


def _offer(request: Request, sealer: Sealer, who: Visitor, secret: str, form: Form, status: int) -> Response:
    link = two_step.app_link(secret, who.user.email)
    drawn = segno.make(link, error="m").svg_inline(
        svgclass="size-48", lineclass=None, omitsize=True, dark="#000", light="#fff"
    )
    context: dict[str, Any] = {
        "qr": Markup(drawn),  # noqa: S704 - segno draws squares; the text in it is not repeated
        "link": link,
        "secret": " ".join(secret[place : place + 4] for place in range(0, len(secret), 4)),
        "key": sealer.token(PURPOSE, f"{who.user.id}:{secret}"),
    }
    return page(request, "two-step-on.html", status=status, form=form, **context)

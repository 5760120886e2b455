"""The first start: whoever holds the link that `whatrack serve` printed makes the first account and organization."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack import flow
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants import links, users
from whatrack.tenants.organizations import Organization
from whatrack.tenants.passwords import check_new
from whatrack.tenants.users import NewPerson, parse_email
from whatrack.units import new_id
from whatrack.web.addresses import place
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n
from whatrack.web.pages.entrance import SECRET_ADDRESS, gone, let_in
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.places import CURRENCIES, currencies, zone_names, zones
from whatrack.web.pages.render import page
from whatrack.web.state import ThePasswords

router = APIRouter()


@router.get("/setup/{token}")
async def setup_page(request: Request, db: Db, token: str) -> Response:
    """The form, as often as it is looked at."""
    if not await _works(db, token):
        return _gone(request)
    return _form(request, Form(timezone="America/Sao_Paulo", currency="BRL"), 200)


@router.post("/setup/{token}")
async def set_up(request: Request, db: Db, passwords: ThePasswords, token: str) -> Response:
    """Make the operator's account and the first organization, and sign in."""
    if not await _works(db, token):
        return _gone(request)
    form = await sent_form(request)
    name, email = form.line("name", most=120), form.parsed("email", parse_email)
    password = form.secret("password")
    organization = Organization(
        id=new_id(),
        name=form.line("organization"),
        slug="",
        timezone=form.choice("timezone", zone_names()),
        base_currency=form.choice("currency", CURRENCIES),
    )
    try:
        if form.ok and email:
            check_new(password, email=email, name=name)
            person = NewPerson(email, name, await passwords.hash(password), i18n.language.get())
            session = await flow.set_up(db, token, place(request), organization=organization, person=person)
            if session is None:
                return _gone(request)
            return let_in(request, session, "/", _("Tudo pronto. Boas-vindas ao WhaTrack."))
    except Refused as error:
        form.refuse(error)
    return _form(request, form, 422)


async def _works(db: Database, token: str) -> bool:
    async with db.installation() as conn:
        return bool(await links.find(conn, "setup", token)) and not await users.there_are_any(conn)


def _form(request: Request, form: Form, status: int) -> Response:
    choices: dict[str, Any] = {"zones": zones(), "currencies": currencies()}
    return page(request, "setup.html", status=status, headers=SECRET_ADDRESS, form=form, **choices)


def _gone(request: Request) -> Response:
    text = _(
        "O link de instalação vale por 24 horas e funciona uma vez só. Reinicie o servidor para ver outro."
    )
    return gone(request, _("Este link não vale mais."), text)

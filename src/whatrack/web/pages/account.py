"""A person's own account: name, language, theme, password, and the browsers that are signed in."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack import db as database
from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.tenants import login, sessions, users
from whatrack.tenants.sessions import Visitor
from whatrack.tenants.throttle import TooMany
from whatrack.web import cookies
from whatrack.web.addresses import client_address
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n
from whatrack.web.pages.entrance import wait
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import LANGUAGES, _
from whatrack.web.pages.render import THEME_COOKIE, THEMES, page, see
from whatrack.web.pages.visitor import SignedIn
from whatrack.web.state import ThePasswords

router = APIRouter(prefix="/account")

BROWSERS = (("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox"), ("FxiOS", "Firefox"),
            ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"))  # fmt: skip
SYSTEMS = (("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
           ("CrOS", "ChromeOS"), ("Linux", "Linux"))  # fmt: skip


@router.get("")
async def account_page(request: Request, db: Db, who: SignedIn) -> Response:
    """Everything about the account."""
    return page(request, "account.html", **await _known(db, who))


@router.post("")
async def save(request: Request, db: Db, who: SignedIn) -> Response:
    """Take over name, language and theme."""
    form = await sent_form(request)
    name = form.line("name", most=120)
    language = form.choice("language", LANGUAGES, required=False)
    theme = form.choice("theme", THEMES, required=False)
    if not form.ok:
        return page(request, "account.html", status=422, **{**await _known(db, who), "profile": form})
    async with db.installation() as conn:
        await users.set_profile(conn, who.user.id, name=name, language=language or None, theme=theme or None)
    i18n.language.set(language or i18n.language.get())
    answer = see(request, "/account", _("Salvo."))
    for cookie, value in ((i18n.COOKIE, language), (THEME_COOKIE, theme)):
        if value:
            cookies.put(request, answer, cookie, value, seconds=cookies.YEAR_S)
        else:
            cookies.drop(request, answer, cookie)
    return answer


@router.post("/password")
async def change_password(request: Request, db: Db, passwords: ThePasswords, who: SignedIn) -> Response:
    """Another password, for who knows the present one; every other browser is signed out."""
    form = await sent_form(request)
    current = form.secret("current") if who.user.has_password else ""
    password = form.secret("password")
    context: dict[str, Any] = {**await _known(db, who), "secrets": form}
    if form.ok:
        try:
            if who.user.has_password:
                address = client_address(request)
                await login.confirm_password(db, passwords, who, current, address)
            await login.change_password(db, passwords, who, password)
        except TooMany as error:
            return wait(request, "account.html", form, error, **context)
        except Refused as error:
            form.refuse(error)
        else:
            return see(request, "/account", _("Senha trocada. Os outros navegadores saíram da conta."))
    return page(request, "account.html", status=422, **context)


@router.post("/sessions/others/end")
async def end_others(request: Request, db: Db, who: SignedIn) -> Response:
    """Sign every other browser out."""
    async with db.installation() as conn:
        await sessions.end_others(conn, who.user.id, who.session_id)
    return see(request, "/account", _("Os outros navegadores saíram da conta."))


@router.post("/sessions/{session_id}/end")
async def end_session(request: Request, db: Db, who: SignedIn, session_id: UUID) -> Response:
    """Sign one browser out."""
    async with db.installation() as conn:
        await sessions.end(conn, who.user.id, session_id)
    return see(request, "/account", _("Aquele navegador saiu da conta."))


@router.get("/password")
async def back(request: Request) -> Response:
    """A form's address, opened as a page: the page that holds the form."""
    return see(request, "/account")


async def _known(db: Database, who: Visitor) -> dict[str, Any]:
    async with db.installation() as conn:
        signed_in = await sessions.of_user(conn, who.user.id)
        now = await database.now(conn)
    user = who.user
    return {
        "profile": Form(name=user.name, language=user.language or "", theme=user.theme or ""),
        "secrets": Form(),
        "sessions": [(each, browser_name(each.agent), each.id == who.session_id) for each in signed_in],
        "now": now,
    }


def browser_name(agent: str) -> str:
    """What a browser calls itself, as people do: 'Chrome · Windows'."""
    found = [next((name for mark, name in marks if mark in agent), None) for marks in (BROWSERS, SYSTEMS)]
    return " · ".join(name for name in found if name) or agent[:40] or _("Navegador desconhecido")

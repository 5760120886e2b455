"""What every way in has in common: the second step where there is one, the session, the cookies, the wait."""

import hashlib
from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from babel.dates import format_timedelta
from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.tenants import login, users
from whatrack.tenants.throttle import TooMany
from whatrack.tenants.users import Credentials
from whatrack.web import cookies
from whatrack.web.addresses import place
from whatrack.web.pages import i18n
from whatrack.web.pages.forms import Form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import THEME_COOKIE, page, see

# Who passed the first step, for as long as it takes to fetch a phone. No session: it opens nothing but the second.
STEP_COOKIE, STEP_S, STEP = "second-step", 600, "second step"
# A page whose address opens an account tells nobody its path. Not `no-referrer`: browsers then send `Origin: null` with
# its form, which without https is all that tells our own form from another site's.
# Source: Fetch Standard, "append a request Origin header", https://fetch.spec.whatwg.org, read 2026-11-23.
SECRET_ADDRESS = {"Referrer-Policy": "strict-origin"}


async def proceed(
    request: Request, db: Database, sealer: Sealer, person: Credentials, onward: str
) -> Response:
    """Who showed a password or a link goes on: to the second step when they have one, else in."""
    if not person.has_totp:
        return await admit(request, db, person, onward)
    answer = see(request, "/login/code?" + urlencode({"next": onward}))
    token = sealer.token(STEP, f"{person.id}:{_fingerprint(person)}")
    cookies.put(request, answer, STEP_COOKIE, token, seconds=STEP_S)
    return answer


async def passed_first_step(request: Request, db: Database, sealer: Sealer) -> Credentials | None:
    """Who is between the two steps in this browser; None after ten minutes, or once the password changed."""
    token = request.cookies.get(STEP_COOKIE, "")
    text = sealer.read_token(STEP, token, within_s=STEP_S)
    if text is None:
        return None
    user_id, _, fingerprint = text.partition(":")
    async with db.installation() as conn:
        person = await users.credentials_by_id(conn, UUID(user_id))
    return person if person and _fingerprint(person) == fingerprint else None


async def admit(request: Request, db: Database, person: Credentials, onward: str) -> Response:
    """Begin the session and go on, in the language and theme that the person chose."""
    token = await login.enter(db, person.id, place(request))
    answer = let_in(request, token, onward)
    if person.language:
        cookies.put(request, answer, i18n.COOKIE, person.language, seconds=cookies.YEAR_S)
    if person.theme:
        cookies.put(request, answer, THEME_COOKIE, person.theme, seconds=cookies.YEAR_S)
    return answer


def let_in(request: Request, token: str, onward: str, notice: str = "") -> Response:
    """The answer that carries a new session's token."""
    answer = see(request, onward, notice)
    cookies.keep_session(request, answer, token)
    cookies.drop(request, answer, STEP_COOKIE)
    return answer


def wait(request: Request, template: str, form: Form, error: TooMany, **context: object) -> Response:
    """The same form with how long to wait: 429."""
    pause = format_timedelta(timedelta(seconds=error.wait_s), locale=i18n.language.get(), threshold=2)
    form.general = _("Muitas tentativas. Espere %(pause)s e tente de novo.", pause=pause)
    headers = {"Retry-After": str(error.wait_s)}
    return page(request, template, status=429, headers=headers, form=form, **context)


def gone(request: Request, title: str, text: str, *, ask: bool = False) -> HTMLResponse:
    """A link that no longer works: 404, and what to do. ask: a new one may be asked for here."""
    return page(request, "gone.html", status=404, headers=SECRET_ADDRESS, title=title, text=text, ask=ask)


def _fingerprint(person: Credentials) -> str:
    return hashlib.sha256((person.password_hash or "").encode()).hexdigest()[:16]

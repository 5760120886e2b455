"""/api/v1/meta-ads/connect and /callback: the two addresses a browser passes on its way to Facebook and back.

Whatever happens there, a person ends on the settings page, which says what it was.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from whatrack.errors import Refused
from whatrack.web.connect import Desk
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import VARY, see
from whatrack.web.pages.visitor import MaybeVisitor

router = APIRouter(prefix="/api/v1/meta-ads", tags=["meta-ads"])
SETTINGS = "/settings/meta"
GOES_ON: dict[int | str, dict[str, Any]] = {
    303: {"description": "To the settings page, which says what happened."}
}

MOST_CHARS = 4000  # of a code; Meta's have some hundreds


@router.get("/connect", status_code=302, response_class=RedirectResponse, responses=GOES_ON)
async def connect(request: Request, visitor: MaybeVisitor, again: bool = False) -> Response:
    """Send the browser to the login dialog. again: ask once more for the permissions that were declined."""
    if visitor is None or visitor.access is None:
        return _to_sign_in(request)
    desk = Desk(request, visitor.access)
    try:
        return RedirectResponse(await desk.dialog(again=again), 302, VARY)
    except Refused as error:
        return see(request, f"{SETTINGS}?problem={error.code}")


@router.get("/callback", status_code=303, response_class=RedirectResponse, responses=GOES_ON)
async def callback(
    request: Request, visitor: MaybeVisitor, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Take the dialog's answer: a code, or that the person cancelled."""
    if visitor is None or visitor.access is None:
        return _to_sign_in(request)
    desk = Desk(request, visitor.access)
    try:
        if error or not 0 < len(code) <= MOST_CHARS:
            await desk.use_up(state)
            reason = "login_cancelled" if error == "access_denied" else "login_failed"
            return see(request, f"{SETTINGS}?problem={reason}")
        found = await desk.by_code(code, state)
    except Refused as refused:
        return see(request, f"{SETTINGS}?problem={refused.code}")
    seen = ngettext(
        "%(num)s conta de anúncio visível.", "%(num)s contas de anúncio visíveis.", found.accounts
    )
    text = _("Perfil %(name)s conectado.", name=found.fb_user_name)
    return see(request, SETTINGS, f"{text} {seen}" if found.listed_at else text)


def _to_sign_in(request: Request) -> Response:
    return see(request, f"/login?next={SETTINGS}")

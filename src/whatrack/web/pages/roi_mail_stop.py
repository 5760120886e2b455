"""The address in each of the morning's letters that stops the next ones: without signing in, for its token is the secret.

Looking changes nothing, for mail programs open links before people do. A person presses the button, a mail program posts
by itself (RFC 8058); both as often as they like.
"""

from uuid import UUID

from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.db import Database
from whatrack.errors import NotFound
from whatrack.roi import secret_links, subscriptions
from whatrack.roi.subscriptions import STOP, Addressee
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n
from whatrack.web.pages.entrance import SECRET_ADDRESS
from whatrack.web.pages.i18n import _
from whatrack.web.pages.letters import written_in
from whatrack.web.pages.render import page

router = APIRouter()
PRIVATE = {"X-Robots-Tag": "noindex, nofollow", **SECRET_ADDRESS}


@router.get(STOP + "{token}")
async def show(request: Request, db: Db, token: str) -> Response:
    """Whom the letters go to, about what, and the button that stops them."""
    return await _answered(request, db, token, stop=False)


@router.post(STOP + "{token}")
async def stop(request: Request, db: Db, token: str) -> Response:
    """Send no more of them. Idempotent; what the body says does not matter."""
    return await _answered(request, db, token, stop=True)


async def _answered(request: Request, db: Database, token: str, *, stop: bool) -> Response:
    try:
        organization_id = secret_links.organization_of(token)
        found = await _found(db, organization_id, token, stop=stop)
    except NotFound:
        title, text = _("Este link não funciona mais"), _("Entre e veja em E-mail diário se ele está ligado.")
        return page(request, "gone.html", status=404, headers=PRIVATE, title=title, text=text, ask=False)
    with written_in(None if i18n.chosen(request) else found.language):
        return page(request, "roi_mail_stop.html", headers=PRIVATE, found=found)


async def _found(db: Database, organization_id: UUID, token: str, *, stop: bool) -> Addressee:
    """Whom the letter went to, as things are then."""
    async with db.tenant(organization_id) as conn:
        found = await subscriptions.of_letter(conn, organization_id, token)
        if stop and found.is_on:
            await subscriptions.unsubscribe(conn, organization_id, found.user_id)
            found = await subscriptions.of_letter(conn, organization_id, token)
    return found

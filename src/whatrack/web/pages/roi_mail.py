"""The morning's mail: ask for it, or ask for it no more."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack.roi import subscriptions
from whatrack.web.api.caller import Db
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Member, SignedIn
from whatrack.web.state import TheSettings

router = APIRouter(prefix="/roi/mail")

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Member, visitor: SignedIn, settings: TheSettings) -> Response:
    """What the mail holds, when it comes, and whether it does."""
    async with db.tenant(who.organization_id) as conn:
        on = await subscriptions.is_subscribed(conn, who.organization_id, visitor.user.id)
    return page(request, "roi_mail.html", on=on, sends=bool(settings.smtp_host), to=visitor.user.email)


@router.post("")
async def decide(
    request: Request, db: Db, who: Member, visitor: SignedIn, settings: TheSettings, form: Sent
) -> Response:
    """Turn it on or off."""
    wanted = form.values.get("on") == "yes"
    async with db.tenant(who.organization_id) as conn:
        change = subscriptions.subscribe if wanted else subscriptions.unsubscribe
        await change(conn, who.organization_id, visitor.user.id)
    if not wanted:
        told = _("Você não recebe mais o e-mail diário.")
    elif settings.smtp_host:
        told = _("O próximo chega às 8 h.")
    else:
        told = _("Anotado. Ele começa a chegar quando quem opera a instalação definir SMTP_HOST.")
    return see(request, "/roi/mail", told)

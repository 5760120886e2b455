"""A WhatsApp number by its token: read at Meta, subscribed, live at once, and what waited for it processed."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import flow
from whatrack.connections import number_login
from whatrack.connections.refusals import answered
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.errors import Refused
from whatrack.web.api.caller import Db
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin
from whatrack.web.state import TheGraph, TheKeys

router = APIRouter(prefix="/settings/numbers/new")
FIELDS = ("token", "phone_number_id", "waba_id")

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, who: Admin) -> Response:
    """The form."""
    return page(request, "number_new.html", form=Form())


@router.post("")
async def add(request: Request, db: Db, graph: TheGraph, keys: TheKeys, who: Admin, form: Sent) -> Response:
    """Connect the number, or say why not."""
    token = form.secret("token").strip()
    number_id = form.line("phone_number_id", most=40)
    waba_id = form.line("waba_id", required=False, most=40) or None
    if form.ok:
        try:
            async with answered("token"):
                proved = await number_login.prove(graph, keys, token, number_id, waba_id)
            number = WhatsappNumber(
                who.organization_id, proved.phone_number_id, proved.waba_id, proved.display_phone
            )
            released = await flow.register_number(db, number, proved, actor=who.actor)
        except Refused as error:
            if error.code == "number_taken":
                error.field = "phone_number_id"
            form.refuse(error, FIELDS)
        else:
            return see(
                request, "/settings/numbers", _said(proved.display_phone, released, proved.proof is None)
            )
    return page(request, "number_new.html", status=422, form=form)


def _said(phone: str, released: int, of_other_app: bool) -> str:
    text = _("Número %(phone)s conectado e recebendo.", phone=phone)
    if released:
        text += " " + ngettext(
            "%(num)s entrega saiu da quarentena.", "%(num)s entregas saíram da quarentena.", released
        )
    if of_other_app:
        text += " " + _(
            "Atenção: o token é de outro aplicativo da Meta, e o que a Meta manda para ele não chega aqui."
        )
    return text

"""Settings of conversions: a sale confirmed from the phone, tried on past messages first; test codes of datasets."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack.conversions import settings
from whatrack.conversions.settings import Preview, SaleRule
from whatrack.errors import Refused
from whatrack.tenants.access import Access
from whatrack.tickets import stages
from whatrack.web.api.caller import Db
from whatrack.web.pages import event_words
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin

router = APIRouter(prefix="/settings/conversions")
HERE = "/settings/conversions"
_CODE = re.compile(r"[A-Za-z0-9_-]{0,40}", re.ASCII)
_DATASET = re.compile(r"[0-9]{1,64}", re.ASCII)

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Admin) -> Response:
    """The rule as it is."""
    return await _show(request, db, who)


@router.post("/sale")
async def save_sale(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """Try the phrase on past messages, switch the rule on with the phrase that was tried, or off."""
    phrase = form.line("phrase", most=80)
    step = form.choice("step", ("try", "on", "off"))
    tried = form.line("tried", required=False, most=80)
    if form.ok and len(phrase) < 3:
        form.wrong("phrase", _("Use pelo menos 3 letras."))
    if not form.ok:
        return await _show(request, db, who, form=form, status=422)
    if step == "on" and tried != phrase:
        form.wrong("phrase", _("Esta frase ainda não foi testada: veja abaixo o que ela teria feito."))
    if step == "try" or not form.ok:
        async with db.tenant(who.organization_id) as conn:
            preview = await settings.preview(conn, who.organization_id, phrase)
        return await _show(request, db, who, form=form, preview=preview, status=422 if form.errors else 200)
    try:
        async with db.tenant(who.organization_id) as conn:
            await settings.save_sale_rule(conn, who, SaleRule(phrase, step == "on"))
    except Refused as error:
        form.refuse(error, ("phrase",))
        return await _show(request, db, who, form=form, status=422)
    return see(request, HERE, _("Ligado.") if step == "on" else _("Desligado."))


@router.post("/test-code")
async def save_code(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """Set or take away a dataset's test code."""
    dataset = form.text("dataset", most=64)
    code = form.text("code", required=False, most=40)
    if dataset and not _DATASET.fullmatch(dataset):
        form.wrong("dataset", _("Use só os números do dataset."))
    if not _CODE.fullmatch(code):
        form.wrong("code", _("Copie o código como o Gerenciador de Eventos o mostra, por exemplo TEST12345."))
    if not form.ok:
        return await _show(request, db, who, code_form=form, status=422)
    async with db.tenant(who.organization_id) as conn:
        await settings.set_test_code(conn, who, dataset, code)
    return see(request, HERE, _("Código de teste salvo.") if code else _("Código de teste removido."))


async def _show(
    request: Request,
    db: Db,
    who: Access,
    *,
    form: Form | None = None,
    code_form: Form | None = None,
    preview: Preview | None = None,
    status: int = 200,
) -> Response:
    async with db.tenant(who.organization_id) as conn:
        rule = await settings.sale_rule(conn, who.organization_id)
        codes = await settings.test_codes(conn, who.organization_id)
        held = await stages.all_stages(conn, who.organization_id)
    context: dict[str, Any] = {"rule": rule, "codes": codes, "stages": held, "preview": preview}
    return page(
        request,
        "conversions.html",
        status=status,
        form=form or Form(None, phrase=rule.phrase),
        code_form=code_form or Form(),
        words=event_words,
        **context,
    )

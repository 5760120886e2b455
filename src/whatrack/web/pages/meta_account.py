"""One ad account: turn it on or off, choose where its conversions go. A page, and with JavaScript a dialog on the list."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack import flow_connections
from whatrack.connections import ad_accounts, config, datasets, tokens
from whatrack.connections.ad_accounts import AdAccount
from whatrack.connections.datasets import Dataset
from whatrack.connections.refusals import answered
from whatrack.connections.tokens import Overview
from whatrack.errors import Refused
from whatrack.web.addresses import own_path
from whatrack.web.connect import Desk
from whatrack.web.pages import meta_words
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.meta_ads import HERE, switched
from whatrack.web.pages.render import page, see
from whatrack.web.pages.visitor import Admin
from whatrack.web.pages.words import said

router = APIRouter(prefix="/settings/meta/accounts")
LIST_WITHIN_S = 6.0
OWN, OTHER = "own", "other"
FIELDS = ("pixel_id", "other", "confirmed")

Sent = Annotated[Form, Depends(sent_form)]


@router.get("/{account_id}")
async def show(request: Request, who: Admin, account_id: str, back: str = "") -> Response:
    """The account, with the datasets to choose from as Meta tells now."""
    desk = Desk(request, who)
    found, overview = await _known(desk, account_id)
    start = Form(
        pixel_id=found.pixel_id or OWN,
        version=found.version,
        back=_back(back),
        confirmed="yes" if found.pixel_confirmed else None,
    )
    return await _question(request, desk, found, overview, start, status=200)


@router.post("/{account_id}")
async def save(request: Request, who: Admin, account_id: str, form: Sent) -> Response:
    """Take the decision over: on, with this dataset."""
    desk = Desk(request, who)
    found, overview = await _known(desk, account_id)
    chosen = form.values.get("pixel_id", OWN)
    if chosen == OTHER:
        chosen = form.line("other", most=40)
    form.values = {
        "other": "",
        "version": str(found.version),
        **form.values,
        "back": _back(form.values.get("back", "")),
    }
    if form.ok:
        asked = config.Change(
            is_active=True,
            pixel_id=None if chosen == OWN else chosen,
            confirmed=form.checked("confirmed"),
            version=form.whole("version", 1, 2**31 - 1),
        )
        try:
            await _change(desk, found, overview, asked)
        except Refused as error:
            _refuse(form, error)
        else:
            return see(request, form.values["back"], switched(found.ad_account_name, is_on=True))
    return await _question(request, desk, found, overview, form, status=422)


@router.post("/{account_id}/off")
async def turn_off(request: Request, who: Admin, account_id: str, form: Sent) -> Response:
    """Turn the account off; its dataset stays chosen."""
    desk = Desk(request, who)
    back = _back(form.values.get("back", ""))
    version = form.whole("version", 1, 2**31 - 1)
    asked = config.Change(is_active=False, keep_pixel=True, version=version)
    try:
        changed = await flow_connections.account_update(
            desk.db, desk.graph, desk.keys, who, account_id, asked
        )
    except Refused as error:
        mark = "&" if "?" in back else "?"
        return see(request, f"{back}{mark}problem={error.code}")
    return see(request, back, switched(changed.ad_account_name, is_on=False))


async def _change(desk: Desk, found: AdAccount, overview: Overview, asked: config.Change) -> None:
    """Carry it out, unless the dataset is not linked to the WhatsApp and nobody said that they know."""
    linked = datasets.own_datasets(overview.facts)
    if asked.pixel_id and asked.pixel_id not in linked and not asked.confirmed:
        # It is checked first, so that a wrong id is told as one.
        async with desk.db.tenant(desk.access.organization_id) as conn:
            facts = await tokens.facts(conn, desk.access.organization_id)
        async with answered("pixel_id"):
            await datasets.recognised(desk.db, desk.graph, desk.keys, found, facts, asked.pixel_id)
        raise Refused("pixel_unconfirmed", "Confirm the unlinked dataset.", status=422, field="confirmed")
    await flow_connections.account_update(
        desk.db, desk.graph, desk.keys, desk.access, found.ad_account_id, asked
    )


def _refuse(form: Form, error: Refused) -> None:
    """Say it beside the field where the id was typed."""
    if error.field == "pixel_id" and form.values.get("pixel_id") == OTHER:
        form.wrong("other", said(error))
    else:
        form.refuse(error, FIELDS)


async def _known(desk: Desk, account_id: str) -> tuple[AdAccount, Overview]:
    organization = desk.access.organization_id
    async with desk.db.tenant(organization) as conn:
        found = await ad_accounts.one(conn, organization, account_id)
        return found, await tokens.overview(conn, organization, [found])


async def _question(
    request: Request, desk: Desk, found: AdAccount, overview: Overview, form: Form, *, status: int
) -> Response:
    listed, trouble = await _listed(desk, found, overview)
    context: dict[str, Any] = {
        "account": found,
        "datasets": listed,
        "trouble": trouble,
        "form": form,
        "overview": overview,
        "own_unknown": any(not each.dataset_id for each in overview.facts.numbers),
        "missing": meta_words.missing,
        "reason": meta_words.reason,
        "own": OWN,
        "other": OTHER,
    }
    headers = {"HX-Retarget": "#dialog", "HX-Reswap": "innerHTML", "HX-Trigger": '{"wt:dialog":""}'}
    return page(
        request, "meta_account.html", "_/meta_account.html", status=status, headers=headers, **context
    )


async def _listed(desk: Desk, found: AdAccount, overview: Overview) -> tuple[list[Dataset], str]:
    """(the datasets besides the WhatsApp's own, why Meta did not tell). One that was chosen before is always among them."""
    trouble = ""
    try:
        async with answered(within_s=LIST_WITHIN_S):
            listed = await datasets.of_account(desk.db, desk.graph, desk.keys, found, overview.facts)
    except Refused as error:
        listed, trouble = [], said(error)
    known = {each.id for each in listed}
    if found.pixel_id and found.pixel_id not in known:
        own = datasets.own_datasets(overview.facts)
        waba_id = own.get(found.pixel_id)
        listed.append(Dataset(found.pixel_id, found.pixel_name or "", waba_id is not None, waba_id))
    return listed, trouble


def _back(text: str) -> str:
    """The list as it was filtered; anything else becomes the list."""
    path = own_path(text, HERE)
    return path if path.partition("?")[0] == HERE else HERE

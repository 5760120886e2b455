"""What ads and sales cost beside the media, and the ROAS that is aimed at: Meta's tax, fees, the product."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from whatrack.connections import ad_accounts
from whatrack.connections.ad_accounts import Search
from whatrack.db import Connection
from whatrack.errors import NotFound, Refused
from whatrack.roi import costs, looks, metrics
from whatrack.roi.costs import Cost
from whatrack.tenants import organizations
from whatrack.tenants.access import Access
from whatrack.web.addresses import own_path
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_page, values
from whatrack.web.pages.forms import Form, sent_form
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import page, percent, see
from whatrack.web.pages.visitor import Admin, Member

router = APIRouter(prefix="/settings/costs")
HERE = "/settings/costs"
KINDS = {
    "meta_tax": marked("Imposto da Meta"),
    "fee": marked("Taxas da venda"),
    "product": marked("Custo do produto"),
}
FIELDS = ("rate", "fixed", "since", "until", "label", "ad_account_id")

Sent = Annotated[Form, Depends(sent_form)]


@router.get("")
async def show(request: Request, db: Db, who: Member) -> Response:
    """Every rule, and the forms that add one."""
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who)
    return page(request, "costs.html", **context, form=_target_form(context))


@router.get("/new")
async def new(request: Request, db: Db, who: Admin, kind: str = "meta_tax") -> Response:
    """The form that adds a rule."""
    chosen = kind if kind in KINDS else "meta_tax"
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who)
    start = Form(kind=chosen, rate=values.as_share(costs.BRAZIL) if chosen == "meta_tax" else "")
    return page(request, "cost.html", **context, cost=None, form=start, of=chosen)


@router.post("/new")
async def add(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """Add a rule."""
    return await _put(request, db, who, form, None)


@router.post("/tax")
async def answer(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """The first visit's question: Brazil's tax, or none. Either is a rule, so that it is not asked again."""
    rate = costs.BRAZIL if form.values.get("answer") == "brazil" else Decimal(0)
    since = date(2026, 1, 1) if rate else None
    async with db.tenant(who.organization_id) as conn:
        if not any(each.kind == "meta_tax" for each in await costs.listed(conn, who.organization_id)):
            await costs.put(conn, who.organization_id, Cost("meta_tax", rate, since=since), actor=who.actor)
    back = own_path(form.values.get("back", ""), "/roi")
    if not rate:
        return see(request, back, _("Sem imposto. Dá para mudar em Custos e meta."))
    told = _(
        "Imposto de %(rate)s da fatura, %(more)s sobre a mídia.", rate=percent(rate, 2), more=on_media(rate)
    )
    return see(request, back, told)


@router.post("/target")
async def aim(request: Request, db: Db, who: Admin, form: Sent) -> Response:
    """The ROAS that is aimed at; nothing typed: none."""
    wanted = form.parsed("target", values.money_in("x")) if form.values.get("target", "").strip() else None
    if wanted is not None and wanted > Decimal("999999.99"):
        form.wrong("target", _("Este valor é grande demais."))
    async with db.tenant(who.organization_id) as conn:
        if form.ok:
            await looks.set_target(conn, who, wanted)
            told = _("Meta guardada.") if wanted else _("Sem meta: só o equilíbrio conta.")
            return see(request, HERE, told)
        context = await _known(conn, who)
    return page(request, "costs.html", status=422, **context, form=form)


@router.get("/{cost_id}")
async def show_one(request: Request, db: Db, who: Admin, cost_id: UUID) -> Response:
    """One rule, to change it or give it an end."""
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who)
    cost = _one(context["rules"], cost_id)
    form = Form(
        kind=cost.kind,
        label=cost.label,
        rate=values.as_share(cost.rate),
        fixed=values.as_typed(cost.fixed) if cost.fixed else "",
        since=cost.since,
        until=cost.until,
        ad_account_id=cost.ad_account_id,
    )
    return page(request, "cost.html", **context, cost=cost, form=form, of=cost.kind)


@router.post("/{cost_id}")
async def change(request: Request, db: Db, who: Admin, form: Sent, cost_id: UUID) -> Response:
    """Take the changes of one rule over."""
    return await _put(request, db, who, form, cost_id)


@router.post("/{cost_id}/remove")
async def remove(request: Request, db: Db, who: Admin, cost_id: UUID) -> Response:
    """Take a rule away, as if it had never been."""
    async with db.tenant(who.organization_id) as conn:
        await costs.remove(conn, who.organization_id, cost_id, actor=who.actor)
    return see(request, HERE, _("Regra removida: os relatórios já não a usam."))


async def _put(request: Request, db: Db, who: Access, form: Form, cost_id: UUID | None) -> Response:
    async with db.tenant(who.organization_id) as conn:
        context = await _known(conn, who)
        cost = _typed(form, context, cost_id)
        if form.ok:
            try:
                async with conn.transaction():
                    await costs.put(conn, who.organization_id, cost, actor=who.actor)
            except Refused as error:
                form.refuse(error, FIELDS)
    if form.ok:
        return see(request, HERE, _("Guardado. Vale para os dias escolhidos, também os que já passaram."))
    known = _one(context["rules"], cost_id) if cost_id else None
    return page(request, "cost.html", status=422, **context, cost=known, form=form, of=cost.kind)


def _typed(form: Form, context: dict[str, Any], cost_id: UUID | None) -> Cost:
    """The rule as the form has it; what is wrong is said beside its field."""
    kind = form.choice("kind", KINDS) or "meta_tax"
    rate = (
        form.parsed("rate", values.share)
        if form.values.get("rate", "").strip() or kind == "meta_tax"
        else None
    )
    fixed = None
    if kind != "meta_tax" and form.values.get("fixed", "").strip():
        fixed = form.parsed("fixed", values.money_in(context["currency"]))
    if kind != "meta_tax" and form.ok and not rate and not fixed:
        form.wrong("rate", _("Preencha a porcentagem, o valor fixo, ou os dois."))
    since, until = _optional_day(form, "since"), _optional_day(form, "until")
    if since and until and until < since:
        form.wrong("until", _("O fim não pode ser antes do início."))
    known = [each.ad_account_id for each in context["accounts"]]
    account = form.choice("ad_account_id", known, required=False) if kind == "meta_tax" else ""
    return Cost(
        kind=cast(costs.Kind, kind),
        rate=rate or Decimal(0),
        fixed=fixed or Decimal(0),
        since=since,
        until=until,
        label=form.line("label", required=False, most=60) if kind != "meta_tax" else "",
        ad_account_id=account or None,
        id=cost_id,
    )


def _target_form(context: dict[str, Any]) -> Form:
    return Form(target=values.as_typed(context["target"]))


def _optional_day(form: Form, name: str) -> date | None:
    return form.parsed(name, values.day) if form.values.get(name) else None


def _one(rules: Sequence[Cost], cost_id: UUID) -> Cost:
    found = next((each for each in rules if each.id == cost_id), None)
    if found is None:
        raise NotFound("There is no such cost.")
    return found


async def _known(conn: Connection, who: Access) -> dict[str, Any]:
    """Everything that the page shows."""
    rules = await costs.listed(conn, who.organization_id)
    accounts = await ad_accounts.page(conn, who.organization_id, Search(limit=1000))
    own = await organizations.by_id(conn, who.organization_id)
    _now, today = await roi_page.today(conn)
    sale = costs.sale_cost(rules, today)
    tax = costs.tax(rules, None, today)
    return {
        "rules": rules,
        "accounts": accounts,
        "account_names": {each.ad_account_id: each.ad_account_name for each in accounts},
        "currency": own.base_currency,
        "kinds": KINDS,
        "today": today,
        "target": await looks.target(conn, who.organization_id),
        "break_even": metrics.break_even(sale.product_rate + sale.fee_rate, tax),
        "has_fixed": bool(sale.product_fixed or sale.fee_fixed),
        "on_media": on_media,
        "may_change": who.role in ("owner", "admin"),
    }


def on_media(rate: Decimal) -> str:
    """A part of the invoice as a part of the media: 12,15 % → 13,83%."""
    return percent(rate / (1 - rate), places=2)

"""Why Meta says another number: its conversions beside ours, the difference by its causes, adding up, and the tickets of each."""

from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.db import Connection
from whatrack.errors import NotFound
from whatrack.insights import progress
from whatrack.roi import reconcile
from whatrack.roi.reconcile import LEADS, PURCHASES, Line, Reconciliation, Side
from whatrack.tenants import organizations
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_page, roi_state, roi_unknown
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import page
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_behind import SHOWN, tickets_of
from whatrack.web.pages.roi_filters import Filters
from whatrack.web.pages.roi_page import Empty
from whatrack.web.pages.visitor import Member
from whatrack.web.state import TheSettings

router = APIRouter(prefix="/roi")
HERE = "/roi/reconciliation"
BEHIND = f"{HERE}/tickets"

OURS = "ours"  # no cause: all that the difference begins with
EVENTS = marked("Ver os eventos")
# Cause → what it is called, what it means, and where something can be done about it, with what that is called.
CAUSES = {
    "organic": (marked("Não vieram de anúncio"), marked("A Meta só conta o que um anúncio dela trouxe."), "", ""),
    "unconnected": (marked("Anúncio desconhecido ou de conta não conectada"), marked("Vieram de anúncio, mas de um que não sabemos qual é ou cuja conta nenhum perfil daqui vê."), "/settings/meta", marked("Ver perfis e contas")),
    "not_owed": (marked("Nada a informar"), marked("A etapa não informa evento à Meta, ou o ticket foi ganho sem passar por ela."), "/settings/stages", marked("Ver as etapas")),
    "duplicate": (marked("O mesmo clique já informado"), marked("Outro ticket já informou o lead deste clique: seria contado duas vezes."), "", ""),
    "no_click_id": (marked("Sem identificador do clique"), marked("O anúncio não mandou o identificador do clique, como os do Status do WhatsApp: a Meta não teria a que ligar."), "", ""),
    "outside_window": (marked("Fora dos 7 dias da Meta"), marked("Quando íamos informar, o evento já era mais antigo do que a Meta aceita."), "", ""),
    "refused": (marked("Recusados ou cancelados"), marked("A Meta recusou, ou alguém desfez o movimento antes do envio."), "/events?group=failed", EVENTS),
    "waiting": (marked("A caminho"), marked("Ainda vão ser enviados, ou foram enviados depois da última leitura dos números da Meta."), "/events?group=waiting", EVENTS),
    "other_window": (marked("Outra janela de atribuição"), marked("A Meta credita até 7 dias depois do clique, e no dia do evento; aqui o último clique vale sempre."), "", ""),
    "corrected": (marked("Corrigidos aqui depois do envio"), marked("A Meta tem, e aqui a venda foi desfeita ou mudou de data ou valor depois: a Meta não é avisada."), "", ""),
    "unexplained": (marked("Não explicado"), marked("O que nenhuma causa acima explica."), "", ""),
}  # fmt: skip
OF_OURS = marked("O que a comparação toma como nosso, pela data da venda, no fuso de cada conta.")
SIDES = {
    "sales": (marked("Vendas"), marked("Compras segundo a Meta"), PURCHASES),
    "leads": (marked("Leads qualificados"), marked("Leads segundo a Meta"), LEADS),
}


class Cause(msgspec.Struct, frozen=True):
    """A line of the difference, in words. tickets: where those behind it are listed; href: where something can be done."""

    line: Line
    name: str
    text: str
    href: str
    label: str
    tickets: str = ""


@router.get("/reconciliation")
async def show(request: Request, db: Db, who: Member, settings: TheSettings) -> Response:
    """Leads and sales, each from our count down to Meta's."""
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reconcile.reconcile(conn, who.organization_id, ask, now)
        unknown = await roi_unknown.of(conn, who.organization_id, request, filters, ask, HERE)
        blank = await _blank(conn, who.organization_id, filters, found, settings.insights_days)
    sides = [
        _side("sales", found.purchases, filters, with_value=True),
        _side("leads", found.leads, filters, with_value=False),
    ]
    context = roi_page.places(filters, HERE, ask) | {"with_basis": False, "unknown": unknown, "blank": blank}
    return page(request, "roi_reconcile.html", **context, sides=sides, currency=found.currency, signed=signed)


async def _blank(
    conn: Connection, organization_id: UUID, filters: Filters, found: Reconciliation, depth: int
) -> Empty | None:
    """Why there is nothing to compare, and what to do next; None when there is something."""
    if any(side.ours or side.meta or any(line.count for line in side.lines) for side in (found.purchases, found.leads)):  # fmt: skip
        return None
    known = await roi_page.options(conn, organization_id)
    missing = roi_state.unready(
        known, roi_state.syncing(await progress.progress(conn, organization_id)), depth
    )
    if missing:
        return missing
    if not any(each.pixel_id for each in known["accounts"] if each.is_active):
        text = _("Sem vendas nem leads a comparar ainda, e nenhuma conta ligada tem um dataset escolhido. É para o dataset que informamos à Meta quem comprou.")  # fmt: skip
        return Empty("brand-meta", text, "/settings/meta", _("Escolher o dataset"))
    if filters.account or filters.profile or filters.within:
        clear = filters.to(HERE, account=(), profile=(), status=(), q=None, within=None)
        return Empty("search", _("Nada a comparar com estes filtros neste período."), clear, _("Limpar filtros"))  # fmt: skip
    if filters.period != "30":
        longer = filters.to(HERE, period="30", since=None, until=None)
        return Empty("chart-bar", _("Nenhuma venda e nenhum lead qualificado neste período."), longer, _("Ver 30 dias"))  # fmt: skip
    text = _("Nenhuma venda e nenhum lead qualificado em 30 dias, aqui ou na Meta. Mova um ticket para qualificado ou ganho: a comparação começa aí.")  # fmt: skip
    return Empty("layout-kanban", text, "/tickets", _("Ver os tickets"))


def _side(code: str, side: Side, filters: Filters, *, with_value: bool) -> dict[str, Any]:
    """One table. A cause that takes nothing away is left out; the unexplained stands there always."""
    title, theirs, _events = SIDES[code]
    lines = [
        _cause(line, code, filters)
        for line in side.lines
        if line.count or line.value or line.cause == "unexplained"
    ]
    opens = filters.to(BEHIND, side=code, cause=OURS) if side.ours else ""
    return {"title": _(title), "theirs": _(theirs), "side": side, "lines": lines, "with_value": with_value, "opens": opens}  # fmt: skip


def _cause(line: Line, code: str, filters: Filters) -> Cause:
    name, text, href, label = CAUSES[line.cause]
    tickets = "" if line.cause == "unexplained" else filters.to(BEHIND, side=code, cause=line.cause)
    return Cause(line, _(name), _(text), href, _(label) if label else "", tickets)


def signed(taken: int | Decimal, text: str) -> str:
    """What is taken from our number has a minus, what Meta has beyond it a plus. text: its size, written out."""
    return f"−{text}" if taken > 0 else f"+{text}" if taken < 0 else text


def _plain(_taken: int | Decimal, text: str) -> str:
    """Our number itself, from which nothing is taken yet."""
    return text


@router.get("/reconciliation/tickets")
async def behind(request: Request, db: Db, who: Member, side: str = "", cause: str = "") -> Response:
    """Exactly the tickets behind a line, newest first."""
    filters = filters_of(request)
    if side not in SIDES or cause not in (*CAUSES, OURS):
        raise NotFound("There is no such cause.")
    title, _theirs, events = SIDES[side]
    code = None if cause == OURS else cast(reconcile.Cause, cause)
    async with db.reading(who.organization_id) as conn:
        _now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reconcile.tickets(conn, who.organization_id, ask, events, code)
        part = found[filters.before :][:SHOWN]
        shown = await tickets_of(conn, who, [each.ticket_id for each in part])
        own = await organizations.by_id(conn, who.organization_id)
    in_money, start = side == "sales", filters.before
    sign = -1 if code == "corrected" else 1  # what Meta has beyond ours
    whole = Line(code or "unexplained", sum(each.count for each in found), sum((each.value for each in found), Decimal(0)))  # fmt: skip
    told = _cause(whole, side, filters) if code else Cause(whole, _("No WhaTrack"), _(OF_OURS), "", "")
    return page(
        request,
        "roi_cause.html",
        **roi_page.places(filters, BEHIND, ask),
        cause=told,
        signed=signed if code else _plain,
        of=_(title),
        title=_("Valor") if in_money else _("Quantidade"),
        unknown=roi_unknown.of_days(request, filters, ask, BEHIND, side=side, cause=cause),
        kept={"side": side, "cause": cause},
        home=(filters.to(HERE), _("Voltar à conciliação")),
        whole=whole,
        sum=sign * (whole.value if in_money else whole.count),
        lines=[({"at": each.at, "part": sign * (each.value if in_money else each.count)}, shown.get(each.ticket_id)) for each in part],
        in_money=in_money,
        currency=own.base_currency,
        start=start,
        next=str(start + SHOWN) if start + SHOWN < len(found) else "",
    )  # fmt: skip

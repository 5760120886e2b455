"""Why Meta says another number: its conversions beside ours, the difference by its causes, adding up."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.roi import reconcile
from whatrack.roi.reconcile import Line, Side
from whatrack.web.api.caller import Db
from whatrack.web.pages import roi_page
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.render import page
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.visitor import Member

router = APIRouter(prefix="/roi")

# Cause → what it is called, what it means, and where something can be done or seen about it.
CAUSES = {
    "organic": (marked("Não vieram de anúncio"), marked("A Meta só conta o que um anúncio dela trouxe."), ""),
    "unconnected": (marked("Anúncio desconhecido ou de conta não conectada"), marked("Vieram de anúncio, mas de um que não sabemos qual é ou cuja conta nenhum perfil daqui vê."), "/settings/meta"),
    "not_owed": (marked("Nada a informar"), marked("A etapa não informa evento à Meta, ou o ticket foi ganho sem passar por ela."), "/settings/stages"),
    "duplicate": (marked("O mesmo clique já informado"), marked("Outro ticket já informou o lead deste clique: seria contado duas vezes."), ""),
    "no_click_id": (marked("Sem identificador do clique"), marked("O anúncio não mandou o identificador do clique, como os do Status do WhatsApp: a Meta não teria a que ligar."), ""),
    "outside_window": (marked("Fora dos 7 dias da Meta"), marked("Quando íamos informar, o evento já era mais antigo do que a Meta aceita."), ""),
    "refused": (marked("Recusados ou cancelados"), marked("A Meta recusou, ou alguém desfez o movimento antes do envio."), "/events?group=failed"),
    "waiting": (marked("A caminho"), marked("Ainda vão ser enviados, ou foram enviados depois da última leitura dos números da Meta."), "/events?group=waiting"),
    "other_window": (marked("Outra janela de atribuição"), marked("A Meta credita até 7 dias depois do clique, e no dia do evento; aqui o último clique vale sempre."), ""),
    "corrected": (marked("Corrigidos aqui depois do envio"), marked("A Meta tem, e aqui a venda foi desfeita ou mudou de data ou valor depois: a Meta não é avisada."), ""),
    "unexplained": (marked("Não explicado"), marked("O que nenhuma causa acima explica."), ""),
}  # fmt: skip


class Cause(msgspec.Struct, frozen=True):
    """A line of the difference, in words."""

    line: Line
    name: str
    text: str
    href: str


@router.get("/reconciliation")
async def show(request: Request, db: Db, who: Member) -> Response:
    """Leads and sales, each from our count down to Meta's."""
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0)
        found = await reconcile.reconcile(conn, who.organization_id, ask, now)
    sides: list[dict[str, Any]] = [
        _side(_("Vendas"), _("Compras segundo a Meta"), found.purchases, with_value=True),
        _side(_("Leads qualificados"), _("Leads segundo a Meta"), found.leads, with_value=False),
    ]
    context = roi_page.places(filters, "/roi/reconciliation", ask) | {"with_basis": False}
    return page(request, "roi_reconcile.html", **context, sides=sides, currency=found.currency)


def _side(title: str, theirs: str, side: Side, *, with_value: bool) -> dict[str, Any]:
    """One table. A cause that takes nothing away is left out; the unexplained stands there always."""
    lines = [_cause(line) for line in side.lines if line.count or line.value or line.cause == "unexplained"]
    return {"title": title, "theirs": theirs, "side": side, "lines": lines, "with_value": with_value}


def _cause(line: Line) -> Cause:
    name, text, href = CAUSES[line.cause]
    return Cause(line, _(name), _(text), href)

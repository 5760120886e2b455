"""The report as a file to keep: CSV as the reader's spreadsheet opens it, and XLSX. Every row of every page."""

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import Response

from whatrack.db import Database
from whatrack.errors import Refused
from whatrack.roi import export
from whatrack.roi import report as reports
from whatrack.roi.ask import MAX_LIMIT
from whatrack.roi.report import Report
from whatrack.tenants.access import Access
from whatrack.web.api.caller import Db
from whatrack.web.pages import i18n, roi_page, roi_unknown
from whatrack.web.pages.i18n import _, marked
from whatrack.web.pages.roi import filters_of
from whatrack.web.pages.roi_columns import COLUMNS
from whatrack.web.pages.roi_figures import SPECIAL_NAMES, STATUSES
from whatrack.web.pages.roi_filters import HERE
from whatrack.web.pages.visitor import Member

router = APIRouter(prefix="/roi")

CSV = "text/csv; charset=utf-8"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
# What the columns beside the figures are called.
TITLES = {
    "kind": marked("Tipo"),
    "id": marked("ID"),
    "name": marked("Nome"),
    "status": marked("Situação"),
    "account_id": marked("ID da conta"),
    "account_name": marked("Conta"),
    "campaign_id": marked("ID da campanha"),
    "campaign_name": marked("Campanha"),
    "adset_id": marked("ID do conjunto"),
    "adset_name": marked("Conjunto"),
    "currency": marked("Moeda"),
    "account_currency": marked("Moeda da conta"),
    "account_spend": marked("Investimento na moeda da conta"),
    "with_clid": marked("Com o identificador do clique"),
    "meta_leads": marked("Leads (Meta)"),
    "meta_purchases": marked("Compras (Meta)"),
    "meta_purchase_value": marked("Valor das compras (Meta)"),
    "attributed_leads": marked("Leads de anúncios"),
    "attributed_qualified": marked("Qualificados de anúncios"),
    "attributed_sales": marked("Vendas de anúncios"),
    "attributed_cpl": marked("CPL dos leads de anúncios"),
    "attributed_cost_per_qualified": marked("Custo por qualificado de anúncios"),
    "attributed_cpa": marked("CPA das vendas de anúncios"),
}

KINDS = {
    "account": marked("Conta"),
    "campaign": marked("Campanha"),
    "adset": marked("Conjunto"),
    "ad": marked("Anúncio"),
    "total": marked("Total"),
    **SPECIAL_NAMES,
}


@router.get("/export.csv")
async def as_csv(request: Request, db: Db, who: Member) -> Response:
    """Semicolons and decimal commas in Portuguese, commas and points in English; either opens by a double click."""
    found = await _whole(request, db, who)
    language: export.Language = "pt" if i18n.language.get() == "pt_BR" else "en"
    return _file(export.as_csv(found, language, _titles(), _words()), CSV, found, "csv")


@router.get("/export.xlsx")
async def as_xlsx(request: Request, db: Db, who: Member) -> Response:
    """A workbook of one sheet."""
    found = await _whole(request, db, who)
    return _file(export.as_xlsx(found, _titles(), _words()), XLSX, found, "xlsx")


async def _whole(request: Request, db: Database, who: Access) -> Report:
    """The report with the rows of every page, special rows named in the reader's words.

    Refused (422) where it would be other than the address asks for: a file has nowhere to say so.
    """
    filters = filters_of(request)
    async with db.reading(who.organization_id) as conn:
        now, today = await roi_page.today(conn)
        ask = filters.ask(today, offset=0, limit=MAX_LIMIT, compare=False)
        gone = await roi_unknown.of(conn, who.organization_id, request, filters, ask, HERE)
        if gone and (gone.is_all or gone.is_other):
            raise Refused("unknown_filter", gone.text, status=422)
        found = await reports.report(conn, who.organization_id, ask, now)
        rows, part = list(found.rows), found
        while part.next_offset is not None:
            further = msgspec.structs.replace(ask, offset=part.next_offset)
            part = await reports.report(conn, who.organization_id, further, now)
            rows += part.rows
    special = [msgspec.structs.replace(each, name=_(SPECIAL_NAMES[each.kind])) for each in found.special]
    totals = msgspec.structs.replace(found.totals, name=_("Total"))
    return msgspec.structs.replace(found, rows=rows, special=special, totals=totals)


def _titles() -> dict[str, str]:
    return {name: _(text) for name, text in TITLES.items()} | {
        name: column.title for name, column in COLUMNS.items()
    }


def _words() -> export.Words:
    """What kinds and statuses are called on the page."""
    return {
        "kind": {kind: _(text) for kind, text in KINDS.items()},
        "status": {status: _(text) for status, (text, _tone) in STATUSES.items()},
    }


def _file(content: bytes, kind: str, found: Report, ending: str) -> Response:
    name = f"roi-{found.ask.level}-{found.ask.since}-{found.ask.until}.{ending}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(content, media_type=kind, headers=headers)

"""What the report's page shows, put together: read in one transaction, for members and for who has a link alike."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.attribution import pictures
from whatrack.connections import ad_accounts, profiles
from whatrack.connections.ad_accounts import Search
from whatrack.db import Connection
from whatrack.roi import ask as asking
from whatrack.roi import looks, metrics
from whatrack.roi import report as reports
from whatrack.roi.ask import Ask
from whatrack.roi.report import Day, Report, Row
from whatrack.web.pages import charts, i18n, roi_chips, roi_columns, roi_funnel, roi_silent
from whatrack.web.pages import roi_figures as figures
from whatrack.web.pages.i18n import _, ngettext
from whatrack.web.pages.render import UNKNOWN, ago, day, money, times
from whatrack.web.pages.roi_columns import PHONE, PRESETS, USUAL, Column
from whatrack.web.pages.roi_figures import Cell, Change, Judge
from whatrack.web.pages.roi_filters import BASES, LEVELS, NEXT, PERIODS, STATUSES, Filters

MOST_ACCOUNTS = 1000
ROWS = "/rows"  # of a report's address: the children of a row
ON_PAPER = 13  # columns that A4 on its side holds beside the names
GRAVE = ("rate_missing", "silent_days", "gaps", "immature")


class Card(msgspec.Struct, frozen=True):
    """A figure by itself, with how it moved and its line over the days."""

    column: Column
    cell: Cell
    change: Change | None
    spark: list[str]


class Line(msgspec.Struct, frozen=True):
    """A row of the table. href: its children, one level down, children: the same as rows to stand beneath it; outside: the same thing in Ads Manager.

    twin: another row here has the same name, so that what it belongs to has to stand beside it on a phone too.
    picture: of an ad, as its people were shown it.
    """

    name: str
    cells: list[Cell]
    href: str = ""
    under: str = ""
    status: str = ""
    tone: str = "slate"
    title: str = ""
    outside: str = ""
    special: bool = False
    key: str = ""
    children: str = ""
    apart: str = ""
    twin: bool = False
    picture: str = ""


class Empty(msgspec.Struct, frozen=True):
    """Why there is nothing to see, and what to do next."""

    icon: str
    text: str
    href: str = ""
    label: str = ""


async def today(conn: Connection) -> tuple[datetime, date]:
    """(now, the day it is in the organization's zone)."""
    now = await database.now(conn)
    return now, now.astimezone(i18n.zone()).date()


async def built(
    conn: Connection, organization_id: UUID, filters: Filters, names: Sequence[str], *, path: str, opens: bool
) -> dict[str, Any]:
    """Everything of the page. names: of the columns; opens: whether the reader may look behind the figures."""
    now, current = await today(conn)
    ask = filters.ask(current)
    found = await reports.report(conn, organization_id, ask, now)
    days = await reports.daily(conn, organization_id, ask, now)
    steps = await reports.funnel(conn, organization_id, ask, now)
    judge = Judge(found.break_even, await looks.target(conn, organization_id))
    columns = roi_columns.known(names) or roi_columns.known(USUAL)
    shown = await _pictures(conn, organization_id, found) if opens else frozenset[str]()
    return {
        **places(filters, path, ask),
        "report": found,
        "now": now,
        "judge": judge,
        "cards": _cards(found, days, filters, judge, opens=opens),
        **_charted(found, days),
        "funnel": roi_funnel.steps(steps, filters, ask.basis, opens=opens),
        **_table(found, columns, filters, judge, shown, path=path, opens=opens),
        **notes(found, filters, opens=opens),
        "age": _age(found, now),
        "is_live": ask.until >= current,
        "before": before(ask) if filters.compares else "",
    }


async def children(
    conn: Connection, organization_id: UUID, filters: Filters, names: Sequence[str], *, path: str, opens: bool
) -> dict[str, Any]:
    """The rows that an address asks for and nothing else of the page, in the same columns."""
    now, current = await today(conn)
    found = await reports.report(conn, organization_id, filters.ask(current, compare=False), now)
    judge = Judge(found.break_even, await looks.target(conn, organization_id))
    columns = roi_columns.known(names) or roi_columns.known(USUAL)
    shown = await _pictures(conn, organization_id, found) if opens else frozenset[str]()
    return {"report": found, **_table(found, columns, filters, judge, shown, path=path, opens=opens)}


async def _pictures(conn: Connection, organization_id: UUID, found: Report) -> frozenset[str]:
    """The ads among the rows that have a picture. For members alone: a link for clients serves none."""
    return await pictures.which(conn, organization_id, [row.id for row in found.rows if row.kind == "ad"])


def places(filters: Filters, path: str, ask: Ask) -> dict[str, Any]:
    """What the bar above every part of the report needs."""
    return {
        "filters": filters,
        "path": path,
        "periods": PERIODS,
        "bases": BASES,
        "levels": LEVELS,
        "since": ask.since,
        "until": ask.until,
        "with_basis": True,
        "span": span(ask.since, ask.until),
    }


def span(since: date, until: date) -> str:
    """24/10/2026 – 22/11/2026; one day alone as it is."""
    return day(since, "short") if since == until else f"{day(since, 'short')} – {day(until, 'short')}"


def before(ask: Ask) -> str:
    """The period that stands for comparison, and how it was chosen."""
    earlier = asking.previous(ask)
    how = _("mesmos dias do mês anterior") if ask.against == "month" else _("período anterior")
    return f"{span(earlier.since, earlier.until)} ({how})"


async def options(conn: Connection, organization_id: UUID) -> dict[str, Any]:
    """What the filters offer."""
    accounts = await ad_accounts.page(conn, organization_id, Search(limit=MOST_ACCOUNTS))
    people = await profiles.everyone(conn, organization_id)
    return {
        "accounts": accounts,
        "people": people,
        "account_options": list(
            zip(
                [each.ad_account_id for each in accounts],
                roi_chips.distinct([(each.ad_account_name, None, each.ad_account_id) for each in accounts]),
                strict=True,
            )
        ),
        "profile_options": [(str(each.id), each.fb_user_name) for each in people],
        "status_options": [(key, _(label)) for key, label in STATUSES.items()],
    }


def _cards(found: Report, days: Sequence[Day], filters: Filters, judge: Judge, *, opens: bool) -> list[Card]:
    columns = roi_columns.known(roi_columns.CARDS)
    shown = figures.cells(columns, found.totals, found, filters, judge, opens=opens)
    earlier = found.previous.amounts if found.previous else None
    return [
        Card(
            column=column,
            cell=msgspec.structs.replace(cell, about=_("Total")),
            change=figures.change(column, found.totals.amounts, earlier, found.currency)
            if filters.compares
            else None,
            spark=charts.sparkline([metrics.value(each.amounts, column.name) for each in days]),
        )
        for column, cell in zip(columns, shown, strict=True)
    ]


def _charted(found: Report, days: Sequence[Day]) -> dict[str, Any]:
    soft_since = found.immature_since if found.ask.basis == "click" else _partial_since(found)
    chart = charts.spend_and_revenue(
        [(each.day, each.amounts.spend, each.amounts.revenue) for each in days], soft_since
    )
    rows = [
        {
            "x": point.x,
            "day": day(point.day, "short"),
            "spend": money(point.spend, found.currency),
            "revenue": money(point.revenue, found.currency),
            "roas": times(metrics.ratio(point.revenue, point.spend)),
            "soft": point.soft,
        }
        for point in chart.points
    ]
    totals = found.totals.amounts
    return {
        "chart": chart,
        "chart_rows": rows,
        "chart_totals": (money(totals.spend, found.currency), money(totals.revenue, found.currency)),
        "soft_word": _("imaturo") if found.ask.basis == "click" else _("parcial"),
    }


def _partial_since(found: Report) -> date | None:
    """Today's figures are still being made; earlier ones change so little that a mark would say too much."""
    current = found.taken_at.astimezone(i18n.zone()).date()
    return current if found.ask.until >= current else None


def _table(
    found: Report,
    columns: list[Column],
    filters: Filters,
    judge: Judge,
    shown: frozenset[str],
    *,
    path: str,
    opens: bool,
) -> dict[str, Any]:
    named = Counter(figures.name_of(row) for row in found.rows)
    lines = [
        msgspec.structs.replace(
            _line(row, columns, found, filters, judge, path=path, opens=opens),
            twin=named[figures.name_of(row)] > 1,
            picture=f"/tickets/pictures/{row.id}" if row.id in shown else "",
        )
        for row in found.rows
    ]
    last_page = found.next_offset is None
    special = found.special if last_page else []
    lines += [_line(row, columns, found, filters, judge, path=path, opens=opens) for row in special]
    totals = Line(
        name=_("Total"),
        under=_total_words(found),
        apart=figures.apart_of(found.totals),
        cells=figures.cells(columns, found.totals, found, filters, judge, opens=opens),
    )
    explained = {column.name: column for column in (*columns, *roi_columns.known(roi_columns.CARDS))}
    preset = roi_columns.preset_of(columns)
    return {
        "columns": columns,
        "heads": {column.name: column.title for column in columns} if len(columns) > ON_PAPER else {},
        "phone": [name for name in PHONE if any(column.name == name for column in columns)]
        or [column.name for column in columns[:3]],
        "rows": lines,
        "totals": totals,
        "parted": _parted_words(found, columns),
        "next": "" if last_page else str(found.next_offset),
        "explained": list(explained.values()),
        "preset": preset,
        "losers": (filters.level, filters.sort, filters.dir) == ("ad", "profit", "asc"),
        "preset_name": _(PRESETS[preset][0]) if preset else _("Colunas"),
        "presets": [(key, _(label)) for key, (label, _names) in PRESETS.items()],
        "keep_within": _kept(filters),
        "lower": list(LEVELS)[list(LEVELS).index(filters.level) + 1 :],
        "empty": nothing(found, filters, path),
    }


def _line(
    row: Row, columns: list[Column], found: Report, filters: Filters, judge: Judge, *, path: str, opens: bool
) -> Line:
    status, tone = figures.status_of(row)
    special = row.kind in reports.SPECIAL
    below = NEXT.get(row.kind)
    href = children = ""
    if below:
        inside: dict[str, Any] = {
            "level": below,
            "within": (f"{row.kind}:{row.id}",),
            "q": None,
            "status": (),
        }
        href = filters.to(path, **inside)
        children = filters.to(path + ROWS, **inside)
    elif opens:
        href = filters.to("/roi/tickets", metric="leads", row=figures.row_key(row))
    then = _("no clique: %(name)s", name=row.name_then) if row.name_then else ""
    return Line(
        name=figures.name_of(row),
        cells=figures.cells(columns, row, found, filters, judge, opens=opens),
        href=href,
        under=figures.under_of(row),
        status=status,
        tone=tone,
        title=then,
        outside="" if special or not opens else outside(row),
        special=special,
        apart=figures.apart_of(row),
        key="" if special or not below else f"{row.kind}:{row.id}",
        children=children,
    )


def outside(row: Row) -> str:
    """The row in Meta's Ads Manager."""
    account = (row.id if row.kind == "account" else row.account_id or "").removeprefix("act_")
    start = "https://www.facebook.com/adsmanager/manage/"
    pages = {"account": "campaigns", "campaign": "campaigns", "adset": "adsets", "ad": "ads"}
    chosen = "" if row.kind == "account" else f"&selected_{row.kind}_ids={row.id}"
    return f"{start}{pages[row.kind]}?act={account}{chosen}" if account and row.kind in pages else ""


def _kept(filters: Filters) -> dict[str, tuple[str, ...]]:
    """Which opened rows still narrow each tab: those above its level."""
    order = list(LEVELS)
    return {
        level: tuple(
            each
            for each in filters.within
            if (kind := each.partition(":")[0]) in order and order.index(kind) < order.index(level)
        )
        for level in LEVELS
    }


def _total_words(found: Report) -> str:
    """What the totals include."""
    rows = ngettext("%(num)s linha", "%(num)s linhas", found.count)
    if not found.ask.is_whole:
        return _("%(rows)s com estes filtros", rows=rows)
    return _("%(rows)s e tudo que não veio de anúncio", rows=rows) if found.special else rows


def _parted_words(found: Report, columns: Sequence[Column]) -> str:
    """That the rows need not sum to the totals, where the accounts' zones are why; '' elsewhere."""
    if not found.parts_from_totals(column.name for column in columns):
        return ""
    if found.has_every_row:
        return _("não é a soma: os fusos diferem")
    return _("pode não ser a soma: os fusos diferem")


def nothing(found: Report, filters: Filters, path: str) -> Empty:
    """Why the table is empty."""
    if filters.narrowed:
        clear = filters.to(path, account=(), profile=(), status=(), q=None, within=None)
        return Empty("search", _("Nada com estes filtros neste período."), clear, _("Limpar filtros"))
    if filters.spent != "0":
        every = filters.to(path, spent="0")
        return Empty("chart-bar", _("Nenhum gasto e nenhuma conversa neste período."), every, _("Mostrar também sem gasto"))  # fmt: skip
    longer = filters.to(path, period="30", since=None, until=None)
    return Empty("chart-bar", _("Nenhum anúncio neste período."), longer, _("Ver 30 dias"))


def _age(found: Report, now: datetime) -> str:
    """How old the figures of Meta are, by the account that is behind most."""
    known = [each.fetched_at for each in found.freshness]
    if not known:
        return UNKNOWN
    if any(each is None for each in known):
        return _("em parte: há contas nunca buscadas")
    return ago(min(each for each in known if each), now)


def notes(found: Report, filters: Filters, *, opens: bool) -> dict[str, list[tuple[str, str, str, str]]]:
    """What a reader has to know: (the text, where to go, what that is called, its code). grave: figures are wrong without it."""
    settings = "/settings/costs" if opens else ""
    rates = "/settings/rates" if opens else ""
    days = filters.to("/roi/days") if opens else ""
    apart = ", ".join(sorted({each.currency for each in found.totals.apart}))
    mature = found.immature_since
    known: dict[str, tuple[str, str, str]] = {
        "rate_missing": (_("Falta a cotação de %(currencies)s em algum dia: esse dinheiro não entra em nenhuma soma.", currencies=apart or _("uma moeda")), rates, _("Informar cotações")),
        "silent_days": (roi_silent.words(found), roi_silent.days_of(found, filters) if opens else "", _("Ver os dias")),
        "gaps": (_("Há dias de alguma conta que ainda não vieram inteiros da Meta: o investimento pode estar incompleto."), days, _("Ver quais")),
        "immature": (_("Cliques desde %(day)s ainda podem virar vendas: o resultado deles é imaturo.", day=day(mature, "short")) if mature else _("Os cliques mais recentes ainda podem virar vendas."), "", ""),
        "converted": (_("Valores em outra moeda foram convertidos para %(currency)s pela cotação do dia de cada um.", currency=found.currency), rates, _("Ver cotações")),
        "zones_differ": (_("As contas têm fusos diferentes: cada linha usa o fuso da sua conta, e o total usa o da organização. Por isso uma venda perto da meia-noite pode contar na linha e não no total, ou o contrário."), "", ""),
        "refunds_by_sale": (_("Cada reembolso conta no dia da sua venda, e não no dia em que foi feito."), "", ""),
        "partial": (_("Parcial: a Meta ainda pode corrigir os últimos dias."), days, _("Ver dias")),
        "tax_off": (_("Sem imposto: ninguém disse ainda se a fatura da Meta tem imposto."), settings, _("Responder")),
    }  # fmt: skip
    told = [code for code in known if code in found.notes]
    return {
        "grave": [(*known[code], code) for code in told if code in GRAVE],
        "notes": [(*known[code], code) for code in told if code not in GRAVE],
    }

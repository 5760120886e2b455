"""Figures of the report as a page shows them: written out, coloured by break-even, opened down to what they are made of."""

from decimal import Decimal
from urllib.parse import urlencode

import msgspec

from whatrack.roi import metrics
from whatrack.roi.metrics import Amounts, Number
from whatrack.roi.report import Report, Row
from whatrack.web.pages import meta_words
from whatrack.web.pages.i18n import _, marked, ngettext
from whatrack.web.pages.render import UNKNOWN, money, number, percent, times
from whatrack.web.pages.roi_columns import COLUMNS, Column
from whatrack.web.pages.roi_filters import Filters

SPECIAL_NAMES = {
    "organic": marked("Orgânico"),
    "post": marked("Post"),
    "unidentified": marked("CTWA sem anúncio identificado"),
    "unconnected": marked("Conta não conectada"),
}
SPECIAL_HINTS = {
    "organic": marked("escreveram sem vir de anúncio"),
    "post": marked("vieram de um post, que não tem investimento"),
    "unidentified": marked("vieram de anúncio, mas a Meta não disse qual"),
    "unconnected": marked("o anúncio é de uma conta que nenhum perfil daqui vê"),
}
STATUSES = {
    "ACTIVE": (marked("ativo"), "green"),
    "PAUSED": (marked("pausado"), "slate"),
    "CAMPAIGN_PAUSED": (marked("campanha pausada"), "slate"),
    "ADSET_PAUSED": (marked("conjunto pausado"), "slate"),
    "ARCHIVED": (marked("arquivado"), "slate"),
    "DELETED": (marked("excluído"), "slate"),
    "PENDING_REVIEW": (marked("em análise"), "amber"),
    "IN_PROCESS": (marked("em processamento"), "amber"),
    "DISAPPROVED": (marked("reprovado"), "red"),
    "WITH_ISSUES": (marked("com problema"), "red"),
    "PENDING_BILLING_INFO": (marked("sem forma de pagamento"), "red"),
}
OF_ACCOUNT = "ACCOUNT_"  # before the number of an account's status
JUDGED = ("roas", "gross_roas", "net_roas", "blended_roas")
COSTS = ("cpa", "cpl", "cost_per_qualified")
GONE_QUIET = Decimal("0.01")  # a change below 1 % is none


class Cell(msgspec.Struct, frozen=True):
    """A figure on the page. terms: what it is made of, in a line; mark and word go with a colour; note: small, below it.

    about: whose figure it is, where the row does not say.
    """

    name: str
    text: str
    href: str = ""
    terms: str = ""
    tone: str = ""
    mark: str = ""
    word: str = ""
    note: str = ""
    about: str = ""


class Judge(msgspec.Struct, frozen=True):
    """What is good: the ROAS at which nothing is lost, None where a sale leaves nothing; and the one that is aimed at."""

    break_even: Decimal | None
    target: Decimal | None

    def of(self, value: Number | None) -> tuple[str, str, str]:
        """(tone, mark, word) of a ROAS."""
        if value is None:
            return "", "", ""
        if self.break_even is None or value < self.break_even:
            return "bad", "▼", _("abaixo do equilíbrio")
        if self.target is None:
            return "", "", ""
        if value < self.target:
            return "warn", "●", _("abaixo da meta")
        return "good", "▲", _("na meta")


class Change(msgspec.Struct, frozen=True):
    """How a figure moved since the period before. before: what it was, in words."""

    arrow: str
    text: str
    tone: str
    before: str


def written(column: Column, value: Number | None, currency: str) -> str:
    """A figure as people read it; a dash for what cannot be said."""
    if value is None:
        return UNKNOWN
    match column.kind:
        case "money":
            return money(Decimal(value), currency)
        case "ratio":
            return times(Decimal(value))
        case "percent":
            return percent(Decimal(value))
        case "number":
            return times(Decimal(value)).removesuffix("x")
        case "count":
            return number(value)


def terms(column: Column, amounts: Amounts, currency: str) -> str:
    """What a figure is made of: each term with its value."""
    parts = (COLUMNS[name] for name in column.over)
    return " · ".join(
        f"{part.title}: {written(part, metrics.value(amounts, part.name), currency)}" for part in parts
    )


def row_key(row: Row) -> str:
    """A row in an address: ad:120…, organic:, total:."""
    return f"{row.kind}:{row.id}"


def cells(
    columns: list[Column], row: Row, report: Report, filters: Filters, judge: Judge, *, opens: bool = True
) -> list[Cell]:
    """A row's figures. opens: whether the reader may look at what is behind them."""
    rest = urlencode([("row", row_key(row)), *filters.pairs(offset=None, sort=None, dir=None)])
    return [cell(column, row, report, judge, rest if opens else "") for column in columns]


class Remark(msgspec.Struct, frozen=True):
    """What is said of a figure beside itself; as Cell has it. said: instead of its terms, or after them with more."""

    tone: str = ""
    mark: str = ""
    word: str = ""
    note: str = ""
    said: str = ""
    more: str = ""


def cell(column: Column, row: Row, report: Report, judge: Judge, rest: str) -> Cell:
    """One figure. rest: the address's parameters, '' where nothing may be opened."""
    value = metrics.value(row.amounts, column.name)
    told = (
        _judged(column, row, judge, value) if column.name in JUDGED else _remark(column, row, report, value)
    )
    said = told.said or terms(column, row.amounts, report.currency)
    return Cell(
        name=column.name,
        text=written(column, value, report.currency),
        href=_opened(column, value, rest),
        terms=f"{said} · {told.more}" if told.more else said,
        tone=told.tone,
        mark=told.mark,
        word=told.word,
        note=told.note,
    )


def _judged(column: Column, row: Row, judge: Judge, value: Number | None) -> Remark:
    """Of a ROAS: red below break-even, unless the sample is so small that it says nothing."""
    amounts, is_total = row.amounts, row.kind == "total"
    if value is None:
        said = _("Há vendas e nenhum gasto: são de gasto anterior, ou não vieram de anúncio.")
        return Remark(said=said if amounts.revenue else "")
    if amounts.is_small and not is_total:
        if not row.clear_loss:
            return Remark(note=_("amostra pequena"))
        word, note = _("abaixo do equilíbrio"), _("prejuízo claro")
        return Remark("bad", "▼", word, note, more=_beyond_luck(amounts))
    blends = is_total and column.name == "roas" and amounts.revenue != amounts.attributed_revenue
    note = _("geral %(roas)s", roas=times(amounts.blended_roas)) if blends else ""
    return Remark(*judge.of(value), note)


def _remark(column: Column, row: Row, report: Report, value: Number | None) -> Remark:
    """Of any other figure."""
    amounts, is_total = row.amounts, row.kind == "total"
    if column.name in COSTS and is_total:
        return Remark(note=_of_ads_alone(column, amounts, report.currency))
    if column.name in ("profit", "roi", "roi_on_costs", "margin") and value is not None and value < 0:
        if row.clear_loss or is_total or not amounts.is_small:
            return Remark("bad", word=_("prejuízo"))
        # What was lost is a fact; that the ad will go on losing is not, so no colour.
        return Remark(note=_("prejuízo até aqui") if column.name == "profit" and amounts.spend else "")
    if column.name == "spend" and row.own_spend is not None and row.currency:
        note = money(row.own_spend, row.currency)
        return Remark(note=note, said=_("na moeda da conta: %(spend)s", spend=note))
    if column.name == "sales" and amounts.sales_without_value:
        return Remark(note=ngettext("%(num)s sem valor", "%(num)s sem valor", amounts.sales_without_value))
    return Remark()


def _beyond_luck(amounts: Amounts) -> str:
    """Why a loss is clear in spite of few sales."""
    most = times(metrics.most_sales(amounts.sales)).removesuffix("x")
    return _(
        "as vendas são poucas, mas nem com %(most)s, o máximo a esperar com 95%% de certeza, o ROAS chegaria ao equilíbrio",
        most=most,
    )


def _of_ads_alone(column: Column, amounts: Amounts, currency: str) -> str:
    """What one cost of those that ads brought, where the totals hold others too: no ad paid for those."""
    cost = metrics.value(amounts, f"attributed_{column.name}")
    if cost is None or cost == metrics.value(amounts, column.name):
        return ""
    return _("anúncios %(cost)s", cost=written(column, cost, currency))


def _opened(column: Column, value: Number | None, rest: str) -> str:
    """Where what is behind a figure is shown: its tickets, or the page that takes it apart."""
    if not rest or not value:
        return ""
    page = "tickets" if column.tickets else "number"
    return f"/roi/{page}?metric={column.name}&{rest}"


def change(column: Column, now: Amounts, before: Amounts | None, currency: str) -> Change:
    """How a figure moved. Where less is better, less is green; where neither is, grey."""
    earlier = None if before is None else metrics.value(before, column.name)
    share = metrics.change(metrics.value(now, column.name), earlier)
    was = _("antes %(value)s", value=written(column, earlier, currency))
    if share is None:
        return Change("", "", "", was) if earlier is not None else Change("", _("sem comparação"), "", "")
    if abs(share) < GONE_QUIET:
        return Change("=", _("estável"), "", was)
    more = share > 0
    text = _("%(share)s a mais", share=percent(abs(share))) if more else _("%(share)s a menos", share=percent(abs(share)))  # fmt: skip
    tone = "" if column.good == "neither" else "good" if more == (column.good == "up") else "bad"
    return Change("▲" if more else "▼", text, tone, was)


def name_of(row: Row) -> str:
    """What a row is called."""
    if row.kind in SPECIAL_NAMES:
        return _(SPECIAL_NAMES[row.kind])
    return row.name or row.id or _("sem nome")


def under_of(row: Row) -> str:
    """The small line below a name: what it belongs to, or what a special row means."""
    if row.kind in SPECIAL_HINTS:
        return _(SPECIAL_HINTS[row.kind])
    above = (row.campaign_name if row.kind in ("adset", "ad") else None, row.account_name if row.kind == "campaign" else None)  # fmt: skip
    parts = [each for each in above if each]
    if row.kind == "account" and row.currency:
        parts.append(f"{row.currency} · {row.zone}")
    if not row.is_active:
        parts.append(_("conta desativada"))
    return " · ".join(parts)


def status_of(row: Row) -> tuple[str, str]:
    """(word, tone) of a row's status; empty for what has none."""
    if not row.status:
        return "", ""
    if row.status.startswith(OF_ACCOUNT):
        word, tone = meta_words.account_status(int(row.status.removeprefix(OF_ACCOUNT)))
        return word[:1].lower() + word[1:], tone
    known = STATUSES.get(row.status.upper())
    return (_(known[0]), known[1]) if known else (row.status.lower().replace("_", " "), "amber")


def apart_of(row: Row) -> str:
    """Money of a row that no rate could convert: it is in no sum."""
    return " · ".join(
        _(
            "%(currency)s sem cotação: %(spend)s investidos, %(revenue)s faturados",
            currency=each.currency,
            spend=money(each.spend, each.currency),
            revenue=money(each.revenue, each.currency),
        )
        for each in row.apart
    )

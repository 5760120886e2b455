"""The words of the morning's letter, in both languages: one telling, from which its text and its HTML are written.

Background loops have no catalogue of translations (that is the web's), so the words stand here and in letter.html alone.
"""

from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import msgspec
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from whatrack.roi.answers import Apart, Row
from whatrack.roi.metrics import Amounts, value
from whatrack.roi.subscriptions import Reader
from whatrack.tenants.emails import Letter

UNKNOWN = "—"


class Words(msgspec.Struct, frozen=True):
    """What a language says. sale: one, and several; day: how its dates are written."""

    tag: str
    day: str
    subject: str
    subject_without_spend: str
    spend: str
    leads: str
    sales: str
    revenue: str
    sale: tuple[str, str]
    best: str
    worst: str
    result: str
    without_rate: str
    apart: str
    refunds: str
    rates: str
    late: str
    report: str
    why: str
    stop: str


LANGUAGES = {
    "pt_BR": Words(
        tag="pt-BR",
        day="short",
        subject="{organization}: investimento de {spend}, {sales} em {day}",
        subject_without_spend="{organization}: {sales} em {day}",
        spend="Investimento",
        leads="Leads",
        sales="Vendas",
        revenue="Faturamento",
        sale=("{count} venda", "{count} vendas"),
        best="Melhor anúncio",
        worst="Pior anúncio",
        result="lucro {profit}, ROAS {roas}",
        without_rate="Fora de todas as somas, e de melhor e pior anúncio, por falta de cotação:",
        apart="{currency} sem cotação: {spend} investidos, {revenue} faturados",
        refunds=", {refunds} reembolsados",
        rates="Informar a cotação",
        late="Atenção: o dia de ontem de alguma conta ainda não veio inteiro da Meta. O investimento pode estar incompleto.",
        report="Abrir o relatório deste dia",
        why="Você pediu os números diários de {organization} em {email}.",
        stop="Não receber mais",
    ),
    "en": Words(
        tag="en",
        day="medium",
        subject="{organization}: {spend} spent, {sales} on {day}",
        subject_without_spend="{organization}: {sales} on {day}",
        spend="Spend",
        leads="Leads",
        sales="Sales",
        revenue="Revenue",
        sale=("{count} sale", "{count} sales"),
        best="Best ad",
        worst="Worst ad",
        result="profit {profit}, ROAS {roas}",
        without_rate="In none of these sums, nor in best and worst ad, for want of a rate:",
        apart="{currency} without a rate: {spend} spent, {revenue} revenue",
        refunds=", {refunds} refunded",
        rates="Enter the rate",
        late="Note: yesterday is not complete yet for at least one account. Spend may be too low.",
        report="Open this day’s report",
        why="You asked for the daily figures of {organization} at {email}.",
        stop="Stop this mail",
    ),
}


class Morning(msgspec.Struct, frozen=True):
    """What the letters of one organization tell. best, worst: of the ads that spent, by profit; None without any, and no worst of one.

    apart: money whose day has no rate, a currency each: in none of the sums. is_late: some account's day has not ended yet, or was
    not read since.
    """

    organization: str
    slug: str
    day: date
    currency: str
    totals: Amounts
    best: Row | None
    worst: Row | None
    apart: tuple[Apart, ...]
    is_late: bool


class Ad(msgspec.Struct, frozen=True):
    """An ad that a letter names. account: its name, or '' where it has none. result: its profit and ROAS."""

    label: str
    name: str
    account: str
    result: str


class Told(msgspec.Struct, frozen=True):
    """All that one letter says, in its reader's words. figures: (what, how much). Addresses are whole."""

    words: Words
    organization: str
    day: str
    subject: str
    figures: list[tuple[str, str]]
    ads: list[Ad]
    apart: list[str]
    is_late: bool
    why: str
    report: str
    rates: str
    stop: str


def letter(reader: Reader, morning: Morning, address: str, stop: str) -> Letter:
    """One reader's letter, in their language. address: of the site; stop: the address that stops these letters."""
    told = telling(reader, morning, address, stop)
    return Letter(reader.email, told.subject, _text(told), until=reader.until, html=_html(told), stop=stop)


def telling(reader: Reader, morning: Morning, address: str, stop: str) -> Told:
    """What a letter says to this reader."""
    language = reader.language if reader.language in LANGUAGES else "pt_BR"
    words, amounts, currency = LANGUAGES[language], morning.totals, morning.currency
    organization = _line(morning.organization)
    day = str(format_date(morning.day, words.day, locale=language))
    spend = _money(amounts.spend, currency, language)
    sales = words.sale[amounts.sales != 1].format(count=_number(amounts.sales, language))
    subject = words.subject_without_spend if amounts.spend is None else words.subject
    site = f"{address}/in/{morning.slug}"
    question = {
        "level": "ad",
        "period": "custom",
        "since": morning.day,
        "until": morning.day,
        "sort": "profit",
    }
    return Told(
        words=words,
        organization=organization,
        day=day,
        subject=subject.format(organization=organization, spend=spend, sales=sales, day=day),
        figures=[
            (words.spend, spend),
            (words.leads, _number(amounts.leads, language)),
            (words.sales, _number(amounts.sales, language)),
            (words.revenue, _money(amounts.revenue, currency, language)),
            ("ROAS", _times(amounts.roas, language)),
        ],
        ads=[
            _ad(label, row, currency, language)
            for label, row in ((words.best, morning.best), (words.worst, morning.worst))
            if row
        ],
        apart=[_apart(each, language) for each in morning.apart],
        is_late=morning.is_late,
        why=words.why.format(email=reader.email, organization=organization),
        report=f"{site}/roi?{urlencode(question)}",
        rates=f"{site}/settings/rates",
        stop=stop,
    )


def _text(told: Told) -> str:
    """The letter for who reads no HTML."""
    words = told.words
    blocks = [
        [f"{told.organization}, {told.day}"],
        [words.late] if told.is_late else [],
        [f"{name}: {figure}" for name, figure in told.figures],
        [f"{ad.label}: {ad.name}{f' ({ad.account})' if ad.account else ''} — {ad.result}" for ad in told.ads],
        [words.without_rate, *told.apart, f"{words.rates}: {told.rates}"] if told.apart else [],
        [f"{words.report}: {told.report}"],
        [told.why, f"{words.stop}: {told.stop}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines) + "\n"


def _html(told: Told) -> str:
    return _templates.get_template("letter.html").render(told=told, words=told.words)


def _ad(label: str, row: Row, currency: str, language: str) -> Ad:
    profit = _money(Decimal(value(row.amounts, "profit") or 0), currency, language)
    result = LANGUAGES[language].result.format(profit=profit, roas=_times(row.amounts.roas, language))
    return Ad(label, _line(row.name or row.id), _line(row.account_name or row.account_id or ""), result)


def _apart(each: Apart, language: str) -> str:
    words = LANGUAGES[language]
    spend, revenue, refunds = (
        _money(amount, each.currency, language) for amount in (each.spend, each.revenue, each.refunds)
    )
    told = words.apart.format(currency=each.currency, spend=spend, revenue=revenue)
    return told + (words.refunds.format(refunds=refunds) if each.refunds else "")


def _line(text: str) -> str:
    """A name on one line: an ad's may have breaks in it."""
    return " ".join(text.split())


def _number(count: int, language: str) -> str:
    return str(format_decimal(count, locale=language))


def _money(amount: Decimal | None, currency: str, language: str) -> str:
    return UNKNOWN if amount is None else str(format_currency(amount, currency, locale=language))


def _times(amount: Decimal | None, language: str) -> str:
    return UNKNOWN if amount is None else f"{format_decimal(amount, format='#,##0.00', locale=language)}x"


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip

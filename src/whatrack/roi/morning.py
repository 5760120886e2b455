"""The morning's letter: what yesterday's ads cost and brought, the best of them and the worst.

Background loops have no catalogue of translations (that is the web's), so the letter stands here whole in both languages.
"""

import secrets
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from babel.dates import format_date
from babel.numbers import format_currency, format_decimal

from whatrack import db as database
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.observe import logger
from whatrack.roi import report as reports
from whatrack.roi import subscriptions
from whatrack.roi.ask import MAX_OFFSET, Ask
from whatrack.roi.metrics import Amounts, value
from whatrack.roi.report import Apart, Report, Row
from whatrack.roi.subscriptions import Reader
from whatrack.tenants import emails, organizations
from whatrack.tenants.emails import Letter

ROWS = 100  # of a page of ads: seldom more than one is looked through, for those with sales and no spend
UNKNOWN = "—"

SUBJECTS = {
    "pt_BR": "{organization}: {spend} investidos, {sales} vendas em {day}",
    "en": "{organization}: {spend} spent, {sales} sales on {day}",
}
TEXTS = {
    "pt_BR": (
        "{organization}, {day}\n\n"
        "Investimento: {spend}\nLeads: {leads}\nVendas: {sales}\nFaturamento: {revenue}\nROAS: {roas}\n\n"
        "{best}{worst}{apart}{late}"
        "Relatório: {link}\n\nPara não receber mais: {stop}\n"
    ),
    "en": (
        "{organization}, {day}\n\n"
        "Spend: {spend}\nLeads: {leads}\nSales: {sales}\nRevenue: {revenue}\nROAS: {roas}\n\n"
        "{best}{worst}{apart}{late}"
        "Report: {link}\n\nTo stop this mail: {stop}\n"
    ),
}
BEST = {
    "pt_BR": "Melhor anúncio: {name} — lucro {profit}, ROAS {roas}\n",
    "en": "Best ad: {name} — profit {profit}, ROAS {roas}\n",
}
WORST = {
    "pt_BR": "Pior anúncio: {name} — lucro {profit}, ROAS {roas}\n",
    "en": "Worst ad: {name} — profit {profit}, ROAS {roas}\n",
}
# Money that no rate could convert, a line for each currency, and where its rate is entered.
APART = {
    "pt_BR": "{currency} sem cotação: {spend} investidos, {revenue} faturados{refunds}\n",
    "en": "{currency} without a rate: {spend} spent, {revenue} revenue{refunds}\n",
}
REFUNDS = {"pt_BR": ", {refunds} reembolsados", "en": ", {refunds} refunded"}
WITHOUT_RATE = {
    "pt_BR": (
        "\nFora de todas as somas, e de melhor e pior anúncio, por falta de cotação:\n{lines}"
        "Informe a cotação em {rates}\n"
    ),
    "en": (
        "\nIn none of these sums, nor in best and worst ad, for want of a rate:\n{lines}"
        "Enter the rate at {rates}\n"
    ),
}
LATE = {
    "pt_BR": "Atenção: há contas cujo dia de ontem ainda não veio inteiro da Meta.\n",
    "en": "Mind: yesterday has not come whole from Meta for some accounts yet.\n",
}

log = logger(__name__)


class Morning(msgspec.Struct, frozen=True):
    """What the letters of one organization tell. best, worst: of the ads that spent, by profit; None without any, and no worst of one.

    apart: money whose day has no rate, a currency each: in none of the sums. is_late: some account's yesterday
    was not read since it ended.
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


async def send_due(conn: Connection, sealer: Sealer, address: str) -> bool:
    """Owe the letters of one organization for which it is time to look (system scope); whether there was one.

    Mail, its row and the next look are one transaction. A report that cannot be made is tried again in half an hour.
    """
    readers = await subscriptions.claim(conn)
    if not readers:
        return False
    owed = [each for each in readers if each.is_owed]
    if not owed:
        return True
    try:
        async with conn.transaction():
            morning = await of_day(conn, owed[0].organization_id, owed[0].day)
            for reader in owed:
                await subscriptions.tell(conn, reader, secrets.token_bytes(32))
                await emails.queue(conn, sealer, letter(reader, morning, address))
    except Exception as error:
        log.exception("morning_failed", organization=str(readers[0].organization_id), exc_info=error)
        await subscriptions.put_off(conn, readers)
    return True


async def of_day(conn: Connection, organization_id: UUID, day: date) -> Morning:
    """What the letters about a day tell."""
    own = await organizations.by_id(conn, organization_id)
    now = await database.now(conn)
    ask = Ask("ad", day, day, sort="profit", limit=ROWS)
    found = await reports.report(conn, organization_id, ask, now)
    best = await _first(conn, organization_id, found, now)
    worst = None
    if best:
        rising = await reports.report(
            conn, organization_id, msgspec.structs.replace(ask, descending=False), now
        )
        worst = await _first(conn, organization_id, rising, now, but=best)
    totals = found.totals
    late = "gaps" in found.notes
    return Morning(own.name, own.slug, day, found.currency, totals.amounts, best, worst, totals.apart, late)


async def _first(
    conn: Connection, organization_id: UUID, found: Report, now: datetime, but: Row | None = None
) -> Row | None:
    """The first row in the report's order that spent and lacks no money for want of a rate, on whichever page; None without any.

    Which of two of one profit comes first, the report decides, always alike. but: another row than this.
    """
    while True:
        for row in found.rows:
            if row.amounts.spend and not row.apart and not (but and row.id == but.id):
                return row
        if found.next_offset is None or found.next_offset > MAX_OFFSET:
            return None
        ask = msgspec.structs.replace(found.ask, offset=found.next_offset)
        found = await reports.report(conn, organization_id, ask, now)


def letter(reader: Reader, morning: Morning, address: str) -> Letter:
    """One reader's letter, in their language."""
    language = reader.language if reader.language in TEXTS else "pt_BR"
    amounts, currency = morning.totals, morning.currency
    site = f"{address}/in/{morning.slug}"
    told = {
        "organization": morning.organization,
        "day": format_date(morning.day, "short", locale=language),
        "spend": _money(amounts.spend, currency, language),
        "leads": format_decimal(amounts.leads, locale=language),
        "sales": format_decimal(amounts.sales, locale=language),
        "revenue": _money(amounts.revenue, currency, language),
        "roas": _times(amounts.roas, language),
        "best": _ad(BEST[language], morning.best, currency, language),
        "worst": _ad(WORST[language], morning.worst, currency, language),
        "apart": _apart(morning.apart, f"{site}/settings/rates", language),
        "late": f"\n{LATE[language]}\n" if morning.is_late else "\n",
        "link": f"{site}/roi?period=yesterday&level=ad&sort=profit",
        "stop": f"{site}/roi/mail",
    }
    return Letter(
        reader.email, SUBJECTS[language].format(**told), TEXTS[language].format(**told), until=reader.until
    )


def _ad(text: str, row: Row | None, currency: str, language: str) -> str:
    if row is None:
        return ""
    profit = _money(Decimal(value(row.amounts, "profit") or 0), currency, language)
    return text.format(name=row.name or row.id, profit=profit, roas=_times(row.amounts.roas, language))


def _apart(apart: Sequence[Apart], rates: str, language: str) -> str:
    if not apart:
        return ""
    lines = [
        APART[language].format(
            currency=each.currency,
            spend=_money(each.spend, each.currency, language),
            revenue=_money(each.revenue, each.currency, language),
            refunds=REFUNDS[language].format(refunds=_money(each.refunds, each.currency, language))
            if each.refunds
            else "",
        )
        for each in apart
    ]
    return WITHOUT_RATE[language].format(lines="".join(lines), rates=rates)


def _money(amount: Decimal | None, currency: str, language: str) -> str:
    return UNKNOWN if amount is None else str(format_currency(amount, currency, locale=language))


def _times(amount: Decimal | None, language: str) -> str:
    return UNKNOWN if amount is None else f"{format_decimal(amount, format='#,##0.00', locale=language)}x"

"""The report as a file: CSV for Excel in Brazil and elsewhere, and XLSX. Every row, the special ones and the totals, no column cut.

CSV: UTF-8 with a byte order mark, so that Excel reads it; in Portuguese with semicolons and decimal commas, else with commas and
points. Every cell is quoted, for LibreOffice proposes to part at tabs, commas and semicolons at once. Nothing is an empty cell. A
text that a spreadsheet would take for something else has a tab before it, which it does not show: a formula, an id of 18 digits
(else 1,2E+17), an ad named 11/11 or 2024. Who reads the file by a program strips it.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec
import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

from whatrack.roi import metrics
from whatrack.roi.answers import Report, Row
from whatrack.roi.metrics import FIELDS, RATIOS, Amounts, Number
from whatrack.units import minor_digits

Language = Literal["pt", "en"]
Told = Callable[[Amounts, str], dict[str, Number | None]]
Words = Mapping[str, Mapping[str, str]]  # column → value → how a reader calls it
TEXTS = (
    "kind", "id", "name", "status", "account_id", "account_name", "campaign_id", "campaign_name", "adset_id", "adset_name",
    "currency",
)  # fmt: skip
# What the row's account pays in, and its spend in it where that is not the report's currency, which all other money is in.
OF_ACCOUNT = ("account_currency", "account_spend")
NUMBERS = (*FIELDS, *RATIOS)
COUNTS = frozenset(name for name in FIELDS if name not in metrics.MONEY)
RATIO = Decimal("0.000001")
FINEST = Decimal("0.000001")  # of money that adds up
BOM = "\ufeff"
FORMULA = ("=", "+", "-", "@")
TRUTH = ("true", "false", "verdadeiro", "falso")
WORD = re.compile(r"[^\W\d_]+")
# With a digit and none but these words, a text is a number, an amount, a time or a date: 1e5, R$ 5,00, 10:30 PM, 11 de nov.
OF_NUMBERS = """e r us brl usd eur t z h am pm de of st nd rd th
    jan feb fev mar apr abr may mai jun jul aug ago sep set oct out nov dec dez january february march april june july august
    september october november december janeiro fevereiro março marco abril maio junho julho agosto setembro outubro novembro dezembro
    mon tue wed thu fri sat sun seg ter qua qui sex sáb sab dom"""


def rounded(name: str, amount: Number | None, currency: str) -> Number | None:
    """A number as it is told: money in whole minor units, counts as they are, ratios to six places."""
    if amount is None or name in COUNTS:
        return amount
    places = Decimal(1).scaleb(-minor_digits(currency)) if name in metrics.MONEY else RATIO
    return Decimal(amount).quantize(places, ROUND_HALF_UP)


def shown(amounts: Amounts, currency: str) -> dict[str, Number | None]:
    """Every number as `rounded` tells it, each by itself: rows may sum to a cent more or less than totals."""
    return {name: rounded(name, metrics.value(amounts, name), currency) for name in NUMBERS}


def exact(amounts: Amounts, currency: str) -> dict[str, Number | None]:
    """Every number, money that adds up (SUMMED) with all its places up to six: rows sum to totals, terms to their profit.

    Such money has at least the currency's own places. A profit is that of its terms as they are told.
    """
    told = {name: _finest(amount) for name, amount in _derived(amounts).items()}
    settled = msgspec.structs.replace(amounts, **told)
    return shown(amounts, currency) | {
        name: _places(metrics.value(settled, name), currency) for name in metrics.SUMMED
    }


def _derived(amounts: Amounts) -> dict[str, Decimal | None]:
    return {"gross_spend": amounts.gross_spend, "product_cost": amounts.product_cost, "fees": amounts.fees}


def _finest(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else amount.quantize(FINEST, ROUND_HALF_UP)


def _places(amount: Number | None, currency: str) -> Decimal | None:
    """The same amount, with the currency's places or as many more as it needs, up to six."""
    if amount is None:
        return None
    found = Decimal(amount).quantize(FINEST, ROUND_HALF_UP)
    whole = found.quantize(Decimal(1).scaleb(-minor_digits(currency)), ROUND_HALF_UP)
    return whole if whole == found else found.normalize()


def table(report: Report, numbers: Told = shown) -> list[dict[str, str | Number | None]]:
    """Every line as columns: rows, special rows, totals. numbers: how they are told."""
    return [_line(row, report.currency, numbers) for row in (*report.rows, *report.special, report.totals)]


def as_csv(
    report: Report,
    language: Language = "pt",
    titles: Mapping[str, str] | None = None,
    words: Words | None = None,
) -> bytes:
    """The file. titles: column → what it is called; its own name where there is none. words: of texts, likewise."""
    stream = io.StringIO()
    writer = csv.writer(
        stream, delimiter=";" if language == "pt" else ",", lineterminator="\r\n", quoting=csv.QUOTE_ALL
    )
    columns = (*TEXTS, *OF_ACCOUNT, *NUMBERS)
    writer.writerow([(titles or {}).get(column, column) for column in columns])
    for line in table(report):
        told = _told(line, words)
        writer.writerow([_cell(told[column], language) for column in columns])
    return (BOM + stream.getvalue()).encode()


def as_xlsx(report: Report, titles: Mapping[str, str] | None = None, words: Words | None = None) -> bytes:
    """The workbook: one sheet, numbers as numbers (exact, shown with two places), the titles and the first three columns kept in view."""
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(
        stream, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    sheet = book.add_worksheet("ROI")
    bold = book.add_format({"bold": True})
    formats = {name: book.add_format({"num_format": _format(name)}) for name in ("account_spend", *NUMBERS)}
    columns = (*TEXTS, *OF_ACCOUNT, *NUMBERS)
    sheet.write_row(0, 0, [(titles or {}).get(column, column) for column in columns], bold)
    for place, line in enumerate(table(report, exact), start=1):
        told = _told(line, words)
        for across, column in enumerate(columns):
            value = told[column]
            if isinstance(value, str):
                sheet.write_string(place, across, value)
            elif value is not None:
                sheet.write_number(place, across, float(value), formats[column])
    # Ids are texts, and meant to be: no green corner in each of their cells.
    sheet.ignore_errors({"number_stored_as_text": f"A1:{xl_col_to_name(len(TEXTS))}{report.count + 10}"})
    sheet.freeze_panes(1, 3)
    sheet.autofit()
    book.close()
    return stream.getvalue()


def _told(line: Mapping[str, str | Number | None], words: Words | None) -> dict[str, str | Number | None]:
    return {
        column: (words or {}).get(column, {}).get(value, value) if isinstance(value, str) else value
        for column, value in line.items()
    }


def _format(name: str) -> str:
    if name in metrics.MONEY or name == "account_spend":
        return "#,##0.00"
    if name in COUNTS:
        return "#,##0"
    return "0.00" if name.endswith("roas") or name == "frequency" else "0.0%"


def _line(row: Row, currency: str, numbers: Told) -> dict[str, str | Number | None]:
    texts = {name: getattr(row, name) for name in TEXTS if name != "currency"} | {"currency": currency}
    own = row.currency if row.kind != "total" or row.own_spend is not None else None
    spent = rounded("spend", row.own_spend, row.currency or currency)
    return {**texts, "account_currency": own, "account_spend": spent, **numbers(row.amounts, currency)}


def _cell(value: str | Number | None, language: Language) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"\t{value.strip()}" if is_taken_for_else(value) else value
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text.replace(".", ",") if language == "pt" else text


def is_taken_for_else(text: str) -> bool:
    """Whether a spreadsheet, in Portuguese or English, would not leave this as the text that it is."""
    bare = text.strip().casefold()
    if bare.startswith(FORMULA) or bare in TRUTH:
        return True
    return any(letter.isdigit() for letter in bare) and {*WORD.findall(bare)} <= {*OF_NUMBERS.split()}

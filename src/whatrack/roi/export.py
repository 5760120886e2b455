"""The report as a file: CSV for Excel in Brazil and elsewhere, and XLSX. Every row, the special ones and the totals, no column cut.

CSV: UTF-8 with a byte order mark, so that Excel reads it; in Portuguese with semicolons and decimal commas, else with commas and
points. A cell that a spreadsheet would take for a formula is written as text. Nothing is an empty cell. An id of digits alone has a
tab before it: a spreadsheet would make a number of it, 1,2E+17, and lose its last digits; with the tab it stays a text, and who
reads the file by a program strips it, as the API's strings need no such thing.
"""

import csv
import io
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import xlsxwriter

from whatrack.roi import metrics
from whatrack.roi.answers import Report, Row
from whatrack.roi.metrics import FIELDS, RATIOS, Number
from whatrack.units import minor_digits

Language = Literal["pt", "en"]
Words = Mapping[str, Mapping[str, str]]  # column → value → how a reader calls it
TEXTS = (
    "kind", "id", "name", "status", "account_id", "account_name", "campaign_id", "campaign_name", "adset_id", "adset_name",
    "currency",
)  # fmt: skip
# What the row's account pays in, and its spend in it where that is not the report's currency, which all other money is in.
OF_ACCOUNT = ("account_currency", "account_spend")
IDS = ("id", "account_id", "campaign_id", "adset_id")
NUMBERS = (*FIELDS, *RATIOS)
COUNTS = frozenset(name for name in FIELDS if name not in metrics.MONEY)
RATIO = Decimal("0.000001")
BOM = "\ufeff"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def rounded(name: str, amount: Number | None, currency: str) -> Number | None:
    """A number as it is told: money in whole minor units, counts as they are, ratios to six places."""
    if amount is None or name in COUNTS:
        return amount
    places = Decimal(1).scaleb(-minor_digits(currency)) if name in metrics.MONEY else RATIO
    return Decimal(amount).quantize(places, ROUND_HALF_UP)


def table(report: Report) -> list[dict[str, str | Number | None]]:
    """Every line as columns: rows, special rows, totals."""
    return [_line(row, report.currency) for row in (*report.rows, *report.special, report.totals)]


def as_csv(
    report: Report,
    language: Language = "pt",
    titles: Mapping[str, str] | None = None,
    words: Words | None = None,
) -> bytes:
    """The file. titles: column → what it is called; its own name where there is none. words: of texts, likewise."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=";" if language == "pt" else ",", lineterminator="\r\n")
    columns = (*TEXTS, *OF_ACCOUNT, *NUMBERS)
    writer.writerow([(titles or {}).get(column, column) for column in columns])
    for line in table(report):
        told = _told(line, words)
        writer.writerow(
            [_id(told[column]) if column in IDS else _cell(told[column], language) for column in columns]
        )
    return (BOM + stream.getvalue()).encode()


def as_xlsx(report: Report, titles: Mapping[str, str] | None = None, words: Words | None = None) -> bytes:
    """The workbook: one sheet, numbers as numbers, the titles and the first three columns kept in view."""
    stream = io.BytesIO()
    book = xlsxwriter.Workbook(
        stream, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    sheet = book.add_worksheet("ROI")
    bold = book.add_format({"bold": True})
    formats = {name: book.add_format({"num_format": _format(name)}) for name in ("account_spend", *NUMBERS)}
    columns = (*TEXTS, *OF_ACCOUNT, *NUMBERS)
    sheet.write_row(0, 0, [(titles or {}).get(column, column) for column in columns], bold)
    for place, line in enumerate(table(report), start=1):
        told = _told(line, words)
        for across, column in enumerate(columns):
            value = told[column]
            if isinstance(value, str):
                sheet.write_string(place, across, value)
            elif value is not None:
                sheet.write_number(place, across, float(value), formats[column])
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


def _line(row: Row, currency: str) -> dict[str, str | Number | None]:
    texts = {name: getattr(row, name) for name in TEXTS if name != "currency"} | {"currency": currency}
    own = row.currency if row.kind != "total" or row.own_spend is not None else None
    spent = rounded("spend", row.own_spend, row.currency or currency)
    numbers = {name: rounded(name, metrics.value(row.amounts, name), currency) for name in NUMBERS}
    return {**texts, "account_currency": own, "account_spend": spent, **numbers}


def _id(value: str | Number | None) -> str:
    text = str(value or "")
    return f"\t{text}" if text.isdecimal() else _cell(text, "en")


def _cell(value: str | Number | None, language: Language) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return text.replace(".", ",") if language == "pt" else text

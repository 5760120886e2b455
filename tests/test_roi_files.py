"""The report's files as a spreadsheet opens them. The cells' own tests always run; those with LibreOffice where it is installed."""

import csv
import io
import shutil
import subprocess
import xml.etree.ElementTree as Xml
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from whatrack.roi import export, metrics
from whatrack.roi.answers import SPECIAL, Report, Row
from whatrack.roi.ask import Ask
from whatrack.roi.metrics import Amounts

SOFFICE = shutil.which("soffice")
# Names that people give ads, and what a spreadsheet makes of them: formulas, dates, times, numbers, shares, truth.
TAKEN_FOR_ELSE = (
    "=1+1", "+55 11 3555", "-promo", "@clinica", " =1+1", "\t=1+1", "11/11", "1/2", "2024", "0012", "12:30", "1e5", "10%", "R$ 5,00", "5,00",
    "11.11", "VERDADEIRO", "FALSE", "2026-11-26", "26/11/2026", "Nov 11", "11 nov", "11 de novembro", "jan/26", "10:30 PM", "120201219343691323",
)  # fmt: skip
PLAIN = (
    "Implantes · ação", "Oferta; só hoje, já", 'Dra. "Ana"', "Black 20/11", "R$ 499 à vista", "C1", "a=b", "Março",
)  # fmt: skip
NAMES = (*TAKEN_FOR_ELSE, *PLAIN)
IDS = ("id", "account_id", "campaign_id", "adset_id")
ID = "120201219343691323"
AMOUNTS = Amounts(
    spend=Decimal("4431.44"), gross_spend=Decimal("5044.33"), impressions=24713, clicks=335, link_clicks=245, conversations=109,
    leads=109, qualified=16, sales=4, revenue=Decimal("2429.60"), attributed_revenue=Decimal("2429.60"),
)  # fmt: skip
FORMATS = "urn:oasis:names:tc:opendocument:xmlns:{}:1.0"
TABLE, OFFICE, TEXT = (f"{{{FORMATS.format(name)}}}" for name in ("table", "office", "text"))


class Cell(NamedTuple):
    """A cell as a spreadsheet has it. kind: float, percentage, string …; "" where there is nothing."""

    kind: str
    value: str
    formula: str
    text: str


@pytest.fixture
def answer() -> Report:
    """An ad for each name, all of one id: its file would lose the end of it, were it a number."""
    rows = [
        Row("ad", ID, name, AMOUNTS, "ACTIVE", campaign_id=ID, campaign_name=name, adset_id=ID, adset_name=name,
            account_id="act_201290308681819", account_name=name, currency="BRL")
        for name in NAMES
    ]  # fmt: skip
    return Report(
        ask=Ask(level="ad", since=date(2026, 10, 1), until=date(2026, 10, 30)), currency="BRL", rows=rows,
        special=[Row(kind, "", None, Amounts()) for kind in SPECIAL], totals=Row("total", "", "Total", AMOUNTS), previous=None,
        count=len(rows), notes=frozenset(), freshness=[], break_even=None, asks_tax=False, immature_since=None,
        taken_at=datetime(2026, 11, 1, tzinfo=UTC),
    )  # fmt: skip


@pytest.mark.parametrize(("language", "separator"), [("pt", ";"), ("en", ",")])
def test_a_text_that_a_spreadsheet_would_take_for_something_else_has_a_tab_before_it(
    answer: Report, language: export.Language, separator: str
):
    body = export.as_csv(answer, language).decode("utf-8-sig")
    read = list(csv.DictReader(io.StringIO(body, newline=""), delimiter=separator))

    for name, line in zip(NAMES, read, strict=False):
        told = f"\t{name.strip()}" if name in TAKEN_FOR_ELSE else name
        assert line["name"] == line["campaign_name"] == line["account_name"] == told
        assert line["id"] == line["campaign_id"] == line["adset_id"] == f"\t{ID}"
        assert line["account_id"] == "act_201290308681819"


def test_every_cell_is_quoted_so_that_no_separator_a_person_ticks_takes_it_apart(answer: Report):
    first, *lines = export.as_csv(answer, "pt").decode("utf-8-sig").split("\r\n")
    assert all(line.startswith('"') and line.endswith('"') for line in (first, *lines[:-1]))
    assert {len(line.split('";"')) for line in lines[:-1]} == {len(first.split('";"'))}


@pytest.mark.skipif(SOFFICE is None, reason="LibreOffice is not installed")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        # As it proposes them in Brazil: tab, comma and semicolon all ticked, UTF-8, Portuguese, special numbers detected.
        ("pt.csv", "CSV:9/44/59,34,76,1,,1046,false,true"),
        ("en.csv", "CSV:44,34,76,1,,1033,false,true"),
        ("both.xlsx", None),
    ],
)
def test_a_spreadsheet_finds_numbers_whole_ids_names_and_no_formula(
    answer: Report, tmp_path: Path, name: str, options: str | None
):
    file = tmp_path / name
    file.write_bytes(export.as_xlsx(answer) if options is None else export.as_csv(answer, file.stem))  # type: ignore[arg-type] # pt or en

    titles, *lines = opened(file, options)

    columns = [cell.text for cell in titles]
    assert len(lines) == len(NAMES) + len(SPECIAL) + 1
    assert columns == [*export.TEXTS, *export.OF_ACCOUNT, *export.NUMBERS]
    for name, cells in zip(NAMES, lines, strict=False):
        line = dict(zip(columns, cells, strict=True))
        assert not any(cell.formula for cell in cells)
        for each in ("name", "campaign_name", "adset_name", "account_name"):
            assert (line[each].kind, line[each].text.strip()) == ("string", name.strip())
        for each in IDS:
            assert line[each].kind == "string"
            assert line[each].text.strip() == ("act_201290308681819" if each == "account_id" else ID)
        for each in export.NUMBERS:
            told = export.rounded(each, metrics.value(AMOUNTS, each), "BRL")
            assert (line[each].kind in ("float", "percentage")) == (told is not None), each
            assert told is None or abs(Decimal(line[each].value) - told) < Decimal("1e-9"), each


def opened(file: Path, options: str | None) -> list[list[Cell]]:
    """The rows of a file, as LibreOffice opens it. options: of its CSV filter."""
    assert SOFFICE
    profile = f"-env:UserInstallation=file://{file.parent}/profile"
    how = [f"--infilter={options}"] if options else []
    subprocess.run(
        [SOFFICE, "--headless", profile, *how, "--convert-to", "fods", "--outdir", str(file.parent), str(file)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    rows = Xml.parse(file.with_suffix(".fods")).getroot().iter(f"{TABLE}table-row")
    found = [list(_cells(row)) for row in rows]
    width = max(
        place for place, cell in enumerate(found[0], 1) if cell.kind
    )  # of the titles; further cells are padding
    return [row[:width] for row in found if any(cell.kind for cell in row)]


def _cells(row: Xml.Element) -> Iterator[Cell]:
    for cell in row:
        said = "\n".join(_said(line) for line in cell.findall(f"{TEXT}p"))
        found = Cell(
            cell.get(f"{OFFICE}value-type", ""),
            cell.get(f"{OFFICE}value", ""),
            cell.get(f"{TABLE}formula", ""),
            said,
        )
        yield from [found] * min(int(cell.get(f"{TABLE}number-columns-repeated", "1")), 100)


def _said(line: Xml.Element) -> str:
    """The text of a paragraph, spaces and tabs in it."""
    parts = [line.text or ""]
    for each in line:
        within = {f"{TEXT}tab": "\t", f"{TEXT}s": " "}.get(each.tag)
        parts += [_said(each) if within is None else within, each.tail or ""]
    return "".join(parts)

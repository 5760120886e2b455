"""The report's pure parts: what an address asks for, its days, charts as numbers, colours, what a sheet of rates says."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatrack.roi import metrics, sums
from whatrack.roi.answers import Report, Row
from whatrack.roi.ask import check
from whatrack.roi.metrics import Amounts
from whatrack.web.pages import charts, i18n, roi_columns
from whatrack.web.pages import roi_figures as figures
from whatrack.web.pages.roi_columns import CARDS, COLUMNS, PHONE, PRESETS, USUAL
from whatrack.web.pages.roi_figures import Judge
from whatrack.web.pages.roi_filters import Filters

TODAY = date(2026, 11, 26)


# Addresses


def test_an_address_keeps_what_it_says_and_drops_what_is_as_usual():
    filters = Filters.read(
        [("account", "act_1"), ("account", "act_2"), ("level", "ad"), ("period", "30"), ("other", "x")]
    )

    assert filters.to("/roi") == "/roi?level=ad&account=act_1&account=act_2"
    assert Filters.of_question(filters.question) == filters


def test_what_an_address_cannot_mean_is_as_if_it_were_not_there():
    filters = Filters.read(
        [
            ("level", "galaxy"),
            ("period", "-3"),
            ("basis", "luck"),
            ("dir", "up"),
            ("q", "a\x00b"),
            ("offset", "x"),
            ("sort", "luck"),
            ("since", "2026-02-30"),
            ("within", "galaxy:1"),
        ]
    )

    assert filters == Filters(q="ab")
    assert filters.ask(TODAY).offset == 0


@pytest.mark.parametrize("offset", ["1000001", "9223372036854775808", "9" * 200])
def test_a_page_farther_than_any_report_goes_is_one_that_can_still_be_asked_for(offset: str):
    ask = Filters.read([("offset", offset)]).ask(TODAY)

    assert ask.offset == 1_000_000
    assert check(ask) is ask


def test_a_change_of_filters_begins_at_the_first_page():
    assert Filters(offset="100").to("/roi", sort="roas") == "/roi?sort=roas"
    assert Filters(offset="100").to("/roi", offset="200") == "/roi?offset=200"


@pytest.mark.parametrize(
    ("period", "since", "until"),
    [
        ("today", TODAY, TODAY),
        ("yesterday", date(2026, 11, 25), date(2026, 11, 25)),
        ("7", date(2026, 11, 20), TODAY),
        ("14", date(2026, 11, 13), TODAY),
        ("30", date(2026, 10, 28), TODAY),
        ("last-week", date(2026, 11, 16), date(2026, 11, 22)),  # TODAY is a Thursday
        ("month", date(2026, 11, 1), TODAY),
        ("last-month", date(2026, 10, 1), date(2026, 10, 31)),
    ],
)
def test_a_preset_means_these_days(period: str, since: date, until: date):
    assert Filters(period=period).days(TODAY) == (since, until)


@pytest.mark.parametrize(
    ("period", "against"),
    [("7", "days"), ("30", "days"), ("custom", "days"), ("month", "month"), ("last-month", "month")],
)
def test_a_month_is_compared_with_the_month_before(period: str, against: str):
    assert Filters(period=period).ask(TODAY).against == against


@pytest.mark.parametrize("today", [date(2026, 11, 23), date(2026, 11, 29)])  # Monday, Sunday
def test_last_week_is_the_one_before_that_of_today(today: date):
    assert Filters(period="last-week").days(today) == (date(2026, 11, 16), date(2026, 11, 22))


def test_last_month_of_january_is_december():
    assert Filters(period="last-month").days(date(2026, 1, 31)) == (date(2025, 12, 1), date(2025, 12, 31))


@given(
    since=st.text(max_size=12) | st.dates().map(str),
    until=st.text(max_size=12) | st.dates().map(str),
)
def test_a_custom_period_is_always_one(since: str, until: str):
    first, last = Filters(period="custom", since=since, until=until).days(TODAY)

    assert first <= last
    assert last - first < timedelta(days=730)


def test_a_custom_period_typed_the_wrong_way_round_is_turned():
    filters = Filters(period="custom", since="2026-11-10", until="2026-11-01")

    assert filters.days(TODAY) == (date(2026, 11, 1), date(2026, 11, 10))


def test_the_question_carries_every_filter():
    profile = "0199b1c2-0000-7000-8000-000000000001"
    filters = Filters(
        level="ad", basis="click", account=("act_1",), profile=(profile, "no-uuid"), status=("active", "x"), spent="0",
        q="frio", within=("campaign:12", "nonsense", "ad:1"), sort="roas", dir="asc", offset="100", compare="0",
    )  # fmt: skip
    ask = filters.ask(TODAY)

    assert (ask.level, ask.basis, ask.accounts, ask.profiles) == ("ad", "click", ("act_1",), (profile,))
    assert (ask.statuses, ask.spent_only, ask.text) == (("active",), False, "frio")
    assert [(each.kind, each.id) for each in ask.within] == [("campaign", "12")]
    assert (ask.sort, ask.descending, ask.offset, ask.compare) == ("roas", False, 100, False)


# Columns


def test_every_column_is_a_quantity_or_a_formula_of_the_report():
    known = {*metrics.FIELDS, *metrics.RATIOS}

    assert {*COLUMNS} <= known
    assert {term for column in COLUMNS.values() for term in column.over} <= {*COLUMNS}


def test_no_figure_is_sorted_by_that_the_statements_cannot():
    assert {*metrics.SORTS} <= {*sums.ORDERS}
    assert not [name for name in metrics.SORTS if name.startswith("attributed_")]


def test_presets_cards_and_the_phone_show_columns_that_there_are():
    shown = {name for _label, names in PRESETS.values() for name in names} | {*USUAL, *CARDS, *PHONE}

    assert shown <= {*COLUMNS}
    for key, (_label, names) in PRESETS.items():
        assert roi_columns.preset_of(roi_columns.known(names)) == key


# Figures


def amounts(**more: Decimal | int) -> Amounts:
    return Amounts(**{"spend": Decimal(1000), "sales": 10, "leads": 100, **more})  # type: ignore[arg-type] # as its fields are declared


def test_colour_goes_by_break_even_and_target_and_never_alone():
    judge = Judge(Decimal("1.3"), Decimal(3))

    assert judge.of(Decimal("1.29")) == ("bad", "▼", "abaixo do equilíbrio")
    assert judge.of(Decimal("1.3")) == ("warn", "●", "abaixo da meta")
    assert judge.of(Decimal(3)) == ("good", "▲", "na meta")
    assert judge.of(None) == ("", "", "")


def test_without_a_target_there_is_red_or_nothing():
    assert Judge(None, Decimal(3)).of(Decimal(9))[0] == "bad"  # a sale leaves nothing: none is enough
    judge = Judge(Decimal("1.3"), None)

    assert judge.of(Decimal("1.2"))[0] == "bad"
    assert judge.of(Decimal(9)) == ("", "", "")


@pytest.mark.parametrize(
    ("column", "now", "before", "arrow", "tone"),
    [
        ("revenue", 120, 100, "▲", "good"),
        ("revenue", 80, 100, "▼", "bad"),
        ("spend", 120, 100, "▲", ""),
        ("refunds", 120, 100, "▲", "bad"),
        ("refunds", 80, 100, "▼", "good"),
        ("revenue", Decimal("100.9"), 100, "=", ""),
    ],
)
def test_a_change_is_an_arrow_and_words_and_less_cost_is_good(
    column: str, now: Decimal | int, before: Decimal | int, arrow: str, tone: str
):
    found = figures.change(
        COLUMNS[column], amounts(**{column: Decimal(now)}), amounts(**{column: Decimal(before)}), "BRL"
    )

    assert (found.arrow, found.tone) == (arrow, tone)
    assert found.text in ("20,0% a mais", "20,0% a menos", "estável")
    assert found.before == "antes R$\xa0100,00"


def test_without_a_period_before_nothing_is_compared():
    assert figures.change(COLUMNS["revenue"], amounts(), None, "BRL").text == "sem comparação"
    assert figures.change(COLUMNS["revenue"], amounts(revenue=Decimal(5)), amounts(), "BRL").arrow == ""


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("spend", Decimal("1234.5"), "R$\xa01.234,50"),
        ("leads", 1234, "1.234"),
        ("roas", Decimal("2.449"), "2,45x"),
        ("roi", Decimal("0.1234"), "12,3%"),
        ("roas", None, "—"),
        ("roas", Decimal(0), "0,00x"),
    ],
)
def test_figures_are_written_as_brazilians_read_them(column: str, value: Decimal | int | None, text: str):
    assert figures.written(COLUMNS[column], value, "BRL") == text


# Charts


@given(st.decimals(min_value="0.01", max_value=10**12, places=2))
def test_the_axis_ends_at_the_first_round_number_above(highest: Decimal):
    top = charts.ceiling(highest)

    assert highest <= top < highest * 2
    assert (top / Decimal(10) ** top.adjusted()).normalize() in {step.normalize() for step in charts.STEPS}


def test_a_day_without_a_figure_is_a_gap_and_a_lone_day_still_a_stroke():
    first = date(2026, 11, 1)
    days = [
        (first + timedelta(days=place), spend, Decimal(10))
        for place, spend in enumerate((Decimal(1), Decimal(2), None, Decimal(3)))
    ]
    chart = charts.spend_and_revenue(days, soft_since=first + timedelta(days=3))

    assert len(chart.spend) == 2
    assert len(chart.revenue) == 1
    assert [point.soft for point in chart.points] == [False, False, False, True]
    assert chart.soft_from is not None
    assert chart.ticks[-1] == "0"
    assert chart.labels == ["01/11", "02/11", "03/11", "04/11"]


def test_the_days_of_the_chart_are_in_the_order_of_the_language():
    token = i18n.language.set("en")
    try:
        chart = charts.spend_and_revenue([(date(2026, 11, 3), Decimal(1), Decimal(1))])
    finally:
        i18n.language.reset(token)
    assert chart.labels == ["11/03"]


def test_a_chart_of_one_day_or_of_none_is_drawn():
    one = charts.spend_and_revenue([(TODAY, Decimal(0), Decimal(0))])
    none = charts.spend_and_revenue([])

    assert len(one.spend) == 1
    assert (none.spend, none.points) == ([], [])


def test_the_figures_of_a_single_day_are_seen_from_side_to_side():
    one = charts.spend_and_revenue([(TODAY, Decimal(1), Decimal(2))], soft_since=TODAY)

    assert one.spend == ["0.0,50.00 1000.0,50.00"]
    assert one.revenue == ["0.0,0.00 1000.0,0.00"]
    assert [point.x for point in one.points] == [500.0]
    assert one.soft_from == 0


def test_a_sparkline_of_nothing_is_none():
    assert charts.sparkline([Decimal(0), 0, None]) == []
    assert charts.sparkline([Decimal(5)]) == []
    assert charts.sparkline([1, 3]) == ["0.0,15.7 100.0,1.0"]
    assert len(charts.sparkline([1, 2, None, 3, 4])) == 2


def test_a_loss_of_a_small_sample_is_said_without_colour():
    row = Row(kind="ad", id="1", name="A", amounts=amounts(sales=0, gross_spend=Decimal(1000)))
    cell = figure_of("profit", row)

    assert (cell.text, cell.note, cell.tone) == ("-R$\xa01.000,00", "prejuízo até aqui", "")
    sure = figure_of("profit", msgspec.structs.replace(row, clear_loss=True))
    assert (sure.note, sure.tone, sure.word) == ("", "bad", "prejuízo")


@pytest.mark.parametrize(
    ("status", "word", "tone"),
    [
        ("ACTIVE", "ativo", "green"),
        ("ACCOUNT_3", "pagamento pendente", "amber"),
        ("ACCOUNT_4711", "situação desconhecida", "slate"),
        ("SOME_NEW_ONE", "some new one", "amber"),
    ],
)
def test_a_status_is_told_in_words(status: str, word: str, tone: str):
    row = Row(kind="account", id="act_1", name="A", amounts=amounts(), status=status)

    assert figures.status_of(row) == (word, tone)


# What is said of a few sales


def figure_of(name: str, row: Row) -> figures.Cell:
    ask = Filters().ask(TODAY)
    total = Row(kind="total", id="", name=None, amounts=row.amounts)
    report = Report(
        ask=ask, currency="BRL", rows=[row], special=[], totals=total, previous=None, count=1, notes=frozenset(), freshness=[],
        break_even=Decimal("1.5"), asks_tax=False, immature_since=None, taken_at=datetime(2026, 11, 26, tzinfo=UTC),
    )  # fmt: skip
    return figures.cell(COLUMNS[name], row, report, Judge(Decimal("1.5"), None), "")


@pytest.mark.parametrize(
    ("clear_loss", "note", "tone"), [(True, "prejuízo claro", "bad"), (False, "amostra pequena", "")]
)
def test_a_clear_loss_of_few_sales_is_red_and_says_so(clear_loss: bool, note: str, tone: str):
    row = Row(
        kind="ad", id="1", name="A", amounts=amounts(sales=0, revenue=Decimal(0)), clear_loss=clear_loss
    )
    cell = figure_of("roas", row)

    assert (cell.note, cell.tone, cell.mark) == (note, tone, "▼" if tone else "")
    assert ("nem com 2,97" in cell.terms) is clear_loss

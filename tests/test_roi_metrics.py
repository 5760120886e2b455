"""The formulas, the days of periods, and the costs: rules without a database."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whatrack.errors import Refused
from whatrack.insights import rollups
from whatrack.roi import costs, metrics, periods, rates
from whatrack.roi.ask import Ask, check, previous
from whatrack.roi.costs import Cost
from whatrack.roi.metrics import Amounts

MONEY = st.decimals(min_value=0, max_value=10**8, places=2)
COUNT = st.integers(min_value=0, max_value=10**7)
DAYS = st.dates(min_value=date(1990, 1, 1), max_value=date(2040, 12, 31))


@st.composite
def amounts(draw: st.DrawFn) -> Amounts:
    values: dict[str, Any] = {
        name: draw(MONEY if name in metrics.MONEY else COUNT)
        for name in metrics.FIELDS
        if draw(st.booleans())
    }
    return Amounts(**values)


@given(st.lists(amounts(), max_size=5))
def test_totals_add_up_and_never_depend_on_order(parts: list[Amounts]):
    whole = metrics.total(parts)

    assert whole == metrics.total(reversed(parts))
    for name in metrics.FIELDS:
        known = [getattr(part, name) for part in parts if getattr(part, name) is not None]
        if name != "reach":
            assert (getattr(whole, name) or 0) == sum(known)
    assert whole.reach is None  # people are never added


@given(amounts())
def test_no_formula_fails_and_none_divides_by_nothing(part: Amounts):
    for name in metrics.RATIOS:
        number = metrics.value(part, name)
        assert number is None or Decimal(number).is_finite()


def test_the_formulas_are_those_of_the_definition():
    part = Amounts(
        spend=Decimal(1000), gross_spend=Decimal("1138.30"), impressions=50_000, clicks=800, link_clicks=500, reach=20_000,
        meta_conversations=100, conversations=80, leads=90, qualified=30, sales=12, sales_without_value=2, revenue=Decimal(6000),
        refunds=Decimal(500), product_cost=Decimal(1200), fees=Decimal(300), attributed_revenue=Decimal(5000), attributed_sales=10,
    )  # fmt: skip

    assert part.net_revenue == 5500
    assert part.profit == Decimal("2861.70")
    assert [part.roas, part.blended_roas, part.net_roas] == [5, 6, Decimal("5.5")]
    assert part.roi == Decimal("2861.70") / Decimal("1138.30")
    assert part.roi_on_costs == Decimal("2861.70") / Decimal("2638.30")  # of media with tax, product and fees
    assert part.margin == Decimal("2861.70") / 5500
    assert part.ticket_average == 600
    assert part.cpl == Decimal(1000) / 90
    assert (part.cpa, part.cost_per_qualified) == (Decimal(1000) / 12, Decimal(1000) / 30)
    assert [part.cost_per_conversation, part.cost_per_meta_conversation] == [Decimal("12.5"), 10]
    assert [part.cpm, part.cpc, part.cpc_all] == [20, 2, Decimal("1.25")]
    assert (part.ctr, part.ctr_all, part.frequency) == (Decimal("0.01"), Decimal("0.016"), Decimal("2.5"))
    assert (part.conversation_rate, part.qualification_rate) == (Decimal("0.16"), Decimal(30) / 90)
    assert (part.conversion_rate, part.close_rate) == (Decimal(12) / 90, Decimal("0.4"))


def test_spend_without_sales_is_a_roas_of_zero_and_sales_without_spend_none():
    assert Amounts(spend=Decimal(10)).roas == 0
    assert Amounts(spend=Decimal(0), attributed_revenue=Decimal(10), revenue=Decimal(10)).roas is None
    assert Amounts(leads=3).cpl is None  # a row without an ad has no spend to divide


def test_brazil_s_tax_is_a_part_of_the_invoice():
    assert (Decimal(100) * costs.factor(costs.BRAZIL)).quantize(Decimal("0.01")) == Decimal("113.83")
    assert metrics.break_even(Decimal("0.3"), costs.BRAZIL) == 1 / (Decimal("0.7") * Decimal("0.8785"))
    assert metrics.break_even(Decimal(1), Decimal(0)) is None


@given(DAYS, st.integers(0, 800))
def test_blocks_are_every_day_once(first: date, length: int):
    begin = rollups.number(first)
    days: Counter[int] = Counter()
    for size, block, sign in rollups.blocks(begin, begin + length):
        starts = block * rollups.STEPS.get(size, 1)
        for day in range(starts, starts + size):
            days[day] += sign

    assert {day: times for day, times in days.items() if times} == dict.fromkeys(
        range(begin, begin + length + 1), 1
    )


@given(DAYS, st.integers(0, 400))
def test_few_blocks_make_a_long_period(first: date, length: int):
    begin = rollups.number(first)

    assert len(rollups.blocks(begin, begin + length)) <= 10 + length / 64


@given(DAYS, st.integers(28, 33))
def test_a_month_is_a_block_and_what_it_differs_by(first: date, length: int):
    begin = rollups.number(first)

    assert len(rollups.blocks(begin, begin + length - 1)) <= 5


@given(DAYS, st.sampled_from([*rollups.STEPS]))
def test_the_blocks_that_have_a_day(day: date, size: int):
    place, step = rollups.number(day), rollups.STEPS[size]
    near = range(place // step - size, place // step + size)

    assert [*rollups.having(place, size)] == [n for n in near if n * step <= place < n * step + size]


ZONES = ("America/Sao_Paulo", "America/Manaus", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kathmandu", "UTC")


@given(
    DAYS, st.integers(0, 60), st.sets(st.sampled_from(ZONES), min_size=1), st.integers(-3 * 86400, 64 * 86400)
)
def test_an_instant_is_in_a_zone_s_buckets_exactly_on_its_days(
    since: date, length: int, zones: set[str], seconds: int
):
    until = since + timedelta(days=length)
    cut = periods.buckets(since, until, zones)
    at = datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(seconds=seconds)
    bucket = sum(bound <= at for bound in cut.bounds)  # as width_bucket counts

    for zone in zones:
        first, last = cut.of_zone[zone]
        assert (first <= bucket <= last) == (since <= periods.day_in(at, zone) <= until)


def test_a_day_without_midnight_begins_when_the_clocks_change():
    # São Paulo, 2018-11-04: 00:00 became 01:00. The day had 23 hours, and the day before ended at 03:00 UTC.
    assert periods.begins(date(2018, 11, 4), "America/Sao_Paulo") == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert periods.begins(date(2018, 11, 5), "America/Sao_Paulo") == datetime(2018, 11, 5, 2, tzinfo=UTC)
    # 2019-02-17: the hour before midnight came twice, so the day before had 25.
    assert periods.begins(date(2019, 2, 17), "America/Sao_Paulo") == datetime(2019, 2, 17, 3, tzinfo=UTC)


RULE_DAYS = st.dates(min_value=date(2026, 1, 1), max_value=date(2026, 3, 31))


@st.composite
def taxes(draw: st.DrawFn) -> list[Cost]:
    """Rules as the store lets them be: no two of one account for one day."""
    rules: list[Cost] = []
    for account in (None, "act_1"):
        edges = sorted(draw(st.sets(RULE_DAYS, max_size=4)))
        for since, until in zip(edges[::2], edges[1::2], strict=False):
            rules.append(
                Cost(
                    "meta_tax",
                    draw(st.sampled_from([Decimal("0.1215"), Decimal("0.05")])),
                    since=since,
                    until=until,
                    ad_account_id=account,
                )
            )
    return rules


@given(taxes(), RULE_DAYS, st.integers(0, 80))
def test_stretches_of_tax_hold_for_each_of_their_days(rules: list[Cost], since: date, length: int):
    until = since + timedelta(days=length)
    stretches = costs.tax_spans(rules, "act_1", since, until)

    told = {
        day: stretch.factor for stretch in stretches for day in periods.days(stretch.since, stretch.until)
    }
    assert told == {day: costs.factor(costs.tax(rules, "act_1", day)) for day in periods.days(since, until)}


@given(
    st.lists(st.tuples(RULE_DAYS, st.integers(0, 30), st.sampled_from(["fee", "product"])), max_size=5),
    RULE_DAYS,
)
def test_the_stretch_of_a_sale_holds_the_costs_of_its_day(made: Sequence[tuple[date, int, Any]], day: date):
    rules = [
        Cost(kind, Decimal("0.1"), Decimal(place), since=since, until=since + timedelta(days=length))
        for place, (since, length, kind) in enumerate(made)
    ]
    stretches = costs.sale_costs(rules)

    assert stretches.parts[sum(start <= day for start in stretches.starts)] == costs.sale_cost(rules, day)


def test_two_taxes_for_one_day_are_refused_but_fees_add_up():
    january = Cost("meta_tax", Decimal("0.1"), since=date(2026, 1, 1), until=date(2026, 1, 31))

    with pytest.raises(Refused):
        costs.check(Cost("meta_tax", Decimal("0.2"), since=date(2026, 1, 31)), [january])
    costs.check(Cost("meta_tax", Decimal("0.2"), since=date(2026, 2, 1)), [january])
    costs.check(Cost("meta_tax", Decimal("0.2"), ad_account_id="act_1"), [january])
    costs.check(Cost("fee", Decimal("0.1")), [Cost("fee", Decimal("0.1"))])
    for wrong in (
        Cost("fee", Decimal(1)),
        Cost("meta_tax", fixed=Decimal(1)),
        Cost("fee", ad_account_id="act_1"),
    ):
        with pytest.raises(Refused):
            costs.check(wrong, [])


def test_a_rate_is_carried_over_a_weekend_and_no_further_than_four_days():
    friday, monday = date(2026, 10, 9), date(2026, 10, 12)
    carried = rates.carried({friday: Decimal(5), monday: Decimal(6)})

    assert carried[date(2026, 10, 10)] == carried[date(2026, 10, 11)] == 5
    assert monday not in carried
    assert max(carried) == date(2026, 10, 16)


@pytest.mark.parametrize(("sales", "exact"), [(0, 2.996), (1, 4.744), (2, 6.296), (4, 9.154), (20, 29.062)])
def test_the_most_sales_to_expect_are_poisson_s_upper_bound_of_95_per_cent(sales: int, exact: float):
    assert abs(float(metrics.most_sales(sales)) - exact) < exact * 0.01


# spend, sales, revenue, the report's average ticket → whether it is a clear loss at a break-even of 1.5
@pytest.mark.parametrize(
    ("spend", "sales", "revenue", "average", "is_loss"),
    [
        pytest.param(100, 0, 0, 200, False, id="nothing sold for half a ticket says nothing"),
        pytest.param(390, 0, 0, 200, False, id="three sales at 200 would just have paid for it"),
        pytest.param(410, 0, 0, 200, True, id="not even the three sales that chance may have kept away"),
        pytest.param(700, 1, 200, 200, True, id="one sale, and not even 4.7 would have paid"),
        pytest.param(600, 1, 200, 200, False, id="one sale, and 4.7 would have paid"),
        pytest.param(700, 1, 900, 200, False, id="its own tickets are dearer than the average"),
        pytest.param(100, 4, 400, 100, False, id="above break-even is no loss"),
        pytest.param(10_000, 0, 0, None, False, id="nobody knows what a sale would bring"),
        pytest.param(0, 0, 0, 200, False, id="nothing was spent"),
    ],
)
def test_few_sales_are_a_clear_loss_only_where_luck_cannot_explain_them(
    spend: int, sales: int, revenue: int, average: int | None, is_loss: bool
):
    told = Amounts(
        spend=Decimal(spend), leads=10, sales=sales, revenue=Decimal(revenue), attributed_revenue=Decimal(revenue)
    )  # fmt: skip

    found = metrics.is_clear_loss(told, None if average is None else Decimal(average), Decimal("1.5"))

    assert found is is_loss


def test_the_average_ticket_of_ads_leaves_out_what_came_without_them():
    told = Amounts(
        sales=10, sales_without_value=1, revenue=Decimal(9000), attributed_sales=5, attributed_revenue=Decimal(1000)
    )  # fmt: skip

    assert told.attributed_ticket == 250
    assert Amounts(sales=3, revenue=Decimal(900)).attributed_ticket is None


def test_with_enough_sales_and_leads_below_break_even_is_a_clear_loss():
    told = Amounts(
        spend=Decimal(1000), leads=30, sales=5, revenue=Decimal(1400), attributed_revenue=Decimal(1400)
    )

    assert metrics.is_clear_loss(told, Decimal(280), Decimal("1.5"))
    assert not metrics.is_clear_loss(told, Decimal(280), Decimal("1.4"))
    assert metrics.is_clear_loss(told, Decimal(280), None)  # a sale leaves nothing


def test_the_period_before_has_as_many_days_and_ends_where_this_begins():
    ask = check(Ask(level="ad", since=date(2026, 10, 1), until=date(2026, 10, 30)))

    assert (previous(ask).since, previous(ask).until) == (date(2026, 9, 1), date(2026, 9, 30))


@pytest.mark.parametrize(
    ("since", "until", "earlier"),
    [
        pytest.param("2026-11-01", "2026-11-26", ("2026-10-01", "2026-10-26"), id="month so far"),
        pytest.param("2026-10-01", "2026-10-31", ("2026-09-01", "2026-09-30"), id="whole month"),
        pytest.param("2026-02-01", "2026-02-28", ("2026-01-01", "2026-01-31"), id="whole short month"),
        pytest.param(
            "2026-03-01", "2026-03-30", ("2026-02-01", "2026-02-28"), id="longer than the month before"
        ),
        pytest.param("2026-01-01", "2026-01-01", ("2025-12-01", "2025-12-01"), id="the first of January"),
        pytest.param(
            "2026-03-31", "2026-03-31", ("2026-02-28", "2026-02-28"), id="a day that February lacks"
        ),
    ],
)
def test_against_the_month_before_are_its_same_days_as_far_as_it_has_them(
    since: str, until: str, earlier: tuple[str, str]
):
    ask = check(
        Ask(level="ad", since=date.fromisoformat(since), until=date.fromisoformat(until), against="month")
    )

    assert (str(previous(ask).since), str(previous(ask).until)) == earlier


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": date(2026, 9, 1)}, {"sort": "nothing"}, {"limit": 0}, {"until": date(2032, 1, 1)}, {"against": "year"},
        {"against": "month", "until": date(2026, 11, 2)},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any]):
    with pytest.raises(Refused):
        check(Ask(**{"level": "ad", "since": date(2026, 10, 1), "until": date(2026, 10, 2), **wrong}))

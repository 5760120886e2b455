"""Insights as Meta tells them: typed rows without floats, one action type for a figure, and parts that are the whole."""

from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.graph import a_graph, a_meta
from whatrack.meta import insights
from whatrack.meta.errors import NoAnswer
from whatrack.meta.insights import LEADS, PURCHASES, Action, Ask, Report, Row

DAY = date(2026, 11, 20)
ROW: dict[str, Any] = {
    "ad_id": "1",
    "date_start": "2026-11-20",
    "date_stop": "2026-11-20",
    "account_currency": "BRL",
}
IDS = st.lists(st.integers(1, 60).map(str), max_size=30, unique=True)


def raw(**more: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({**ROW, **more}))


def test_figures_are_numbers_and_money_stays_text():
    row = insights.parse(
        raw(spend="53.39", impressions="9708", reach="7000", clicks="120", inline_link_clicks="80")
    )

    assert (row.spend, row.impressions, row.reach, row.clicks) == ("53.39", 9708, 7000, 120)
    assert (row.inline_link_clicks, row.date_start) == (80, DAY)


def test_what_is_absent_is_zero():
    row = insights.parse(raw())

    assert (row.spend, row.impressions, row.count(LEADS)) == ("0", 0, 0)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"date_stop": "2026-11-21"}, id="more than a day"),
        pytest.param({"spend": 53.39}, id="a float"),
        pytest.param({"impressions": "many"}, id="no number"),
        pytest.param({"ad_id": None}, id="no ad"),
        pytest.param({"date_start": "20/11/2026"}, id="no day"),
    ],
)
def test_what_is_no_row_is_no_answer(more: dict[str, Any]):
    with pytest.raises(NoAnswer):
        insights.parse(raw(**more))


def test_an_action_that_is_told_twice_under_two_names_counts_once():
    actions = [Action("omni_purchase", "3"), Action("onsite_conversion.purchase", "2"), Action("lead", "5")]
    row = Row("1", DAY, DAY, "BRL", actions=actions)

    assert (row.count(PURCHASES), row.count(LEADS)) == (2, 5)
    assert row.count(("other",)) == 0


@pytest.mark.parametrize(
    ("status", "percent", "ready", "failed"),
    [
        ("Job Completed", 100, True, False),
        ("Job Completed", 99, False, False),
        ("Job Running", 100, False, False),
        ("Job Failed", 100, False, True),
        ("Job Skipped", 0, False, True),
        ("Job Not Started", 0, False, False),
    ],
)
def test_a_report_is_ready_only_when_completed_and_whole(
    status: str, percent: int, ready: bool, failed: bool
):
    assert (Report(status, percent).is_ready, Report(status, percent).has_failed) == (ready, failed)


def told(ask: Ask, ads: set[str]) -> set[str]:
    """The ads that Meta would tell of, out of these."""
    among = ads if ask.only is None else ads & set(ask.only)
    return among - set(ask.without)


@given(IDS, IDS, IDS)
def test_parts_have_every_ad_in_exactly_one_of_them(known: list[str], unknown: list[str], without: list[str]):
    ask = Ask("1", DAY, DAY, without=tuple(without))
    everything = {*known, *unknown, "never seen"}
    waiting, rows = [ask], list[str]()
    while waiting:
        each = waiting.pop()
        parts = each.narrower(known)
        if parts is None:
            rows += told(each, everything)
        else:
            waiting += parts

    assert sorted(rows) == sorted(told(ask, everything))


@given(IDS)
def test_the_smallest_parts_are_single_ads_and_what_nobody_knew(known: list[str]):
    waiting, smallest = [Ask("1", DAY, DAY)], list[Ask]()
    while waiting:
        each = waiting.pop()
        parts = each.narrower(known)
        waiting += parts or ()
        smallest += [] if parts else [each]

    assert sorted(each.only[0] for each in smallest if each.only) == sorted(known)
    assert all(len(each.only) == 1 for each in smallest if each.only)
    assert [set(each.without) for each in smallest if each.only is None] == [set(known)]


async def test_the_request_is_by_ad_and_day_and_names_every_status():
    params = Ask("1", DAY, DAY, without=("7",)).params

    assert (params["level"], params["time_increment"]) == ("ad", 1)
    statuses, others = params["filtering"]
    assert {"ARCHIVED", "DELETED", "ACTIVE", "WITH_ISSUES"} <= set(statuses["value"])
    assert others == {"field": "ad.id", "operator": "NOT_IN", "value": ["7"]}


async def test_at_once_and_as_a_report_the_rows_are_the_same():
    with a_meta() as meta:
        account, today = meta.sandbox.account, meta.sandbox.clock.today(meta.sandbox.account.zone)
        ask = Ask(account.id, today.replace(day=1), today)
        async with a_graph(meta) as graph:
            at_once = await insights.read(graph, meta.token, ask)
            report = await insights.order(graph, meta.token, ask)
            assert (await insights.look(graph, meta.token, account.id, report)).is_ready
            later = await insights.result(graph, meta.token, account.id, report)

    assert at_once
    assert [bytes(each) for each in later] == [bytes(each) for each in at_once]

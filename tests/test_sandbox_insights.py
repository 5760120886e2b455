"""The sandbox's insights: rows, days, zones, money, breakdowns, reports, and figures that change afterwards."""

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.sandbox_support import Asker, ads_client, still_sandbox
from whatrack.sandbox import trouble
from whatrack.sandbox.build import issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.periods import buckets, preset

TODAY = date(2026, 11, 24)
YESTERDAY = TODAY - timedelta(days=1)
WEEK = json.dumps({"since": "2026-11-17", "until": "2026-11-23"})
LEVELS = ("account", "campaign", "adset", "ad")


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


@pytest.fixture
def ads(sandbox: Sandbox) -> Asker:
    return ads_client(sandbox)


def rows(sandbox: Sandbox, ads: Asker, **params: Any) -> list[dict[str, Any]]:
    asked = {"fields": "spend,impressions", "time_range": WEEK, "limit": 500, **params}
    return ads.every(f"act_{sandbox.account.id}/insights", **asked)


def spend(found: list[dict[str, Any]]) -> Decimal:
    return sum((Decimal(row["spend"]) for row in found), Decimal(0))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("increment", ["1", "3", "monthly", "all_days"])
def test_every_level_and_step_adds_up_to_the_same_spend(sandbox, ads, level, increment):
    whole = rows(sandbox, ads)

    found = rows(sandbox, ads, level=level, time_increment=increment)

    assert len(whole) == 1
    assert spend(found) == spend(whole) > 0


def test_figures_are_text_and_days_without_delivery_are_absent(sandbox, ads):
    found = rows(sandbox, ads, level="ad", time_increment=1, fields="ad_id,spend,impressions,clicks,actions")

    assert all(
        isinstance(row[name], str) for row in found for name in ("spend", "impressions", "clicks", "ad_id")
    )
    assert all(row["date_start"] == row["date_stop"] for row in found)
    assert all(int(row["impressions"]) > 0 for row in found)
    assert len(found) < 7 * len(sandbox.ads())


def test_yesterday_is_the_same_however_often_it_is_asked_and_today_grows(sandbox, ads):
    before = (
        rows(sandbox, ads),
        rows(sandbox, ads, time_range=json.dumps({"since": str(TODAY), "until": str(TODAY)})),
    )
    sandbox.clock.advance(6 * 3600)
    after = (
        rows(sandbox, ads),
        rows(sandbox, ads, time_range=json.dumps({"since": str(TODAY), "until": str(TODAY)})),
    )

    assert after[0] == before[0]
    assert spend(after[1]) > spend(before[1]) > 0


def test_a_day_ends_with_the_accounts_zone(sandbox):
    tokyo = f"act_{sandbox.cast.viviane.account_ids[1]}"
    token = issue_token(sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, ("ads_read",), None)
    viviane = ads_client(sandbox, token)

    shared = viviane.get(f"act_{sandbox.account.id}/insights", date_preset="today")["data"]
    there = viviane.get(f"{tokyo}/insights", date_preset="today", fields="spend,account_currency")["data"]

    assert shared[0]["date_start"] == "2026-11-24"
    assert [row["date_start"] for row in there] in ([], ["2026-11-25"])  # it is 00:00 in Tokyo
    past = viviane.get(f"{tokyo}/insights", date_preset="last_7d", fields="spend,account_currency")["data"][0]
    assert past["account_currency"] == "JPY"
    assert past["spend"].isdigit()  # a currency without cents


def test_archived_ads_are_hidden_by_ad_and_counted_in_the_total(sandbox, ads):
    asked = {"time_range": json.dumps({"since": "2026-08-20", "until": "2026-11-23"}), "level": "ad"}
    every = json.dumps(
        [
            {
                "field": "ad.effective_status",
                "operator": "IN",
                "value": ["ACTIVE", "PAUSED", "CAMPAIGN_PAUSED", "ARCHIVED", "DELETED"],
            }
        ]
    )

    shown, whole = rows(sandbox, ads, **asked), rows(sandbox, ads, **asked, filtering=every)

    assert len(whole) == len(shown) + 2
    assert spend(whole) == spend(rows(sandbox, ads, **{**asked, "level": "account"}))


def test_filters_by_ad_and_by_figure(sandbox, ads):
    ad = sandbox.ads()[0].id
    one = json.dumps([{"field": "ad.id", "operator": "IN", "value": [ad]}])
    much = json.dumps([{"field": "spend", "operator": "GREATER_THAN", "value": 1_000_000}])

    assert {row["ad_id"] for row in rows(sandbox, ads, level="ad", fields="ad_id,spend", filtering=one)} == {
        ad
    }
    assert rows(sandbox, ads, level="ad", filtering=much) == []


def test_an_ads_own_insights_are_its_rows_of_the_account(sandbox, ads):
    ad = sandbox.ads()[0].id

    own = ads.get(f"{ad}/insights", fields="ad_id,spend", time_range=WEEK)["data"]

    assert own == [row for row in rows(sandbox, ads, level="ad", fields="ad_id,spend") if row["ad_id"] == ad]


@pytest.mark.parametrize(
    "names",
    [
        ["age"],
        ["age", "gender"],
        ["publisher_platform", "platform_position"],
        ["hourly_stats_aggregated_by_advertiser_time_zone"],
    ],
)
def test_breakdowns_add_up_to_the_whole(sandbox, ads, names):
    found = rows(sandbox, ads, breakdowns=json.dumps(names))

    assert spend(found) == spend(rows(sandbox, ads))
    assert all(names[0] in row for row in found)


def test_an_impossible_breakdown_is_refused(sandbox, ads):
    path = f"act_{sandbox.account.id}/insights"

    assert ads.refused(path, breakdowns="age,region") == (2, 1504041)
    assert ads.refused(path, breakdowns="colour") == (100, None)


def test_actions_hold_the_windows_asked_for_and_no_dead_ones(sandbox, ads):
    windows = json.dumps(["7d_click", "1d_view", "28d_view"])

    found = rows(sandbox, ads, fields="actions,cost_per_action_type", action_attribution_windows=windows)[0]

    started = next(
        each for each in found["actions"] if each["action_type"].endswith("conversation_started_7d")
    )
    assert started.keys() == {"action_type", "value", "7d_click", "1d_view"}
    assert found["cost_per_action_type"]


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"fields": "colour"}, (100, None)),
        ({"level": "planet"}, (100, None)),
        ({"time_range": "yesterday"}, (100, None)),
        ({"time_range": '{"since":"2026-11-20","until":"2026-11-10"}'}, (100, None)),
        ({"time_range": '{"since":"2020-01-01","until":"2020-01-02"}'}, (3018, None)),
        ({"date_preset": "tomorrow"}, (100, None)),
        ({"time_increment": "91"}, (100, None)),
        ({"filtering": '[{"field":"planet.id","operator":"EQUAL","value":1}]'}, (100, None)),
        ({"filtering": '[{"field":"ad.id","operator":"LIKE","value":1}]'}, (100, None)),
        ({"limit": "many"}, (100, None)),
        ({"after": "%%%"}, (100, None)),
    ],
)
def test_what_cannot_be_reported_is_refused(sandbox, ads, params, refusal):
    asked = {"level": "ad", **params}

    assert ads.refused(f"act_{sandbox.account.id}/insights", **asked) == refusal


def test_a_request_for_too_much_is_refused_and_a_smaller_one_answered(sandbox, ads):
    sandbox.faults.inject("too_much_data", rows=10, times=2)
    asked = {"level": "ad", "time_increment": 1}

    assert ads.refused(f"act_{sandbox.account.id}/insights", **asked, time_range=WEEK) == (100, 1487534)
    one_day = json.dumps({"since": str(YESTERDAY), "until": str(YESTERDAY)})
    assert rows(sandbox, ads, **asked, time_range=one_day)


def test_a_report_is_ordered_asked_about_and_fetched(sandbox, ads):
    path = f"act_{sandbox.account.id}/insights"
    asked = {"level": "ad", "time_increment": "1", "fields": "ad_id,spend", "time_range": WEEK}

    sandbox.faults.inject("report", ending="Job Completed", polls=2)
    run = ads.post(path, **asked)["report_run_id"]

    assert ads.refused(f"{run}/insights") == (2601, 1815107)
    assert ads.get(run)["async_status"] == "Job Running"
    done = ads.get(run)
    assert (done["async_status"], done["async_percent_completion"]) == ("Job Completed", 100)
    fetched = ads.every(f"{run}/insights", limit=10)
    assert fetched == rows(sandbox, ads, **asked)


@pytest.mark.parametrize("ending", ["Job Failed", "Job Skipped"])
def test_a_report_may_end_badly(sandbox, ads, ending):
    sandbox.faults.inject("report", ending=ending)
    run = ads.post(f"act_{sandbox.account.id}/insights", level="ad")["report_run_id"]

    ads.get(run)

    assert ads.get(run)["async_status"] == ending
    assert ads.refused(f"{run}/insights") == (2601, 1815107)


def test_a_report_that_makes_no_sense_is_refused_when_it_is_ordered(sandbox, ads):
    assert ads.refused(f"act_{sandbox.account.id}/insights", "POST", fields="colour") == (100, None)


def test_figures_are_revised_afterwards_and_rows_may_vanish(sandbox, ads):
    before = rows(sandbox, ads, level="ad", fields="ad_id,spend")
    ad = before[0]["ad_id"]

    trouble.revise(sandbox.world, ad, YESTERDAY - timedelta(days=6), YESTERDAY, 10)
    dearer = rows(sandbox, ads, level="ad", fields="ad_id,spend")
    trouble.revise(sandbox.world, ad, YESTERDAY - timedelta(days=6), YESTERDAY, None)
    gone = rows(sandbox, ads, level="ad", fields="ad_id,spend")

    assert Decimal(dearer[0]["spend"]) > Decimal(before[0]["spend"])
    assert dearer[1:] == before[1:] == gone


def test_a_tap_in_the_sandbox_shows_in_the_ads_figures_of_its_day(sandbox, ads):
    ad = sandbox.ads()[0].id
    asked = {"fields": "clicks,spend", "time_range": WEEK}
    before = ads.get(f"{ad}/insights", **asked)["data"][0]

    sandbox.traffic.tap(ad, "5511988880000", sandbox.clock() - 86_400)

    after = ads.get(f"{ad}/insights", **asked)["data"][0]
    assert int(after["clicks"]) == int(before["clicks"]) + 1
    assert Decimal(after["spend"]) > Decimal(before["spend"])


def test_rows_are_sorted_and_summed_on_request(sandbox, ads):
    found = rows(sandbox, ads, level="ad", sort='["spend_descending"]')
    page = ads.get(
        f"act_{sandbox.account.id}/insights",
        level="ad",
        time_range=WEEK,
        fields="spend",
        summary="spend",
        limit=1,
    )

    assert [row["spend"] for row in found] == sorted(
        (row["spend"] for row in found), key=Decimal, reverse=True
    )
    assert Decimal(page["summary"]["spend"]) == spend(found)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("today", "2026-11-24", "2026-11-24"),
        ("last_7d", "2026-11-17", "2026-11-23"),
        ("last_28d", "2026-10-27", "2026-11-23"),
        ("this_month", "2026-11-01", "2026-11-24"),
        ("last_month", "2026-10-01", "2026-10-31"),
        ("last_quarter", "2026-07-01", "2026-09-30"),
        ("last_week_mon_sun", "2026-11-16", "2026-11-22"),
        ("last_year", "2025-01-01", "2025-12-31"),
    ],
)
def test_presets_are_metas_ranges(name, first, last):
    assert preset(name, TODAY) == (date.fromisoformat(first), date.fromisoformat(last))


def test_steps_cover_the_range_without_overlap():
    asked = {"time_range": '{"since":"2026-09-28","until":"2026-12-24"}', "time_increment": "monthly"}

    assert [(str(one), str(two)) for one, two in buckets(asked, TODAY)] == [
        ("2026-09-28", "2026-09-30"),
        ("2026-10-01", "2026-10-31"),
        ("2026-11-01", "2026-11-24"),
    ]


def test_several_ranges_give_a_row_each(sandbox, ads):
    ranges = json.dumps([json.loads(WEEK), {"since": "2026-11-03", "until": "2026-11-09"}])

    found = rows(sandbox, ads, time_ranges=ranges)

    assert [row["date_start"] for row in found] == ["2026-11-17", "2026-11-03"]

"""The sandbox's months: what people did, what Meta reports of it, and the true sums, which another reckoning must give too."""

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest

from tests.sandbox_support import NOW, ads_client, number_client, still_sandbox
from whatrack.sandbox.cases import Case
from whatrack.sandbox.delivery import is_running
from whatrack.sandbox.fates import is_one_of
from whatrack.sandbox.letters import Said, deliveries
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.sandbox.state import AD, AdAccount, AdObject
from whatrack.sandbox.tempers import TEMPERS
from whatrack.sandbox.truth import BASES, LEVELS, Asked, Sum

TODAY = date(2026, 11, 24)
DAYS = 60
DAY_S = 86_400
WHOLE = (TODAY - timedelta(days=2 * DAYS), TODAY + timedelta(days=1))


@pytest.fixture(scope="module")
def played() -> Sandbox:
    """Two months, never changed by a test."""
    sandbox = still_sandbox()
    sandbox.months.play(DAYS)
    return sandbox


def total(rows: list[Sum], column: str) -> int:
    return sum(getattr(row, column) for row in rows)


def money(rows: list[Sum], column: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for row in rows:
        found.update(getattr(row, column))
    return found


def test_the_same_seed_and_clock_make_the_same_months(played: Sandbox):
    again = still_sandbox()
    again.months.play(DAYS)
    other = still_sandbox(2)
    other.months.play(DAYS)

    assert again.truth()["cases"] == played.truth()["cases"] != other.truth()["cases"]
    assert again.sums(Asked(*WHOLE)) == played.sums(Asked(*WHOLE)) != other.sums(Asked(*WHOLE))


def test_the_past_is_made_once(played: Sandbox):
    with pytest.raises(RuntimeError, match="already"):
        played.months.play(DAYS)


def test_everything_that_happens_to_people_happens(played: Sandbox):
    cases = [case.as_json(NOW) for case in played.months.cases]
    kinds = Counter(case["credited_to"] for case in cases)
    waits = [case["won_at"] - case["opened_at"] for case in cases if case["won_at"]]

    assert kinds.keys() == {"ad", "post", "unidentified", "organic"}
    assert {case["currency"] for case in cases} == {"BRL", "USD"}
    assert any(case["credited_to"] == "ad" and case["ctwa_clid"] is None for case in cases)
    assert any(not case["is_lead"] for case in cases)
    assert any(case["lost_reason"] for case in cases)
    assert any(refund["amount"] < case["value"] for case in cases for refund in case["refunds"])
    assert min(waits) < 3600
    assert max(waits) > 7 * DAY_S
    assert any(line.late for case in played.months.cases for line in case.lines)
    assert any(len({line.wa_id for line in case.lines}) > 1 for case in played.months.cases)
    credited = {case["ad_id"] for case in cases if case["ad_id"]}
    statuses = {played.world.effective_status(played.world.get(AdObject, each)) for each in credited}
    assert {"ACTIVE", "PAUSED", "ARCHIVED", "DELETED"} <= statuses


def test_nothing_of_a_case_is_before_its_beginning_and_all_of_it_is_in_order(played: Sandbox):
    for case in played.months.cases:
        lines, acts = [line.at for line in case.lines], [act.at for act in case.acts]
        assert lines == sorted(lines)
        assert acts == sorted(acts)
        assert all(at > case.opened_at for at in acts)
        closed = [act.at for act in case.acts if act.what in ("won", "lost")]
        assert len(closed) <= 1
        assert all(line.at < at for line in case.lines for at in closed)
        won = next((act for act in case.acts if act.what == "won"), None)
        back = sum(act.minor for act in case.acts if act.what == "refunded")
        assert back <= (won.minor if won else 0)


def test_a_click_id_is_good_from_the_moment_of_its_tap_unless_meta_forgot_it(played: Sandbox):
    touches = [
        (line.at, line.touch)
        for case in played.months.cases
        for line in case.lines
        if line.touch and line.touch.clid
    ]
    known = {touch.clid: at for at, touch in touches if touch.known}
    forgotten = {touch.clid for _, touch in touches if not touch.known}

    assert len(known) + len(forgotten) == len(touches)
    assert 0 < len(forgotten) < len(known) / 10
    assert all(0 <= at - played.world.clicks[clid].at <= 60 for clid, at in known.items() if clid)
    assert not forgotten & played.world.clicks.keys()


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.33, 1.0])
@pytest.mark.parametrize("phase", [0.0, 0.5, 0.99])
def test_a_share_is_spread_evenly(rate: float, phase: float):
    chosen = [is_one_of(rate, place, phase) for place in range(300)]

    for start in range(0, 200, 7):
        assert abs(sum(chosen[start : start + 100]) - 100 * rate) <= 1


# Insights


def ad_days(sandbox: Sandbox) -> dict[tuple[str, str], dict[str, Any]]:
    """What the API reports of every ad and day, whatever the ad's status."""
    every = json.dumps(
        [{"field": "ad.effective_status", "operator": "IN", "value": ["ACTIVE", "PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED", "ARCHIVED", "DELETED"]}]
    )  # fmt: skip
    found = {}
    for account_id in sandbox.cast.thiago.account_ids:
        params = {
            "level": "ad",
            "time_increment": 1,
            "fields": "ad_id,spend,inline_link_clicks,impressions,actions",
            "time_range": json.dumps({"since": str(WHOLE[0]), "until": str(TODAY)}),
            "limit": 500,
            "filtering": every,
        }
        for row in ads_client(sandbox).every(f"act_{account_id}/insights", **params):
            found[row["ad_id"], row["date_start"]] = row
    return found


def tapped(sandbox: Sandbox) -> Counter[tuple[str, str]]:
    """Taps by ad and day of the ad's account."""
    found: Counter[tuple[str, str]] = Counter()
    for case in sandbox.months.cases:
        for line in case.lines:
            if line.touch and line.touch.kind != "post" and line.at <= sandbox.clock():
                ad = sandbox.world.get(AdObject, line.touch.ad_id)
                zone = ZoneInfo(sandbox.world.get(AdAccount, ad.account_id).zone)
                found[ad.id, str(datetime.fromtimestamp(line.at - 15, zone).date())] += 1
    return found


def test_insights_hold_every_tap_and_conversations_are_near_them(played: Sandbox):
    reported, taps = ad_days(played), tapped(played)
    started = {
        key: sum(int(each["value"]) for each in row.get("actions", ()) if "conversation_started" in each["action_type"])
        for key, row in reported.items()
    }  # fmt: skip
    mine = {key: count for key, count in taps.items() if key in reported}

    foreign = {ad.id for ad in played.world.below(list(played.world.all(AdAccount))[-1].id, AD)}
    assert {key for key in taps if key[0] not in foreign} <= reported.keys()
    assert all(int(reported[key]["inline_link_clicks"]) >= count for key, count in mine.items())
    whole = sum(mine.values())
    assert 0.9 * whole < sum(started[key] for key in mine) < 1.15 * whole
    assert any(started[key] != count for key, count in mine.items())


def test_days_on_which_an_ad_does_not_run_have_no_row(played: Sandbox):
    reported = ad_days(played)
    ad = played.ads()[0]
    days = [TODAY - timedelta(days=back) for back in range(DAYS)]

    idle = [day for day in days if not is_running(played.world, ad, day)]

    assert idle
    assert all((ad.id, str(day)) not in reported for day in idle)


def test_meta_restates_the_last_days_and_then_no_more(played: Sandbox):
    sandbox = still_sandbox()
    sandbox.months.play(DAYS)
    before = ad_days(sandbox)
    sandbox.clock.advance(10 * DAY_S)
    after = ad_days(sandbox)

    changed = {key[1] for key in before if before[key]["spend"] != after[key]["spend"]}
    assert changed
    assert min(changed) > str(TODAY - timedelta(days=29))
    assert all(Decimal(after[key]["spend"]) >= Decimal(before[key]["spend"]) for key in before)


def test_some_ads_clearly_lose_and_some_clearly_earn_in_any_week(played: Sandbox):
    weeks = [
        played.sums(Asked(TODAY - timedelta(days=back + 6), TODAY - timedelta(days=back)))
        for back in (0, 1, 7, 14)
    ]

    for rows in weeks:
        ratios = [
            sum(row.revenue.values()) / row.spend
            for row in rows
            if row.spend > 10_000 and row.currency == "BRL"
        ]
        assert min(ratios) < 0.8
        assert max(ratios) > 2
        assert all(ratio < 20 for ratio in ratios)


# The true sums


@pytest.mark.parametrize("basis", BASES)
def test_every_level_and_the_days_add_up_to_the_same(played: Sandbox, basis: str):
    whole = played.sums(Asked(*WHOLE, basis=basis))

    for level in LEVELS:
        for by_day in (False, True):
            rows = played.sums(Asked(*WHOLE, level=level, basis=basis, by_day=by_day))
            for column in ("spend", "impressions", "link_clicks", "leads", "qualified", "sales"):
                assert total(rows, column) == total(whole, column) > 0, (level, column)
            assert money(rows, "revenue") == money(whole, "revenue")
            assert money(rows, "refunds") == money(whole, "refunds")


def test_both_bases_count_the_same_people_and_on_other_days(played: Sandbox):
    by_sale, by_click = (played.sums(Asked(*WHOLE, basis=basis)) for basis in BASES)
    days = [played.sums(Asked(*WHOLE, basis=basis, by_day=True)) for basis in BASES]

    assert sorted(map(str, by_sale)) == sorted(map(str, by_click))
    assert {(row.id, row.day, row.sales) for row in days[0]} != {
        (row.id, row.day, row.sales) for row in days[1]
    }


def test_the_sums_are_those_of_another_reckoning(played: Sandbox):
    """Spend from the API's own rows, people one by one from the told cases."""
    since, until = TODAY - timedelta(days=30), TODAY - timedelta(days=1)
    rows = {row.id: row for row in played.sums(Asked(since, until))}
    spend: Counter[str] = Counter()
    for (ad_id, day), row in ad_days(played).items():
        if str(since) <= day <= str(until):
            spend[ad_id] += int(Decimal(row["spend"]) * 100)
    sold: Counter[str] = Counter()
    for case in played.truth()["cases"]:
        if case["won_at"] and case["credited_to"] == "ad":
            ad = played.world.get(AdObject, case["ad_id"])
            zone = ZoneInfo(played.world.get(AdAccount, ad.account_id).zone)
            if since <= datetime.fromtimestamp(case["won_at"], zone).date() <= until:
                sold[ad.id] += case["value"]

    seen = {ad_id: row for ad_id, row in rows.items() if ad_id in spend}
    assert {ad_id: row.spend for ad_id, row in seen.items()} == dict(spend)
    assert {
        ad_id: sum(row.revenue.values()) for ad_id, row in rows.items() if row.revenue and row.kind == "ad"
    } == dict(sold)


def test_what_has_not_happened_yet_does_not_count_and_then_does():
    sandbox = still_sandbox()
    sandbox.months.play(20)
    before = sandbox.sums(Asked(TODAY - timedelta(days=25), TODAY + timedelta(days=30)))
    sandbox.clock.advance(20 * DAY_S)
    after = sandbox.sums(Asked(TODAY - timedelta(days=25), TODAY + timedelta(days=30)))

    assert total(after, "sales") > total(before, "sales")
    assert total(after, "leads") == total(before, "leads")


def test_thanks_are_no_leads(played: Sandbox):
    leads = sum(1 for case in played.months.cases if case.is_lead)

    assert total(played.sums(Asked(*WHOLE)), "leads") == leads < len(played.months.cases)


def test_a_sale_by_night_belongs_to_the_day_of_its_ads_account():
    sandbox = still_sandbox()
    sandbox.months.play(DAYS)
    crossing = [
        (case, ad)
        for case in sandbox.months.cases
        if case.is_lead and (credit := case.credited(NOW)) and credit[1].kind == "ad"
        for ad in [sandbox.world.get(AdObject, credit[1].ad_id)]
        if datetime.fromtimestamp(case.opened_at, UTC).date()
        != datetime.fromtimestamp(
            case.opened_at, ZoneInfo(sandbox.world.get(AdAccount, ad.account_id).zone)
        ).date()
    ]
    case, ad = crossing[0]
    day = datetime.fromtimestamp(
        case.opened_at, ZoneInfo(sandbox.world.get(AdAccount, ad.account_id).zone)
    ).date()
    before = {row.id: row.leads for row in sandbox.sums(Asked(day, day))}

    sandbox.months.cases.remove(case)

    after = {row.id: row.leads for row in sandbox.sums(Asked(day, day))}
    assert before[ad.id] == after.get(ad.id, 0) + 1


# What it sends, and what Meta learns


def test_bodies_hold_every_line_late_ones_later_and_some_twice(played: Sandbox):
    said = [Said(case, line) for case in played.months.cases for line in case.lines]

    found = deliveries(played.world, said)

    bodies = [body for _, body in found]
    read = [
        message
        for body in dict.fromkeys(bodies)
        for message in json.loads(body)["entry"][0]["changes"][0]["value"]["messages"]
    ]
    assert len({message["id"] for message in read}) == len(read) == len(said)
    assert len(set(bodies)) < len(bodies)
    stamps = [int(message["timestamp"]) for message in read]
    assert stamps != sorted(stamps)
    kinds = Counter(message["referral"]["source_type"] for message in read if "referral" in message)
    assert kinds.keys() == {"ad", "post"}
    assert any("source_id" not in message["referral"] for message in read if "referral" in message)


def sale(sandbox: Sandbox, case: Case, at: int) -> dict[str, Any]:
    credit = case.credited(sandbox.clock())
    assert credit
    user = {"whatsapp_business_account_id": sandbox.cast.waba.id, "ctwa_clid": credit[1].clid}
    return {
        "event_name": "Purchase",
        "event_time": at,
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": user,
        "custom_data": {"value": 100, "currency": "BRL"},
    }


def test_meta_reports_what_it_was_told_and_nothing_of_the_time_before():
    sandbox = still_sandbox()
    sandbox.months.play(20)
    number = sandbox.cast.number.id
    told = [
        case
        for case in sandbox.months.cases
        if case.number_id == number and (credit := case.credited(NOW)) and credit[1].clid
    ]
    fresh = next(case for case in told if NOW - case.opened_at < 5 * DAY_S and case.lines[-1].touch is None)
    old = next(case for case in told if NOW - case.opened_at > 8 * DAY_S and len(case.lines) == 1)
    before = sandbox.sums(Asked(*WHOLE))
    path = f"{sandbox.cast.waba.dataset_id}/events"

    for case in (fresh, old):
        number_client(sandbox).post(path, data=json.dumps([sale(sandbox, case, int(NOW) - 60)]))

    after = {row.id: row for row in sandbox.sums(Asked(*WHOLE)) if row.meta_purchases}
    credit = fresh.credited(NOW)
    assert credit
    assert total(before, "meta_purchases") == 0
    assert {ad_id: (row.meta_purchases, row.meta_purchase_value) for ad_id, row in after.items()} == {
        credit[1].ad_id: (1, 10_000)
    }


# Live


def test_people_come_now_and_do_within_minutes_what_they_do():
    sandbox = still_sandbox()
    sandbox.months.play(5)
    before = {row.id: row for row in sandbox.sums(Asked(TODAY, TODAY))}

    came = sandbox.months.come(60)
    sandbox.months.let_pass()
    sandbox.clock.advance(600)

    after = sandbox.sums(Asked(TODAY, TODAY))
    assert total(after, "leads") >= total(list(before.values()), "leads") + 60
    assert {act.what for case in came for act in case.acts} >= {"qualified", "won", "lost"}
    assert all(0 < act.at - case.opened_at < 600 for case in came for act in case.acts)
    assert total(after, "spend") > total(list(before.values()), "spend")
    assert all(case.acts == sorted(case.acts, key=lambda act: act.at) for case in came)


# The admin API


def test_a_past_that_is_lived_again_has_no_tap_twice():
    sandbox = still_sandbox()
    sandbox.months.play(20)
    once = sandbox.sums(Asked(*WHOLE))
    for days_ago in (20, 10, 1, 0):
        sandbox.clock.ahead_s = -days_ago * DAY_S
        sandbox.months.let_pass()

    assert sandbox.sums(Asked(*WHOLE)) == once


async def test_the_admin_api_makes_months_and_tells_the_sums():
    asked = {"level": "account", "since": "2026-11-18", "until": "2026-11-24", "basis": "click"}
    wrong = (("level", "planet"), ("basis", "moon"), ("since", "yesterday"), ("colour", "red"))
    with served(still_sandbox()) as base:
        async with aiohttp.ClientSession(base) as client:
            made = await (await client.post("/_sandbox/history", json={"days": 6})).json()
            again = await client.post("/_sandbox/history", json={"days": 6})
            truth = await (await client.get("/_sandbox/truth", params=asked)).json()
            refused = [
                (await client.get("/_sandbox/truth", params={name: value})).status for name, value in wrong
            ]

    assert made["cases"] == len(truth["cases"]) > 0
    assert again.status == 422
    assert truth.keys() == {"contacts", "events", "cases", "sums"}
    assert {row["kind"] for row in truth["sums"]} >= {"account", "organic"}
    assert sum(row["leads"] for row in truth["sums"]) == sum(1 for case in truth["cases"] if case["is_lead"])
    assert refused == [422, 422, 422, 422]


def test_every_temper_is_an_ad_of_the_world(played: Sandbox):
    names = {
        account.name: {ad.name for ad in played.world.below(account.id, AD)}
        for account in played.world.all(AdAccount)
    }

    assert all(set(tempers) <= names[account] for account, tempers in TEMPERS.items())

"""Fetching what ads spent: whole days equal to Meta's figures through every trouble, and a reason where they are not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from tests.conftest import settings_for_tests
from tests.conversions import put
from tests.insights import DEPTH, Ledger, a_ledger
from tests.support import SEALER, rows
from whatrack.db import Connection, Database
from whatrack.insights import progress
from whatrack.insights.sync import Syncer
from whatrack.sandbox.state import AdAccount
from whatrack.sandbox.trouble import break_login, heal, revise, revoke_permission
from whatrack.work import Wakeups
from whatrack.workers import Workers


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


def account_named(ledger: Ledger, name: str) -> AdAccount:
    return next(each for each in ledger.sandbox.world.all(AdAccount) if each.name == name)


async def test_every_day_since_the_depth_is_fetched_whole_with_archived_and_deleted_ads(ledger: Ledger):
    world = ledger.sandbox.world
    spent = {ad_id for _, ad_id in ledger.truth(but_today=True)}
    archived = next(each for each in world.below(ledger.sandbox.account.id, "ad")
                    if each.id in spent and world.effective_status(each) == "ACTIVE")  # fmt: skip
    archived.status = "ARCHIVED"
    await ledger.fetched()

    kept = await ledger.days()
    assert len(kept) == DEPTH + 1
    assert all(row["fetched_at"] and row["reason"] is None for row in kept)
    assert {row["connection_id"] for row in kept} == {ledger.desk.profile}
    assert await ledger.is_true()
    told = {ad_id for _, ad_id in await ledger.facts()}
    deleted = {ad.id for ad in world.below(ledger.sandbox.account.id, "ad") if world.effective_status(ad) == "DELETED"}  # fmt: skip
    assert archived.id in told
    assert deleted & told
    state = await ledger.state()
    assert (state["reason"], state["lease_id"]) == (None, None)
    assert state["whole_at"] is not None
    assert state["next_at"] == min(row["due_at"] for row in kept if row["due_at"])


async def test_a_first_reading_takes_few_calls_and_an_hourly_one_takes_one(ledger: Ledger):
    await ledger.fetched()
    first = ledger.calls()
    await put(
        ledger.db, "UPDATE insight_days SET due_at = now() WHERE day = (SELECT max(day) FROM insight_days)"
    )
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
    await ledger.fetched()

    assert first == 2  # a week, to see how much there is; the rest
    assert ledger.calls() == first + 1


async def test_the_catalog_has_each_ad_as_it_is_called_and_the_answer_is_kept_as_it_came(ledger: Ledger):
    await ledger.fetched()

    known = {row["meta_ad_id"]: row for row in await rows(ledger.db, "SELECT * FROM meta_ads")}
    for _, ad_id in await ledger.facts():
        ad = ledger.sandbox.world.nodes[ad_id]
        above = ledger.sandbox.world.nodes[ad.parent_id]  # type: ignore[union-attr]
        assert (known[ad_id]["name"], known[ad_id]["meta_ad_set_id"]) == (ad.name, above.id)  # type: ignore[union-attr]
        assert known[ad_id]["meta_account_id"] == ledger.sandbox.account.id
    one = next(row for row in await ledger.days() if row["rows"])
    assert len(one["answer"]) == one["rows"]
    assert {"spend", "actions", "ad_id"} <= one["answer"][0].keys()


async def test_an_ad_that_is_renamed_and_one_known_before_keep_their_number(ledger: Ledger):
    await ledger.fetched()
    before = {row["meta_ad_id"]: row["ref"] for row in await rows(ledger.db, "SELECT * FROM meta_ads")}
    ad = ledger.sandbox.ads()[0]
    ad.name = "Outro nome"
    await ledger.due()
    await ledger.fetched()

    after = {row["meta_ad_id"]: row for row in await rows(ledger.db, "SELECT * FROM meta_ads")}
    assert {ad_id: row["ref"] for ad_id, row in after.items()} == before
    assert after[ad.id]["name"] == "Outro nome"


async def test_reading_the_same_again_takes_no_numbers_and_writes_no_rows(ledger: Ledger):
    await ledger.fetched()
    today = (await ledger.days())[-1]["day"]
    where = "SELECT ctid::text, xmin::text FROM meta_ad_insights_daily WHERE day < %s ORDER BY day, ad_ref"
    before = await rows(ledger.db, where, today)
    number = await rows(ledger.db, "SELECT last_value FROM meta_ads_ref_seq")
    fetched = {row["day"]: row["fetched_at"] for row in await ledger.days()}
    await ledger.due()
    await ledger.fetched()

    assert await rows(ledger.db, where, today) == before
    assert await rows(ledger.db, "SELECT last_value FROM meta_ads_ref_seq") == number
    assert all(row["fetched_at"] > fetched[row["day"]] for row in await ledger.days() if row["due_at"])


@pytest.mark.parametrize("percent", [-20, 35, None], ids=["less", "more", "vanished"])
async def test_what_meta_restates_replaces_what_was_there(ledger: Ledger, percent: int | None):
    await ledger.fetched()
    before = await ledger.facts()
    today = (await ledger.days())[-1]["day"]
    ad = next(ad_id for day, ad_id in before if day == today - timedelta(days=3))
    revise(ledger.sandbox.world, ad, today - timedelta(days=9), today - timedelta(days=2), percent)
    await ledger.due()
    await ledger.fetched()

    assert await ledger.is_true()
    after = await ledger.facts()
    assert (
        after[today - timedelta(days=3), ad] != before[today - timedelta(days=3), ad]
        if percent
        else ((today - timedelta(days=3), ad) not in after)
    )


async def test_a_day_without_delivery_is_a_day_of_zero_once_it_came_whole(ledger: Ledger):
    for ad in ledger.sandbox.world.below(ledger.sandbox.account.id, "ad"):
        ad.last_day = ad.first_day
    await ledger.fetched()

    assert await ledger.facts() == {}
    assert all(row["fetched_at"] and row["rows"] == 0 and row["answer"] == [] for row in await ledger.days())


THROTTLES = [(17, 2446079), (4, 1504022), (80000, 2446079), (613, 1487742)]


@pytest.mark.parametrize(("code", "subcode"), THROTTLES)
async def test_a_limit_is_respected_and_says_so(ledger: Ledger, code: int, subcode: int):
    ledger.sandbox.faults.inject("throttle", code=code, subcode=subcode, minutes=7)
    await ledger.fetched()

    state = await ledger.state()
    assert state["reason"] == "throttled"
    assert (state["next_at"] - state["tried_at"]).total_seconds() >= 7 * 60 - 5
    assert {row["reason"] for row in await ledger.days()} == {"throttled"}
    assert state["attempts"] == 0  # nothing was wrong with what was asked for
    assert ledger.calls() == 1


async def test_what_came_before_a_limit_is_kept(ledger: Ledger):
    await ledger.fetched()
    before = await ledger.facts()
    ledger.sandbox.faults.inject("throttle", minutes=3)
    await ledger.due()
    await ledger.fetched()

    assert await ledger.facts() == before
    kept = await ledger.days()
    assert all(row["fetched_at"] for row in kept)
    assert {row["reason"] for row in kept if row["due_at"]} == {"throttled"}


@pytest.mark.parametrize(("how", "reason"), [("expired", "token_expired"), ("password_changed", "password_changed"), ("app_removed", "app_removed")])  # fmt: skip
async def test_another_profile_takes_over_and_the_dead_one_is_told(ledger: Ledger, how: str, reason: str):
    cast = ledger.sandbox.cast
    other = await ledger.profile_of(cast.viviane)
    await ledger.see(ledger.account, other)
    break_login(ledger.sandbox.world, cast.thiago.id, how)
    await ledger.fetched()

    assert await ledger.is_true()
    assert {row["connection_id"] for row in await ledger.days()} == {other}
    (thiago,) = await rows(
        ledger.db, "SELECT status, status_reason FROM meta_connections WHERE id = %s", ledger.desk.profile
    )
    assert (thiago["status"], thiago["status_reason"]) == ("EXPIRED", reason)


async def test_a_gap_after_a_dead_token_fills_itself_after_reconnecting(ledger: Ledger):
    thiago = ledger.sandbox.cast.thiago
    await ledger.fetched()
    break_login(ledger.sandbox.world, thiago.id, "password_changed")
    # The last ten days were not there yet when it died.
    await put(
        ledger.db, "DELETE FROM meta_ad_insights_daily WHERE day > (SELECT max(day) FROM insight_days) - 10"
    )
    await put(
        ledger.db,
        "UPDATE insight_days SET fetched_at = NULL, answer_hash = NULL, rows = 0, due_at = now() WHERE day > (SELECT max(day) FROM insight_days) - 10",
    )
    await ledger.due()
    await ledger.fetched()
    dead = await ledger.state()
    gap = [row["reason"] for row in await ledger.days() if row["fetched_at"] is None]
    assert (dead["reason"], gap) == ("token_dead", ["token_dead"] * 10)
    assert await ledger.fetched() == 0  # nobody asks with a dead token

    heal(ledger.sandbox.world, thiago.id)
    await put(
        ledger.db, "UPDATE meta_connections SET status = 'ACTIVE', status_reason = NULL, updated_at = now()"
    )
    assert await ledger.plan() == 1
    await ledger.fetched()

    assert await ledger.is_true()
    assert (await ledger.state())["reason"] is None
    assert all(row["fetched_at"] and row["reason"] is None for row in await ledger.days())


async def test_without_a_profile_the_reason_says_so_and_a_new_one_is_used(ledger: Ledger):
    await put(ledger.db, "DELETE FROM meta_ad_account_access")
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "no_profile"
    assert {row["reason"] for row in await ledger.days()} == {"no_profile"}
    assert ledger.calls() == 0

    profile = await ledger.profile_of(ledger.sandbox.cast.viviane)
    await ledger.see(ledger.account, profile)
    await put(ledger.db, "UPDATE meta_connections SET listed_at = now() WHERE id = %s", profile)
    await ledger.fetched()
    assert await ledger.is_true()


async def test_a_permission_that_is_gone_is_a_reason_of_its_own(ledger: Ledger):
    for permission in ("ads_read", "ads_management"):
        revoke_permission(ledger.sandbox.world, ledger.sandbox.cast.thiago.id, permission)
    await ledger.fetched()

    assert (await ledger.state())["reason"] in ("permission_missing", "no_access")
    assert await ledger.facts() == {}


@pytest.mark.parametrize("limit", [40, 8, 5, 1])
async def test_too_much_at_once_is_asked_for_in_parts(ledger: Ledger, limit: int):
    await ledger.fetched()  # the ads are known from now on
    await put(ledger.db, "DELETE FROM meta_ad_insights_daily")
    await put(ledger.db, "UPDATE insight_days SET answer_hash = 'x'")
    ledger.sandbox.faults.inject("too_much_data", rows=limit, times=None)
    await put(ledger.db, "UPDATE insight_days SET due_at = now()")
    await ledger.due()
    await ledger.fetched()

    assert (await ledger.state())["reason"] is None
    assert await ledger.is_true()


async def test_a_single_day_that_is_too_much_and_cannot_be_divided_says_so(ledger: Ledger):
    ledger.sandbox.faults.inject("too_much_data", rows=1, times=None)
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "too_much_data"
    assert await ledger.facts() == {}


async def reported(ledger: Ledger, **more: Any) -> int:
    """Fetch everything as reports."""
    await ledger.fetched()
    await put(ledger.db, "DELETE FROM meta_ad_insights_daily")
    await put(ledger.db, "UPDATE insight_days SET answer_hash = 'x', due_at = now()")
    await ledger.due()
    return await ledger.fetched(sync_rows=5, **more)


async def test_a_large_range_is_a_report(ledger: Ledger):
    await reported(ledger)

    assert await ledger.is_true()
    assert ledger.calls() == 2 + 3  # ordered, looked at, read


@pytest.mark.parametrize("ending", ["Job Failed", "Job Skipped"])
async def test_a_report_that_fails_is_ordered_in_halves(ledger: Ledger, ending: str):
    ledger.sandbox.faults.inject("report", ending=ending, polls=1, times=1)
    await reported(ledger)

    assert await ledger.is_true()
    assert (await ledger.state())["reason"] is None


async def test_where_every_report_fails_the_days_come_ad_by_ad(ledger: Ledger):
    ledger.sandbox.faults.inject("report", ending="Job Failed", polls=1, times=None)
    await reported(ledger)

    assert await ledger.is_true()
    assert (await ledger.state())["reason"] is None


async def test_where_every_report_fails_and_no_ad_is_known_the_reason_says_so(ledger: Ledger):
    await ledger.fetched()
    before = await ledger.facts()
    await put(ledger.db, "UPDATE meta_ads SET meta_account_id = '1'")
    ledger.sandbox.faults.inject("report", ending="Job Failed", polls=1, times=None)
    await ledger.due()
    await ledger.fetched(sync_rows=0)

    assert (await ledger.state())["reason"] == "report_failed"
    assert await ledger.facts() == before


async def test_a_slow_report_is_left_and_asked_about_again(ledger: Ledger):
    ledger.sandbox.faults.inject("report", ending="Job Completed", polls=8, times=1)
    await reported(ledger)
    waiting = await ledger.state()
    assert (waiting["reason"], waiting["attempts"]) == ("report_waits", 0)
    assert waiting["report_id"]
    calls = ledger.calls()

    for _ in range(5):
        await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
        await ledger.fetched(sync_rows=5)

    state = await ledger.state()
    assert (state["reason"], state["report_id"]) == (None, None)
    assert await ledger.is_true()
    assert ledger.calls() - calls == 5 + 1  # the looks that were left, and the rows: it was not ordered again


@pytest.mark.parametrize("fault", ["short_pages", "empty_page"])
async def test_pages_of_any_size_are_read_to_the_end(ledger: Ledger, fault: str):
    ledger.sandbox.faults.inject(fault, times=None)
    await ledger.fetched()

    assert await ledger.is_true()


@pytest.mark.parametrize("fault", ["drop_request", "drop_answer", "server_error"])
async def test_trouble_is_tried_again_and_then_told(ledger: Ledger, fault: str):
    ledger.sandbox.faults.inject(fault, times=2)
    await ledger.fetched()
    assert await ledger.is_true()

    ledger.sandbox.faults.inject(fault, times=None)
    await ledger.due()
    await ledger.fetched()
    state = await ledger.state()
    assert (state["reason"], state["attempts"]) == ("transient", 1)
    assert state["next_at"] > state["tried_at"]
    assert await ledger.is_true()  # what was there stays

    ledger.sandbox.faults.clear()
    await ledger.due()
    await ledger.fetched()
    assert (await ledger.state())["attempts"] == 0


async def test_each_account_has_days_of_its_zone_and_money_of_its_currency(ledger: Ledger):
    people = ledger.sandbox.cast
    tokyo, york = account_named(ledger, "Horizonte Tóquio"), account_named(ledger, "Horizonte US")
    in_tokyo = await ledger.add(tokyo, people.viviane)
    in_york = await ledger.add(york, people.thiago)
    await ledger.fetched()

    for account, ours in ((tokyo, in_tokyo), (york, in_york)):
        assert await ledger.is_true(account, ours)
        assert (await ledger.days(ours))[-1]["day"] == ledger.sandbox.clock.today(account.zone)
    yen = next(row for row in await ledger.days(in_tokyo) if row["rows"])
    ad_id = yen["answer"][0]["ad_id"]
    assert yen["answer"][0]["spend"] == str((await ledger.facts(in_tokyo))[yen["day"], ad_id][0])


async def test_money_in_another_currency_than_the_accounts_is_not_counted(ledger: Ledger):
    await put(ledger.db, "UPDATE meta_ad_accounts SET currency = 'USD'")
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "currency_differs"
    assert await ledger.facts() == {}


async def test_an_account_that_is_off_is_not_fetched_and_keeps_what_it_spent(ledger: Ledger):
    await ledger.fetched()
    before = await ledger.facts()
    await put(ledger.db, "UPDATE meta_ad_accounts SET is_active = false")
    calls = ledger.calls()
    await ledger.due()
    await ledger.fetched()
    assert (await ledger.state())["next_at"] is None
    assert ledger.calls() == calls
    assert await ledger.facts() == before

    await put(ledger.db, "UPDATE meta_ad_accounts SET is_active = true")
    await ledger.fetched()
    assert (await ledger.state())["next_at"] is not None


async def test_one_account_in_trouble_does_not_keep_the_others(ledger: Ledger):
    york = account_named(ledger, "Horizonte US")
    ours = await ledger.add(york, ledger.sandbox.cast.thiago)
    ledger.sandbox.faults.inject("throttle", account_id=ledger.sandbox.account.id, times=None)
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "throttled"
    assert (await ledger.state(ours))["reason"] is None
    assert await ledger.is_true(york, ours)


async def test_a_limit_that_is_nearly_used_up_is_left_alone_before_it_is_hit(ledger: Ledger):
    ledger.sandbox.faults.inject("usage", percent=95, minutes=4)
    await ledger.fetched()

    state = await ledger.state()
    assert state["reason"] == "throttled"
    assert ledger.calls() == 1  # the one that told
    fetched = [row for row in await ledger.days() if row["fetched_at"]]
    assert len(fetched) == 7  # and what it brought is kept
    assert {row["reason"] for row in fetched} == {None}


async def test_a_limit_that_is_told_of_the_business_counts_for_the_account_that_was_asked(ledger: Ledger):
    ledger.sandbox.faults.inject("usage", percent=97, minutes=4, business="778899")
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "throttled"
    assert ledger.calls() == 1


async def test_progress_tells_how_far_each_account_is_and_why(ledger: Ledger):
    york = await ledger.add(account_named(ledger, "Horizonte US"), ledger.sandbox.cast.thiago)
    ledger.sandbox.faults.inject("throttle", account_id=ledger.sandbox.account.id, times=None)
    await ledger.fetched()
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        found = await progress.progress(conn, ledger.desk.shop.id)
        today = ledger.sandbox.clock.today("America/New_York")
        listed = await progress.account_days(
            conn, ledger.desk.shop.id, york, today - timedelta(days=1), today
        )
        ages = await progress.freshness(conn, ledger.desk.shop.id)

    by_id = {each.account_id: each for each in found.accounts}
    waiting, whole = by_id[ledger.account], by_id[york]
    assert (waiting.reason, waiting.due, waiting.missing, waiting.fetched) == (
        "throttled",
        DEPTH + 1,
        DEPTH + 1,
        0,
    )
    assert (whole.reason, whole.due, whole.missing, whole.fetched) == (None, 0, 0, DEPTH + 1)
    assert waiting.is_first
    assert not whole.is_first
    assert (found.days_due, found.days_fetched, found.days_failed) == (DEPTH + 1, DEPTH + 1, DEPTH + 1)
    assert (found.reasons, found.running) == ({"throttled": 1}, 0)
    assert [(each.day, each.profile) for each in listed] == [
        (today, "Thiago"),
        (today - timedelta(days=1), "Thiago"),
    ]
    assert ages[york].whole_at is not None
    assert ages[ledger.account].whole_at is None


async def test_the_loops_of_a_process_fetch_what_is_turned_on_as_far_back_as_is_set(ledger: Ledger):
    app = ledger.sandbox.cast.ads_app
    more = {"WHATRACK_INSIGHTS_DAYS": "12", "META_APP_ID": app.id, "META_APP_SECRET": app.secret}
    settings = settings_for_tests(**more)
    workers = Workers(ledger.db, Wakeups(ledger.db), settings, SEALER, ledger.desk.graph)
    workers.start()
    for _ in range(400):
        found = await rows(ledger.db, "SELECT whole_at FROM insight_accounts WHERE whole_at IS NOT NULL")
        if found:
            break
        await asyncio.sleep(0.05)
    await workers.stop()

    assert len(await ledger.days()) == 13
    assert await ledger.is_true(depth=12)


async def test_an_account_that_was_off_for_a_while_fills_its_gap(ledger: Ledger):
    await ledger.fetched(depth=3)
    await put(ledger.db, "UPDATE insight_days SET day = day - 20")
    await put(ledger.db, "UPDATE meta_ad_insights_daily SET day = day - 20")
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
    await ledger.fetched(depth=3)

    kept = await ledger.days()
    assert [row["day"] for row in kept] == [kept[0]["day"] + timedelta(days=place) for place in range(24)]
    assert all(row["fetched_at"] for row in kept)


async def test_days_that_meta_restates_no_more_are_not_asked_for_again(ledger: Ledger):
    await ledger.fetched(depth=60)

    kept = await ledger.days()
    today = kept[-1]["day"]
    due = [row["day"] for row in kept if row["due_at"]]
    assert min(due) >= today - timedelta(days=29)
    assert len(due) in (28, 29)  # before three at night the oldest has one more reading to come


async def test_after_a_long_time_without_a_token_the_gap_takes_few_calls(ledger: Ledger):
    await ledger.plan()
    await put(ledger.db, "UPDATE insight_accounts SET attempts = 9, reason = 'token_dead'")
    await ledger.fetched()

    assert ledger.calls() == 2


async def test_after_trouble_less_is_asked_for_at_once(ledger: Ledger):
    await ledger.plan()
    await put(ledger.db, "UPDATE insight_accounts SET attempts = 5, reason = 'transient'")
    await ledger.fetched()

    assert ledger.calls() == (DEPTH + 1 + 1) // 2  # two days each
    assert await ledger.is_true()


async def test_a_zone_that_nobody_knows_is_told_and_holds_up_nobody(ledger: Ledger):
    york = account_named(ledger, "Horizonte US")
    ours = await ledger.add(york, ledger.sandbox.cast.thiago)
    await put(
        ledger.db, "UPDATE meta_ad_accounts SET timezone_name = 'Mars/Olympus' WHERE id = %s", ledger.account
    )
    await ledger.fetched()

    state = await ledger.state()
    assert (state["reason"], state["message"], state["lease_id"]) == (
        "refused",
        "time zone Mars/Olympus",
        None,
    )
    assert await ledger.is_true(york, ours)
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:  # nor does a page fail that tells how far it is
        assert (await progress.progress(conn, ledger.desk.shop.id)).accounts


async def test_an_account_of_an_unknown_zone_that_another_process_has_taken_is_left_to_it(ledger: Ledger):
    @asynccontextmanager
    async def late() -> AsyncIterator[Connection]:
        async with ledger.db.system() as conn:
            yield conn
        await put(ledger.db, "UPDATE insight_accounts SET lease_id = gen_random_uuid()")

    await ledger.plan()
    await put(ledger.db, "UPDATE meta_ad_accounts SET timezone_name = 'Mars/Olympus'")
    desk = ledger.desk

    assert await Syncer(desk.db, late, desk.graph, desk.keys, depth=DEPTH).step()
    state = await ledger.state()
    assert state["lease_id"]
    assert (state["reason"], state["attempts"]) == (None, 0)


async def test_while_a_report_is_waited_for_today_is_fetched(ledger: Ledger):
    ledger.sandbox.faults.inject("report", ending="Job Completed", polls=50, times=1)
    await reported(ledger)
    assert (await ledger.state())["reason"] == "report_waits"
    since = (await ledger.state())["report_since"]
    # The report is about older days alone; today's next hour has come.
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now(), report_until = report_until - 1")
    before = (await ledger.days())[-1]["fetched_at"]
    await ledger.fetched(sync_rows=20)

    state = await ledger.state()
    assert (state["reason"], state["report_since"]) == ("report_waits", since)
    assert (await ledger.days())[-1]["fetched_at"] > before

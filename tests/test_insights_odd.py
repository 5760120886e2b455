"""Answers that nobody expected: what does not count is mended, what does spoils its own day, and no account stops without a reason."""

from collections.abc import AsyncIterator, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conversions import put
from tests.insights import DEPTH, Ledger, a_ledger
from tests.support import rows
from whatrack.db import Database
from whatrack.insights import progress, schedule
from whatrack.insights.answers import Unplaced, understood
from whatrack.insights.days import Range
from whatrack.insights.facts import Account
from whatrack.insights.progress import AccountProgress
from whatrack.meta import insights
from whatrack.meta.insights import UnreadableRow
from whatrack.units import new_id

DAY = date(2026, 11, 20)
ROW: dict[str, Any] = {
    "ad_id": "120", "date_start": "2026-11-20", "date_stop": "2026-11-20", "account_currency": "BRL", "spend": "5.10",
    "impressions": "10", "actions": [{"action_type": "lead", "value": "2"}],
}  # fmt: skip
ACCOUNT = Account(new_id(), new_id(), 1, "1", "BRL", "America/Sao_Paulo")
CONVERSATION = "onsite_conversion.messaging_conversation_started_7d"


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


def raw(**more: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({**ROW, **more}))


def one_of(ledger: Ledger, back: int = 3) -> tuple[str, date]:
    """An ad and a day on which it delivered."""
    today = ledger.sandbox.clock.today(ledger.sandbox.account.zone)
    return next(
        (ad, day) for day, ad in sorted(ledger.truth(), reverse=True) if day <= today - timedelta(days=back)
    )


async def how_far(ledger: Ledger) -> AccountProgress:
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        (found,) = (await progress.progress(conn, ledger.desk.shop.id)).accounts
    return found


def odd(ledger: Ledger, ad: str, day: date, values: Mapping[str, Any], *drop: str) -> None:
    ledger.sandbox.faults.inject(
        "odd_rows", ad=ad, day=day.isoformat(), values=dict(values), drop=list(drop), times=None
    )


MENDED = {
    "a NUL in a name": {"ad_name": "Oferta\x00"},
    "no list of actions": {"actions": None, "action_values": None},
    "an action of nobody's": {"actions": [{"action_type": "like", "value": "NaN"}, 3, None]},
    "a number for text": {"ad_id": 120, "actions": [{"action_type": "lead", "value": 2}]},
    "a name that is none": {"ad_name": {"a": 1}, "campaign_name": 5},
}


@pytest.mark.parametrize("more", MENDED.values(), ids=MENDED)
def test_what_does_not_count_is_mended(more: dict[str, Any]):
    row = insights.parse(raw(**more))

    assert (row.ad_id, row.spend, row.impressions) == ("120", "5.10", 10)
    assert row.count(insights.LEADS) == (2 if row.actions else 0)
    assert "\x00" not in (row.ad_name or "")


UNREADABLE = [
    ("spend", "NaN"), ("spend", "-0.01"), ("spend", "9" * 18), ("spend", None), ("impressions", "-1"), ("reach", str(2**31)),
    ("clicks", "Infinity"), ("inline_link_clicks", 1.5), ("ad_id", "1" * 65), ("ad_id", "1\x002"), ("ad_id", ""),
    ("campaign_id", "x" * 3000), ("account_currency", None), ("actions", "many"), ("actions", [{"action_type": "lead", "value": "Infinity"}]),
    ("actions", [{"action_type": "lead", "value": "-3"}]), ("actions", [{"action_type": "lead", "value": "1e99999999"}]),
    ("actions", [{"action_type": CONVERSATION, "value": str(2**31)}]), ("action_values", [{"action_type": "purchase", "value": "NaN"}]),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), UNREADABLE, ids=lambda each: str(each)[:20])
def test_what_counts_and_cannot_be_read_spoils_its_day_and_says_which_row(field: str, value: Any):
    other = raw(ad_id="121", date_start="2026-11-19", date_stop="2026-11-19")
    read = understood(Range(DAY - timedelta(days=1), DAY), [raw(**{field: value}), other, raw()], ACCOUNT)

    (spoilt,) = read.spoilt
    assert (spoilt.day, spoilt.reason) == (DAY, "row_unreadable")
    assert spoilt.message
    assert field in spoilt.message
    assert len(spoilt.message) < 150
    assert field == "ad_id" or "ad 120: " in spoilt.message
    assert [(day.day, len(day.facts)) for day in read.days] == [(DAY - timedelta(days=1), 1)]


@pytest.mark.parametrize(
    "row",
    [
        b"3",
        b"null",
        b"[]",
        b'{"ad_id": "1"}',
        b'"x"',
        b'{"a": 1e999, "date_start": "2026"}',
        b'{"\\u0000": 1}',
    ],
)
def test_a_row_without_a_day_belongs_to_none(row: bytes):
    with pytest.raises(UnreadableRow) as told:
        insights.parse(msgspec.Raw(row))
    assert told.value.day is None
    with pytest.raises(Unplaced):
        understood(Range(DAY, DAY), [msgspec.Raw(row)], ACCOUNT)


async def test_a_name_that_the_database_does_not_take_is_mended_and_the_account_is_fetched(ledger: Ledger):
    ads = ledger.sandbox.ads()
    ads[0].name, ads[1].name = "Oferta\x00", "Promo \ud83d fim"
    await ledger.fetched()

    state = await ledger.state()
    assert (state["reason"], state["lease_id"]) == (None, None)
    assert await ledger.is_true()
    named = {row["meta_ad_id"]: row["name"] for row in await rows(ledger.db, "SELECT * FROM meta_ads")}
    assert (named[ads[0].id], named[ads[1].id]) == ("Oferta\ufffd", "Promo \ufffd fim")


async def test_a_row_that_cannot_be_read_keeps_its_own_day_alone(ledger: Ledger):
    ad, day = one_of(ledger)
    odd(ledger, ad, day, {"actions": [{"action_type": "lead", "value": "Infinity"}]})
    await ledger.fetched()

    by_day = {row["day"]: row for row in await ledger.days()}
    spoilt = by_day.pop(day)
    assert (spoilt["fetched_at"], spoilt["reason"], spoilt["attempts"]) == (None, "row_unreadable", 1)
    assert spoilt["message"] == f"ad {ad}: actions = Infinity"
    assert len(by_day) == DEPTH
    assert all(row["fetched_at"] and row["reason"] is None for row in by_day.values())
    state = await ledger.state()
    assert (state["reason"], state["message"]) == ("row_unreadable", spoilt["message"])
    assert (state["lease_id"], state["whole_at"]) == (None, None)
    assert state["next_at"] <= spoilt["due_at"]


async def test_a_spoilt_day_waits_longer_each_time_and_heals_when_its_row_can_be_read(ledger: Ledger):
    ad, day = one_of(ledger)
    odd(ledger, ad, day, {"spend": "NaN"})
    await ledger.fetched()
    waits = []
    for _ in range(3):
        (row,) = [row for row in await ledger.days() if row["day"] == day]
        state = await ledger.state()
        waits.append(row["due_at"] - state["tried_at"])
        await put(ledger.db, "UPDATE insight_days SET due_at = now() WHERE day = %s", day)
        await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
        await ledger.fetched()
    assert waits == sorted(waits)
    assert waits[1] > 2 * waits[0]
    assert waits[2] > 1.5 * waits[1]

    ledger.sandbox.faults.clear()
    await ledger.due()
    await ledger.fetched()
    assert await ledger.is_true()
    state = await ledger.state()
    assert state["reason"] is None
    assert state["whole_at"] >= state["tried_at"]


async def test_what_was_fetched_before_a_row_went_bad_stays(ledger: Ledger):
    await ledger.fetched()
    before, whole_at = await ledger.facts(), (await ledger.state())["whole_at"]
    ad, day = one_of(ledger)
    odd(ledger, ad, day, {"impressions": str(2**31)})
    await ledger.due()
    await ledger.fetched()

    assert (await ledger.state())["whole_at"] == whole_at
    assert {key: value for key, value in (await ledger.facts()).items() if key[0] == day} == {
        key: value for key, value in before.items() if key[0] == day
    }
    assert await ledger.is_true()


async def test_a_day_that_is_set_aside_and_falls_due_again_stops_nothing_until_a_try_fails(ledger: Ledger):
    ad, day = one_of(ledger)
    odd(ledger, ad, day, {"spend": "NaN"})
    await ledger.fetched()
    found = [await how_far(ledger)]
    await put(ledger.db, "UPDATE insight_days SET due_at = now() WHERE day = %s", day)
    found.append(await how_far(ledger))
    ledger.sandbox.faults.inject("throttle", times=None)
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
    await ledger.fetched()
    found.append(await how_far(ledger))

    assert [(each.aside, each.due) for each in found] == [(1, 0), (0, 1), (0, 1)]
    assert [each.goes_on for each in found] == [True, True, False]
    assert not any(each.is_first for each in found)


async def test_a_row_of_no_day_is_found_by_asking_for_less(ledger: Ledger):
    ad, day = one_of(ledger)
    odd(ledger, ad, day, {"date_stop": "soon"})
    await ledger.fetched()

    assert [row["day"] for row in await ledger.days() if row["reason"]] == [day]
    assert [row["day"] for row in await ledger.days() if row["fetched_at"] is None] == [day]


async def test_what_fails_inside_leaves_a_reason_and_gives_the_account_back(ledger: Ledger):
    await ledger.plan()
    await put(ledger.db, "ALTER TABLE meta_ad_insights_daily RENAME TO away")
    try:
        assert await ledger.syncer().step()
        state = await ledger.state()
        assert (state["reason"], state["attempts"], state["lease_id"]) == ("internal", 1, None)
        assert state["next_at"] > state["tried_at"]
        assert {row["reason"] for row in await ledger.days()} == {"internal"}
        await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
        await ledger.syncer().step()
        again = await ledger.state()
        assert again["next_at"] - again["tried_at"] > state["next_at"] - state["tried_at"]
    finally:
        await put(ledger.db, "ALTER TABLE away RENAME TO meta_ad_insights_daily")
    await ledger.due()
    await ledger.fetched()
    assert await ledger.is_true()


def test_waits_grow():
    for reason in ("internal", "row_unreadable", "currency_differs", "transient"):
        waits = [schedule.pause_after(reason, tries) for tries in range(8)]
        assert waits == sorted(waits)
        assert waits[4] > 10 * waits[0]


FIELDS = st.sampled_from(
    [
        "ad_id", "ad_name", "adset_id", "adset_name", "campaign_id", "campaign_name", "date_start", "date_stop", "account_currency",
        "spend", "impressions", "reach", "clicks", "inline_link_clicks", "actions", "action_values", "other",
    ]
)  # fmt: skip
NASTY = st.sampled_from(
    [
        "NaN",
        "-1",
        "1e400",
        "9" * 30,
        "\x00",
        "\ud800",
        "\ud83d x",
        "x" * 5000,
        "2026-11-20",
        "0001-01-01",
        "USD",
        "",
        "act_1",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NASTY
ACTIONS = st.fixed_dictionaries(
    {},
    optional={"action_type": st.sampled_from([CONVERSATION, "lead", "purchase"]) | SCALARS, "value": SCALARS},
)
VALUES = st.recursive(
    SCALARS | ACTIONS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NASTY, inner, max_size=2), max_leaves=6
)  # fmt: skip
ODD = st.tuples(
    st.integers(0, 400), st.dictionaries(FIELDS, VALUES, max_size=3), st.lists(FIELDS, max_size=1)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(ODD, min_size=1, max_size=3))
async def test_no_answer_leaves_an_account_without_whole_days_or_a_reason(
    ledger: Ledger, changes: list[tuple[int, dict[str, Any], list[str]]]
):
    ledger.sandbox.faults.clear()
    await put(ledger.db, "UPDATE insight_accounts SET reason = NULL, message = NULL, attempts = 0")
    await put(
        ledger.db,
        "UPDATE insight_days SET reason = NULL, attempts = 0, due_at = now() WHERE due_at IS NOT NULL",
    )
    there = sorted(ledger.truth(), reverse=True)
    for place, values, drop in changes:
        day, ad = there[place % len(there)]
        odd(ledger, ad, day, values, *drop)
    started = (await rows(ledger.db, "SELECT clock_timestamp() AS at"))[0]["at"]
    await ledger.due()
    await ledger.fetched(most=4)

    state = await ledger.state()
    kept = [row for row in await ledger.days() if row["due_at"]]
    assert state["lease_id"] is None
    assert kept
    assert all(row["reason"] or row["fetched_at"] >= started for row in kept)
    assert (state["reason"] is not None) == any(row["reason"] for row in kept)
    spoilt = {row["day"] for row in kept if row["reason"]}
    assert state["reason"] in (None, "row_unreadable", "currency_differs")
    assert spoilt <= {there[place % len(there)][0] for place, _, _ in changes}

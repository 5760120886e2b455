"""Which account-days are due: in every zone, over changes of clocks and leap days, each day until it was fetched late enough."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from whatrack.insights.days import (
    BRIDGE_DAYS,
    EVERY,
    FIRST_DAYS,
    OLDEST_DAYS,
    RESTATED_DAYS,
    Range,
    local_day,
    most_days_after,
    next_due,
    night_of,
    ranges,
    start_of,
    to_open,
)

NAMES = ["America/Sao_Paulo", "America/Manaus", "America/New_York", "Asia/Tokyo", "Asia/Kathmandu", "Pacific/Apia", "America/Havana",
         "Australia/Lord_Howe", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Africa/Cairo", "Europe/Lisbon", "UTC"]  # fmt: skip
ZONES = st.sampled_from([ZoneInfo(name) for name in NAMES])
DAYS = st.dates(date(2008, 1, 1), date(2036, 12, 31))
ONE = timedelta(days=1)
SP = ZoneInfo("America/Sao_Paulo")


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        pytest.param("America/Sao_Paulo", date(2026, 11, 26), datetime(2026, 11, 26, 3, tzinfo=UTC), id="no change of clocks any more"),
        pytest.param("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC), id="midnight is skipped"),
        pytest.param("America/Sao_Paulo", date(2018, 11, 5), datetime(2018, 11, 5, 2, tzinfo=UTC), id="summer time"),
        pytest.param("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC), id="midnight comes twice"),
        pytest.param("America/New_York", date(2026, 3, 9), datetime(2026, 3, 9, 4, tzinfo=UTC), id="the day after a short one"),
        pytest.param("Asia/Tokyo", date(2024, 2, 29), datetime(2024, 2, 28, 15, tzinfo=UTC), id="leap day"),
        pytest.param("Pacific/Apia", date(2011, 12, 31), datetime(2011, 12, 30, 10, tzinfo=UTC), id="after the day that was not"),
    ],
)  # fmt: skip
def test_a_day_begins_at_its_own_midnight(zone: str, day: date, start: datetime):
    assert start_of(day, ZoneInfo(zone)) == start


@given(ZONES, DAYS)
@example(ZoneInfo("America/Sao_Paulo"), date(2018, 11, 4))
@example(ZoneInfo("America/Havana"), date(2024, 11, 3))
@example(ZoneInfo("Pacific/Apia"), date(2011, 12, 30))
def test_days_lie_end_to_end_and_hold_their_own_instants(zone: ZoneInfo, day: date):
    start, end = start_of(day, zone), start_of(day + ONE, zone)

    assert start <= end <= start + timedelta(hours=26)
    if start < end:  # one day of Samoa's never was
        assert local_day(start, zone) == local_day(end - timedelta(microseconds=1), zone) == day
    assert start < night_of(day, zone) or start == end


@given(ZONES, DAYS, st.timedeltas(timedelta(0), timedelta(days=80)))
def test_what_was_fetched_is_due_later_and_in_the_end_no_more(zone: ZoneInfo, day: date, after: timedelta):
    fetched_at = start_of(day, zone) + after
    due = next_due(day, zone, fetched_at)

    final = night_of(day + ONE * RESTATED_DAYS, zone)
    if fetched_at >= final:
        assert due is None
        return
    assert due is not None
    assert fetched_at < due <= final
    ended = night_of(day + ONE, zone)
    assert due <= fetched_at + (EVERY if fetched_at < ended - EVERY else timedelta(hours=27))
    if fetched_at < ended:
        assert due <= ended  # the night after it is never passed over


@given(ZONES, DAYS)
def test_a_day_is_fetched_some_fifty_times_and_the_last_is_final(zone: ZoneInfo, day: date):
    """Whoever fetches whenever something is due gets there."""
    due, times, last = next_due(day, zone, None), 0, datetime.min.replace(tzinfo=UTC)
    while due is not None:
        times, last = times + 1, due
        due = next_due(day, zone, due)

    assert last == night_of(day + ONE * RESTATED_DAYS, zone)
    assert 24 + 27 <= times <= 30 + 28  # hourly for a day and three hours; then each night


@given(ZONES, DAYS, st.integers(0, 400))
def test_a_day_that_was_missed_for_long_is_fetched_once_and_is_final(zone: ZoneInfo, day: date, gap: int):
    late = start_of(day + ONE * (RESTATED_DAYS + 1 + gap), zone)

    due = next_due(day, zone, None)
    assert due is not None
    assert due <= late
    assert next_due(day, zone, late) is None


def test_a_day_is_read_in_each_of_the_four_weeks_nights_that_meta_restates_it_in():
    """Numbers written out: Meta says 28 days, and hours are hours."""
    day = date(2026, 9, 1)

    assert next_due(day, SP, start_of(day, SP)) == start_of(day, SP) + timedelta(hours=1)
    assert next_due(day, SP, night_of(date(2026, 9, 28), SP)) == night_of(date(2026, 9, 29), SP)
    assert next_due(day, SP, night_of(date(2026, 9, 29), SP)) is None


def test_figures_that_were_read_too_early_are_not_final():
    """Fetched two days after, and never again while the token was dead: still to be restated."""
    day = date(2026, 9, 1)
    early = start_of(day + 2 * ONE, SP)

    due = next_due(day, SP, early)
    assert due is not None
    assert due < start_of(date(2026, 11, 1), SP)


@given(st.sets(DAYS, max_size=40), DAYS, st.integers(1, 400))
def test_days_are_opened_without_gaps_from_the_first_to_today(known: set[date], today: date, depth: int):
    known = {day for day in known if day <= today}
    new = to_open(known, today, depth)

    kept = sorted({day for day in known if (today - day).days <= OLDEST_DAYS} | set(new))
    assert kept == [kept[0] + ONE * place for place in range(len(kept))]
    assert kept[-1] == today
    assert (today - kept[0]).days >= depth
    assert not known & set(new)
    assert new == sorted(new)


@given(
    st.sets(st.dates(date(2026, 1, 1), date(2026, 12, 31)), max_size=120),
    st.none() | st.integers(0, 30_000),
    st.integers(1, 40_000),
    st.integers(1, 90),
)
def test_ranges_hold_every_due_day_once_and_little_else(
    due: set[date], size: int | None, most_rows: int, most_days: int
):
    found = ranges(due, size, most_rows=most_rows, most_days=most_days)

    days = [day for each in found for day in each.days]
    assert len(days) == len(set(days))
    assert due <= set(days)
    assert found == sorted(found, reverse=True)  # the newest first
    for each in found:
        assert {each.since, each.until} <= due
        gaps = sorted(due & set(each.days))
        assert all((two - one).days <= BRIDGE_DAYS + 1 for one, two in pairwise(gaps))
        assert len(each) <= most_days
        if size is None:
            assert len(each) <= FIRST_DAYS
        else:
            assert len(each) == 1 or len(each) * size <= most_rows


def test_the_nightly_four_weeks_are_one_call_and_so_is_a_quarter():
    today = date(2026, 11, 26)
    month = {today - ONE * back for back in range(RESTATED_DAYS + 1)}
    quarter = {today - ONE * back for back in range(90)}

    assert len(ranges(month, 500, most_rows=20_000, most_days=90)) == 1
    assert len(ranges(quarter, 200, most_rows=20_000, most_days=90)) == 1
    assert len(ranges({today, today - ONE * 3}, 500, most_rows=20_000, most_days=90)) == 1


@given(DAYS, st.integers(2, 120))
def test_halves_are_the_whole(since: date, length: int):
    whole = Range(since, since + ONE * (length - 1))
    newer, older = whole.halves()

    assert older.days + newer.days == whole.days
    assert abs(len(newer) - len(older)) <= 1


def test_after_each_failure_half_as_much_is_asked_for():
    assert [most_days_after(attempts) for attempts in (0, 1, 2, 6, 7, 1000)] == [90, 45, 22, 1, 1, 1]

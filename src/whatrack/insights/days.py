"""Which account-days are due and when again, and in how few calls they are fetched. Pure.

A day is the ad account's. While it lasts, and until the night after it, it is fetched each hour; then each night while Meta may
restate it; then once more, and no more. So a day that was missed for any reason is due until it was fetched late enough.
Source: Meta, "Insights API best practices", read 2026-11: figures are final after 28 days.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

EVERY = timedelta(hours=1)  # while a day lasts
NIGHT = time(3)  # of the account's zone, when Meta has yesterday's figures
RESTATED_DAYS = 28
OLDEST_DAYS = 1100  # Meta keeps 37 months
BRIDGE_DAYS = 2  # fetching so many days again costs less than another call
FIRST_DAYS = 7  # at once, while nobody knows how many rows a day has
MOST_DAYS = 90
ONE_DAY = timedelta(days=1)


class Range(msgspec.Struct, frozen=True, order=True):
    """Days from `since` to `until`, both included."""

    since: date
    until: date

    @property
    def days(self) -> list[date]:
        """Each of them, the oldest first."""
        return [self.since + ONE_DAY * place for place in range(len(self))]

    def __len__(self) -> int:
        return (self.until - self.since).days + 1

    def halves(self) -> "tuple[Range, Range]":
        """The newer half and the older one, of at least two days."""
        middle = self.since + ONE_DAY * (len(self) // 2)
        return Range(middle, self.until), Range(self.since, middle - ONE_DAY)


def is_zone(name: str) -> bool:
    """Whether this machine knows a time zone of that name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """The day that this instant lies on, there."""
    return moment.astimezone(zone).date()


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """The day's first instant, UTC; where midnight is skipped by a change of clocks, the instant of the change."""
    return datetime.combine(day, time(0), zone).astimezone(UTC)


def night_of(day: date, zone: ZoneInfo) -> datetime:
    """When the nightly reading of this day is due, UTC."""
    return datetime.combine(day, NIGHT, zone).astimezone(UTC)


def next_due(day: date, zone: ZoneInfo, fetched_at: datetime | None) -> datetime | None:
    """When a day has to be fetched (again), UTC: later than fetched_at; None when what was fetched is final."""
    if fetched_at is None:
        return start_of(day, zone)
    ended = night_of(day + ONE_DAY, zone)
    if fetched_at < ended:
        return min(fetched_at + EVERY, ended)
    final = night_of(day + ONE_DAY * RESTATED_DAYS, zone)
    if fetched_at >= final:
        return None
    tonight = night_of(local_day(fetched_at, zone), zone)
    return tonight if tonight > fetched_at else night_of(local_day(fetched_at, zone) + ONE_DAY, zone)


def to_open(known: Collection[date], today: date, depth: int) -> list[date]:
    """Days that begin to be kept: from `depth` days back, or the oldest known if that is earlier, to today, without gaps.

    depth: how far back to go at first. Nothing older than Meta keeps.
    """
    first = min([today - ONE_DAY * depth, *known])
    first = max(first, today - ONE_DAY * OLDEST_DAYS)
    wanted = (first + ONE_DAY * place for place in range((today - first).days + 1))
    return [day for day in wanted if day not in known]


def ranges(due: Collection[date], rows_a_day: int | None, *, most_rows: int, most_days: int) -> list[Range]:
    """Due days in few ranges, the newest first; a short gap between two is fetched along.

    rows_a_day: as large as a day is thought to be; None: nobody knows yet. A day that is too large for most_rows stands alone.
    """
    longest = FIRST_DAYS if rows_a_day is None else max(1, most_rows // max(1, rows_a_day))
    longest = max(1, min(longest, most_days))
    found: list[Range] = []
    for day in sorted(set(due), reverse=True):
        last = found[-1] if found else None
        if (
            last
            and (last.since - day).days <= BRIDGE_DAYS + 1
            and len(longer := Range(day, last.until)) <= longest
        ):
            found[-1] = longer
        else:
            found.append(Range(day, day))
    return found


def rows_a_day(counts: Sequence[int]) -> int | None:
    """How large a day is thought to be, from how large days were; None without any."""
    return max(counts, default=None)


def most_days_after(attempts: int) -> int:
    """How many days to ask for at once after so many tries that brought nothing: half as many each time."""
    return max(1, MOST_DAYS >> min(attempts, 10))

"""Days as instants: where a period begins and ends in each zone, and what of it each zone has. Pure.

A day is half open, from its first instant to the next day's. A midnight that a change of clocks skips is the instant of the
change: São Paulo's summer time began at midnight until 2018.
"""

from bisect import bisect_right
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec


def begins(day: date, zone: str) -> datetime:
    """The first instant of a day, UTC."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def day_in(at: datetime, zone: str) -> date:
    """The day on which an instant falls."""
    return at.astimezone(ZoneInfo(zone)).date()


def span(since: date, until: date, zone: str) -> tuple[datetime, datetime]:
    """The instants of whole days, both included: half open, UTC."""
    return begins(since, zone), begins(until + timedelta(days=1), zone)


class Buckets(msgspec.Struct, frozen=True):
    """The period of several zones cut where any of them begins or ends: bucket n lies between bounds n − 1 and n, from 1.

    So one reading of the tickets serves all zones: each keeps its own buckets.
    """

    bounds: list[datetime]
    of_zone: dict[str, tuple[int, int]]  # zone → its first and last bucket

    @property
    def lo(self) -> datetime:
        """Where the first zone begins."""
        return self.bounds[0]

    @property
    def hi(self) -> datetime:
        """Where the last zone ends."""
        return self.bounds[-1]


def buckets(since: date, until: date, zones: Iterable[str]) -> Buckets:
    """How to read the tickets of a period for these zones."""
    spans = {zone: span(since, until, zone) for zone in zones}
    bounds = sorted({bound for pair in spans.values() for bound in pair})
    return Buckets(
        bounds,
        {zone: (bisect_right(bounds, lo), bisect_right(bounds, hi) - 1) for zone, (lo, hi) in spans.items()},
    )


def days(since: date, until: date) -> list[date]:
    """Each day, both ends included."""
    return [since + timedelta(days=place) for place in range((until - since).days + 1)]

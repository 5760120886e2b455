"""The sandbox's time: the machine's, or a test's, and as far ahead of it as somebody has moved it."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo


class Clock:
    """Unix seconds. `base` is injected by tests; `ahead_s` grows by advance()."""

    def __init__(self, base: Callable[[], float] = time.time) -> None:
        self._base = base
        self.ahead_s = 0.0

    def __call__(self) -> float:
        """Now."""
        return self._base() + self.ahead_s

    def advance(self, seconds: float) -> None:
        """Let time pass at once, so that tokens expire and days end."""
        self.ahead_s += seconds

    def today(self, zone: str) -> date:
        """The day it is in a zone."""
        return day_of(self(), zone)


def day_of(at: float, zone: str) -> date:
    """The day an instant falls on in a zone."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).date()


def share_of_day_gone(at: float, zone: str) -> float:
    """How much of the zone's day has passed, 0 to 1 (a day of a clock change counts as 24 hours)."""
    moment = datetime.fromtimestamp(at, ZoneInfo(zone))
    return (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86_400


def graph_time(at: float, zone: str | None = None) -> str:
    """An instant as the Graph API writes it: 2026-11-23T09:30:00-0300."""
    moment = datetime.fromtimestamp(int(at), ZoneInfo(zone) if zone else UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S%z")

"""Which days an insights request is about: `time_range`, `time_ranges`, `date_preset` and `time_increment`.

Source: Meta, "Insights API" and "Ad account insights" (parameters), read 2026-11. Ranges include both ends.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, TypeAlias

from whatrack.sandbox.failures import GraphError, bad_parameter

Range: TypeAlias = tuple[date, date]
MONTHS_BACK = 37


def buckets(params: Mapping[str, str], today: date) -> list[Range]:
    """The ranges that each give a row, oldest first; none reaches beyond today."""
    increment = params.get("time_increment", "all_days")
    found = []
    for since, until in ranges(params, today):
        last = min(until, today)
        if increment == "all_days":
            if since <= last:
                found.append((since, until))
        elif increment == "monthly":
            found += _months(since, last)
        else:
            found += _steps(since, last, _days(increment))
    return found


def ranges(params: Mapping[str, str], today: date) -> list[Range]:
    """The ranges asked for."""
    if "time_ranges" in params:
        values = _read(params["time_ranges"], "time_ranges")
        if not isinstance(values, list):
            raise bad_parameter("Param time_ranges must be an array of ranges")
        return [_range(each, today) for each in values]
    if "time_range" in params:
        return [_range(_read(params["time_range"], "time_range"), today)]
    return [preset(params.get("date_preset", "last_30d"), today)]


def _read(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise bad_parameter(f"Param {name} must be JSON") from None


def _range(value: Any, today: date) -> Range:
    try:
        since, until = date.fromisoformat(str(value["since"])), date.fromisoformat(str(value["until"]))
    except (KeyError, TypeError, ValueError):
        raise bad_parameter("Param time_range must hold since and until as YYYY-MM-DD") from None
    if since > until:
        raise bad_parameter("Param time_range: since must not be after until")
    if since < today - timedelta(days=MONTHS_BACK * 30.5):
        text = "(#3018) The start date of the time range cannot be beyond 37 months from the current date"
        raise GraphError(3018, text)
    return since, until


def _days(increment: str) -> int:
    if not increment.isdigit() or not 1 <= int(increment) <= 90:
        raise bad_parameter("Param time_increment must be 1 to 90, monthly or all_days")
    return int(increment)


def _steps(since: date, last: date, days: int) -> Iterator[Range]:
    while since <= last:
        end = min(since + timedelta(days=days - 1), last)
        yield since, end
        since = end + timedelta(days=1)


def _months(since: date, last: date) -> Iterator[Range]:
    while since <= last:
        following = (since.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield since, min(following - timedelta(days=1), last)
        since = following


def preset(name: str, today: date) -> Range:
    """The range a date_preset stands for."""
    yesterday = today - timedelta(days=1)
    if name.startswith("last_") and name.endswith("d") and name[5:-1] in ("3", "7", "14", "28", "30", "90"):
        return today - timedelta(days=int(name[5:-1])), yesterday
    monday = today - timedelta(days=today.weekday())
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    month, quarter = today.replace(day=1), today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1)
    before_month, before_quarter = month - timedelta(days=1), quarter - timedelta(days=1)
    year = today.replace(month=1, day=1)
    known = {
        "today": (today, today),
        "yesterday": (yesterday, yesterday),
        "this_month": (month, today),
        "last_month": (before_month.replace(day=1), before_month),
        "this_quarter": (quarter, today),
        "last_quarter": (before_quarter.replace(month=(before_quarter.month - 1) // 3 * 3 + 1, day=1), before_quarter),
        "this_year": (year, today),
        "last_year": (year.replace(year=year.year - 1), year - timedelta(days=1)),
        "this_week_mon_today": (monday, today),
        "this_week_sun_today": (sunday, today),
        "last_week_mon_sun": (monday - timedelta(days=7), monday - timedelta(days=1)),
        "last_week_sun_sat": (sunday - timedelta(days=7), sunday - timedelta(days=1)),
        "maximum": (today - timedelta(days=365), today),
        "data_maximum": (today - timedelta(days=365), today),
    }  # fmt: skip
    if name not in known:
        raise bad_parameter(f"Param date_preset: {name} is not valid")
    return known[name]

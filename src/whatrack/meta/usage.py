"""How much of Meta's limits is used up, as its headers say, and how long calls had better wait. Pure.

Headers come with successes and refusals alike: per cent of a limit, and the time until calls are welcome again (minutes in
x-business-use-case-usage, seconds in x-ad-account-usage).
Sources: Meta, "Rate limiting" (Graph API and Marketing API)
<https://developers.facebook.com/docs/graph-api/overview/rate-limiting>, read 2026-11.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

SLOW_AT, STOP_AT = 75.0, 90.0
SLOWEST_S = 5.0  # between two calls just below the stop
STOP_OTHERWISE_S = 60.0  # when the header gives no time
APP = "app"


class Load(msgspec.Struct, frozen=True):
    """Use of one limit. key: "app", or "<account digits>:ads" or ":insights"; wait_s: until it is welcome again."""

    key: str
    percent: float
    wait_s: float = 0.0

    @property
    def pause_s(self) -> float:
        """How long to let this limit rest from now on; 0 below the stop."""
        return max(self.wait_s, STOP_OTHERWISE_S) if self.percent >= STOP_AT else 0.0

    @property
    def gap_s(self) -> float:
        """How far apart calls should be from now on; 0 below the slow mark."""
        return max(0.0, (self.percent - SLOW_AT) / (STOP_AT - SLOW_AT)) * SLOWEST_S


def account_key(account: str, *, insights: bool) -> str:
    """The limit of an account's calls: reports are counted apart from all else."""
    return f"{account}:{'insights' if insights else 'ads'}"


def read_usage(headers: Mapping[str, str], account: str | None, *, insights: bool) -> list[Load]:
    """Every limit that the headers of an answer speak of; what cannot be read is passed over."""
    found = [*_of_app(headers), *_of_use_cases(headers, account)]
    if account:
        key = account_key(account, insights=insights)
        score = _object(headers.get("x-ad-account-usage"))
        found.append(
            Load(key, _number(score.get("acc_id_util_pct")), _number(score.get("reset_time_duration")))
        )
        if insights:
            reports = _object(headers.get("x-fb-ads-insights-throttle"))
            found.append(Load(key, _number(reports.get("acc_id_util_pct"))))
            found.append(Load(APP, _number(reports.get("app_id_util_pct"))))
    return [load for load in found if load.percent]


def _of_app(headers: Mapping[str, str]) -> Iterator[Load]:
    used = _object(headers.get("x-app-usage"))
    yield Load(APP, max((_number(value) for value in used.values()), default=0.0))


def _of_use_cases(headers: Mapping[str, str], asked: str | None) -> Iterator[Load]:
    """The header names ad accounts, or their business: where the account that was asked is not named, all of it is its."""
    of = _object(headers.get("x-business-use-case-usage"))
    for named, cases in of.items():
        account = named if asked is None or asked in of else asked
        for case in cases if isinstance(cases, list) else []:
            if isinstance(case, dict):
                used = (_number(case.get(name)) for name in ("call_count", "total_cputime", "total_time"))
                wait_s = _number(case.get("estimated_time_to_regain_access")) * 60
                insights = case.get("type") == "ads_insights"
                yield Load(account_key(account, insights=insights), max(used), wait_s)


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text) if text else None
    except msgspec.DecodeError:
        value = None
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0

"""The usage headers that come with every answer, refusals included.

Source: Meta, "Rate limiting" (Graph API and Marketing API), read 2026-11. Per cent of the limit, 0 to 100; times to wait are
minutes in x-business-use-case-usage and seconds in x-ad-account-usage. The sandbox's own load is small and grows slowly.
"""

import json
from dataclasses import dataclass

TIER = "development_access"
CALLS_PER_PERCENT = 50


@dataclass(frozen=True)
class Load:
    """What is reported. minutes: until calls are welcome again; code: of the limit that was hit.

    business: the id that the use case is told of instead of the account's, and then the account's own headers are left out.
    """

    percent: float
    minutes: int = 0
    code: int | None = None
    business: str = ""


_USE_CASES = {80001: "pages", 80002: "instagram", 80003: "custom_audience", 80014: "catalog_batch"}


def headers(load: Load, *, account_id: str | None, insights: bool) -> dict[str, str]:
    """The headers for a call; account_id None: it concerned no ad account."""
    app_wide = load.percent if load.code in (None, 4, 32) else 1
    found = {"x-app-usage": _json({"call_count": app_wide, "total_time": app_wide, "total_cputime": 0})}
    if account_id is None:
        return found
    use_case = _USE_CASES.get(load.code or 0, "ads_insights" if insights else "ads_management")
    detail = {
        "type": use_case,
        "call_count": load.percent,
        "total_cputime": 1,
        "total_time": 1,
        "estimated_time_to_regain_access": load.minutes,
        "ads_api_access_tier": TIER,
    }
    found["x-business-use-case-usage"] = _json({load.business or account_id: [detail]})
    if load.business:
        return found
    score = {
        "acc_id_util_pct": load.percent,
        "reset_time_duration": load.minutes * 60,
        "ads_api_access_tier": TIER,
    }
    found["x-ad-account-usage"] = _json(score)
    if insights:
        both = {"app_id_util_pct": app_wide, "acc_id_util_pct": load.percent, "ads_api_access_tier": TIER}
        found["x-fb-ads-insights-throttle"] = _json(both)
    return found


def usual(calls: int) -> Load:
    """The load after so many calls: one per cent each fifty, and no more than forty."""
    return Load(min(40, 1 + calls // CALLS_PER_PERCENT))


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

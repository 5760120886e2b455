"""The `actions` of an insights row: conversations started, first replies, leads and purchases.

An action says its value, and that of each attribution window that was asked for. Windows that Meta no longer serves (7d_view
and 28d_view, since 12 January 2026) give nothing. "Conversations started" is modelled, and not the number of referrals.
Source: Meta, "Insights API · Actions" and the blog of 16 October 2025, read 2026-11.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from whatrack.sandbox.figures import Figures, major
from whatrack.sandbox.filtering import as_json

STARTED = "onsite_conversion.messaging_conversation_started_7d"
_SHARES = {"1d_click": 85, "7d_click": 95, "28d_click": 95, "1d_view": 5, "1d_ev": 5}  # per cent of the value
# What an action breakdown says of every action here.
_BREAKDOWNS = {
    "action_destination": "WhatsApp",
    "action_device": "android_smartphone",
    "action_target_id": "0",
}


def counts(figures: Figures) -> dict[str, int]:
    """Action type → how many; none that is zero."""
    found = {
        "link_click": figures.link_clicks,
        STARTED: figures.conversations,
        "onsite_conversion.messaging_first_reply": figures.replies,
        "onsite_conversion.total_messaging_connection": figures.conversations * 3 // 2,
        "onsite_conversion.lead_grouped": figures.leads,
        "onsite_conversion.purchase": figures.purchases,
        "omni_purchase": figures.purchases,
    }
    return {name: count for name, count in found.items() if count}


def action_fields(
    figures: Figures, currency: str, names: tuple[str, ...], params: Mapping[str, str]
) -> dict[str, Any]:
    """Those of actions, action_values and cost_per_action_type that are asked for and not empty."""
    wanted = {"actions", "action_values", "cost_per_action_type", "outbound_clicks"}.intersection(names)
    if not wanted:
        return {}
    counted = counts(figures)
    values = {
        name: figures.purchase_value
        for name in ("onsite_conversion.purchase", "omni_purchase")
        if figures.purchase_value
    }
    spend = Decimal(major(figures.spend, currency))
    found = {
        "actions": _listed(counted, params, lambda count, share: str(count * share // 100)),
        "action_values": _listed(values, params, lambda value, share: major(value * share // 100, currency)),
        "cost_per_action_type": [
            {"action_type": name, "value": f"{spend / count:.6f}"} for name, count in counted.items()
        ],
        "outbound_clicks": [{"action_type": "outbound_click", "value": str(figures.link_clicks)}]
        if figures.link_clicks
        else [],
    }
    return {name: value for name, value in found.items() if name in wanted and value}


def _listed(
    amounts: dict[str, int], params: Mapping[str, str], write: Callable[[int, int], str]
) -> list[dict[str, str]]:
    windows = [str(each) for each in as_json(params.get("action_attribution_windows") or "[]", "windows")]
    breakdowns = [str(each) for each in as_json(params.get("action_breakdowns") or "[]", "action_breakdowns")]
    extra = {name: _BREAKDOWNS[name] for name in breakdowns if name in _BREAKDOWNS}
    return [
        {
            "action_type": name,
            **extra,
            "value": write(amount, 100),
            **{window: write(amount, _SHARES[window]) for window in windows if window in _SHARES},
        }
        for name, amount in amounts.items()
    ]

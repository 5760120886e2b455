"""Insights: the rows of a report over an account, campaign, ad set or ad.

Figures are strings, spend in major units; rows without delivery are absent; archived and deleted ads are left out of lists by
ad unless a filter names a status, and counted in the account's total all the same.
Source: Meta, "Insights API", "Breakdowns", "Error codes", read 2026-11.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

from whatrack.sandbox import chance
from whatrack.sandbox.actions import action_fields
from whatrack.sandbox.ancestry import STATUS_WORDS, chain, filtered_value
from whatrack.sandbox.failures import GraphError, bad_parameter
from whatrack.sandbox.fields import parse_fields
from whatrack.sandbox.figures import NOTHING, Figures, figures_of, major
from whatrack.sandbox.filtering import Condition, as_json, holds, parse_filtering
from whatrack.sandbox.nodes import NAMES, values_of
from whatrack.sandbox.periods import Range, buckets
from whatrack.sandbox.state import AD, AD_SET, CAMPAIGN, HIDDEN, AdAccount, AdObject, World

LEVELS = ("account", CAMPAIGN, AD_SET, AD)
MAX_SYNC_ROWS = 5000
DEFAULT_FIELDS = ("account_id", "impressions", "spend")
_DEVICES = ("android_smartphone", "iphone", "desktop")
BREAKDOWNS: dict[str, tuple[str, ...]] = {
    "age": ("25-34", "35-44", "45-54", "55-64"),
    "gender": ("female", "male", "unknown"),
    "country": ("BR",),
    "region": ("São Paulo (state)", "Rio de Janeiro (state)", "Minas Gerais"),
    "dma": ("unknown",),
    "comscore_market": ("unknown",),
    "publisher_platform": ("facebook", "instagram", "whatsapp"),
    "platform_position": ("feed", "story", "status"),
    "impression_device": _DEVICES,
    "device_platform": ("mobile_app", "desktop"),
    "hourly_stats_aggregated_by_advertiser_time_zone": tuple(f"{hour:02}:00:00 - {hour:02}:59:59" for hour in range(24)),
    "hourly_stats_aggregated_by_audience_time_zone": tuple(f"{hour:02}:00:00 - {hour:02}:59:59" for hour in range(24)),
}  # fmt: skip
# Breakdowns that Meta has and no ad here delivers by: they are taken, and give no rows.
BREAKDOWNS |= dict.fromkeys(
    (
        "ad_format_asset", "body_asset", "call_to_action_asset", "description_asset", "frequency_value", "image_asset",
        "link_url_asset", "place_page_id", "product_id", "title_asset", "video_asset",
    ),
    (),
)  # fmt: skip
# Breakdowns that may stand together; any single one may stand alone.
TOGETHER = (
    {"age", "gender"},
    {"publisher_platform", "platform_position", "impression_device", "device_platform"},
    {"country", "age", "gender"},
)


@dataclass(frozen=True)
class Row:
    """A row before its fields are written: which ads, which days, which part of the breakdowns."""

    node: AdAccount | AdObject
    days: Range
    parts: dict[str, str]
    figures: Figures


def report(
    world: World, node: AdAccount | AdObject, params: Mapping[str, str], *, max_rows: int | None
) -> list[dict[str, Any]]:
    """All rows of a report. max_rows: more are refused with 100/1487534, as synchronous requests are."""
    account = world.get(AdAccount, node.account_id if isinstance(node, AdObject) else node.id)
    names = _names(params)
    level = params.get("level") or (node.kind if isinstance(node, AdObject) else "account")
    if level not in LEVELS:
        raise bad_parameter(f"Param level must be one of {', '.join(LEVELS)}")
    days = buckets(params, world.clock.today(account.zone))
    conditions = parse_filtering(params)
    rows = [
        row
        for among in days
        for whole in _whole_rows(world, node, level, among, conditions)
        for row in _broken_down(world, whole, _breakdowns(params))
    ]
    written = [
        _write(world, account, row, names, params) for row in rows if _passes(row, account, conditions)
    ]
    if max_rows is not None and len(written) > max_rows:
        text = "Please reduce the amount of data you're asking for, then retry your request"
        raise GraphError(100, text, subcode=1487534, title="Too Much Data")
    return _sorted(written, params)


def _names(params: Mapping[str, str]) -> tuple[str, ...]:
    """The fields asked for, all of them such as insights may have."""
    names = tuple(each.name for each in parse_fields(params.get("fields", ""))) or DEFAULT_FIELDS
    for name in names:
        if name not in NAMES["AdsInsights"] and name not in BREAKDOWNS:
            raise bad_parameter(
                f"{name} is not valid for fields param. please check"
                " https://developers.facebook.com/docs/marketing-api/reference/ads-insights/ for all valid values"
            )
    return names


def _breakdowns(params: Mapping[str, str]) -> list[str]:
    names = [str(each) for each in as_json(params.get("breakdowns") or "[]", "breakdowns")]
    for name in names:
        if name not in BREAKDOWNS:
            raise bad_parameter(f"breakdowns[0] must be one of the following values: {', '.join(BREAKDOWNS)}")
    if len(names) > 1 and not any(set(names) <= each for each in TOGETHER):
        text = "(#2) The combination of breakdowns is not supported"
        raise GraphError(2, text, subcode=1504041)
    return names


def _whole_rows(
    world: World,
    node: AdAccount | AdObject,
    level: str,
    days: Range,
    conditions: tuple[Condition, ...],
) -> list[Row]:
    """One row for each object of the level that delivered on these days."""
    entity = [each for each in conditions if _about_object(each)]
    status_named = any(each.field.endswith(STATUS_WORDS) for each in conditions)
    sums: dict[str, Figures] = {}
    for ad in world.below(node.id, AD):
        above = chain(world, ad)
        if not all(holds(each, filtered_value(world, above, each.field, level)) for each in entity):
            continue
        shown = above[level]
        if isinstance(shown, AdObject) and not status_named and world.effective_status(shown) in HIDDEN:
            continue
        sums[shown.id] = sums.get(shown.id, NOTHING) + _over(world, ad, days)
    return [
        Row(found, days, {}, figures)
        for node_id, figures in sums.items()
        if figures != NOTHING and isinstance(found := world.nodes[node_id], AdAccount | AdObject)
    ]


def _over(world: World, ad: AdObject, days: Range) -> Figures:
    since, until = max(days[0], ad.first_day), days[1]
    whole, count = NOTHING, (until - since).days + 1
    for step in range(count):
        whole += figures_of(world, ad, since + timedelta(days=step))
    return whole


def _about_object(condition: Condition) -> bool:
    name = condition.field.partition(".")[2] or condition.field
    return name not in Figures.__dataclass_fields__ and name not in (
        "reach",
        "ctr",
        "cpc",
        "cpm",
        "frequency",
    )


def _broken_down(world: World, row: Row, names: list[str]) -> list[Row]:
    if not names:
        return [row]
    parts = [
        dict(zip(names, values, strict=True)) for values in product(*(BREAKDOWNS[name] for name in names))
    ]
    weights = [
        chance.between(1, 20, world.seed, "part", row.node.id, *sorted(part.items())) for part in parts
    ]
    split = row.figures.split(weights)
    return [
        Row(row.node, row.days, part, figures)
        for part, figures in zip(parts, split, strict=True)
        if figures.impressions
    ]


def _passes(row: Row, account: AdAccount, conditions: tuple[Condition, ...]) -> bool:
    for condition in conditions:
        if not _about_object(condition):
            name = condition.field.partition(".")[2] or condition.field
            metric = METRICS.get(name)
            if metric and not holds(condition, metric(row.figures, account.currency)):
                return False
    return True


def _ratio(above: int, below: int, places: int = 6) -> str | None:
    return f"{Decimal(above) / below:.{places}f}" if below else None


def _price(spend: int, count: int, currency: str, per: int = 1) -> str | None:
    return f"{Decimal(major(spend, currency)) * per / count:.6f}" if count else None


METRICS: dict[str, Callable[[Figures, str], str | None]] = {
    "impressions": lambda figures, _: str(figures.impressions),
    "reach": lambda figures, _: str(figures.impressions * 4 // 5),
    "frequency": lambda figures, _: _ratio(figures.impressions, figures.impressions * 4 // 5),
    "clicks": lambda figures, _: str(figures.clicks),
    "unique_clicks": lambda figures, _: str(figures.clicks * 9 // 10),
    "inline_link_clicks": lambda figures, _: str(figures.link_clicks),
    "spend": lambda figures, currency: major(figures.spend, currency),
    "social_spend": lambda figures, currency: major(0, currency),
    "ctr": lambda figures, _: _ratio(figures.clicks * 100, figures.impressions),
    "inline_link_click_ctr": lambda figures, _: _ratio(figures.link_clicks * 100, figures.impressions),
    "cpc": lambda figures, currency: _price(figures.spend, figures.clicks, currency),
    "cpm": lambda figures, currency: _price(figures.spend, figures.impressions, currency, 1000),
    "cpp": lambda figures, currency: _price(figures.spend, figures.impressions * 4 // 5, currency, 1000),
    "cost_per_inline_link_click": lambda figures, currency: _price(
        figures.spend, figures.link_clicks, currency
    ),
}


def _write(
    world: World, account: AdAccount, row: Row, names: tuple[str, ...], params: Mapping[str, str]
) -> dict[str, Any]:
    """A row with the fields asked for; what it has no value for is left out."""
    known: dict[str, Any] = {
        "account_id": account.id,
        "account_name": account.name,
        "account_currency": account.currency,
    }
    node: AdAccount | AdObject | None = row.node
    while isinstance(node, AdObject):
        known |= {f"{node.kind}_id": node.id, f"{node.kind}_name": node.name}
        if node.kind == CAMPAIGN:
            known |= {"objective": node.details["objective"], "buying_type": node.details["buying_type"]}
        above = world.nodes.get(node.parent_id)
        node = above if isinstance(above, AdObject) else None
    if isinstance(row.node, AdObject):
        values = values_of(world, row.node)
        known |= {name: values[name][:10] for name in ("created_time", "updated_time")}
    found = {name: known[name] for name in names if name in known}
    for name in names:
        if name in METRICS and (value := METRICS[name](row.figures, account.currency)) is not None:
            found[name] = value
    found |= action_fields(row.figures, account.currency, names, params)
    return {**found, **_dates(row.days), **row.parts}


def _dates(days: tuple[date, date]) -> dict[str, str]:
    return {"date_start": days[0].isoformat(), "date_stop": days[1].isoformat()}


def _sorted(rows: list[dict[str, Any]], params: Mapping[str, str]) -> list[dict[str, Any]]:
    for order in reversed(as_json(params.get("sort") or "[]", "sort")):
        name, _, direction = str(order).rpartition("_")
        if name in METRICS:
            rows.sort(
                key=lambda row, by=name: Decimal(row.get(by) or 0),  # type: ignore[misc] # the name is bound
                reverse=direction == "descending",
            )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, str]:
    """The totals that `summary` or `default_summary` adds."""
    spend = sum((Decimal(row.get("spend", "0")) for row in rows), Decimal(0))
    return {"spend": str(spend), "impressions": str(sum(int(row.get("impressions", 0)) for row in rows))}

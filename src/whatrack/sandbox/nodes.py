"""What a node says about itself: its fields, and which of them an answer holds.

A value that is another node stands as `Ref`, and is told in as many words as were asked for. A field that such a node may
have and this one has not is left out, as Meta does; a name no such node ever has is an error.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any, assert_never
from zoneinfo import ZoneInfo

from whatrack.sandbox.chance import between
from whatrack.sandbox.clock import graph_time
from whatrack.sandbox.failures import unknown_field
from whatrack.sandbox.fields import Wanted
from whatrack.sandbox.state import (
    AD,
    AD_SET,
    CAMPAIGN,
    AdAccount,
    AdObject,
    App,
    Business,
    Creative,
    Dataset,
    Node,
    Number,
    Person,
    ReportRun,
    Waba,
    World,
)

# Every field name of each kind of node in Meta's SDKs for v21 to v26, and the few more that connectors ask for, whether
# the sandbox has a value for it or not.
NAMES: Mapping[str, frozenset[str]] = {
    kind: frozenset(names.split())
    for kind, names in json.loads(files(__package__).joinpath("field_names.json").read_text()).items()
}
_OBJECT_TYPES = {CAMPAIGN: "Campaign", AD_SET: "AdSet", AD: "Ad"}
# What an answer holds when no field is named.
_DEFAULTS = {
    "User": ("id", "name"),
    "Business": ("id", "name"),
    "AdAccount": ("id", "account_id"),
    "WhatsAppBusinessAccount": ("id", "name", "timezone_id", "message_template_namespace"),
    "WhatsAppBusinessPhoneNumber": (
        "id", "verified_name", "code_verification_status", "display_phone_number", "quality_rating", "platform_type",
    ),
    "Application": ("id", "name"),
    "AdReportRun": (
        "id", "account_id", "time_ref", "time_completed", "async_status", "async_percent_completion", "date_start", "date_stop",
    ),
}  # fmt: skip
# Meta's numbers for the zones played here. Source: "Timezones" (Marketing API reference), read 2026-11.
_ZONE_IDS = {"America/Sao_Paulo": 25, "America/Manaus": 24, "America/New_York": 7, "Asia/Tokyo": 77}


@dataclass(frozen=True)
class Ref:
    """Another node as a field's value."""

    id: str


Follow = Callable[[Node, Wanted], Any]  # an edge named among the fields: its first page


def type_of(node: Node) -> str:
    """The node's kind in Meta's words."""
    match node:
        case App():
            return "Application"
        case Person():
            return "User"
        case Dataset():
            return "AdsPixel"
        case Waba():
            return "WhatsAppBusinessAccount"
        case Number():
            return "WhatsAppBusinessPhoneNumber"
        case Creative():
            return "AdCreative"
        case ReportRun():
            return "AdReportRun"
        case AdObject():
            return _OBJECT_TYPES[node.kind]
        case Business() | AdAccount():
            return type(node).__name__
        case _:
            assert_never(node)


def render(
    world: World, node: Node, wanted: tuple[Wanted, ...] | None, follow: Follow | None = None
) -> dict[str, Any]:
    """The node as JSON. wanted None: what Meta gives unasked."""
    kind = type_of(node)
    values = values_of(world, node)
    if wanted is None:
        return {name: values[name] for name in _DEFAULTS.get(kind, ("id",)) if name in values}
    found: dict[str, Any] = {}
    for each in wanted:
        if each.name in values:
            found[each.name] = _told(world, values[each.name], each, follow)
        elif follow and (page := follow(node, each)) is not None:
            found[each.name] = page
        elif each.name not in NAMES[kind]:
            raise unknown_field(each.name, kind)
    return {**found, "id": values["id"]}


def _told(world: World, value: Any, wanted: Wanted, follow: Follow | None) -> Any:
    """A value; of another node its id, or the fields asked for; of a plain object the keys asked for."""
    if isinstance(value, Ref):
        node = world.nodes[value.id]
        if wanted.fields is None:
            return {"id": values_of(world, node)["id"]}
        return render(world, node, wanted.fields, follow)
    if isinstance(value, dict) and wanted.fields is not None:
        return {each.name: value[each.name] for each in wanted.fields if each.name in value}
    return value


def values_of(world: World, node: Node) -> dict[str, Any]:
    """Every field this node has a value for."""
    return _VALUES[type(node)](world, node)


def _app(_world: World, node: App) -> dict[str, Any]:
    return {"id": node.id, "name": node.name, "link": "https://example.invalid/app"}


def _business(_world: World, node: Business) -> dict[str, Any]:
    return {"id": node.id, "name": node.name, "verification_status": "verified"}


def _person(_world: World, node: Person) -> dict[str, Any]:
    first, _, last = node.name.partition(" ")
    return {"id": node.id, "name": node.name, "first_name": first, "last_name": last}


def _account(world: World, node: AdAccount) -> dict[str, Any]:
    offset = datetime.fromtimestamp(world.clock(), ZoneInfo(node.zone)).utcoffset()
    return {
        "id": f"act_{node.id}",
        "account_id": node.id,
        "name": node.name,
        "account_status": node.status,
        "currency": node.currency,
        "timezone_name": node.zone,
        "timezone_id": _ZONE_IDS.get(node.zone, 25),
        "timezone_offset_hours_utc": offset.total_seconds() / 3600 if offset else 0,
        "business": Ref(node.business_id),
        "disable_reason": 1 if node.status == 2 else 0,
        "amount_spent": str(between(100_000, 9_000_000, world.seed, "amount spent", node.id)),
        "balance": str(between(0, 90_000, world.seed, "balance", node.id)),
        "spend_cap": "0",
        "age": round((world.clock() - node.created_at) / 86_400, 2),
        "created_time": graph_time(node.created_at, node.zone),
        "owner": node.business_id,
        "is_personal": 0,
        "min_campaign_group_spend_cap": "10000",
        "capabilities": ["CAN_CREATE_BRAND_LIFT_STUDY"],
        "tax_id_status": 0,
    }


def _ad_object(world: World, node: AdObject) -> dict[str, Any]:
    account = world.get(AdAccount, node.account_id)
    created = graph_time(node.created_at, account.zone)
    values: dict[str, Any] = {
        "id": node.id,
        "name": node.name,
        "account_id": node.account_id,
        "status": node.status,
        "configured_status": node.status,
        "effective_status": world.effective_status(node),
        "created_time": created,
        "start_time": created,
        "updated_time": graph_time(node.updated_at, account.zone),
        **node.details,
    }
    if node.kind == CAMPAIGN:
        return {**values, "budget_remaining": "0", "pacing_type": ["standard"]}
    if node.kind == AD_SET:
        campaign, number = node.parent_id, _number_of(world, node)
        page = {"page_id": _page_of(world, node), "whatsapp_phone_number": number}
        return {**values, "campaign": Ref(campaign), "campaign_id": campaign, "promoted_object": page}
    ad_set = world.get(AdObject, node.parent_id)
    del values["start_time"], values["number_id"]
    creative = values.pop("creative_id")
    return {
        **values,
        "adset": Ref(ad_set.id),
        "adset_id": ad_set.id,
        "campaign": Ref(ad_set.parent_id),
        "campaign_id": ad_set.parent_id,
        "creative": Ref(creative),
        "bid_type": "ABSOLUTE_OCPM",
        "source_ad_id": "0",
    }


def _number_of(world: World, ad_set: AdObject) -> str:
    for ad in world.children(ad_set.id):
        return world.get(Number, ad.details["number_id"]).phone
    return ""


def _page_of(world: World, ad_set: AdObject) -> str:
    for ad in world.children(ad_set.id):
        return world.get(Creative, ad.details["creative_id"]).post.partition("_")[0]
    return ""


def _creative(_world: World, node: Creative) -> dict[str, Any]:
    page = node.post.partition("_")[0]
    return {
        "id": node.id,
        "name": node.name,
        "account_id": node.account_id,
        "effective_object_story_id": node.post,
        "object_story_id": node.post,
        "title": node.title,
        "body": node.body,
        "status": "ACTIVE",
        "object_type": "VIDEO" if node.media_type == "video" else "PHOTO",
        "call_to_action_type": "WHATSAPP_MESSAGE",
        "actor_id": page,
        "object_story_spec": {"page_id": page, "link_data": {"message": node.body, "name": node.title}},
    }


def _dataset(world: World, node: Dataset) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "owner_business": Ref(node.business_id),
        "is_unavailable": False,
        "creation_time": graph_time(world.clock() - 90 * 86_400),
        "data_use_setting": "ADVERTISING_AND_ANALYTICS",
        "enable_automatic_matching": False,
    }


def _waba(_world: World, node: Waba) -> dict[str, Any]:
    return {
        "id": node.id,
        "name": node.name,
        "currency": "BRL",
        "timezone_id": "25",
        "message_template_namespace": f"ns_{node.id}",
        "account_review_status": "APPROVED",
        "owner_business_info": {"id": node.business_id},
    }


def _number(_world: World, node: Number) -> dict[str, Any]:
    return {
        "id": node.id,
        "display_phone_number": node.display,
        "verified_name": node.verified_name,
        "code_verification_status": "VERIFIED",
        "quality_rating": "GREEN",
        "quality_score": {"score": "GREEN"},
        "platform_type": "CLOUD_API",
        "throughput": {"level": "STANDARD"},
        "name_status": "APPROVED",
        "new_name_status": "NONE",
        "status": "CONNECTED",
        "account_mode": "LIVE",
        "is_official_business_account": False,
        "is_on_biz_app": False,
        "is_pin_enabled": True,
        "is_preverified_number": False,
        "search_visibility": "NON_VISIBLE",
        "health_status": {"can_send_message": "AVAILABLE", "entities": []},
        "eligibility_for_api_business_global_search": "NON_ELIGIBLE_UNDEFINED_COUNTRY",
        "last_onboarded_time": "2025-01-15T12:00:00+0000",
    }


def _report_run(world: World, node: ReportRun) -> dict[str, Any]:
    done = "Job Running" if node.polls_left else node.ending
    percent = 100 if done == "Job Completed" else 0 if done == "Job Skipped" else 50
    values = {
        "id": node.id,
        "account_id": node.account_id,
        "time_ref": int(node.created_at),
        "async_status": done,
        "async_percent_completion": percent,
        "is_running": done == "Job Running",
    }
    if done == "Job Completed":
        values["time_completed"] = int(world.clock())
    if done == "Job Failed":
        values |= {
            "error_code": 2,
            "error_subcode": 1504043,
            "error_message": "Service temporarily unavailable",
        }
    return values


_VALUES: Mapping[type, Callable[[World, Any], dict[str, Any]]] = {
    App: _app,
    Person: _person,
    Business: _business,
    AdAccount: _account,
    AdObject: _ad_object,
    Creative: _creative,
    Dataset: _dataset,
    Waba: _waba,
    Number: _number,
    ReportRun: _report_run,
}

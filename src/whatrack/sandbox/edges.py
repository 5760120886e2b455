"""The lists that hang on a node: GET /{node}/{edge}.

Each gives nodes, or plain objects where the entries are no nodes. Paging, fields and `summary` are the same for all.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from whatrack.sandbox.access import ADS, Caller, app_by_id
from whatrack.sandbox.ancestry import STATUS_WORDS, chain, filtered_value
from whatrack.sandbox.failures import missing_object
from whatrack.sandbox.filtering import holds, parse_filtering
from whatrack.sandbox.nodes import type_of
from whatrack.sandbox.state import (
    AD,
    AD_SET,
    CAMPAIGN,
    HIDDEN,
    AdAccount,
    AdObject,
    App,
    Business,
    Creative,
    Dataset,
    Node,
    Number,
    Person,
    Waba,
    World,
)

Entry = Node | dict[str, Any]
Edge = Callable[[World, Caller, Any, Mapping[str, str]], Iterable[Entry]]


def entries(
    world: World, caller: Caller, node: Node, edge: str, params: Mapping[str, str]
) -> list[Entry] | None:
    """What the edge lists; None when this kind of node has no such edge."""
    found = EDGES.get((type_of(node), edge))
    if found is not None:
        return list(found(world, caller, node, params))
    return [] if edge in EMPTY.get(type_of(node), ()) else None


def entries_or_refuse(
    world: World, caller: Caller, node: Node, edge: str, params: Mapping[str, str]
) -> list[Entry]:
    """What the edge lists; refused as Meta refuses an unknown one."""
    found = entries(world, caller, node, edge, params)
    if found is None:
        raise missing_object(node.id)
    return found


def _accounts(world: World, caller: Caller, person: Person, _params: object) -> Iterable[Entry]:
    caller.need(*ADS)
    return [world.get(AdAccount, each) for each in person.account_ids]


def _businesses(world: World, caller: Caller, person: Person, _params: object) -> Iterable[Entry]:
    caller.need("business_management", "whatsapp_business_management")
    return [world.get(Business, each) for each in person.business_ids]


def _permissions(world: World, caller: Caller, person: Person, _params: object) -> Iterable[Entry]:
    grants = world.grants.get((caller.app.id, person.id), {})
    return [{"permission": name, "status": status} for name, status in grants.items()]


def _business_users(world: World, _caller: Caller, person: Person, _params: object) -> Iterable[Entry]:
    businesses = [world.get(Business, each) for each in person.business_ids]
    return [
        {"id": person.id, "name": person.name, "business": {"id": each.id, "name": each.name}}
        for each in businesses
    ]


def _assigned_users(world: World, _caller: Caller, account: AdAccount, _params: object) -> Iterable[Entry]:
    people = [each for each in world.all(Person) if account.id in each.account_ids]
    return [{"id": each.id, "name": each.name, "tasks": ["DRAFT", "ANALYZE", "ADVERTISE"]} for each in people]


def _owned_accounts(world: World, caller: Caller, business: Business, _params: object) -> Iterable[Entry]:
    caller.need("business_management")
    return [each for each in world.all(AdAccount) if each.business_id == business.id]


def _owned_datasets(world: World, caller: Caller, business: Business, _params: object) -> Iterable[Entry]:
    caller.need("business_management")
    return [each for each in world.all(Dataset) if each.business_id == business.id]


def _owned_wabas(world: World, caller: Caller, business: Business, _params: object) -> Iterable[Entry]:
    caller.need("whatsapp_business_management")
    return [each for each in world.all(Waba) if each.business_id == business.id]


def _datasets(world: World, _caller: Caller, account: AdAccount, _params: object) -> Iterable[Entry]:
    return [each for each in world.all(Dataset) if account.id in each.account_ids]


def _creatives(world: World, _caller: Caller, node: AdAccount | AdObject, _params: object) -> Iterable[Entry]:
    if isinstance(node, AdObject):
        return [world.get(Creative, node.details["creative_id"])]
    return [each for each in world.all(Creative) if each.account_id == node.id]


def _ad_objects(kind: str) -> Edge:
    def edge(
        world: World, _caller: Caller, node: AdAccount | AdObject, params: Mapping[str, str]
    ) -> Iterable[Entry]:
        conditions = parse_filtering(params)
        status_named = any(each.field.endswith(STATUS_WORDS) for each in conditions)
        found = [
            each
            for each in world.below(node.id, kind)
            if status_named or world.effective_status(each) not in HIDDEN
        ]
        if conditions:
            found = [
                each
                for each in found
                for above in [chain(world, each)]
                if all(holds(one, filtered_value(world, above, one.field, kind)) for one in conditions)
            ]
        if params.get("order_by") == "updated_time":
            found.sort(key=lambda each: each.updated_at)
        return found

    return edge


def _waba_dataset(world: World, caller: Caller, waba: Waba, _params: object) -> Iterable[Entry]:
    caller.need_all("whatsapp_business_management", "whatsapp_business_manage_events")
    return [world.get(Dataset, waba.dataset_id)] if waba.dataset_id else []


def _numbers(world: World, _caller: Caller, waba: Waba, _params: object) -> Iterable[Entry]:
    return [each for each in world.all(Number) if each.waba_id == waba.id]


def _subscribed(world: World, caller: Caller, waba: Waba, _params: object) -> Iterable[Entry]:
    caller.need("whatsapp_business_management")
    found: list[Entry] = []
    for app_id, override in waba.subscribed.items():
        app = app_by_id(world, app_id)
        about = {"id": app.id, "name": app.name, "link": "https://example.invalid/app"}
        more = {"override_callback_uri": override} if override else {}
        found.append({"whatsapp_business_api_data": about, **more})
    return found


def _subscriptions(_world: World, _caller: Caller, app: App, _params: object) -> Iterable[Entry]:
    if not app.callback_url:
        return []
    fields = [{"name": "messages", "version": "v26.0"}]
    return [
        {
            "object": "whatsapp_business_account",
            "callback_url": app.callback_url,
            "active": True,
            "fields": fields,
        }
    ]


EDGES: dict[tuple[str, str], Edge] = {
    ("User", "adaccounts"): _accounts,
    ("User", "assigned_ad_accounts"): _accounts,
    ("User", "business_users"): _business_users,
    ("User", "businesses"): _businesses,
    ("User", "permissions"): _permissions,
    ("Business", "owned_ad_accounts"): _owned_accounts,
    ("Business", "adspixels"): _owned_datasets,
    ("Business", "owned_pixels"): _owned_datasets,
    ("Business", "owned_whatsapp_business_accounts"): _owned_wabas,
    ("AdAccount", "adspixels"): _datasets,
    ("AdAccount", "assigned_users"): _assigned_users,
    ("AdAccount", "adcreatives"): _creatives,
    ("AdAccount", "campaigns"): _ad_objects(CAMPAIGN),
    ("AdAccount", "adsets"): _ad_objects(AD_SET),
    ("AdAccount", "ads"): _ad_objects(AD),
    ("Campaign", "adsets"): _ad_objects(AD_SET),
    ("Campaign", "ads"): _ad_objects(AD),
    ("AdSet", "ads"): _ad_objects(AD),
    ("Ad", "adcreatives"): _creatives,
    ("WhatsAppBusinessAccount", "dataset"): _waba_dataset,
    ("WhatsAppBusinessAccount", "phone_numbers"): _numbers,
    ("WhatsAppBusinessAccount", "subscribed_apps"): _subscribed,
    ("Application", "subscriptions"): _subscriptions,
}
# Edges that exist, and that nothing in this world hangs on.
EMPTY: dict[str, frozenset[str]] = {
    "User": frozenset({"accounts", "assigned_pages"}),
    "Business": frozenset({"client_ad_accounts", "client_whatsapp_business_accounts", "owned_pages", "client_pages"}),
    "AdAccount": frozenset(
        {"activities", "adimages", "adlabels", "adrules_library", "advideos", "customaudiences", "customconversions", "saved_audiences"}
    ),
    "Campaign": frozenset({"adrules_governed"}),
    "AdSet": frozenset({"activities", "adcreatives"}),
    "Ad": frozenset({"leads"}),
    "AdsPixel": frozenset({"stats", "assigned_users"}),
    "WhatsAppBusinessAccount": frozenset({"message_templates", "assigned_users", "flows"}),
}  # fmt: skip

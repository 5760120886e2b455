"""POST and DELETE on a node: events, reports, a WhatsApp account's dataset and subscriptions, messages, permissions.

Creating or changing ads is not played: the product only reads them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from whatrack.sandbox import chance, events, oauth, reports
from whatrack.sandbox.access import Caller
from whatrack.sandbox.failures import GraphError, bad_parameter, missing_object
from whatrack.sandbox.faults import Faults, Target
from whatrack.sandbox.nodes import type_of
from whatrack.sandbox.state import AdAccount, AdObject, App, Dataset, Node, Number, Person, Waba, World


@dataclass(frozen=True)
class Write:
    """What is to be written where."""

    node: Node
    edge: str
    method: str
    params: Mapping[str, str]
    target: Target
    trace: str


def write(world: World, faults: Faults, caller: Caller, wanted: Write) -> Any:
    """Carry it out; 100/33 for what this kind of node does not take."""
    found = _WRITES.get((type_of(wanted.node), wanted.edge, wanted.method))
    if found is None:
        raise missing_object(wanted.node.id, wanted.method)
    return found(world, faults, caller, wanted.node, wanted)


def _events(world: World, faults: Faults, _caller: Caller, dataset: Dataset, wanted: Write) -> Any:
    only = faults.take("events_received", wanted.target)
    return events.receive(
        world, dataset, wanted.params, trace=wanted.trace, only=int(only["count"]) if only else None
    )


def _report(world: World, faults: Faults, _caller: Caller, node: AdAccount | AdObject, wanted: Write) -> Any:
    fault = faults.take("report", wanted.target)
    ending, polls = (str(fault["ending"]), int(fault["polls"])) if fault else (reports.ENDINGS[0], 1)
    return reports.order(world, node, wanted.params, ending, polls)


def _create_dataset(world: World, _faults: Faults, caller: Caller, waba: Waba, wanted: Write) -> Any:
    """Creates the WhatsApp account's dataset, or gives the one it has."""
    caller.need_all("whatsapp_business_management", "whatsapp_business_manage_events")
    if waba.dataset_id is None:
        name = wanted.params.get("dataset_name") or f"{waba.name} Event Data"
        dataset_id = chance.digits(16, world.seed, "dataset", waba.id, prefix="7")
        world.add(Dataset(dataset_id, name, waba.business_id, [], waba.id))
        waba.dataset_id = dataset_id
    return {"id": waba.dataset_id}


def _subscribe(world: World, _faults: Faults, caller: Caller, waba: Waba, wanted: Write) -> Any:
    caller.need("whatsapp_business_management")
    waba.subscribed[caller.app.id] = wanted.params.get("override_callback_uri", "")
    return {"success": True}


def _unsubscribe(world: World, _faults: Faults, caller: Caller, waba: Waba, _wanted: Write) -> Any:
    caller.need("whatsapp_business_management")
    waba.subscribed.pop(caller.app.id, None)
    return {"success": True}


def _message(world: World, _faults: Faults, caller: Caller, number: Number, wanted: Write) -> Any:
    caller.need("whatsapp_business_messaging")
    params = wanted.params
    if params.get("messaging_product") != "whatsapp":
        raise bad_parameter("The parameter messaging_product is required.")
    if params.get("status"):  # a read receipt or a typing indicator
        return {"success": True}
    to = "".join(char for char in params.get("to", "") if char.isdigit())
    kind = params.get("type", "text")
    if not to or kind not in params:
        raise GraphError(131009, "(#131009) Parameter value is not valid")
    wamid = f"wamid.{chance.letters(44, world.seed, 'sent', world.serial())}"
    content = json.loads(params[kind])
    world.sent.append(
        {"id": wamid, "from": number.id, "to": to, "type": kind, kind: content, "at": world.clock()}
    )
    return {
        "messaging_product": "whatsapp",
        "contacts": [{"input": params["to"], "wa_id": to}],
        "messages": [{"id": wamid}],
    }


def _delete_permissions(world: World, _faults: Faults, caller: Caller, person: Person, wanted: Write) -> Any:
    oauth.revoke(world, caller.app, person, wanted.params.get("permission"))
    return {"success": True}


def _subscription(world: World, _faults: Faults, caller: Caller, app: App, wanted: Write) -> Any:
    """The app's callback; the server shakes hands with it before this is called."""
    if caller.token.kind != "APP":
        raise GraphError(15, "(#15) This method must be called with an app access_token.")
    app.callback_url = wanted.params.get("callback_url", "")
    app.verify_token = wanted.params.get("verify_token", "")
    return {"success": True}


def _done(*_ignored: object) -> dict[str, bool]:
    return {"success": True}


_WRITES: dict[tuple[str, str, str], Callable[[World, Faults, Caller, Any, Write], Any]] = {
    ("AdsPixel", "events", "POST"): _events,
    ("AdsPixel", "assigned_users", "POST"): _done,
    ("AdAccount", "insights", "POST"): _report,
    ("Campaign", "insights", "POST"): _report,
    ("AdSet", "insights", "POST"): _report,
    ("Ad", "insights", "POST"): _report,
    ("WhatsAppBusinessAccount", "dataset", "POST"): _create_dataset,
    ("WhatsAppBusinessAccount", "subscribed_apps", "POST"): _subscribe,
    ("WhatsAppBusinessAccount", "subscribed_apps", "DELETE"): _unsubscribe,
    ("WhatsAppBusinessPhoneNumber", "messages", "POST"): _message,
    ("WhatsAppBusinessPhoneNumber", "register", "POST"): _done,
    ("User", "permissions", "DELETE"): _delete_permissions,
    ("Application", "subscriptions", "POST"): _subscription,
}

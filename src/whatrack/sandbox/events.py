"""POST /{dataset}/events: the Conversions API for business messaging, with every rule that rejects.

One bad event rejects the whole request. Meta does not deduplicate these events, so neither does the sandbox.
Sources: Meta, "Conversions API for business messaging", "Server event parameters", "Using the API" (read 2026-11); the
subcodes as seen live and reported by others; `EventRules` for where they differ. Where none is known the refusal has code 100 alone.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from whatrack.sandbox.clock import day_of
from whatrack.sandbox.failures import GraphError, bad_parameter
from whatrack.sandbox.state import AdAccount, AdObject, Click, Dataset, Learned, Number, World

NAMES = frozenset(
    {
        "Purchase", "LeadSubmitted", "InitiateCheckout", "AddToCart", "ViewContent", "OrderCreated", "OrderShipped",
        "OrderDelivered", "OrderCanceled", "OrderReturned", "CartAbandoned", "QualifiedLead", "RatingProvided", "ReviewProvided",
    }
)  # fmt: skip
SOURCES = frozenset(
    {"business_messaging", "website", "app", "email", "phone_call", "chat", "physical_store", "system_generated", "other"}
)  # fmt: skip
MAX_EVENTS = 1000
WINDOW_S = 7 * 86_400
DEDUPE_S = 48 * 3600
_HASHED = re.compile(r"[0-9a-f]{64}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
TITLES = {
    2804003: "Event Timestamp Too Old",
    2804016: "User Parameter Not Hashed",
    2804019: "Purchase Value Missing",
    2804050: "Missing Customer Information Parameters",
    2804063: "Messaging Event Missing Messaging Channel",
    2804064: "Messaging Event Invalid Argument",
    2804066: "Messaging Event Invalid Event Type",
    2804087: "Messaging Event Invalid Ctwa Clid",
    2804116: "Messaging Event Missing Page Or WhatsApp Business Account",
    2804131: "No Page Associated To Dataset",
    2804132: "No WhatsApp Business Account Linked to This Dataset",
}


def rejected(subcode: int, advice: str) -> GraphError:
    """100 with the subcode of the rule that was broken."""
    return GraphError(
        100, "Invalid parameter", subcode=subcode, title=TITLES[subcode], advice=advice, transient=False
    )


def parse_events(params: Mapping[str, str]) -> list[dict[str, Any]]:
    """`data`: a JSON array, text that holds one, or a list of JSON texts."""
    data = _read(params.get("data"))
    if not isinstance(data, list):
        raise bad_parameter("The parameter data is required")
    events = [_read(each) for each in data]
    if not all(isinstance(each, dict) for each in events):
        raise bad_parameter("Param data must be an array of events")
    if not 1 <= len(events) <= MAX_EVENTS:
        raise bad_parameter(f"Param data must hold 1 to {MAX_EVENTS} events")
    return events


def _read(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise bad_parameter("Param data must be an array of events") from None


def check_event(world: World, dataset: Dataset, event: Mapping[str, Any]) -> None:
    """Refuse an event that breaks a rule."""
    now = world.clock()
    name, at = event.get("event_name"), event.get("event_time")
    if not isinstance(name, str) or not name:
        raise bad_parameter("Param event_name is required")
    if isinstance(at, bool) or not isinstance(at, int) or at > now + 60:
        raise bad_parameter("Param event_time must be unix seconds that have passed")
    if at < now - WINDOW_S:
        raise rejected(
            2804003, "The timestamp for this event is too far in the past. Events may be 7 days old."
        )
    if event.get("action_source") not in SOURCES:
        raise bad_parameter("Param action_source is missing or not one of the accepted values")
    user = event.get("user_data")
    if not isinstance(user, dict) or not any(user.values()):
        raise rejected(2804050, "The event lacks customer information.")
    _check_hashes(user)
    if event["action_source"] == "business_messaging":
        _check_message(world, dataset, event, user)
    if name == "Purchase" and (world.rules.require_value_for_purchase or event.get("custom_data")):
        _check_value(event.get("custom_data"))


def _check_hashes(user: Mapping[str, Any]) -> None:
    for name in ("em", "ph", "fn", "ln", "ct", "st", "zp", "country", "ge", "db"):
        values = user.get(name) or []
        for value in values if isinstance(values, list) else [values]:
            if not _HASHED.fullmatch(str(value)):
                raise rejected(2804016, f"The parameter user_data.{name} is not hashed with SHA-256.")


def _check_message(world: World, dataset: Dataset, event: Mapping[str, Any], user: Mapping[str, Any]) -> None:
    if not event.get("messaging_channel"):
        raise rejected(2804063, "messaging_channel is required when action_source is business_messaging.")
    if event["messaging_channel"] != "whatsapp":
        raise rejected(2804064, "The sandbox plays the channel whatsapp only.")
    if event["event_name"] not in NAMES:
        raise rejected(2804066, f"{event['event_name']} is not supported for messaging events.")
    if user.get("client_ip_address") or user.get("client_user_agent"):
        raise rejected(2804064, "client_ip_address and client_user_agent are not accepted.")
    if user.get("page_id"):
        raise rejected(2804131, "This dataset has no Page.")
    waba_id = user.get("whatsapp_business_account_id")
    if not waba_id:
        raise rejected(2804116, "Give page_id or whatsapp_business_account_id.")
    if dataset.waba_id is None or str(waba_id) != dataset.waba_id:
        raise rejected(2804132, "Link the WhatsApp Business account to the dataset, or use its own dataset.")
    clid = user.get("ctwa_clid")
    if not clid:
        raise rejected(2804050, "ctwa_clid is required.")
    if dataset.checks_clicks and world.rules.validate_clid and click_of(world, dataset, clid) is None:
        raise rejected(2804087, "The ctwa_clid is not one of a click on an ad of this account.")


def click_of(world: World, dataset: Dataset, clid: Any) -> Click | None:
    """The click with this id, if it led to the dataset's WhatsApp account."""
    click = world.clicks.get(clid) if isinstance(clid, str) else None
    if click is None or world.get(Number, click.number_id).waba_id != dataset.waba_id:
        return None
    return click


def _check_value(custom: Any) -> None:
    if not isinstance(custom, dict) or custom.get("value") is None:
        raise rejected(2804019, "A Purchase needs custom_data.value and custom_data.currency.")
    value = custom["value"]
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise bad_parameter("Param custom_data.value must be a number")
    try:
        amount = float(value)
    except ValueError:
        raise bad_parameter("Param custom_data.value must be a number") from None
    if not 0 <= amount < 1e12:
        raise bad_parameter("Param custom_data.value must be a number from 0")
    if not _CURRENCY.fullmatch(str(custom.get("currency") or "")):
        raise bad_parameter("Param custom_data.currency must be an ISO 4217 code")


def receive(
    world: World, dataset: Dataset, params: Mapping[str, str], *, trace: str, only: int | None = None
) -> dict[str, Any]:
    """Take all events or none. only: how many are kept and counted, when a fault says so."""
    events = parse_events(params)
    for event in events:
        check_event(world, dataset, event)
    kept = events if only is None else events[:only]
    for event in kept:
        if not (world.rules.dedupe and _is_known(world, dataset, event)):
            _learn(world, dataset, event, params, trace)
    return {"events_received": len(kept), "messages": [], "fbtrace_id": trace}


def _is_known(world: World, dataset: Dataset, event: Mapping[str, Any]) -> bool:
    """Whether an event of this name and id came to this dataset within 48 hours."""
    name, event_id = event["event_name"], event.get("event_id")
    return event_id is not None and any(
        each.dataset_id == dataset.id
        and (each.event["event_name"], each.event.get("event_id")) == (name, event_id)
        and world.clock() - each.received_at <= DEDUPE_S
        for each in world.learned
    )


def _learn(
    world: World, dataset: Dataset, event: dict[str, Any], params: Mapping[str, str], trace: str
) -> None:
    click = click_of(world, dataset, event["user_data"].get("ctwa_clid"))
    credited = click is not None and 0 <= event["event_time"] - click.at <= WINDOW_S
    day = None
    if click is not None and credited:
        account = world.get(AdAccount, world.get(AdObject, click.ad_id).account_id)
        day = day_of(event["event_time"], account.zone)
    learned = Learned(
        dataset_id=dataset.id,
        event=event,
        received_at=world.clock(),
        trace=trace,
        ad_id=click.ad_id if click is not None and credited else None,
        test_event_code=params.get("test_event_code"),
        partner_agent=params.get("partner_agent"),
    )
    world.record_event(learned, day)

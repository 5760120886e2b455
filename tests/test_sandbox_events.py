"""The sandbox's Conversions API: what it takes, what it rejects with which subcode, and what it has learned."""

import json
from typing import Any

import pytest

from tests.sandbox_support import NOW, Asker, ads_client, click_id, number_client, still_sandbox
from whatrack.sandbox.build import issue_token
from whatrack.sandbox.events import NAMES
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Dataset

DAY_S = 86_400


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


@pytest.fixture
def sender(sandbox: Sandbox) -> Asker:
    return number_client(sandbox)


def dataset(sandbox: Sandbox) -> str:
    found = sandbox.cast.waba.dataset_id
    assert found is not None
    return found


def event(sandbox: Sandbox, name: str = "LeadSubmitted", **more: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "event_name": name,
        "event_time": int(NOW) - 60,
        "event_id": "lead-1",
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {
            "whatsapp_business_account_id": sandbox.cast.waba.id,
            "ctwa_clid": click_id(sandbox),
        },
    }
    if name == "Purchase":
        usual["custom_data"] = {"value": 199.90, "currency": "BRL"}
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def sent(sandbox: Sandbox, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"path": f"{dataset(sandbox)}/events", "data": json.dumps(list(events)), **more}


def test_an_event_with_a_genuine_click_is_taken_and_credited(sandbox, sender):
    purchase = event(sandbox, "Purchase")

    answer = sender.post(**sent(sandbox, purchase, partner_agent="whatrack", test_event_code="TEST1"))

    assert (answer["events_received"], answer["messages"]) == (1, [])
    assert answer["fbtrace_id"].startswith("A")
    learned = sandbox.truth()["events"]
    assert [each["event"] for each in learned] == [purchase]
    assert learned[0]["ad_id"] == sandbox.ads()[0].id
    assert (learned[0]["partner_agent"], learned[0]["test_event_code"]) == ("whatrack", "TEST1")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_fourteen_names_are_taken(sandbox, sender, name):
    assert sender.post(**sent(sandbox, event(sandbox, name)))["events_received"] == 1


def test_data_may_be_a_list_of_json_texts(sandbox, sender):
    texts = json.dumps([json.dumps(event(sandbox)), json.dumps(event(sandbox))])

    assert sender.post(f"{dataset(sandbox)}/events", data=texts)["events_received"] == 2


def user(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    usual = {"whatsapp_business_account_id": sandbox.cast.waba.id, "ctwa_clid": click_id(sandbox)}
    return {"user_data": {name: value for name, value in {**usual, **more}.items() if value is not None}}


BROKEN: dict[str, tuple[Any, int | None]] = {
    "older than seven days": (lambda _: {"event_time": int(NOW) - 7 * DAY_S - 1}, 2804003),
    "not yet happened": (lambda _: {"event_time": int(NOW) + 3600}, None),
    "time as text": (lambda _: {"event_time": "2026-11-24"}, None),
    "no name": (lambda _: {"event_name": None}, None),
    "name of another kind": (lambda _: {"event_name": "Lead"}, 2804066),
    "custom name": (lambda _: {"event_name": "Qualificado"}, 2804066),
    "no action source": (lambda _: {"action_source": None}, None),
    "no channel": (lambda _: {"messaging_channel": None}, 2804063),
    "address of the person": (lambda sandbox: user(sandbox, client_ip_address="1.2.3.4"), 2804064),
    "phone not hashed": (lambda sandbox: user(sandbox, ph=["5511988880000"]), 2804016),
    "no user data": (lambda _: {"user_data": {}}, 2804050),
    "page": (lambda sandbox: user(sandbox, page_id="1"), 2804131),
    "no WhatsApp account": (lambda sandbox: user(sandbox, whatsapp_business_account_id=None), 2804116),
    "another WhatsApp account": (lambda sandbox: user(sandbox, whatsapp_business_account_id=sandbox.cast.other_waba.id), 2804132),
    "no click id": (lambda sandbox: user(sandbox, ctwa_clid=None), 2804050),
    "made-up click id": (lambda sandbox: user(sandbox, ctwa_clid="TEST"), 2804087),
    "the ad's id as click id": (lambda sandbox: user(sandbox, ctwa_clid=sandbox.ads()[0].id), 2804087),
    "sale without value": (lambda _: {"event_name": "Purchase"}, 2804019),
    "sale without currency": (lambda _: {"event_name": "Purchase", "custom_data": {"value": 1}}, None),
    "sale of a word": (lambda _: {"event_name": "Purchase", "custom_data": {"value": "NaN", "currency": "BRL"}}, None),
}  # fmt: skip


@pytest.mark.parametrize(("change", "subcode"), BROKEN.values(), ids=list(BROKEN))
def test_one_bad_event_rejects_the_whole_request(sandbox, sender, change, subcode):
    good, bad = event(sandbox), {**event(sandbox), **change(sandbox)}
    bad = {name: value for name, value in bad.items() if value is not None}

    assert sender.refused(method="POST", **sent(sandbox, good, bad)) == (100, subcode)
    assert sandbox.truth()["events"] == []
    assert sender.post(**sent(sandbox, good))["events_received"] == 1


def test_a_rejection_names_itself_for_people_too(sandbox, sender):
    error = sender.answer(method="POST", **sent(sandbox, event(sandbox, "Lead"))).body["error"]

    assert error["error_user_title"] == "Messaging Event Invalid Event Type"
    assert (error["type"], error["is_transient"]) == ("OAuthException", False)


def test_a_click_belongs_to_the_whatsapp_account_it_led_to(sandbox):
    foreign = sandbox.ads(sandbox.cast.thiago.account_ids[2])[0]
    click = sandbox.traffic.tap(foreign.id, "12125550100", NOW - 60)

    found = number_client(sandbox).refused(
        method="POST", **sent(sandbox, event(sandbox, **user(sandbox, ctwa_clid=click.clid)))
    )

    assert found == (100, 2804087)


def test_a_website_pixel_and_a_loose_dataset_behave_as_seen_live(sandbox):
    ads = ads_client(sandbox)
    pixel, _, loose = (
        each.id for each in sandbox.world.all(Dataset) if sandbox.account.id in each.account_ids
    )
    made_up = json.dumps([event(sandbox, **user(sandbox, ctwa_clid="TEST"))])

    assert ads.refused(f"{pixel}/events", "POST", data=made_up) == (100, 2804132)
    assert ads.post(f"{loose}/events", data=made_up)["events_received"] == 1
    assert sandbox.truth()["events"][0]["ad_id"] is None  # taken, and credited to nobody


def test_a_dataset_is_written_only_by_those_who_may(sandbox):
    viviane = issue_token(
        sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, ("business_management",), None
    )
    carla = issue_token(sandbox.world, sandbox.cast.ads_app, sandbox.cast.carla, ("ads_management",), None)

    assert ads_client(sandbox, viviane).refused(method="POST", **sent(sandbox, event(sandbox))) == (200, None)
    assert ads_client(sandbox, carla).refused(method="POST", **sent(sandbox, event(sandbox))) == (100, 33)


def test_the_same_event_twice_counts_twice(sandbox, sender):
    once = event(sandbox)

    for _ in range(2):
        assert sender.post(**sent(sandbox, once))["events_received"] == 1

    assert len(sandbox.truth()["events"]) == 2


def test_an_event_a_week_after_its_click_is_taken_and_not_credited(sandbox, sender):
    late = event(sandbox, **user(sandbox, ctwa_clid=click_id(sandbox, days_ago=7.5)))

    assert sender.post(**sent(sandbox, late))["events_received"] == 1
    assert sandbox.truth()["events"][0]["ad_id"] is None


def test_a_thousand_events_are_one_request_and_no_more(sandbox, sender):
    one = event(sandbox)

    assert sender.post(**sent(sandbox, *[one] * 1000))["events_received"] == 1000
    assert sender.refused(method="POST", **sent(sandbox, *[one] * 1001)) == (100, None)
    assert sender.refused(f"{dataset(sandbox)}/events", "POST") == (100, None)
    assert sender.refused(f"{dataset(sandbox)}/events", "POST", data="[") == (100, None)


def test_events_can_be_dropped_silently(sandbox, sender):
    sandbox.faults.inject("events_received", count=0)

    assert sender.post(**sent(sandbox, event(sandbox)))["events_received"] == 0
    assert sandbox.truth()["events"] == []
    assert sender.post(**sent(sandbox, event(sandbox)))["events_received"] == 1


def test_what_meta_learned_shows_in_the_ads_insights(sandbox, sender):
    sender.post(**sent(sandbox, event(sandbox, "Purchase"), event(sandbox)))

    asked = {"fields": "ad_id,actions,action_values", "level": "ad", "date_preset": "today"}
    rows = ads_client(sandbox).get(f"act_{sandbox.account.id}/insights", **asked)["data"]

    mine = next(row for row in rows if row["ad_id"] == sandbox.ads()[0].id)
    actions = {each["action_type"]: each["value"] for each in mine["actions"]}
    assert actions["onsite_conversion.purchase"] == "1"
    assert actions["onsite_conversion.lead_grouped"] == "1"
    assert {"action_type": "onsite_conversion.purchase", "value": "199.90"} in mine["action_values"]

"""The sandbox's traffic: what it sends, that it is signed and sent again, and that the truth is what the webhooks say."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.sandbox_support import NOW, calm, hex_hmac, number_client, still_sandbox
from tests.support import APP_SECRET, tickets
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.inbox import intake
from whatrack.inbox import store as inbox
from whatrack.sandbox import sender
from whatrack.sandbox.clock import Clock
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import Endpoint, as_meta_writes, signature, signed_request
from whatrack.sandbox.traffic import Plan, Story
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id

SECRET = "test_app_secret"


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


def messages(story: Story) -> list[dict[str, Any]]:
    """Every message, in the order it leaves."""
    return [
        message
        for body in story.bodies
        for entry in json.loads(body)["entry"]
        for change in entry["changes"]
        for message in change["value"].get("messages", [])
    ]


def referrals(story: Story) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Messages that came from an ad or a post, each with its referral."""
    return [(message, message["referral"]) for message in messages(story) if "referral" in message]


def test_bodies_are_written_and_signed_as_meta_does():
    published = b'{"object":"whatsapp_business_account","entry":[{"id":"1","note":"\\u00e4\\u00f6\\u00e5 \\/ \\u0040"}]}'

    body = as_meta_writes({"object": "whatsapp_business_account", "entry": [{"id": "1", "note": "äöå / @"}]})

    assert body == published
    assert (
        signature(SECRET, body) == "sha256=8253e5c3220a2f1ca7edadfae7aca9433285c699fbb482c4bea8b7d0edfd5079"
    )


def test_a_signed_request_is_metas():
    payload = {"expires": 1291840400, "issued_at": 1291836800, "user_id": "218471"}

    assert signed_request(SECRET, payload) == (
        "MgChNJTM9CJ75wlk7iDsf-5_LH4rMfst5fvUhiJRiqg."
        "eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImV4cGlyZXMiOjEyOTE4NDA0MDAsImlzc3VlZF9hdCI6MTI5MTgzNjgwMCwidXNlcl9pZCI6IjIxODQ3MSJ9"
    )


def test_the_same_seed_makes_the_same_traffic():
    one, again = (Sandbox(3, Clock(lambda: NOW)) for _ in range(2))
    plan = Plan(ad_ids=[ad.id for ad in one.ads()], people=20)

    assert one.traffic.play(plan).bodies == again.traffic.play(plan).bodies
    assert one.traffic.play(plan).bodies != again.traffic.play(Plan(ad_ids=plan.ad_ids, people=21)).bodies


def test_every_kind_of_contact_comes_and_the_truth_says_which(sandbox):
    story = sandbox.traffic.play(Plan(ad_ids=[ad.id for ad in sandbox.ads()], people=80, no_phone=0.2))
    kinds = Counter(
        "organic" if contact.last_ad_id is None else "status" if contact.last_clid is None else "click"
        for contact in story.contacts
    )

    assert kinds.keys() == {"organic", "status", "click"}
    assert any(len({touch["ad_id"] for touch in contact.touches}) > 1 for contact in story.contacts)
    assert any(contact.wa_id is None for contact in story.contacts)
    assert sandbox.truth()["contacts"] == [contact.as_json() for contact in story.contacts]


def test_referrals_and_the_truth_agree(sandbox):
    story = sandbox.traffic.play(
        Plan(ad_ids=[ad.id for ad in sandbox.ads()], people=60, post=0.2, empty_clid=0.2)
    )
    credited: dict[str, tuple[str | None, str | None]] = {}

    for message in sorted(messages(story), key=lambda each: int(each["timestamp"])):
        if referral := message.get("referral"):
            ad_id = referral["source_id"] if referral["source_type"] == "ad" else None
            credited[message["from"]] = (ad_id, referral.get("ctwa_clid") or None)

    assert {referral["source_type"] for _, referral in referrals(story)} == {"ad", "post"}
    assert {referral.get("ctwa_clid") == "" for _, referral in referrals(story)} == {True, False}
    assert credited == {
        contact.wa_id: (contact.last_ad_id, contact.last_clid)
        for contact in story.contacts
        if contact.touches
    }


def test_deliveries_come_in_batches_twice_and_out_of_order_as_planned(sandbox):
    ad_ids = [ad.id for ad in sandbox.ads()]
    rough = sandbox.traffic.play(Plan(ad_ids=ad_ids, people=60, duplicates=0.3, batch=5))
    smooth = sandbox.traffic.play(calm(sandbox, people=30, batch=1))

    stamps = [int(message["timestamp"]) for message in messages(rough)]
    assert max(Counter(rough.bodies).values()) > 1
    assert stamps != sorted(stamps)
    assert any(
        len(json.loads(body)["entry"][0]["changes"][0]["value"]["messages"]) > 1 for body in rough.bodies
    )
    smooth_stamps = [int(message["timestamp"]) for message in messages(smooth)]
    assert smooth_stamps == sorted(smooth_stamps)
    assert len(set(smooth.bodies)) == len(smooth.bodies) == 30


def test_click_ids_of_traffic_are_good_for_events(sandbox):
    contact = sandbox.traffic.play(calm(sandbox, people=1)).contacts[0]
    user = {"whatsapp_business_account_id": sandbox.cast.waba.id, "ctwa_clid": contact.last_clid}
    event = {
        "event_name": "LeadSubmitted",
        "event_time": int(NOW),
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": user,
    }

    number_client(sandbox).post(f"{sandbox.cast.waba.dataset_id}/events", data=json.dumps([event]))

    assert [each["ad_id"] for each in sandbox.truth()["events"]] == [contact.last_ad_id]


@asynccontextmanager
async def receiver(*statuses: int) -> AsyncIterator[tuple[str, list[tuple[bytes, str]]]]:
    """A webhook that answers with these statuses, then 200; its address, and what it got."""
    got: list[tuple[bytes, str]] = []

    async def take(request: web.Request) -> web.Response:
        if request.method == "GET":
            return web.Response(text=request.query["hub.challenge"])
        got.append((await request.read(), request.headers["X-Hub-Signature-256"]))
        status = statuses[len(got) - 1] if len(got) <= len(statuses) else 200
        if status == 0 and request.transport:
            request.transport.close()
        return web.Response(status=status or 200)

    app = web.Application()
    app.router.add_route("*", "/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", got
    finally:
        await runner.cleanup()


async def test_a_delivery_is_sent_again_until_the_answer_is_200(sandbox):
    bodies = sandbox.traffic.play(calm(sandbox, people=3, batch=1)).bodies

    async with receiver(500, 0, 202) as (url, got):
        sent = await sender.post(bodies, Endpoint(url, SECRET), pause_s=0.01)

    assert (sent.accepted, sent.given_up, sent.tries) == (3, 0, 6)
    assert list(dict.fromkeys(body for body, _ in got)) == bodies
    assert all(mark == "sha256=" + hex_hmac(SECRET, body) for body, mark in got)


async def test_a_delivery_nobody_takes_is_given_up(sandbox):
    bodies = sandbox.traffic.play(calm(sandbox, people=1)).bodies

    async with receiver(*[503] * 9) as (url, got):
        sent = await sender.post(bodies, Endpoint(url, SECRET), retries=2, pause_s=0.01)
    unreachable = await sender.post(bodies, Endpoint(url, SECRET), retries=0)

    assert (sent.given_up, len(got)) == (1, 3)
    assert unreachable.given_up == 1


async def test_a_callback_is_taken_only_when_it_shakes_hands():
    async with receiver() as (url, _):
        assert await sender.shakes_hands(url, "token", "1158201444")
        assert not await sender.shakes_hands(url + "/nowhere", "token", "1158201444")
    assert not await sender.shakes_hands(url, "token", "1158201444")


async def test_the_service_credits_what_the_sandbox_knows_to_be_true(service: str, db: Database):
    """The two sides were written apart: the tickets must be the truth, duplicates and disorder or not."""
    sandbox = Sandbox(5)
    number = sandbox.cast.number
    organization = await flow.open_organization(db, Organization(id=new_id(), name="Clínica", slug="clinica"))
    await flow.register_number(db, WhatsappNumber(organization.id, number.id, number.waba_id, number.display))
    story = sandbox.traffic.play(
        Plan(
            ad_ids=[ad.id for ad in sandbox.ads()], people=40, no_phone=0.1, batch=6, post=0.1, empty_clid=0.1
        )
    )

    sent = await sender.post(story.bodies, Endpoint(service + intake.PATH, APP_SECRET), at_once=4)
    async with asyncio.timeout(20):
        while True:
            async with db.installation() as conn:
                if (await inbox.counts(conn)).pending == 0:
                    break
            await asyncio.sleep(0.05)

    assert sent.given_up == 0
    found = {
        (row["wa_id"] or row["user_id"]): (row["meta_ad_id"], row["ctwa_clid"]) for row in await tickets(db)
    }
    assert found == {
        (contact.wa_id or contact.user_id): (contact.last_ad_id, contact.last_clid)
        for contact in story.contacts
    }

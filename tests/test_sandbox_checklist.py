"""The oddities of Meta that are played on demand, beyond what the other files of the sandbox's tests hold."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.sandbox_support import NOW, Asker, still_sandbox
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.sandbox.traffic import Plan


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


@pytest.fixture
def base_url(sandbox: Sandbox) -> Iterator[str]:
    with served(sandbox) as found:
        yield found


async def act(base_url: str, name: str, expect: int = 200, **values: Any) -> Any:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{base_url}/_sandbox/{name}", json=values) as answer,
    ):
        assert answer.status == expect, await answer.text()
        return await answer.json()


def purchase(sandbox: Sandbox, **more: Any) -> dict[str, Any]:
    ad = sandbox.ads()[0]
    click = sandbox.traffic.tap(ad.id, "5511988887777", NOW - 60)
    return {
        "event_name": "Purchase", "event_time": int(NOW) - 5, "event_id": "purchase-1",
        "action_source": "business_messaging", "messaging_channel": "whatsapp",
        "user_data": {"whatsapp_business_account_id": sandbox.cast.waba.id, "ctwa_clid": click.clid},
        "custom_data": {"value": 10, "currency": "BRL"}, **more,
    }  # fmt: skip


async def test_the_events_edge_is_as_strict_as_told(sandbox: Sandbox, base_url: str):
    ask = Asker(sandbox, sandbox.number_token.value)
    path = f"{sandbox.cast.waba.dataset_id}/events"
    event = purchase(sandbox)
    for _ in range(2):
        ask.post(path, data=json.dumps([event]))
    assert len(sandbox.world.learned) == 2  # as Meta says: nothing is deduplicated

    assert (await act(base_url, "events", dedupe=True))["dedupe"] is True
    assert ask.post(path, data=json.dumps([event]))["events_received"] == 1
    assert len(sandbox.world.learned) == 2
    sandbox.clock.advance(49 * 3600)
    ask.post(path, data=json.dumps([event]))
    assert len(sandbox.world.learned) == 3

    made_up = {**event, "user_data": {**event["user_data"], "ctwa_clid": "made up"}}
    without_value = {name: value for name, value in event.items() if name != "custom_data"}
    assert ask.refused(path, "POST", data=json.dumps([made_up])) == (100, 2804087)
    assert ask.refused(path, "POST", data=json.dumps([without_value])) == (100, 2804019)
    await act(base_url, "events", validate_clid=False, require_value_for_purchase=False)
    assert ask.post(path, data=json.dumps([made_up, without_value]))["events_received"] == 2
    await act(base_url, "events", expect=422, colour=True)


async def test_a_5xx_may_come_after_events_were_taken(sandbox: Sandbox, base_url: str):
    url = f"{base_url}/v26.0/{sandbox.cast.waba.dataset_id}/events"
    headers = {"Authorization": f"Bearer {sandbox.number_token.value}"}
    body = {"data": [purchase(sandbox)]}
    async with aiohttp.ClientSession(headers=headers) as http:
        for done, learned in ((False, 0), (True, 1)):
            sandbox.faults.inject("server_error", status=502, done=done, path="*/events")
            async with http.post(url, json=body) as answer:
                assert (answer.status, answer.content_type) == (502, "text/html")
            assert len(sandbox.world.learned) == learned


async def test_a_fault_may_let_some_requests_through_first(sandbox: Sandbox, base_url: str):
    ask = Asker(sandbox, sandbox.token.value)
    await act(base_url, "faults", kind="error", code=1, path="me/adaccounts", skip=2)
    ask.get("me/adaccounts")
    ask.get("me/adaccounts")
    assert ask.refused("me/adaccounts") == (1, None)
    ask.get("me/adaccounts")
    await act(base_url, "faults", expect=422, kind="error", skip=-1)


async def test_a_permission_may_expire(sandbox: Sandbox, base_url: str):
    thiago = sandbox.cast.thiago.id
    await act(base_url, "people/revoke", person_id=thiago, permission="ads_read", status="expired")
    listed = Asker(sandbox, sandbox.token.value).get("me/permissions")["data"]
    assert {"permission": "ads_read", "status": "expired"} in listed
    await act(base_url, "people/revoke", expect=422, person_id=thiago, permission="ads_read", status="x")


def test_traffic_may_hold_what_nobody_knows_and_be_as_long_as_meta_allows(sandbox: Sandbox):
    plan = Plan(
        [each.id for each in sandbox.ads()], people=20, chatter=3, strange=1.0, batch=1000, padding=2900
    )
    story = sandbox.traffic.play(plan)
    changes = [each for body in story.bodies for each in json.loads(body)["entry"][0]["changes"]]
    assert {each["field"] for each in changes} == {"messages", "unheard_of_update"}
    kinds = [message["type"] for each in changes for message in each["value"].get("messages", [])]
    assert {"unheard_of", "text"} <= set(kinds)
    assert all(2_900_000 < len(body) < 3 * 2**20 for body in story.bodies)
    assert sum(each.messages for each in story.contacts) == len(
        {message["id"] for each in changes for message in each["value"].get("messages", [])}
    )


async def test_how_often_a_delivery_is_sent_again_is_told(sandbox: Sandbox, base_url: str):
    async with receiver(503) as (url, got):
        sent = await act(
            base_url,
            "traffic",
            people=1,
            organic=1,
            chatter=0,
            duplicates=0,
            url=url,
            retries=2,
            pause_s=0.01,
        )
        assert (sent["tries"], sent["given_up"], len(got)) == (3, 1, 3)


async def test_a_signed_request_may_be_forged_late_or_padded(sandbox: Sandbox, base_url: str):
    async with receiver(200) as (url, got):
        about: dict[str, Any] = {"url": url, "person_id": sandbox.cast.thiago.id}
        await act(base_url, "signed-request", **about)
        await act(base_url, "signed-request", **about, padded=True)
        await act(base_url, "signed-request", **about, app_secret="another")
        await act(base_url, "signed-request", **about, ago_s=3600)
    plain, padded, forged, late = got
    assert padded.replace("%3D", "").rpartition(".")[2] == plain.rpartition(".")[2]
    assert "%3D" in padded
    assert plain.rpartition(".")[2] == forged.rpartition(".")[2]
    assert plain != forged
    assert len({plain, forged, late}) == 3


@asynccontextmanager
async def receiver(status: int) -> AsyncIterator[tuple[str, list[str]]]:
    """An address that answers every POST with this status, and the bodies that came."""
    got: list[str] = []

    async def take(request: web.Request) -> web.Response:
        got.append(await request.text())
        return web.Response(status=status)

    app = web.Application(client_max_size=4 * 2**20)
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/", got
    await runner.cleanup()

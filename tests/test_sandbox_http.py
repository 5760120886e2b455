"""The sandbox over HTTP: how requests may be written, connections that break, the login dialog, the admin page, the command."""

import asyncio
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.sandbox_support import NOW, click_id, still_sandbox
from tests.test_sandbox_traffic import receiver
from whatrack.sandbox.faults import KINDS
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served
from whatrack.sandbox.state import Dataset
from whatrack.sandbox.trouble import BREAKS

pytestmark = pytest.mark.xdist_group("sandbox_http")

CALLBACK = "http://localhost:3000/api/v1/meta-ads/callback"
SCRIPT = Path(sys.executable).parent / "whatrack"


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Sandbox, str]]:
    sandbox = still_sandbox()
    with served(sandbox) as base_url:
        yield sandbox, base_url


@pytest.fixture
def sandbox(running: tuple[Sandbox, str]) -> Sandbox:
    running[0].reset()
    running[0].clock.ahead_s = 0
    return running[0]


@pytest.fixture
async def http(running: tuple[Sandbox, str]) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(running[1]) as session:
        yield session


async def read(http: aiohttp.ClientSession, method: str, path: str, **more: Any) -> Any:
    async with http.request(method, path, **more) as answer:
        return await answer.json()


async def act(http: aiohttp.ClientSession, name: str, **values: Any) -> Any:
    """Call the admin API; the answer must be good."""
    async with http.post(f"/_sandbox/{name}", json=values) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def multipart(**fields: str) -> aiohttp.MultipartWriter:
    writer = aiohttp.MultipartWriter("form-data")
    for name, value in fields.items():
        part = writer.append(value)
        part.set_content_disposition("form-data", name=name)
    return writer


async def test_the_token_may_stand_in_the_query_the_form_the_json_or_the_header(sandbox, http):
    token = sandbox.token.value
    parts = json.dumps([{"method": "GET", "relative_url": "me"}])
    ways = [
        read(http, "GET", f"/v26.0/me?access_token={token}"),
        read(http, "GET", "/v26.0/me/", headers={"Authorization": f"Bearer {token}"}),
        read(http, "GET", "/v26.0//me", headers={"Authorization": f"OAuth {token}"}),
        read(http, "POST", "/v26.0/me", data={"access_token": token, "method": "get"}),
    ]
    batches = [
        read(http, "POST", "/v26.0/", data={"access_token": token, "batch": parts}),
        read(http, "POST", "/v26.0", json={"access_token": token, "batch": json.loads(parts)}),
        read(http, "POST", f"/v26.0/?access_token={token}", data=multipart(batch=parts)),
    ]

    assert [(await way)["name"] for way in ways] == ["Thiago Gontijo"] * 4
    assert [json.loads((await each)[0]["body"])["name"] for each in batches] == ["Thiago Gontijo"] * 3


async def test_parameters_in_brackets_are_the_objects_they_stand_for(sandbox, http):
    query = {
        "access_token": sandbox.token.value,
        "time_range[since]": "2026-11-20",
        "time_range[until]": "2026-11-21",
        "breakdowns[]": "gender",
    }

    found = await read(http, "GET", f"/v26.0/act_{sandbox.account.id}/insights?{urlencode(query)}")

    assert {(row["date_start"], row["date_stop"]) for row in found["data"]} == {("2026-11-20", "2026-11-21")}
    assert "gender" in found["data"][0]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(sandbox, http, body, kind):
    found = await read(http, "POST", "/v26.0/me", data=body, headers={"Content-Type": kind})

    assert found["error"]["code"] == 100


async def test_a_next_link_can_be_followed_as_it_is(sandbox, http, running):
    first = await read(
        http,
        "GET",
        f"/v26.0/act_{sandbox.account.id}/ads?limit=5",
        headers={"Authorization": f"Bearer {sandbox.token.value}"},
    )
    following = first["paging"]["next"]

    assert following.startswith(running[1] + "/")
    async with aiohttp.ClientSession() as anywhere, anywhere.get(following) as answer:
        assert len((await answer.json())["data"]) == 2


async def test_connections_break_and_answers_come_late_on_demand(sandbox, http):
    url = f"/v26.0/me?access_token={sandbox.token.value}"
    sandbox.faults.inject("drop_request", times=None)
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http.get(url)
    sandbox.faults.clear()
    sandbox.faults.inject("server_error", status=502)
    async with http.get(url) as answer:
        assert (answer.status, answer.content_type) == (502, "text/html")
    sandbox.faults.inject("slow", seconds=0.5)
    with pytest.raises(TimeoutError):
        await http.get(url, timeout=aiohttp.ClientTimeout(total=0.1))

    assert (await read(http, "GET", url))["name"]


async def test_events_may_be_accepted_and_the_answer_lost(sandbox, http):
    event = {
        "event_name": "LeadSubmitted",
        "event_time": int(NOW),
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {
            "whatsapp_business_account_id": sandbox.cast.waba.id,
            "ctwa_clid": click_id(sandbox),
        },
    }
    url = f"/v26.0/{sandbox.cast.waba.dataset_id}/events"
    sent = {"access_token": sandbox.number_token.value, "data": [event]}
    sandbox.faults.inject("drop_answer", method="POST", path="*/events")

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http.post(url, json=sent)

    truth = await read(http, "GET", "/_sandbox/truth")
    assert [each["event"] for each in truth["events"]] == [event]
    assert (await read(http, "POST", url, json=sent))["events_received"] == 1


def dialog(sandbox: Sandbox, **more: str) -> str:
    query = {
        "client_id": sandbox.cast.ads_app.id,
        "redirect_uri": CALLBACK,
        "state": "s-1",
        "scope": "ads_read,ads_management",
    }
    return f"/v26.0/dialog/oauth?{urlencode({**query, **more})}"


async def test_the_dialog_asks_who_and_what_and_comes_back_with_a_code(sandbox, http):
    viviane = sandbox.cast.viviane
    async with http.get(dialog(sandbox)) as answer:
        people = await answer.text()
    async with http.get(dialog(sandbox, person=viviane.id)) as answer:
        permissions = await answer.text()
    yes = {"answer": "continue", "allow_ads_read": "1"}
    async with http.post(dialog(sandbox, person=viviane.id), data=yes, allow_redirects=False) as answer:
        back = urlsplit(answer.headers["Location"])

    query = {name: values[0] for name, values in parse_qs(back.query).items()}
    assert "Thiago Gontijo" in people
    assert f'value="{viviane.id}"' in people
    assert "usuário do sistema" not in people
    assert re.findall(r'name="allow_(\w+)"', permissions) == ["ads_read", "ads_management"]
    assert query["state"] == "s-1"
    app = sandbox.cast.ads_app
    asked = {
        "client_id": app.id,
        "client_secret": app.secret,
        "redirect_uri": CALLBACK,
        "code": query["code"],
    }
    token = await read(http, "GET", f"/v26.0/oauth/access_token?{urlencode(asked)}")
    listed = await read(http, "GET", f"/v26.0/me/permissions?access_token={token['access_token']}")
    assert {each["permission"]: each["status"] for each in listed["data"]} == {
        "ads_read": "granted",
        "ads_management": "declined",
    }


async def test_the_dialog_can_be_cancelled(sandbox, http):
    async with http.post(dialog(sandbox), data={"answer": "cancel"}, allow_redirects=False) as answer:
        query = parse_qs(urlsplit(answer.headers["Location"]).query)

    assert (answer.status, query["error_reason"], query["state"]) == (302, ["user_denied"], ["s-1"])


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "1"},
        {"redirect_uri": "javascript:alert(1)"},
        {"response_type": "token"},
        {"config_id": "none"},
    ],
)
async def test_a_dialog_that_cannot_be_shown_says_so_and_redirects_nowhere(sandbox, http, change):
    async with (
        http.get(dialog(sandbox, **change)) as shown,
        http.post(dialog(sandbox, **change), data={"answer": "cancel"}, allow_redirects=False) as answered,
    ):
        assert (shown.status, answered.status) == (400, 400)


async def test_the_page_shows_everything_and_runs_no_script(sandbox, http):
    async with http.get("/") as answer:
        page, policy = await answer.text(), answer.headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "<script" not in page
    assert " style=" not in page
    assert all(kind in page for kind in (*KINDS, *BREAKS))
    assert sandbox.token.value in page


async def test_a_form_breaks_and_heals_a_login_and_comes_back_to_the_page(sandbox, http):
    person, url = sandbox.cast.thiago.id, f"/v26.0/me?access_token={sandbox.token.value}"

    async with http.post(
        "/_sandbox/people/break", data={"person_id": person, "how": "password_changed"}
    ) as answer:
        assert answer.url.path == "/_sandbox"
    assert (await read(http, "GET", url))["error"]["error_subcode"] == 460
    async with http.post("/_sandbox/people/heal", data={"person_id": person}) as answer:
        assert answer.url.path == "/_sandbox"
    assert (await read(http, "GET", url))["name"]


async def test_faults_are_injected_listed_and_removed_through_the_api(sandbox, http):
    fault = await act(http, "faults", kind="throttle", code=80004, minutes=3, times=None, path="act_*")

    url = f"/v26.0/act_{sandbox.account.id}?access_token={sandbox.token.value}"
    assert (await read(http, "GET", url))["error"]["code"] == 80004
    listed = await read(http, "GET", "/_sandbox/faults")
    assert [(each["id"], each["taken"]) for each in listed["data"]] == [(fault["id"], 1)]
    assert await act(http, "faults", remove=fault["id"]) == {"success": True}
    assert (await read(http, "GET", url))["id"]
    await act(http, "faults", kind="slow", seconds=9)
    assert await read(http, "DELETE", "/_sandbox/faults") == {"success": True}
    assert (await read(http, "GET", "/_sandbox/faults"))["data"] == []


@pytest.mark.parametrize(
    ("name", "values", "status"),
    [
        ("faults", {"kind": "earthquake"}, 422),
        ("faults", {"kind": "slow", "colour": 1}, 422),
        ("faults", {"kind": "throttle", "code": 5}, 422),
        ("faults", {}, 422),
        ("people/break", {"person_id": "1", "how": "expired"}, 404),
        ("people/revoke", {"person_id": "1", "permission": "ads_read"}, 404),
        ("accounts/status", {"account_id": "act_1", "status": 2}, 404),
        ("datasets/unlink", {"dataset_id": "1"}, 404),
        ("insights/revise", {"since": "yesterday"}, 422),
        ("traffic", {"ad_ids": ["1"]}, 422),
        ("traffic", {"colour": 1}, 422),
        ("clock", {}, 422),
    ],
)
async def test_an_action_that_makes_no_sense_is_refused_with_the_reason(sandbox, http, name, values, status):
    async with http.post(f"/_sandbox/{name}", json=values) as answer:
        assert (answer.status, bool((await answer.json())["error"])) == (status, True)


async def test_the_world_can_be_changed_through_the_api(sandbox, http):
    account, person = f"act_{sandbox.account.id}", sandbox.cast.carla.id

    await act(http, "accounts/status", account_id=account, status=2)
    await act(http, "people/roles", person_id=sandbox.cast.viviane.id, account_ids=[])
    grown = await act(http, "accounts/grow", person_id=person, accounts=3)
    await act(http, "people/revoke", person_id=sandbox.cast.thiago.id, permission="business_management")
    await act(http, "insights/revise", percent=5)
    moved = await act(http, "clock", advance_s=3600)

    state = await read(http, "GET", "/_sandbox/state")
    people = {each["name"]: each for each in state["people"]}
    assert people["Viviane Borges"]["ad_accounts"] == []
    assert people["Carla sem contas"]["ad_accounts"] == grown["accounts"]
    assert {each["id"]: each["account_status"] for each in state["ad_accounts"]}[account] == 2
    assert moved["now"] == state["now"] == NOW + 3600
    assert sandbox.world.revisions
    clients = await read(http, "GET", "/_sandbox/clients")
    assert clients["ad_account_id"] == account
    await act(http, "app", require_proof=True)
    refused = await read(http, "GET", f"/v26.0/me?access_token={sandbox.token.value}")
    assert refused["error"]["code"] == 100
    await act(http, "reset")
    assert (await read(http, "GET", "/_sandbox/state"))["ad_accounts"][0]["account_status"] == 1


async def test_a_dataset_is_unlinked_and_linked_again_from_the_page(sandbox, http):
    own = str(sandbox.cast.waba.dataset_id)
    event = {
        "event_name": "LeadSubmitted",
        "event_time": int(NOW),
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {"whatsapp_business_account_id": sandbox.cast.waba.id, "ctwa_clid": click_id(sandbox)},
    }
    codes = []
    for act_ in ("unlink", "link"):
        async with http.post(f"/_sandbox/datasets/{act_}", data={"dataset_id": own}) as answer:
            page = await answer.text()
            assert ("not linked" in page, "Link again" in page) == (act_ == "unlink", act_ == "unlink")
        path = f"/v26.0/{own}/events?access_token={sandbox.number_token.value}"
        async with http.post(path, json={"data": [event]}) as answer:
            codes.append((await answer.json()).get("error", {}).get("error_subcode"))

    assert codes == [2804132, None]
    websites = next(each.id for each in sandbox.world.all(Dataset) if each.waba_id is None)
    async with http.post("/_sandbox/datasets/link", json={"dataset_id": websites}) as answer:
        assert answer.status == 422


async def test_a_thousand_accounts_are_listed_page_by_page(sandbox, http):
    await act(http, "accounts/grow", person_id=sandbox.cast.thiago.id, accounts=1000)
    count, query = (
        0,
        {
            "access_token": sandbox.token.value,
            "limit": "100",
            "fields": "id,name,account_status,currency,timezone_name",
        },
    )

    async with asyncio.timeout(30):
        while True:
            page = await read(http, "GET", f"/v26.0/me/adaccounts?{urlencode(query)}")
            count += len(page["data"])
            if "next" not in page["paging"]:
                break
            query["after"] = page["paging"]["cursors"]["after"]

    assert count == 1003


async def test_traffic_goes_to_a_given_address_or_to_whoever_subscribed(sandbox, http):
    app, waba = sandbox.cast.whatsapp_app, sandbox.cast.waba.id
    own = {"access_token": f"{app.id}|{app.secret}"}
    whatsapp = {"Authorization": f"Bearer {sandbox.number_token.value}"}
    async with receiver() as (url, got):
        lost = await act(http, "traffic", people=2, duplicates=0)
        told = await act(http, "traffic", people=2, duplicates=0, url=url, app_secret="s")
        hook = {
            **own,
            "object": "whatsapp_business_account",
            "callback_url": url,
            "verify_token": "v",
            "fields": "messages",
        }
        assert await read(http, "POST", f"/v26.0/{app.id}/subscriptions", data=hook) == {"success": True}
        assert await read(http, "POST", f"/v26.0/{waba}/subscribed_apps", headers=whatsapp) == {
            "success": True
        }
        subscribed = await act(http, "traffic", people=2, duplicates=0)
        message = {
            "messaging_product": "whatsapp",
            "to": "5511988887777",
            "type": "text",
            "text": {"body": "Oi"},
        }
        sent = await read(
            http, "POST", f"/v26.0/{sandbox.cast.number.id}/messages", json=message, headers=whatsapp
        )
        async with asyncio.timeout(5):
            while b'"read"' not in got[-1][0]:  # noqa: ASYNC110 # the receiver is another server
                await asyncio.sleep(0.01)

    assert lost["nobody_subscribed"] == lost["deliveries"] > 0
    assert told["accepted"] == told["deliveries"]
    assert subscribed["accepted"] == subscribed["deliveries"]
    assert sent["messages"][0]["id"].encode() in got[-1][0]


async def test_a_callback_that_does_not_echo_is_refused(sandbox, http):
    app = sandbox.cast.whatsapp_app
    hook = {
        "access_token": f"{app.id}|{app.secret}",
        "callback_url": "http://127.0.0.1:9/hook",
        "verify_token": "v",
    }

    found = await read(http, "POST", f"/v26.0/{app.id}/subscriptions", data=hook)

    assert found["error"]["code"] == 2200
    assert app.callback_url == ""


async def test_a_service_is_told_that_a_person_left(sandbox, http):
    async with receiver_of_forms() as (url, forms):
        answer = await act(http, "signed-request", url=url, person_id=sandbox.cast.thiago.id)

    assert answer["status"] == 200
    assert forms[0].count(".") == 1


@asynccontextmanager
async def receiver_of_forms() -> AsyncIterator[tuple[str, list[str]]]:
    """A service's callback; its address, and the signed requests it got."""
    forms: list[str] = []

    async def take(request: web.Request) -> web.Response:
        forms.append(str((await request.post())["signed_request"]))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/", forms
    finally:
        await runner.cleanup()


def test_the_command_prints_what_a_client_needs_and_serves():
    command = [str(SCRIPT), "sandbox", "--json", "--port", "0", "--seed", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        clients = json.loads(running.stdout.readline())
        address = urlsplit(clients["base_url"])
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            asked = f"GET /v26.0/me?access_token={clients['access_token']} HTTP/1.0\r\n\r\n"
            connection.sendall(asked.encode())
            with connection.makefile("rb") as stream:
                answer = stream.read()
        running.terminate()

    assert clients["person"]["name"].encode() in answer
    assert clients.keys() >= {
        "app_id", "app_secret", "ad_account_id", "dialog_url", "phone_number_id", "waba_id", "whatsapp_token",
        "whatsapp_app_secret",
    }  # fmt: skip
    assert len(clients["ads"]) >= 3
    assert len(clients["pixels"]) >= 2
    assert clients["insights"]
    assert running.returncode == 128 + 15

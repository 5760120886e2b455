"""Real clients, unmodified but for the base URL: Meta's Python SDK, and pywa."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from facebook_business.adobjects.ad import Ad
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.adreportrun import AdReportRun
from facebook_business.adobjects.adspixel import AdsPixel
from facebook_business.adobjects.serverside.action_source import ActionSource
from facebook_business.adobjects.serverside.event import Event
from facebook_business.adobjects.serverside.event_request import EventRequest
from facebook_business.adobjects.serverside.user_data import UserData
from facebook_business.adobjects.user import User
from facebook_business.adobjects.whatsappbusinessaccount import WhatsAppBusinessAccount
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession
from pywa import filters
from pywa.client import WhatsApp
from pywa.handlers import MessageHandler
from pywa.types.message import Message

from tests.sandbox_support import NOW, click_id, still_sandbox
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import signature
from whatrack.sandbox.server import served
from whatrack.sandbox.traffic import Plan

pytestmark = pytest.mark.xdist_group("sandbox_clients")


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Sandbox, str]]:
    sandbox = still_sandbox()
    with served(sandbox) as base_url:
        yield sandbox, base_url


@pytest.fixture
def sandbox(running: tuple[Sandbox, str]) -> Sandbox:
    running[0].reset()
    return running[0]


@pytest.fixture
def base_url(running: tuple[Sandbox, str]) -> str:
    return running[1]


@pytest.fixture
def api(sandbox: Sandbox, base_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FacebookAdsApi]:
    """The SDK, pointed here as its documentation has it; with the app's secret it proves every call."""
    monkeypatch.setattr(FacebookSession, "GRAPH", base_url)
    app = sandbox.cast.ads_app
    made = FacebookAdsApi.init(app.id, app.secret, sandbox.token.value, crash_log=False)
    yield made
    made._session.requests.close()


@pytest.fixture
def account(sandbox: Sandbox, api: FacebookAdsApi) -> AdAccount:
    return AdAccount(f"act_{sandbox.account.id}", api=api)


def test_the_sdk_lists_accounts_and_their_pixels(sandbox, api, account):
    accounts = User("me", api=api).get_ad_accounts(fields=["name", "currency", "timezone_name"])

    assert [each["name"] for each in accounts] == [
        "Clínica Sorriso",
        "Clínica Sorriso Manaus",
        "Horizonte US",
    ]
    assert "Pixel do site" in {each["name"] for each in account.get_ads_pixels(fields=["name"])}


def test_the_sdk_pages_through_ads_and_counts_them(account):
    cursor = account.get_ads(fields=["name", "effective_status", "campaign"], params={"limit": 2})

    found = list(cursor)

    assert len(found) == cursor.total() == 7
    assert {each["effective_status"] for each in found} == {"ACTIVE", "PAUSED", "CAMPAIGN_PAUSED"}


def test_the_sdk_filters_by_status(account):
    archived = account.get_campaigns(fields=["name"], params={"effective_status": ["ARCHIVED", "DELETED"]})

    assert [each["name"] for each in archived] == ["Natal passado", "Teste (apagado)"]


def test_the_sdk_reads_an_ad_with_what_stands_above_it(sandbox, api):
    ad = Ad(sandbox.ads()[0].id, api=api).api_get(
        params={"fields": "name,account_id,adset{name},campaign{name}"}
    )

    assert ad["campaign"]["name"] == "Implantes · Mensagens"


def test_the_sdk_reads_insights_at_once_and_as_a_report(account):
    asked = {"level": "ad", "time_increment": 1, "date_preset": "last_7d", "limit": 5}
    fields = ["ad_id", "spend", "actions"]

    at_once = [dict(row) for row in account.get_insights(fields=fields, params=dict(asked))]
    run = account.get_insights_async(fields=fields, params=dict(asked))
    while run.api_get()[AdReportRun.Field.async_status] != "Job Completed":
        pass
    reported = [row.export_all_data() for row in run.get_result(params={"limit": 5})]

    assert len(at_once) > 20
    assert reported == [
        json.loads(json.dumps(row, default=lambda each: each.export_all_data())) for row in at_once
    ]


def test_the_sdk_reads_as_dlts_facebook_ads_source_does(sandbox, api):
    """Its calls, which go through the SDK: the account found in its person's list, pages of few, all states, daily reports."""
    (account,) = [
        each
        for each in User(fbid="me", api=api).get_ad_accounts()
        if each["account_id"] == sandbox.account.id
    ]
    states = [
        "ACTIVE", "PAUSED", "DELETED", "PENDING_REVIEW", "DISAPPROVED", "PREAPPROVED", "PENDING_BILLING_INFO",
        "CAMPAIGN_PAUSED", "ARCHIVED", "ADSET_PAUSED",
    ]  # fmt: skip
    fields = [
        "id",
        "updated_time",
        "name",
        "effective_status",
        "adset_id",
        "campaign_id",
        "creative",
        "targeting",
        "tracking_specs",
    ]
    all_ads = account.get_ads(fields=fields, params={"limit": 3, "effective_status": states})
    assert len([each.export_all_data() for each in all_ads]) == len(
        sandbox.world.below(sandbox.account.id, "ad")
    )
    some = Ad(sandbox.ads()[0].id, api=api)
    assert list(some.get_leads(fields=["id", "field_data"], params={"limit": 3})) == []

    day = sandbox.clock.today(sandbox.account.zone) - timedelta(days=1)
    asked = {
        "level": "ad", "limit": 5, "time_increment": 1, "time_ranges": [{"since": str(day), "until": str(day)}],
        "action_attribution_windows": ["1d_click", "7d_click", "28d_click", "1d_view", "7d_view", "28d_view"],
        "fields": ["campaign_id", "ad_id", "spend", "actions", "cost_per_action_type", "website_ctr", "unique_ctr"],
    }  # fmt: skip
    job = account.get_insights(params=asked, is_async=True).api_get()
    assert (job["async_status"], job["async_percent_completion"]) == ("Job Completed", 100)
    got = [each.export_all_data() for each in job.get_result()]
    assert {each["date_start"] for each in got} == {str(day)}


def test_the_sdk_batches_and_retries_what_came_back_null(sandbox, api):
    sandbox.faults.inject("batch_null", part=1)
    names: list[str] = []
    batch = api.new_batch()
    for ad in sandbox.ads()[:3]:
        Ad(ad.id, api=api).api_get(
            fields=["name"], batch=batch, success=lambda answer: names.append(answer.json()["name"])
        )

    left = batch.execute()
    assert len(left) == 1
    left.execute()

    assert sorted(names) == sorted(ad.name for ad in sandbox.ads()[:3])


def test_the_sdk_reads_codes_subcodes_and_headers_of_refusals(sandbox, account):
    sandbox.faults.inject("throttle", code=17, minutes=7)

    with pytest.raises(FacebookRequestError) as refused:
        account.api_get(fields=["name"])

    error = refused.value
    assert (error.api_error_code(), error.api_error_subcode(), error.http_status()) == (17, 2446079, 400)
    assert json.loads(error.http_headers()["x-ad-account-usage"])["reset_time_duration"] == 420


def test_the_sdk_makes_a_whatsapp_accounts_dataset(sandbox, base_url, api):
    app, waba = sandbox.cast.whatsapp_app, sandbox.cast.other_waba
    numbers = FacebookAdsApi(FacebookSession(app.id, app.secret, sandbox.number_token.value))

    made = WhatsAppBusinessAccount(waba.id, api=numbers).create_dataset(params={"dataset_name": "Vendas"})

    assert made["id"] == waba.dataset_id
    listed = WhatsAppBusinessAccount(waba.id, api=numbers).get_subscribed_apps()
    assert list(listed) == []
    numbers._session.requests.close()


def test_the_sdk_sends_events_as_a_list_of_texts(sandbox, api):
    sent = {
        "event_name": "LeadSubmitted",
        "event_time": int(NOW),
        "action_source": "business_messaging",
        "messaging_channel": "whatsapp",
        "user_data": {
            "whatsapp_business_account_id": sandbox.cast.waba.id,
            "ctwa_clid": click_id(sandbox),
        },
    }

    pixel = AdsPixel(sandbox.cast.waba.dataset_id, api=api)
    answer = pixel.create_event(params={"data": [json.dumps(sent)]})

    assert answer["events_received"] == 1
    assert sandbox.truth()["events"][0]["event"] == sent


def test_the_sdks_server_side_events_are_answered(sandbox, api):
    user = UserData(email="ana@example.com")
    event = Event(event_name="Lead", event_time=int(NOW), user_data=user, action_source=ActionSource.WEBSITE)

    answer = EventRequest(pixel_id=sandbox.cast.waba.dataset_id, events=[event]).execute()

    assert answer.events_received == 1


@pytest.fixture
def whatsapp(sandbox: Sandbox, base_url: str) -> Iterator[WhatsApp]:
    number = sandbox.cast.number
    client = WhatsApp(phone_id=number.id, token=sandbox.number_token.value, waba_id=number.waba_id)
    client.api._session.base_url = f"{base_url}/v26.0"
    yield client
    client.api._session.close()


def test_pywa_reads_the_number_and_sends_a_message(sandbox, whatsapp):
    number = whatsapp.get_business_phone_number()
    sent = whatsapp.send_message(to="5511988887777", text="Olá!")

    assert number.display_phone_number == sandbox.cast.number.display
    assert sandbox.world.sent[0]["id"] == sent.id
    assert sandbox.world.sent[0]["text"]["body"] == "Olá!"


def test_pywa_understands_the_sandboxs_webhooks(sandbox, base_url):
    """pywa checks the signature and hands every message, with its referral, to its handlers."""
    got: list[Message] = []
    number, secret = sandbox.cast.number, sandbox.cast.whatsapp_app.secret
    client = WhatsApp(
        phone_id=number.id,
        token=sandbox.number_token.value,
        server=None,
        app_secret=secret,
        verify_token="token",
    )
    client.add_handlers(MessageHandler(lambda _, message: got.append(message), filters.text))
    clicked = sandbox.traffic.play(
        Plan(ad_ids=[sandbox.ads()[0].id], people=20, organic=0, in_status=0, again=0, post=0, chatter=0)
    )
    for body in clicked.bodies:
        assert client.webhook_update_validator(body, signature(secret, body)) is None
        client.webhook_update_handler(body)

    assert {message.referral.ctwa_clid for message in got if message.referral} <= {
        each.last_clid for each in clicked.contacts
    }
    assert got

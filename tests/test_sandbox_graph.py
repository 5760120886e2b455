"""The sandbox's Graph API: nodes, lists, batches, refusals, as clients of the real one expect them."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox_support import BASE, Asker, ads_client, hex_hmac, number_client, still_sandbox
from whatrack.sandbox.build import issue_token
from whatrack.sandbox.failures import THROTTLES
from whatrack.sandbox.fields import as_text, parse_fields
from whatrack.sandbox.graph import VERSIONS
from whatrack.sandbox.machine import Sandbox


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


@pytest.fixture
def ads(sandbox: Sandbox) -> Asker:
    return ads_client(sandbox)


def account(sandbox: Sandbox) -> str:
    return f"act_{sandbox.account.id}"


def test_the_same_seed_makes_the_same_world_and_another_seed_another():
    one, again, other = still_sandbox(7), still_sandbox(7), still_sandbox(8)

    assert one.clients(BASE) == again.clients(BASE)
    assert one.clients(BASE)["ad_account_id"] != other.clients(BASE)["ad_account_id"]


def test_the_world_holds_what_real_portfolios_hold(sandbox, ads):
    found = ads.get("me/adaccounts", fields="currency,timezone_name,account_status")["data"]
    statuses = {each["effective_status"] for each in _all_ads(sandbox, ads)}
    pixels = ads.get(f"{account(sandbox)}/adspixels", fields="id,name")["data"]

    assert {each["currency"] for each in found} == {"BRL", "USD"}
    assert len({each["timezone_name"] for each in found}) == 3
    assert {each["account_status"] for each in found} == {1, 3}
    assert statuses >= {"ACTIVE", "PAUSED", "CAMPAIGN_PAUSED", "ARCHIVED", "DELETED"}
    assert len(pixels) == 3
    assert len(sandbox.clients(BASE)["ads"]) >= 3
    assert sandbox.account.id in sandbox.cast.viviane.account_ids


def _all_ads(sandbox: Sandbox, ads: Asker) -> list[dict[str, str]]:
    every = json.dumps(["ACTIVE", "PAUSED", "CAMPAIGN_PAUSED", "ADSET_PAUSED", "ARCHIVED", "DELETED"])
    found: list[dict[str, str]] = ads.get(
        f"{account(sandbox)}/ads", fields="effective_status", effective_status=every, limit=100
    )["data"]
    return found


def test_a_list_of_ads_hides_archived_and_deleted_ones_unless_a_status_is_named(sandbox, ads):
    shown = ads.get(f"{account(sandbox)}/ads", fields="effective_status", summary="true")

    assert {each["effective_status"] for each in shown["data"]} == {"ACTIVE", "PAUSED", "CAMPAIGN_PAUSED"}
    assert shown["summary"] == {"total_count": len(shown["data"])}
    assert len(_all_ads(sandbox, ads)) == len(shown["data"]) + 2


@pytest.mark.parametrize(
    ("filtering", "count"),
    [
        ([{"field": "ad.delivery_info", "operator": "IN", "value": ["archived", "deleted"]}], 2),
        ([{"field": "effective_status", "operator": "IN", "value": ["PAUSED"]}], 1),
        ([{"field": "ad.updated_time", "operator": "GREATER_THAN", "value": 4102444800}], 0),
        ([{"field": "campaign.name", "operator": "CONTAIN", "value": "clareamento"}], 2),
    ],
)
def test_filters_as_connectors_write_them(sandbox, ads, filtering, count):
    found = ads.get(f"{account(sandbox)}/ads", filtering=json.dumps(filtering))

    assert len(found["data"]) == count


def test_an_ad_tells_its_names_upwards(sandbox, ads):
    ad = sandbox.ads()[0]
    fields = "id,name,effective_status,account_id,adset{id,name},campaign{id,name,objective},creative{id,effective_object_story_id}"

    found = ads.get(ad.id, fields=fields)

    assert found["account_id"] == sandbox.account.id
    assert found["adset"]["name"] == "Mulheres 35-55 · Zona Sul"
    assert found["campaign"]["name"] == "Implantes · Mensagens"
    assert "_" in found["creative"]["effective_object_story_id"]


def test_fields_may_be_a_json_list_and_hold_lists_of_their_own(sandbox, ads):
    found = ads.get(account(sandbox), fields='["name","ads.limit(2){name}"]')

    assert len(found["ads"]["data"]) == 2
    following = urlsplit(found["ads"]["paging"]["next"])
    query = {name: values[0] for name, values in parse_qs(following.query).items()}
    assert following.netloc == "sandbox.test"
    assert len(ads.get(following.path, **query)["data"]) == 2


def test_a_field_list_is_read_as_it_is_written():
    text = 'id,campaign{id,name},ads.limit(5).filtering([{"a":1}]){id,creative{id}}'

    assert as_text(parse_fields(text)) == text
    assert as_text(parse_fields('["id", "name,campaign{id}"]')) == "id,name,campaign{id}"
    assert as_text(parse_fields("['id', 'name']")) == "id,name"


@pytest.mark.parametrize("text", ["name{", "a}", "a.b", "a.b(", ",{x}", "a b"])
def test_a_field_list_that_cannot_be_read_is_refused(ads, text):
    assert ads.refused("me", fields=text)[0] == 100


def test_an_unknown_field_is_refused_and_a_known_one_without_value_left_out(sandbox, ads):
    assert ads.refused(account(sandbox), fields="colour") == (100, None)
    assert "media_agency" not in ads.get(account(sandbox), fields="name,media_agency")


@pytest.mark.parametrize("path", ["1234567890", "act_1", "1234567890/ads"])
def test_what_does_not_exist_and_what_cannot_be_seen_look_the_same(sandbox, ads, path):
    hidden = f"act_{sandbox.cast.viviane.account_ids[1]}"

    assert ads.refused(path) == (100, 33)
    assert ads.refused(hidden) == (100, 33)
    assert ads.refused(sandbox.account.id) == (100, 33)  # an ad account's id begins with act_


def test_pages_end_only_where_next_is_absent(sandbox, ads):
    whole = ads.every(f"{account(sandbox)}/ads", limit=100)
    paged = ads.pages(f"{account(sandbox)}/ads", limit=3)

    assert [entry for page in paged for entry in page] == whole
    assert [len(page) for page in paged] == [3, 3, 1]
    assert ads.get(f"{account(sandbox)}/ads", after="OTk") == {"data": []}


def test_pages_may_be_short_or_empty_on_the_way(sandbox, ads):
    whole = ads.every(f"{account(sandbox)}/ads", limit=100)
    sandbox.faults.inject("short_pages", times=None)
    sandbox.faults.inject("empty_page", times=None, path="*/ads")

    paged = ads.pages(f"{account(sandbox)}/ads", limit=4)

    assert [len(page) for page in paged] == [0, 2, 2, 2, 1]
    assert [entry for page in paged for entry in page] == whole


def test_a_next_page_names_this_sandbox_and_carries_the_token(sandbox, ads):
    page = ads.get(f"{account(sandbox)}/ads", limit=1)
    following = urlsplit(page["paging"]["next"])

    assert page["paging"]["next"].startswith(f"{BASE}/v26.0/{account(sandbox)}/ads?")
    assert parse_qs(following.query)["access_token"] == [ads.token]


def test_ids_gives_an_object_by_id_at_most_fifty(sandbox, ads):
    ids = [ad.id for ad in sandbox.ads()]

    assert ads.get("", ids=",".join(ids), fields="name").keys() == set(ids)
    assert ads.refused("", ids=",".join(map(str, range(51)))) == (100, None)


def test_one_id_that_cannot_be_seen_fails_the_call_or_is_left_out(sandbox, ads):
    ids = f"{sandbox.ads()[0].id},999"

    assert ads.refused("", ids=ids) == (100, 33)
    sandbox.faults.inject("ids_omit")
    assert ads.get("", ids=ids).keys() == {sandbox.ads()[0].id}


def test_a_batch_answers_each_part_by_itself(sandbox, ads):
    sandbox.faults.inject("batch_null", part=2)
    parts = [
        {"method": "GET", "relative_url": f"v26.0/{sandbox.ads()[0].id}?fields=name"},
        {"method": "GET", "relative_url": "404"},
        {"method": "GET", "relative_url": "me"},
        {"method": "POST", "relative_url": f"{account(sandbox)}/insights", "body": "level=ad"},
        {"method": "GET", "relative_url": "me", "omit_response_on_success": True},
    ]

    named, missing, lost, ordered, omitted = ads.post("", batch=json.dumps(parts))

    assert json.loads(named["body"])["name"] == "Sorriso novo · vídeo"
    assert "x-app-usage" in {header["name"] for header in named["headers"]}
    assert (missing["code"], json.loads(missing["body"])["error"]["error_subcode"]) == (400, 33)
    assert lost is None
    assert omitted is None
    assert json.loads(ordered["body"]).keys() == {"report_run_id"}


def test_a_batch_holds_at_most_fifty_parts(ads):
    answer = ads.answer("", "POST", batch=json.dumps([{"relative_url": "me"}] * 51))

    assert answer.body["error"]["type"] == "GraphBatchException"


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_21_to_26_answer(ads, version):
    assert ads.get(f"{version}/me").keys() == {"id", "name"}


def test_unknown_and_expired_versions_are_refused(sandbox, ads):
    sandbox.faults.inject("expired_versions", times=None)

    assert ads.refused("v99.0/me") == (2500, None)
    assert ads.refused("v23.0/me") == (2635, None)
    assert ads.get("v26.0/me")


def test_refusals_carry_a_trace_and_the_usage_headers(sandbox, ads):
    answer = ads.answer(f"{account(sandbox)}/insights", fields="nonsense")

    assert answer.body["error"].keys() == {"message", "type", "code", "is_transient", "fbtrace_id"}
    assert answer.headers["x-fb-trace-id"] == answer.body["error"]["fbtrace_id"]
    assert json.loads(answer.headers["x-fb-ads-insights-throttle"]).keys() >= {
        "app_id_util_pct",
        "acc_id_util_pct",
    }
    assert (
        json.loads(answer.headers["x-business-use-case-usage"])[sandbox.account.id][0]["type"]
        == "ads_insights"
    )
    assert "x-fb-ads-insights-throttle" not in ads.answer("me").headers


@pytest.mark.parametrize("code", THROTTLES)
def test_every_rate_limit_can_be_hit_and_says_when_to_come_back(sandbox, ads, code):
    sandbox.faults.inject("throttle", code=code, minutes=19, account_id=sandbox.account.id)

    unconcerned, answer = ads.answer("me"), ads.answer(account(sandbox))

    assert unconcerned.status == 200
    assert answer.body["error"]["code"] == code
    assert answer.body["error"].get("error_subcode") == THROTTLES[code][0]
    usage = json.loads(answer.headers["x-business-use-case-usage"])[sandbox.account.id][0]
    assert (usage["call_count"], usage["estimated_time_to_regain_access"]) == (100, 19)
    assert json.loads(answer.headers["x-ad-account-usage"])["reset_time_duration"] == 19 * 60
    assert ads.answer(account(sandbox)).status == 200


def test_the_usage_headers_can_report_a_load_without_a_refusal(sandbox, ads):
    sandbox.faults.inject("usage", percent=92, minutes=4)

    answer = ads.answer(account(sandbox))

    assert answer.status == 200
    assert json.loads(answer.headers["x-ad-account-usage"])["acc_id_util_pct"] == 92


def test_any_error_can_be_injected_for_one_persons_requests(sandbox, ads):
    sandbox.faults.inject("error", code=10, person_id=sandbox.cast.viviane.id)
    viviane = issue_token(sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, ("ads_read",), None)

    assert ads.answer("me").status == 200
    assert ads_client(sandbox, viviane).refused("me") == (10, None)
    assert ads_client(sandbox, viviane).answer("me").status == 200


@pytest.mark.parametrize(
    ("token", "code"),
    [("", 104), ("rubbish", 190), ("EAAunknown", 190), ("1|2", 190)],
)
def test_a_token_that_is_none_is_refused_without_a_subcode(sandbox, token, code):
    assert Asker(sandbox, token).refused("me") == (code, None)


def test_a_proof_must_fit_the_token_and_the_app_that_issued_it(sandbox, ads):
    right = hex_hmac(sandbox.cast.ads_app.secret, ads.token.encode())
    foreign = hex_hmac(sandbox.cast.whatsapp_app.secret, ads.token.encode())

    assert ads.get("me", appsecret_proof=right)
    assert ads.refused("me", appsecret_proof=foreign)[0] == 100
    sandbox.cast.ads_app.require_proof = True
    assert ads.refused("me")[0] == 100
    assert ads.get("me", appsecret_proof=right)


@pytest.mark.parametrize(
    ("scope", "path"),
    [
        ("ads_read", "me/adaccounts"),
        ("ads_read", "{account}/insights"),
        ("business_management", "{account}"),
        ("business_management", "me/businesses"),
    ],
)
def test_each_edge_needs_its_permission(sandbox, scope, path):
    without = {"ads_read": "business_management", "business_management": "ads_read"}[scope]
    held = without if path != "{account}" else scope
    token = issue_token(sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, (held,), None)

    assert ads_client(sandbox, token).refused(path.format(account=account(sandbox))) == (200, None)


def test_a_person_without_roles_sees_an_empty_list(sandbox):
    token = issue_token(sandbox.world, sandbox.cast.ads_app, sandbox.cast.carla, ("ads_read",), None)

    assert ads_client(sandbox, token).get("me/adaccounts") == {"data": []}


def test_a_whatsapp_account_makes_its_dataset_once(sandbox):
    system = number_client(sandbox)
    other = sandbox.cast.other_waba.id

    assert system.get(f"{other}/dataset") == {"data": []}
    made = system.post(f"{other}/dataset", dataset_name="Vendas")["id"]
    assert system.post(f"{other}/dataset")["id"] == made
    assert system.get(f"{other}/dataset", fields="id,name")["data"] == [{"id": made, "name": "Vendas"}]
    assert system.post(f"{sandbox.cast.waba.id}/dataset")["id"] == sandbox.cast.waba.dataset_id


def test_a_dataset_needs_both_whatsapp_permissions(sandbox):
    token = issue_token(
        sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, ("whatsapp_business_management",), None
    )

    assert ads_client(sandbox, token).refused(f"{sandbox.cast.other_waba.id}/dataset", "POST") == (200, None)


def test_a_whatsapp_account_is_subscribed_listed_and_unsubscribed(sandbox):
    system, waba = number_client(sandbox), sandbox.cast.waba.id

    assert system.get(f"{waba}/subscribed_apps") == {"data": []}
    assert system.post(f"{waba}/subscribed_apps") == {"success": True}
    listed = system.get(f"{waba}/subscribed_apps")["data"]
    assert listed[0]["whatsapp_business_api_data"]["id"] == sandbox.cast.whatsapp_app.id
    assert system.answer(f"{waba}/subscribed_apps", "DELETE").body == {"success": True}
    assert system.get(f"{waba}/subscribed_apps") == {"data": []}


def test_a_number_is_read_only_by_its_own_businesses_tokens(sandbox, ads):
    number = sandbox.cast.number
    viviane = issue_token(
        sandbox.world, sandbox.cast.ads_app, sandbox.cast.viviane, ("whatsapp_business_management",), None
    )

    assert number_client(sandbox).get(number.id)["display_phone_number"] == number.display
    assert ads_client(sandbox, viviane).refused(number.id) == (100, 33)


def test_nothing_that_is_not_played_is_pretended(sandbox, ads):
    assert ads.refused(f"{account(sandbox)}/campaigns", "POST", name="x") == (100, 33)
    assert ads.refused(f"{account(sandbox)}/nosuchedge") == (100, 33)
    assert ads.refused("a/b/c") == (2500, None)

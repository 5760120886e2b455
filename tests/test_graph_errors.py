"""The one table from (code, subcode) to a kind of error: every row of Meta's pages, and the oddities of its envelope."""

import pytest

from tests.sandbox_support import hex_hmac
from whatrack.meta.calls import Token
from whatrack.meta.errors import (
    BadRequest,
    GraphError,
    MissingPermission,
    NotVisible,
    Refusal,
    Throttled,
    TokenDead,
    Transient,
    VersionGone,
    classify,
    read_refusal,
    without_tokens,
)
from whatrack.meta.ids import act_account, bare_account
from whatrack.meta.signed_request import read_signed_request
from whatrack.meta.usage import Load, read_usage

SECRET = "test_app_secret"
SIGNED = (
    "MgChNJTM9CJ75wlk7iDsf-5_LH4rMfst5fvUhiJRiqg.eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImV4cGlyZXMiOjEyOTE4NDA0MDA"
    "sImlzc3VlZF9hdCI6MTI5MTgzNjgwMCwidXNlcl9pZCI6IjIxODQ3MSJ9"
)


@pytest.mark.parametrize(
    ("code", "subcode", "kind", "reason"),
    [
        (-1, None, Transient, "meta_trouble"),
        (1, None, Transient, "meta_trouble"),
        (2, None, Transient, "meta_trouble"),
        (2, 1504038, Transient, "meta_trouble"),
        (2, 1504042, Transient, "meta_trouble"),
        (2, 1504043, Transient, "meta_trouble"),
        (2, 1504044, Transient, "meta_trouble"),
        (2601, 1815107, Transient, "meta_trouble"),
        (2, 1504041, BadRequest, "bad_breakdown"),
        (3, None, MissingPermission, "no_capability"),
        (10, None, MissingPermission, "no_advanced_access"),
        (200, None, MissingPermission, "permission_missing"),
        (294, None, MissingPermission, "permission_missing"),
        (299, None, MissingPermission, "permission_missing"),
        (100, 3191001, MissingPermission, "permission_missing"),
        (131005, None, MissingPermission, "permission_missing"),
        (4, None, Throttled, "throttled"),
        (4, 1504022, Throttled, "throttled"),
        (4, 1504039, Throttled, "throttled"),
        (17, 2446079, Throttled, "throttled"),
        (32, None, Throttled, "throttled"),
        (341, None, Throttled, "throttled"),
        (613, 1487742, Throttled, "throttled"),
        (613, 5044001, Throttled, "throttled"),
        (613, 1996, Throttled, "throttled"),
        *((code, None, Throttled, "throttled") for code in range(80000, 80015)),
        (80004, 2446079, Throttled, "throttled"),
        (102, None, TokenDead, "token_invalid"),
        (190, None, TokenDead, "token_invalid"),
        (190, 458, TokenDead, "app_removed"),
        (190, 459, TokenDead, "checkpoint"),
        (190, 460, TokenDead, "password_changed"),
        (190, 463, TokenDead, "token_expired"),
        (190, 464, TokenDead, "unconfirmed"),
        (190, 467, TokenDead, "logged_out"),
        (190, 492, TokenDead, "role_lost"),
        (100, 33, NotVisible, "not_visible"),
        (803, None, NotVisible, "not_visible"),
        (100, None, BadRequest, "bad_request"),
        (100, 2804087, BadRequest, "bad_request"),
        (100, 1487534, BadRequest, "too_much_data"),
        (100, 1504018, BadRequest, "too_much_data"),
        (-3, 1504045, BadRequest, "too_much_data"),
        (100, 36007, BadRequest, "code_expired"),
        (100, 36008, BadRequest, "redirect_uri_differs"),
        (100, 36009, BadRequest, "code_used"),
        (101, None, BadRequest, "app_unknown"),
        (368, None, BadRequest, "blocked"),
        (506, None, BadRequest, "bad_request"),
        (1609005, None, BadRequest, "bad_request"),
        (2500, None, BadRequest, "bad_request"),
        (2635, None, VersionGone, "version_gone"),
    ],
)
def test_a_code_means_one_kind_of_error(code: int, subcode: int | None, kind: type[GraphError], reason: str):
    error = classify(Refusal(code, subcode))
    assert (type(error), error.reason) == (kind, reason)
    assert str(code) in str(error)


def test_the_http_status_and_the_text_decide_nothing():
    for status in (200, 400, 401, 403, 500):
        error = classify(Refusal(190, 463, "User request limit reached (#17)", status=status))
        assert isinstance(error, TokenDead)


def test_what_meta_calls_transient_is_only_where_nothing_else_is_known():
    assert isinstance(classify(Refusal(99999, is_transient=True)), Transient)
    assert isinstance(classify(Refusal(99999)), BadRequest)
    assert isinstance(classify(Refusal(190, is_transient=True)), TokenDead)


@pytest.mark.parametrize(("said_s", "waits_s"), [(0.0, 300.0), (1140.0, 1140.0), (2.0, 300.0)])
def test_a_throttle_waits_for_the_longer_of_header_and_table(said_s: float, waits_s: float):
    error = classify(Refusal(17, 2446079), said_s)
    assert isinstance(error, Throttled)
    assert error.retry_after_s == waits_s


def test_an_envelope_is_read_whatever_its_oddities():
    whole = {
        "message": "m",
        "type": "OAuthException",
        "code": "190",
        "error_subcode": "463",
        "fbtrace_id": "A",
    }
    found = read_refusal({"error": {**whole, "error_data": "no json {", "is_transient": None}}, 401)
    assert found == Refusal(190, 463, "m", "OAuthException", trace="A", status=401)
    assert read_refusal({"error": {}}) == Refusal()
    assert read_refusal({"data": {"error": {"code": 190}}}) is None
    assert read_refusal([1]) is None
    assert read_refusal({"error": "text"}) is None


def test_a_permission_is_read_from_the_text_for_people_only():
    error = classify(Refusal(200, message="(#200) Requires ads_read or ads_management permission"))
    assert isinstance(error, MissingPermission)
    assert error.permissions == ("ads_read", "ads_management")


def test_a_text_loses_what_may_be_a_token():
    assert without_tokens("Malformed access token EAAtesttoken1") == "Malformed access token …"
    assert without_tokens("token 123456789|abcdefabcdefabcdefabcdefabcdefabcdef") == "token …"
    assert without_tokens(None) == ""


def test_a_use_case_that_is_told_of_a_business_is_of_the_account_that_was_asked():
    case = '[{"type":"ads_insights","call_count":97,"estimated_time_to_regain_access":2}]'
    by_business = {"x-business-use-case-usage": '{"778899":' + case + "}"}
    by_account = {"x-business-use-case-usage": '{"42":' + case + ',"43":' + case + "}"}

    assert read_usage(by_business, "42", insights=True) == [Load("42:insights", 97.0, 120.0)]
    assert [load.key for load in read_usage(by_business, None, insights=True)] == ["778899:insights"]
    assert [load.key for load in read_usage(by_account, "42", insights=True)] == [
        "42:insights",
        "43:insights",
    ]


def test_the_usage_headers_are_read():
    headers = {
        "x-app-usage": '{"call_count":28,"total_time":91,"total_cputime":25}',
        "x-ad-account-usage": '{"acc_id_util_pct":9.67,"reset_time_duration":100}',
        "x-business-use-case-usage": '{"42":[{"type":"ads_insights","call_count":100,"total_cputime":25,"total_time":25,'
        '"estimated_time_to_regain_access":19},{"type":"ads_management","call_count":80}]}',
        "x-fb-ads-insights-throttle": '{"app_id_util_pct":75,"acc_id_util_pct":10}',
    }
    app, insights, ads, score, reports, reports_of_app = read_usage(headers, "42", insights=True)
    assert app == Load("app", 91.0)
    assert (app.pause_s, insights, insights.pause_s) == (60.0, Load("42:insights", 100.0, 1140.0), 1140.0)
    assert (ads.key, ads.pause_s, round(ads.gap_s, 2)) == ("42:ads", 0.0, 1.67)
    assert (score, reports.key) == (Load("42:insights", 9.67, 100.0), "42:insights")
    assert reports_of_app.gap_s == 0.0
    assert (
        read_usage({"x-app-usage": "nonsense", "x-business-use-case-usage": "[1]"}, None, insights=False)
        == []
    )


def test_the_proof_is_metas():
    known = "2f6c99f265a9e1644d725e8f9c96e439fcbf40a73357d1d98ba8b98fbfe445e4"
    assert Token("EAAtesttoken", SECRET).proof == known == hex_hmac(SECRET, b"EAAtesttoken")
    assert Token("EAAtesttoken").proof is None


def test_an_accounts_spellings_meet():
    assert (bare_account("act_123"), bare_account("123"), act_account("123")) == ("123", "123", "act_123")
    assert act_account("act_act_1") is bare_account("x") is bare_account("١٢") is None


def test_a_signed_request_is_read_and_a_forged_one_is_not():
    found = read_signed_request(SIGNED, SECRET)
    assert found is not None
    assert (found.user_id, found.issued_at) == ("218471", 1291836800)
    signature, _, payload = SIGNED.partition(".")
    for forged in (
        SIGNED[:-1],
        f"{payload}.{signature}",
        f"{signature}.",
        "",
        "x",
        "a.b",
        "é.é",
        SIGNED * 99,
    ):
        assert read_signed_request(forged, SECRET) is None
    assert read_signed_request(SIGNED, "another") is None
    assert read_signed_request(f"{signature}==.{payload}", SECRET) is not None  # padded

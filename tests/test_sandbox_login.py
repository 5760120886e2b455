"""Logging in to the sandbox: the dialog, codes, long-lived tokens, and what takes them away again."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.sandbox_support import NOW, Asker, ads_client, still_sandbox
from whatrack.sandbox import oauth, trouble
from whatrack.sandbox.build import ADS_SCOPES
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Person

CALLBACK = "http://localhost:3000/api/v1/meta-ads/callback"
DAY_S = 86_400


@pytest.fixture
def sandbox() -> Sandbox:
    return still_sandbox()


@pytest.fixture
def nobody(sandbox: Sandbox) -> Asker:
    """Asks without a token."""
    return Asker(sandbox, "")


def query(sandbox: Sandbox, **more: str) -> dict[str, str]:
    asked = {
        "client_id": sandbox.cast.ads_app.id,
        "redirect_uri": CALLBACK,
        "state": "s-1",
        "scope": ",".join(ADS_SCOPES),
    }
    return {**asked, **more}


def app(sandbox: Sandbox) -> dict[str, str]:
    return {"client_id": sandbox.cast.ads_app.id, "client_secret": sandbox.cast.ads_app.secret}


def says_yes(sandbox: Sandbox, person: Person, *accepted: str, **more: str) -> dict[str, str]:
    """What comes back to the redirect URI."""
    asked = query(sandbox, **more)
    address = oauth.accept(
        sandbox.world, sandbox.cast.ads_app, person, asked, frozenset(accepted or ADS_SCOPES)
    )
    assert address.startswith(CALLBACK + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


def logs_in(sandbox: Sandbox, nobody: Asker, person: Person, *accepted: str, **more: str) -> str:
    code = says_yes(sandbox, person, *accepted, **more)["code"]
    token: str = nobody.get("oauth/access_token", **app(sandbox), redirect_uri=CALLBACK, code=code)[
        "access_token"
    ]
    return token


def test_a_login_ends_in_a_token_for_the_person_picked(sandbox, nobody):
    came_back = says_yes(sandbox, sandbox.cast.viviane)

    token = nobody.get("oauth/access_token", **app(sandbox), redirect_uri=CALLBACK, code=came_back["code"])

    assert came_back["state"] == "s-1"
    assert token["token_type"] == "bearer"
    assert Asker(sandbox, token["access_token"]).get("me", fields="name")["name"] == "Viviane Borges"


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"redirect_uri": CALLBACK + "/"}, (100, 36008)),
        ({"client_secret": "wrong"}, (1, None)),
        ({"client_id": "1"}, (101, None)),
        ({"code": "AQnone"}, (100, 36009)),
    ],
)
def test_a_code_is_exchanged_only_with_what_it_was_made_for(sandbox, nobody, change, refusal):
    code = says_yes(sandbox, sandbox.cast.viviane)["code"]
    asked = {**app(sandbox), "redirect_uri": CALLBACK, "code": code}

    assert nobody.refused("oauth/access_token", **{**asked, **change}) == refusal
    assert "access_token" in nobody.get("oauth/access_token", **asked)


def test_a_code_of_another_app_is_refused(sandbox, nobody):
    other = sandbox.cast.whatsapp_app
    code = says_yes(sandbox, sandbox.cast.viviane)["code"]

    asked = {"client_id": other.id, "client_secret": other.secret, "redirect_uri": CALLBACK, "code": code}

    assert nobody.refused("oauth/access_token", **asked) == (100, 36009)


def test_a_code_is_good_once_and_for_ten_minutes(sandbox, nobody):
    first, second = (says_yes(sandbox, sandbox.cast.viviane)["code"] for _ in range(2))
    asked = {**app(sandbox), "redirect_uri": CALLBACK}

    assert nobody.get("oauth/access_token", **asked, code=first)
    assert nobody.refused("oauth/access_token", **asked, code=first) == (100, 36009)
    sandbox.clock.advance(601)
    assert nobody.refused("oauth/access_token", **asked, code=second)[0] == 100


def test_declined_permissions_are_listed_and_asked_again_only_on_request(sandbox, nobody):
    viviane, ads_app = sandbox.cast.viviane, sandbox.cast.ads_app
    token = logs_in(sandbox, nobody, viviane, "ads_read")

    listed = Asker(sandbox, token).get("me/permissions")["data"]

    assert {"permission": "ads_management", "status": "declined"} in listed
    assert oauth.to_ask(sandbox.world, ads_app, viviane, query(sandbox)) == ("ads_read",)
    again = query(sandbox, auth_type="rerequest")
    assert oauth.to_ask(sandbox.world, ads_app, viviane, again) == ADS_SCOPES


def test_login_for_business_is_all_or_nothing(sandbox, nobody):
    token = logs_in(sandbox, nobody, sandbox.cast.viviane, "ads_read", config_id="configuration-ads")

    listed = Asker(sandbox, token).get("me/permissions")["data"]

    assert {each["status"] for each in listed} == {"granted"}
    assert len(listed) == 6


def test_cancel_comes_back_with_the_reason_and_the_state(sandbox):
    came_back = parse_qs(urlsplit(oauth.cancel(query(sandbox))).query)

    assert came_back["error_reason"] == ["user_denied"]
    assert came_back["error"] == ["access_denied"]
    assert came_back["state"] == ["s-1"]


def test_the_long_lived_token_lasts_sixty_days_and_may_not_say_so(sandbox, nobody):
    short = logs_in(sandbox, nobody, sandbox.cast.viviane)
    asked = {**app(sandbox), "grant_type": "fb_exchange_token", "fb_exchange_token": short}

    telling = nobody.get("oauth/access_token", **asked)
    sandbox.faults.inject("no_expires_in")
    silent = nobody.get("v26.0/oauth/access_token", **asked)

    assert telling["expires_in"] == 60 * DAY_S
    assert "expires_in" not in silent
    known = debug(sandbox, nobody, silent["access_token"])
    assert known["expires_at"] == int(NOW) + 60 * DAY_S


def debug(sandbox: Sandbox, nobody: Asker, token: str) -> dict[str, object]:
    own = f"{sandbox.cast.ads_app.id}|{sandbox.cast.ads_app.secret}"
    found: dict[str, object] = nobody.get("debug_token", input_token=token, access_token=own)["data"]
    return found


def test_debug_token_tells_scopes_expiry_and_trouble(sandbox, nobody):
    token = logs_in(sandbox, nobody, sandbox.cast.viviane)
    good = debug(sandbox, nobody, token)
    trouble.break_login(sandbox.world, sandbox.cast.viviane.id, "password_changed")
    broken = debug(sandbox, nobody, token)

    assert (good["is_valid"], good["type"], good["user_id"]) == (True, "USER", sandbox.cast.viviane.id)
    assert good["scopes"] == list(ADS_SCOPES)
    assert good["granular_scopes"] == [{"scope": scope} for scope in ADS_SCOPES]
    assert good["data_access_expires_at"] == int(NOW) + 90 * DAY_S
    assert broken["is_valid"] is False
    assert broken["error"]["subcode"] == 460  # type: ignore[index] # JSON


def test_debug_token_never_fails_on_rubbish_and_keeps_apps_apart(sandbox, nobody):
    assert debug(sandbox, nobody, "rubbish")["is_valid"] is False
    other = sandbox.cast.whatsapp_app
    asked = {"input_token": sandbox.token.value, "access_token": f"{other.id}|{other.secret}"}
    assert nobody.refused("debug_token", **asked)[0] == 100


def test_a_system_users_token_never_expires(sandbox, nobody):
    own = f"{sandbox.cast.whatsapp_app.id}|{sandbox.cast.whatsapp_app.secret}"

    found = nobody.get("debug_token", input_token=sandbox.number_token.value, access_token=own)["data"]

    assert (found["type"], found["expires_at"]) == ("SYSTEM_USER", 0)
    presence = found["granular_scopes"][-1]
    assert presence["scope"] == "whatsapp_business_manage_events"
    assert sandbox.cast.waba.id not in presence["target_ids"]  # Business Presence ids, which are no WABA ids


@pytest.mark.parametrize(("how", "subcode"), trouble.BREAKS.items())
def test_every_way_a_login_ends_has_its_subcode_and_a_new_login_works(sandbox, nobody, how, subcode):
    thiago = sandbox.cast.thiago

    trouble.break_login(sandbox.world, thiago.id, how)

    assert ads_client(sandbox).refused("me") == (190, subcode)
    assert Asker(sandbox, logs_in(sandbox, nobody, thiago)).get("me")


def test_one_persons_broken_login_leaves_the_others_alone(sandbox, nobody):
    viviane = Asker(sandbox, logs_in(sandbox, nobody, sandbox.cast.viviane))

    trouble.break_login(sandbox.world, sandbox.cast.thiago.id, "password_changed")

    assert viviane.get(f"act_{sandbox.account.id}", fields="name")


def test_tokens_and_data_access_run_out_by_the_clock(sandbox, nobody):
    short = Asker(sandbox, logs_in(sandbox, nobody, sandbox.cast.viviane))
    thiago = ads_client(sandbox)

    sandbox.clock.advance(2 * 3600)
    assert short.refused("me") == (190, 463)
    assert thiago.get("me")
    sandbox.clock.advance(90 * DAY_S)
    assert thiago.refused("me") == (190, 463)
    trouble.heal(sandbox.world, sandbox.cast.thiago.id)
    assert thiago.get("me")


def test_an_expired_token_cannot_be_lengthened(sandbox, nobody):
    short = logs_in(sandbox, nobody, sandbox.cast.viviane)
    sandbox.clock.advance(2 * 3600)

    asked = {**app(sandbox), "grant_type": "fb_exchange_token", "fb_exchange_token": short}

    assert nobody.refused("oauth/access_token", **asked) == (190, 463)


def test_a_revoked_permission_is_missing_at_once(sandbox):
    thiago = ads_client(sandbox)

    assert thiago.answer("me/permissions", "DELETE", permission="business_management").body == {
        "success": True
    }

    listed = {each["permission"]: each["status"] for each in thiago.get("me/permissions")["data"]}
    assert listed["business_management"] == "declined"


def test_deauthorising_ends_the_persons_tokens(sandbox):
    thiago = ads_client(sandbox)

    assert thiago.answer(f"{sandbox.cast.thiago.id}/permissions", "DELETE").body == {"success": True}

    assert thiago.refused("me") == (190, 458)


def test_an_app_has_a_token_of_its_own(sandbox, nobody):
    found = nobody.get("oauth/access_token", **app(sandbox), grant_type="client_credentials")

    assert found["access_token"] == f"{sandbox.cast.ads_app.id}|{sandbox.cast.ads_app.secret}"
    assert Asker(sandbox, found["access_token"]).refused("me") == (100, 33)

"""Profiles over HTTP: from the button to connected, every way to be refused, renewal, and Meta's own callbacks."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.connecting import (
    ADS,
    API,
    Office,
    a_meta_and_service,
    a_service,
    an_office,
    colleague,
    settings_with,
    state_of,
)
from tests.support import SEALER, SECRET_KEY, make_shop, rows
from whatrack import db as database
from whatrack import flow_connections
from whatrack.connections import login, upkeep
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.errors import ConfigError
from whatrack.sandbox import trouble
from whatrack.sandbox.build import WHATSAPP_SCOPES, issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import post_signed_request
from whatrack.tenants import sessions
from whatrack.work import Wakeups
from whatrack.workers import Workers, open_graph

DAY_S = 86_400


@pytest.fixture(scope="module")
def running(conninfo: str) -> Iterator[tuple[Sandbox, str, str]]:
    with a_meta_and_service(conninfo) as found:
        yield found


@pytest.fixture
async def office(db: Database, running: tuple[Sandbox, str, str]) -> AsyncIterator[Office]:
    async with an_office(db, *running) as found:
        yield found


def workers(office: Office) -> Workers:
    settings = settings_with(office.sandbox, office.meta_url, office.base_url, SMTP_HOST="mail.example")
    return Workers(office.db, Wakeups(office.db), settings, SEALER, open_graph(settings))


async def round_of(office: Office, loop: str) -> None:
    """Let one of the loops work until nothing is due."""
    made = workers(office)
    while await getattr(made, loop)():
        pass
    await made._graph.close()


async def make_due(db: Database) -> None:
    async with db.system() as conn:
        await conn.execute("UPDATE meta_connections SET check_after = now(), list_after = now()")


async def test_from_the_button_to_connected(office: Office):
    person = office.sandbox.cast.thiago

    address = await office.dialog()
    asked = {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
    assert asked["scope"] == "ads_read,ads_management,business_management"
    assert asked["redirect_uri"] == f"{office.base_url}{API}/callback"
    where = await office.come_back(await office.answer_dialog(address, person, *ADS))

    assert where == "/settings/meta"
    _, text = await office.page(where)
    assert "Perfil Thiago Gontijo conectado." in text
    assert "3 contas de anúncio visíveis." in text
    found = (await office.connections())["Thiago Gontijo"]
    assert (found["status"], found["ad_accounts"], found["days_left"]) == ("ACTIVE", 3, 59)
    assert (found["declined"], set(ADS) <= set(found["scopes"])) == ([], True)
    deeds = [row["action"] for row in await rows(office.db, "SELECT action FROM audit_log ORDER BY at")]
    assert deeds == ["profile_connected"]


async def test_several_people_connect_and_the_same_one_again_is_renewed(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    before = (await office.connections())["Thiago Gontijo"]
    (sealed,) = await rows(office.db, "SELECT access_token FROM meta_connections")
    await office.connect(cast.viviane)
    await office.connect(cast.thiago)

    found = await office.connections()
    assert set(found) == {"Thiago Gontijo", "Viviane Borges"}
    assert found["Thiago Gontijo"]["id"] == before["id"]
    (newer,) = await rows(office.db, "SELECT access_token FROM meta_connections WHERE id = %s", before["id"])
    assert newer["access_token"] != sealed["access_token"]


async def test_a_login_configuration_takes_the_place_of_the_permissions(
    db: Database, conninfo: str, running: tuple[Sandbox, str, str]
):
    sandbox, url, _ = running
    with a_service(conninfo, sandbox, url, META_LOGIN_CONFIG_ID="configuration-ads") as base_url:
        async with an_office(db, sandbox, url, base_url) as office:
            address = await office.dialog()
            assert "config_id=configuration-ads" in address
            assert "scope=" not in address
            await office.come_back(await office.answer_dialog(address, sandbox.cast.thiago))
            assert (await office.connections())["Thiago Gontijo"]["status"] == "ACTIVE"


async def test_declined_permissions_are_named_and_can_be_asked_for_again(office: Office):
    person = office.sandbox.cast.thiago
    await office.connect(person, "ads_read")
    found = (await office.connections())[person.name]
    assert (found["status"], found["declined"]) == ("ACTIVE", ["ads_management", "business_management"])
    _, text = await office.page("/settings/meta")
    assert "ads_management" in text
    assert "/connect?again=true" in text

    await office.connect(person, *ADS, again=True)
    assert (await office.connections())[person.name]["declined"] == []


async def test_a_profile_without_ads_read_is_kept_and_says_what_is_missing(office: Office):
    person = office.sandbox.cast.thiago
    await office.connect(person, "business_management")
    found = (await office.connections())[person.name]
    assert (found["status"], found["status_reason"]) == ("INVALID_SCOPES", "ads_read_missing")
    _, text = await office.page("/settings/meta")
    assert "Faltam permissões" in text
    assert "Falta a permissão ads_read" in text


async def test_a_cancelled_dialog_says_so_and_its_state_is_used_up(office: Office):
    address = await office.dialog()
    back = await office.answer_dialog(address, office.sandbox.cast.thiago, cancel=True)
    where = await office.come_back(back)
    assert where == "/settings/meta?problem=login_cancelled"
    _, text = await office.page(where)
    assert "Você cancelou no Facebook." in text
    assert await office.come_back(back) == "/settings/meta?problem=state_unknown"


async def test_a_state_works_once_for_whom_and_where_it_was_made(office: Office):
    person = office.sandbox.cast.thiago
    back = await office.answer_dialog(await office.dialog(), person, *ADS)

    other = await make_shop(office.db, "outra")
    async with colleague(office) as same, colleague(office, shop=other) as elsewhere:
        assert await elsewhere.come_back(back) == "/settings/meta?problem=state_unknown"
        assert await same.come_back(back) == "/settings/meta?problem=state_foreign"
    assert await office.come_back(back) == "/settings/meta?problem=state_unknown"  # used up by the attempt
    forged = back.replace(state_of(back), "x" * 43)
    assert await office.come_back(forged) == "/settings/meta?problem=state_unknown"
    assert await office.connections() == {}


async def test_a_state_is_bound_to_the_browser(office: Office):
    back = await office.answer_dialog(await office.dialog(), office.sandbox.cast.thiago, *ADS)
    async with office.db.system() as conn:
        (row,) = await (await conn.execute("SELECT user_id FROM sessions")).fetchall()
        token = await sessions.start(
            conn, row[0], agent="another", address="127.0.0.1", organization_id=office.shop.id
        )
    parts = urlsplit(back)
    jar = aiohttp.CookieJar(unsafe=True)
    async with (
        aiohttp.ClientSession(office.base_url, cookies={"whatrack": token}, cookie_jar=jar) as other,
        other.get(f"{parts.path}?{parts.query}", allow_redirects=False) as answer,
    ):
        assert answer.headers["location"] == "/settings/meta?problem=state_foreign"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?code=x",
        "?code=x&state=y",
        "?state=y",
        "?code=x&state=" + "y" * 9000,
        "?state=y&code=" + "x" * 9000,
        "?code=%00&state=%00",
    ],
)
async def test_whatever_the_callback_is_called_with_ends_on_the_settings_page(office: Office, query: str):
    assert await office.come_back(f"{API}/callback{query}") == "/settings/meta?problem=state_unknown"


async def test_a_late_answer_is_refused(office: Office):
    back = await office.answer_dialog(await office.dialog(), office.sandbox.cast.thiago, *ADS)
    async with office.db.system() as conn:
        await conn.execute("UPDATE oauth_states SET expires_at = now() - interval '1 second'")
    assert await office.come_back(back) == "/settings/meta?problem=state_expired"


async def test_a_code_of_another_app_or_used_before_is_refused(office: Office):
    sandbox, dialog = office.sandbox, await office.dialog()
    of_other = dialog.replace(sandbox.cast.ads_app.id, sandbox.cast.whatsapp_app.id)
    back = await office.answer_dialog(of_other, sandbox.cast.thiago, *ADS)
    assert await office.come_back(back) == "/settings/meta?problem=code_used"

    good = await office.answer_dialog(await office.dialog(), sandbox.cast.thiago, *ADS)
    fresh = state_of(await office.dialog())
    await office.come_back(good)
    again = good.replace(state_of(good), fresh)
    assert await office.come_back(again) == "/settings/meta?problem=code_used"


async def test_without_the_apps_settings_the_page_says_which_and_nothing_breaks(
    db: Database, conninfo: str, running: tuple[Sandbox, str, str]
):
    sandbox, url, _ = running
    with a_service(conninfo, sandbox, url, META_APP_SECRET=None) as base_url:
        async with an_office(db, sandbox, url, base_url) as office:
            _, text = await office.page("/settings/meta")
            assert "falta nesta instalação: META_APP_SECRET" in text
            assert f"{office.base_url}{API}/callback" in text
            async with office.browser.get(f"{API}/connect", allow_redirects=False) as answer:
                assert answer.headers["location"] == "/settings/meta?problem=login_not_set"
            status, _ = await office.call("POST", "/deauthorize", data={"signed_request": "a.b"})
            assert status == 400
            # A pasted token still works: it is asked about by itself.
            status, found = await office.call(
                "POST", "/connections", json={"access_token": sandbox.token.value}
            )
            assert (status, found["status"]) == (200, "ACTIVE")


async def test_the_api_takes_a_code_and_a_pasted_token(office: Office):
    cast = office.sandbox.cast
    back = await office.answer_dialog(await office.dialog(), cast.viviane, *ADS)
    code = parse_qs(urlsplit(back).query)["code"][0]
    body = {"code": code, "state": state_of(back)}
    status, found = await office.call("POST", "/connections", json=body)
    assert (status, found["fb_user_name"], found["ad_accounts"]) == (200, "Viviane Borges", 2)

    pasted = {"access_token": office.sandbox.token.value}
    status, found = await office.call("POST", "/connections", json=pasted)
    assert (status, found["fb_user_name"], found["ad_accounts"]) == (200, "Thiago Gontijo", 3)
    for bad in ({}, {"code": "x"}, {"code": "x", "state": "y", "access_token": "z"}, {"token": "x"}):
        assert (await office.call("POST", "/connections", json=bad))[0] == 422


async def test_a_system_users_token_of_another_app_never_expires_and_carries_no_proof(office: Office):
    sandbox = office.sandbox
    token = issue_token(sandbox.world, sandbox.cast.whatsapp_app, sandbox.cast.system_user, (*ADS, *WHATSAPP_SCOPES), None, kind="SYSTEM_USER")  # fmt: skip
    token.data_access_expires_at = 0
    status, found = await office.call("POST", "/connections", json={"access_token": token.value})
    assert (status, found["token_kind"], found["days_left"]) == (200, "SYSTEM_USER", None)
    assert found["token_expires_at"] is None


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("EAA curto", "token_malformed"),
        ("EAA" + "x" * 100, "token_invalid"),
        ("app", "token_kind"),
        ("broken", "password_changed"),
    ],
)
async def test_a_pasted_token_that_is_no_good_is_refused_with_the_reason(
    office: Office, token: str, code: str
):
    sandbox = office.sandbox
    app = sandbox.cast.ads_app
    if token == "broken":
        trouble.break_login(sandbox.world, sandbox.cast.thiago.id, "password_changed")
    value = {"app": f"{app.id}|{app.secret}", "broken": sandbox.token.value}.get(token, token)
    status, found = await office.call("POST", "/connections", json={"access_token": value})
    assert (status, found["code"]) == (422, code)
    assert value not in str(found)
    status, text, _ = await office.post("/settings/meta/token", access_token=value)
    assert status == 422
    assert 'id="access_token-error"' in text
    assert value not in text


async def test_no_token_stands_in_a_page_an_answer_or_the_database(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    tokens = list(office.sandbox.world.tokens)
    texts = [(await office.page("/settings/meta"))[1], str(await office.get("/connections"))]
    texts += [
        str(await rows(office.db, "SELECT * FROM meta_connections")),
        str(await office.get("/ad-accounts")),
    ]
    texts.append(str(await rows(office.db, "SELECT * FROM audit_log")))
    assert tokens
    assert [token for token in tokens for text in texts if token in text] == []


@pytest.mark.parametrize("role", ["viewer", "agent"])
async def test_only_admins_connect_check_and_disconnect(office: Office, role: str):
    await office.connect(office.sandbox.cast.thiago)
    profile = (await office.connections())["Thiago Gontijo"]["id"]
    async with colleague(office, role) as other:
        assert (await other.call("GET", "/connections"))[0] == 200
        assert (await other.call("GET", "/connect", allow_redirects=False))[0] == 403
        assert (await other.call("POST", "/connections", json={"access_token": "x" * 30}))[0] == 403
        assert (await other.call("DELETE", f"/connections/{profile}"))[0] == 403
        assert (await other.call("GET", "/ad-accounts", params={"refresh": "true"}))[0] == 403
        assert (await other.post("/settings/meta/refresh"))[0] == 403
        assert (await other.post(f"/settings/meta/profiles/{profile}/check"))[0] == 403
        _, text = await other.page("/settings/meta")
        assert "Adicionar perfil" not in text


async def test_another_organizations_profile_is_not_there(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    profile = (await office.connections())["Thiago Gontijo"]["id"]
    other = await make_shop(office.db, "outra")
    async with colleague(office, "owner", other) as stranger:
        assert (await stranger.get("/connections"))["data"] == []
        assert (await stranger.call("DELETE", f"/connections/{profile}"))[0] == 404
        assert (await stranger.page(f"/settings/meta/profiles/{profile}/remove"))[0] == 404
        assert (await stranger.post(f"/settings/meta/profiles/{profile}/check"))[0] == 404


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("expired", "token_expired"),
        ("password_changed", "password_changed"),
        ("app_removed", "app_removed"),
        ("checkpoint", "checkpoint"),
    ],
)
async def test_a_dead_token_is_told_and_leaves_the_other_profile_working(
    office: Office, how: str, reason: str
):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    trouble.break_login(office.sandbox.world, cast.thiago.id, how)
    await make_due(office.db)
    await round_of(office, "_check")

    found = await office.connections()
    assert (found["Thiago Gontijo"]["status"], found["Thiago Gontijo"]["status_reason"]) == (
        "EXPIRED",
        reason,
    )
    assert found["Viviane Borges"]["status"] == "ACTIVE"
    account = await office.account()
    assert {each["fb_user_name"]: each["status"] for each in account["connections"]} == {
        "Thiago Gontijo": "EXPIRED",
        "Viviane Borges": "ACTIVE",
    }
    status, listed = await office.call("GET", f"/ad-accounts/{account['ad_account_id']}/datasets")
    assert status == 200  # Viviane's token took over
    assert len(listed["data"]) == 3
    _, text = await office.page("/settings/meta")
    assert "Token inválido" in text
    assert "Reconectar" in text

    # What is mended at Meta is seen at the next check.
    trouble.heal(office.sandbox.world, cast.thiago.id)
    await make_due(office.db)
    await round_of(office, "_check")
    assert (await office.connections())["Thiago Gontijo"]["status"] == "ACTIVE"


async def test_a_revoked_permission_is_told(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    for name in ("ads_read", "ads_management"):
        trouble.revoke_permission(office.sandbox.world, cast.thiago.id, name)
    await make_due(office.db)
    await round_of(office, "_check")
    found = (await office.connections())["Thiago Gontijo"]
    assert (found["status"], found["status_reason"]) == ("INVALID_SCOPES", "ads_read_missing")
    assert "ads_read" in found["declined"]


@pytest.mark.parametrize(
    "fault", [{"kind": "server_error"}, {"kind": "throttle", "code": 4}, {"kind": "drop_request"}]
)
async def test_trouble_at_meta_never_ends_a_profile(office: Office, fault: dict[str, Any]):
    await office.connect(office.sandbox.cast.thiago)
    office.sandbox.faults.inject(times=None, **fault)
    await make_due(office.db)
    await round_of(office, "_check")
    await round_of(office, "_list")
    found = (await office.connections())["Thiago Gontijo"]
    assert (found["status"], found["ad_accounts"]) == ("ACTIVE", 3)
    assert found["list_error"]
    office.sandbox.faults.clear()


async def test_a_long_lived_token_is_exchanged_in_its_last_ten_days(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    (before,) = await rows(office.db, "SELECT access_token, token_expires_at FROM meta_connections")
    await make_due(office.db)
    await round_of(office, "_check")
    (same,) = await rows(office.db, "SELECT access_token FROM meta_connections")
    assert same["access_token"] == before["access_token"]

    value = SEALER.open(before["access_token"])
    office.sandbox.world.tokens[value].expires_at = office.sandbox.clock() + 5 * DAY_S
    await make_due(office.db)
    await round_of(office, "_check")
    (after,) = await rows(office.db, "SELECT access_token, token_expires_at, status FROM meta_connections")
    assert after["access_token"] != before["access_token"]
    assert (after["token_expires_at"] - before["token_expires_at"]).days in (0, 1)
    assert after["status"] == "ACTIVE"


async def test_an_exchange_that_does_not_say_when_the_token_ends_is_asked_about(office: Office):
    office.sandbox.faults.inject("no_expires_in", times=None)
    back = await office.answer_dialog(await office.dialog(), office.sandbox.cast.thiago, *ADS)
    await office.come_back(back)
    assert (await office.connections())["Thiago Gontijo"]["days_left"] == 59  # debug_token told


async def test_people_are_told_ten_three_and_one_day_before_a_profile_ends(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    told = []
    for days in (20, 9, 8, 2, 0.5, 0.4):
        async with office.db.system() as conn:
            await conn.execute(
                "UPDATE meta_connections SET token_expires_at = now() + interval '1 day' * %s", [days]
            )
        await round_of(office, "_remind")
        told.append((await rows(office.db, "SELECT count(*) AS n FROM emails"))[0]["n"])
    assert told == [0, 1, 1, 2, 3, 3]
    (mail, *_) = await rows(office.db, "SELECT sealed FROM emails")
    letter = SEALER.open(mail["sealed"])
    assert "Thiago Gontijo" in letter
    assert f"/in/{office.shop.organization.slug}/settings/meta" in letter  # its own, whichever was on screen
    _, text = await office.page("/settings/meta")
    assert "Expira hoje" in text


async def test_disconnecting_keeps_the_accounts_settings_and_another_profile_takes_over(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    account = await office.account()
    assert (await office.configure(is_active=True, pixel_id=None, version=account["version"]))[0] == 200
    thiago = (await office.connections())["Thiago Gontijo"]["id"]
    assert (await office.account())["connection_id"] == thiago

    assert (await office.call("DELETE", f"/connections/{thiago}"))[0] == 204

    found = await office.account()
    assert (found["is_active"], found["connection_id"]) == (True, None)
    assert [each["fb_user_name"] for each in found["connections"]] == ["Viviane Borges"]
    await make_due(office.db)
    await round_of(office, "_list")
    found = await office.account()
    assert found["connection_id"] == (await office.connections())["Viviane Borges"]["id"]
    assert (await office.call("DELETE", f"/connections/{thiago}"))[0] == 404


async def test_the_page_asks_before_it_disconnects_and_names_what_stops(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    await office.configure(is_active=True)
    profile = (await office.connections())["Thiago Gontijo"]["id"]
    _, text = await office.page(f"/settings/meta/profiles/{profile}/remove")
    assert "Clínica Sorriso" in text
    status, _, where = await office.post(f"/settings/meta/profiles/{profile}/remove")
    assert (status, where) == (303, "/settings/meta")
    assert await office.connections() == {}


async def test_a_person_who_removes_the_app_is_told_by_meta(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    now = office.sandbox.clock()
    url = f"{office.base_url}{API}/deauthorize"
    assert (await post_signed_request(url, "another secret", cast.thiago.id, now))[0] == 400
    assert (await office.connections())["Thiago Gontijo"]["status"] == "ACTIVE"

    assert (await post_signed_request(url, cast.ads_app.secret, cast.thiago.id, now))[0] == 200

    found = await office.connections()
    assert (found["Thiago Gontijo"]["status"], found["Thiago Gontijo"]["status_reason"]) == (
        "EXPIRED",
        "app_removed",
    )
    assert found["Viviane Borges"]["status"] == "ACTIVE"
    (row,) = await rows(office.db, "SELECT access_token FROM meta_connections WHERE status = 'EXPIRED'")
    assert row["access_token"] is None
    await office.page("/settings/meta")  # reads as ever


async def test_a_person_who_wants_their_data_gone_sees_that_it_is(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    url = f"{office.base_url}{API}/data-deletion"
    status, text = await post_signed_request(url, cast.ads_app.secret, cast.thiago.id, office.sandbox.clock())
    body = json.loads(text)
    assert status == 200
    assert body["url"] == f"{office.base_url}/data-deletion/{body['confirmation_code']}"

    assert await office.connections() == {}
    async with aiohttp.ClientSession() as stranger:
        async with stranger.get(body["url"], headers={"Accept-Language": "pt-BR"}) as answer:
            assert answer.status == 200
            assert "Dados apagados." in await answer.text()
        async with stranger.get(f"{office.base_url}/data-deletion/unknown") as answer:
            assert answer.status == 404
    assert len(await rows(office.db, "SELECT * FROM meta_ad_accounts")) == 3
    for forged in ({}, {"signed_request": "a.b"}, {"signed_request": "é" * 99}):
        assert (await office.call("POST", "/data-deletion", data=forged))[0] == 400


async def test_keys_are_changed_without_a_pause(office: Office):
    await office.connect(office.sandbox.cast.thiago)
    newer_key = "another-planted-secret-key-of-32-characters"
    both = Sealer([newer_key, SECRET_KEY])
    assert await flow_connections.reseal(office.db, both) == 1
    assert await flow_connections.reseal(office.db, both) == 0

    (row,) = await rows(office.db, "SELECT access_token FROM meta_connections")
    assert Sealer([newer_key]).open(row["access_token"]) in office.sandbox.world.tokens
    with pytest.raises(ConfigError):
        SEALER.open(row["access_token"])


async def test_a_reconnection_is_not_undone_by_a_check_that_was_under_way(office: Office):
    """The check began with the old, dead token; meanwhile the person connected anew."""
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await make_due(office.db)
    async with office.db.system() as conn:
        due = await upkeep.claim_check(conn)
    assert due is not None
    trouble.break_login(office.sandbox.world, cast.thiago.id, "password_changed")
    graph = open_graph(settings_with(office.sandbox, office.meta_url, office.base_url))
    async with office.db.system() as conn:
        now = await database.now(conn)
    found = await login.check(graph, office.keys, due.held, due.declined, now)
    await graph.close()
    assert found.status == "EXPIRED"
    await office.connect(cast.thiago)
    async with office.db.tenant(office.shop.id) as conn:
        await upkeep.settle(conn, due.held, found)
    assert (await office.connections())["Thiago Gontijo"]["status"] == "ACTIVE"


async def test_the_page_checks_a_profile_at_once(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    profile = (await office.connections())["Thiago Gontijo"]["id"]
    trouble.break_login(office.sandbox.world, cast.thiago.id, "password_changed")
    _, _, where = await office.post(f"/settings/meta/profiles/{profile}/check")
    _, text = await office.page(where)
    assert "A senha do Facebook mudou." in text
    trouble.heal(office.sandbox.world, cast.thiago.id)
    _, _, where = await office.post(f"/settings/meta/profiles/{profile}/check")
    _, text = await office.page(where)
    assert "Thiago Gontijo funciona." in text

"""Ad accounts over HTTP: one list over all profiles, the dataset's choice, two people at once, and Meta away."""

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.connecting import ADS, Office, a_meta_and_service, a_service, an_office, colleague
from tests.support import make_shop, rows
from whatrack.connections import ad_accounts, profiles
from whatrack.db import Database
from whatrack.sandbox import trouble
from whatrack.sandbox.build import WHATSAPP_SCOPES, add_account, issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.state import Dataset
from whatrack.units import NAME_LENGTH


@pytest.fixture(scope="module")
def running(conninfo: str) -> Iterator[tuple[Sandbox, str, str]]:
    with a_meta_and_service(conninfo) as found:
        yield found


@pytest.fixture
async def office(db: Database, running: tuple[Sandbox, str, str]) -> AsyncIterator[Office]:
    async with an_office(db, *running) as found:
        yield found


@pytest.fixture
async def both(office: Office) -> Office:
    """Thiago sees three accounts, Viviane two; they share one."""
    await office.connect(office.sandbox.cast.thiago)
    await office.connect(office.sandbox.cast.viviane)
    return office


def pixel(office: Office, name: str) -> Dataset:
    return next(each for each in office.sandbox.world.all(Dataset) if name in each.name)


async def names(office: Office, **params: str) -> list[str]:
    found = await office.get("/ad-accounts", **params)
    return [each["ad_account_name"] for each in found["data"]]


async def test_an_account_that_two_profiles_see_is_one_row_that_names_both(both: Office):
    found = await both.get("/ad-accounts")
    assert [each["ad_account_name"] for each in found["data"]] == [
        "Clínica Sorriso",
        "Clínica Sorriso Manaus",
        "Horizonte Tóquio",
        "Horizonte US",
    ]
    shared = found["data"][0]
    assert [each["fb_user_name"] for each in shared["connections"]] == ["Thiago Gontijo", "Viviane Borges"]
    assert (shared["ad_account_id"], shared["meta_account_id"]) == (
        f"act_{both.sandbox.account.id}",
        both.sandbox.account.id,
    )
    assert [(each["account_status"], each["currency"]) for each in found["data"]] == [
        ("ACTIVE", "BRL"),
        ("ACTIVE", "BRL"),
        ("DISABLED", "JPY"),
        ("UNSETTLED", "USD"),
    ]
    assert shared["timezone_name"] == "America/Sao_Paulo"
    assert (found["listed_at"] is not None, found["stale"]) == (True, {})
    _, text = await both.page("/settings/meta")
    for words in ("Thiago Gontijo, Viviane Borges", "Pagamento pendente", "Desativada pela Meta"):
        assert words in " ".join(
            text.replace("</span>", "").replace('<span class="wrap-anywhere">', "").split()
        )


async def test_the_list_is_searched_filtered_and_paged(both: Office):
    assert await names(both, text="SORRISO") == ["Clínica Sorriso", "Clínica Sorriso Manaus"]
    digits = both.sandbox.account.id
    for text in (digits[:6], digits, f"act_{digits}"):
        assert "Clínica Sorriso" in await names(both, text=text)
    viviane = (await both.connections())["Viviane Borges"]["id"]
    assert await names(both, connection=viviane) == ["Clínica Sorriso", "Horizonte Tóquio"]
    assert await names(both, active="true") == []
    assert (await both.call("GET", "/ad-accounts", params={"sort": "x"}))[0] == 422
    for cursor in ("x", urlsafe_b64encode(f"{uuid4()}a\0b".encode()).decode()):
        assert (await both.call("GET", "/ad-accounts", params={"cursor": cursor}))[0] == 422
        assert (await both.page(f"/settings/meta?after={cursor}"))[0] == 200

    seen: list[str] = []
    following: dict[str, str] = {}
    while True:
        found = await both.get("/ad-accounts", limit="1", **following)
        seen += [each["ad_account_name"] for each in found["data"]]
        if found["next"] is None:
            break
        following = {"cursor": found["next"]}
    assert seen == await names(both)


@pytest.mark.parametrize("text", ["toquio", "TÓQUIO", "tóq", "horizonte to"])
async def test_accounts_are_found_however_accents_are_typed(both: Office, text: str):
    found = await both.get("/ad-accounts", text=text)
    assert [each["ad_account_name"] for each in found["data"]] == ["Horizonte Tóquio"]


async def test_accounts_are_listed_in_the_order_of_a_dictionary(both: Office):
    longest = "🌵" * NAME_LENGTH
    names = [longest, longest, longest, "Zebra", "Ótica Boa Vista", "água & sol", "Ícone", "Otica Antiga"]
    async with both.db.tenant(both.shop.id) as conn:
        await conn.execute("UPDATE meta_connections SET list_after = now() + interval '1 hour'")
        (profile, *_) = await profiles.everyone(conn, both.shop.id)
        found = [
            ad_accounts.Listed(f"act_90{place}", name, 1, "BRL", "America/Sao_Paulo", None)
            for place, name in enumerate(names)
        ]
        await ad_accounts.store(conn, both.shop.id, profile.id, found)
    listed, following = [], ""
    while True:
        page = await both.get(
            "/ad-accounts",
            connection=str(profile.id),
            limit="2",
            **({"cursor": following} if following else {}),
        )
        listed += [each["ad_account_name"] for each in page["data"]]
        if (following := page["next"] or "") == "":
            break
    assert listed == ["água & sol", "Ícone", "Otica Antiga", "Ótica Boa Vista", "Zebra", *[longest] * 3]


async def test_a_name_longer_than_an_index_holds_is_cut(office: Office):
    person, sandbox = office.sandbox.cast.thiago, office.sandbox
    name = "".join(chr(0x20000 + 37 * place) for place in range(1000))  # hardly to be compressed
    person.account_ids.append(
        add_account(sandbox.world, name, sandbox.cast.agency.id, sandbox.cast.number.id).id
    )
    await office.connect(person)

    found = await office.get("/ad-accounts", text=name[:50])
    assert [each["ad_account_name"] for each in found["data"]] == [name[:NAME_LENGTH]]


async def test_a_thousand_accounts_come_in_pages_of_few_calls(office: Office):
    person = office.sandbox.cast.thiago
    for place in range(997):
        account = add_account(office.sandbox.world, f"Conta {place:04}", office.sandbox.cast.agency.id, office.sandbox.cast.number.id)  # fmt: skip
        person.account_ids.append(account.id)
    await office.connect(person)
    async with office.db.system() as conn:  # as if never read
        await conn.execute("DELETE FROM meta_ad_accounts")
        await conn.execute("UPDATE meta_connections SET listed_at = NULL, list_after = now()")

    calls = office.sandbox.faults.inject("usage", percent=1, path="me/adaccounts", times=None)
    found = await office.get("/ad-accounts", limit="200")
    assert calls.taken == 2
    assert (len(found["data"]), found["next"] is not None) == (200, True)
    assert (await office.connections())[person.name]["ad_accounts"] == 1000
    _, text = await office.page("/settings/meta?q=conta+09")
    assert calls.taken == 2  # the list is kept
    assert text.count('role="switch"') == 50
    assert "Próximas 50" in text


async def test_an_account_is_turned_on_with_a_linked_dataset_and_the_route_is_shown(both: Office):
    own = both.sandbox.cast.waba.dataset_id or ""
    account = await both.account()
    listed = (await both.get(f"/ad-accounts/{account['id']}/datasets"))["data"]
    assert {each["name"]: each["is_linked"] for each in listed} == {
        "Pixel do site": False,
        "Clínica Sorriso Event Data": False,
        "Eventos antigos (CRM)": False,
    }  # nobody gave a token for the number yet: its dataset is not known
    async with both.db.tenant(both.shop.id) as conn:
        await conn.execute("UPDATE whatsapp_numbers SET dataset_id = %s", [own])
    listed = (await both.get(f"/ad-accounts/{account['id']}/datasets"))["data"]
    assert (listed[0]["id"], listed[0]["is_linked"], listed[0]["name"]) == (
        own,
        True,
        "Clínica Sorriso Event Data",
    )

    status, found = await both.configure(is_active=True, pixel_id=own, version=account["version"])
    assert (status, found["is_active"], found["pixel_id"], found["version"]) == (200, True, own, 2)
    assert found["pixel_name"] == "Clínica Sorriso Event Data"
    (route,) = found["routes"]
    assert route == {
        "waba_id": both.sandbox.cast.waba.id,
        "dataset_id": own,
        "source": "account",
        "token_of": "profile",
        "missing": [],
    }
    _, text = await both.page("/settings/meta")
    assert "Conta Clínica Sorriso" not in text
    assert own in text
    actions = [row["action"] for row in await rows(both.db, "SELECT action FROM audit_log ORDER BY at")]
    assert actions[-1] == "account_on"


async def test_an_unlinked_dataset_counts_only_once_somebody_confirmed_it(both: Office):
    site = pixel(both, "Pixel do site").id
    status, found = await both.configure(is_active=True, pixel_id=site)
    assert (status, found["pixel_id"], found["pixel_name"]) == (200, site, "Pixel do site")
    (route,) = found["routes"]
    assert route["missing"] == ["no_dataset", "pixel_not_linked"]
    status, found = await both.configure(is_active=True, pixel_id=site, confirm_unlinked=True)
    (route,) = found["routes"]
    assert (route["dataset_id"], route["missing"]) == (site, [])


async def test_what_is_left_out_stays_and_null_means_the_whatsapps_own(both: Office):
    site = pixel(both, "Pixel do site").id
    await both.configure(is_active=True, pixel_id=site)
    assert (await both.configure(is_active=False))[1]["pixel_id"] == site
    assert (await both.configure(is_active=True, pixel_id=None))[1]["pixel_id"] is None


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("waba", "pixel_is_waba"),
        ("phone", "pixel_is_phone"),
        ("other waba", "pixel_is_waba"),
        ("other phone", "pixel_is_phone"),
        ("account", "pixel_is_account"),
        ("other account", "pixel_is_account"),
        ("ad", "pixel_is_other"),
        ("nothing", "pixel_not_visible"),
        ("text", "pixel_malformed"),
    ],
)
async def test_an_id_that_is_no_dataset_is_refused_with_what_it_is(office: Office, which: str, code: str):
    sandbox, cast = office.sandbox, office.sandbox.cast
    await office.connect(cast.thiago, "ads_read", "whatsapp_business_management")
    pasted = {
        "waba": cast.waba.id,
        "phone": cast.number.id,
        "other waba": cast.other_waba.id,
        "other phone": cast.other_number.id,
        "account": sandbox.account.id,
        "other account": cast.thiago.account_ids[1],
        "ad": sandbox.ads()[0].id,
        "nothing": "7999999999999999",
        "text": "123/../me",
    }[which]
    status, found = await office.configure(is_active=True, pixel_id=pasted)
    assert (status, found.get("code")) == (422, code), found
    assert found["errors"][0]["field"] == "pixel_id"
    account = await office.account()
    assert (account["is_active"], account["version"]) == (False, 1)
    status, text, _ = await office.post(
        f"/settings/meta/accounts/{account['ad_account_id']}", pixel_id="other", other=pasted, version=1
    )
    assert status == 422
    assert 'id="other-error"' in text
    assert f'value="{pasted}"' in text


async def test_of_two_people_who_change_one_account_the_second_is_told(both: Office):
    account = await both.account()
    async with colleague(both) as other:
        assert (await both.configure(is_active=True, version=account["version"]))[0] == 200
        status, found = await other.configure(is_active=False, version=account["version"])
        assert (status, found["code"]) == (409, "account_stale")
        path = f"/settings/meta/accounts/{account['ad_account_id']}"
        status, text, _ = await other.post(path, pixel_id="own", version=account["version"])
        assert status == 422
        assert "Outra pessoa mudou esta conta" in text
        _, _, where = await other.post(f"{path}/off", version=account["version"])
        assert where == "/settings/meta?problem=account_stale"
        assert (await both.account())["is_active"] is True

        now = (await both.account())["version"]
        asked = [each.configure(is_active=False, version=now) for each in (both, other)]
        found = await asyncio.gather(*asked)
        assert sorted(status for status, _ in found) == [200, 409]


async def test_the_same_decision_again_changes_nothing(both: Office):
    await both.configure(is_active=True)
    status, found = await both.configure(is_active=True, version=2)
    assert (status, found["version"]) == (200, 2)
    assert len(await rows(both.db, "SELECT * FROM audit_log WHERE action LIKE 'account%%'")) == 1


async def test_another_organizations_account_is_not_there(both: Office):
    account = await both.account()
    other = await make_shop(both.db, "outra")
    async with colleague(both, "owner", other) as stranger:
        for name in (account["id"], account["ad_account_id"], account["meta_account_id"]):
            path = f"/ad-accounts/{name}"
            assert (await stranger.call("GET", path))[0] == 404
            assert (await stranger.call("GET", f"{path}/datasets"))[0] == 404
            assert (await stranger.call("PUT", f"{path}/config", json={"is_active": True}))[0] == 404
            assert (await stranger.page(f"/settings/meta/accounts/{name}"))[0] == 404
        assert (await stranger.get("/ad-accounts"))["data"] == []
    assert (await both.call("GET", "/ad-accounts/nonsense"))[0] == 404


async def test_only_admins_decide(both: Office):
    async with colleague(both, "agent") as agent:
        assert (await agent.configure(is_active=True))[0] == 403
        assert await names(agent) == await names(both)
        account = both.sandbox.account.id
        assert (await agent.page(f"/settings/meta/accounts/act_{account}"))[0] == 403
        _, text = await agent.page("/settings/meta")
        assert 'role="switch"' not in text


async def test_somebody_who_sees_no_account_is_told_why(office: Office):
    await office.connect(office.sandbox.cast.carla)
    assert await names(office) == []
    _, text = await office.page("/settings/meta")
    assert "Você entrou com um usuário que não vê a conta." in text


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ({"kind": "error", "code": 10}, "no_advanced_access", "Acesso Avançado"),
        ({"kind": "error", "code": 200}, "permission_missing", "falta de permissão"),
        ({"kind": "server_error"}, "meta_trouble", "A Meta está com problemas"),
        ({"kind": "expired_versions", "versions": ["v26.0"]}, "version_gone", "META_API_VERSION"),
    ],
)
async def test_when_meta_refuses_or_is_away_the_old_list_stays_with_its_age(
    both: Office, fault: dict[str, Any], reason: str, words: str
):
    before = await both.get("/ad-accounts")
    both.sandbox.faults.inject(times=None, path="me/adaccounts", **fault)
    found = await both.get("/ad-accounts", refresh="true")
    assert [each["ad_account_name"] for each in found["data"]] == [
        each["ad_account_name"] for each in before["data"]
    ]
    assert set(found["stale"].values()) == {reason}
    assert found["listed_at"] == before["listed_at"]
    _, text = await both.page("/settings/meta")
    assert words in text
    assert "As contas de Thiago Gontijo, Viviane Borges não puderam ser lidas agora" in text
    assert text.count("O que aparece é de") == 1
    assert {each["status"] for each in (await both.connections()).values()} == {"ACTIVE"}

    both.sandbox.faults.clear()
    _, _, where = await both.post("/settings/meta/refresh")
    _, text = await both.page(where)
    assert "Lista de contas atualizada." in text
    assert (await both.get("/ad-accounts"))["stale"] == {}


async def test_a_throttled_list_waits_until_the_limit_is_over(
    db: Database, conninfo: str, running: tuple[Sandbox, str, str]
):
    """In a service of its own: a limit is remembered as long as its process lives, and tests share one."""
    sandbox, url, _ = running
    with a_service(conninfo, sandbox, url) as base_url:
        async with an_office(db, sandbox, url, base_url) as office:
            await office.connect(sandbox.cast.thiago)
            sandbox.faults.inject("throttle", code=80004, path="me/adaccounts")
            said = []
            for _ in range(2):  # the second time Meta is not even asked
                await office.get("/ad-accounts", refresh="true")
                assert len(await names(office)) == 3
                (row,) = await rows(
                    db,
                    "SELECT list_error, list_after - now() > interval '4 minutes' AS waits FROM meta_connections",
                )
                assert row["waits"]
                said.append(row["list_error"])
            assert said == ["throttled", "limit_nearly_used"]


async def test_a_slow_meta_does_not_hold_the_page(both: Office):
    both.sandbox.faults.inject("slow", seconds=8, times=None, path="me/adaccounts")
    found = await both.get("/ad-accounts", refresh="true")  # answered before Meta does
    assert set(found["stale"].values()) == {"no_answer"}
    both.sandbox.faults.clear()


async def test_listing_again_changes_no_decision_and_follows_what_is_seen(both: Office):
    await both.configure(is_active=True, pixel_id=pixel(both, "Pixel do site").id)
    before = await both.account()
    trouble.set_roles(both.sandbox.world, both.sandbox.cast.viviane.id, [both.sandbox.account.id])
    both.sandbox.account.name, both.sandbox.account.status = "Clínica Sorriso (nova)", 9
    await both.get("/ad-accounts", refresh="true")

    after = await both.account()
    assert (after["ad_account_name"], after["account_status"]) == (
        "Clínica Sorriso (nova)",
        "IN_GRACE_PERIOD",
    )
    for name in ("is_active", "pixel_id", "version", "connection_id"):
        assert after[name] == before[name]
    assert "Horizonte Tóquio" not in await names(both)


async def test_a_dialog_without_a_working_profile_says_so_and_keeps_what_was_chosen(both: Office):
    site = pixel(both, "Pixel do site").id
    await both.configure(is_active=True, pixel_id=site)
    for person in (both.sandbox.cast.thiago, both.sandbox.cast.viviane):
        trouble.break_login(both.sandbox.world, person.id, "password_changed")
    account = await both.account()
    status, found = await both.call("GET", f"/ad-accounts/{account['id']}/datasets")
    assert (status, found["code"]) == (409, "password_changed")
    status, text = await both.page(f"/settings/meta/accounts/{account['id']}")
    assert status == 200
    assert "A lista de datasets não pôde ser lida:" in text
    assert f'value="{site}" checked' in text
    assert {each["status"] for each in (await both.connections()).values()} == {
        "EXPIRED"
    }  # found out on the way
    (route,) = (await both.account())["routes"]
    assert "no_token" in route["missing"]
    assert (await both.configure(is_active=False))[0] == 200  # turning off needs nobody


async def test_the_page_works_without_javascript_from_switch_to_dataset_and_back(both: Office):
    account = await both.account()
    path = f"/settings/meta/accounts/{account['ad_account_id']}"
    _, text = await both.page(f"{path}?back=/settings/meta?q=sorriso")
    assert "não sabemos se é ligado a este WhatsApp" in text
    assert "O dataset deste WhatsApp ainda não é conhecido." in text
    async with both.db.tenant(both.shop.id) as conn:
        await conn.execute("UPDATE whatsapp_numbers SET dataset_id = '7700000000000001'")
    _, text = await both.page(f"{path}?back=/settings/meta?q=sorriso")
    assert "não ligado a este WhatsApp" in text
    assert "não sabemos" not in text
    assert 'name="pixel_id" value="own" checked' in text  # an unlinked one is never chosen beforehand

    site = pixel(both, "Pixel do site").id
    status, text, _ = await both.post(path, pixel_id=site, version=1, back="/settings/meta?q=sorriso")
    assert status == 422
    assert 'name="confirmed"' in text
    status, _, where = await both.post(
        path, pixel_id=site, version=1, confirmed="yes", back="/settings/meta?q=sorriso"
    )
    assert (status, where) == (303, "/settings/meta?q=sorriso")
    _, text = await both.page(where)
    assert "Conta Clínica Sorriso ligada." in text
    assert "Pixel do site" in text
    _, _, where = await both.post(f"{path}/off", version=2, back="https://elsewhere.example/")
    assert where == "/settings/meta"
    assert (await both.account())["is_active"] is False


async def test_the_whatsapps_dataset_is_made_by_a_profile_that_may(office: Office):
    cast = office.sandbox.cast
    office.sandbox.world.grants[(cast.ads_app.id, cast.thiago.id)].clear()
    await office.connect(cast.thiago)
    waba = cast.waba.id
    _, _, where = await office.post(f"/settings/meta/datasets/{waba}")
    assert where == "/settings/meta?problem=events_permission_missing"
    _, text = await office.page(where)
    assert "whatsapp_business_manage_events" in text

    token = issue_token(office.sandbox.world, cast.ads_app, cast.thiago, (*ADS, *WHATSAPP_SCOPES), 5_000_000)
    assert (await office.call("POST", "/connections", json={"access_token": token.value}))[0] == 200
    _, _, where = await office.post(f"/settings/meta/datasets/{waba}")
    _, text = await office.page(where)
    assert f"Dataset do WhatsApp pronto: {cast.waba.dataset_id}." in text, where
    other = await make_shop(office.db, "outra", waba=cast.other_waba.id)
    async with colleague(office, "owner", other) as stranger:
        assert (await stranger.post(f"/settings/meta/datasets/{waba}"))[0] == 404

"""What may go wrong around a profile although its token is good: our own secrets, late callbacks, people who are quicker."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.connecting import ADS, API, Office, a_meta_and_service, a_service, an_office, settings_with
from tests.support import SEALER, rows
from whatrack import db as database
from whatrack.connections import listing, profiles
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.sandbox.build import WHATSAPP_SCOPES, issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import post_signed_request
from whatrack.work import Wakeups
from whatrack.workers import Workers, open_graph


@pytest.fixture(scope="module")
def running(conninfo: str) -> Iterator[tuple[Sandbox, str, str]]:
    with a_meta_and_service(conninfo) as found:
        yield found


@pytest.fixture
async def office(db: Database, running: tuple[Sandbox, str, str]) -> AsyncIterator[Office]:
    async with an_office(db, *running) as found:
        yield found


async def rounds(office: Office, *loops: str, sealer: Sealer = SEALER, **more: Any) -> None:
    """Everything is due; each loop works until nothing is. More: settings that differ."""
    async with office.db.system() as conn:
        await conn.execute("UPDATE meta_connections SET check_after = now(), list_after = now()")
    settings = settings_with(office.sandbox, office.meta_url, office.base_url, **more)
    made = Workers(office.db, Wakeups(office.db), settings, sealer, open_graph(settings))
    for loop in loops:
        while await getattr(made, loop)():
            pass
    await made._graph.close()


async def test_a_wrong_secret_of_our_own_app_ends_no_profile(office: Office):
    """Meta then refuses the app's token with 190: that says nothing of the person's."""
    await office.connect(office.sandbox.cast.thiago)
    await rounds(office, "_check", META_APP_SECRET="it-was-reset-at-meta")
    (row,) = await rows(office.db, "SELECT status, failures FROM meta_connections")
    assert (row["status"], row["failures"]) == ("ACTIVE", 1)

    await rounds(office, "_check")
    (row,) = await rows(office.db, "SELECT status, failures FROM meta_connections")
    assert (row["status"], row["failures"]) == ("ACTIVE", 0)


async def test_a_pasted_token_beside_a_wrong_secret_is_not_called_dead(
    db: Database, conninfo: str, running: tuple[Sandbox, str, str]
):
    sandbox, url, _ = running
    with a_service(conninfo, sandbox, url, META_APP_SECRET="it-was-reset-at-meta") as base_url:
        async with an_office(db, sandbox, url, base_url) as office:
            pasted = {"access_token": sandbox.token.value}
            status, found = await office.call("POST", "/connections", json=pasted)
            assert (status, found["code"]) == (422, "app_unknown")


@pytest.mark.parametrize("code", [2, 100])
async def test_a_short_token_is_kept_when_its_exchange_fails_and_exchanged_before_it_ends(
    office: Office, code: int
):
    office.sandbox.faults.inject("error", code=code, path="oauth/access_token", skip=1, times=3)
    await office.connect(office.sandbox.cast.thiago)
    office.sandbox.faults.clear()
    (short,) = await rows(
        office.db, "SELECT token_expires_at, check_after, now() AS now FROM meta_connections"
    )
    assert short["token_expires_at"] - short["now"] < timedelta(hours=3)
    assert short["check_after"] < short["token_expires_at"]

    await rounds(office, "_check")
    (row,) = await rows(
        office.db, "SELECT status, token_expires_at, check_after, now() AS now FROM meta_connections"
    )
    assert (row["status"], (row["token_expires_at"] - row["now"]).days) == ("ACTIVE", 59)
    assert row["check_after"] - row["now"] > timedelta(hours=11)


async def test_a_pasted_token_of_our_whatsapp_app_is_proved_with_that_apps_secret(office: Office):
    """Everywhere: when it is connected, checked, and used for its accounts and their datasets."""
    world, cast = office.sandbox.world, office.sandbox.cast
    cast.whatsapp_app.require_proof = cast.ads_app.require_proof = True
    cast.system_user.account_ids = [office.sandbox.account.id]
    token = issue_token(
        world, cast.whatsapp_app, cast.system_user, (*ADS, *WHATSAPP_SCOPES), None, kind="SYSTEM_USER"
    )
    status, found = await office.call("POST", "/connections", json={"access_token": token.value})
    assert (status, found.get("status"), found.get("ad_accounts")) == (200, "ACTIVE", 1)

    await rounds(office, "_check", "_list")
    (row,) = await rows(office.db, "SELECT status, failures, list_error FROM meta_connections")
    assert tuple(row.values()) == ("ACTIVE", 0, None)
    status, listed = await office.call("GET", f"/ad-accounts/act_{office.sandbox.account.id}/datasets")
    assert (status, len(listed["data"])) == (200, 3)


async def test_a_callback_that_is_padded_counts_as_one_that_is_not(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    url, now = f"{office.base_url}{API}/deauthorize", office.sandbox.clock() + 1
    answer = await post_signed_request(url, cast.ads_app.secret, cast.thiago.id, now, padded=True)
    assert answer[0] == 200
    assert (await office.connections())["Thiago Gontijo"]["status"] == "EXPIRED"


@pytest.mark.parametrize("path", ["deauthorize", "data-deletion"])
async def test_a_late_or_repeated_callback_leaves_a_newer_login_alone(office: Office, path: str):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    url, secret = f"{office.base_url}{API}/{path}", cast.ads_app.secret
    async with office.db.system() as conn:
        now = (await database.now(conn)).timestamp()
        await conn.execute("UPDATE meta_connections SET connected_at = now() - interval '2 hours'")
    assert (await post_signed_request(url, secret, cast.thiago.id, now - 3600))[0] == 200
    gone = {name: each["status"] for name, each in (await office.connections()).items()}
    assert gone == ({"Thiago Gontijo": "EXPIRED"} if path == "deauthorize" else {})

    await office.connect(cast.thiago)
    assert (await post_signed_request(url, secret, cast.thiago.id, now - 3600))[0] == 200
    assert (await office.connections())["Thiago Gontijo"]["status"] == "ACTIVE"
    assert (await post_signed_request(url, secret, cast.thiago.id, now + 1))[0] == 200
    found = await office.connections()
    assert "Thiago Gontijo" not in found or found["Thiago Gontijo"]["status"] == "EXPIRED"


async def test_whoever_wants_their_data_gone_is_named_nowhere_any_more(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    await office.connect(cast.thiago)
    await office.page("/settings/meta")  # which says once who was connected
    url, now = f"{office.base_url}{API}/data-deletion", office.sandbox.clock() + 1
    assert (await post_signed_request(url, cast.ads_app.secret, cast.thiago.id, now))[0] == 200

    kept = str(await rows(office.db, "SELECT * FROM audit_log"))
    assert "Thiago" not in kept
    assert "Viviane" in kept
    _, text = await office.page("/settings/audit")
    assert "Um perfil do Facebook foi apagado" in text
    assert "Thiago" not in text


async def test_a_profile_that_is_removed_while_lists_are_read_hurts_nobody(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    async with office.db.tenant(office.shop.id) as conn:
        known = await profiles.everyone(conn, office.shop.id)
    thiago = (await office.connections())["Thiago Gontijo"]["id"]
    graph = open_graph(settings_with(office.sandbox, office.meta_url, office.base_url))

    # Between the moment when somebody opened the page and that when its lists are asked for.
    assert (await office.call("DELETE", f"/connections/{thiago}"))[0] == 204
    await listing.refresh(office.db, graph, office.keys, known, within_s=4.0)
    assert set(await office.connections()) == {"Viviane Borges"}

    # And while Meta takes its time.
    await office.connect(cast.thiago)
    async with office.db.tenant(office.shop.id) as conn:
        known = await profiles.everyone(conn, office.shop.id)
    office.sandbox.faults.inject("slow", seconds=0.5, path="me/adaccounts", times=2)
    reading = asyncio.create_task(listing.refresh(office.db, graph, office.keys, known, within_s=4.0))
    await asyncio.sleep(0.2)
    thiago = (await office.connections())["Thiago Gontijo"]["id"]
    assert (await office.call("DELETE", f"/connections/{thiago}"))[0] == 204
    await reading
    await graph.close()
    assert set(await office.connections()) == {"Viviane Borges"}
    seen = await rows(office.db, "SELECT DISTINCT connection_id FROM meta_ad_account_access")
    assert len(seen) == 1


async def test_a_token_that_no_key_opens_is_told_and_stops_neither_pages_nor_loops(office: Office):
    cast = office.sandbox.cast
    await office.connect(cast.thiago)
    await office.connect(cast.viviane)
    lost = Sealer(["a-key-that-somebody-dropped-too-early"]).seal("EAAx")
    async with office.db.system() as conn:
        await conn.execute(
            "UPDATE meta_connections SET access_token = %s WHERE fb_user_name LIKE 'Thiago%%'", [lost]
        )

    await rounds(office, "_check", "_list")

    found = await office.connections()
    assert {name: (each["status"], each["list_error"]) for name, each in found.items()} == {
        "Thiago Gontijo": ("ACTIVE", "key_missing"),
        "Viviane Borges": ("ACTIVE", None),
    }
    status, text = await office.page("/settings/meta")
    assert status == 200
    assert "WHATRACK_SECRET_KEY" in text
    account = await office.account()
    status, listed = await office.call("GET", f"/ad-accounts/{account['ad_account_id']}/datasets")
    assert (status, len(listed["data"])) == (200, 3)  # with Viviane's token


async def test_a_token_that_ran_out_is_told_within_minutes(office: Office):
    """Not at the next check of twelve hours."""
    await office.connect(office.sandbox.cast.thiago)
    (row,) = await rows(office.db, "SELECT access_token FROM meta_connections")
    token = office.sandbox.world.tokens[SEALER.open(row["access_token"])]
    office.sandbox.faults.inject("error", code=2, path="oauth/access_token", times=None)  # no exchange
    token.expires_at = office.sandbox.clock() + 3600
    await rounds(office, "_check")
    (row,) = await rows(office.db, "SELECT check_after - now() AS left FROM meta_connections")
    assert timedelta(minutes=25) < row["left"] < timedelta(minutes=35)
    office.sandbox.faults.clear()


async def test_a_list_that_is_too_much_for_meta_is_asked_for_in_smaller_pages(office: Office):
    office.sandbox.faults.inject("error", code=100, subcode=1487534, path="me/adaccounts", times=2)
    await office.connect(office.sandbox.cast.thiago, *ADS)
    found = (await office.connections())["Thiago Gontijo"]
    assert (found["ad_accounts"], found["list_error"]) == (3, None)

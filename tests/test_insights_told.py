"""Why an account's figures do not come is said by its cause, with what helps, and what is empty is not silent."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.pages_support import get
from tests.roi_world import World, make_world
from tests.support import sign_in
from whatrack.connections.tokens import Sight
from whatrack.db import Database
from whatrack.insights import reasons
from whatrack.insights.fetch import NobodySees
from whatrack.sandbox.state import AdAccount
from whatrack.sandbox.trouble import break_login
from whatrack.units import new_id

PERIOD = "period=custom&since=2026-10-01&until=2026-10-30"


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


@pytest.fixture
async def world(db: Database) -> World:
    return await make_world(db, seed=41, tickets=20)


@pytest.fixture
async def tab(db: Database, world: World, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with await sign_in(db, service, world.shop, "owner") as tab:
        yield tab


async def test_a_dead_profile_is_the_reason_of_every_account_that_it_sees_at_every_try(ledger: Ledger):
    cast = ledger.sandbox.cast
    york = next(each for each in ledger.sandbox.world.all(AdAccount) if each.name == "Horizonte US")
    other = await ledger.add(york, cast.thiago)
    break_login(ledger.sandbox.world, cast.thiago.id, "password_changed")
    for _ in range(2):
        await ledger.due()
        await ledger.fetched()
        for account in (ledger.account, other):
            state = await ledger.state(account)
            assert (state["reason"], state["message"]) == ("token_dead", "Thiago")
            assert {row["reason"] for row in await ledger.days(account)} == {"token_dead"}
    assert ledger.calls() == 1

    await put(ledger.db, "DELETE FROM meta_ad_account_access")
    await ledger.due()
    await ledger.fetched()
    assert (await ledger.state())["reason"] == "no_profile"


async def test_a_profile_whose_time_is_over_is_dead_before_anybody_says_so(ledger: Ledger):
    await put(ledger.db, "UPDATE meta_connections SET token_expires_at = now() - interval '1 hour'")
    await ledger.fetched()

    assert (await ledger.state())["reason"] == "token_dead"
    assert ledger.calls() == 0


def test_whose_permission_is_missing_is_said_where_no_token_is_dead():
    nobody = reasons.miss_of(NobodySees(), 0)
    declined, dead = Sight("Ana", "INVALID_SCOPES"), Sight("Bia", "EXPIRED")

    assert (nobody.reason, nobody.message) == ("no_profile", None)
    assert reasons.of_sights(nobody, [Sight("Caio", "ACTIVE")]) == nobody
    told = [reasons.of_sights(nobody, each) for each in ([declined], [declined, dead])]
    assert [(each.reason, each.message) for each in told] == [
        ("permission_missing", "Ana"),
        ("token_dead", "Bia"),
    ]


async def behind(world: World, db: Database, *stuck: str) -> None:
    """The shop's accounts are off, but for one more behind each of these reasons: nothing of theirs is due for the loops."""
    await put(db, "UPDATE meta_ad_accounts SET is_active = false")
    for place, reason in enumerate(stuck):
        await put(
            db,
            """WITH account AS (INSERT INTO meta_ad_accounts (organization_id, id, ad_account_id, ad_account_name, account_status,
                   currency, timezone_name, is_active, seen_at)
                   VALUES (%s, %s, %s, %s, 1, 'BRL', 'America/Sao_Paulo', true, now()) RETURNING organization_id, id)
               INSERT INTO insight_accounts (organization_id, account_id, next_at, reason, message)
               SELECT organization_id, id, now() + interval '7 minutes', %s, 'Thiago' FROM account""",
            world.shop.id, new_id(), f"act_90{place}", f"Parada {place}", reason,
        )  # fmt: skip


async def test_three_accounts_in_trouble_are_named_and_the_rest_counted(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await behind(world, db, "transient", "throttled", "no_access", "token_dead", "no_profile")
    page = await get(tab, f"/roi?{PERIOD}")

    for place in (2, 3, 4):  # those that a person can do something about
        assert f"Parada {place}:" in page.words
    assert "o token de Thiago não vale mais" in page.words
    assert "Mais 2 contas esperam." in page.words
    assert "Parada 0:" not in page.words
    assert page.text.count('href="/settings/meta">Ver os perfis') == 3


async def test_an_account_that_meta_throttles_goes_on_by_itself_and_the_page_says_when(
    db: Database, world: World, tab: aiohttp.ClientSession
):
    await behind(world, db, "throttled")
    page = await get(tab, f"/roi?{PERIOD}")

    assert "a conta chegou ao limite de consultas. Segue sozinha em 7 minutos." in page.words
    assert "Ver os perfis" not in page.text

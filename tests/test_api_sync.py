"""POST and GET /api/v1/meta-ads/sync: once however often one asks, by those who may, with progress and reasons."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.connecting import Office, a_meta_and_service, an_office, colleague
from tests.conversions import put
from tests.support import make_shop, rows
from whatrack.db import Database
from whatrack.insights import schedule, wishes
from whatrack.insights.sync import LEASE, Syncer
from whatrack.sandbox.machine import Sandbox
from whatrack.workers import open_graph


@pytest.fixture(scope="module")
def meta(conninfo: str) -> Iterator[tuple[Sandbox, str, str]]:
    with a_meta_and_service(conninfo) as made:
        yield made


@pytest.fixture
async def office(db: Database, meta: tuple[Sandbox, str, str]) -> AsyncIterator[Office]:
    sandbox, meta_url, base_url = meta
    async with an_office(db, sandbox, meta_url, base_url) as made:
        await made.connect(sandbox.cast.thiago)
        status, found = await made.configure(is_active=True)
        assert status == 200, found
        yield made


async def fetch(office: Office) -> None:
    """What the loops would do."""
    from tests.connecting import settings_with

    graph = open_graph(settings_with(office.sandbox, office.meta_url, office.base_url))
    async with office.db.system() as conn:
        await schedule.follow_accounts(conn)
    syncer = Syncer(office.db, office.db.system, graph, office.keys, depth=10, looks_s=(0.01,))
    while await syncer.step():
        pass
    await graph.close()


async def ask(office: Office, **wish: Any) -> tuple[int, Any]:
    return await office.call("POST", "/sync", json=wish)


async def test_a_first_reading_is_under_way_and_then_done(office: Office):
    status, begun = await office.call("POST", "/sync")
    assert (status, begun["asked"], begun["under_way"]) == (202, 0, 1)

    await fetch(office)
    found = await office.get("/sync")
    (account,) = found["accounts"]
    assert (account["days"], account["fetched"], account["due"], account["missing"]) == (11, 11, 0, 0)
    assert account["ad_account_id"] == f"act_{office.sandbox.account.id}"
    assert (account["reason"], account["is_running"], found["running"], found["days_due"]) == (
        None,
        False,
        0,
        0,
    )
    assert account["whole_at"]


async def test_a_wish_makes_the_last_days_due_once(office: Office):
    await fetch(office)
    status, begun = await ask(office, days=5)
    assert (status, begun["asked"], begun["progress"]["days_due"]) == (202, 1, 5)

    status, again = await ask(office)
    assert (status, again["asked"], again["under_way"]) == (202, 0, 1)  # not fetched yet: nothing is added
    before = sum(office.sandbox.graph._calls.values())
    await fetch(office)
    assert sum(office.sandbox.graph._calls.values()) == before + 1
    status, refused = await ask(office)
    assert (status, refused["code"]) == (429, "sync_too_soon")


async def days_due(office: Office) -> int:
    (row,) = await rows(office.db, "SELECT count(*) AS n FROM insight_days WHERE due_at <= now()")
    return int(row["n"])


async def test_a_wish_for_more_days_than_are_being_fetched_is_added_to_them(office: Office):
    await fetch(office)
    assert (await ask(office, days=1))[1]["added_days"] == 1
    async with office.db.system() as conn:
        claimed = await schedule.claim(conn, LEASE)
    assert claimed

    status, more = await ask(office, days=9)
    assert (status, more["asked"], more["under_way"], more["added_days"]) == (202, 0, 1, 8)
    assert await days_due(office) == 9
    status, same = await ask(office, days=9)
    assert (status, same["under_way"], same["added_days"]) == (202, 1, 0)

    await put(office.db, "UPDATE insight_accounts SET lease_id = NULL, lease_until = NULL, next_at = now()")
    await fetch(office)
    assert await days_due(office) == 0
    assert (await ask(office, days=9))[0] == 429  # what was taken counts
    status, wider = await ask(office, days=10)  # what is more than that is no repetition
    assert (status, wider["asked"], wider["added_days"]) == (202, 1, 10)


async def test_what_is_wished_while_a_day_is_read_is_fetched_when_that_is_done(office: Office):
    await fetch(office)
    before = {row["day"]: row["fetched_at"] for row in await rows(office.db, "SELECT * FROM insight_days")}
    await ask(office, days=1)
    office.sandbox.faults.inject("slow", seconds=0.6)
    fetching = asyncio.create_task(fetch(office))
    for _ in range(200):
        if await rows(office.db, "SELECT FROM insight_accounts WHERE lease_until > now()"):
            break
        await asyncio.sleep(0.02)
    _, begun = await ask(office, days=6)
    await fetching

    assert (begun["under_way"], begun["added_days"]) == (1, 5)
    after = {row["day"]: row["fetched_at"] for row in await rows(office.db, "SELECT * FROM insight_days")}
    assert sum(after[day] > before[day] for day in before) == 6


async def test_a_wish_under_a_limit_of_metas_waits_for_its_end(office: Office):
    await fetch(office)
    office.sandbox.faults.inject("throttle", minutes=9)
    await ask(office, days=1)
    await fetch(office)

    status, begun = await ask(office, days=7)
    assert (status, begun["throttled"], begun["added_days"]) == (202, 1, 6)
    assert await days_due(office) == 7


async def test_a_minute_later_one_may_ask_again(office: Office):
    await fetch(office)
    await ask(office)
    await fetch(office)
    await put(office.db, "UPDATE insight_accounts SET asked_at = asked_at - interval '61 seconds'")

    status, begun = await ask(office, account=office.sandbox.account.id)
    assert (status, begun["asked"]) == (202, 1)


async def test_what_a_demonstration_asks_for_takes_nobodys_turn(office: Office):
    await fetch(office)
    async with office.db.tenant(office.shop.id) as conn:
        await wishes.hurry(conn, office.shop.id, 6)
    assert await days_due(office) == 6
    await fetch(office)
    assert await days_due(office) == 0

    status, begun = await ask(office)
    assert (status, begun["asked"], begun["added_days"]) == (202, 1, 3)


async def test_a_limit_of_metas_is_not_pushed_against(office: Office):
    await fetch(office)
    office.sandbox.faults.inject("throttle", minutes=9)
    await ask(office)
    await fetch(office)
    calls = sum(office.sandbox.graph._calls.values())
    await put(office.db, "UPDATE insight_accounts SET asked_at = NULL")

    status, begun = await ask(office)
    await fetch(office)
    assert (status, begun["throttled"], begun["asked"]) == (202, 1, 0)
    assert sum(office.sandbox.graph._calls.values()) == calls
    (account,) = begun["progress"]["accounts"]
    assert account["reason"] == "throttled"
    assert begun["progress"]["reasons"] == {"throttled": 1}


async def test_who_may_not_change_may_look_and_not_ask(office: Office):
    async with colleague(office, role="viewer") as viewer:
        status, refused = await ask(viewer)
        assert (status, refused["code"]) == (403, "forbidden")
        assert len((await viewer.get("/sync"))["accounts"]) == 0
    async with colleague(office, role="agent") as agent:
        status, _ = await ask(agent)
        assert status == 202


async def test_accounts_of_others_are_not_there(office: Office):
    await fetch(office)
    other = await make_shop(office.db, "outra")
    async with colleague(office, shop=other) as stranger:
        status, refused = await ask(stranger, account=f"act_{office.sandbox.account.id}")
        assert (status, refused["code"]) == (404, "not_found")
        status, refused = await ask(stranger)
        assert (status, refused["code"]) == (409, "account_inactive")
        assert (await stranger.get("/sync"))["accounts"] == []
    (state,) = await rows(office.db, "SELECT asked_at FROM insight_accounts")
    assert state["asked_at"] is None


@pytest.mark.parametrize("wish", [{"days": 0}, {"days": 29}, {"account": ""}, {"project": "1"}])
async def test_a_wish_that_means_nothing_is_refused(office: Office, wish: dict[str, Any]):
    status, refused = await ask(office, **wish)
    assert (status, refused["code"]) == (422, "bad_value")


async def test_an_account_that_is_off_is_not_asked_for(office: Office):
    await office.configure(is_active=False)

    status, refused = await ask(office, account=f"act_{office.sandbox.account.id}")
    assert (status, refused["code"]) == (409, "account_inactive")

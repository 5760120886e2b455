"""A wish is not lost, whenever it comes: two connections, in every order that the locks leave open."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.support import rows
from whatrack.db import Database
from whatrack.insights import facts, schedule, wishes
from whatrack.insights.facts import SpoiltDay
from whatrack.insights.schedule import Claim, LeaseLost
from whatrack.insights.sync import LEASE
from whatrack.insights.wishes import Asked
from whatrack.tenants.access import Access

DAYS = 9


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        await made.fetched()
        yield made


@pytest.fixture
async def visit(ledger: Ledger) -> Claim:
    """The account, claimed because its newest day was due; that day came, and all that is left is to say so."""
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
    async with ledger.db.system() as conn:
        mine = await schedule.claim(conn, LEASE)
    assert mine
    return mine


async def wish(ledger: Ledger) -> Asked:
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        return await wishes.ask(conn, Access(ledger.desk.shop.id, "agent", "system"), None, DAYS)


async def end(ledger: Ledger, mine: Claim) -> None:
    """What ends a visit that brought everything."""
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        await schedule.done(conn, mine, mine.at + timedelta(days=1))


async def stands(ledger: Ledger, waiting: int, *tasks: asyncio.Task[None]) -> None:
    """Return when so many connections wait for a lock, or one of these is over without waiting."""
    query = """SELECT FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
               WHERE NOT l.granted AND a.datname = current_database()"""
    for _ in range(500):
        if len(await rows(ledger.db, query)) == waiting or any(each.done() for each in tasks):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def is_kept(ledger: Ledger) -> bool:
    """Whether the account's turn comes at once, and brings every day that was wished for."""
    before = {row["day"]: row["fetched_at"] for row in await ledger.days()}
    await ledger.fetched()
    after = {row["day"]: row["fetched_at"] for row in await ledger.days()}
    return len([day for day in before if after[day] > before[day]]) == DAYS


async def test_a_visit_that_ends_while_a_wish_is_being_written_sees_it(ledger: Ledger, visit: Claim):
    """The wish has found the account under way and has not made the days due yet; what holds it up is one of the days."""
    async with ledger.db.tenant(ledger.desk.shop.id) as third:
        await third.execute("SELECT FROM insight_days FOR NO KEY UPDATE")
        asking = asyncio.create_task(wish(ledger))
        await stands(ledger, 1)
        ending = asyncio.create_task(end(ledger, visit))
        await stands(ledger, 2, ending)
    asked = await asking
    await ending

    assert (asked.under_way, asked.added_days) == (1, DAYS)
    assert await is_kept(ledger)


async def test_a_visit_that_ends_behind_a_wish_goes_by_the_days_that_it_made_due(
    ledger: Ledger, visit: Claim
):
    """The wish is written and not committed; the visit's end waits for it at the account."""
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        asked = await wishes.ask(conn, Access(ledger.desk.shop.id, "agent", "system"), None, DAYS)
        ending = asyncio.create_task(end(ledger, visit))
        await stands(ledger, 1)
    await ending

    assert (asked.under_way, asked.added_days) == (1, DAYS)
    assert await is_kept(ledger)


async def test_a_wish_behind_a_visit_that_ends_is_taken_and_begins_another(ledger: Ledger, visit: Claim):
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        await schedule.done(conn, visit, visit.at + timedelta(days=1))
        asking = asyncio.create_task(wish(ledger))
        await stands(ledger, 1)
    asked = await asking

    assert (asked.asked, asked.under_way, asked.added_days) == (1, 0, DAYS)
    assert await is_kept(ledger)


async def test_a_wish_and_a_visit_that_writes_days_wait_for_each_other_in_one_order(
    ledger: Ledger, visit: Claim
):
    """The visit holds the account and has its days still to write; so has the wish."""
    newest = (await ledger.days())[-1]["day"]
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        await schedule.hold(conn, visit)
        asking = asyncio.create_task(wish(ledger))
        await stands(ledger, 1)
        await facts.set_aside(
            conn, visit.account, SpoiltDay(newest, "row_unreadable", None), visit.at + timedelta(hours=1), 1
        )
    asked = await asking
    await end(ledger, visit)

    assert asked.added_days == DAYS
    assert await is_kept(ledger)


async def test_a_visit_whose_lease_went_to_another_does_not_end_it(ledger: Ledger, visit: Claim):
    await put(ledger.db, "UPDATE insight_accounts SET lease_until = now(), next_at = now()")
    async with ledger.db.system() as conn:
        assert await schedule.claim(conn, LEASE)
    before = await ledger.state()
    with pytest.raises(LeaseLost):
        await end(ledger, visit)

    assert await ledger.state() == before


async def test_accounts_that_a_wish_holds_are_planned_the_next_time(ledger: Ledger):
    """A profile that was connected again mends its accounts, but not while somebody asks for them: neither waits."""
    await put(
        ledger.db,
        """UPDATE insight_accounts SET reason = 'token_dead', next_at = now() + interval '3 hours',
           tried_at = now() - interval '1 hour'""",
    )
    await put(ledger.db, "UPDATE meta_connections SET listed_at = now()")
    async with ledger.db.tenant(ledger.desk.shop.id) as conn:
        await schedule.lock(conn, ledger.desk.shop.id, None)
        assert await ledger.plan() == 0
    assert await ledger.plan() == 1

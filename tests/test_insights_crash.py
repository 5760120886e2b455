"""kill -9 at any moment, several processes at once, a lease that was lost: each account-day is whole or it is not there."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from tests.conversions import put
from tests.insights import Ledger, a_ledger
from tests.support import rows
from tests.test_conversions_crash import born
from whatrack.db import Database
from whatrack.insights import schedule
from whatrack.insights.schedule import LeaseLost, Miss
from whatrack.sandbox.state import AdAccount
from whatrack.sandbox.trouble import revise

ROUNDS = 12


@pytest.fixture
async def ledger(db: Database) -> AsyncIterator[Ledger]:
    async with a_ledger(db) as made:
        yield made


async def nursery(ledger: Ledger, conninfo: str) -> Process:
    cast = ledger.sandbox.cast
    arguments = [
        conninfo,
        ledger.desk.graph.base_url,
        cast.ads_app.id,
        cast.ads_app.secret,
        cast.whatsapp_app.secret,
    ]
    command = [sys.executable, "-m", "tests.insights_worker", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=dict(os.environ))


async def every_account(ledger: Ledger) -> list[tuple[AdAccount, UUID]]:
    """All four of the sandbox's accounts, each seen by somebody."""
    people = (ledger.sandbox.cast.thiago, ledger.sandbox.cast.viviane)
    found = [(ledger.sandbox.account, ledger.account)]
    for account in ledger.sandbox.world.all(AdAccount):
        if account is not ledger.sandbox.account:
            seen_by = [each for each in people if account.id in each.account_ids]
            found.append((account, await ledger.add(account, *seen_by)))
    return found


async def whole_or_absent(ledger: Ledger, accounts: Sequence[tuple[AdAccount, UUID]]) -> None:
    """Every day before today that is marked as fetched holds exactly Meta's rows; every other holds none."""
    for account, ours in accounts:
        today = ledger.sandbox.clock.today(account.zone)
        fetched = {row["day"] for row in await ledger.days(ours) if row["fetched_at"] and row["day"] != today}
        kept = {key: each for key, each in (await ledger.facts(ours)).items() if key[0] != today}
        true = {key: each for key, each in ledger.truth(account, but_today=True).items() if key[0] in fetched}
        assert kept == true


async def left(db: Database) -> int:
    (found,) = await rows(db, "SELECT count(*) AS due FROM insight_days WHERE due_at <= now()")
    (planned,) = await rows(
        db, "SELECT count(*) AS due FROM insight_accounts WHERE next_at <= now() OR lease_id IS NOT NULL"
    )
    return int(found["due"]) + int(planned["due"])


async def test_a_worker_that_is_killed_at_any_moment_leaves_whole_days_and_the_rest_due(
    ledger: Ledger, conninfo: str
):
    chance = random.Random(11)
    accounts = await every_account(ledger)
    await ledger.plan()
    ledger.sandbox.faults.inject("slow", seconds=0.08, times=None, path="*/insights")
    parent = await nursery(ledger, conninfo)
    interrupted = 0
    for _ in range(ROUNDS):
        worker = await born(parent)
        await asyncio.sleep(chance.uniform(0.1, 0.5))
        os.kill(worker, signal.SIGKILL)
        interrupted += bool(await left(ledger.db))
        await whole_or_absent(ledger, accounts)
    worker = await born(parent)
    for _ in range(300):
        if not await left(ledger.db):
            break
        await asyncio.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    parent.kill()
    await parent.wait()

    assert interrupted  # it was killed while there was work
    assert await left(ledger.db) == 0
    for account, ours in accounts:
        assert await ledger.is_true(account, ours)
        assert (await ledger.state(ours))["reason"] is None


async def test_several_at_once_share_the_accounts_and_fetch_each_once(ledger: Ledger):
    accounts = await every_account(ledger)
    await ledger.plan()
    workers = [ledger.syncer() for _ in range(8)]
    await asyncio.gather(*(each.step() for each in workers))

    for account, ours in accounts:
        assert await ledger.is_true(account, ours)
    assert {ledger.sandbox.graph._calls[account.id] for account, _ in accounts} == {2}


async def test_who_lost_the_lease_writes_nothing(ledger: Ledger):
    await ledger.plan()
    async with ledger.db.system() as conn:
        late = await schedule.claim(conn, timedelta(0))
    assert late is not None
    await ledger.fetched()
    facts, state = await ledger.facts(), await ledger.state()
    for attempt in (
        schedule.hold,
        lambda conn, mine: schedule.missed(conn, mine, Miss("transient", None, timedelta(1))),
    ):
        async with ledger.db.tenant(ledger.desk.shop.id) as conn:
            with pytest.raises(LeaseLost):
                await attempt(conn, late)

    assert await ledger.facts() == facts
    assert await ledger.state() == state


async def test_a_late_answer_does_not_replace_a_newer_one(ledger: Ledger, conninfo: str):
    """One process asks and is held up past its lease; another reads what Meta restated since; the first goes on."""
    await ledger.fetched()
    await ledger.due()
    ledger.sandbox.faults.inject("slow", seconds=0.6, times=1, path="*/insights")
    parent = await nursery(ledger, conninfo)
    worker = await born(parent)
    for _ in range(500):
        if (await ledger.state())["lease_id"]:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # it has asked
    os.kill(worker, signal.SIGSTOP)
    await asyncio.sleep(0.9)  # Meta has answered, and the lease is over
    held = (await ledger.state())["lease_id"]
    today = ledger.sandbox.clock.today(ledger.sandbox.account.zone)
    revise(ledger.sandbox.world, ledger.sandbox.account.id, today - timedelta(days=20), today, 50)
    await put(ledger.db, "UPDATE insight_accounts SET next_at = now()")
    assert await ledger.syncer().step()
    newer = await ledger.days()
    os.kill(worker, signal.SIGCONT)
    await asyncio.sleep(0.7)
    os.kill(worker, signal.SIGKILL)
    parent.kill()
    await parent.wait()

    assert held
    assert await ledger.days() == newer
    assert await ledger.is_true()


async def test_a_lease_is_kept_while_an_account_takes_long(ledger: Ledger):
    await ledger.plan()
    ledger.sandbox.faults.inject("slow", seconds=0.9, times=1)
    first = asyncio.create_task(ledger.syncer(lease=timedelta(seconds=0.4)).step())
    await asyncio.sleep(0.7)  # longer than the lease
    assert not await ledger.syncer().step()
    await first

    assert await ledger.is_true()


async def test_a_process_that_died_is_replaced_when_its_lease_is_over(ledger: Ledger):
    await ledger.plan()
    async with ledger.db.system() as conn:
        dead = await schedule.claim(conn, timedelta(seconds=30))
    assert dead is not None
    assert await ledger.fetched() == 0
    await put(ledger.db, "UPDATE insight_accounts SET lease_until = now(), next_at = now()")
    await ledger.fetched()

    assert await ledger.is_true()

"""kill -9 between move and settle, again and again: nothing is lost, and Meta has each event once or the doubt is written down."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter

from tests.conversions import Desk, a_desk, events, move, put, tickets_of
from whatrack.db import Database

EVENTS, ROUNDS = 90, 8


async def nursery(desk: Desk, conninfo: str) -> Process:
    cast = desk.sandbox.cast
    arguments = [
        conninfo,
        desk.graph.base_url,
        cast.ads_app.id,
        cast.ads_app.secret,
        cast.whatsapp_app.secret,
    ]
    command = [sys.executable, "-m", "tests.dispatch_worker", *arguments]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=dict(os.environ))


async def born(parent: Process) -> int:
    """A new worker's id."""
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(b"\n")
    return int(await parent.stdout.readline())


async def left(db: Database) -> int:
    return sum(row["status"] == "PENDING" for row in await events(db))


async def test_a_worker_that_is_killed_at_any_moment_loses_nothing_and_doubles_nothing_unmarked(
    db: Database, conninfo: str
):
    chance = random.Random(7)
    async with a_desk(db) as desk:
        made = await tickets_of(db, desk.shop, *desk.clicks(EVENTS), ad_id=desk.sandbox.ads()[0].id)
        await desk.known()
        for ticket in made:
            await move(db, desk.shop, ticket, "qualified")
        await put(db, "UPDATE meta_conversion_events SET batch_limit = 2")
        desk.sandbox.faults.inject("slow", seconds=0.02, times=None, path="*/events")
        parent = await nursery(desk, conninfo)
        for _ in range(ROUNDS):
            worker = await born(parent)
            await asyncio.sleep(chance.uniform(0.05, 0.3))
            os.kill(worker, signal.SIGKILL)
        interrupted = await left(db)
        worker = await born(parent)
        for _ in range(300):
            if not await left(db):
                break
            await asyncio.sleep(0.1)
        os.kill(worker, signal.SIGKILL)
        parent.kill()
        await parent.wait()

        assert interrupted  # the worker was killed while there was work
        told = Counter(each["event_id"] for each in desk.learned)
        for row in await events(db):
            assert row["status"] == "SENT"
            assert told[row["event_id"]] >= 1
            assert told[row["event_id"]] == 1 or row["was_unknown"], (
                "told twice, and nobody wrote down that it might be"
            )
        unknown = {each["event_row_id"] for each in await desk.attempts() if each["outcome"] == "unknown"}
        assert unknown == {row["id"] for row in await events(db) if row["was_unknown"]}
        assert unknown  # at least one was killed on its way

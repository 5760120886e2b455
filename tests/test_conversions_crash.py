"""kill -9 between move and settle, again and again: nothing is lost, and Meta has each event once or the doubt is written down."""

import asyncio
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter

from tests.conversions import Desk, a_desk, events, move, put, tickets_of
from whatrack.db import Database

EVENTS, ROUNDS = 90, 6


async def start(desk: Desk, conninfo: str) -> Process:
    cast = desk.sandbox.cast
    arguments = [
        conninfo,
        desk.graph.base_url,
        cast.ads_app.id,
        cast.ads_app.secret,
        cast.whatsapp_app.secret,
    ]
    command = [sys.executable, "-m", "tests.dispatch_worker", *arguments]
    worker = await asyncio.create_subprocess_exec(*command, stdout=PIPE, env=dict(os.environ))
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"ready\n"
    return worker


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
        for _ in range(ROUNDS):
            worker = await start(desk, conninfo)
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            worker.kill()
            await worker.wait()
        interrupted = await left(db)
        worker = await start(desk, conninfo)
        for _ in range(300):
            if not await left(db):
                break
            await asyncio.sleep(0.1)
        worker.kill()
        await worker.wait()

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

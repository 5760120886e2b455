"""kill -9 from the move to the settling, again and again: nothing is lost, and Meta has each event once or the doubt is written down."""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter

from tests.conversions import Desk, a_desk, events, tickets_of
from tests.support import rows
from whatrack.db import Database

EVENTS, ROUNDS = 90, 8
STANDING = """
SELECT count(*) FILTER (WHERE s.role = 'qualified') AS moved, count(e.id) AS owed, count(e.id) FILTER (WHERE s.role = 'qualified') AS both,
       count(e.id) FILTER (WHERE e.status = 'SENT') AS sent
FROM tickets t JOIN stages s ON s.organization_id = t.organization_id AND s.id = t.stage_id
LEFT JOIN meta_conversion_events e ON e.organization_id = t.organization_id AND e.ticket_id = t.id
"""


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


async def steps_done(db: Database) -> tuple[int, int]:
    """How many were moved, and sent. At no moment is one moved that owes nothing, or the other way round."""
    (row,) = await rows(db, STANDING)
    assert row["moved"] == row["owed"] == row["both"]
    return int(row["moved"]), int(row["sent"])


async def until(db: Database, steps: int) -> None:
    """Wait until so many moves and sendings are done."""
    for _ in range(1500):
        if sum(await steps_done(db)) >= steps:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the workers came to a halt")


async def test_a_worker_that_is_killed_at_any_moment_loses_nothing_and_doubles_nothing_unmarked(
    db: Database, conninfo: str
):
    chance = random.Random(7)
    async with a_desk(db) as desk:
        await tickets_of(db, desk.shop, *desk.clicks(EVENTS), ad_id=desk.sandbox.ads()[0].id)
        await desk.known()
        desk.sandbox.faults.inject("slow", seconds=0.02, times=None, path="*/events")
        parent = await nursery(desk, conninfo)
        for _ in range(ROUNDS):
            worker = await born(parent)
            await until(db, sum(await steps_done(db)) + chance.randint(4, 12))
            await asyncio.sleep(chance.uniform(0, 0.03))
            os.kill(worker, signal.SIGKILL)
        moved, sent = await steps_done(db)
        worker = await born(parent)
        await until(db, 2 * EVENTS)
        os.kill(worker, signal.SIGKILL)
        parent.kill()
        await parent.wait()

        assert sent < EVENTS  # the workers were killed while there was work
        assert moved > 0
        assert len(await events(db)) == EVENTS
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

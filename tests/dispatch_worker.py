"""Processes that move tickets and send what is owed until they are killed: python -m tests.dispatch_worker <conninfo> <graph url> <app id> <secrets…>.

Each line on stdin forks one and tells its id; the next line comes when that one was killed.
"""

import asyncio
import os
import sys
from datetime import timedelta

from tests.support import SEALER, rows
from whatrack import flow
from whatrack.connections.keys import Keys
from whatrack.conversions.dispatch import Dispatcher
from whatrack.db import Database
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import App
from whatrack.sandbox.graph import NEWEST
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage

WAITING = """SELECT t.organization_id, t.id FROM tickets t JOIN stages s ON s.organization_id = t.organization_id AND s.id = t.stage_id
             WHERE s.role = 'new' AND t.status = 'open' ORDER BY t.id"""


async def main(conninfo: str, url: str, app_id: str, secret: str, other: str) -> None:
    db = Database(conninfo, max_size=2)
    await db.open()
    keys = Keys(SEALER, App(app_id, secret, url, NEWEST, ()), (other,))
    graph = Graph(url, NEWEST, timeout_s=2.0)
    dispatcher = Dispatcher(db.system, graph, keys, lease=timedelta(seconds=0.5))
    await asyncio.gather(_qualify_everybody(db), _send(dispatcher))


async def _qualify_everybody(db: Database) -> None:
    """One after the other, each in a transaction of its own."""
    waiting = await rows(db, WAITING)
    for ticket in waiting:
        organization = ticket["organization_id"]
        async with db.tenant(organization) as conn:
            await flow.move_ticket(conn, organization, ticket["id"], _qualified, actor="system")


def _qualified(stages: list[Stage]) -> Change:
    return Change(stage=find_stage(stages, "qualified"))


async def _send(dispatcher: Dispatcher) -> None:
    while True:
        if not await dispatcher.step():
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(main(*sys.argv[1:]))
        print(child, flush=True)
        os.waitpid(child, 0)

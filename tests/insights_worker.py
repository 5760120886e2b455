"""Processes that fetch insights until they are killed: python -m tests.insights_worker <conninfo> <graph url> <app id> <secrets…>.

Each line on stdin forks one and tells its id; the next line comes when that one was killed.
"""

import asyncio
import os
import sys
from datetime import timedelta

from tests.insights import DEPTH
from tests.support import SEALER
from whatrack.connections.keys import Keys
from whatrack.db import Database
from whatrack.insights.sync import Syncer
from whatrack.meta.graph import Graph
from whatrack.meta.oauth import App
from whatrack.sandbox.graph import NEWEST


async def main(conninfo: str, url: str, app_id: str, secret: str, other: str) -> None:
    db = Database(conninfo, max_size=3)
    await db.open()
    keys = Keys(SEALER, App(app_id, secret, url, NEWEST, ()), (other,))
    graph = Graph(url, NEWEST, timeout_s=5.0)
    syncer = Syncer(db, db.system, graph, keys, depth=DEPTH, lease=timedelta(seconds=0.5))
    while True:
        if not await syncer.step():
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            asyncio.run(main(*sys.argv[1:]))
        print(child, flush=True)
        os.waitpid(child, 0)

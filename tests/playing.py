"""A whole service beside a sandbox whose months are played into it, as the demo does: for tests that compare with the truth."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from tests.conftest import serving, settings_for_tests
from tests.support import SECRET_KEY
from whatrack.db import Database
from whatrack.demo.office import Door, connect, open_office
from whatrack.demo.player import Player
from whatrack.sandbox.clock import Clock
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import served


@dataclass
class Played:
    """What was played, by whom, and into what."""

    sandbox: Sandbox
    db: Database
    session: aiohttp.ClientSession
    door: Door
    player: Player

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.door.member_key}"}


@asynccontextmanager
async def a_played_office(
    db: Database, conninfo: str, now: float, *, days: int, share: float = 1.0, seed: int = 1
) -> AsyncIterator[Played]:
    """The demo's clinic with so many days of past until `now`, where the sandbox's clock stands; profiles connected."""
    sandbox = Sandbox(seed, Clock(lambda: now))
    sandbox.months.play(days, share=share)
    async with an_office_beside(sandbox, db, conninfo) as played:
        yield played


@asynccontextmanager
async def an_office_beside(sandbox: Sandbox, db: Database, conninfo: str) -> AsyncIterator[Played]:
    """The demo's clinic in this database, its service with all loops, and the sandbox as its Meta; profiles connected."""
    app = sandbox.cast.ads_app
    with served(sandbox) as meta:
        known = {
            "WHATSAPP_APP_SECRET": sandbox.cast.whatsapp_app.secret,
            "WHATRACK_SECRET_KEY": SECRET_KEY,
            "META_APP_ID": app.id,
            "META_APP_SECRET": app.secret,
            "META_GRAPH_URL": meta,
            "META_DIALOG_URL": meta,
        }
        door = await open_office(conninfo, settings_for_tests(**known), sandbox)
        async with serving(conninfo, **known) as base, aiohttp.ClientSession(base) as session:
            await connect(session, door.member_key, sandbox)
            yield Played(sandbox, db, session, door, Player(sandbox, session, door.member_key))

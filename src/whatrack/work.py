"""Background loops: do a step while there is work, sleep until woken or a while has passed, back off on failure.

Rows are the queue and polling is the truth; a wake-up (in this process, or LISTEN/NOTIFY between processes) only
makes it faster, so a lost one costs at most `idle_s`.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from psycopg import Error, Notify, sql

from whatrack.db import Database
from whatrack.observe import LOOP_FAILURES, logger

CHANNEL = "whatrack"
NOTIFY_EVERY_S = (
    0.05  # inside hot transactions NOTIFY cost two thirds of the commits; so after them, coalesced
)
MIN_BACKOFF_S = 0.5
MAX_BACKOFF_S = 30.0

log = logger(__name__)


class Wakeups:
    """Named wake-ups within this process and, through PostgreSQL, between processes."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._events: dict[str, asyncio.Event] = {}
        self._unsent: set[str] = set()
        self._sendable = asyncio.Event()

    def event(self, name: str) -> asyncio.Event:
        """The event that is set when `name` may have work."""
        return self._events.setdefault(name, asyncio.Event())

    def poke(self, name: str) -> None:
        """Say, after a commit, that `name` has work: at once here, within 50 ms elsewhere."""
        self.event(name).set()
        self._unsent.add(name)
        self._sendable.set()

    async def send(self) -> None:
        """Tell the other processes, for ever; at most one NOTIFY per name each 50 ms."""
        while True:
            await self._sendable.wait()
            self._sendable.clear()
            names, self._unsent = self._unsent, set()
            try:
                async with self._db.autocommit() as conn:
                    for name in names:
                        await conn.execute("SELECT pg_notify(%s, %s)", [CHANNEL, name])
            except Error as error:  # polling finds the work
                log.warning("notify_failed", exc_info=error)
            await asyncio.sleep(NOTIFY_EVERY_S)

    async def listen(self) -> None:
        """Hear the other processes, for ever; reconnects."""
        while True:
            try:
                conn = await self._db.dedicated()
                async with conn:
                    await conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                    async for notify in conn.notifies():
                        self._heard(notify)
            except Error as error:
                log.warning("listen_failed", exc_info=error)
            await asyncio.sleep(1)

    def _heard(self, notify: Notify) -> None:
        self.event(notify.payload).set()


async def run_loop(
    name: str,
    step: Callable[[], Awaitable[bool]],
    *,
    stop: asyncio.Event,
    idle_s: float,
    wake: asyncio.Event | None = None,
) -> None:
    """Run `step` until `stop`: again at once while it answers True, else after `idle_s` or a wake-up.

    A failing step is logged, counted, and tried again after a growing pause (0.5 s doubled up to 30 s, with jitter):
    no error ends a loop.
    """
    failures = 0
    wake = wake or asyncio.Event()
    while not stop.is_set():
        wake.clear()
        try:
            more = await step()
            failures = 0
        except Exception as error:  # the loop's edge: whatever fails, the next round tries again
            failures += 1
            more = False
            LOOP_FAILURES.labels(name).inc()
            log.exception("loop_failed", loop=name, failures=failures, exc_info=error)
        if not more:
            pause = _backoff_s(failures) if failures else idle_s
            await _first_of(stop, wake if not failures else asyncio.Event(), pause)


def _backoff_s(failures: int) -> float:
    """How long to rest after so many failures in a row; a float does not hold 2 to the power of a night of them."""
    doublings = min(failures - 1, 10)
    return min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2.0**doublings) * random.uniform(0.75, 1.25)  # noqa: S311


async def _first_of(stop: asyncio.Event, wake: asyncio.Event, pause_s: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (stop, wake)]
    await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

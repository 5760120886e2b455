"""Micro-batches: many webhooks, one commit. What arrives while a commit runs is the next batch; there is no timer.

A body is acknowledged when its batch is committed, refused when the commit fails or the waiting ones are too many:
never acknowledged first and stored later.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from psycopg import Error, errors

from whatrack.db import MUCH_BYTES, NO_TENANT, Connection, Database
from whatrack.inbox import days, store
from whatrack.observe import logger

IN_FLIGHT = 2  # commits under way at once; a third gained nothing (performance measurements)
MAX_ROWS = 500
MAX_BATCH_BYTES = 4 * 1024 * 1024  # as much as the largest body
MAX_WAITING = 10_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
COMMIT_TIMEOUT_S = 8.0  # a server that hangs is a failure: Meta gives up after about ten seconds
LOOK_EVERY_S = 0.25  # for bodies whose time is over; a timer for each cost as much as its signature

log = logger(__name__)


class NotStored(Exception):
    """The body is not known to be committed; its sender must try again. reason: full · commit_failed · too_slow · stopping."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Waiting:
    __slots__ = ("body", "done", "routes")

    def __init__(self, body: bytes, routes: str, done: "asyncio.Future[None]") -> None:
        self.body = body
        self.routes = routes
        self.done = done


class Batcher:
    """Commits bodies in batches over connections of its own. Start it before and stop it after serving.

    stored: called after each commit, with how many bodies it acknowledges.
    """

    def __init__(self, db: Database, stored: Callable[[int], None] = lambda _: None) -> None:
        self._db = db
        self._stored = stored
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._arrived = asyncio.Event()
        self._stopping = False
        self._writers: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._unanswered: deque[tuple[float, asyncio.Future[None]]] = deque()  # in order of arrival

    def start(self) -> None:
        """Begin to commit."""
        self._writers = [asyncio.create_task(self._write_for_ever()) for _ in range(IN_FLIGHT)]
        self._watch = asyncio.create_task(self._give_up_for_ever())

    async def stop(self) -> None:
        """Commit what waits, then end."""
        self._stopping = True
        self._arrived.set()
        await asyncio.gather(*self._writers)
        if self._watch:
            self._watch.cancel()

    async def put(self, body: bytes, routes: str) -> None:
        """Return when the body is committed; raise NotStored when it is not, or not within the time its sender waits."""
        if self._stopping:
            raise NotStored("stopping")
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + len(body) > MAX_WAITING_BYTES:
            raise NotStored("full")
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        self._waiting.append(_Waiting(body, routes, done))
        self._waiting_bytes += len(body)
        self._arrived.set()
        self._unanswered.append((loop.time() + COMMIT_TIMEOUT_S, done))
        await done

    async def _give_up_for_ever(self) -> None:
        """Refuse what was not committed in its time. Each body has its own: a writer needs ten seconds more to give up a
        connection whose server hangs."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            while self._unanswered and (self._unanswered[0][1].done() or self._unanswered[0][0] <= clock()):
                _, done = self._unanswered.popleft()
                if not done.done():
                    done.set_exception(NotStored("too_slow"))

    async def _write_for_ever(self) -> None:
        conn: Connection | None = None
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._take()
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT_S):
                    conn = conn if conn and not conn.closed else await self._db.dedicated()
                    await self._commit(conn, batch)
            except Exception as error:  # the loop's edge: a writer that ended would take no body ever again
                log.exception("delivery_commit_failed", deliveries=len(batch), exc_info=error)
                await _close(conn)
                conn = None
                _fail(batch)
            else:
                self._stored(_acknowledge(batch))
                if sum(len(each.body) for each in batch) > MUCH_BYTES:
                    await _close(conn)
                    conn = None
            del batch  # the bodies do not wait for the next ones
        await _close(conn)

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        total = 0
        while self._waiting and len(batch) < MAX_ROWS:
            if batch and total + len(self._waiting[0].body) > MAX_BATCH_BYTES:
                break
            each = self._waiting.popleft()
            total += len(each.body)
            batch.append(each)
        self._waiting_bytes -= total
        return batch

    async def _commit(self, conn: Connection, batch: list[_Waiting]) -> None:
        """Append and commit; a day without a partition gets one, and the batch a second try."""
        bodies, routes = [each.body for each in batch], [each.routes for each in batch]
        try:
            await self._append(conn, bodies, routes)
        except errors.CheckViolation:
            log.warning("delivery_day_missing")
            await days.ensure_days(self._db)
            await self._append(conn, bodies, routes)

    async def _append(self, conn: Connection, bodies: list[bytes], routes: list[str]) -> None:
        if not self._db.takes_role:
            await store.append(conn, bodies, routes)  # autocommit: one statement, one round trip
            return
        await self._db.begin(conn, NO_TENANT)
        try:
            await store.append(conn, bodies, routes)
            await conn.commit()
        except Error:
            await conn.rollback()
            raise


def _acknowledge(batch: list[_Waiting]) -> int:
    """How many were still waited for: a client may have gone away."""
    waited_for = [each.done for each in batch if not each.done.done()]
    for done in waited_for:
        done.set_result(None)
    return len(waited_for)


def _fail(batch: list[_Waiting]) -> None:
    for each in batch:
        if not each.done.done():
            each.done.set_exception(NotStored("commit_failed"))


async def _close(conn: Connection | None) -> None:
    if conn is not None:
        await conn.close()

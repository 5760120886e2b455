"""Bodies as large as the intake takes do not stay in the memory of `whatrack serve`."""

import asyncio
import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import LiteralString

import aiohttp
import pytest
from benchmarks.processes import memory_mb
from psycopg import OperationalError
from psycopg.errors import UndefinedTable
from typing_extensions import override

from tests import test_durability
from tests.support import Shop, body, change, make_shop, message, rows
from tests.test_durability import RECOVERY_S, running
from tests.test_intake import deliver, http, opened
from whatrack.db import MUCH_BYTES, Connection, Database
from whatrack.inbox.batch import Batcher

BODIES, MESSAGES = 8, 1000
TEXT_BYTES = 3900  # of each message: four MB in all, but for the rest
# What they may leave behind, all together. When connections and writers kept what they had carried, it was 96.
LEFT_MB = 60

data_dir = test_durability.data_dir


@pytest.mark.xdist_group("durability")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
async def test_bodies_of_4_mb_leave_little_behind(data_dir: tuple[Path, str], tmp_path: Path):
    folder, conninfo = data_dir
    async with opened(conninfo) as db, running(folder, tmp_path / "log") as program:
        shop = await make_shop(db, "large")
        assert program.process is not None
        async with http(program.base) as client:
            await first(client, body(change(shop.number, message())))
            await drained(db, shop, 1)
            before, _ = memory_mb([program.process.pid])
            for place in range(BODIES):
                assert (await deliver(client, large_body(shop, place))).status == 200
                await drained(db, shop, 1 + MESSAGES * (place + 1))
        after, _ = memory_mb([program.process.pid])

    assert after - before < LEFT_MB


def large_body(shop: Shop, place: int) -> bytes:
    said = [
        message(f"5511{900_000_000 + each}", text=f"{place} {each} ".ljust(TEXT_BYTES, "x"))
        for each in range(MESSAGES)
    ]
    return body(change(shop.number, *said))


async def first(client: aiohttp.ClientSession, text: bytes) -> None:
    """Deliver as soon as the program listens."""
    async with asyncio.timeout(RECOVERY_S):
        while True:
            with suppress(aiohttp.ClientError):
                if (await deliver(client, text)).status == 200:
                    return
            await asyncio.sleep(0.1)


async def drained(db: Database, shop: Shop, messages: int) -> None:
    async with asyncio.timeout(RECOVERY_S):
        query = "SELECT count(*) AS n FROM messages WHERE organization_id = %s"
        while True:
            if (await rows(db, query, shop.id))[0]["n"] >= messages:
                return
            await asyncio.sleep(0.05)


async def test_a_connection_that_carried_much_is_not_used_again(db: Database):
    for size, again in ((MUCH_BYTES, True), (MUCH_BYTES + 1, False)):
        async with db.system() as conn:
            db.carried(conn, size)
        assert conn.closed is not again


async def test_the_log_tells_of_a_connection_that_was_lost_and_not_of_one_given_up_on_purpose(
    db: Database, caplog: pytest.LogCaptureFixture
):
    def warned() -> list[str]:
        found = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
        caplog.clear()
        return found

    async def carries(statement: LiteralString) -> Connection:
        async with db.system() as conn:
            db.carried(conn, MUCH_BYTES + 1)
            with suppress(UndefinedTable):
                await conn.execute(statement)
        return conn

    async def loses() -> None:
        async with db.system() as conn, db.autocommit() as killer:
            await killer.execute("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
            await conn.execute("SELECT 1")

    with caplog.at_level(logging.INFO, "psycopg.pool"):
        for statement in ("SELECT 1", "SELECT FROM nothing"):
            assert (await carries(statement)).closed
            assert warned() == []
        with pytest.raises(OperationalError):
            await loses()
        assert [text.partition(":")[0] for text in warned()] == ["discarding closed connection"]


class Told(Database):
    """Tells which connections were made outside its pool."""

    def __init__(self, conninfo: str) -> None:
        super().__init__(conninfo)
        self.made: list[Connection] = []

    @override
    async def dedicated(self) -> Connection:
        conn = await super().dedicated()
        self.made.append(conn)
        return conn


@pytest.mark.parametrize(("size", "again"), [(MUCH_BYTES, True), (MUCH_BYTES + 1, False)])
async def test_a_writer_gives_up_a_connection_that_carried_much(db: Database, size: int, again: bool):
    told = Told(db.conninfo)
    await told.open()
    batcher = Batcher(told)
    batcher.start()

    await batcher.put(b"x" * size, "-1 ")
    await asyncio.sleep(0)
    assert [conn.closed for conn in told.made] == [not again]

    await batcher.put(b"x", "-1 ")
    await batcher.stop()
    await told.close()
    assert len(await rows(db, "SELECT FROM webhook_deliveries")) == 2

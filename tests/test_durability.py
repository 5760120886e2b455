"""Nothing that was acknowledged is ever lost: `whatrack serve` and PostgreSQL are killed under load, on a real disk."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from psycopg import OperationalError

from tests.conftest import BIN_DIR, planted_in
from tests.support import (
    APP_SECRET,
    PHONE,
    TEXT,
    VERIFY_TOKEN,
    Shop,
    ad,
    body,
    change,
    drain,
    make_shop,
    message,
    rows,
)
from tests.test_intake import deliver, http, opened, send_all, server_processes
from tests.test_work import wamids
from whatrack.db import Database
from whatrack.embedded import EmbeddedPostgres, remove
from whatrack.migrations import migrate

CLIENTS = 32
PEOPLE = [PHONE, *(f"5511{900_000_000 + place}" for place in range(60))]
RECOVERY_S = 120.0  # far more than it takes; a busy machine must not fail the test

pytestmark = pytest.mark.xdist_group("durability")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A data dir with a durable, migrated database in it, and its conninfo."""
    folder = tmp_path_factory.mktemp("durable") / "data"
    with EmbeddedPostgres(folder, bin_dir=Path(BIN_DIR) if BIN_DIR else None) as server:
        conninfo = server.start()
        migrate(conninfo)
        yield folder, conninfo
    remove(folder)


class Program:
    """`whatrack serve` as a process of its own, on the same port each time it is started."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = log
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(data_dir.parent),
            "WHATRACK_DATA_DIR": str(data_dir),
            "WHATSAPP_APP_SECRET": APP_SECRET,
            "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN,
            **({"WHATRACK_POSTGRES_BIN_DIR": BIN_DIR} if BIN_DIR else {}),
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [
            sys.executable,
            "-c",
            "from whatrack.cli import main; main()",
            "serve",
            "--port",
            str(self.port),
        ]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*command, env=self._environment, stderr=log)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal to this very process and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()


@asynccontextmanager
async def running(data_dir: Path, log: Path) -> AsyncIterator[Program]:
    program = Program(data_dir, log)
    await program.start()
    try:
        yield program
    finally:
        if program.process and program.process.returncode is None:
            await program.end(signal.SIGTERM)


class Load:
    """Many clients that post messages of their own, each again and again until it is acknowledged, as Meta does."""

    def __init__(self, base: str, shop: Shop) -> None:
        self._base = base
        self._shop = shop
        self._stop = asyncio.Event()
        self.acknowledged: list[bytes] = []
        self.refused = 0

    async def __aenter__(self) -> "Load":
        self._clients = [asyncio.create_task(self._client(place)) for place in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._clients)

    async def more(self, count: int) -> None:
        """Return when so many more are acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(RECOVERY_S):
            while True:
                if len(self.acknowledged) >= wanted:
                    return
                await asyncio.sleep(0.02)

    async def _client(self, place: int) -> None:
        chance, sent = random.Random(place), 0
        async with http(self._base) as client:
            while not self._stop.is_set():
                sent += 1
                referral = ad(str(1 + chance.randrange(9)), f"clid-{place}-{sent}")
                said = message(chance.choice(PEOPLE), text=f"{TEXT} {place} {sent}", referral=referral)
                await self._until_acknowledged(client, body(change(self._shop.number, said)))

    async def _until_acknowledged(self, client: aiohttp.ClientSession, text: bytes) -> None:
        while not self._stop.is_set():
            with suppress(aiohttp.ClientError):
                if (await deliver(client, text)).status == 200:
                    self.acknowledged.append(text)
                    return
            self.refused += 1
            await asyncio.sleep(0.2)


@asynccontextmanager
async def held_up(conninfo: str) -> AsyncIterator[None]:
    """Nothing can be committed meanwhile: whoever acknowledged a delivery now would lose it when the end comes."""
    with suppress(OperationalError):  # the end may be the database's own
        async with opened(conninfo) as db, db.system() as conn:
            await conn.execute("LOCK TABLE delivery_queue IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(0.3)
            yield


async def check_nothing_is_lost(db: Database, shop: Shop, load: Load) -> None:
    """Every acknowledged body is stored, and every message of it is there exactly once, in its person's one ticket."""
    stored = {bytes(row["body"]) for row in await rows(db, "SELECT body FROM webhook_deliveries")}
    kept = await rows(
        db, "SELECT wamid FROM messages WHERE organization_id = %s AND ticket_id IS NOT NULL", shop.id
    )
    counts = "SELECT count(*) AS tickets, count(DISTINCT contact_id) AS people FROM tickets WHERE organization_id = %s"

    assert [text for text in load.acknowledged if text not in stored] == []
    assert len(kept) == len({row["wamid"] for row in kept})
    assert {wamid for text in load.acknowledged for wamid in wamids(text)} - {
        row["wamid"] for row in kept
    } == set()
    assert await rows(db, counts, shop.id) == [{"tickets": len(PEOPLE), "people": len(PEOPLE)}]
    assert await rows(db, "SELECT 1 FROM delivery_exceptions") == []


async def test_the_server_is_killed_three_times_under_load_and_nothing_acknowledged_is_missing(
    data_dir: tuple[Path, str], tmp_path: Path
):
    folder, conninfo = data_dir
    log = tmp_path / "serve.log"
    async with opened(conninfo) as db, running(folder, log) as program:
        shop = await make_shop(db, "servidor")
        async with Load(program.base, shop) as load:
            for _ in range(3):
                await load.more(250)
                async with held_up(conninfo):
                    await program.end(signal.SIGKILL)
                await program.start()
            await load.more(250)
            ended = await program.end(signal.SIGTERM)  # and asked to end, still under load
        await drain(db)
        await check_nothing_is_lost(db, shop, load)

    assert load.refused > 0
    assert ended == 0
    assert planted_in(log.read_text(encoding="utf-8")) == []


async def test_postgresql_is_killed_under_load_and_nothing_acknowledged_is_missing(
    data_dir: tuple[Path, str], tmp_path: Path
):
    folder, conninfo = data_dir
    log = tmp_path / "serve.log"
    async with running(folder, log) as program:
        async with opened(conninfo) as db:
            shop = await make_shop(db, "banco")
        async with Load(program.base, shop) as load:
            for victims in (
                lambda found: found[:1],
                lambda found: found,
            ):  # the postmaster alone; all of them
                await load.more(250)
                found = await server_processes(conninfo)
                async with held_up(conninfo):
                    send_all(signal.SIGKILL, victims(found))
            await load.more(250)
        async with opened(conninfo) as db:
            await drain(db)  # beside the program's own workers
            await check_nothing_is_lost(db, shop, load)
        ended = await program.end(signal.SIGTERM)

    assert load.refused > 0
    assert ended == 0
    assert "embedded_database_restarted" in log.read_text(encoding="utf-8")
    assert planted_in(log.read_text(encoding="utf-8")) == []

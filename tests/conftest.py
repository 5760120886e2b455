"""Every test runs on a real PostgreSQL: the embedded one (18), the bin dir of an installed one, or a URL."""

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest
import uvicorn
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.rig import chromium as chromium
from tests.rig import earning as earning
from tests.rig import sandbox as sandbox
from tests.rig import served as served
from tests.rig import served_meta as served_meta
from tests.rig import site as site
from tests.rig import visit as visit
from tests.support import (
    APP_SECRET,
    PASSWORD,
    SEALER,
    SECRET_KEY,
    VERIFY_TOKEN,
    Shop,
    make_shop,
    sign_in,
)
from whatrack.db import Database
from whatrack.embedded import EmbeddedPostgres, remove
from whatrack.inbox import days
from whatrack.migrations import migrate
from whatrack.observe import WITHHELD, configure_logging
from whatrack.settings import Settings
from whatrack.web.app import Service

URL = os.environ.get("WHATRACK_TEST_DATABASE_URL")
BIN_DIR = os.environ.get("WHATRACK_TEST_POSTGRES_BIN")
# The suite's own server is thrown away: it need not survive a power cut. Durability has tests with servers of their own.
# autovacuum: each test empties the tables, and what it notes of them between two tests has the next one's queries planned for
# a row or none: a join of a thousand was once made in thirty seconds. Nothing here lives long enough to need it.
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
TABLES = "organizations, messages, contact_identities, contact_terms, ticket_tracking, meta_attribution_history, number_routes, webhook_deliveries, delivery_queue, delivery_exceptions, delivery_counters, api_key_hashes, users, sign_in_failures, one_time_links, emails, meta_ad_insights_daily"


@pytest.fixture(scope="session", autouse=True)
def suite_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Everything the suite logs goes to one file a worker; at the end it must hold nothing that was planted.

    Nor may a line of our own have needed a secret cut out: that is there for libraries, such as Meta's SDK, which the suite runs.
    """
    path = tmp_path_factory.mktemp("log") / "suite.log"
    with path.open("w", encoding="utf-8") as stream:
        configure_logging("debug", stream)
        yield path
        configure_logging("critical")
    said = path.read_text(encoding="utf-8")
    assert not planted_in(said)
    assert not told_by_ourselves(said)


def told_by_ourselves(text: str) -> list[str]:
    """The lines of our own loggers from which a secret had to be cut."""
    return [line for line in text.splitlines() if WITHHELD in line and '"logger": "whatrack.' in line]


def planted_in(text: str) -> list[str]:
    """Which planted secrets, phone numbers and message texts a log holds."""
    planted = (
        APP_SECRET,
        VERIFY_TOKEN,
        SECRET_KEY,
        PASSWORD,
        "texto-plantado",
        "987654321",
        "87654321",
        "16505551234",
        "succulents",
    )
    found = [each for each in planted if each.lower() in text.lower()]
    return found + re.findall(r"EAA[0-9A-Za-z]{30,}", text)  # tokens that the sandbox gave out


@pytest.fixture(scope="session")
def conninfo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """A migrated database for this worker alone."""
    yield from _migrated(tmp_path_factory.mktemp("postgres") / "data", f"whatrack_test_{worker_id}")


@pytest.fixture(scope="session")
def site_conninfo(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """Another one, which is never emptied: the browser tests' service lives on it."""
    yield from _migrated(tmp_path_factory.mktemp("site") / "data", f"whatrack_site_{worker_id}")


def _migrated(folder: Path, name: str) -> Iterator[str]:
    if URL:
        yield from _database_at(URL, name)
        return
    with EmbeddedPostgres(folder, bin_dir=Path(BIN_DIR) if BIN_DIR else None, options=QUICK) as server:
        conninfo = server.start()
        migrate(conninfo)
        yield conninfo
    remove(folder)


def _database_at(url: str, name: str) -> Iterator[str]:
    database = sql.Identifier(name)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(database))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(database))
        conninfo = make_conninfo("", **{**conninfo_to_dict(url), "dbname": name})
        migrate(conninfo)
        yield conninfo
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


@pytest.fixture
async def db(conninfo: str) -> AsyncIterator[Database]:
    """An empty database, open."""
    database = Database(conninfo)
    await database.open()
    await days.ensure_days(database)
    async with database.system() as conn:
        await conn.execute(f"TRUNCATE {TABLES} CASCADE".encode())
    yield database
    await database.close()


def settings_for_tests(**more: object) -> Settings:
    """What a service needs; passwords hashed with little memory, because the suite hashes many."""
    known = {"WHATSAPP_APP_SECRET": APP_SECRET, "WHATSAPP_VERIFY_TOKEN": VERIFY_TOKEN}
    return Settings.model_validate({"WHATRACK_PASSWORD_MEMORY_KIB": 1024, **known, **more})


@pytest.fixture
async def service(db: Database, conninfo: str) -> AsyncIterator[str]:
    """The whole service, loops included, on a real port; its base URL."""
    async with serving(conninfo) as base:
        yield base


@pytest.fixture
async def shop(db: Database) -> Shop:
    """One organization with one number, by the name Loja."""
    return await make_shop(db)


@pytest.fixture
async def admin(db: Database, shop: Shop, service: str) -> AsyncIterator[aiohttp.ClientSession]:
    """The browser of one of its admins, signed in."""
    async with await sign_in(db, service, shop, "admin", name="Ada Nunes") as tab:
        yield tab


@asynccontextmanager
async def serving(conninfo: str, **settings: object) -> AsyncIterator[str]:
    """A service with settings of one's own, such as SMTP_HOST."""
    app = Service(settings_for_tests(**settings), Database(conninfo), SEALER, with_workers=True)
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(
            app, lifespan="on", log_config=None, access_log=False, loop="none", proxy_headers=False
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            raise RuntimeError("the service did not start: the suite's log says why")
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task

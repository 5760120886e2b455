"""What the commands share: settings and logging, one connection to the database, how an answer is printed."""

import asyncio
import ctypes
import gc
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from whatrack import installation
from whatrack.db import Database
from whatrack.observe import configure_logging
from whatrack.settings import Settings, load_settings
from whatrack.tenants import organizations
from whatrack.tenants.organizations import Organization

T = TypeVar("T")
M_MMAP_THRESHOLD = -3  # of glibc's mallopt
LARGE_BYTES = 256 * 1024
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def start() -> Settings:
    """The settings of this environment; from now on the log has their level."""
    settings = load_settings()
    configure_logging(settings.log_level)
    return settings


def run(what: Callable[[Database], Awaitable[T]]) -> T:
    """Run one command against the installation's database."""

    async def connected(conninfo: str) -> T:
        db = Database(conninfo, max_size=2)
        await db.open()
        try:
            return await what(db)
        finally:
            await db.close()

    with installation.database(start()) as conninfo:
        return asyncio.run(connected(conninfo))


async def find_organization(db: Database, slug: str) -> Organization:
    """The organization that a command names by its slug."""
    async with db.system() as conn:
        return await organizations.by_slug(conn, slug)


def say(as_json: bool, data: dict[str, Any], text: str) -> None:
    """Print an answer: for programs as one line of JSON, else for people."""
    click.echo(json.dumps(data) if as_json else text)


def spare_memory() -> None:
    """What a process that runs for long does once it is loaded: collect seldom, and return large buffers."""
    collect_seldom()
    return_large_buffers()


def collect_seldom() -> None:
    """Leave what was loaded at the start out of garbage collection: a tenth of the drain's time went into it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def return_large_buffers() -> None:
    """Have what a large body took given back to the system when it is freed. Left alone, glibc learns from the first such
    buffers to keep the next ones. No effect where the C library has no such switch."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)

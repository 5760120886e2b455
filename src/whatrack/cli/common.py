"""What the commands share: settings and logging, one connection to the database, how an answer is printed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import click

from whatrack import installation
from whatrack.db import Database
from whatrack.observe import configure_logging
from whatrack.settings import Settings, load_settings
from whatrack.tenants import organizations
from whatrack.tenants.organizations import Organization

T = TypeVar("T")
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

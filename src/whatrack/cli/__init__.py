"""The `whatrack` command. Every command that prints data takes --json; every failure is one line on stderr."""

import asyncio
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from errno import EACCES, EADDRINUSE
from functools import partial
from typing import Any
from uuid import UUID

import click
import uvicorn
import uvloop
from psycopg import OperationalError
from pydantic import HttpUrl
from typing_extensions import override

from whatrack import demo as sample
from whatrack import flow, installation
from whatrack.cli import doctor, keys, listing, people
from whatrack.cli.common import as_json, find_organization, run, say, spare_memory, start
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Connection, Database
from whatrack.embedded import EmbeddedError
from whatrack.errors import ConfigError, WhatrackError
from whatrack.inbox import replay as replays
from whatrack.migrations import migrate as migrate_schema
from whatrack.observe import configure_logging
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.server import serve as serve_sandbox
from whatrack.settings import Settings
from whatrack.tenants import api_keys, links, users
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id
from whatrack.web.app import Service
from whatrack.work import Wakeups
from whatrack.workers import Workers, open_graph, run_until_signal


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="whatrack", prog_name="whatrack")
def cli() -> None:
    """WhaTrack: which ad brought this WhatsApp conversation, did it sell, and does Meta know?"""


def main() -> None:
    """Run the command line; a refused start or request is one clear line and exit code 1."""
    signal.signal(signal.SIGTERM, _end)
    try:
        _check_arguments(sys.argv)
        cli()
    except (WhatrackError, EmbeddedError) as error:
        click.echo(f"whatrack: {error}", err=True)
        sys.exit(1)
    except OperationalError as error:
        said = str(error).strip().partition("\n")[0]
        click.echo(f"whatrack: the database does not answer: {said}", err=True)
        sys.exit(1)


def _end(number: int, _frame: object) -> None:
    """End at SIGTERM the orderly way, so that a start cut short leaves no database behind."""
    sys.exit(128 + number)


def _check_arguments(arguments: list[str]) -> None:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise ConfigError("The command line holds bytes that are not UTF-8.") from None


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--no-workers", is_flag=True, help="Only take webhooks and answer the API; run `whatrack work` beside it."
)
def serve(host: str, port: int, no_workers: bool) -> None:
    """Run the webhook intake, the API and the background loops."""
    settings = start()
    settings.webhook_secrets()
    listener = bind(host, port)
    if "base_url" not in settings.model_fields_set:  # then it is this machine, at the port that was asked for
        own = HttpUrl(f"http://localhost:{listener.getsockname()[1]}")
        settings = settings.model_copy(update={"base_url": own})
    with installation.database(settings) as conninfo:
        first = partial(_greet_first_visitor, settings)
        run_server(settings, conninfo, listener, with_workers=not no_workers, first=first)


async def _greet_first_visitor(settings: Settings, db: Database) -> None:
    """Print the link that sets the installation up, as long as nobody has an account. The one before is void."""
    async with db.installation() as conn:
        if await users.there_are_any(conn):
            return
        path = await links.make(conn, "setup")
    click.echo(
        f"Nobody has an account yet. To set WhaTrack up, open within 24 hours:\n\n  {settings.address}{path}\n"
    )


@cli.command()
def work() -> None:
    """Run only the background loops; as many of these as you like share the work."""
    settings = start()
    with installation.database(settings) as conninfo:
        spare_memory()
        uvloop.run(_work(settings, conninfo))


async def _work(settings: Settings, conninfo: str) -> None:
    db = Database(conninfo)
    await db.open()
    wakeups = Wakeups(db)
    graph = open_graph(settings)
    workers = Workers(db, wakeups, settings, installation.sealer(settings), graph)
    await run_until_signal(workers, wakeups)
    await graph.close()
    await db.close()


@cli.command()
@click.option("--port", default=3000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--exit", "leave", is_flag=True, help="End after printing the tickets instead of serving on.")
@click.option(
    "--days",
    default=sample.DAYS,
    show_default=True,
    type=click.IntRange(0, 100),
    help="How much of the past to play.",
)
def demo(port: int, leave: bool, days: int) -> None:
    """Start on a fresh database of its own, send sample ad clicks, print the tickets, then play a clinic's months."""
    configure_logging("warning")
    sample.run(bind("127.0.0.1", port), run_server, leave=leave, days=days)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=4000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--seed", default=1, show_default=True, help="Another seed makes another world.")
@as_json
def sandbox(host: str, port: int, seed: int, as_json: bool) -> None:
    """Run a Meta on this machine: Graph API, login dialog, insights, events, webhooks, and faults on demand."""
    configure_logging("warning")
    listener = bind(host, port)
    made = Sandbox(seed)
    shown = f"[{host}]" if ":" in host else host
    clients = made.clients(f"http://{shown}:{listener.getsockname()[1]}")
    say(
        as_json,
        clients,
        f"Sandbox at {clients['base_url']}; its page is {clients['admin_url']}. Ctrl-C stops it.",
    )
    serve_sandbox(made, listener)


@cli.command()
@as_json
def migrate(as_json: bool) -> None:
    """Bring the database's schema to this version's."""
    with installation.database(start(), migrated=False) as conninfo:
        revision = migrate_schema(conninfo)
    say(as_json, {"revision": revision}, f"The schema is at {revision}.")


@cli.group()
def org() -> None:
    """Organizations."""


@org.command("create")
@click.option("--name", required=True)
@click.option("--slug", required=True, help="Short name in commands and addresses: a-z, 0-9, '-'.")
@click.option("--timezone", default="America/Sao_Paulo", show_default=True)
@click.option("--currency", default="BRL", show_default=True)
@click.option(
    "--expiration-days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 365),
    help="Days of silence after which an open ticket expires.",
)
@as_json
def org_create(
    name: str, slug: str, timezone: str, currency: str, expiration_days: int, as_json: bool
) -> None:
    """Create an organization with its five default stages."""
    wanted = Organization(
        id=new_id(),
        name=name,
        slug=slug,
        timezone=timezone,
        base_currency=currency,
        ticket_expiration_days=expiration_days,
    )
    created = run(lambda db: flow.open_organization(db, wanted))
    say(
        as_json,
        {"id": str(created.id), "slug": created.slug, "name": created.name},
        f"Organization {created.slug}: {created.id}",
    )


@cli.group()
def number() -> None:
    """WhatsApp numbers."""


@number.command("add")
@click.option("--org", "slug", required=True, help="The organization's slug.")
@click.option("--phone-number-id", required=True, help="As Meta's panel shows it (not the phone itself).")
@click.option("--waba-id", required=True, help="The WhatsApp Business Account's id.")
@click.option("--display-phone", required=True, help="The phone as people read it.")
@as_json
def number_add(slug: str, phone_number_id: str, waba_id: str, display_phone: str, as_json: bool) -> None:
    """Make a number live; deliveries that came before are processed now."""

    async def add(db: Database) -> int:
        organization = await find_organization(db, slug)
        return await flow.register_number(
            db, WhatsappNumber(organization.id, phone_number_id, waba_id, display_phone)
        )

    released = run(add)
    data = {"phone_number_id": phone_number_id, "released": released}
    say(
        as_json,
        data,
        f"The number {phone_number_id} is live; {released} earlier deliveries are on their way.",
    )


@cli.group("api-key")
def api_key() -> None:
    """API keys."""


@api_key.command("create")
@click.option("--org", "slug", help="The organization's slug.")
@click.option(
    "--role", type=click.Choice(api_keys.ORGANIZATION_ROLES), help="What the key may do in the organization."
)
@click.option("--operator", is_flag=True, help="A key for the installation's deliveries instead.")
@click.option("--name", default="", help="What it is for, in lists.")
@as_json
def api_key_create(slug: str | None, role: str | None, operator: bool, name: str, as_json: bool) -> None:
    """Make a key; it is shown this once and kept only as a hash."""
    if operator == bool(slug) or operator == bool(role):
        raise click.UsageError("Give either --org and --role, or --operator.")

    async def create(db: Database) -> tuple[UUID, str]:
        organization_id = (await find_organization(db, slug)).id if slug else None
        async with db.installation() as conn:
            return await api_keys.create(conn, organization_id, role or "operator", name[:80])

    key_id, key = run(create)
    say(as_json, {"id": str(key_id), "key": key}, f"{key}\n\nKeep it now: it is not shown again.")


cli.add_command(doctor.doctor)
cli.add_command(people.user)
cli.add_command(keys.reseal)
org.add_command(listing.orgs)
number.add_command(listing.numbers)
api_key.add_command(listing.keys)
api_key.add_command(listing.revoke)


@cli.command()
@click.option(
    "--id",
    "ids",
    type=click.IntRange(1, 2**63 - 1),
    multiple=True,
    help="A delivery's id; may be given several times.",
)
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]),
    help="Arrived at or after, such as 2026-11-23T00:00:00+0000.",
)
@click.option("--until", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), help="Arrived before.")
@click.option("--failed", is_flag=True, help="Everything that failed.")
@click.option("--quarantined", is_flag=True, help="Everything quarantined.")
@as_json
def replay(
    ids: tuple[int, ...],
    since: datetime | None,
    until: datetime | None,
    failed: bool,
    quarantined: bool,
    as_json: bool,
) -> None:
    """Process deliveries again: the same tickets come out, and what failed gets another try."""
    if sum((bool(ids), bool(since and until), failed, quarantined)) != 1 or bool(since) != bool(until):
        raise click.UsageError("Give exactly one of: --id, --since with --until, --failed, --quarantined.")
    if since and until and since >= until:
        raise click.UsageError("--since must come before --until.")

    async def queue(conn: Connection) -> int:
        if ids:
            return await replays.replay_ids(conn, list(ids))
        if since and until:
            return await replays.replay_range(conn, since, until)
        return await replays.replay_state(conn, "failed" if failed else "quarantined")

    async def replayed(db: Database) -> int:
        async with db.installation() as conn:
            return await queue(conn)

    queued = run(replayed)
    say(as_json, {"queued": queued}, f"{queued} queued; a running `whatrack serve` or `work` processes them.")


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; ConfigError when there cannot be one there."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        option = "--port" if error.errno in (EADDRINUSE, EACCES) else "--host"
        said = f"Cannot listen on {host}:{port} ({error.strerror}): choose another with {option}."
        raise ConfigError(said) from None
    return listener


class _Server(uvicorn.Server):
    """A server that ends at SIGINT or SIGTERM and leaves it at that.

    uvicorn's own sends itself the signal once more when it has ended: that would kill us before the embedded
    database is stopped.
    """

    @override
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def run_server(
    settings: Settings,
    conninfo: str,
    listener: socket.socket,
    *,
    with_workers: bool,
    beside: Callable[[uvicorn.Server], Coroutine[Any, Any, None]] | None = None,
    first: Callable[[Database], Awaitable[None]] | None = None,
) -> None:
    """Serve until a signal; `first` comes before, `beside` runs in the same loop, and gets the server to stop it."""
    db = Database(conninfo)
    service = Service(settings, db, installation.sealer(settings), with_workers=with_workers)
    config = uvicorn.Config(
        service,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # web/addresses.py reads them, from the proxies that the settings trust
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config)

    async def serve_and_more() -> None:
        await db.open()  # before uvicorn, which would answer a refusal with a traceback
        try:
            await service.get_ready()
            spare_memory()
            if first:
                await first(db)
            task = asyncio.create_task(beside(server)) if beside else None
            await server.serve(sockets=[listener])
            if task:
                task.cancel()  # no effect on one that is done; one cut short by a signal has nobody left to talk to
                with suppress(asyncio.CancelledError):
                    await task
        finally:
            await db.close()  # also when the start failed half-way

    uvloop.run(serve_and_more())

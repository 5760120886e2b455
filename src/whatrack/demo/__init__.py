"""`whatrack demo`: a clinic's months. A fresh database and a Meta of its own, ad clicks, and the tickets that come out.

The months before now are played by Meta's webhooks and the API, then an afternoon whose tickets are printed; then, for as long as
the demo serves, people click, write, are qualified and buy. The last month is lived: the clocks of the database and of the
sandbox stand in the past and go on day by day, so that Meta hears of each sale when it happens, as it takes none of a week ago.
"""

import asyncio
import secrets
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import click
import uvicorn

from whatrack import embedded, installation
from whatrack.db import Database
from whatrack.demo.clock import MovedClock
from whatrack.demo.office import Door, connect, fresh, heard, keep_asking, open_door, open_office, refresh
from whatrack.demo.player import Player, same_person
from whatrack.demo.traffic import Afternoon
from whatrack.inbox import days as partitions
from whatrack.inbox import intake
from whatrack.sandbox.cases import Case
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import as_meta_writes, signature
from whatrack.sandbox.server import served
from whatrack.settings import Settings, load_settings

WAIT_S = 60.0
HEARD_WITHIN_S = 10.0  # how long a lived day waits for Meta to have heard
DAYS = 90
LIVED = 30  # of them, the last, day by day
DAY_S = 86_400
EVERY_S = 2.0  # while it serves, something happens about so often
FETCH_EVERY_S = (
    75.0  # how often today's figures are asked for meanwhile; Meta's own are a quarter of an hour old
)
BUSY_S = 4 * 3600.0  # after so long without a restart nobody comes any more, and what was begun ends

Beside = Callable[[uvicorn.Server], Coroutine[Any, Any, None]]


class RunServer(Protocol):
    """How the command line serves."""

    def __call__(
        self,
        settings: Settings,
        conninfo: str,
        listener: socket.socket,
        *,
        with_workers: bool,
        beside: Beside | None = None,
    ) -> None:
        """Serve until stopped."""


def run(listener: socket.socket, run_server: RunServer, *, leave: bool, days: int = DAYS) -> None:
    """Start anew, send the sample traffic, print the tickets, and serve on unless asked to leave.

    days: how many days of the clinic's past are played, 0 for none.
    """
    folder = demo_folder(load_settings().data_dir)
    embedded.remove(folder)
    port = listener.getsockname()[1]
    sandbox, verify_token = Sandbox(), secrets.token_urlsafe(12)
    click.echo("WhaTrack demo: starting an embedded PostgreSQL and a Meta of its own …")
    if days:
        sandbox.months.play(days)
    with served(sandbox) as meta:
        sandbox.world.pictures_at = meta
        settings = _settings(sandbox, meta, folder, port, verify_token)
        sandbox.cast.whatsapp_app.callback_url = f"http://127.0.0.1:{port}{intake.PATH}"
        sandbox.cast.waba.subscribed.setdefault(sandbox.cast.whatsapp_app.id, "")
        _serve(settings, listener, run_server, Show(sandbox, meta, days=days, leave=leave))


def _settings(sandbox: Sandbox, meta: str, folder: Path, port: int, verify_token: str) -> Settings:
    """The service's settings, pointed at the sandbox instead of Meta."""
    cast = sandbox.cast
    return load_settings(
        DATABASE_URL=None,
        WHATRACK_DATA_DIR=folder,
        WHATRACK_BASE_URL=f"http://localhost:{port}",
        WHATSAPP_APP_SECRET=cast.whatsapp_app.secret,
        WHATSAPP_VERIFY_TOKEN=verify_token,
        META_GRAPH_URL=meta,
        WHATRACK_MEDIA_HOSTS=meta.removeprefix("http://"),
        META_DIALOG_URL=meta,
        META_APP_ID=cast.ads_app.id,
        META_APP_SECRET=cast.ads_app.secret,
    )


class Show:
    """What the demo does beside the server."""

    def __init__(self, sandbox: Sandbox, meta: str, *, days: int, leave: bool) -> None:
        self.sandbox, self.meta, self.days, self.leave = sandbox, meta, days, leave
        self.lived = min(days, LIVED)

    async def stand(self, clock: MovedClock, days_ago: int) -> None:
        """Let it be so many days ago, for the product and for its Meta."""
        await clock.move(-days_ago * DAY_S)
        self.sandbox.clock.ahead_s = -days_ago * DAY_S

    async def run(self, server: uvicorn.Server, base: str, door: Door, clock: MovedClock) -> None:
        """From the first webhook to the last; asks the server to stop when it leaves or fails."""
        try:
            async with aiohttp.ClientSession(base) as session:
                player = Player(self.sandbox, session, door.member_key, say_how_far, door.salespeople)
                await _until_ready(session)
                if self.days:
                    await self._play(session, player, door, clock)
                told = await _send_and_show(session, self.sandbox, door.member_key)
                player.skip(self.sandbox.months.add(told))
                link = await open_door(clock.conninfo, self.sandbox, door)
                click.echo(_closing(base, self.meta, door, link, leave=self.leave))
                if self.days and not self.leave:
                    await self._live(player, door, clock)
        except Exception:
            server.should_exit = True  # or nobody would hear of it before Ctrl-C
            raise
        if self.leave:
            server.should_exit = True

    async def _play(
        self, session: aiohttp.ClientSession, player: Player, door: Door, clock: MovedClock
    ) -> None:
        """The months before now: what is older than the last one at once, then day by day."""
        key = door.member_key
        names = await connect(session, key, self.sandbox)
        cases = len(self.sandbox.months.cases)
        click.echo(f"\n{self.days} days of {', '.join(names)}: {cases} conversations …")
        began = time.monotonic()
        await player.catch_up()
        player.quiet()
        await self._live_through(session, player, key, clock)
        click.echo(
            f"Played in {time.monotonic() - began:.0f} s; every ticket by a webhook, every move by the API."
        )
        try:
            await fresh(session, key, clock.conninfo, door.organization_id)
            click.echo("Meta has heard of the last month's leads and sales, and what ads spent is fetched.")
        except TimeoutError:
            click.echo("What ads spent is still being fetched: the ROI page says how far it is.")

    async def _live_through(
        self, session: aiohttp.ClientSession, player: Player, key: str, clock: MovedClock
    ) -> None:
        """The last month, a day at a time; each day Meta hears what it is owed. After it the clocks are the real ones."""
        db = Database(clock.conninfo, max_size=1)
        await db.open()
        for left in range(self.lived - 1, -1, -1):
            await self.stand(clock, left)
            await partitions.ensure_days(db)
            await player.catch_up()
            with suppress(TimeoutError):  # what Meta puts off, it hears on a later day
                async with asyncio.timeout(HEARD_WITHIN_S):
                    await heard(session, key)
            say_how_far("days lived", self.lived - left, self.lived)
        await db.close()
        await clock.stop()

    async def _live(self, player: Player, door: Door, clock: MovedClock) -> None:
        """Let people come while the demo serves; a webhook or move that fails is tried no second time.

        At first one each few seconds, to be watched, then ever fewer: or an hour of it would outweigh the month before.
        """
        began = time.monotonic()
        ends, fetch_at = began + BUSY_S, began + FETCH_EVERY_S
        while True:
            await asyncio.sleep(EVERY_S)
            if fetch_at < time.monotonic() < ends:
                fetch_at = time.monotonic() + FETCH_EVERY_S
                await refresh(clock.conninfo, door.organization_id, days=1)
            if time.monotonic() < ends and not secrets.randbelow(2 + int(time.monotonic() - began) // 60):
                self.sandbox.months.come()
            with suppress(aiohttp.ClientError, TimeoutError):
                await player.catch_up(strict=False)


def _serve(settings: Settings, listener: socket.socket, run_server: RunServer, show: Show) -> None:
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with installation.database(settings) as real:
        clock = MovedClock(real)
        asyncio.run(clock.start(0))
        asyncio.run(show.stand(clock, show.lived))
        conninfo = clock.conninfo
        door = asyncio.run(open_office(conninfo, settings, show.sandbox))

        async def beside(server: uvicorn.Server) -> None:
            asking = asyncio.create_task(keep_asking(conninfo, door.organization_id))
            try:
                await show.run(server, base, door, clock)
                if not show.leave:
                    await asking
            finally:
                asking.cancel()

        run_server(settings, conninfo, listener, with_workers=True, beside=beside)


def say_how_far(what: str, done: int, whole: int) -> None:
    """One line of the terminal that goes on; where there is no terminal, a line at the end."""
    if sys.stdout.isatty():
        click.echo(f"\r  {what:<12}{done:>6} of {whole:<6}", nl=done == whole)
    elif done == whole:
        click.echo(f"  {what}: {whole}")


def demo_folder(data_dir: Path) -> Path:
    """The demo's own data folder, beside the real one."""
    return data_dir.with_name(f"{data_dir.name}-demo")


async def _send_and_show(session: aiohttp.ClientSession, sandbox: Sandbox, key: str) -> list[Case]:
    """Send the afternoon and print its tickets; what it told."""
    count = 0
    afternoon = Afternoon(sandbox, int(time.time()))
    secret = sandbox.cast.whatsapp_app.secret
    for body in afternoon.bodies():
        data = as_meta_writes(body)
        headers = {"X-Hub-Signature-256": signature(secret, data), "Content-Type": "application/json"}
        async with session.post(intake.PATH, data=data, headers=headers) as answer:
            answer.raise_for_status()
        count += 1
    click.echo(f"Sent {count} signed webhooks; each was on disk before its 200.\n")
    cases = afternoon.cases()
    click.echo(table(await _settled(session, key, cases)))
    return cases


async def _until_ready(session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                async with session.get("/readyz") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass  # the server is still starting
            await asyncio.sleep(0.1)


async def _settled(session: aiohttp.ClientSession, key: str, cases: list[Case]) -> list[dict[str, Any]]:
    """The tickets of these people, once the drain has nothing left."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with session.get("/readyz") as answer:
                if (await answer.json())["drain_lag_seconds"] == 0:
                    break
            await asyncio.sleep(0.2)
    people = {same_person(case.wa_id) for case in cases}
    since = datetime.fromtimestamp(min(case.opened_at for case in cases), UTC).isoformat()
    params, headers = {"since": since, "limit": "200"}, {"Authorization": f"Bearer {key}"}
    async with session.get("/api/v1/tickets", params=params, headers=headers) as answer:
        found: list[dict[str, Any]] = (await answer.json())["data"]
    return [ticket for ticket in found if same_person(ticket["contact"]["wa_id"] or "") in people]


def table(tickets: list[dict[str, Any]]) -> str:
    """The tickets as a person reads them in a terminal."""
    head = ("CONTACT", "PHONE", "STAGE", "CREDITED TO", "CLICK ID", "LAST MESSAGE (UTC)")
    rows = [head, *(_row(ticket) for ticket in tickets)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "", f"{len(tickets)} tickets."])


def _row(ticket: dict[str, Any]) -> tuple[str, ...]:
    tracking = ticket["tracking"]
    kind = tracking["meta_source_type"]
    credit = "—" if kind == "organic" else f"{kind} {tracking['source_id']} ({tracking['headline']})"
    contact = ticket["contact"]
    said = (ticket["last_message_at"] or "—")[:16].replace("T", " ")
    return (
        contact["name"],
        contact["wa_id"],
        ticket["stage"]["name"],
        credit,
        f"{tracking['ctwa_clid'][:12]}…" if tracking["ctwa_clid"] else "—",
        said,
    )


def _closing(base: str, meta: str, door: Door, link: str, *, leave: bool) -> str:
    lines = [
        "",
        f"  SITE          {base.replace('127.0.0.1', 'localhost')}{link}   (signs you in; works once, for an hour)",
        "",
        f"  ROI           {base.replace('127.0.0.1', 'localhost')}/roi   (once signed in: what each ad cost and earned)",
        f"  true answer   {meta}/_sandbox/truth?level=ad   (what the sandbox knows, to compare with)",
        f"  Meta          {meta}/_sandbox   (a sandbox: send traffic, break logins, see what it learned)",
        f"  webhook       {base}{intake.PATH}",
        f"  tickets       curl -H 'Authorization: Bearer {door.member_key}' {base}/api/v1/tickets",
        f"  deliveries    curl -H 'Authorization: Bearer {door.operator_key}' {base}/api/v1/deliveries?state=pending",
        f"  API           {base}/api/openapi.json",
        "",
        "" if leave else "Serving on. Ctrl-C stops it; the next demo starts afresh.",
    ]
    return "\n".join(lines)

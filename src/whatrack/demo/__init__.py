"""`whatrack demo`: a clinic's afternoon. A fresh database and a Meta of its own, ad clicks, and the tickets that come out."""

import asyncio
import secrets
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import aiohttp
import click
import msgspec
import uvicorn

from whatrack import embedded, flow, installation
from whatrack.connections import number_login, upkeep
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.demo.traffic import Afternoon
from whatrack.inbox import intake
from whatrack.sandbox.machine import Sandbox
from whatrack.sandbox.sender import as_meta_writes, signature
from whatrack.sandbox.server import served
from whatrack.settings import Settings, load_settings
from whatrack.tenants import api_keys, links, members, users
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id
from whatrack.workers import keys_of, open_graph

WAIT_S = 60.0
ASK_EVERY_S = 3.0

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


def run(listener: socket.socket, run_server: RunServer, *, leave: bool) -> None:
    """Start anew, send the sample traffic, print the tickets, and serve on unless asked to leave."""
    folder = demo_folder(load_settings().data_dir)
    embedded.remove(folder)
    port = listener.getsockname()[1]
    sandbox, verify_token = Sandbox(), secrets.token_urlsafe(12)
    click.echo("WhaTrack demo: starting an embedded PostgreSQL and a Meta of its own …")
    with served(sandbox) as meta:
        settings = _settings(sandbox, meta, folder, port, verify_token)
        sandbox.cast.whatsapp_app.callback_url = f"http://127.0.0.1:{port}{intake.PATH}"
        sandbox.cast.waba.subscribed.setdefault(sandbox.cast.whatsapp_app.id, "")
        _serve(settings, listener, run_server, sandbox, meta, leave=leave)


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
        META_DIALOG_URL=meta,
        META_APP_ID=cast.ads_app.id,
        META_APP_SECRET=cast.ads_app.secret,
    )


def _serve(
    settings: Settings,
    listener: socket.socket,
    run_server: RunServer,
    sandbox: Sandbox,
    meta: str,
    *,
    leave: bool,
) -> None:
    port = listener.getsockname()[1]
    with installation.database(settings) as conninfo:
        door = asyncio.run(_sample_organization(conninfo, settings, sandbox))

        async def beside(server: uvicorn.Server) -> None:
            try:
                await _send_and_show(f"http://127.0.0.1:{port}", sandbox, door.member_key)
                click.echo(_closing(port, meta, door, leave=leave))
                if not leave:
                    await _keep_asking(conninfo, door.organization_id)
            except Exception:
                server.should_exit = True  # or nobody would hear of it before Ctrl-C
                raise
            if leave:
                server.should_exit = True

        run_server(settings, conninfo, listener, with_workers=True, beside=beside)


def demo_folder(data_dir: Path) -> Path:
    """The demo's own data folder, beside the real one."""
    return data_dir.with_name(f"{data_dir.name}-demo")


class Door(msgspec.Struct, frozen=True):
    """The ways in: keys of the API, and the path of a link that signs the site's sample owner in, once."""

    organization_id: UUID
    member_key: str
    operator_key: str
    link: str


async def _sample_organization(conninfo: str, settings: Settings, sandbox: Sandbox) -> Door:
    db = Database(conninfo, max_size=2)
    await db.open()
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name="Clínica Sorriso", slug="clinica-sorriso")
    )
    await _connect_number(db, settings, organization.id, sandbox)
    async with db.installation() as conn:
        _, member_key = await api_keys.create(conn, organization.id, "owner")
        _, operator_key = await api_keys.create(conn, None, "operator")
    async with db.tenant(organization.id) as conn:
        owner = await users.create(
            conn,
            email="dona@clinica-sorriso.example",
            name="Marina Alves",
            password_hash=None,
            is_operator=True,
        )
        await members.put(conn, organization.id, owner.id, "owner")
        link = await links.make(conn, "sign_in", owner.id)
    await db.close()
    return Door(organization.id, member_key, operator_key, link)


async def _connect_number(db: Database, settings: Settings, organization_id: UUID, sandbox: Sandbox) -> None:
    """The clinic's number, proved by its token as the site would, so that its dataset is known."""
    graph, keys = open_graph(settings), keys_of(settings, installation.sealer(settings))
    try:
        token, number_id = sandbox.number_token.value, sandbox.cast.number.id
        proved = await number_login.prove(graph, keys, token, number_id, None)
    finally:
        await graph.close()
    number = WhatsappNumber(organization_id, number_id, proved.waba_id, proved.display_phone)
    await flow.register_number(db, number, proved)


async def _keep_asking(conninfo: str, organization_id: UUID) -> None:
    """Let the loops ask Meta how profiles are every few seconds: what is broken in the sandbox shows at once."""
    db = Database(conninfo, max_size=1)
    await db.open()
    try:
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            async with db.tenant(organization_id) as conn:
                await upkeep.hurry(conn, organization_id)
    finally:
        await db.close()


async def _send_and_show(base: str, sandbox: Sandbox, key: str) -> None:
    async with aiohttp.ClientSession(base) as session:
        await _until_ready(session)
        count = 0
        secret = sandbox.cast.whatsapp_app.secret
        for body in Afternoon(sandbox, int(time.time())).bodies():
            data = as_meta_writes(body)
            headers = {"X-Hub-Signature-256": signature(secret, data), "Content-Type": "application/json"}
            async with session.post(intake.PATH, data=data, headers=headers) as answer:
                answer.raise_for_status()
            count += 1
        click.echo(f"Sent {count} signed webhooks; each was on disk before its 200.\n")
        tickets = await _settled(session, key)
    click.echo(table(tickets))


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


async def _settled(session: aiohttp.ClientSession, key: str) -> list[dict[str, Any]]:
    """The tickets, once the drain has nothing left."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with session.get("/readyz") as answer:
                if (await answer.json())["drain_lag_seconds"] == 0:
                    break
            await asyncio.sleep(0.2)
    async with session.get("/api/v1/tickets", headers={"Authorization": f"Bearer {key}"}) as answer:
        tickets: list[dict[str, Any]] = (await answer.json())["data"]
        return tickets


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


def _closing(port: int, meta: str, door: Door, *, leave: bool) -> str:
    base = f"http://127.0.0.1:{port}"
    lines = [
        "",
        f"  SITE          http://localhost:{port}{door.link}   (signs you in; works once, for an hour)",
        "",
        f"  Meta          {meta}/_sandbox   (a sandbox: send traffic, break logins, see what it learned)",
        f"  webhook       {base}{intake.PATH}",
        f"  tickets       curl -H 'Authorization: Bearer {door.member_key}' {base}/api/v1/tickets",
        f"  deliveries    curl -H 'Authorization: Bearer {door.operator_key}' {base}/api/v1/deliveries?state=pending",
        f"  API           {base}/api/openapi.json",
        "",
        "" if leave else "Serving on. Ctrl-C stops it; the next demo starts afresh.",
    ]
    return "\n".join(lines)

"""`whatrack demo`: a clinic's afternoon. A fresh database, ad clicks as Meta would send them, and the tickets that come out."""

import asyncio
import json
import secrets
import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import click
import msgspec
import uvicorn

from whatrack import embedded, flow, installation
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.inbox import intake
from whatrack.inbox.signature import sign
from whatrack.settings import Settings, load_settings
from whatrack.tenants import api_keys, links, members, users
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id

NUMBER, WABA = "106540352242922", "102290129340398"
CLEANING, WHITENING, BRACES = "120226305854810726", "120226305854810911", "120226305854811044"
WAIT_S = 60.0

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
    app_secret, verify_token = secrets.token_hex(16), secrets.token_urlsafe(12)
    settings = load_settings(
        DATABASE_URL=None,
        WHATRACK_DATA_DIR=folder,
        WHATRACK_BASE_URL=f"http://localhost:{port}",
        WHATSAPP_APP_SECRET=app_secret,
        WHATSAPP_VERIFY_TOKEN=verify_token,
    )
    click.echo("WhaTrack demo: starting an embedded PostgreSQL …")
    with installation.database(settings) as conninfo:
        door = asyncio.run(_sample_organization(conninfo))

        async def beside(server: uvicorn.Server) -> None:
            try:
                await _send_and_show(f"http://127.0.0.1:{port}", app_secret, door.member_key)
                click.echo(_closing(port, app_secret, verify_token, door, leave=leave))
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

    member_key: str
    operator_key: str
    link: str


async def _sample_organization(conninfo: str) -> Door:
    db = Database(conninfo, max_size=2)
    await db.open()
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name="Clínica Sorriso", slug="clinica-sorriso")
    )
    await flow.register_number(db, WhatsappNumber(organization.id, NUMBER, WABA, "+55 11 3555-0100"))
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
    return Door(member_key, operator_key, link)


async def _send_and_show(base: str, app_secret: str, key: str) -> None:
    async with aiohttp.ClientSession(base) as session:
        await _until_ready(session)
        count = 0
        for body in sample_bodies(int(time.time())):
            data = as_meta_writes(body)
            headers = {
                "X-Hub-Signature-256": sign(data, app_secret.encode()),
                "Content-Type": "application/json",
            }
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


def as_meta_writes(body: dict[str, Any]) -> bytes:
    """JSON as Meta signs it: ASCII, with / @ % < escaped."""
    text = json.dumps(body, separators=(",", ":"))
    for char, escaped in (("/", "\\/"), ("@", "\\u0040"), ("%", "\\u0025"), ("<", "\\u003C")):
        text = text.replace(char, escaped)
    return text.encode()


def sample_bodies(now: int) -> Iterator[dict[str, Any]]:
    """An afternoon's webhooks: ad clicks with and without click id, a post, a late one, a duplicate, a batch."""
    ana, bruno, carla = (
        ("5511987650001", "Ana Prado"),
        ("551187650002", "Bruno Lima"),
        ("5521998760003", "Carla Dias"),
    )
    davi, elisa, fabio = (
        ("5531987650004", "Davi Rocha"),
        ("5541987650005", "Elisa Melo"),
        ("5585987650006", "Fábio Nunes"),
    )
    yield webhook(
        message(ana, now - 7200, "Quero agendar uma limpeza", ad(CLEANING, "Limpeza a R$ 99", "Aff-ana-1"))
    )
    yield webhook(
        message(bruno, now - 7000, "Quanto custa o clareamento?", ad(WHITENING, "Clareamento", "Aff-bruno-1"))
    )
    # The same person, the ninth digit now written, and a newer click: last touch moves to the other ad.
    yield webhook(
        message(
            ("5511987650002", "Bruno Lima"),
            now - 3600,
            "E o aparelho?",
            ad(BRACES, "Aparelho", "Aff-bruno-2"),
        )
    )
    # An ad in WhatsApp Status: the ad is known, the click id is not.
    yield webhook(message(carla, now - 6500, "Vi no status", ad(CLEANING, "Limpeza a R$ 99", None)))
    post = {**ad("104857600000001", "Nosso novo consultório", None), "source_type": "post"}
    yield webhook(message(davi, now - 6000, "Vi a postagem de vocês", post))
    # Elisa's newer click arrives before her older one: the late one is kept in the story and changes nothing.
    yield webhook(message(elisa, now - 1800, "Pode ser amanhã?", ad(BRACES, "Aparelho", "Aff-elisa-new")))
    yield webhook(message(elisa, now - 5400, "Oi, tudo bem?", ad(WHITENING, "Clareamento", "Aff-elisa-old")))
    again = webhook(
        message(
            ana, now - 900, "Voltei pelo anúncio", ad(CLEANING, "Limpeza a R$ 99", "Aff-ana-2"), "wamid.ana-2"
        )
    )
    yield again
    yield again  # Meta delivers at least once
    yield webhook(
        message(fabio, now - 600, "Tem convênio?", ad(WHITENING, "Clareamento", "Aff-fabio-1")),
        message(("551135501234", "Gabi Souza"), now - 500, "Boa tarde"),
        message(carla, now - 400, "Consegui o horário 😀"),
        message(
            ("5548987650008", "Hugo Reis"),
            now - 300,
            "Preço do aparelho?",
            ad(BRACES, "Aparelho", "Aff-hugo-1"),
        ),
    )


def webhook(*messages: dict[str, Any]) -> dict[str, Any]:
    """A body with these messages, each with its contact, for the demo's number."""
    contacts = [{"profile": {"name": each.pop("name")}, "wa_id": each["from"]} for each in messages]
    metadata = {"display_phone_number": "551135550100", "phone_number_id": NUMBER}
    value = {
        "messaging_product": "whatsapp",
        "metadata": metadata,
        "contacts": contacts,
        "messages": list(messages),
    }
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": WABA, "changes": [{"field": "messages", "value": value}]}],
    }


def message(
    person: tuple[str, str],
    at: int,
    text: str,
    referral: dict[str, Any] | None = None,
    wamid: str | None = None,
) -> dict[str, Any]:
    """One text message; `name` is taken out again by webhook()."""
    phone, name = person
    found = {
        "from": phone,
        "id": wamid or f"wamid.{phone}.{at}",
        "timestamp": str(at),
        "type": "text",
        "text": {"body": text},
    }
    return {"name": name, **found, **({"referral": referral} if referral else {})}


def ad(ad_id: str, headline: str, clid: str | None) -> dict[str, Any]:
    """A referral as an ad sends it."""
    referral = {"source_url": "https://fb.me/3cr4Wqqkv", "source_id": ad_id, "source_type": "ad", "headline": headline,
                "body": "Fale com a gente no WhatsApp", "media_type": "image"}  # fmt: skip
    return {**referral, **({"ctwa_clid": clid} if clid else {})}


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
        tracking["ctwa_clid"] or "—",
        said,
    )


def _closing(port: int, app_secret: str, verify_token: str, door: Door, *, leave: bool) -> str:
    base = f"http://127.0.0.1:{port}"
    lines = [
        "",
        f"  SITE          http://localhost:{port}{door.link}   (signs you in; works once, for an hour)",
        "",
        f"  webhook       {base}{intake.PATH}   (app secret {app_secret}, verify token {verify_token})",
        f"  tickets       curl -H 'Authorization: Bearer {door.member_key}' {base}/api/v1/tickets",
        f"  deliveries    curl -H 'Authorization: Bearer {door.operator_key}' {base}/api/v1/deliveries?state=pending",
        f"  API           {base}/api/openapi.json",
        "",
        "" if leave else "Serving on. Ctrl-C stops it; the next demo starts afresh.",
    ]
    return "\n".join(lines)

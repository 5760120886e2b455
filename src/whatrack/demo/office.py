"""The demo's organization: two numbers that their own token proved, and two profiles connected as a person would, by the API."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import aiohttp
import msgspec

from whatrack import db as database
from whatrack import flow, installation
from whatrack.connections import number_login, upkeep
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.insights import wishes
from whatrack.roi import rates
from whatrack.sandbox import chance
from whatrack.sandbox.build import ADS_SCOPES, WHATSAPP_SCOPES, issue_token
from whatrack.sandbox.machine import Sandbox
from whatrack.settings import Settings
from whatrack.tenants import api_keys, links, members, users
from whatrack.tenants.organizations import Organization
from whatrack.units import new_id
from whatrack.workers import keys_of, open_graph

META = "/api/v1/meta-ads"
EVENTS = "/api/v1/conversion-events"
PATIENCE_S = 90.0
RATE_DAYS = 130
DAY_S = 86_400
ASK_EVERY_S = 3.0
SALESPEOPLE = (
    ("julia@clinica-sorriso.example", "Júlia Prado"),
    ("rafael@clinica-sorriso.example", "Rafael Nunes"),
)


class Door(msgspec.Struct, frozen=True):
    """The ways in: keys of the API, and the site's sample owner. salespeople: members who attend people, to be given tickets."""

    organization_id: UUID
    member_key: str
    operator_key: str
    owner_id: UUID
    salespeople: tuple[UUID, ...]


async def open_office(conninfo: str, settings: Settings, sandbox: Sandbox) -> Door:
    """The clinic, its owner, and its numbers, live."""
    db = Database(conninfo, max_size=2)
    await db.open()
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name="Clínica Sorriso", slug="clinica-sorriso")
    )
    await _numbers(db, settings, sandbox, organization)
    await _rates(db, sandbox, organization.id)
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
        sellers = [
            await users.create(conn, email=email, name=name, password_hash=None)
            for email, name in SALESPEOPLE
        ]
        for seller in sellers:
            await members.put(conn, organization.id, seller.id, "agent")
    await db.close()
    return Door(organization.id, member_key, operator_key, owner.id, tuple(each.id for each in sellers))


async def _numbers(db: Database, settings: Settings, sandbox: Sandbox, organization: Organization) -> None:
    """Both numbers, each proved by the sandbox's token, which makes their datasets too."""
    keys, graph = keys_of(settings, installation.sealer(settings)), open_graph(settings)
    for number in (sandbox.cast.number, sandbox.cast.other_number):
        found = await number_login.prove(graph, keys, sandbox.number_token.value, number.id, number.waba_id)
        live = WhatsappNumber(organization.id, number.id, number.waba_id, number.display)
        await flow.register_number(db, live, found)
    await graph.close()


async def keep_asking(conninfo: str, organization_id: UUID) -> None:
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


async def open_door(conninfo: str, sandbox: Sandbox, door: Door) -> str:
    """The path of a link that signs the owner in, once, within an hour; rates known up to the day it is by now."""
    db = Database(conninfo, max_size=1)
    await db.open()
    try:
        await _rates(db, sandbox, door.organization_id)
        async with db.tenant(door.organization_id) as conn:
            return await links.make(conn, "sign_in", door.owner_id)
    finally:
        await db.close()


async def _rates(db: Database, sandbox: Sandbox, organization_id: UUID) -> None:
    """What a dollar was worth on each day: made up, near five reais and forty."""
    async with db.tenant(organization_id) as conn:
        today = (await database.now(conn)).date()
        days = [today - timedelta(days=back) for back in range(RATE_DAYS)]
        worth = {
            day: Decimal(chance.between(52_900, 55_100, sandbox.seed, "dollar", day.isoformat())) / 10_000
            for day in days
        }
        await rates.put(
            conn, organization_id, "USD", "BRL", worth, actor="system", source="imported", carry=True
        )


async def heard(session: aiohttp.ClientSession, key: str) -> None:
    """Wait until Meta heard what it is owed."""
    headers = {"Authorization": f"Bearer {key}"}

    async def is_told() -> bool:
        async with session.get(EVENTS, params={"status": "PENDING", "limit": "1"}, headers=headers) as answer:
            answer.raise_for_status()
            return not (await answer.json())["data"]

    await _until(is_told)


async def fresh(session: aiohttp.ClientSession, key: str, conninfo: str, organization_id: UUID) -> None:
    """Wait until Meta heard what it is owed, then have the last days' figures fetched, and wait until all are there.

    TimeoutError when something stands in the way for too long; what is missing then comes by itself.
    """
    headers = {"Authorization": f"Bearer {key}"}

    async def is_whole() -> bool:
        found = await _ask(session, "GET", "/sync", headers)
        return bool(found["accounts"]) and all(
            each["whole_at"] and not each["due"] and not each["missing"] for each in found["accounts"]
        )

    async with asyncio.timeout(PATIENCE_S):
        await heard(session, key)
        await _until(is_whole)
        await refresh(conninfo, organization_id, days=28)
        await _until(is_whole)


async def refresh(conninfo: str, organization_id: UUID, *, days: int) -> None:
    """Have the last days fetched anew. Not by the API: that would use up the minute of whoever presses the button."""
    db = Database(conninfo, max_size=1)
    await db.open()
    try:
        async with db.tenant(organization_id) as conn:
            await wishes.hurry(conn, organization_id, days)
    finally:
        await db.close()


async def _until(comes: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it is so; the caller says for how long."""
    for _ in itertools.count():
        if await comes():
            return
        await asyncio.sleep(0.2)


async def connect(session: aiohttp.ClientSession, key: str, sandbox: Sandbox) -> list[str]:
    """Connect Thiago and Viviane by pasted tokens, and turn on the accounts that advertise; the names of those."""
    cast = sandbox.cast
    scopes = (*ADS_SCOPES, *WHATSAPP_SCOPES)
    viviane = issue_token(sandbox.world, cast.ads_app, cast.viviane, scopes, 58 * DAY_S)
    headers = {"Authorization": f"Bearer {key}"}
    for token in (sandbox.token, viviane):
        await _ask(session, "POST", "/connections", headers, {"access_token": token.value})
    datasets = (cast.waba.dataset_id, cast.waba.dataset_id, cast.other_waba.dataset_id)
    names = []
    for account_id, dataset in zip(cast.thiago.account_ids, datasets, strict=True):
        path = f"/ad-accounts/act_{account_id}"
        found = await _ask(session, "GET", path, headers)
        wanted = {"is_active": True, "pixel_id": dataset, "version": found["version"]}
        names.append((await _ask(session, "PUT", f"{path}/config", headers, wanted))["ad_account_name"])
    return names


async def _ask(
    session: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], body: Any = None
) -> Any:
    async with session.request(method, f"{META}{path}", json=body, headers=headers) as answer:
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {await answer.text()}")
        return await answer.json()

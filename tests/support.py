"""What many tests need: webhook bodies, an organization with a live number, draining to the end, reading rows."""

import hashlib
import itertools
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
from psycopg.rows import dict_row
from yarl import URL

from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.crypto import Sealer
from whatrack.db import Database
from whatrack.inbox import store
from whatrack.meta import webhook
from whatrack.tenants import members, sessions, users
from whatrack.tenants.organizations import Organization
from whatrack.tenants.passwords import Passwords
from whatrack.tenants.users import User
from whatrack.units import new_id
from whatrack.workers import Drain

PAYLOADS = Path(__file__).parent / "payloads"
APP_SECRET = "planted-app-secret-5f2a"
SECRET_KEY = "planted-secret-key-of-at-least-32-characters-1c0d"
VERIFY_TOKEN = "planted-verify-token-77c1"
PASSWORD = "planted-passphrase-9b2e"
SEALER = Sealer([SECRET_KEY])
# Planted in messages throughout the suite; the log test looks for them.
PHONE = "5511987654321"
TEXT = "texto-plantado-quero-saber-o-preço"

WABA = "102290129340398"
NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=6)

_numbers = itertools.count(100_000)
_people = itertools.count(1)


@dataclass(frozen=True)
class Shop:
    """An organization with one live number."""

    organization: Organization
    number: str

    @property
    def id(self) -> UUID:
        return self.organization.id


def phone_number_id() -> str:
    return f"10654035224{next(_numbers)}"


async def make_shop(
    db: Database, slug: str = "loja", number: str | None = None, waba: str = WABA, **more: Any
) -> Shop:
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name=slug.title(), slug=slug, **more)
    )
    shop = Shop(organization, number or phone_number_id())
    await flow.register_number(db, WhatsappNumber(shop.id, shop.number, waba, "+55 11 3555-0100"))
    return shop


def message(
    sender: str | None = PHONE,
    *,
    at: datetime | str | int = NOON,
    text: str = TEXT,
    referral: dict[str, Any] | None = None,
    wamid: str | None = None,
    user_id: str | None = None,
    type: str = "text",
    **more: Any,
) -> dict[str, Any]:
    """One message as it stands in messages[]; an unnamed wamid follows from the content."""
    stamp = str(int(at.timestamp())) if isinstance(at, datetime) else at
    found: dict[str, Any] = {"timestamp": stamp, "type": type, **more}
    if type == "text":
        found["text"] = {"body": text}
    if sender is not None:
        found["from"] = sender
    if user_id is not None:
        found["from_user_id"] = user_id
    if referral is not None:
        found["referral"] = referral
    content = json.dumps(found, sort_keys=True).encode()
    return {"id": wamid or "wamid." + hashlib.sha256(content).hexdigest()[:24], **found}


def ad(ad_id: str = "120226305854810726", clid: str | None = "Aff-click-1", **more: Any) -> dict[str, Any]:
    found = {
        "source_type": "ad",
        "source_id": ad_id,
        "source_url": "https://fb.me/x",
        "headline": "Chat",
        "media_type": "image",
    }
    return {**found, **({"ctwa_clid": clid} if clid is not None else {}), **more}


def change(number: str, *messages: dict[str, Any], field: str = "messages", **value: Any) -> dict[str, Any]:
    people = [
        {"profile": {"name": f"Pessoa {each['from'][-4:]}"}, "wa_id": each["from"]}
        for each in messages
        if each.get("from")
    ]
    whole: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": number}}
    if messages:
        whole |= {"contacts": people, "messages": list(messages)}
    return {"field": field, "value": {**whole, **value}}


def body(*changes: dict[str, Any], waba: str = WABA) -> bytes:
    envelope = {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": list(changes)}]}
    return json.dumps(envelope).encode()


def published(name: str, number: str | None = None) -> bytes:
    """A published body, for our number when one is given."""
    text = (PAYLOADS / f"{name}.json").read_text(encoding="utf-8")
    return (text.replace("106540352242922", number) if number else text).encode()


async def arrive(db: Database, *bodies: bytes) -> None:
    """Store deliveries as the intake would if it knew no route: the drain finds them."""
    async with db.installation() as conn:
        routes = []
        for each in bodies:
            found = webhook.quick_routes(each)
            routes.append(
                "-1 " if found is None or "" in found else ",".join(f"-1 {route}" for route in found)
            )
        await store.append(conn, list(bodies), routes)


async def drain(db: Database, limit: int = 500) -> None:
    """Route and drain until nothing waits."""
    drainer = Drain(db)
    drainer._limit = limit
    while True:
        while (await flow.route_in(db, limit)).rows:
            pass
        async with db.installation() as conn:
            if (await store.counts(conn)).pending == 0:
                return
        await drainer.step()


async def process(db: Database, *bodies: bytes, limit: int = 500) -> None:
    await arrive(db, *bodies)
    await drain(db, limit)


async def rows(db: Database, query: str, *parameters: Any) -> list[dict[str, Any]]:
    """Rows over all organizations."""
    async with db.system() as conn, conn.cursor(row_factory=dict_row) as cursor:
        return await (await cursor.execute(query.encode(), parameters)).fetchall()


async def tickets(db: Database) -> list[dict[str, Any]]:
    """Every ticket with its contact and tracking, in the order they opened."""
    return await rows(
        db,
        """SELECT t.*, c.name, c.wa_id, c.user_id, k.* FROM tickets t
           JOIN contacts c ON c.organization_id = t.organization_id AND c.id = t.contact_id
           JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
           ORDER BY t.opened_at, t.created_at, t.id""",
    )


async def make_person(
    db: Database,
    shop: Shop | None = None,
    role: str = "owner",
    *,
    email: str = "",
    password: str = "",
    **more: Any,
) -> User:
    """Somebody with an account; with a password only when one is given, because hashing takes time."""
    number = next(_people)
    hashed = await Passwords(1024).hash(password) if password else None
    async with db.system() as conn:
        person = await users.create(
            conn,
            email=email or f"pessoa-{number}@example.com",
            name=more.pop("name", f"Pessoa {number}"),
            password_hash=hashed,
            **more,
        )
        if shop:
            await members.put(conn, shop.id, person.id, role)
    return person


async def sign_in(
    db: Database,
    service: str,
    shop: Shop | None,
    role: str = "owner",
    *,
    person: User | None = None,
    **more: Any,
) -> aiohttp.ClientSession:
    """A browser in which a person is signed in: a new one with this role, or one who is there. Close it at the end."""
    person = person or await make_person(db, shop, role, **more)
    async with db.installation() as conn:
        token = await sessions.start(
            conn, person.id, agent="tests", address="127.0.0.1", organization_id=shop.id if shop else None
        )
    browser = stranger(service)
    browser.cookie_jar.update_cookies({"whatrack": token}, URL(service))
    return browser


def stranger(service: str) -> aiohttp.ClientSession:
    """A browser in which nobody is signed in; it keeps cookies and follows redirects."""
    return aiohttp.ClientSession(service, cookie_jar=aiohttp.CookieJar(unsafe=True))

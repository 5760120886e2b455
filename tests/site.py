"""An organization as it may look after a month, for the tests of its pages: people, tickets, deliveries set aside."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import AsyncClientCursor

from tests.support import NOON, WABA, ad, body, change, message, phone_number_id, process, rows
from whatrack import flow
from whatrack.connections.whatsapp_numbers import WhatsappNumber
from whatrack.db import Database
from whatrack.tenants import api_keys, invitations, links, members, sessions, users
from whatrack.tenants.access import Access
from whatrack.tenants.organizations import Organization
from whatrack.tenants.users import User
from whatrack.tickets.moves import Change
from whatrack.tickets.stages import Stage, find_stage
from whatrack.units import new_id

ROLES = ("owner", "admin", "agent", "viewer")
CLEANING, WHITENING = "120226305854810726", "120226305854810911"

# name, days ago, what brought them, and where they are now: a stage, with a sale's value or a reason
PEOPLE: tuple[tuple[str, int, str, str, str], ...] = (
    ("Ana Souza", 0, "ad", "Novo", ""),
    ("Maria Aparecida dos Santos Albuquerque Cavalcanti de Vasconcelos", 1, "ad", "Novo", ""),
    ("Bruno Lima", 1, "organic", "Novo", ""),
    ("Carla Dias", 3, "ad", "Qualificado", ""),
    ("Supercalifragilisticexpialidocious-Nomesemespacos", 4, "post", "Qualificado", ""),
    ("Davi Rocha", 6, "post", "Proposta", "1890.00"),
    ("Elis Prado", 9, "ad", "Ganho", "12400.00"),
    ("Fábio Nunes", 12, "organic", "Ganho", "350.50"),
    ("Gina Melo", 15, "ad", "Perdido", "Achou caro"),
    ("Hugo Teles", 40, "ad", "Novo", ""),  # expired
)


@dataclass
class Site:
    """A running service and what is in it. places: what page addresses need, such as {ticket}."""

    base_url: str
    db: Database
    organization: Organization
    number: str
    people: dict[str, User]
    places: dict[str, str] = field(default_factory=dict)

    async def cookie(self, role: str) -> dict[str, Any]:
        """Signs a person in, as their browser would keep it."""
        token = await sign_in(self.db, self.people[role], self.organization.id)
        return {"name": "whatrack", "value": token, "url": self.base_url, "httpOnly": True}


async def sign_in(db: Database, user: User, organization_id: UUID) -> str:
    async with db.installation() as conn:
        return await sessions.start(
            conn, user.id, agent="Chromium", address="127.0.0.1", organization_id=organization_id
        )


async def make_people(db: Database, organization: Organization) -> dict[str, User]:
    """A person of every role, the operator (an owner too), and one who belongs nowhere."""
    people = {}
    for role in (*ROLES, "operator", "stranger"):
        async with db.tenant(organization.id) as conn:
            people[role] = await users.create(
                conn,
                email=f"{role}@{organization.slug}.example",
                name=f"{role.title()} da Silva",
                password_hash=None,
                is_operator=role == "operator",
            )
            if role != "stranger":
                member_role = "owner" if role == "operator" else role
                await members.put(conn, organization.id, people[role].id, member_role)
    return people


async def make_site(db: Database, base_url: str, slug: str = "clinica-sorriso") -> Site:
    """The organization with everything in it. Another slug makes another, for tests that change things."""
    organization = await flow.open_organization(
        db, Organization(id=new_id(), name="Clínica Sorriso do Vale do Paraíba", slug=slug)
    )
    number = phone_number_id()
    await flow.register_number(db, WhatsappNumber(organization.id, number, WABA, "+55 11 3555-0100"))
    site = Site(base_url, db, organization, number, await make_people(db, organization))
    await process(db, *_conversations(number))
    await _give_picture(site)
    await _move_all(site)
    await _places(site)
    await _events(site)
    return site


async def make_second_home(site: Site) -> None:
    """The owner belongs to a second organization too, so that there is one to switch to."""
    second = await flow.open_organization(
        site.db, Organization(id=new_id(), name="Studio Pilates Zona Norte", slug="studio-pilates")
    )
    async with site.db.tenant(second.id) as conn:
        await members.put(conn, second.id, site.people["owner"].id, "owner")


async def set_aside(site: Site) -> None:
    """A delivery that failed ({failed} in addresses) and one that is quarantined."""
    nobody, not_live = message(None, text="Quem sou eu?"), message("5511955550000")
    await process(site.db, body(change(site.number, nobody)), body(change("777000777", not_live)))
    (failed,) = await rows(site.db, "SELECT day, id FROM delivery_exceptions WHERE state = 'failed'")
    site.places["failed"] = f"{failed['day']}/{failed['id']}"


async def open_doors(site: Site) -> None:
    """Links that work once: {reset}, {enter}, {invite}; and an API key among the keys."""
    people = site.people
    async with site.db.system() as conn:
        site.places["reset"] = await links.make(conn, "reset", people["viewer"].id)
        site.places["enter"] = await links.make(conn, "sign_in", people["viewer"].id)
        await api_keys.create(conn, site.organization.id, "agent", "Planilha de vendas do financeiro")
    async with site.db.tenant(site.organization.id) as conn:
        owner = Access(site.organization.id, "owner", people["owner"].actor)
        token = await invitations.put(conn, owner, "nova.pessoa@example.com", "agent")
    site.places["invite"] = token if token.startswith("/") else f"/invite/{token}"


def _conversations(number: str) -> Iterable[bytes]:
    for place, (name, days_ago, source, _, _) in enumerate(PEOPLE):
        wa_id = f"551195555{place:04d}"
        at = NOON - timedelta(days=days_ago)
        referral = {
            "ad": ad(
                CLEANING if place % 2 else WHITENING, f"Aff-sample-{place}", headline="Avaliação grátis"
            ),
            "post": ad("17900000000000000", None, source_type="post", headline="Antes e depois"),
        }.get(source)
        person = [{"profile": {"name": name}, "wa_id": wa_id}]
        first = message(wa_id, at=at, text="Oi, vi o anúncio e queria saber o valor", referral=referral)
        second = message(wa_id, at=at + timedelta(minutes=4), text="Pode ser na quinta?")
        yield body(change(number, first, second, contacts=person))


async def _give_picture(site: Site) -> None:
    """A plain green picture for one of the ads, as wide as ads are."""
    async with site.db.tenant(site.organization.id) as conn:
        await conn.execute(
            """INSERT INTO ad_pictures (organization_id, source_id, url, state, media_type, bytes, next_attempt_at)
               VALUES (%s, %s, 'https://scontent.fbcdn.net/a.png', 'had', 'image/png', %s, now())""",
            [site.organization.id, WHITENING, _plain_png(600, 315, (20, 160, 110))],
        )


def _plain_png(width: int, height: int, color: tuple[int, int, int]) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + bytes(color) * width) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


async def _move_all(site: Site) -> None:
    actor = site.people["agent"].actor
    found = await rows(
        site.db,
        """SELECT t.id, c.name FROM tickets t JOIN contacts c USING (organization_id)
           WHERE t.organization_id = %s AND c.id = t.contact_id""",
        site.organization.id,
    )
    ids = {row["name"]: row["id"] for row in found}
    for name, _, _, stage, more in PEOPLE:
        if stage == "Novo":
            continue

        def choose(stages: list[Stage], stage: str = stage, more: str = more) -> Change:
            reason = more if stage == "Perdido" else None
            value = Decimal(more) if more and not reason else None
            return Change(stage=find_stage(stages, stage), deal_value=value, lost_reason=reason)

        async with site.db.tenant(site.organization.id) as conn:
            await flow.move_ticket(conn, site.organization.id, ids[name], choose, actor=actor)


async def _places(site: Site) -> None:
    """ticket: an open one from an ad; ticket_won, ticket_lost, ticket_organic, ticket_post; stage_new, stage_won …"""
    found = await rows(
        site.db,
        """SELECT t.id, c.name FROM tickets t JOIN contacts c USING (organization_id)
           WHERE t.organization_id = %s AND c.id = t.contact_id""",
        site.organization.id,
    )
    ids = {row["name"]: str(row["id"]) for row in found}
    named = {"ticket": "Ana Souza", "ticket_long": PEOPLE[1][0], "ticket_organic": "Bruno Lima"}
    named |= {"ticket_post": "Davi Rocha", "ticket_won": "Elis Prado", "ticket_lost": "Gina Melo"}
    site.places |= {place: ids[name] for place, name in named.items()}
    found = await rows(
        site.db, "SELECT id, name, role FROM stages WHERE organization_id = %s", site.organization.id
    )
    site.places |= {f"stage_{row['role'] or 'proposal'}": str(row["id"]) for row in found}


# As a dispatcher would have left them: the sample's loops reach no Meta.
SETTLED = """
UPDATE meta_conversion_events SET status = 'PENDING' WHERE ticket_id = %(ticket)s AND status LIKE 'SKIPPED_NO_DATASET';
UPDATE meta_conversion_events SET status = %(status)s, attempts = 1, dataset_id = '7712000000000001', fbtrace_id = 'AbCdEfGhIjKlMn',
    hold_reason = NULL, error_code = %(code)s, error_message = %(message)s, lease_id = NULL, lease_until = NULL, was_unknown = false,
    sent_at = CASE WHEN %(status)s = 'SENT' THEN now() END WHERE ticket_id = %(ticket)s AND status = 'PENDING';
INSERT INTO meta_conversion_attempts (organization_id, id, event_row_id, lease_id, number, dataset_id, request_size, started_at, ended_at,
    duration_ms, outcome, http_status, error_code, error_message, fbtrace_id, request, response)
SELECT organization_id, gen_random_uuid(), id, gen_random_uuid(), 1, '7712000000000001', 1, now(), now(), 412,
    CASE WHEN status = 'SENT' THEN 'accepted' ELSE 'refused' END, CASE WHEN status = 'SENT' THEN 200 ELSE 400 END, error_code,
    error_message, fbtrace_id, '{"data": [{"event_name": "Purchase", "action_source": "business_messaging"}]}',
    '{"events_received": 1, "messages": [], "fbtrace_id": "AbCdEfGhIjKlMn"}'
FROM meta_conversion_events WHERE ticket_id = %(ticket)s
"""


async def _events(site: Site) -> None:
    """event_sent, event_failed; the others wait or were skipped. And an ad that nobody shows."""
    found = await rows(
        site.db,
        "SELECT e.id, e.ticket_id, e.event_name, c.name FROM meta_conversion_events e JOIN tickets t ON t.id = e.ticket_id"
        " JOIN contacts c ON c.id = t.contact_id WHERE e.organization_id = %s",
        site.organization.id,
    )
    by_name = {row["name"]: row for row in found}
    chosen: dict[str, tuple[str, str, str | None, str | None]] = {}
    chosen["event_sent"] = ("Elis Prado", "SENT", None, None)
    chosen["event_failed"] = (
        "Carla Dias",
        "FAILED",
        "100/2804132",
        "No WhatsApp Business Account Linked to This Dataset",
    )
    for place, (name, status, code, message_) in chosen.items():
        site.places[place] = str(by_name[name]["id"])
        values = {"ticket": by_name[name]["ticket_id"], "status": status, "code": code, "message": message_}
        async with site.db.system() as conn, AsyncClientCursor(conn) as cursor:
            await cursor.execute(SETTLED.encode(), values)
    async with site.db.system() as conn:
        await conn.execute(
            b"INSERT INTO meta_ad_lookups VALUES (%s, %s, 'no_access', 2, now(), now() + interval '1 hour') ON CONFLICT DO NOTHING",
            [site.organization.id, "120299999999999999"],
        )

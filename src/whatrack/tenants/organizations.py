"""Organizations: the tenants. One writer of `organizations`."""

import re
import unicodedata
from itertools import count
from typing import LiteralString
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from psycopg import errors
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused, bad_value
from whatrack.tenants import audit
from whatrack.tenants.access import Access

PARTITIONS = 64
CHANGEABLE = ("name", "timezone", "base_currency", "ticket_expiration_days")

INSERT: LiteralString = """
INSERT INTO organizations (id, name, slug, timezone, base_currency, ticket_expiration_days, partition)
VALUES (%(id)s, %(name)s, %(slug)s, %(timezone)s, %(base_currency)s, %(ticket_expiration_days)s, %(partition)s)
"""
# What each CHECK of the table asks for.
RULES = {
    "organizations_name_check": ("name", "A name has 1 to 200 characters."),
    "organizations_slug_check": ("slug", "A slug has 1 to 63 of a-z, 0-9 and '-', which stands neither first nor last."),
    "organizations_base_currency_check": ("base_currency", "A currency is three capitals, such as BRL (ISO 4217)."),
}  # fmt: skip
UPDATE: LiteralString = """
UPDATE organizations SET name = %(name)s, timezone = %(timezone)s, base_currency = %(base_currency)s,
       ticket_expiration_days = %(ticket_expiration_days)s WHERE id = %(id)s
"""
COLUMNS: LiteralString = "id, name, slug, timezone, base_currency, ticket_expiration_days, partition"
BY_SLUG: LiteralString = f"SELECT {COLUMNS} FROM organizations WHERE slug = %s"  # noqa: S608 - constants only
BY_ID: LiteralString = f"SELECT {COLUMNS} FROM organizations WHERE id = %s"  # noqa: S608 - constants only

ALL: LiteralString = f"SELECT {COLUMNS} FROM organizations ORDER BY slug"  # noqa: S608 - constants only
SLUGS_LIKE: LiteralString = "SELECT slug FROM organizations WHERE slug = %s OR slug LIKE %s || '-%%'"
NO_SLUG = re.compile(r"[^a-z0-9]+")


class Organization(msgspec.Struct, frozen=True):
    """One tenant. timezone: an IANA name. partition: which drain partition its numbers share (0 to 63)."""

    id: UUID
    name: str
    slug: str
    timezone: str = "America/Sao_Paulo"
    base_currency: str = "BRL"
    ticket_expiration_days: int = 30
    partition: int = 0


async def create(conn: Connection, organization: Organization) -> Organization:
    """Write a new organization; Refused `slug_taken`, or 422 for a bad name, slug, currency or zone."""
    check_zone(organization.timezone)
    placed = msgspec.structs.replace(organization, partition=organization.id.int % PARTITIONS)
    try:
        await conn.execute(INSERT, msgspec.structs.asdict(placed))
    except errors.UniqueViolation:
        raise Refused(
            "slug_taken", f'An organization with the slug "{organization.slug}" exists: choose another.'
        ) from None
    except errors.CheckViolation as error:
        if error.diag.constraint_name not in RULES:
            raise
        raise bad_value(*RULES[error.diag.constraint_name]) from None
    return placed


async def change(conn: Connection, access: Access, wanted: Organization) -> None:
    """Give an organization another name, zone, currency or expiry; the audit says what changed."""
    access.require("admin")
    check_zone(wanted.timezone)
    before = msgspec.structs.asdict(await by_id(conn, access.organization_id))
    changed = {
        name: [before[name], value]
        for name, value in msgspec.structs.asdict(wanted).items()
        if name in CHANGEABLE and value != before[name]
    }
    if changed:
        await conn.execute(UPDATE, {**msgspec.structs.asdict(wanted), "id": access.organization_id})
        target = f"organization:{access.organization_id}"
        await audit.record(
            conn, access.organization_id, access.actor, "organization_changed", target, changed
        )


async def everyone(conn: Connection) -> list[Organization]:
    """Every organization in scope, by slug."""
    async with conn.cursor(row_factory=class_row(Organization)) as cursor:
        return await (await cursor.execute(ALL)).fetchall()


async def free_slug(conn: Connection, name: str) -> str:
    """A slug made of the name, with a number behind it when others have it (system scope)."""
    plain = unicodedata.normalize("NFKD", name.lower()).encode("ascii", "ignore").decode()
    wanted = NO_SLUG.sub("-", plain).strip("-")[:50].strip("-") or "organizacao"
    taken = {row[0] for row in await (await conn.execute(SLUGS_LIKE, [wanted, wanted])).fetchall()}
    return next(slug for number in count(1) if (slug := _numbered(wanted, number)) not in taken)


def _numbered(slug: str, number: int) -> str:
    return slug if number == 1 else f"{slug}-{number}"


def check_zone(name: str) -> ZoneInfo:
    """The zone of an IANA name such as America/Sao_Paulo; 422 when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise bad_value(
            "timezone", f'There is no time zone "{name}": use a name such as America/Sao_Paulo.'
        ) from None


async def by_slug(conn: Connection, slug: str) -> Organization:
    """The organization with this slug (system scope); NotFound when there is none."""
    return await _one(conn, BY_SLUG, slug)


async def by_id(conn: Connection, organization_id: UUID) -> Organization:
    """The organization with this id; NotFound when there is none in scope."""
    return await _one(conn, BY_ID, organization_id)


async def _one(conn: Connection, query: LiteralString, key: object) -> Organization:
    async with conn.cursor(row_factory=class_row(Organization)) as cursor:
        row = await (await cursor.execute(query, [key])).fetchone()
    if row is None:
        raise NotFound(f"There is no organization {key}.")
    return row

"""Organizations: the tenants. One writer of `organizations`."""

from typing import LiteralString
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from psycopg import errors
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused, bad_value

PARTITIONS = 64

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
COLUMNS: LiteralString = "id, name, slug, timezone, base_currency, ticket_expiration_days, partition"
BY_SLUG: LiteralString = f"SELECT {COLUMNS} FROM organizations WHERE slug = %s"  # noqa: S608 - constants only
BY_ID: LiteralString = f"SELECT {COLUMNS} FROM organizations WHERE id = %s"  # noqa: S608 - constants only


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

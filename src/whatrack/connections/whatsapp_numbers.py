"""The organization's WhatsApp numbers. One writer of `whatsapp_numbers`."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg import errors
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import bad_value

UPSERT: LiteralString = """
INSERT INTO whatsapp_numbers (organization_id, phone_number_id, waba_id, display_phone)
VALUES (%(organization_id)s, %(phone_number_id)s, %(waba_id)s, %(display_phone)s)
ON CONFLICT (organization_id, phone_number_id)
DO UPDATE SET waba_id = excluded.waba_id, display_phone = excluded.display_phone
"""
EXISTS: LiteralString = """
SELECT EXISTS (SELECT FROM whatsapp_numbers WHERE organization_id = %s AND phone_number_id = %s)
"""
# What each CHECK of the table asks for.
RULES = {
    "whatsapp_numbers_phone_number_id_check": ("phone_number_id", "The phone number id is digits, as Meta's panel shows it."),
    "whatsapp_numbers_waba_id_check": ("waba_id", "The WABA id is digits, as Meta's panel shows it."),
    "whatsapp_numbers_display_phone_check": ("display_phone", "The phone as people read it has 1 to 40 characters."),
}  # fmt: skip
OF_ORGANIZATION: LiteralString = """
SELECT organization_id, phone_number_id, waba_id, display_phone FROM whatsapp_numbers
WHERE organization_id = %s ORDER BY phone_number_id
"""
ALL_LIVE: LiteralString = """
SELECT organization_id, phone_number_id, waba_id, display_phone, live_at FROM whatsapp_numbers
WHERE organization_id = %s ORDER BY live_at, phone_number_id
"""
ONLY: LiteralString = "SELECT min(phone_number_id), count(*) FROM whatsapp_numbers WHERE organization_id = %s"


class WhatsappNumber(msgspec.Struct, frozen=True):
    """A number that is live for an organization. Ids are Meta's, digits; display_phone as a person reads it."""

    organization_id: UUID
    phone_number_id: str
    waba_id: str
    display_phone: str


async def put(conn: Connection, number: WhatsappNumber) -> None:
    """Write a live number; the same number again updates its WABA and display. 422 for a malformed id or display."""
    try:
        await conn.execute(UPSERT, msgspec.structs.asdict(number))
    except errors.CheckViolation as error:
        if error.diag.constraint_name not in RULES:
            raise
        raise bad_value(*RULES[error.diag.constraint_name]) from None


async def of_organization(conn: Connection, organization_id: UUID) -> list[WhatsappNumber]:
    """The organization's live numbers, by their ids."""
    async with conn.cursor(row_factory=class_row(WhatsappNumber)) as cursor:
        return await (await cursor.execute(OF_ORGANIZATION, [organization_id])).fetchall()


class LiveNumber(WhatsappNumber, frozen=True):
    """A number, and since when it is live."""

    live_at: datetime


async def all_live(conn: Connection, organization_id: UUID) -> list[LiveNumber]:
    """The organization's numbers with since when each is live, oldest first."""
    async with conn.cursor(row_factory=class_row(LiveNumber)) as cursor:
        return await (await cursor.execute(ALL_LIVE, [organization_id])).fetchall()


async def pick(conn: Connection, organization_id: UUID, phone_number_id: str | None) -> str:
    """The organization's number with this id, or its only one when none is named; 422 otherwise."""
    if phone_number_id is None:
        row = await (await conn.execute(ONLY, [organization_id])).fetchone()
        only, count = row or (None, 0)
        if count != 1:
            raise bad_value(
                "phone_number_id", f"The organization has {count} WhatsApp numbers: name one of them."
            )
        return str(only)
    row = await (await conn.execute(EXISTS, [organization_id, phone_number_id])).fetchone()
    if not row or not row[0]:
        raise bad_value("phone_number_id", "This number is not one of the organization's.")
    return phone_number_id

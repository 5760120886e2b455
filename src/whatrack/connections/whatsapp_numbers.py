"""The organization's WhatsApp numbers, and the tokens given with them. One writer of `whatsapp_numbers`."""

from datetime import datetime
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg import errors
from psycopg.rows import class_row
from typing_extensions import override

from whatrack.connections.keys import Held
from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.errors import bad_value
from whatrack.meta.errors import GraphError, TokenDead
from whatrack.tenants import audit

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
KEEP: LiteralString = """
UPDATE whatsapp_numbers SET token = %(sealed)s, token_app_id = %(app_id)s, token_proof = %(proof)s, token_status = 'ACTIVE',
    token_reason = NULL, token_expires_at = %(expires_at)s, verified_name = %(verified_name)s, quality_rating = %(quality)s,
    subscribed_at = now(), check_after = now() + interval '12 hours'
WHERE organization_id = %(organization_id)s AND phone_number_id = %(phone_number_id)s
"""
SET_DATASET: LiteralString = """
UPDATE whatsapp_numbers SET dataset_id = coalesce(%(dataset)s, dataset_id), dataset_reason = %(reason)s
WHERE organization_id = %(organization)s AND waba_id = %(waba)s
"""
CLAIM_CHECK: LiteralString = """
UPDATE whatsapp_numbers SET check_after = now() + interval '10 minutes'
WHERE (organization_id, phone_number_id) = (SELECT organization_id, phone_number_id FROM whatsapp_numbers
    WHERE check_after <= now() AND token IS NOT NULL ORDER BY check_after LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING organization_id, phone_number_id, token, token_app_id, token_proof
"""
JUDGE: LiteralString = """
UPDATE whatsapp_numbers AS n SET token_status = %(status)s, token_reason = %(reason)s,
    check_after = now() + CASE WHEN %(status)s = 'ACTIVE' THEN interval '12 hours' ELSE interval '1 hour' END
FROM whatsapp_numbers AS before
WHERE n.organization_id = %(organization)s AND n.phone_number_id = %(number)s AND n.token = %(sealed)s
  AND before.organization_id = n.organization_id AND before.phone_number_id = n.phone_number_id
RETURNING n.display_phone, before.token_status <> n.token_status
"""
SEALED: LiteralString = (
    "SELECT organization_id, phone_number_id, token FROM whatsapp_numbers WHERE token IS NOT NULL"
)
RESEAL: LiteralString = """
UPDATE whatsapp_numbers SET token = %s WHERE organization_id = %s AND phone_number_id = %s AND token = %s
"""
CONNECTED: LiteralString = """
SELECT phone_number_id, waba_id, display_phone, verified_name, quality_rating, token IS NOT NULL AS has_token, token_status AS token_state,
       token_reason, dataset_id, dataset_reason, subscribed_at
FROM whatsapp_numbers WHERE organization_id = %s ORDER BY live_at, phone_number_id
"""
ONLY: LiteralString = "SELECT min(phone_number_id), count(*) FROM whatsapp_numbers WHERE organization_id = %s"


class WhatsappNumber(msgspec.Struct, frozen=True):
    """A number that is live for an organization. Ids are Meta's, digits; display_phone as a person reads it."""

    organization_id: UUID
    phone_number_id: str
    waba_id: str
    display_phone: str


class NumberLogin(msgspec.Struct, frozen=True):
    """What a token proved of a number. sealed: the token, encrypted; proof: SHA-256 of the app secret that proves it.

    dataset_id: of its WhatsApp account; dataset_reason: why there is none.
    """

    phone_number_id: str
    waba_id: str
    display_phone: str
    verified_name: str | None
    quality: str | None
    sealed: bytes
    app_id: str
    proof: bytes | None
    expires_at: datetime | None
    dataset_id: str | None = None
    dataset_reason: str | None = None

    @override
    def __repr__(self) -> str:
        return f"NumberLogin(phone_number_id={self.phone_number_id!r}, …)"


class Connected(msgspec.Struct, frozen=True):
    """How a number's token and dataset are."""

    phone_number_id: str
    waba_id: str
    display_phone: str
    verified_name: str | None
    quality_rating: str | None
    has_token: bool
    token_state: str
    token_reason: str | None
    dataset_id: str | None
    dataset_reason: str | None
    subscribed_at: datetime | None


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


async def put_token(conn: Connection, organization_id: UUID, login: NumberLogin, actor: str) -> None:
    """Keep a live number's token and what Meta said with it; the number again renews it."""
    values = {**msgspec.structs.asdict(login), "organization_id": organization_id}
    await conn.execute(KEEP, values)
    await set_dataset(conn, organization_id, login.waba_id, login.dataset_id, login.dataset_reason)
    target, detail = f"number:{login.phone_number_id}", {"name": login.display_phone}
    await audit.record(conn, organization_id, actor, "number_connected", target, detail)


async def set_dataset(
    conn: Connection, organization_id: UUID, waba_id: str, dataset_id: str | None, reason: str | None
) -> None:
    """Keep a WhatsApp account's dataset, or why there is none; a known one is never lost to a failed question."""
    values = {"organization": organization_id, "waba": waba_id, "dataset": dataset_id, "reason": reason}
    await conn.execute(SET_DATASET, values)


async def connected(conn: Connection, organization_id: UUID) -> list[Connected]:
    """The organization's numbers with how their tokens and datasets are, oldest first."""
    async with conn.cursor(row_factory=class_row(Connected)) as cursor:
        return await (await cursor.execute(CONNECTED, [organization_id])).fetchall()


async def claim_check(conn: Connection) -> Held | None:
    """The number whose token has waited longest for a check (system scope); None when none is due."""
    row = await (await conn.execute(CLAIM_CHECK)).fetchone()
    if row is None:
        return None
    organization_id, number, sealed, app_id, proof = row
    return Held(
        "number", organization_id, number, bytes(sealed), app_id or "", bytes(proof) if proof else None
    )


async def judge(conn: Connection, held: Held, status: str, reason: str | None) -> bool:
    """Write down what Meta said of this very token; whether its state changed."""
    values = {
        "organization": held.organization_id,
        "number": held.owner_id,
        "sealed": held.sealed,
        "status": status,
        "reason": reason,
    }
    row = await (await conn.execute(JUDGE, values)).fetchone()
    if row is None or not row[1]:
        return False
    detail = {"name": row[0], "status": status, "reason": reason or ""}
    target = f"number:{held.owner_id}"
    await audit.record(conn, held.organization_id, "system", "number_judged", target, detail)
    return True


async def report(conn: Connection, held: Held, error: GraphError) -> bool:
    """What a call's error says of the number's token; whether its state changed."""
    return isinstance(error, TokenDead) and await judge(conn, held, "EXPIRED", error.reason)


async def reseal(conn: Connection, sealer: Sealer) -> int:
    """Encrypt every number's token anew that the first key did not seal (system scope); how many that were."""
    done = 0
    for organization_id, number, sealed in await (await conn.execute(SEALED)).fetchall():
        if (newer := sealer.reseal(bytes(sealed))) is not None:
            await conn.execute(RESEAL, [newer, organization_id, number, sealed])
            done += 1
    return done

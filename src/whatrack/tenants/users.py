"""People who sign in. One writer of `users`."""

from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg import errors
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.errors import NotFound, Refused, bad_value
from whatrack.units import new_id

COLUMNS: LiteralString = """
id, email, name, is_operator, language, theme, password_hash IS NOT NULL AS has_password, totp_secret IS NOT NULL AS has_totp
"""
BY_ID: LiteralString = f"SELECT {COLUMNS} FROM users WHERE id = %s"  # noqa: S608 - constants only
BY_EMAIL: LiteralString = (
    f"SELECT {COLUMNS} FROM users WHERE lower(email) = lower(%s) AND disabled_at IS NULL"  # noqa: S608 - constants only
)
INSERT: LiteralString = """
INSERT INTO users (id, email, name, password_hash, is_operator, language) VALUES (%s, %s, %s, %s, %s, %s)
"""
ANY: LiteralString = "SELECT EXISTS (SELECT FROM users)"


class User(msgspec.Struct, frozen=True):
    """A person. language: pt_BR, en or the browser's; theme: light, dark or the device's."""

    id: UUID
    email: str
    name: str
    is_operator: bool
    language: str | None
    theme: str | None
    has_password: bool
    has_totp: bool

    @property
    def actor(self) -> str:
        """How the audit names this person."""
        return f"user:{self.id}"


def parse_email(text: str) -> str:
    """An e-mail address as far as a form can judge; the proof is a mail that arrives."""
    address = text.strip()
    name, _, domain = address.rpartition("@")
    if not name or "." not in domain or len(address) > 254 or any(char.isspace() for char in address):
        raise bad_value("email", "Write an e-mail address such as ana@example.com.", code="bad_email")
    return address


async def create(
    conn: Connection,
    *,
    email: str,
    name: str,
    password_hash: str | None,
    is_operator: bool = False,
    language: str | None = None,
) -> User:
    """A new person; Refused `email_taken` when the address has an account."""
    user_id = new_id()
    try:
        await conn.execute(INSERT, [user_id, parse_email(email), name, password_hash, is_operator, language])
    except errors.UniqueViolation:
        raise Refused("email_taken", "This e-mail address has an account.", field="email") from None
    return await by_id(conn, user_id)


async def by_id(conn: Connection, user_id: UUID) -> User:
    """One person; NotFound when there is none."""
    async with conn.cursor(row_factory=class_row(User)) as cursor:
        row = await (await cursor.execute(BY_ID, [user_id])).fetchone()
    if row is None:
        raise NotFound("There is no such person.")
    return row


async def by_email(conn: Connection, email: str) -> User | None:
    """The person with this address, in any case; None when there is none, or they were shut out."""
    async with conn.cursor(row_factory=class_row(User)) as cursor:
        return await (await cursor.execute(BY_EMAIL, [email.strip()])).fetchone()


async def there_are_any(conn: Connection) -> bool:
    """Whether the installation has been set up."""
    row = await (await conn.execute(ANY)).fetchone()
    return bool(row and row[0])

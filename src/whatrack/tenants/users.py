"""People who sign in: who they are, and what they chose. One writer of `users`, with two_step.py."""

import re
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
CREDENTIALS: LiteralString = """
SELECT id, email, name, language, theme, password_hash, totp_secret IS NOT NULL AS has_totp FROM users
WHERE disabled_at IS NULL AND
"""
CREDENTIALS_BY_EMAIL: LiteralString = f"{CREDENTIALS} lower(email) = lower(%s)"
CREDENTIALS_BY_ID: LiteralString = f"{CREDENTIALS} id = %s"
KEEP_HASH: LiteralString = "UPDATE users SET password_hash = %s WHERE id = %s"
RENEW_HASH: LiteralString = "UPDATE users SET password_hash = %s WHERE id = %s AND password_hash = %s"
SET_PROFILE: LiteralString = "UPDATE users SET name = %s, language = %s, theme = %s WHERE id = %s"
SET_LANGUAGE: LiteralString = "UPDATE users SET language = %s WHERE id = %s"
MAKE_OPERATOR: LiteralString = "UPDATE users SET is_operator = true WHERE id = %s"
EVERYONE: LiteralString = """
SELECT u.id, u.email, u.name, u.is_operator, u.disabled_at IS NOT NULL AS is_disabled,
       coalesce(array_agg(o.slug || ':' || m.role ORDER BY o.slug) FILTER (WHERE o.id IS NOT NULL), '{}') AS roles
FROM users u LEFT JOIN memberships m ON m.user_id = u.id LEFT JOIN organizations o ON o.id = m.organization_id
GROUP BY u.id ORDER BY lower(u.email)
"""
# What would make a mail go to somebody else, or be two addresses.
ADDRESS = re.compile(r"""[^\s@,;:<>()\[\]"\\]+@[^\s@,;:<>()\[\]"\\]+\.[^\s@,;:<>()\[\]"\\]+""")


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


class NewPerson(msgspec.Struct, frozen=True):
    """Somebody who is about to have an account."""

    email: str
    name: str
    password_hash: str
    language: str


class Credentials(msgspec.Struct, frozen=True):
    """What signing in asks about a person who may."""

    id: UUID
    email: str
    name: str
    language: str | None
    theme: str | None
    password_hash: str | None
    has_totp: bool


class Listed(msgspec.Struct, frozen=True):
    """A person as the command line lists them. roles: 'slug:role' of each organization."""

    id: UUID
    email: str
    name: str
    is_operator: bool
    is_disabled: bool
    roles: list[str]


def parse_email(text: str) -> str:
    """An e-mail address as far as a form can judge; the proof is a mail that arrives."""
    address = text.strip()
    if not ADDRESS.fullmatch(address) or len(address) > 254 or not address.isprintable():
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


async def credentials(conn: Connection, email: str) -> Credentials | None:
    """What signing in needs of the person with this address; None when there is none, or they were shut out."""
    return await _credentials(conn, CREDENTIALS_BY_EMAIL, email.strip())


async def credentials_by_id(conn: Connection, user_id: UUID) -> Credentials | None:
    """What signing in needs of a person; None when they were shut out."""
    return await _credentials(conn, CREDENTIALS_BY_ID, user_id)


async def _credentials(conn: Connection, query: LiteralString, key: object) -> Credentials | None:
    async with conn.cursor(row_factory=class_row(Credentials)) as cursor:
        return await (await cursor.execute(query, [key])).fetchone()


async def set_password(conn: Connection, user_id: UUID, password_hash: str) -> None:
    """Replace the password by one that was checked and hashed before."""
    await conn.execute(KEEP_HASH, [password_hash, user_id])


async def renew_hash(conn: Connection, user_id: UUID, old: str, new: str) -> None:
    """Keep the same password under today's parameters, unless it changed meanwhile."""
    await conn.execute(RENEW_HASH, [new, user_id, old])


async def set_profile(
    conn: Connection, user_id: UUID, *, name: str, language: str | None, theme: str | None
) -> None:
    """What the person is called, reads and likes to look at. None: as the browser says."""
    await conn.execute(SET_PROFILE, [name, language, theme, user_id])


async def set_language(conn: Connection, user_id: UUID, language: str) -> None:
    """Which language the person reads."""
    await conn.execute(SET_LANGUAGE, [language, user_id])


async def make_operator(conn: Connection, user_id: UUID) -> None:
    """Let a person run the installation. Idempotent."""
    await conn.execute(MAKE_OPERATOR, [user_id])


async def everyone(conn: Connection) -> list[Listed]:
    """Every person of the installation, by address (system scope, for their organizations)."""
    async with conn.cursor(row_factory=class_row(Listed)) as cursor:
        return await (await cursor.execute(EVERYONE)).fetchall()

"""Mail that is owed: written, sealed, in the transaction of what it tells; sent by a loop. One writer of `emails`.

A mail may arrive twice (the server took it and we died before we knew), and is given up after two days, or when
it says itself that it is of no use any more.
"""

from datetime import datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.crypto import Sealer
from whatrack.db import Connection
from whatrack.units import new_id

GIVE_UP_AFTER = timedelta(days=2)

INSERT: LiteralString = "INSERT INTO emails (id, sealed) VALUES (%s, %s)"
# The next attempt is set before this one is made, so that a crash in between costs minutes: 2, 4, 8 … 64.
CLAIM: LiteralString = """
UPDATE emails SET attempts = attempts + 1, next_attempt_at = now() + interval '1 minute' * 2 ^ least(attempts + 1, 6)
WHERE id = (SELECT id FROM emails WHERE next_attempt_at <= now() ORDER BY next_attempt_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, sealed, attempts, now() - created_at > %s, now()
"""
DELETE: LiteralString = "DELETE FROM emails WHERE id = %s"


class Letter(msgspec.Struct, frozen=True):
    """One mail to one person. html: the same beside the text. until: from then on it is of use to nobody, and is not sent.

    stop: the address that stops such mails, of each mail another; whoever posts to it need not sign in.
    """

    to: str
    subject: str
    text: str
    until: datetime | None = None
    html: str | None = None
    stop: str | None = None


class Owed(msgspec.Struct, frozen=True):
    """A mail whose turn has come. is_late: this is the last attempt; is_over: it comes too late to be sent at all."""

    id: UUID
    letter: Letter
    attempts: int
    is_late: bool
    is_over: bool


async def queue(conn: Connection, sealer: Sealer, letter: Letter) -> None:
    """Owe a mail from the commit on."""
    await conn.execute(INSERT, [new_id(), sealer.seal(msgspec.json.encode(letter).decode())])


async def claim(conn: Connection, sealer: Sealer) -> Owed | None:
    """The mail that has waited longest of those that are due; None when none is. Commit before sending it."""
    row = await (await conn.execute(CLAIM, [GIVE_UP_AFTER])).fetchone()
    if row is None:
        return None
    email_id, sealed, attempts, is_late, now = row
    letter = msgspec.json.decode(sealer.open(sealed), type=Letter)
    is_over = letter.until is not None and now >= letter.until
    return Owed(email_id, letter, attempts, is_late, is_over)


async def drop(conn: Connection, email_id: UUID) -> None:
    """Owe a mail no longer: it was sent, or never will be."""
    await conn.execute(DELETE, [email_id])

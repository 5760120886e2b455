"""The second step of signing in: a code from an app (TOTP, RFC 6238), or one of ten recovery codes on paper.

A code works once: the time step of the last one taken is kept, and earlier ones no longer count.
Source: RFC 6238 §5.2, "The verifier MUST NOT accept the second attempt of the OTP", and one step of drift either way.
"""

import base64
import hashlib
import secrets
from datetime import datetime
from hmac import compare_digest
from typing import LiteralString
from uuid import UUID

import pyotp

from whatrack import db as database
from whatrack.crypto import Sealer
from whatrack.db import Connection

STEP_S = 30
DRIFT = (0, -1, 1)
CODES = 10
ISSUER = "WhaTrack"

SHARED: LiteralString = "SELECT totp_secret FROM users WHERE id = %s AND totp_secret IS NOT NULL"
# Never over one that is there: that would need no password.
TURN_ON: LiteralString = (
    "UPDATE users SET totp_secret = %s, totp_step = %s WHERE id = %s AND totp_secret IS NULL"
)
# The comparison is made under the row's lock: of two attempts with the same code, one passes.
USE_STEP: LiteralString = """
UPDATE users SET totp_step = %(step)s WHERE id = %(user)s AND coalesce(totp_step, 0) < %(step)s
"""
TURN_OFF: LiteralString = "UPDATE users SET totp_secret = NULL, totp_step = NULL WHERE id = %s"
SEALED: LiteralString = "SELECT id, totp_secret FROM users WHERE totp_secret IS NOT NULL"
RESEAL: LiteralString = "UPDATE users SET totp_secret = %s WHERE id = %s AND totp_secret = %s"
DROP_CODES: LiteralString = "DELETE FROM recovery_codes WHERE user_id = %s"
ADD_CODES: LiteralString = (
    "INSERT INTO recovery_codes (user_id, hash) SELECT %s, hash FROM unnest(%s::bytea[]) AS hash"
)
USE_CODE: LiteralString = "DELETE FROM recovery_codes WHERE user_id = %s AND hash = %s"
COUNT_CODES: LiteralString = "SELECT count(*) FROM recovery_codes WHERE user_id = %s"


def new_secret() -> str:
    """A secret to share with the person's app, in base 32."""
    return pyotp.random_base32()


def app_link(secret: str, email: str) -> str:
    """The otpauth: address that an app reads from a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, code: str, now: datetime) -> int | None:
    """The time step whose code this is, of the present one and its neighbours; None when it is none's."""
    current = int(now.timestamp()) // STEP_S
    totp = pyotp.TOTP(secret)
    digits = "".join(code.split()).encode("utf-8", "replace")
    steps = [current + drift for drift in DRIFT]
    return next((step for step in steps if compare_digest(totp.at(step * STEP_S).encode(), digits)), None)


async def turn_on(
    conn: Connection, sealer: Sealer, user_id: UUID, *, secret: str, code: str
) -> list[str] | None:
    """Ask this person for codes from now on; answers the recovery codes, or None when the code is wrong or it is on."""
    step = matching_step(secret, code, await database.now(conn))
    if step is None:
        return None
    if not (await conn.execute(TURN_ON, [sealer.seal(secret), step, user_id])).rowcount:
        return None
    return await fresh_codes(conn, user_id)


async def turn_off(conn: Connection, user_id: UUID) -> None:
    """Ask for the password alone again."""
    await conn.execute(TURN_OFF, [user_id])
    await conn.execute(DROP_CODES, [user_id])


async def fresh_codes(conn: Connection, user_id: UUID) -> list[str]:
    """Ten new recovery codes, shown this once and kept as hashes; the old ones no longer work."""
    codes = [_recovery_code() for _ in range(CODES)]
    await conn.execute(DROP_CODES, [user_id])
    await conn.execute(ADD_CODES, [user_id, [_hash(code) for code in codes]])
    return codes


async def codes_left(conn: Connection, user_id: UUID) -> int:
    """How many recovery codes are unused."""
    row = await (await conn.execute(COUNT_CODES, [user_id])).fetchone()
    return int(row[0]) if row else 0


async def passes(conn: Connection, sealer: Sealer, user_id: UUID, code: str) -> bool:
    """Whether the code is the app's or one of the recovery codes; it is used up then."""
    found = await (await conn.execute(SHARED, [user_id])).fetchone()
    if found is None:
        return False
    step = matching_step(sealer.open(found[0]), code, await database.now(conn))
    if step is not None:
        return (await conn.execute(USE_STEP, {"user": user_id, "step": step})).rowcount == 1
    return (await conn.execute(USE_CODE, [user_id, _hash(code)])).rowcount == 1


def _recovery_code() -> str:
    """Eighty random bits, in groups that can be read from paper."""
    text = base64.b32encode(secrets.token_bytes(10)).decode().lower()
    return "-".join(text[place : place + 4] for place in range(0, 16, 4))


def _hash(code: str) -> bytes:
    """Of the letters and digits alone: dashes, spaces and case are the paper's."""
    bare = "".join(char for char in code.lower() if char.isalnum())
    return hashlib.sha256(bare.encode("utf-8", "replace")).digest()


async def reseal(conn: Connection, sealer: Sealer) -> int:
    """Encrypt every secret anew that the first key did not seal; how many those were."""
    done = 0
    for user_id, sealed in await (await conn.execute(SEALED)).fetchall():
        if (newer := sealer.reseal(bytes(sealed))) is not None:
            await conn.execute(RESEAL, [newer, user_id, sealed])
            done += 1
    return done

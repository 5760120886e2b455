"""Guessing made slow: failures are counted by account and by address, in the database, so a restart forgets none.

An attempt is counted before it is judged, so a hundred at once are a hundred; one that succeeds is taken back.
An account is known here by what was typed, whether it exists or not: both wait alike.
"""

import hashlib
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack.db import Connection
from whatrack.errors import Refused

WAITS_S = (30, 60, 120, 300, 900)  # after the last free failure, and after each more

# Locks the rows in the order of their keys, so that two attempts never wait for each other in a circle.
# What failed a day ago is forgotten.
LOCK: LiteralString = """
INSERT INTO sign_in_failures AS f (key, count, since) SELECT key, 0, now() FROM unnest(%s::bytea[]) AS key ORDER BY key
ON CONFLICT (key) DO UPDATE SET count = f.count
RETURNING key, CASE WHEN since < now() - interval '1 day' THEN 0 ELSE count END,
          greatest(ceil(extract(epoch FROM blocked_until - now())), 0)::int
"""
COUNT: LiteralString = """
UPDATE sign_in_failures f SET count = n.count, since = CASE WHEN n.count = 1 THEN now() ELSE f.since END,
       blocked_until = CASE WHEN n.wait_s > 0 THEN now() + make_interval(secs => n.wait_s) END
FROM unnest(%s::bytea[], %s::int[], %s::int[]) AS n (key, count, wait_s) WHERE f.key = n.key
"""
FORGET: LiteralString = "DELETE FROM sign_in_failures WHERE key = ANY(%s::bytea[])"
GIVE_BACK: LiteralString = """
UPDATE sign_in_failures SET count = greatest(count - 1, 0), blocked_until = NULL WHERE key = ANY(%s::bytea[])
"""
DROP_OLD: LiteralString = """
DELETE FROM sign_in_failures WHERE since < now() - interval '1 day' AND coalesce(blocked_until < now(), true)
"""


class TooMany(Refused):
    """Too many failures: wait_s seconds have to pass before the next attempt is looked at."""

    def __init__(self, wait_s: int) -> None:
        super().__init__("too_many_attempts", f"Too many attempts: wait {wait_s} seconds.", status=429)
        self.wait_s = wait_s


class Key(msgspec.Struct, frozen=True):
    """What is counted. free: failures without a wait. shared: by many people, so one's success clears only itself."""

    hash: bytes
    free: int
    shared: bool = False


def account(email: str) -> Key:
    """The account with this address, real or not."""
    return _key("account", email.strip().lower(), free=5)


def second_step(user_id: UUID) -> Key:
    """The codes of one person, which whoever has their password could go on to guess."""
    return _key("code", str(user_id), free=5)


def reset(email: str) -> Key:
    """Mails with a reset link to one address."""
    return _key("reset", email.strip().lower(), free=5)


def origin(address: str, what: str = "address") -> Key:
    """One network address; of IPv6 the /64, which a single customer has whole."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return _key(what, address, free=20, shared=True)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return _key(what, str(int(parsed) >> 64), free=20, shared=True)
    return _key(what, str(getattr(parsed, "ipv4_mapped", None) or parsed), free=20, shared=True)


async def attempt(conn: Connection, keys: Sequence[Key]) -> None:
    """Count an attempt; TooMany, and nothing counted, while one of the keys has to wait. Commit before judging it."""
    by_hash = {key.hash: key for key in keys}
    found = await (await conn.execute(LOCK, [sorted(by_hash)])).fetchall()
    longest = max(wait_s or 0 for _, _, wait_s in found)
    if longest:
        raise TooMany(longest)
    counts = [count + 1 for _, count, _ in found]
    hashes = [bytes(key) for key, _, _ in found]
    waits = [wait_after(count, by_hash[key].free) for key, count in zip(hashes, counts, strict=True)]
    await conn.execute(COUNT, [hashes, counts, waits])


async def forgive(conn: Connection, keys: Sequence[Key]) -> None:
    """The attempt succeeded: the account starts anew, the address gets its one back."""
    await conn.execute(LOCK, [sorted(key.hash for key in keys)])
    await conn.execute(FORGET, [[key.hash for key in keys if not key.shared]])
    await conn.execute(GIVE_BACK, [[key.hash for key in keys if key.shared]])


async def drop_old(conn: Connection) -> None:
    """Forget what no longer makes anybody wait."""
    await conn.execute(DROP_OLD)


def wait_after(count: int, free: int) -> int:
    """How many seconds have to pass after this many failures."""
    return 0 if count < free else WAITS_S[min(count - free, len(WAITS_S) - 1)]


def _key(what: str, text: str, *, free: int, shared: bool = False) -> Key:
    return Key(hashlib.sha256(f"{what}:{text}".encode("utf-8", "replace")).digest(), free, shared)

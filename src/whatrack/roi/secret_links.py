"""Tokens in addresses for who need not sign in: each names its organization and holds 256 random bits, of which the SHA-256 is kept.

So what is behind one is looked up in its organization's own scope, without a look over all tenants.
"""

import base64
import binascii
import hashlib
import secrets
from uuid import UUID

from whatrack.errors import NotFound

RANDOM_BYTES = 32
GONE = "This link does not work any more."


def make(organization_id: UUID) -> tuple[str, bytes]:
    """A new token as an address carries it, and what is kept of it."""
    token = organization_id.bytes + secrets.token_bytes(RANDOM_BYTES)
    return base64.urlsafe_b64encode(token).decode().rstrip("="), _hash(token)


def organization_of(text: str) -> UUID:
    """The organization that a token names, to open its scope; NotFound for what is no token of ours."""
    return UUID(bytes=_bytes(text)[:16])


def hash_of(text: str) -> bytes:
    """What is kept of a token; NotFound for what is none of ours."""
    return _hash(_bytes(text))


def _bytes(text: str) -> bytes:
    try:
        found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != 16 + RANDOM_BYTES or found[:16] in (bytes(16), b"\xff" * 16):
        raise NotFound(GONE)
    return found


def _hash(token: bytes) -> bytes:
    """256 of its bits are random, so a slow hash would add nothing."""
    return hashlib.sha256(token).digest()

"""Meta's `signed_request`: what it posts when a person removes the app, or asks that their data be deleted. Pure.

`base64url(signature).base64url(payload)`, without padding; the signature is HMAC-SHA256 of the encoded payload with the app's
secret. Source: Meta, "Data deletion callback"
<https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback>, read 2026-11.
"""

import base64
import binascii
import hashlib
import hmac
import re

import msgspec

MOST_BYTES = 10_000
_WRITTEN = re.compile(r"[A-Za-z0-9_-]+=*\.[A-Za-z0-9_-]+=*", re.ASCII)


class SignedRequest(msgspec.Struct, frozen=True):
    """Whom it is about. user_id: scoped to the app, as `/me` gives it. issued_at: unix seconds."""

    user_id: str
    issued_at: int = 0
    algorithm: str = ""


def read_signed_request(text: str, secret: str) -> SignedRequest | None:
    """What the request says; None unless the app of this secret signed it."""
    if len(text) > MOST_BYTES or not _WRITTEN.fullmatch(text):
        return None
    signature, _, payload = text.partition(".")
    expected = hmac.new(secret.encode(), payload.encode(), hashlib.sha256).digest()
    try:
        if not hmac.compare_digest(expected, _unpacked(signature)):
            return None
        found = msgspec.json.decode(_unpacked(payload), type=SignedRequest, strict=False)
    except (binascii.Error, msgspec.DecodeError, ValueError):
        return None
    return found if found.algorithm.upper() == "HMAC-SHA256" and found.user_id else None


def _unpacked(text: str) -> bytes:
    bare = text.rstrip("=")
    return base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))

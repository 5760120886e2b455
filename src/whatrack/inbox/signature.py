"""Is a webhook really Meta's? HMAC-SHA256 over the untouched bytes, compared in constant time. Pure.

Source: Meta, "Create a webhook endpoint" (payload signature),
https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/create-webhook-endpoint (read 2026-11).
"""

import binascii
import hmac
from collections.abc import Sequence

PREFIX = b"sha256="
DIGEST_LENGTH = 32


def refusal(header: bytes | None, body: bytes, secrets: Sequence[bytes]) -> str | None:
    """Why the signature is refused (missing, malformed, wrong), or None when any of the secrets made it.

    Every secret is tried, so that the time taken does not tell which one matched.
    """
    if header is None:
        return "missing"
    given = header.strip()
    try:
        digest = binascii.unhexlify(given[len(PREFIX) :])
    except binascii.Error:
        return "malformed"
    if not given.startswith(PREFIX) or len(digest) != DIGEST_LENGTH:
        return "malformed"
    matches = [hmac.compare_digest(hmac.digest(secret, body, "sha256"), digest) for secret in secrets]
    return None if any(matches) else "wrong"


def sign(body: bytes, secret: bytes) -> str:
    """The X-Hub-Signature-256 header Meta would send with this body."""
    return "sha256=" + hmac.digest(secret, body, "sha256").hex()

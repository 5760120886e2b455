"""Secrets at rest: sealed with the first key, opened with any, so that keys can be changed without a pause.

Fernet (AES-128-CBC with HMAC-SHA256) of the `cryptography` package does the work; each key is derived by HKDF, so any
hard-to-guess text will do as one.
"""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from whatrack.errors import ConfigError

MIN_LENGTH = 32


class Sealer:
    """Seals short texts for the database. Give it every key that may still have sealed something."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or any(len(key) < MIN_LENGTH for key in keys):
            raise ConfigError(f"WHATRACK_SECRET_KEY: each key needs at least {MIN_LENGTH} characters.")
        self._first = Fernet(_derived(keys[0]))
        self._fernet = MultiFernet([Fernet(_derived(key)) for key in keys])

    def seal(self, text: str) -> bytes:
        """The text, encrypted and authenticated; another result each time."""
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """What was sealed; ConfigError when no key of ours sealed it."""
        try:
            return self._fernet.decrypt(bytes(sealed)).decode()
        except InvalidToken:
            raise ConfigError(
                "A secret in the database was encrypted with a key that WHATRACK_SECRET_KEY does not hold: "
                "add the earlier key behind a comma."
            ) from None

    def reseal(self, sealed: bytes) -> bytes | None:
        """What was sealed, sealed anew with the first key; None when that key sealed it already."""
        try:
            self._first.decrypt(bytes(sealed))
        except InvalidToken:
            return self.seal(self.open(sealed))
        return None

    def token(self, purpose: str, text: str) -> str:
        """The text as a cookie or a form can carry it out of our hands: nobody else reads or changes it."""
        return self._fernet.encrypt(f"{purpose}:{text}".encode()).decode()

    def read_token(self, purpose: str, token: str, *, within_s: int) -> str | None:
        """What was made a token for this purpose, at most so long ago; None for everything else."""
        try:
            text = self._fernet.decrypt(token.encode("utf-8", "replace"), ttl=within_s).decode()
        except InvalidToken:
            return None
        kind, _, rest = text.partition(":")
        return rest if kind == purpose else None


def _derived(key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"whatrack sealed secrets").derive(
        key.encode()
    )
    return base64.urlsafe_b64encode(derived)

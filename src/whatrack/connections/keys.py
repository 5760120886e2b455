"""Tokens at rest and in use: sealed in rows, opened for a call with the proof of the app that issued them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from whatrack.crypto import Sealer
from whatrack.errors import ConfigError
from whatrack.meta.calls import Token
from whatrack.meta.errors import MissingPermission
from whatrack.meta.oauth import App


@dataclass(frozen=True)
class Held:
    """A token as a row keeps it. kind and owner_id: a profile's id, or a number's phone_number_id.

    proof: SHA-256 of the app secret that proves it, where the app's id does not tell (a number's, or a pasted one).
    """

    kind: Literal["profile", "number"]
    organization_id: UUID
    owner_id: str
    sealed: bytes = field(repr=False)
    app_id: str
    proof: bytes | None = None


class Unopened(MissingPermission):
    """No key of ours opens this token: another may do what it was for, and an earlier WHATRACK_SECRET_KEY mends it."""

    def __init__(self) -> None:
        super().__init__("key_missing")


class Keys:
    """What opens held tokens: the installation's keys, and the secrets of its apps."""

    def __init__(self, sealer: Sealer, app: App | None, other_secrets: Sequence[str] = ()) -> None:
        self.app = app
        self.sealer = sealer
        self._others = tuple(other_secrets)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every app secret of this installation, the WhatsApp apps' first."""
        return (*self._others, *([self.app.secret] if self.app else []))

    def token(self, held: Held) -> Token:
        """The token as calls carry it; Unopened when no key of ours opens it."""
        try:
            value = self.sealer.open(held.sealed)
        except ConfigError:
            raise Unopened from None
        return self.of_app(value, held.app_id, held.proof)

    def of_app(self, value: str, app_id: str, proof: bytes | None = None) -> Token:
        """A token with the secret of the app that issued it, where that is one of ours."""
        if self.app and app_id == self.app.id:
            return Token(value, self.app.secret, app_id)
        secret = next((each for each in self.secrets if digest(each) == proof), None) if proof else None
        return Token(value, secret, app_id)

    def seal(self, value: str) -> bytes:
        """A token, encrypted."""
        return self.sealer.seal(value)


def digest(text: str) -> bytes:
    """SHA-256, for what is kept to be recognised and not to be read."""
    return hashlib.sha256(text.encode()).digest()

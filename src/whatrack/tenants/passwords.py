"""Passwords: kept as argon2id, checked in a thread of their own, and refused when anybody could guess them.

Hashing takes a tenth of a second and much memory on purpose, so it happens outside transactions and a few at a time.
"""

import asyncio
import secrets
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from whatrack.errors import bad_value

LEAST, MOST = 10, 256  # characters
AT_ONCE = 2  # hashes under way in one process: each holds its memory
DIFFERENT = 4  # characters, at least: "1111111111" and "1212121212" are none

# The commonest of ten characters and more, here and abroad; shorter ones are refused anyway.
COMMONEST = frozenset(
    [
        "0123456789",
        "1234567890",
        "0987654321",
        "9876543210",
        "12345678910",
        "1234567891",
        "123456789a",
        "a123456789",
        "1q2w3e4r5t",
        "q1w2e3r4t5",
        "1qaz2wsx3edc",
        "qwertyuiop",
        "qwerty1234",
        "qwerty12345",
        "qwerty123456",
        "asdfghjkl1",
        "asdfghjklz",
        "zxcvbnm123",
        "1029384756",
        "password12",
        "password123",
        "password1234",
        "password01",
        "passw0rd123",
        "p@ssw0rd123",
        "p@ssword123",
        "welcome123",
        "letmein123",
        "iloveyou123",
        "iloveyou12",
        "administrator",
        "admin12345",
        "admin123456",
        "changeme123",
        "abcd123456",
        "abc1234567",
        "abcdefghij",
        "senha12345",
        "senha123456",
        "senha123456789",
        "minhasenha",
        "minhasenha123",
        "mudar12345",
        "mudar123456",
        "trocar1234",
        "brasil1234",
        "brasil12345",
        "corinthians",
        "flamengo123",
        "flamengo10",
        "palmeiras1",
        "saopaulo123",
        "santos1234",
        "jesuscristo",
        "jesus12345",
        "deusefiel1",
        "deusefiel123",
        "deuseamor1",
        "deuseamor123",
        "familia123",
        "amorzinho123",
        "felicidade",
        "coracao123",
        "estrela123",
        "whatsapp123",
        "whatsapp12",
        "facebook123",
        "instagram123",
        "whatrack123",
        "whatrack1234",
    ]
)


class Passwords:
    """Makes and checks hashes. memory_kib: what each may use; more is safer, and a hash made with less is renewed."""

    def __init__(self, memory_kib: int) -> None:
        self._hasher = PasswordHasher(memory_cost=memory_kib)
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._nobodys = ""

    async def hash(self, password: str) -> str:
        """What to keep of a password."""
        async with self._at_once:
            return await asyncio.to_thread(self._hasher.hash, _normal(password))

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether the hash is this password's. Without a hash it takes as long and says no."""
        async with self._at_once:
            return await asyncio.to_thread(self._verify, kept, _normal(password))

    def is_stale(self, kept: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(kept)

    def _verify(self, kept: str | None, password: str) -> bool:
        if not self._nobodys:
            self._nobodys = self._hasher.hash(secrets.token_urlsafe(16))
        try:
            self._hasher.verify(kept or self._nobodys, password)
        except (VerificationError, InvalidHashError):
            return False
        return kept is not None


def check_new(password: str, *, email: str, name: str) -> None:
    """Refuse (422) a password that is too short or long, one of the commonest, or the person's own name or address."""
    if len(password) < LEAST:
        raise bad_value("password", f"A password has at least {LEAST} characters.", code="password_too_short")
    if len(password) > MOST:
        raise bad_value("password", f"A password has at most {MOST} characters.", code="password_too_long")
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in password):
        raise bad_value("password", "A password holds no control characters.", code="password_odd")
    if len(set(password)) < DIFFERENT or password.casefold() in COMMONEST:
        raise bad_value("password", "This is one of the first passwords tried.", code="password_too_common")
    if _bare(password) in {_bare(email), _bare(email.partition("@")[0]), _bare(name)}:
        raise bad_value("password", "This is the name or address itself.", code="password_is_personal")


def _normal(password: str) -> str:
    """An accent is the same whether the keyboard sent one character for it or two."""
    return unicodedata.normalize("NFC", password)


def _bare(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())

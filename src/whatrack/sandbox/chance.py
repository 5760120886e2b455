"""Numbers and ids that follow from a seed and a name alone, so that the order of requests never changes them."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def bits(seed: int, *name: object) -> int:
    """256 bits."""
    return int.from_bytes(hashlib.sha256(repr((seed, *name)).encode()).digest())


def fraction(seed: int, *name: object) -> float:
    """From 0 up to 1, without 1."""
    return (bits(seed, *name) >> 203) / 2**53


def between(low: int, high: int, seed: int, *name: object) -> int:
    """A whole number, both ends included."""
    return low + bits(seed, *name) % (high - low + 1)


def pick(options: Sequence[T], seed: int, *name: object) -> T:
    """One of the options."""
    return options[bits(seed, *name) % len(options)]


def digits(length: int, seed: int, *name: object, prefix: str = "1") -> str:
    """An id as Meta writes them: digits only, the prefix first."""
    return prefix + str(bits(seed, *name)).zfill(80)[-(length - len(prefix)) :]


def letters(length: int, seed: int, *name: object) -> str:
    """Letters and digits."""
    found = ""
    while len(found) < length:
        number = bits(seed, *name, len(found))
        for _ in range(40):
            number, place = divmod(number, len(_LETTERS))
            found += _LETTERS[place]
    return found[:length]

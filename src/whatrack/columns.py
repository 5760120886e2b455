"""The columns of a set-based statement: `uuids(…)`, `texts(…)` and so on are PostgreSQL's binary arrays, ready to send.

psycopg can send any list. It looks at every element for its type and makes two buffers of each, which was the
largest part of the drain's own time under a profiler. Here the caller names the type, one comprehension makes a column, and None is NULL.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from struct import Struct
from uuid import UUID

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

_HEAD = Struct("!5i").pack  # dimensions, whether a NULL is among them, element type, length, first subscript
_LENGTH = Struct("!i").pack
_NUMBER = Struct("!iq").pack  # a length, and eight bytes
_NULL = _LENGTH(-1)
_UUID = _LENGTH(16)
_FLAGS = {None: _NULL, False: _LENGTH(1) + b"\0", True: _LENGTH(1) + b"\1"}
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's


class Uuids(bytes):
    """A uuid[]."""


class Texts(bytes):
    """A text[]."""


class Ints(bytes):
    """An int[]."""


class Blobs(bytes):
    """A bytea[]."""


class Jsons(bytes):
    """A json[]."""


class Flags(bytes):
    """A boolean[]."""


class Moments(bytes):
    """A timestamptz[]."""


class Numbers(bytes):
    """A bigint[]."""


def uuids(values: Iterable[UUID | None]) -> Uuids:
    """A column of ids."""
    cells = [_NULL if each is None else _UUID + each.int.to_bytes(16) for each in values]
    return Uuids(_array(2950, cells))


def texts(values: Iterable[str | None]) -> Texts:
    """A column of texts. UnicodeEncodeError for a lone surrogate."""
    return Texts(_array(25, _encoded(values)))


def blobs(values: Iterable[bytes]) -> Blobs:
    """A column of bytes as they are."""
    return Blobs(_array(17, [part for each in values for part in (_LENGTH(len(each)), each)], 2))


def jsons(values: Iterable[str]) -> Jsons:
    """A column of JSON documents, which the server checks."""
    return Jsons(_array(114, _encoded(values)))


def flags(values: Iterable[bool | None]) -> Flags:
    """A column of truths."""
    return Flags(_array(16, [_FLAGS[each] for each in values]))


def moments(values: Iterable[datetime | None]) -> Moments:
    """A column of moments, each with its zone."""
    cells = [_NULL if each is None else _NUMBER(8, _microseconds(each - _EPOCH)) for each in values]
    return Moments(_array(1184, cells))


def numbers(values: Iterable[int | None]) -> Numbers:
    """A column of whole numbers."""
    return Numbers(_array(20, [_NULL if each is None else _NUMBER(8, each) for each in values]))


def written(values: Iterable[object]) -> str:
    """A column as PostgreSQL writes an array, of what needs no quotes: numbers, truths, moments, Meta's ids and currencies."""
    return "{" + ",".join(map(str, values)) + "}"


def _encoded(values: Iterable[str | None]) -> list[bytes]:
    return [_NULL if each is None else _LENGTH(len(code := each.encode())) + code for each in values]


def _microseconds(span: timedelta) -> int:
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _array(element_oid: int, cells: list[bytes], parts: int = 1) -> bytes:
    """parts: how many of `cells` make one element."""
    # Whether a NULL is among them is for old servers: PostgreSQL reads each cell's length, whatever the flag says.
    return b"".join([_HEAD(1, 0, element_oid, len(cells) // parts, 1), *cells])


def _register(column: type[bytes], array_oid: int) -> None:
    """Let psycopg send such a column as it is."""

    class AsItIs(Dumper):
        format = Format.BINARY
        oid = array_oid

        @override
        def dump(self, obj: bytes) -> bytes:
            return obj

    psycopg.adapters.register_dumper(column, AsItIs)


for _column, _oid in (
    (Uuids, 2951),
    (Texts, 1009),
    (Ints, 1007),
    (Blobs, 1001),
    (Jsons, 199),
    (Flags, 1000),
    (Moments, 1185),
    (Numbers, 1016),
):
    _register(_column, _oid)

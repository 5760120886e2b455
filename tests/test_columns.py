"""What a column sends is what the server reads, NULLs and the empty column included."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from whatrack.columns import blobs, flags, jsons, moments, numbers, texts, uuids
from whatrack.db import Database

IDS = [UUID(int=0), None, UUID("018bcfe5-6800-7000-8000-0123456789ab")]
TEXTS = ["", "Olá", None, "🏳️‍🌈" * 400, "NULL", "{}", '"\\']
MOMENTS = [
    datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
    None,
    datetime(2026, 2, 28, 21, 0, tzinfo=timezone(timedelta(hours=-3))),
]


@pytest.mark.parametrize(
    ("column", "array", "expected"),
    [
        (uuids(IDS), "uuid[]", IDS),
        (texts(TEXTS), "text[]", TEXTS),
        (flags([True, None, False]), "boolean[]", [True, None, False]),
        (moments(MOMENTS), "timestamptz[]", MOMENTS),
        (numbers([0, -1, None, 2**63 - 1]), "bigint[]", [0, -1, None, 2**63 - 1]),
        (jsons(['{"a": 1}', "[]"]), "json[]", [{"a": 1}, []]),
        (blobs([b"", b"\x00\xff{}", b"x" * 300_000]), "bytea[]", [b"", b"\x00\xff{}", b"x" * 300_000]),
        (texts([]), "text[]", []),
    ],
    ids=["uuids", "texts", "flags", "moments", "numbers", "jsons", "blobs", "empty"],
)
async def test_a_column_arrives_as_it_was(
    db: Database, column: bytes, array: str, expected: list[Any]
) -> None:
    async with db.installation() as conn:
        row = await (
            await conn.execute(
                "SELECT %b, pg_typeof(%b)::text, coalesce(array_length(%b, 1), 0)", [column] * 3
            )
        ).fetchone()

    assert row == (expected, array.replace("timestamptz", "timestamp with time zone"), len(expected))


def test_half_a_surrogate_pair_is_refused_before_it_is_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        texts(["\ud83d"])

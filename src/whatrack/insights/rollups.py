"""Sums of the facts, kept equal to them: of ads over aligned blocks of days, and of their accounts, campaigns and ad sets.

A period is read as whole blocks and single days, added or taken away: thirty days of an ad are some five rows.
Derived in the transaction that replaces an account's days, from the rows as they then are; nothing is ever added up twice.
What an ad belongs to is the catalog's to say: where that changes, a trigger derives its account's sums anew in the same transaction.
"""

from collections.abc import Collection, Iterable
from datetime import date, timedelta
from itertools import product
from typing import LiteralString
from uuid import UUID

from whatrack.db import Connection

EPOCH = date(2000, 1, 1)
SIZES = (128, 64, 16, 4)  # days in a block, largest first; each is a multiple of the next

LEVELS = {"account": 0, "campaign": 1, "adset": 2}  # of insight_blocks

SUMS: LiteralString = """sum(spend), sum(impressions), sum(clicks), sum(link_clicks), sum(conversations), sum(meta_leads),
    sum(meta_purchases), sum(meta_purchase_value)"""
COLUMNS: LiteralString = """spend, impressions, clicks, link_clicks, conversations, meta_leads, meta_purchases, meta_purchase_value"""
FORGET_BLOCKS: LiteralString = """
DELETE FROM insight_ad_blocks
WHERE organization_id = %(organization)s AND account_ref = %(account)s AND size = %(size)s AND block = ANY(%(blocks)s)
"""
# The smallest blocks come from the days, larger ones from those before them.
SUM_SMALLEST: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, days, {COLUMNS})
SELECT organization_id, account_ref, %(size)s, b.block, ad_ref, count(*), {SUMS}
FROM unnest(%(blocks)s::int[]) AS b (block) JOIN meta_ad_insights_daily d
  ON d.day BETWEEN date '2000-01-01' + b.block * %(size)s AND date '2000-01-01' + (b.block + 1) * %(size)s - 1
WHERE organization_id = %(organization)s AND account_ref = %(account)s GROUP BY 1, 2, 4, 5
"""  # noqa: S608 - constants only
SUM_LARGER: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, days, {COLUMNS})
SELECT organization_id, account_ref, %(size)s, b.block, ad_ref, sum(days), {SUMS}
FROM unnest(%(blocks)s::int[]) AS b (block) JOIN insight_ad_blocks d
  ON d.size = %(part)s AND d.block BETWEEN b.block * %(parts)s AND (b.block + 1) * %(parts)s - 1
WHERE organization_id = %(organization)s AND account_ref = %(account)s GROUP BY 1, 2, 4, 5
"""  # noqa: S608 - constants only

# See 0017_ad_parents.sql: nobody may change what an ad belongs to meanwhile.
LOCK: LiteralString = "SELECT pg_advisory_xact_lock_shared(insight_blocks_lock(%(organization)s))"
FORGET_PARENTS: LiteralString = """
DELETE FROM insight_blocks b USING unnest(%(sizes)s::int[], %(blocks)s::int[]) AS n (size, block)
WHERE b.organization_id = %(organization)s AND b.level IN (0, 1, 2) AND b.account_ref = %(account)s
AND b.size = n.size AND b.block = n.block
"""
SUM_PARENTS: LiteralString = "SELECT sum_insight_blocks(%(organization)s, %(account)s, %(sizes)s, %(blocks)s)"


async def replace_days(
    conn: Connection, organization_id: UUID, account_ref: int, days: Collection[date]
) -> None:
    """Derive anew what these days of an account are part of, after their facts were replaced. Idempotent.

    Call it in their transaction, last and once for all the days: a block is derived once, however many of its days changed.
    """
    if not days:
        return
    values = {"organization": organization_id, "account": account_ref}
    found = {size: sorted({number(day) // size for day in days}) for size in (1, *reversed(SIZES))}
    part = 0
    for size in reversed(SIZES):
        blocks = {"size": size, "blocks": found[size]}
        await conn.execute(FORGET_BLOCKS, {**values, **blocks})
        if part:
            await conn.execute(SUM_LARGER, {**values, **blocks, "part": part, "parts": size // part})
        else:
            await conn.execute(SUM_SMALLEST, {**values, **blocks})
        part = size
    pairs = [(size, block) for size, blocks in found.items() for block in blocks]
    both = {"sizes": [size for size, _ in pairs], "blocks": [block for _, block in pairs]}
    for statement in (LOCK, FORGET_PARENTS, SUM_PARENTS):
        await conn.execute(statement, {**values, **both})


def number(day: date) -> int:
    """Days since 2000-01-01; days before it have negative numbers, and blocks all the same."""
    return (day - EPOCH).days


def day_of(place: int) -> date:
    """The day of a number."""
    return EPOCH + timedelta(days=place)


Piece = tuple[int, int, int, int]  # size (1: days), first block, last block, 1 or −1 for added or taken away


def blocks(first: int, last: int) -> list[Piece]:
    """The fewest aligned blocks that make up these days, both included."""
    begins: dict[int, list[Piece]] = {first: []}
    ends: dict[int, list[Piece]] = {last + 1: []}
    found: list[list[Piece]] = []
    for size, larger in zip((1, *reversed(SIZES)), (*reversed(SIZES), None), strict=True):
        found += [
            [*begins[begin], *_between(begin, end, size), *ends[end]] for begin, end in product(begins, ends)
        ]
        if larger:
            begins = _shortest(
                (edge, [*pieces, *_between(place, edge, size)])
                for place, pieces in begins.items()
                for edge in _edges(place, larger)
            )
            ends = _shortest(
                (edge, [*_between(edge, place, size), *pieces])
                for place, pieces in ends.items()
                for edge in _edges(place, larger)
            )
    return min(found, key=_length)


def _between(begin: int, end: int, size: int) -> list[Piece]:
    """From one edge to the other, backwards too."""
    if begin == end:
        return []
    low, high = min(begin, end) // size, max(begin, end) // size - 1
    return [(size, low, high, 1 if begin < end else -1)]


def _edges(place: int, size: int) -> tuple[int, int]:
    return place // size * size, -(-place // size) * size


def _shortest(ways: Iterable[tuple[int, list[Piece]]]) -> dict[int, list[Piece]]:
    found: dict[int, list[Piece]] = {}
    for edge, pieces in ways:
        if edge not in found or _length(pieces) < _length(found[edge]):
            found[edge] = pieces
    return found


def _length(pieces: list[Piece]) -> int:
    return sum(last - first + 1 for _, first, last, _ in pieces)

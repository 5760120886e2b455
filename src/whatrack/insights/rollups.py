"""Sums of the facts, kept equal to them: of ads over blocks of days, and of their accounts, campaigns and ad sets.

A period is read as few blocks and single days, added or taken away: thirty days of an ad are three to five rows.
Derived in the transaction that replaces an account's days, from the rows as they then are; nothing is ever added up twice.
What an ad belongs to is the catalog's to say: where that changes, a trigger derives its account's sums anew in the same transaction.
"""

import heapq
from collections.abc import Collection, Iterator
from datetime import date
from functools import lru_cache
from typing import Any, LiteralString
from uuid import UUID

from whatrack.db import Connection

EPOCH = date(2000, 1, 1)
# Days in a block → from one block's begin to the next one's, the shortest first; each is made of those before it. Blocks overlap,
# so that a month lies close to one of them wherever it begins.
STEPS = {4: 4, 32: 4, 128: 32}
LARGEST = max(STEPS)

LEVELS = {"account": 0, "campaign": 1, "adset": 2}  # of insight_blocks

SUMS: LiteralString = """sum(spend), sum(impressions), sum(clicks), sum(link_clicks), sum(conversations), sum(meta_leads),
    sum(meta_purchases), sum(meta_purchase_value)"""
COLUMNS: LiteralString = """spend, impressions, clicks, link_clicks, conversations, meta_leads, meta_purchases, meta_purchase_value"""
FORGET_BLOCKS: LiteralString = """
DELETE FROM insight_ad_blocks
WHERE organization_id = %(organization)s AND account_ref = %(account)s AND size = %(size)s AND block = ANY(%(blocks)s)
"""
# The smallest blocks come from the days, larger ones from those before them: parts, as their numbers from the block's first one.
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
FROM unnest(%(blocks)s::int[]) AS b (block) CROSS JOIN unnest(%(parts)s::int[]) AS p (place)
JOIN insight_ad_blocks d ON d.size = %(part)s AND d.block = b.block * %(ratio)s + p.place
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
    numbers = {number(day) for day in days}
    found = {1: sorted(numbers)}
    for size in STEPS:
        found[size] = sorted({block for place in numbers for block in having(place, size)})
        await _sum_ads(conn, {**values, "size": size, "blocks": found[size]})
    pairs = [(size, block) for size, blocks in found.items() for block in blocks]
    both = {"sizes": [size for size, _ in pairs], "blocks": [block for _, block in pairs]}
    for statement in (LOCK, FORGET_PARENTS, SUM_PARENTS):
        await conn.execute(statement, {**values, **both})


async def _sum_ads(conn: Connection, values: dict[str, Any]) -> None:
    await conn.execute(FORGET_BLOCKS, values)
    part = parts(values["size"])
    await conn.execute(SUM_LARGER if part else SUM_SMALLEST, {**values, **part})


def parts(size: int) -> dict[str, Any]:
    """What a block is made of: blocks of which size, ratio of their numbers, and the numbers of its parts; nothing: of days."""
    part = max((smaller for smaller in STEPS if smaller < size), default=None)
    if part is None:
        return {}
    step = STEPS[part]
    return {
        "part": part,
        "ratio": STEPS[size] // step,
        "parts": [begin // step for begin in range(0, size, part)],
    }


def having(place: int, size: int) -> range:
    """The blocks of a size that have this day."""
    step = STEPS[size]
    return range(-(-(place - size + 1) // step), place // step + 1)


def number(day: date) -> int:
    """Days since 2000-01-01; days before it have negative numbers, and blocks all the same."""
    return (day - EPOCH).days


Piece = tuple[int, int, int]  # size (1: a day), number of the block, 1 or −1 for added or taken away


@lru_cache(maxsize=1024)
def blocks(first: int, last: int) -> tuple[Piece, ...]:
    """The days and blocks that make up these days, both included, with the fewest rows: the shortest way from begin to end.

    A block is taken to have the more rows the longer it is, as ads come and go: one of 128 days twice those of a day.
    """
    goal = last + 1
    reached: dict[int, tuple[int, Piece | None]] = {first: (0, None)}
    queue = [(0, 0, first)]
    while queue[0][2] != goal:
        _, cost, place = heapq.heappop(queue)
        for edge, piece in _from(place):
            longer = cost + LARGEST + piece[0]
            if edge not in reached or longer < reached[edge][0]:
                reached[edge] = longer, piece
                # No block of the rest is shorter than the largest one's share of it, so what is nearest by that is looked at first.
                heapq.heappush(queue, (longer + 2 * abs(goal - edge), longer, edge))
    return tuple(_back(reached, goal))


def _from(place: int) -> Iterator[tuple[int, Piece]]:
    """Where one day or block leads, forwards or backwards."""
    for size, step in ((1, 1), *STEPS.items()):
        if place % step == 0:
            yield place + size, (size, place // step, 1)
        if (place - size) % step == 0:
            yield place - size, (size, (place - size) // step, -1)


def _back(reached: dict[int, tuple[int, Piece | None]], place: int) -> Iterator[Piece]:
    while piece := reached[place][1]:
        yield piece
        place -= piece[0] * piece[2]

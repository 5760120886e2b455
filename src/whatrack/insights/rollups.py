"""Sums of the facts, kept equal to them: each account-day, and each ad over aligned blocks of days. One writer of both tables.

A period is read as whole blocks and single days at its ends: thirty days of an ad are about seven rows instead of thirty.
Derived in the transaction that replaces an account's days, from the rows as they then are; nothing is ever added up twice.
"""

from collections.abc import Collection, Iterator
from datetime import date, timedelta
from typing import LiteralString
from uuid import UUID

from whatrack.db import Connection

EPOCH = date(2000, 1, 1)
SIZES = (64, 16, 4)  # days in a block, largest first; each is a multiple of the next

SUMS: LiteralString = """sum(spend), sum(impressions), sum(clicks), sum(link_clicks), sum(conversations), sum(meta_leads),
    sum(meta_purchases), sum(meta_purchase_value)"""
COLUMNS: LiteralString = """spend, impressions, clicks, link_clicks, conversations, meta_leads, meta_purchases, meta_purchase_value"""
FORGET_DAYS: LiteralString = """
DELETE FROM insight_account_days WHERE organization_id = %(organization)s AND account_ref = %(account)s AND day = ANY(%(days)s)
"""
SUM_DAYS: LiteralString = f"""
INSERT INTO insight_account_days (organization_id, account_ref, day, {COLUMNS})
SELECT organization_id, account_ref, day, {SUMS} FROM meta_ad_insights_daily
WHERE organization_id = %(organization)s AND account_ref = %(account)s AND day = ANY(%(days)s) GROUP BY 1, 2, 3
"""  # noqa: S608 - constants only
FORGET_BLOCKS: LiteralString = """
DELETE FROM insight_ad_blocks
WHERE organization_id = %(organization)s AND account_ref = %(account)s AND size = %(size)s AND block = ANY(%(blocks)s)
"""
# The smallest blocks come from the days, larger ones from those before them.
SUM_SMALLEST: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, {COLUMNS})
SELECT organization_id, account_ref, %(size)s, b.block, ad_ref, {SUMS}
FROM unnest(%(blocks)s::int[]) AS b (block) JOIN meta_ad_insights_daily d
  ON d.day BETWEEN date '2000-01-01' + b.block * %(size)s AND date '2000-01-01' + (b.block + 1) * %(size)s - 1
WHERE organization_id = %(organization)s AND account_ref = %(account)s GROUP BY 1, 2, 4, 5
"""  # noqa: S608 - constants only
SUM_LARGER: LiteralString = f"""
INSERT INTO insight_ad_blocks (organization_id, account_ref, size, block, ad_ref, {COLUMNS})
SELECT organization_id, account_ref, %(size)s, b.block, ad_ref, {SUMS}
FROM unnest(%(blocks)s::int[]) AS b (block) JOIN insight_ad_blocks d
  ON d.size = %(part)s AND d.block BETWEEN b.block * %(parts)s AND (b.block + 1) * %(parts)s - 1
WHERE organization_id = %(organization)s AND account_ref = %(account)s GROUP BY 1, 2, 4, 5
"""  # noqa: S608 - constants only


async def replace_days(
    conn: Connection, organization_id: UUID, account_ref: int, days: Collection[date]
) -> None:
    """Derive anew what these days of an account are part of, after their facts were replaced. Idempotent.

    Call it in their transaction, once for all the days it replaced: a block is derived once, however many of its days changed.
    """
    if not days:
        return
    values = {"organization": organization_id, "account": account_ref}
    for statement in (FORGET_DAYS, SUM_DAYS):
        await conn.execute(statement, {**values, "days": sorted(days)})
    part = 0
    for size in reversed(SIZES):
        blocks = sorted({number(day) // size for day in days})
        await conn.execute(FORGET_BLOCKS, {**values, "size": size, "blocks": blocks})
        if part:
            more = {"size": size, "part": part, "parts": size // part, "blocks": blocks}
            await conn.execute(SUM_LARGER, {**values, **more})
        else:
            await conn.execute(SUM_SMALLEST, {**values, "size": size, "blocks": blocks})
        part = size


def number(day: date) -> int:
    """Days since 2000-01-01; days before it have negative numbers, and blocks all the same."""
    return (day - EPOCH).days


def day_of(place: int) -> date:
    """The day of a number."""
    return EPOCH + timedelta(days=place)


def blocks(first: int, last: int, sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[int, int, int]]:
    """The fewest aligned blocks that make up these days, both included: (size, first block, last block), size 1 for days."""
    if first > last:
        return
    if not sizes:
        yield 1, first, last
        return
    size, *smaller = sizes
    begin, end = -(-first // size), (last + 1) // size - 1
    if begin > end:
        yield from blocks(first, last, tuple(smaller))
        return
    yield from blocks(first, begin * size - 1, tuple(smaller))
    yield size, begin, end
    yield from blocks((end + 1) * size, last, tuple(smaller))

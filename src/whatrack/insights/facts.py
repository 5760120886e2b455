"""Account-days as they were fetched: all rows of each, replaced in one transaction. One writer of `insight_days` and the facts.

What did not change since the last answer is not written anew, so that the nightly reading of four weeks costs what changed.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.insights import rollups

# Days that begin to be kept. What is there stays as it is.
OPEN: LiteralString = """
INSERT INTO insight_days (organization_id, account_id, day, due_at)
SELECT %(organization)s, %(account)s, n.* FROM unnest(%(days)s::date[], %(dues)s::timestamptz[]) AS n (day, due_at)
ON CONFLICT DO NOTHING
"""
STATES: LiteralString = """
SELECT day, due_at, fetched_at, rows, reason, attempts FROM insight_days WHERE organization_id = %s AND account_id = %s ORDER BY day
"""
# Marks a day as fetched; the answer is kept where it changed. Answers go out in binary form: quoting them would cost more than all else.
SETTLE: LiteralString = """
UPDATE insight_days d SET fetched_at = %(fetched_at)s, due_at = n.due_at, connection_id = %(connection)s, reason = NULL, message = NULL, attempts = 0,
    emptied_at = CASE WHEN n.rows > 0 THEN NULL WHEN d.rows > 0 THEN %(fetched_at)s ELSE d.emptied_at END, rows = n.rows, answer_hash = n.hash, answer = coalesce(n.answer::json, d.answer)
FROM unnest(%(days)s::date[], %(dues)s::timestamptz[], %(rows)s::int[], %(hashes)b::bytea[], %(answers)b::text[])
    AS n (day, due_at, rows, hash, answer)
WHERE d.organization_id = %(organization)s AND d.account_id = %(account)s AND d.day = n.day
"""
# Days are counted back from each account's newest, which is its today.
WANT: LiteralString = """
UPDATE insight_days d SET due_at = now()
FROM (SELECT organization_id, account_id, max(day) AS newest FROM insight_days
      WHERE organization_id = %s AND account_id = ANY(%s) GROUP BY organization_id, account_id) AS last
WHERE d.organization_id = last.organization_id AND d.account_id = last.account_id AND d.day > last.newest - %s
AND (d.due_at IS NULL OR d.due_at > now())
RETURNING d.account_id
"""
MISS: LiteralString = """
UPDATE insight_days SET reason = %(reason)s, message = NULL, attempts = attempts + 1
WHERE organization_id = %(organization)s AND account_id = %(account)s AND due_at <= now()
"""
SET_ASIDE: LiteralString = """
UPDATE insight_days SET reason = %(reason)s, message = %(message)s, attempts = %(attempts)s, due_at = %(due_at)s
WHERE organization_id = %(organization)s AND account_id = %(account)s AND day = %(day)s
"""
HASHES: LiteralString = """
SELECT day, answer_hash FROM insight_days WHERE organization_id = %s AND account_id = %s AND day = ANY(%s::date[])
ORDER BY day FOR NO KEY UPDATE
"""
CLEAR: LiteralString = "DELETE FROM meta_ad_insights_daily WHERE organization_id = %s AND account_ref = %s AND day = ANY(%s::date[])"
FILL: LiteralString = """
INSERT INTO meta_ad_insights_daily (organization_id, account_ref, day, ad_ref, spend, impressions, reach, clicks, link_clicks,
    conversations, meta_leads, meta_purchases, meta_purchase_value)
SELECT %(organization)s, %(account_ref)s, n.day, a.ref, n.spend, n.impressions, n.reach, n.clicks, n.link_clicks, n.conversations,
    n.leads, n.purchases, n.purchase_value
FROM unnest(%(day)s::date[], %(ad_id)b::text[], %(spend)s::bigint[], %(impressions)s::int[], %(reach)s::int[], %(clicks)s::int[],
    %(link_clicks)s::int[], %(conversations)s::int[], %(leads)s::int[], %(purchases)s::int[], %(purchase_value)s::bigint[])
    AS n (day, ad_id, spend, impressions, reach, clicks, link_clicks, conversations, leads, purchases, purchase_value)
JOIN meta_ads a ON a.organization_id = %(organization)s AND a.meta_ad_id = n.ad_id
"""


class Fact(msgspec.Struct, frozen=True, gc=False):
    """What an ad delivered on a day. Money in minor units of the account's currency."""

    ad_id: str
    spend: int
    impressions: int
    reach: int
    clicks: int
    link_clicks: int
    conversations: int
    leads: int
    purchases: int
    purchase_value: int


NUMBERS = tuple(name for name in Fact.__struct_fields__ if name != "ad_id")


class FetchedDay(msgspec.Struct, frozen=True):
    """A day as a complete answer has it. answer: its rows as Meta gave them, a JSON array; hash: its SHA-256; due_at: None when final."""

    day: date
    due_at: datetime | None
    facts: Sequence[Fact]
    answer: str
    hash: bytes


class SpoiltDay(msgspec.Struct, frozen=True):
    """A day that came and cannot be taken over. message: which row of Meta's is why; None when it is our own fault."""

    day: date
    reason: str
    message: str | None


class DayState(msgspec.Struct, frozen=True):
    """What is known of a day. fetched_at None: never; reason: why the last try brought nothing, after so many attempts."""

    day: date
    due_at: datetime | None
    fetched_at: datetime | None
    rows: int
    reason: str | None = None
    attempts: int = 0


class Account(msgspec.Struct, frozen=True):
    """An account whose days are kept. id: ours; ref: as facts name it; number: Meta's, digits only."""

    organization_id: UUID
    id: UUID
    ref: int
    number: str
    currency: str
    zone: str


async def open_days(
    conn: Connection, account: Account, days: Sequence[date], dues: Sequence[datetime | None]
) -> None:
    """Begin to keep these days."""
    values = {"organization": account.organization_id, "account": account.id}
    await conn.execute(OPEN, {**values, "days": list(days), "dues": list(dues)})


async def states(conn: Connection, account: Account) -> list[DayState]:
    """Every day of the account's that is kept, the oldest first."""
    async with conn.cursor(row_factory=class_row(DayState)) as cursor:
        return await (await cursor.execute(STATES, [account.organization_id, account.id])).fetchall()


async def want(
    conn: Connection, organization_id: UUID, account_ids: Sequence[UUID], last_days: int
) -> Counter[UUID]:
    """The last days of these accounts, as far as they are kept, are due at once. Account → how many were not before."""
    found = await (await conn.execute(WANT, [organization_id, list(account_ids), last_days])).fetchall()
    return Counter(row[0] for row in found)


async def missed(conn: Connection, account: Account, reason: str) -> None:
    """What was due was not fetched; what was fetched earlier stays."""
    await conn.execute(
        MISS, {"organization": account.organization_id, "account": account.id, "reason": reason}
    )


async def set_aside(
    conn: Connection, account: Account, spoilt: SpoiltDay, due_at: datetime, attempts: int
) -> None:
    """A day came and cannot be taken over: what was fetched earlier stays, and it is tried again then. Idempotent."""
    values = {"organization": account.organization_id, "account": account.id, "due_at": due_at}
    await conn.execute(SET_ASIDE, {**values, **msgspec.structs.asdict(spoilt), "attempts": attempts})


async def replace_days(
    conn: Connection,
    account: Account,
    days: Sequence[FetchedDay],
    fetched_at: datetime,
    connection_id: UUID | None,
) -> list[date]:
    """Take over days, each with all its rows: rows that vanished go, roll-ups follow. The days whose rows changed. Idempotent.

    The ads must be in the catalog already, and the days opened; days that are not are left alone. fetched_at: when the
    request began, for what Meta restated meanwhile may not be in its answer.
    """
    keys = [account.organization_id, account.id, [each.day for each in days]]
    before = dict(await (await conn.execute(HASHES, keys)).fetchall())
    kept = [each for each in days if each.day in before]
    changed = [each for each in kept if each.hash != before[each.day]]
    if changed:
        await _replace_facts(conn, account, changed)
    await _settle(conn, account, kept, {each.day for each in changed}, fetched_at, connection_id)
    return [each.day for each in changed]


async def _replace_facts(conn: Connection, account: Account, days: Sequence[FetchedDay]) -> None:
    dates = [each.day for each in days]
    await conn.execute(CLEAR, [account.organization_id, account.ref, dates])
    columns = await asyncio.to_thread(_columns, days)
    about = {"organization": account.organization_id, "account_ref": account.ref}
    written = (await conn.execute(FILL, {**about, **columns})).rowcount
    rows = sum(len(each.facts) for each in days)
    if written != rows:
        raise RuntimeError(f"{rows - written} rows name ads that the catalog does not have")
    await rollups.replace_days(conn, account.organization_id, account.ref, dates)


def _columns(days: Sequence[FetchedDay]) -> dict[str, Any]:
    """The rows of these days column by column; numbers as PostgreSQL writes an array, several times quicker than one by one."""
    rows = [fact for each in days for fact in each.facts]
    found: dict[str, Any] = {
        name: "{" + ",".join([str(getattr(fact, name)) for fact in rows]) + "}" for name in NUMBERS
    }
    found["ad_id"] = [fact.ad_id for fact in rows]
    found["day"] = "{" + ",".join([each.day.isoformat() for each in days for _ in each.facts]) + "}"
    return found


async def _settle(
    conn: Connection,
    account: Account,
    days: Sequence[FetchedDay],
    changed: set[date],
    fetched_at: datetime,
    connection_id: UUID | None,
) -> None:
    values = {
        "organization": account.organization_id,
        "account": account.id,
        "fetched_at": fetched_at,
        "connection": connection_id,
        "days": [each.day for each in days],
        "dues": [each.due_at for each in days],
        "rows": [len(each.facts) for each in days],
        "hashes": [each.hash for each in days],
        "answers": [each.answer if each.day in changed else None for each in days],
    }
    await conn.execute(SETTLE, values)

"""Which account is fetched next, and by whom: one row an account, leased to one process at a time. One writer of `insight_accounts`.

A lease that runs out is anybody's; whoever held it finds that out before it writes, so a late writer changes nothing. Whoever writes
days as well locks the account first, so that nobody waits for somebody who waits for them, and a wish is not missed by a visit that ends.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.insights.facts import Account
from whatrack.units import new_id

# Mended by a profile that was connected, renewed, or shown the account.
OF_TOKENS = ("no_profile", "token_dead", "no_access", "permission_missing")
AGAIN = timedelta(seconds=60)  # between two wishes of people for one account
_SHORT = tuple(timedelta(seconds=each) for each in (15, 60, 300, 900, 1800))
_LONG = tuple(timedelta(minutes=each) for each in (10, 30, 60, 180, 360))
# What may come from asking for too much at once: the next try asks for less.
OF_SIZE = ("transient", "report_failed", "internal")
# Of single days that are set aside while the others go on.
OF_DAYS = ("row_unreadable", "currency_differs", "internal")
PAUSES = {
    "transient": _SHORT,
    "report_failed": _SHORT,
    "internal": (*_SHORT, *_LONG[2:]),
    "report_waits": (timedelta(seconds=20),),
}

# Accounts that were turned on since; those that were turned off rest, and what they spent stays.
TURNED_ON: LiteralString = """
INSERT INTO insight_accounts AS s (organization_id, account_id, next_at)
SELECT a.organization_id, a.id, now() FROM meta_ad_accounts a
LEFT JOIN insight_accounts s ON s.organization_id = a.organization_id AND s.account_id = a.id
WHERE a.is_active AND s.next_at IS NULL
ORDER BY a.organization_id, a.id
ON CONFLICT (organization_id, account_id) DO UPDATE SET next_at = now() WHERE s.next_at IS NULL
"""
# Rows that somebody holds are left for the next round.
TURNED_OFF: LiteralString = """
UPDATE insight_accounts s SET next_at = NULL
FROM (SELECT s.organization_id, s.account_id FROM insight_accounts s
      JOIN meta_ad_accounts a ON a.organization_id = s.organization_id AND a.id = s.account_id AND NOT a.is_active
      WHERE s.next_at <= now() FOR NO KEY UPDATE OF s SKIP LOCKED) AS off
WHERE s.organization_id = off.organization_id AND s.account_id = off.account_id
"""
MENDED: LiteralString = """
UPDATE insight_accounts s SET next_at = now()
FROM (SELECT s.organization_id, s.account_id FROM insight_accounts s
      WHERE s.reason = ANY(%s) AND s.next_at > now() AND s.lease_id IS NULL
      AND EXISTS (SELECT FROM meta_ad_account_access x
          JOIN meta_connections c ON c.organization_id = x.organization_id AND c.id = x.connection_id AND c.status = 'ACTIVE'
          WHERE x.organization_id = s.organization_id AND x.account_id = s.account_id
          AND greatest(c.updated_at, c.listed_at) > s.tried_at)
      FOR NO KEY UPDATE OF s SKIP LOCKED) AS mended
WHERE s.organization_id = mended.organization_id AND s.account_id = mended.account_id
"""
CLAIM: LiteralString = """
UPDATE insight_accounts s SET lease_id = %(lease)s, lease_until = now() + %(for)s, next_at = now() + %(for)s, tried_at = now()
FROM (SELECT s.organization_id, s.account_id FROM insight_accounts s
      JOIN meta_ad_accounts a ON a.organization_id = s.organization_id AND a.id = s.account_id AND a.is_active
      WHERE s.next_at <= now() AND (s.lease_until IS NULL OR s.lease_until <= now())
      ORDER BY s.next_at LIMIT 1 FOR UPDATE OF s SKIP LOCKED) AS due
WHERE s.organization_id = due.organization_id AND s.account_id = due.account_id
RETURNING s.organization_id, s.account_id, s.attempts, s.reason, now() AS at, s.report_id, s.report_since, s.report_until,
          s.report_connection_id, s.report_ordered_at
"""
ACCOUNT: LiteralString = """
SELECT organization_id, id, ref, substr(ad_account_id, 5) AS number, currency, timezone_name AS zone FROM meta_ad_accounts
WHERE organization_id = %s AND id = %s
"""
HOLD: LiteralString = """
UPDATE insight_accounts SET lease_until = now() + %s, next_at = now() + %s
WHERE organization_id = %s AND account_id = %s AND lease_id = %s
"""
# What people wished for meanwhile is due already: the days say so. Of days that are set aside the newest says why.
DONE: LiteralString = """
UPDATE insight_accounts s SET lease_id = NULL, lease_until = NULL, reason = aside.reason, message = aside.message, attempts = 0,
    report_id = NULL, report_since = NULL, report_until = NULL, report_connection_id = NULL, report_ordered_at = NULL,
    next_at = least(%(new_day)s, d.due_at),
    whole_at = CASE WHEN d.due_at <= now() OR aside.reason IS NOT NULL THEN s.whole_at ELSE now() END
FROM (SELECT min(due_at) AS due_at FROM insight_days WHERE organization_id = %(organization)s AND account_id = %(account)s) AS d
LEFT JOIN LATERAL (SELECT reason, message FROM insight_days
    WHERE organization_id = %(organization)s AND account_id = %(account)s AND due_at IS NOT NULL AND reason = ANY(%(of_days)s)
    ORDER BY day DESC LIMIT 1) AS aside ON true
WHERE s.organization_id = %(organization)s AND s.account_id = %(account)s AND s.lease_id = %(lease)s
"""
MISSED: LiteralString = """
UPDATE insight_accounts SET lease_id = NULL, lease_until = NULL, reason = %(reason)s, message = %(message)s,
    attempts = attempts + %(counts)s, next_at = now() + %(pause)s, report_id = %(report)s, report_since = %(since)s,
    report_until = %(until)s, report_connection_id = %(connection)s, report_ordered_at = %(ordered_at)s
WHERE organization_id = %(organization)s AND account_id = %(account)s AND lease_id = %(lease)s
"""
LOCK: LiteralString = """
SELECT FROM insight_accounts WHERE organization_id = %(organization)s AND (%(account)s::uuid IS NULL OR account_id = %(account)s)
ORDER BY account_id FOR NO KEY UPDATE
"""
# A person wishes for fresh figures: at once, but not again while it runs or within a minute of one for as many days.
WISH: LiteralString = """
UPDATE insight_accounts s SET asked_at = now(), asked_days = %(days)s, next_at = now() FROM meta_ad_accounts a
WHERE s.organization_id = %(organization)s AND a.organization_id = s.organization_id AND a.id = s.account_id AND a.is_active
AND (%(account)s::uuid IS NULL OR s.account_id = %(account)s)
AND (s.asked_at IS NULL OR s.asked_at <= now() - %(again)s OR s.asked_days < %(days)s) AND (s.lease_until IS NULL OR s.lease_until <= now())
AND (s.reason IS NULL OR s.reason <> 'throttled')
RETURNING s.account_id
"""
# One that adds to what is being fetched counts as well.
WISHED: LiteralString = """
UPDATE insight_accounts SET asked_at = now(), asked_days = %s WHERE organization_id = %s AND account_id = ANY(%s)
"""
# As if it were time, for nobody in particular.
HURRY: LiteralString = """
UPDATE insight_accounts SET next_at = now() WHERE organization_id = %s AND account_id = ANY(%s) AND next_at > now()
AND (lease_until IS NULL OR lease_until <= now()) AND reason IS DISTINCT FROM 'throttled'
"""


class ParkedReport(msgspec.Struct, frozen=True):
    """A report that Meta was still making when its process went on. connection_id: whose token ordered it."""

    id: str
    since: date
    until: date
    connection_id: UUID | None
    ordered_at: datetime


class Claim(msgspec.Struct, frozen=True):
    """An account under a lease. at: when it was claimed, by the database's clock; reason: of the last try, if that failed."""

    account: Account
    lease_id: UUID
    lease: timedelta
    attempts: int
    reason: str | None
    at: datetime
    report: ParkedReport | None


class Miss(msgspec.Struct, frozen=True):
    """Why not everything that was due was fetched, and when to try again. report: to be asked about then."""

    reason: str
    message: str | None
    pause: timedelta
    report: ParkedReport | None = None


class LeaseLost(Exception):
    """Somebody else has the account now: what this process fetched is not to be written."""


class _Claimed(msgspec.Struct, frozen=True):
    organization_id: UUID
    account_id: UUID
    attempts: int
    reason: str | None
    at: datetime
    report_id: str | None
    report_since: date | None
    report_until: date | None
    report_connection_id: UUID | None
    report_ordered_at: datetime | None

    @property
    def report(self) -> ParkedReport | None:
        if self.report_id and self.report_since and self.report_until and self.report_ordered_at:
            return ParkedReport(
                self.report_id,
                self.report_since,
                self.report_until,
                self.report_connection_id,
                self.report_ordered_at,
            )
        return None


async def follow_accounts(conn: Connection) -> int:
    """Begin with accounts that were turned on or can be read again, rest with those that were turned off (system scope). How many."""
    on = (await conn.execute(TURNED_ON)).rowcount
    mended = (await conn.execute(MENDED, [list(OF_TOKENS)])).rowcount
    await conn.execute(TURNED_OFF)
    return on + mended


async def claim(conn: Connection, lease: timedelta) -> Claim | None:
    """Lease the account that waits longest; None when nothing is due (system scope)."""
    lease_id = new_id()
    async with conn.cursor(row_factory=class_row(_Claimed)) as cursor:
        row = await (await cursor.execute(CLAIM, {"lease": lease_id, "for": lease})).fetchone()
    if row is None:
        return None
    async with conn.cursor(row_factory=class_row(Account)) as accounts:
        account = await (await accounts.execute(ACCOUNT, [row.organization_id, row.account_id])).fetchone()
    if account is None:
        raise RuntimeError("a claimed account is not there")
    return Claim(account, lease_id, lease, row.attempts, row.reason, row.at, row.report)


async def hold(conn: Connection, mine: Claim) -> None:
    """Go on with an account for another lease; LeaseLost when somebody else has it. Locks its row until the commit."""
    account = mine.account
    keys = [mine.lease, mine.lease, account.organization_id, account.id, mine.lease_id]
    if (await conn.execute(HOLD, keys)).rowcount == 0:
        raise LeaseLost


async def done(conn: Connection, mine: Claim, new_day: datetime) -> None:
    """Everything that was due came, or is set aside for a while. new_day: when the account's next day begins. LeaseLost as in `hold`.

    Held first, so that the days are read when no wish for them can be under way any more: one statement would wait for it at the
    account and then go by the days as they were before.
    """
    await hold(conn, mine)
    await conn.execute(DONE, {**_keys(mine), "new_day": new_day, "of_days": list(OF_DAYS)})


async def missed(conn: Connection, mine: Claim, miss: Miss) -> None:
    """Not everything came. LeaseLost as in `hold`."""
    report = miss.report
    values = {
        **_keys(mine),
        "reason": miss.reason,
        "message": miss.message,
        "counts": 0 if miss.reason in ("throttled", "report_waits") else 1,
        "pause": miss.pause,
        "report": report.id if report else None,
        "since": report.since if report else None,
        "until": report.until if report else None,
        "connection": report.connection_id if report else None,
        "ordered_at": report.ordered_at if report else None,
    }
    if (await conn.execute(MISSED, values)).rowcount == 0:
        raise LeaseLost


def pause_after(reason: str, attempts: int) -> timedelta:
    """How long to leave an account alone after so many tries in a row that failed for this reason."""
    pauses = PAUSES.get(reason, _LONG)
    return pauses[min(attempts, len(pauses) - 1)]


async def lock(conn: Connection, organization_id: UUID, account_id: UUID | None) -> None:
    """Keep one account, or all, as they are until the commit: to be the first thing of who makes days due."""
    await conn.execute(LOCK, {"organization": organization_id, "account": account_id})


async def wish(
    conn: Connection, organization_id: UUID, account_id: UUID | None, last_days: int
) -> list[UUID]:
    """A person wants fresh figures of one account, or of all that are on: those that will be fetched at once because of it.

    Left alone are those that are being fetched, for as many days of which somebody wished within a minute, and that Meta throttles.
    """
    values = {
        "organization": organization_id,
        "account": account_id,
        "again": AGAIN,
        "days": last_days,
    }
    return [row[0] for row in await (await conn.execute(WISH, values)).fetchall()]


async def wished(
    conn: Connection, organization_id: UUID, account_ids: Sequence[UUID], last_days: int
) -> None:
    """Accounts that are being fetched have more to fetch, because a person wants so many days."""
    await conn.execute(WISHED, [last_days, organization_id, list(account_ids)])


async def hurry(conn: Connection, organization_id: UUID, account_ids: Sequence[UUID]) -> None:
    """Let what is due of these accounts be fetched now, unless Meta wants us to wait."""
    await conn.execute(HURRY, [organization_id, list(account_ids)])


def _keys(mine: Claim) -> dict[str, UUID]:
    return {
        "organization": mine.account.organization_id,
        "account": mine.account.id,
        "lease": mine.lease_id,
    }

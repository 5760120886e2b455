"""How far fetching is, account by account and day by day, for pages and programs: what is due, what came when, and why not.

Reads only what is kept here: nobody waits for Meta.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack.db import Connection
from whatrack.insights import days
from whatrack.insights.schedule import OF_DAYS

# Days are kept without gaps, and what was never fetched is due: so only the ends (by the primary key) and what is due some time
# (insight_days_due, four weeks an account) are read, however long the history. An account that never was on has no row.
ACCOUNTS: LiteralString = """
SELECT s.account_id, a.ad_account_id, a.ad_account_name AS name, a.timezone_name AS zone, a.is_active,
       coalesce(s.lease_until > now(), false) AS is_running, s.reason, s.message, s.attempts, s.next_at, s.tried_at, s.whole_at, s.asked_at,
       coalesce(span.newest - span.since + 1, 0) AS days, coalesce(span.newest - span.since + 1 - d.missing, 0) AS fetched,
       coalesce(d.due, 0) AS due, coalesce(d.missing, 0) AS missing, coalesce(d.early, 0) AS early, coalesce(d.aside, 0) AS aside, span.since, d.fetched_at
FROM insight_accounts s JOIN meta_ad_accounts a ON a.organization_id = s.organization_id AND a.id = s.account_id
LEFT JOIN LATERAL (SELECT min(day) AS since, max(day) AS newest FROM insight_days d
    WHERE d.organization_id = s.organization_id AND d.account_id = s.account_id) AS span ON true
LEFT JOIN (SELECT n.account_id, count(*) FILTER (WHERE n.due_at <= now()) AS due, count(*) FILTER (WHERE n.fetched_at IS NULL) AS missing,
           count(*) FILTER (WHERE n.fetched_at < ended.at AND ended.at <= now()) AS early,
           count(*) FILTER (WHERE n.due_at > now() AND n.reason = ANY(%(of_days)s)) AS aside, max(n.fetched_at) AS fetched_at
           FROM insight_days n JOIN meta_ad_accounts z ON z.organization_id = n.organization_id AND z.id = n.account_id
           CROSS JOIN LATERAL (SELECT CASE WHEN z.timezone_name = ANY(%(zones)s) THEN (n.day + 1)::timestamp AT TIME ZONE z.timezone_name
               END AS at) AS ended
           WHERE n.organization_id = %(organization)s AND n.due_at IS NOT NULL GROUP BY n.account_id) AS d
    ON d.account_id = s.account_id
WHERE s.organization_id = %(organization)s ORDER BY a.folded_name, a.id
"""
DAYS: LiteralString = """
SELECT d.day, d.due_at, d.fetched_at, d.connection_id, c.fb_user_name AS profile, d.reason, d.message, d.attempts, d.rows,
       d.emptied_at,
       CASE WHEN a.timezone_name = ANY(%(zones)s) THEN (d.day + 1)::timestamp AT TIME ZONE a.timezone_name END AS ends_at
FROM insight_days d JOIN meta_ad_accounts a ON a.organization_id = d.organization_id AND a.id = d.account_id
LEFT JOIN meta_connections c ON c.organization_id = d.organization_id AND c.id = d.connection_id
WHERE d.organization_id = %(organization)s AND d.account_id = %(account)s AND d.day BETWEEN %(since)s AND %(until)s ORDER BY d.day DESC
"""
ZONES: LiteralString = "SELECT DISTINCT timezone_name FROM meta_ad_accounts WHERE organization_id = %s"


class AccountProgress(msgspec.Struct, frozen=True):
    """An account that is or was on.

    days: kept since `since`; fetched: of them, at least once; missing: never; early: over, and last fetched while they lasted,
    so not whole; due: to be fetched now, again or at last; aside: came and could not be taken over, to be tried again later.
    message: what Meta said, or which row or profile it is about.
    whole_at: when the last try ended that left nothing due and nothing set aside; fetched_at: when the request began that last
    brought a day; reason: why the last try did not bring everything, or why a day is set aside; attempts: tries in a row that
    failed, limits of Meta's and reports it still makes aside.
    """

    account_id: UUID
    ad_account_id: str
    name: str
    zone: str
    is_active: bool
    is_running: bool
    reason: str | None
    message: str | None
    attempts: int
    next_at: datetime | None
    tried_at: datetime | None
    whole_at: datetime | None
    asked_at: datetime | None
    days: int
    fetched: int
    due: int
    missing: int
    early: int
    aside: int
    since: date | None
    fetched_at: datetime | None

    @property
    def is_first(self) -> bool:
        """Whether its history has not been fetched yet."""
        return self.is_active and (self.days == 0 or self.missing > 1 + self.aside) and not self.goes_on

    @property
    def goes_on(self) -> bool:
        """Whether the reason is of single days, and the others are fetched all the same: no try failed since they were set aside."""
        return self.reason in OF_DAYS and self.attempts == 0


class Progress(msgspec.Struct, frozen=True):
    """All accounts of an organization, by name."""

    accounts: Sequence[AccountProgress]

    @property
    def running(self) -> int:
        """How many are being fetched."""
        return sum(each.is_running for each in self.accounts)

    @property
    def days_due(self) -> int:
        """How many account-days are to be fetched now."""
        return sum(each.due for each in self.accounts if each.is_active)

    @property
    def days_fetched(self) -> int:
        """How many account-days came at least once."""
        return sum(each.fetched for each in self.accounts)

    @property
    def days_failed(self) -> int:
        """How many wait behind a reason, due now or set aside."""
        return sum(each.due + each.aside for each in self.accounts if each.is_active and each.reason)

    @property
    def reasons(self) -> dict[str, int]:
        """Reason → how many accounts that are on wait behind it."""
        return dict(Counter(each.reason for each in self.accounts if each.is_active and each.reason))


class DayProgress(msgspec.Struct, frozen=True):
    """An account-day. profile: whose token fetched it; None when it was not, or that profile is gone.

    emptied_at: when every row that it had had was gone from Meta's answer; None: never, or there are rows again. ends_at: in its
    zone; None where that is none that this machine knows.
    """

    day: date
    due_at: datetime | None
    fetched_at: datetime | None
    connection_id: UUID | None
    profile: str | None
    reason: str | None
    message: str | None
    attempts: int
    rows: int
    emptied_at: datetime | None
    ends_at: datetime | None

    @property
    def is_whole(self) -> bool:
        """Whether it was read since it ended."""
        return bool(self.fetched_at and self.ends_at and self.fetched_at >= self.ends_at)


async def progress(conn: Connection, organization_id: UUID) -> Progress:
    """How far each account is."""
    async with conn.cursor(row_factory=class_row(AccountProgress)) as cursor:
        values = {
            "organization": organization_id,
            "of_days": list(OF_DAYS),
            "zones": await zones(conn, organization_id),
        }
        return Progress(await (await cursor.execute(ACCOUNTS, values)).fetchall())


async def freshness(conn: Connection, organization_id: UUID) -> dict[UUID, AccountProgress]:
    """Account → how old its figures are (`fetched_at`, `whole_at`), what is missing, and why."""
    return {each.account_id: each for each in (await progress(conn, organization_id)).accounts}


async def account_days(
    conn: Connection, organization_id: UUID, account_id: UUID, since: date, until: date
) -> list[DayProgress]:
    """The account's days from since to until, both included, the newest first."""
    async with conn.cursor(row_factory=class_row(DayProgress)) as cursor:
        values: dict[str, Any] = {
            "organization": organization_id,
            "account": account_id,
            "since": since,
            "until": until,
        }
        values["zones"] = await zones(conn, organization_id)
        return await (await cursor.execute(DAYS, values)).fetchall()


async def zones(conn: Connection, organization_id: UUID) -> list[str]:
    """The zones of the organization's accounts, as far as this machine knows them."""
    found = await (await conn.execute(ZONES, [organization_id])).fetchall()
    return [zone for (zone,) in found if days.is_zone(zone)]

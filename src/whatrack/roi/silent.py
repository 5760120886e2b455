"""Days of which Meta says that an account spent nothing, while people came from its ads: a zero that nobody should take for granted.

A day counts once it was read whole after it had ended. The people are those whose last touch lies on it, as of when tickets were
last followed. An account in a zone that this machine does not know has no such day: nobody can say when one ended.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec
from psycopg.rows import class_row

from whatrack import db as database
from whatrack.db import Connection
from whatrack.insights import progress

# Accounts without anybody near the period (a day of any zone lies within a day of the same one of UTC) are left out first: one look
# each, however many days they did not deliver. Of the others each empty day is one look at its people (roi_tickets_account), all in
# this one statement. Not the other way round, from the people to the days: of 700,000 people of a year that took nine times as long.
# A midnight that comes twice is the second one to PostgreSQL: so the hour before it is read as well, and the day decides.
SILENT: LiteralString = """
WITH a AS MATERIALIZED (
    SELECT id, ref, ad_account_id, timezone_name AS zone FROM meta_ad_accounts a
    WHERE organization_id = %(organization)s AND (%(accounts)s::uuid[] IS NULL OR id = ANY(%(accounts)s)) AND timezone_name = ANY(%(zones)s)
    AND EXISTS (SELECT FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.account_ref = a.ref AND f.is_lead
        AND f.touched_at >= (%(since)s::date - 1)::timestamp AT TIME ZONE 'UTC'
        AND f.touched_at < (%(until)s::date + 2)::timestamp AT TIME ZONE 'UTC')
)
SELECT a.ad_account_id, d.day, p.people FROM a
JOIN insight_days d ON d.organization_id = %(organization)s AND d.account_id = a.id AND d.day BETWEEN %(since)s AND %(until)s
    AND d.rows = 0 AND d.fetched_at IS NOT NULL AND (d.fetched_at AT TIME ZONE a.zone)::date > d.day
CROSS JOIN LATERAL (
    SELECT count(*) AS people FROM roi_tickets f
    WHERE f.organization_id = %(organization)s AND f.account_ref = a.ref AND f.is_lead
    AND f.touched_at >= d.day::timestamp AT TIME ZONE a.zone - interval '1 hour'
    AND f.touched_at < (d.day + 1)::timestamp AT TIME ZONE a.zone
    AND (f.touched_at AT TIME ZONE a.zone)::date = d.day) AS p
WHERE p.people > 0
ORDER BY a.ad_account_id, d.day
"""
RECENT = timedelta(days=28)  # what Meta may still restate


class SilentDay(msgspec.Struct, frozen=True):
    """A day without spend on which people came."""

    ad_account_id: str
    day: date
    people: int


async def find(
    conn: Connection, organization_id: UUID, accounts: Sequence[UUID] | None, since: date, until: date
) -> list[SilentDay]:
    """The silent days of these accounts (None: of all) from since to until, both included, by account and day."""
    values = {
        "organization": organization_id,
        "accounts": None if accounts is None else list(accounts),
        "zones": await progress.zones(conn, organization_id),
        "since": since,
        "until": until,
    }
    async with conn.cursor(row_factory=class_row(SilentDay)) as cursor:
        return await (await cursor.execute(SILENT, values)).fetchall()


async def lately(conn: Connection, organization_id: UUID) -> list[SilentDay]:
    """Those of all accounts that Meta may still restate."""
    today = (await database.now(conn)).date()
    return await find(conn, organization_id, None, today - RECENT, today)

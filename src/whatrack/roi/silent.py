"""Days of which Meta says that an account spent nothing, while people came from its ads: a zero that nobody should take for granted.

A day counts once it was read whole after it had ended. The people are those whose last touch lies on it, as of when tickets were
last followed. Read are account-days without rows (insight_days_empty), and the tickets of those alone (roi_tickets_account).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.db import Connection
from whatrack.roi import periods

# Accounts without anybody near the period are left out first: one look each, however many days they did not deliver. A day of any
# zone lies within a day of the same one of UTC.
EMPTY: LiteralString = """
WITH a AS MATERIALIZED (
    SELECT id, ref, ad_account_id, timezone_name FROM meta_ad_accounts a
    WHERE organization_id = %(organization)s AND (%(accounts)s::uuid[] IS NULL OR id = ANY(%(accounts)s))
    AND EXISTS (SELECT FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.account_ref = a.ref AND f.is_lead
        AND f.touched_at >= (%(since)s::date - 1)::timestamp AT TIME ZONE 'UTC'
        AND f.touched_at < (%(until)s::date + 2)::timestamp AT TIME ZONE 'UTC'))
SELECT a.ref, a.ad_account_id, a.timezone_name, d.day, d.fetched_at
FROM a JOIN insight_days d ON d.organization_id = %(organization)s AND d.account_id = a.id
WHERE d.day BETWEEN %(since)s AND %(until)s AND d.rows = 0 AND d.fetched_at IS NOT NULL
"""
PEOPLE: LiteralString = """
SELECT e.place, f.people FROM unnest(%(refs)s::int[], %(los)s::timestamptz[], %(his)s::timestamptz[])
    WITH ORDINALITY AS e (account_ref, lo, hi, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS people FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.account_ref = e.account_ref
    AND f.touched_at >= e.lo AND f.touched_at < e.hi AND f.is_lead) AS f
WHERE f.people > 0
"""
RECENT = timedelta(days=28)  # what Meta may still restate


class SilentDay(msgspec.Struct, frozen=True, order=True):
    """A day without spend on which people came."""

    ad_account_id: str
    day: date
    people: int


async def find(
    conn: Connection, organization_id: UUID, accounts: Sequence[UUID] | None, since: date, until: date
) -> list[SilentDay]:
    """The silent days of these accounts (None: of all) from since to until, both included, by account and day."""
    values = {"organization": organization_id, "since": since, "until": until}
    named = {"accounts": None if accounts is None else list(accounts)}
    found = await (await conn.execute(EMPTY, {**values, **named})).fetchall()
    spans = [periods.span(day, day, zone) for _, _, zone, day, _ in found]
    over = [(row, span) for row, span in zip(found, spans, strict=True) if row[4] >= span[1]]
    if not over:
        return []
    columns = {
        "refs": [row[0] for row, _ in over],
        "los": [span[0] for _, span in over],
        "his": [span[1] for _, span in over],
    }
    told = await (await conn.execute(PEOPLE, {"organization": organization_id, **columns})).fetchall()
    return sorted(SilentDay(over[place - 1][0][1], over[place - 1][0][3], people) for place, people in told)


async def lately(conn: Connection, organization_id: UUID) -> list[SilentDay]:
    """Those of all accounts that Meta may still restate."""
    today = (await database.now(conn)).date()
    return await find(conn, organization_id, None, today - RECENT, today)

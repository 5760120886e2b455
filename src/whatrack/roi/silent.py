"""Days of which Meta says that an account spent nothing, while people came from its ads: a zero that nobody should take for granted.

A day counts once it was read whole after it had ended. The people are those whose last touch lies on it, as of when tickets were
last followed. Only account-days without rows are read (insight_days_empty), and tickets only on those with people near them.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import LiteralString
from uuid import UUID

import msgspec

from whatrack import db as database
from whatrack.db import Connection
from whatrack.roi import periods

EMPTY: LiteralString = """
SELECT a.ref, a.ad_account_id, a.timezone_name, d.day, d.fetched_at
FROM insight_days d JOIN meta_ad_accounts a ON a.organization_id = d.organization_id AND a.id = d.account_id
WHERE d.organization_id = %(organization)s AND (%(accounts)s::uuid[] IS NULL OR d.account_id = ANY(%(accounts)s))
AND d.day BETWEEN %(since)s AND %(until)s AND d.rows = 0 AND d.fetched_at IS NOT NULL
"""
# An account's sums over days of UTC say cheaply where there is anybody at all.
PEOPLE: LiteralString = """
SELECT e.place, f.people FROM unnest(%(refs)s::int[], %(los)s::timestamptz[], %(his)s::timestamptz[])
    WITH ORDINALITY AS e (account_ref, lo, hi, place)
CROSS JOIN LATERAL (
    SELECT count(*) AS people FROM roi_tickets f WHERE f.organization_id = %(organization)s AND f.touched_at >= e.lo AND f.touched_at < e.hi
    AND f.account_ref = e.account_ref AND f.is_lead) AS f
WHERE f.people > 0 AND EXISTS (
    SELECT FROM roi_ticket_sums s WHERE s.organization_id = %(organization)s AND s.by_click AND s.level = 1 AND s.hours = 24
    AND s.block IN (floor(extract(epoch FROM e.lo - timestamptz '2000-01-01 00:00Z') / 86400)::int,
                    floor(extract(epoch FROM e.hi - timestamptz '2000-01-01 00:00Z') / 86400)::int)
    AND s.account_ref = e.account_ref AND s.leads > 0)
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

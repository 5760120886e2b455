"""Tickets' facts, ready to be summed: followed from the marks that every change leaves. One writer of `roi_tickets`.

Which facts a ticket has is defined by the view ticket_facts alone. Following may lag behind by any time: readers take a
marked ticket's facts from the view, in the same statement, so what they show is always exact.
"""

from typing import LiteralString

from whatrack.db import Connection

MARKS_AT_ONCE = 200
COLUMNS: LiteralString = """organization_id, ticket_id, ad_ref, account_ref, is_lead, is_conversation, has_clid, opened_at, touched_at,
    qualified_at, won_at, value, currency"""
# One follower at a time: a slower one would write an older snapshot over a newer.
LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(hashtextextended('roi_tickets', 0))"
# One statement, so one snapshot: a mark that it does not see belongs to a change that it does not see, and stays.
FOLLOW: LiteralString = f"""
WITH taken AS (
    DELETE FROM ticket_marks m USING (SELECT organization_id, id FROM ticket_marks ORDER BY organization_id, id LIMIT %(limit)s) AS first
    WHERE m.organization_id = first.organization_id AND m.id = first.id RETURNING m.organization_id, m.ticket_ids
), marked AS (SELECT DISTINCT organization_id, unnest(ticket_ids) AS ticket_id FROM taken),
written AS (
    INSERT INTO roi_tickets AS f ({COLUMNS})
    SELECT {COLUMNS} FROM marked JOIN ticket_facts USING (organization_id, ticket_id) ORDER BY organization_id, ticket_id
    ON CONFLICT (organization_id, ticket_id) DO UPDATE SET ad_ref = excluded.ad_ref,
        account_ref = excluded.account_ref, is_lead = excluded.is_lead,
        is_conversation = excluded.is_conversation, has_clid = excluded.has_clid, opened_at = excluded.opened_at,
        touched_at = excluded.touched_at, qualified_at = excluded.qualified_at, won_at = excluded.won_at,
        value = excluded.value, currency = excluded.currency
)
SELECT count(*) FROM taken
"""  # noqa: S608 - constants only


async def follow(conn: Connection, limit: int = MARKS_AT_ONCE) -> bool:
    """Follow up to so many marks, of every organization (system scope); whether more may wait. Idempotent."""
    row = await (await conn.execute(LOCK)).fetchone()
    if row is None or not row[0]:
        return False
    followed = await (await conn.execute(FOLLOW, {"limit": limit})).fetchone()
    return followed is not None and followed[0] == limit

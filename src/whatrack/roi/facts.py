"""Tickets' facts, ready to be summed: followed from the marks that every change leaves. One writer of
`roi_tickets` and of `roi_ticket_sums`, the same facts summed over blocks of hours.

Which facts a ticket has is defined by the view ticket_facts alone. Following may lag behind by any time: readers take a
marked ticket's facts from the view, in the same statement, so what they show is always exact.
"""

from typing import LiteralString

from whatrack.db import Connection

MARKS_AT_ONCE = 200
TICKETS_AT_ONCE = 5000  # up to two seconds (decision 0019)
COLUMNS: LiteralString = """organization_id, ticket_id, ad_ref, account_ref, is_lead, is_conversation, has_clid, opened_at, touched_at,
    qualified_at, won_at, value, currency, campaign_id, ad_set_id"""
# One follower at a time: a slower one would write an older snapshot over a newer.
LOCK: LiteralString = "SELECT pg_try_advisory_xact_lock(hashtextextended('roi_tickets', 0))"
# What a fact adds to the sums, w times: its events by each date, over each length. {facts}: rows of COLUMNS with w.
SUMS: LiteralString = """
SELECT f.organization_id, e.by_click, g.level, g.hours, floor(extract(epoch FROM e.at - timestamptz '2000-01-01 00:00Z') / 3600 / g.hours)::int AS block,
    CASE WHEN f.account_ref IS NULL THEN 0 WHEN g.level = 0 THEN -1 ELSE f.account_ref END AS account_ref,
    CASE WHEN g.level = 2 OR f.account_ref IS NULL THEN f.ad_ref ELSE 0 END AS ad_ref,
    CASE g.level WHEN 3 THEN f.campaign_id WHEN 4 THEN f.ad_set_id ELSE '' END AS key, f.currency, sum(f.w * e.leads)::int AS leads,
    sum(f.w * e.conversations)::int AS conversations, sum(f.w * e.with_clid)::int AS with_clid, sum(f.w * e.qualified)::int AS qualified,
    sum(f.w * e.sales)::int AS sales, sum(f.w * e.valueless)::int AS valueless, sum(f.w * e.revenue)::bigint AS revenue
FROM ({facts}) AS f CROSS JOIN LATERAL (VALUES
    (false, CASE WHEN f.is_lead THEN f.opened_at END, 1, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, 0, 0, 0, 0::bigint),
    (false, f.qualified_at, 0, 0, 0, 1, 0, 0, 0),
    (false, f.won_at, 0, 0, 0, 0, 1, (f.value IS NULL)::int, coalesce(f.value, 0)),
    (true, f.touched_at, f.is_lead::int, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, (f.qualified_at IS NOT NULL)::int,
        (f.won_at IS NOT NULL)::int, (f.won_at IS NOT NULL AND f.value IS NULL)::int, CASE WHEN f.won_at IS NULL THEN 0 ELSE coalesce(f.value, 0) END)
) AS e (by_click, at, leads, conversations, with_clid, qualified, sales, valueless, revenue)
JOIN (VALUES (0, 1), (1, 24), (1, 384), (2, 96), (2, 384), (2, 1536), (2, 3072), (3, 96), (3, 384), (3, 1536), (3, 3072),
    (4, 96), (4, 384), (4, 1536), (4, 3072)) AS g (level, hours) ON g.level < 2 OR f.account_ref IS NOT NULL
WHERE e.at IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""
# level → hours in a block, largest first
SIZES = {0: (1,), 1: (384, 24), 2: (3072, 1536, 384, 96), 3: (3072, 1536, 384, 96), 4: (3072, 1536, 384, 96)}
LEVELS = {"account": 1, "campaign": 3, "adset": 4, "ad": 2}
MOVED: LiteralString = SUMS.format(
    facts="SELECT -1 AS w, old.* FROM old UNION ALL SELECT 1, fresh.* FROM fresh"
)
# One statement, so one snapshot: a mark that it does not see belongs to a change that it does not see, and stays. What the
# sums had of a ticket, they lose; what it is now, they get.
FOLLOW: LiteralString = f"""
WITH taken AS (
    DELETE FROM ticket_marks m USING (
        SELECT organization_id, id, sum(cardinality(ticket_ids)) OVER (ORDER BY organization_id, id) - cardinality(ticket_ids) AS before
        FROM (SELECT * FROM ticket_marks ORDER BY organization_id, id LIMIT %(marks)s) AS oldest) AS first
    WHERE m.organization_id = first.organization_id AND m.id = first.id AND before < %(tickets)s RETURNING m.organization_id, m.ticket_ids
), marked AS (SELECT DISTINCT organization_id, unnest(ticket_ids) AS ticket_id FROM taken),
fresh AS MATERIALIZED (SELECT {COLUMNS} FROM marked JOIN ticket_facts USING (organization_id, ticket_id)),
old AS MATERIALIZED (SELECT {COLUMNS} FROM marked JOIN roi_tickets USING (organization_id, ticket_id)),
written AS (
    INSERT INTO roi_tickets AS f ({COLUMNS})
    SELECT {COLUMNS} FROM fresh ORDER BY organization_id, ticket_id
    ON CONFLICT (organization_id, ticket_id) DO UPDATE SET ad_ref = excluded.ad_ref,
        account_ref = excluded.account_ref, is_lead = excluded.is_lead,
        is_conversation = excluded.is_conversation, has_clid = excluded.has_clid, opened_at = excluded.opened_at,
        touched_at = excluded.touched_at, qualified_at = excluded.qualified_at, won_at = excluded.won_at,
        value = excluded.value, currency = excluded.currency, campaign_id = excluded.campaign_id, ad_set_id = excluded.ad_set_id
), summed AS (
    INSERT INTO roi_ticket_sums AS s SELECT * FROM ({MOVED}) AS moved
    WHERE (leads, conversations, with_clid, qualified, sales, valueless, revenue) <> (0, 0, 0, 0, 0, 0, 0) ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9
    ON CONFLICT (organization_id, by_click, level, hours, block, account_ref, ad_ref, key, currency) DO UPDATE SET
        leads = s.leads + excluded.leads, conversations = s.conversations + excluded.conversations, with_clid = s.with_clid + excluded.with_clid,
        qualified = s.qualified + excluded.qualified, sales = s.sales + excluded.sales, valueless = s.valueless + excluded.valueless,
        revenue = s.revenue + excluded.revenue
)
SELECT count(*), coalesce(sum(cardinality(ticket_ids)), 0) FROM taken
"""  # noqa: S608 - constants only


async def follow(conn: Connection) -> bool:
    """Follow some marks, organization by organization (system scope); whether more may wait. Idempotent."""
    row = await (await conn.execute(LOCK)).fetchone()
    if row is None or not row[0]:
        return False
    values = {"marks": MARKS_AT_ONCE, "tickets": TICKETS_AT_ONCE}
    followed = await (await conn.execute(FOLLOW, values)).fetchone()
    return followed is not None and (followed[0] == MARKS_AT_ONCE or followed[1] >= TICKETS_AT_ONCE)

-- Sums of tickets over four days too, by ad, campaign and ad set: at the ends of a period fewer tickets are read one by one.
-- Of the facts as they were followed, as all sums are; see roi/facts.py.
INSERT INTO roi_ticket_sums
SELECT f.organization_id, e.by_click, g.level, 96, floor(extract(epoch FROM e.at - timestamptz '2000-01-01 00:00Z') / 3600 / 96)::int,
    f.account_ref, CASE g.level WHEN 2 THEN f.ad_ref ELSE 0 END, CASE g.level WHEN 3 THEN f.campaign_id WHEN 4 THEN f.ad_set_id ELSE '' END,
    f.currency, sum(e.leads), sum(e.conversations), sum(e.with_clid), sum(e.qualified), sum(e.sales), sum(e.valueless), sum(e.revenue)
FROM roi_tickets f CROSS JOIN LATERAL (VALUES
    (false, CASE WHEN f.is_lead THEN f.opened_at END, 1, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, 0, 0, 0, 0::bigint),
    (false, f.qualified_at, 0, 0, 0, 1, 0, 0, 0),
    (false, f.won_at, 0, 0, 0, 0, 1, (f.value IS NULL)::int, coalesce(f.value, 0)),
    (true, f.touched_at, f.is_lead::int, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, (f.qualified_at IS NOT NULL)::int,
        (f.won_at IS NOT NULL)::int, (f.won_at IS NOT NULL AND f.value IS NULL)::int, CASE WHEN f.won_at IS NULL THEN 0 ELSE coalesce(f.value, 0) END)
) AS e (by_click, at, leads, conversations, with_clid, qualified, sales, valueless, revenue)
CROSS JOIN (VALUES (2), (3), (4)) AS g (level)
WHERE e.at IS NOT NULL AND f.account_ref IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

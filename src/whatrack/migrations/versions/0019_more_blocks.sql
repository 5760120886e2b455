-- Sums over shorter and longer times: of tickets over four days, so that at the ends of a period few are read one by one, and of
-- spend and tickets over 128 days, of which a year always has one.

-- Two of 64 days each; see insights/rollups.py.
INSERT INTO insight_ad_blocks
SELECT organization_id, account_ref, 128, floor(block / 2.0)::int, ad_ref, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_ad_blocks WHERE size = 64 GROUP BY 1, 2, 4, 5 ORDER BY 1, 2, 4, 5;
INSERT INTO insight_blocks
SELECT organization_id, level, account_ref, 128, floor(block / 2.0)::int, key, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_blocks WHERE size = 64 GROUP BY 1, 2, 3, 5, 6 ORDER BY 1, 2, 3, 5, 6;

-- From the facts as they were followed, as all sums are; see roi/facts.py.
INSERT INTO roi_ticket_sums
SELECT f.organization_id, e.by_click, g.level, g.hours, floor(extract(epoch FROM e.at - timestamptz '2000-01-01 00:00Z') / 3600 / g.hours)::int,
    f.account_ref, CASE g.level WHEN 2 THEN f.ad_ref ELSE 0 END, CASE g.level WHEN 3 THEN f.campaign_id WHEN 4 THEN f.ad_set_id ELSE '' END,
    f.currency, sum(e.leads), sum(e.conversations), sum(e.with_clid), sum(e.qualified), sum(e.sales), sum(e.valueless), sum(e.revenue)
FROM roi_tickets f CROSS JOIN LATERAL (VALUES
    (false, CASE WHEN f.is_lead THEN f.opened_at END, 1, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, 0, 0, 0, 0::bigint),
    (false, f.qualified_at, 0, 0, 0, 1, 0, 0, 0),
    (false, f.won_at, 0, 0, 0, 0, 1, (f.value IS NULL)::int, coalesce(f.value, 0)),
    (true, f.touched_at, f.is_lead::int, f.is_conversation::int, (f.is_conversation AND f.has_clid)::int, (f.qualified_at IS NOT NULL)::int,
        (f.won_at IS NOT NULL)::int, (f.won_at IS NOT NULL AND f.value IS NULL)::int, CASE WHEN f.won_at IS NULL THEN 0 ELSE coalesce(f.value, 0) END)
) AS e (by_click, at, leads, conversations, with_clid, qualified, sales, valueless, revenue)
CROSS JOIN (VALUES (2, 96), (2, 3072), (3, 96), (3, 3072), (4, 96), (4, 3072)) AS g (level, hours)
WHERE e.at IS NOT NULL AND f.account_ref IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

-- The ads of a status, without reading the catalog.
CREATE INDEX meta_ads_status ON meta_ads (organization_id, effective_status, ref);

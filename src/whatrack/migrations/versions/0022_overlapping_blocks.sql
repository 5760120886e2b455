-- Sums over 4 days as before, over 32 days that begin every 4 and over 128 that begin every 32, instead of 16, 64 and 128 days
-- side by side: wherever a month begins, a block is close to it. Block n of a size begins n of its steps after 2000-01-01.

-- As in 0017, but for the size by which an ad's accounts are found: the largest has the fewest rows.
CREATE OR REPLACE FUNCTION move_ads() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved record;
    place record;
BEGIN
    FOR moved IN
        SELECT organization_id, array_agg(ref) AS ads, array_agg(n.meta_ad_id) AS ids FROM was o JOIN now_is n USING (organization_id, ref)
        WHERE (o.meta_campaign_id, o.meta_ad_set_id, o.meta_account_id) IS DISTINCT FROM (n.meta_campaign_id, n.meta_ad_set_id, n.meta_account_id)
        GROUP BY 1 ORDER BY 1
    LOOP
        INSERT INTO ticket_marks (organization_id, ticket_ids)
        SELECT organization_id, array_agg(ticket_id)
        FROM (SELECT organization_id, ticket_id, row_number() OVER () AS nth FROM ticket_tracking
              WHERE organization_id = moved.organization_id AND meta_ad_id = ANY(moved.ids)) AS t
        GROUP BY organization_id, (nth - 1) / 1000;
        PERFORM pg_advisory_xact_lock(insight_blocks_lock(moved.organization_id));
        FOR place IN
            SELECT account_ref, array_agg(size::int) AS sizes, array_agg(block) AS numbers FROM insight_blocks
            WHERE organization_id = moved.organization_id AND level = 0 AND account_ref IN (
                SELECT account_ref FROM insight_ad_blocks WHERE organization_id = moved.organization_id AND size = 128 AND ad_ref = ANY(moved.ads))
            GROUP BY 1
        LOOP
            DELETE FROM insight_blocks WHERE organization_id = moved.organization_id AND level IN (0, 1, 2) AND account_ref = place.account_ref;
            PERFORM sum_insight_blocks(moved.organization_id, place.account_ref, place.sizes, place.numbers);
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;

-- As in 0017, looked up block by block and ad by ad whatever is known of the tables: a large organization's first reading comes before
-- anything was counted, and joined otherwise each ad of the catalog was looked for in each block.
CREATE OR REPLACE FUNCTION sum_insight_blocks(organization uuid, account int, sizes int[], numbers int[]) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = 'force_custom_plan' SET enable_nestloop = off SET enable_sort = off AS $$
BEGIN
    INSERT INTO insight_blocks
    WITH b AS MATERIALIZED (
        SELECT n.size, n.block, d.ad_ref, 1 AS days, d.spend, d.impressions, d.clicks, d.link_clicks, d.conversations, d.meta_leads,
            d.meta_purchases, d.meta_purchase_value
        FROM unnest(sizes, numbers) AS n (size, block) CROSS JOIN LATERAL (
            SELECT * FROM meta_ad_insights_daily d WHERE d.organization_id = organization AND d.account_ref = account
            AND d.day = date '2000-01-01' + n.block OFFSET 0) AS d
        WHERE n.size = 1
        UNION ALL
        SELECT n.size, n.block, d.ad_ref, d.days, d.spend, d.impressions, d.clicks, d.link_clicks, d.conversations, d.meta_leads,
            d.meta_purchases, d.meta_purchase_value
        FROM unnest(sizes, numbers) AS n (size, block) CROSS JOIN LATERAL (
            SELECT * FROM insight_ad_blocks d WHERE d.organization_id = organization AND d.account_ref = account
            AND d.size = n.size AND d.block = n.block OFFSET 0) AS d
        WHERE n.size > 1
    ), ads AS MATERIALIZED (
        SELECT a.ad_ref, coalesce(m.meta_campaign_id, '') AS campaign, coalesce(m.meta_ad_set_id, '') AS ad_set
        FROM (SELECT DISTINCT ad_ref FROM b) AS a CROSS JOIN LATERAL (
            -- By the one index in this order, without a sort: of an organization not counted yet all look alike.
            SELECT * FROM meta_ads m WHERE m.organization_id = organization AND m.ref BETWEEN a.ad_ref AND a.ad_ref ORDER BY m.ref LIMIT 1) AS m
    )
    SELECT organization, g.level, account, b.size, b.block, g.key, sum(b.days), sum(b.spend), sum(b.impressions), sum(b.clicks),
        sum(b.link_clicks), sum(b.conversations), sum(b.meta_leads), sum(b.meta_purchases), sum(b.meta_purchase_value)
    FROM b JOIN ads USING (ad_ref) CROSS JOIN LATERAL (VALUES (0, ''), (1, ads.campaign), (2, ads.ad_set)) AS g (level, key)
    GROUP BY b.size, b.block, g.level, g.key ORDER BY g.level, b.size, b.block, g.key;
END $$;

-- What is there already: of 4 days as they are, of 32 from eight of them, of 128 from four of those.
DELETE FROM insight_ad_blocks WHERE size > 4;
INSERT INTO insight_ad_blocks
SELECT organization_id, account_ref, 32, block - p.place, ad_ref, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_ad_blocks CROSS JOIN generate_series(0, 7) AS p (place) WHERE size = 4 GROUP BY 1, 2, 4, 5 ORDER BY 1, 2, 4, 5;
INSERT INTO insight_ad_blocks
SELECT organization_id, account_ref, 128, (block - p.place) / 8, ad_ref, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_ad_blocks CROSS JOIN generate_series(0, 24, 8) AS p (place) WHERE size = 32 AND block % 8 = 0 GROUP BY 1, 2, 4, 5 ORDER BY 1, 2, 4, 5;
DELETE FROM insight_blocks WHERE size > 4;
INSERT INTO insight_blocks
SELECT organization_id, level, account_ref, 32, block - p.place, key, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_blocks CROSS JOIN generate_series(0, 7) AS p (place) WHERE size = 4 GROUP BY 1, 2, 3, 5, 6 ORDER BY 1, 2, 3, 5, 6;
INSERT INTO insight_blocks
SELECT organization_id, level, account_ref, 128, (block - p.place) / 8, key, sum(days), sum(spend), sum(impressions), sum(clicks),
    sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM insight_blocks CROSS JOIN generate_series(0, 24, 8) AS p (place) WHERE size = 32 AND block % 8 = 0 GROUP BY 1, 2, 3, 5, 6 ORDER BY 1, 2, 3, 5, 6;

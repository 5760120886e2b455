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

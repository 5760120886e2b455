-- Sums of spend and of tickets by campaign and ad set beside those by ad, so that a table of few rows is read from few.
DROP TABLE insight_account_days, insight_ad_blocks;

-- An ad's sums over `size` days, aligned: block n of size s begins s × n days after 2000-01-01. A period is read as whole
-- blocks and days, added or, where that is shorter, taken away. What most orders are of is in the index: ranking reads nothing else.
CREATE TABLE insight_ad_blocks (
    organization_id uuid NOT NULL,
    account_ref int NOT NULL,
    size smallint NOT NULL,        -- 4, 16 or 64; single days are meta_ad_insights_daily
    block int NOT NULL,
    ad_ref int NOT NULL,
    days int NOT NULL,             -- that have a row: none left, and the ad did not deliver
    spend bigint NOT NULL,         -- minor units of the account's currency, as all money here
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    link_clicks bigint NOT NULL,
    conversations bigint NOT NULL,
    meta_leads bigint NOT NULL,
    meta_purchases bigint NOT NULL,
    meta_purchase_value bigint NOT NULL,
    PRIMARY KEY (organization_id, account_ref, size, block, ad_ref) INCLUDE (spend, impressions, link_clicks)
);
SELECT protect_tenant_table('insight_ad_blocks');

-- The same of what ads belong to as the catalog has it: an account's, its campaigns' and its ad sets' sums, single days too.
CREATE TABLE insight_blocks (
    organization_id uuid NOT NULL,
    level smallint NOT NULL,       -- 0: the account, 1: campaigns, 2: ad sets
    account_ref int NOT NULL,
    size smallint NOT NULL,        -- 1, 4, 16 or 64
    block int NOT NULL,
    key text NOT NULL COLLATE "C", -- Meta's id of the campaign or ad set, '' of ads without one; '' for accounts
    days bigint NOT NULL,          -- rows of ads and days
    spend bigint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    link_clicks bigint NOT NULL,
    conversations bigint NOT NULL,
    meta_leads bigint NOT NULL,
    meta_purchases bigint NOT NULL,
    meta_purchase_value bigint NOT NULL,
    PRIMARY KEY (organization_id, level, account_ref, size, block, key) INCLUDE (spend)
);
SELECT protect_tenant_table('insight_blocks');

-- Whoever derives these sums holds this lock shared, whoever changes what an ad belongs to alone: neither may read what the
-- other is about to change. Taken last in a transaction, after every lock on ads.
CREATE FUNCTION insight_blocks_lock(organization uuid) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT hashtextextended('insight_blocks ' || organization, 0)
$$;

-- Derives blocks of an account, single days (size 1) too, from the days and the blocks of its ads. They are forgotten before,
-- and the lock is held.
CREATE FUNCTION sum_insight_blocks(organization uuid, account int, sizes int[], numbers int[]) RETURNS void
LANGUAGE plpgsql SET plan_cache_mode = 'force_custom_plan' AS $$
BEGIN
    INSERT INTO insight_blocks
    SELECT organization, g.level, account, b.size, b.block, g.key, sum(b.days), sum(b.spend), sum(b.impressions), sum(b.clicks),
        sum(b.link_clicks), sum(b.conversations), sum(b.meta_leads), sum(b.meta_purchases), sum(b.meta_purchase_value)
    FROM (
        SELECT n.size, n.block, d.ad_ref, 1 AS days, d.spend, d.impressions, d.clicks, d.link_clicks, d.conversations, d.meta_leads,
            d.meta_purchases, d.meta_purchase_value
        FROM unnest(sizes, numbers) AS n (size, block) JOIN meta_ad_insights_daily d
            ON d.organization_id = organization AND d.account_ref = account AND d.day = date '2000-01-01' + n.block
        WHERE n.size = 1
        UNION ALL
        SELECT n.size, n.block, d.ad_ref, d.days, d.spend, d.impressions, d.clicks, d.link_clicks, d.conversations, d.meta_leads,
            d.meta_purchases, d.meta_purchase_value
        FROM unnest(sizes, numbers) AS n (size, block) JOIN insight_ad_blocks d
            ON d.organization_id = organization AND d.account_ref = account AND d.size = n.size AND d.block = n.block
        WHERE n.size > 1
    ) AS b JOIN meta_ads m ON m.organization_id = organization AND m.ref = b.ad_ref
    CROSS JOIN LATERAL (VALUES (0, ''), (1, coalesce(m.meta_campaign_id, '')), (2, coalesce(m.meta_ad_set_id, ''))) AS g (level, key)
    GROUP BY b.size, b.block, g.level, g.key ORDER BY g.level, b.size, b.block, g.key;
END $$;

-- An ad that belongs to others now takes all its past with it, in the transaction that says so; its tickets are marked.
CREATE FUNCTION move_ads() RETURNS trigger LANGUAGE plpgsql AS $$
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
                SELECT account_ref FROM insight_ad_blocks WHERE organization_id = moved.organization_id AND size = 64 AND ad_ref = ANY(moved.ads))
            GROUP BY 1
        LOOP
            DELETE FROM insight_blocks WHERE organization_id = moved.organization_id AND level IN (0, 1, 2) AND account_ref = place.account_ref;
            PERFORM sum_insight_blocks(moved.organization_id, place.account_ref, place.sizes, place.numbers);
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
CREATE TRIGGER meta_ads_moved AFTER UPDATE ON meta_ads REFERENCING OLD TABLE AS was NEW TABLE AS now_is
    FOR EACH STATEMENT EXECUTE FUNCTION move_ads();

-- What is there already.
INSERT INTO insight_ad_blocks
SELECT organization_id, account_ref, s.size, floor((day - date '2000-01-01')::numeric / s.size)::int, ad_ref, count(*), sum(spend),
    sum(impressions), sum(clicks), sum(link_clicks), sum(conversations), sum(meta_leads), sum(meta_purchases), sum(meta_purchase_value)
FROM meta_ad_insights_daily CROSS JOIN (VALUES (4), (16), (64)) AS s (size) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5;
SELECT sum_insight_blocks(organization_id, account_ref, array_agg(size), array_agg(block))
FROM (SELECT DISTINCT organization_id, account_ref, 1 AS size, day - date '2000-01-01' AS block FROM meta_ad_insights_daily
      UNION ALL SELECT DISTINCT organization_id, account_ref, size, block FROM insight_ad_blocks) AS b GROUP BY organization_id, account_ref;

-- What the ad of a ticket belongs to, as the catalog has it.
CREATE OR REPLACE VIEW ticket_facts WITH (security_invoker = true) AS
SELECT t.organization_id, t.id AS ticket_id,
    CASE k.meta_source_type WHEN 'post' THEN -2 WHEN 'ad' THEN coalesce(a.ref,
        CASE WHEN k.meta_enrichment_status = 'FAILED' AND k.meta_enrichment_error IN ('no_access', 'no_profile', 'token_dead')
             THEN -4 ELSE -3 END) ELSE -1 END AS ad_ref,
    CASE k.meta_source_type WHEN 'ad' THEN ac.ref END AS account_ref,
    t.close_reason IS DISTINCT FROM 'MERGED' AND NOT t.follow_up AS is_lead,
    k.meta_source_type IS NOT DISTINCT FROM 'ad' AND k.first_source_type = 'ad' AND k.first_touch_at <= t.opened_at
        AND t.close_reason IS DISTINCT FROM 'MERGED' AND NOT t.follow_up AS is_conversation,
    k.meta_source_type IS NOT DISTINCT FROM 'ad' AND k.ctwa_clid IS NOT NULL AS has_clid,
    t.opened_at,
    coalesce(k.last_touch_at, t.opened_at) AS touched_at,
    CASE WHEN t.close_reason IS DISTINCT FROM 'MERGED'
         THEN least(m.qualified_at, CASE WHEN t.close_reason = 'WON' THEN t.won_at ELSE m.won_at END) END AS qualified_at,
    CASE WHEN t.close_reason = 'WON' THEN t.won_at END AS won_at,
    CASE WHEN t.close_reason = 'WON' THEN (t.deal_value * 100)::bigint END AS value,
    t.currency,
    coalesce(a.meta_campaign_id, '') AS campaign_id,
    coalesce(a.meta_ad_set_id, '') AS ad_set_id
FROM tickets t
LEFT JOIN ticket_tracking k ON k.organization_id = t.organization_id AND k.ticket_id = t.id
LEFT JOIN meta_ads a ON a.organization_id = k.organization_id AND a.meta_ad_id = k.meta_ad_id
LEFT JOIN meta_ad_accounts ac ON ac.organization_id = a.organization_id AND ac.ad_account_id = 'act_' || a.meta_account_id
CROSS JOIN LATERAL (
    SELECT min(c.happened_at) FILTER (WHERE c.reached = 'qualified') AS qualified_at,
           min(c.happened_at) FILTER (WHERE c.reached = 'won') AS won_at
    FROM ticket_stage_changes c
    WHERE c.organization_id = t.organization_id AND c.ticket_id = t.id AND c.reached IS NOT NULL
    AND NOT EXISTS (SELECT FROM ticket_stage_changes u WHERE u.organization_id = c.organization_id AND u.ticket_id = c.ticket_id
                    AND u.is_undo AND u.version = c.version + 1)) AS m;
DROP TABLE roi_ticket_sums;
TRUNCATE roi_tickets;
ALTER TABLE roi_tickets ADD COLUMN campaign_id text NOT NULL, ADD COLUMN ad_set_id text NOT NULL;

-- The facts summed over `hours` hours, as before, and by campaign and ad set.
CREATE TABLE roi_ticket_sums (
    organization_id uuid NOT NULL,
    by_click boolean NOT NULL,     -- all numbers by the last touch; else leads by the first message, sales by the win …
    level smallint NOT NULL,       -- 0: everything, 1: accounts, 2: ads of accounts, 3: their campaigns, 4: their ad sets
    hours smallint NOT NULL,
    block int NOT NULL,
    account_ref int NOT NULL,      -- 0: of no account; −1: of some account (level 0)
    ad_ref int NOT NULL,           -- 0: of any ad; below 0 the kinds of ticket_facts
    key text NOT NULL COLLATE "C", -- the campaign or ad set as in insight_blocks, '' of other levels
    currency text NOT NULL,        -- of the sales
    leads int NOT NULL,
    conversations int NOT NULL,
    with_clid int NOT NULL,
    qualified int NOT NULL,
    sales int NOT NULL,
    valueless int NOT NULL,
    revenue bigint NOT NULL,       -- hundredths of the currency
    PRIMARY KEY (organization_id, by_click, level, hours, block, account_ref, ad_ref, key, currency)
) WITH (fillfactor = 90);
SELECT protect_tenant_table('roi_ticket_sums');

-- All tickets have to be followed anew, in pieces: a mark is followed whole, in one transaction.
DELETE FROM ticket_marks;
INSERT INTO ticket_marks (organization_id, ticket_ids)
SELECT organization_id, array_agg(id)
FROM (SELECT organization_id, id, row_number() OVER (PARTITION BY organization_id ORDER BY id) AS place FROM tickets) AS t
GROUP BY organization_id, (place - 1) / 1000;

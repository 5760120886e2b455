-- What a search compares and what sorts: small letters without accents. lower() alone leaves É as it is where the database's locale is C.
CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN translate(lower($1), 'áàâãäåéèêëíìîïóòôõöúùûüçñÁÀÂÃÄÅÉÈÊËÍÌÎÏÓÒÔÕÖÚÙÛÜÇÑ', 'aaaaaaeeeeiiiiooooouuuucnaaaaaaeeeeiiiiooooouuuucn');
ALTER TABLE meta_ad_accounts ADD COLUMN folded_name text COLLATE "C" NOT NULL GENERATED ALWAYS AS (folded(ad_account_name)) STORED;
DROP INDEX meta_ad_accounts_folded;
CREATE INDEX meta_ad_accounts_folded ON meta_ad_accounts (organization_id, folded_name, id);
-- Ads, ad sets and campaigns, each as it is searched for: its name, if it has one, and its id, behind what sorts before every letter, or
-- "Promo" would come after "Promo 2". Read from the indexes alone, and those of ads are in that order. An index holds no more of a row
-- than 2,700 bytes, so names are cut (catalog.py).
ALTER TABLE meta_ads
    ADD COLUMN ad_called text COLLATE "C" NOT NULL GENERATED ALWAYS AS (folded(coalesce(name || E'\t', '') || meta_ad_id)) STORED,
    ADD COLUMN ad_set_called text COLLATE "C" GENERATED ALWAYS AS (folded(coalesce(meta_ad_set_name || E'\t', '') || meta_ad_set_id)) STORED,
    ADD COLUMN campaign_called text COLLATE "C" GENERATED ALWAYS AS (folded(coalesce(meta_campaign_name || E'\t', '') || meta_campaign_id)) STORED,
    DROP CONSTRAINT meta_ads_ref,
    ADD CONSTRAINT meta_ads_ref UNIQUE (organization_id, ref);
CREATE INDEX meta_ads_called ON meta_ads (organization_id, ad_called) INCLUDE (ref);
DROP INDEX meta_ads_campaign;
DROP INDEX meta_ads_ad_set;
CREATE INDEX meta_ads_campaign ON meta_ads (organization_id, meta_campaign_id, campaign_called, effective_status);
CREATE INDEX meta_ads_ad_set ON meta_ads (organization_id, meta_ad_set_id, ad_set_called, effective_status);
-- Totals are of accounts: theirs of one block lie together, instead of among those of their campaigns and ad sets.
CREATE INDEX insight_blocks_of_accounts ON insight_blocks (organization_id, size, block, account_ref) WHERE level = 0;
-- All that a report asks of ads is in the index: a filter's totals read every number of every ad, each row anew from the table.
ALTER TABLE insight_ad_blocks
    DROP CONSTRAINT insight_ad_blocks_pkey,
    ADD PRIMARY KEY (organization_id, account_ref, size, block, ad_ref)
        INCLUDE (days, spend, impressions, clicks, link_clicks, conversations, meta_leads, meta_purchases, meta_purchase_value);

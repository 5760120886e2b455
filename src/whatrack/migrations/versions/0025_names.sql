-- What ads, ad sets and campaigns are called is read from the indexes that find them: a text in a name was looked for in every ad of
-- the installation. An index holds no more of a row than 2,700 bytes, so longer names are cut (catalog.py).
UPDATE meta_ads SET name = left(name, 500), meta_ad_set_name = left(meta_ad_set_name, 500), meta_campaign_name = left(meta_campaign_name, 500)
WHERE length(name) > 500 OR length(meta_ad_set_name) > 500 OR length(meta_campaign_name) > 500;
ALTER TABLE meta_ads DROP CONSTRAINT meta_ads_ref, ADD CONSTRAINT meta_ads_ref UNIQUE (organization_id, ref) INCLUDE (meta_ad_id, name);
DROP INDEX meta_ads_campaign;
DROP INDEX meta_ads_ad_set;
CREATE INDEX meta_ads_campaign ON meta_ads (organization_id, meta_campaign_id, meta_campaign_name, effective_status);
CREATE INDEX meta_ads_ad_set ON meta_ads (organization_id, meta_ad_set_id, meta_ad_set_name, effective_status);

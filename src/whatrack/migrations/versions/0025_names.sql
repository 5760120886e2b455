-- What campaigns and ad sets are called, and whether they run, is read from the index that finds their ads: a text in a name was
-- looked for in every ad of the installation. An index holds no more of a row than 2,700 bytes, so longer names are cut (catalog.py).
UPDATE meta_ads SET meta_campaign_name = left(meta_campaign_name, 500), meta_ad_set_name = left(meta_ad_set_name, 500)
WHERE length(meta_campaign_name) > 500 OR length(meta_ad_set_name) > 500;
DROP INDEX meta_ads_campaign;
DROP INDEX meta_ads_ad_set;
CREATE INDEX meta_ads_campaign ON meta_ads (organization_id, meta_campaign_id, meta_campaign_name, effective_status);
CREATE INDEX meta_ads_ad_set ON meta_ads (organization_id, meta_ad_set_id, meta_ad_set_name, effective_status);

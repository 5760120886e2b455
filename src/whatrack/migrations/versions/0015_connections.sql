-- When a person last connected: what Meta says of an earlier moment concerns an earlier login.
ALTER TABLE meta_connections ADD COLUMN connected_at timestamptz NOT NULL DEFAULT now();
-- SHA-256 of the app secret that proves a pasted token, where the app's id does not tell (one of WHATSAPP_APP_SECRET).
ALTER TABLE meta_connections ADD COLUMN token_proof bytea;
-- Names in the order of a dictionary: Ótica beside Otica, not behind Zebra.
DROP INDEX meta_ad_accounts_name;
CREATE INDEX meta_ad_accounts_folded ON meta_ad_accounts (organization_id,
    translate(lower(ad_account_name), 'áàâãäåéèêëíìîïóòôõöúùûüçñÁÀÂÃÄÅÉÈÊËÍÌÎÏÓÒÔÕÖÚÙÛÜÇÑ',
        'aaaaaaeeeeiiiiooooouuuucnaaaaaaeeeeiiiiooooouuuucn'), id);

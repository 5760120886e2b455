-- Which ad brought the ticket (last touch, with a copy of the first), and every touch with what was decided.
-- Both are written only in the transaction that wrote their ticket or has just read it, and no ticket is ever deleted by
-- itself: so without foreign keys, whose checks would lock a ticket's row again for each touch.

CREATE TABLE ticket_tracking (
    organization_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    meta_source_type text NOT NULL CHECK (meta_source_type IN ('ad', 'post', 'organic')),
    meta_ad_id text CHECK (length(meta_ad_id) <= 64),
    meta_ad_set_id text,
    meta_campaign_id text,
    meta_account_id text,
    meta_ad_name text,
    meta_ad_set_name text,
    meta_campaign_name text,
    meta_placement text,           -- referral.media_type
    meta_enrichment_status text NOT NULL CHECK (meta_enrichment_status IN ('PENDING', 'COMPLETED', 'FAILED', 'NOT_APPLICABLE')),
    meta_enrichment_error text,
    last_enrichment_at timestamptz,
    meta_ad_id_at_enrichment text,
    source_id text,                -- as the referral said it: the ad's id, or the post's
    ctwa_clid text,                -- opaque, case-sensitive, up to 4 kB and more: never a btree key
    source_url text,
    headline text,
    ad_body text,
    image_url text,
    video_url text,
    thumbnail_url text,
    welcome_message text,
    last_touch_at timestamptz,
    last_touch_wamid text,
    first_touch_at timestamptz,
    first_touch_wamid text,
    first_source_type text,
    first_source_id text,
    first_ctwa_clid text,
    PRIMARY KEY (organization_id, ticket_id)
) WITH (fillfactor = 90);
CREATE INDEX ticket_tracking_ad ON ticket_tracking (organization_id, meta_ad_id) WHERE meta_ad_id IS NOT NULL;
CREATE INDEX ticket_tracking_campaign ON ticket_tracking (organization_id, meta_campaign_id) WHERE meta_campaign_id IS NOT NULL;
SELECT protect_tenant_table('ticket_tracking');

CREATE TABLE meta_attribution_history (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    wamid text NOT NULL,
    touched_at timestamptz NOT NULL, -- the message's time
    changed_at timestamptz NOT NULL, -- when it was decided
    decision text NOT NULL CHECK (decision IN ('first_touch', 'new_ad', 'same_ad', 'late', 'unrecognised')),
    source_type text NOT NULL,
    old_ad_id text,
    new_ad_id text,
    old_ctwa_clid text,
    new_ctwa_clid text,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX meta_attribution_history_ticket ON meta_attribution_history (organization_id, ticket_id, touched_at);
SELECT protect_tenant_table('meta_attribution_history');

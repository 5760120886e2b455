-- What the report reads: sums of the account-days, one narrow fact a ticket, and what people say of costs and rates.

-- An account-day's sums. Derived from meta_ad_insights_daily in the transaction that replaces the day.
CREATE TABLE insight_account_days (
    organization_id uuid NOT NULL,
    account_ref int NOT NULL,
    day date NOT NULL,
    spend bigint NOT NULL,         -- minor units of the account's currency, as all money here
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    link_clicks bigint NOT NULL,
    conversations bigint NOT NULL,
    meta_leads bigint NOT NULL,
    meta_purchases bigint NOT NULL,
    meta_purchase_value bigint NOT NULL,
    PRIMARY KEY (organization_id, account_ref, day)
);
SELECT protect_tenant_table('insight_account_days');

-- An ad's sums over `size` days, aligned: block n of size s begins s × n days after 2000-01-01. A period is read as whole
-- blocks and the days at its ends.
CREATE TABLE insight_ad_blocks (
    organization_id uuid NOT NULL,
    account_ref int NOT NULL,
    size smallint NOT NULL,
    block int NOT NULL,
    ad_ref int NOT NULL,
    spend bigint NOT NULL,
    impressions bigint NOT NULL,
    clicks bigint NOT NULL,
    link_clicks bigint NOT NULL,
    conversations bigint NOT NULL,
    meta_leads bigint NOT NULL,
    meta_purchases bigint NOT NULL,
    meta_purchase_value bigint NOT NULL,
    PRIMARY KEY (organization_id, account_ref, size, block, ad_ref)
);
SELECT protect_tenant_table('insight_ad_blocks');

-- What a move reached when it was made: a stage's role may be another's later. An undone move reached nothing.
ALTER TABLE ticket_stage_changes
    ADD COLUMN reached text CHECK (reached IN ('qualified', 'won')),
    ADD COLUMN is_undo boolean NOT NULL DEFAULT false;
UPDATE ticket_stage_changes c
SET reached = CASE WHEN s."group" = 'WON' THEN 'won' WHEN s.role = 'qualified' THEN 'qualified' END
FROM stages s WHERE s.organization_id = c.organization_id AND s.id = c.to_stage_id;
-- Until now an undo was a move without a way back, right after its opposite.
UPDATE ticket_stage_changes c SET is_undo = true, reached = NULL
FROM ticket_stage_changes m
WHERE c.before IS NULL AND m.organization_id = c.organization_id AND m.ticket_id = c.ticket_id AND m.version = c.version - 1
  AND m.from_stage_id = c.to_stage_id AND m.to_stage_id = c.from_stage_id AND m.before IS NOT NULL;

-- What the report counts of a ticket. This is where it is defined; roi_tickets holds the same, ready to be summed.
-- ad_ref: meta_ads.ref, or -1 nobody's (organic), -2 a post's, -3 an ad's that is not known (yet), -4 an ad's that no
-- profile of the organization may see. account_ref: meta_ad_accounts.ref, null where the ad's account is none of ours.
-- value: hundredths of the ticket's currency.
CREATE VIEW ticket_facts WITH (security_invoker = true) AS
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
    t.currency
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

-- A ticket's facts as of when they were last followed; a ticket that changed since is in ticket_marks.
CREATE TABLE roi_tickets (
    organization_id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    ad_ref int NOT NULL,
    account_ref int,
    is_lead boolean NOT NULL,
    is_conversation boolean NOT NULL,
    has_clid boolean NOT NULL,
    opened_at timestamptz NOT NULL,
    touched_at timestamptz NOT NULL,
    qualified_at timestamptz,
    won_at timestamptz,
    value bigint,
    currency text NOT NULL,
    PRIMARY KEY (organization_id, ticket_id)
) WITH (fillfactor = 90);
CREATE INDEX roi_tickets_opened ON roi_tickets (organization_id, opened_at) INCLUDE (ad_ref, account_ref, is_conversation, has_clid) WHERE is_lead;
CREATE INDEX roi_tickets_touched ON roi_tickets (organization_id, touched_at)
    INCLUDE (ad_ref, account_ref, is_lead, is_conversation, has_clid, qualified_at, won_at, value, currency);
CREATE INDEX roi_tickets_qualified ON roi_tickets (organization_id, qualified_at) INCLUDE (ad_ref, account_ref) WHERE qualified_at IS NOT NULL;
CREATE INDEX roi_tickets_won ON roi_tickets (organization_id, won_at) INCLUDE (ad_ref, account_ref, value, currency, touched_at)
    WHERE won_at IS NOT NULL;
CREATE INDEX roi_tickets_ad ON roi_tickets (organization_id, ad_ref);
CREATE INDEX roi_tickets_currency ON roi_tickets (organization_id, currency, won_at) WHERE won_at IS NOT NULL;
SELECT protect_tenant_table('roi_tickets');

-- The facts summed over `hours` hours, aligned: block n begins hours × n hours after 2000-01-01, UTC, so that it serves every zone.
-- Written by who follows, in the statement that writes the facts.
CREATE TABLE roi_ticket_sums (
    organization_id uuid NOT NULL,
    by_click boolean NOT NULL,     -- all numbers by the last touch; else leads by the first message, sales by the win …
    level smallint NOT NULL,       -- 0: everything, 1: accounts, 2: ads of accounts
    hours smallint NOT NULL,
    block int NOT NULL,
    account_ref int NOT NULL,      -- 0: of no account; −1: of some account (level 0)
    ad_ref int NOT NULL,           -- 0: of any ad; below 0 the kinds of ticket_facts
    currency text NOT NULL,        -- of the sales
    leads int NOT NULL,
    conversations int NOT NULL,
    with_clid int NOT NULL,
    qualified int NOT NULL,
    sales int NOT NULL,
    valueless int NOT NULL,
    revenue bigint NOT NULL,       -- hundredths of the currency
    PRIMARY KEY (organization_id, by_click, level, hours, block, account_ref, ad_ref, currency)
) WITH (fillfactor = 90);
SELECT protect_tenant_table('roi_ticket_sums');

-- Tickets that changed since their facts were followed: one row a statement, not one a ticket. Written by the triggers
-- below, so that no path can forget it; deleted by who follows, in the transaction that writes the facts.
CREATE TABLE ticket_marks (
    organization_id uuid NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    ticket_ids uuid[] NOT NULL,
    PRIMARY KEY (organization_id, id)
);
SELECT protect_tenant_table('ticket_marks');

CREATE FUNCTION mark_tickets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT organization_id, array_agg(ticket_id) FROM changed GROUP BY organization_id;
    RETURN NULL;
END $$;
-- A new ticket comes with its tracking, a touch or a looked-up ad changes it.
CREATE TRIGGER ticket_tracking_new AFTER INSERT ON ticket_tracking REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tickets();
CREATE TRIGGER ticket_tracking_changed AFTER UPDATE ON ticket_tracking REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tickets();
CREATE TRIGGER ticket_stage_changes_new AFTER INSERT ON ticket_stage_changes REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tickets();

-- Of the ticket itself, what the facts show; a message changes none of it, and costs no more than the comparison.
CREATE FUNCTION mark_ticket() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids) VALUES (NEW.organization_id, ARRAY[NEW.id]);
    RETURN NULL;
END $$;
CREATE TRIGGER tickets_new AFTER INSERT ON tickets FOR EACH ROW WHEN (NEW.source <> 'message' OR NEW.status = 'closed')
    EXECUTE FUNCTION mark_ticket();
CREATE TRIGGER tickets_changed AFTER UPDATE ON tickets FOR EACH ROW WHEN (
    (OLD.follow_up, OLD.opened_at, OLD.won_at, OLD.deal_value, OLD.currency)
        IS DISTINCT FROM (NEW.follow_up, NEW.opened_at, NEW.won_at, NEW.deal_value, NEW.currency)
    OR coalesce(OLD.close_reason IN ('WON', 'MERGED'), false) <> coalesce(NEW.close_reason IN ('WON', 'MERGED'), false))
    EXECUTE FUNCTION mark_ticket();

-- An ad that enters the catalog may be one that tickets wait for.
CREATE FUNCTION mark_tickets_of_ads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT k.organization_id, array_agg(k.ticket_id) FROM changed a
    JOIN ticket_tracking k ON k.organization_id = a.organization_id AND k.meta_ad_id = a.meta_ad_id
    GROUP BY k.organization_id;
    RETURN NULL;
END $$;
CREATE TRIGGER meta_ads_new AFTER INSERT ON meta_ads REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tickets_of_ads();

-- An account that is connected later may be that of ads that tickets came from.
CREATE FUNCTION mark_tickets_of_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT k.organization_id, array_agg(k.ticket_id) FROM changed c
    JOIN meta_ads a ON a.organization_id = c.organization_id AND 'act_' || a.meta_account_id = c.ad_account_id
    JOIN ticket_tracking k ON k.organization_id = a.organization_id AND k.meta_ad_id = a.meta_ad_id
    GROUP BY k.organization_id;
    RETURN NULL;
END $$;
CREATE TRIGGER meta_ad_accounts_new AFTER INSERT ON meta_ad_accounts REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION mark_tickets_of_accounts();

-- Everything that is there already has still to be followed.
INSERT INTO ticket_marks (organization_id, ticket_ids)
SELECT organization_id, array_agg(id) FROM tickets GROUP BY organization_id, left(id::text, 3);

CREATE INDEX ticket_refunds_at ON ticket_refunds (organization_id, refunded_at);
CREATE INDEX meta_ads_campaign ON meta_ads (organization_id, meta_campaign_id);
CREATE INDEX meta_ads_ad_set ON meta_ads (organization_id, meta_ad_set_id);

-- What a sale and an invoice cost beside the ads, as people say it. Days of the organization's zone for sales, of the
-- account's for Meta's tax; both ends count, a missing one is open.
CREATE TABLE cost_settings (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('meta_tax', 'fee', 'product')),
    label text NOT NULL DEFAULT '' CHECK (length(label) <= 60),
    ad_account_id text CHECK (ad_account_id ~ '^act_[0-9]{1,32}$'), -- meta_tax only: this account, before what holds for all
    rate numeric(7, 6) NOT NULL DEFAULT 0 CHECK (rate >= 0 AND rate < 1), -- 0.1215: of the invoice for tax, of the value for a sale
    fixed numeric(12, 2) NOT NULL DEFAULT 0 CHECK (fixed >= 0),           -- a sale, in the base currency
    since date,
    until date,
    created_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (organization_id, id),
    CHECK (since IS NULL OR until IS NULL OR since <= until),
    CHECK (kind = 'meta_tax' OR ad_account_id IS NULL),
    CHECK (kind <> 'meta_tax' OR fixed = 0)
);
SELECT protect_tenant_table('cost_settings');

-- What one unit of a currency was worth in another on a day. Never guessed: money of a day without a rate is shown apart.
CREATE TABLE fx_rates (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    into_currency text NOT NULL CHECK (into_currency ~ '^[A-Z]{3}$'),
    day date NOT NULL,
    rate numeric(18, 8) NOT NULL CHECK (rate > 0),
    source text NOT NULL CHECK (source IN ('entered', 'imported', 'carried')), -- carried: a weekend's or holiday's, of the day before
    updated_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (organization_id, currency, into_currency, day),
    CHECK (currency <> into_currency)
);
SELECT protect_tenant_table('fx_rates');

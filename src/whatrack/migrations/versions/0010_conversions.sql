-- Which ad (its catalog, and what could not be looked up), and what Meta is owed, with proof of each attempt.

-- Entering the stage owes this event. The closed list of "Conversions API for business messaging" (read 2026-11).
CREATE FUNCTION is_messaging_event(name text) RETURNS boolean IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT name IN ('Purchase', 'LeadSubmitted', 'InitiateCheckout', 'AddToCart', 'ViewContent', 'OrderCreated', 'OrderShipped',
        'OrderDelivered', 'OrderCanceled', 'OrderReturned', 'CartAbandoned', 'QualifiedLead', 'RatingProvided', 'ReviewProvided')
$$;
ALTER TABLE stages ADD COLUMN event_name text CHECK (is_messaging_event(event_name));
UPDATE stages SET event_name = CASE role WHEN 'qualified' THEN 'LeadSubmitted' WHEN 'won' THEN 'Purchase' END
WHERE role IN ('qualified', 'won');
-- A Purchase needs a value, and only a won ticket surely has one; the entry stage is nobody's decision.
ALTER TABLE stages
    ADD CONSTRAINT stages_purchase_is_won CHECK (event_name IS DISTINCT FROM 'Purchase' OR "group" = 'WON'),
    ADD CONSTRAINT stages_entry_has_no_event CHECK (event_name IS NULL OR role IS DISTINCT FROM 'new');

-- One row per ticket and event, written in the transaction of the move that owes it. "Sending" is no status: a PENDING row
-- is due at next_attempt_at, which is the lease's end while somebody sends it.
CREATE TABLE meta_conversion_events (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    event_name text NOT NULL CHECK (is_messaging_event(event_name)),
    event_id text NOT NULL CHECK (length(event_id) <= 80), -- 'lead-<ticket>', 'purchase-<ticket>', '<snake_name>-<ticket>'
    status text NOT NULL CHECK (status IN ('PENDING', 'SENT', 'FAILED', 'CANCELLED', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA',
        'SKIPPED_DUPLICATE_LEAD', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE')),
    success boolean NOT NULL DEFAULT false, -- SENT; the trigger keeps it
    ctwa_clid text,                -- as it was at the move; a later click never changes it
    ctwa_clid_hash bytea,          -- its SHA-256: a click id may be longer than an index entry
    meta_ad_id text,
    waba_id text,
    value numeric(12, 2) CHECK (value > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    event_time timestamptz NOT NULL, -- when it happened, never when it is sent
    owed_version int NOT NULL,     -- the ticket's version after the move that owes it: undoing that move cancels it
    not_before timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    hold_reason text CHECK (hold_reason IN ('undo', 'enrichment', 'throttled', 'transient', 'unknown', 'uncounted', 'halved',
        'token', 'permission', 'blocked', 'no_token')),
    batch_limit int NOT NULL DEFAULT 1000 CHECK (batch_limit BETWEEN 1 AND 1000), -- halved while a bad one is looked for
    attempts int NOT NULL DEFAULT 0,
    trouble int NOT NULL DEFAULT 0, -- attempts in a row that Meta neither took nor refused: the pause grows with them
    was_unknown boolean NOT NULL DEFAULT false, -- an attempt's outcome is not known: Meta may have it twice
    lease_id uuid,
    lease_until timestamptz,
    error_code text CHECK (length(error_code) <= 40), -- '100/2804087'
    error_message text CHECK (length(error_message) <= 500),
    fbtrace_id text CHECK (length(fbtrace_id) <= 80),
    dataset_id text,               -- of the last attempt, for the list
    sent_at timestamptz,           -- null until accepted
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    CONSTRAINT meta_conversion_events_once UNIQUE (organization_id, ticket_id, event_name),
    CONSTRAINT meta_conversion_events_event_id UNIQUE (organization_id, event_id),
    FOREIGN KEY (organization_id, ticket_id) REFERENCES tickets ON DELETE CASCADE,
    CHECK ((ctwa_clid IS NULL) = (ctwa_clid_hash IS NULL)),
    CHECK (event_name <> 'Purchase' OR value IS NOT NULL),
    CHECK (status <> 'PENDING' OR ctwa_clid IS NOT NULL),
    CHECK ((status = 'SENT') = (sent_at IS NOT NULL)),
    CHECK (success = (status = 'SENT')),
    CHECK (status = 'PENDING' OR lease_id IS NULL)
) WITH (fillfactor = 80);
-- One lead per click: a second ticket of the same click is SKIPPED_DUPLICATE_LEAD while the first is owed or sent.
CREATE UNIQUE INDEX meta_conversion_events_lead ON meta_conversion_events (organization_id, ctwa_clid_hash)
    WHERE event_name = 'LeadSubmitted' AND status IN ('PENDING', 'SENT');
CREATE INDEX meta_conversion_events_due ON meta_conversion_events (next_attempt_at) WHERE status = 'PENDING';
CREATE INDEX meta_conversion_events_waiting ON meta_conversion_events (organization_id, next_attempt_at) WHERE status = 'PENDING';
-- What Meta's window may still close on, or a change of settings mend.
CREATE INDEX meta_conversion_events_window ON meta_conversion_events (event_time)
    WHERE status IN ('PENDING', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE', 'SKIPPED_DUPLICATE_LEAD');
CREATE INDEX meta_conversion_events_list ON meta_conversion_events (organization_id, event_time DESC, id DESC);
CREATE INDEX meta_conversion_events_status ON meta_conversion_events (organization_id, status, event_time DESC, id DESC);
SELECT protect_tenant_table('meta_conversion_events');

-- No path leads around these transitions (docs/decisions/0013). From FAILED or EXPIRED_WINDOW to SENT only a proof leads
-- that came late. What was attempted cannot be cancelled, and what was sent stays what it was.
CREATE FUNCTION check_conversion_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed text[];
BEGIN
    NEW.success := NEW.status = 'SENT';
    IF TG_OP = 'INSERT' THEN
        IF NEW.status NOT IN ('PENDING', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA', 'SKIPPED_DUPLICATE_LEAD') THEN
            RAISE EXCEPTION 'a conversion event cannot begin as %', NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_begin';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.ticket_id, NEW.event_name, NEW.event_id, NEW.created_at)
        IS DISTINCT FROM (OLD.ticket_id, OLD.event_name, OLD.event_id, OLD.created_at) THEN
        RAISE EXCEPTION 'what a conversion event is about does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_identity';
    END IF;
    IF OLD.status IN ('SENT', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA') AND (NEW.ctwa_clid, NEW.value, NEW.currency, NEW.event_time)
        IS DISTINCT FROM (OLD.ctwa_clid, OLD.value, OLD.currency, OLD.event_time) THEN
        RAISE EXCEPTION 'a conversion event that is over stays what it was'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_final';
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    allowed := CASE OLD.status
        WHEN 'PENDING' THEN ARRAY['SENT', 'FAILED', 'EXPIRED_WINDOW', 'CANCELLED', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE']
        WHEN 'FAILED' THEN ARRAY['PENDING', 'SENT']
        WHEN 'CANCELLED' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA', 'SKIPPED_DUPLICATE_LEAD']
        WHEN 'SKIPPED_NO_DATASET' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'CANCELLED']
        WHEN 'SKIPPED_ACCOUNT_INACTIVE' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'CANCELLED']
        WHEN 'SKIPPED_DUPLICATE_LEAD' THEN ARRAY['PENDING', 'CANCELLED']
        WHEN 'EXPIRED_WINDOW' THEN ARRAY['SENT']
        ELSE ARRAY[]::text[]
    END;
    IF NEW.status <> ALL (allowed)
        OR (NEW.status = 'CANCELLED' AND OLD.attempts > 0)
        OR (NEW.status = 'SENT' AND NEW.attempts = 0) THEN
        RAISE EXCEPTION 'a conversion event cannot go from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_transition';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER meta_conversion_events_check BEFORE INSERT OR UPDATE ON meta_conversion_events
    FOR EACH ROW EXECUTE FUNCTION check_conversion_event();

-- One sending of one event. Written at the claim, ended when the answer is there: one without an end has an unknown outcome.
CREATE TABLE meta_conversion_attempts (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    event_row_id uuid NOT NULL,    -- meta_conversion_events.id
    lease_id uuid NOT NULL,        -- the request: all events of one have the same
    number int NOT NULL,           -- 1 for the event's first
    dataset_id text NOT NULL,
    connection_id uuid,            -- whose token; null for the WhatsApp number's own
    request_size int NOT NULL,     -- how many events the request held
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    duration_ms int,
    outcome text CHECK (outcome IN ('accepted', 'refused', 'refused_with_others', 'throttled', 'transient', 'token',
        'permission', 'blocked', 'not_counted', 'unknown')),
    http_status int,
    error_code text,
    error_message text,
    fbtrace_id text,
    request json NOT NULL,         -- this event as it went out; no token, the click id shortened
    response json,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, event_row_id) REFERENCES meta_conversion_events ON DELETE CASCADE,
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
);
CREATE INDEX meta_conversion_attempts_event ON meta_conversion_attempts (organization_id, event_row_id, number);
CREATE INDEX meta_conversion_attempts_lease ON meta_conversion_attempts (organization_id, lease_id);
SELECT protect_tenant_table('meta_conversion_attempts');

-- What an organization decides about conversions beside its stages.
CREATE TABLE conversion_settings (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    sale_phrase text NOT NULL CHECK (length(sale_phrase) BETWEEN 3 AND 80),
    sale_phrase_on boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL
);
SELECT protect_tenant_table('conversion_settings');

-- Meta's Test Events code of a dataset: sent along only where one is set, because a blank one diverts real sales.
CREATE TABLE dataset_test_codes (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    dataset_id text NOT NULL CHECK (dataset_id ~ '^[0-9]{1,64}$'),
    test_event_code text NOT NULL CHECK (test_event_code ~ '^[A-Za-z0-9_-]{1,40}$'),
    PRIMARY KEY (organization_id, dataset_id)
);
SELECT protect_tenant_table('dataset_test_codes');

-- The catalog: each ad as it is called today. Tickets keep the names as they were.
CREATE TABLE meta_ads (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    meta_ad_id text NOT NULL CHECK (length(meta_ad_id) <= 64),
    name text,
    effective_status text,
    meta_ad_set_id text,
    meta_ad_set_name text,
    meta_campaign_id text,
    meta_campaign_name text,
    meta_account_id text NOT NULL, -- bare digits
    fetched_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, meta_ad_id)
);
CREATE INDEX meta_ads_account ON meta_ads (organization_id, meta_account_id);
SELECT protect_tenant_table('meta_ads');

-- An ad that is being looked up, or that nobody could show us: why, and when the next try is. Gone once it is found.
CREATE TABLE meta_ad_lookups (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    meta_ad_id text NOT NULL CHECK (length(meta_ad_id) <= 64),
    reason text CHECK (reason IN ('not_an_ad', 'deleted', 'no_access', 'no_profile', 'token_dead', 'throttled', 'transient')),
    attempts int NOT NULL DEFAULT 0,
    asked_at timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, meta_ad_id)
);
CREATE INDEX meta_ad_lookups_due ON meta_ad_lookups (next_attempt_at);
SELECT protect_tenant_table('meta_ad_lookups');
CREATE INDEX ticket_tracking_pending ON ticket_tracking (organization_id, meta_ad_id) WHERE meta_enrichment_status = 'PENDING';

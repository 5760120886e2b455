-- People who write, every id they are known by, what they wrote, and the day counters of statuses.

CREATE TABLE contacts (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id uuid NOT NULL,
    name text,
    wa_id text,                   -- as Meta last wrote it, digits
    user_id text,                 -- business-scoped user id, as Meta last wrote it
    merged_into uuid,             -- the contact this one turned out to be; no identity points here any more
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);
SELECT protect_tenant_table('contacts');

-- Every id that leads to a contact. key: 'phone:' and the number in one canonical form (Brazil's ninth digit set),
-- or 'bsuid:' and the business-scoped user id; longer than 200 characters, its SHA-256. Written only with contacts, in
-- one transaction, so without a foreign key, as contact_terms.
CREATE TABLE contact_identities (
    organization_id uuid NOT NULL,
    key text NOT NULL CHECK (length(key) <= 220),
    contact_id uuid NOT NULL,
    PRIMARY KEY (organization_id, key) INCLUDE (contact_id) -- asked for each message, and answered by the index alone
);
CREATE INDEX contact_identities_contact ON contact_identities (organization_id, contact_id);
SELECT protect_tenant_table('contact_identities');

-- Words of the name and tails of the phone, for prefix search: the only text search an index serves under
-- row-level security (LIKE and its kin are not leakproof, >= and < are). Derived from contacts, and written only with
-- them, so without a foreign key: its check would cost as much as the row.
CREATE TABLE contact_terms (
    organization_id uuid NOT NULL,
    term text COLLATE "C" NOT NULL CHECK (length(term) <= 40),
    contact_id uuid NOT NULL,
    PRIMARY KEY (organization_id, term, contact_id)
);
CREATE INDEX contact_terms_contact ON contact_terms (organization_id, contact_id);
SELECT protect_tenant_table('contact_terms');

-- Append-only; the raw message is kept whole, so its referral never changes. Partitioned by month of sent_at.
-- No foreign keys: at this volume each would cost a look-up per message; the drain writes both sides in one transaction.
CREATE TABLE messages (
    organization_id uuid NOT NULL,
    wamid text COLLATE "C" NOT NULL CHECK (length(wamid) <= 220),
    sent_at timestamptz NOT NULL,  -- Meta's timestamp; the time of arrival when that one is absurd (time_is_ours)
    time_is_ours boolean NOT NULL,
    phone_number_id text NOT NULL,
    contact_id uuid NOT NULL,
    ticket_id uuid,                -- the ticket it belongs to; none for history, groups, and echoes outside a ticket
    origin text NOT NULL CHECK (origin IN ('inbound', 'echo', 'history', 'group', 'system')),
    from_business boolean NOT NULL,
    type text NOT NULL,
    body text,                     -- what a person reads in it, when there is something to read
    has_referral boolean NOT NULL,
    raw json NOT NULL,
    PRIMARY KEY (organization_id, wamid, sent_at)
) PARTITION BY RANGE (sent_at);
CREATE INDEX messages_ticket ON messages (organization_id, ticket_id, sent_at) WHERE ticket_id IS NOT NULL;
SELECT protect_tenant_table('messages');

-- Statuses are counted, not stored. day: in the organization's zone.
CREATE TABLE number_day_counters (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    phone_number_id text NOT NULL,
    day date NOT NULL,
    status text NOT NULL CHECK (length(status) <= 40),
    count bigint NOT NULL,
    PRIMARY KEY (organization_id, phone_number_id, day, status)
);
SELECT protect_tenant_table('number_day_counters');

-- Changes that are neither messages nor statuses (automatic_events, account_update, …), kept whole for later steps.
CREATE TABLE webhook_events (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    digest bytea NOT NULL,         -- SHA-256 of waba, field, entry time and value: the same change twice is one row
    waba_id text NOT NULL,
    phone_number_id text,
    field text NOT NULL,
    received_at timestamptz NOT NULL,
    value json NOT NULL,
    PRIMARY KEY (organization_id, digest)
);
CREATE INDEX webhook_events_field ON webhook_events (organization_id, field, received_at);
SELECT protect_tenant_table('webhook_events');

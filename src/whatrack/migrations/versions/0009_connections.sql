-- What an organization connects at Meta: people's profiles, the ad accounts they see, and the tokens of its numbers.

-- A Facebook login (or system user) of an organization. The token is encrypted (crypto.py), and null once it was revoked.
CREATE TABLE meta_connections (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    fb_user_id text NOT NULL CHECK (fb_user_id ~ '^[0-9]{1,32}$'), -- scoped to the app that issued the token
    fb_user_name text NOT NULL CHECK (length(fb_user_name) BETWEEN 1 AND 200),
    access_token bytea,
    token_app_id text NOT NULL,         -- the app that issued it: its secret makes the proof
    token_kind text NOT NULL DEFAULT 'USER' CHECK (token_kind IN ('USER', 'SYSTEM_USER')),
    token_expires_at timestamptz,       -- null: never
    data_access_expires_at timestamptz, -- null: never
    scopes text[] NOT NULL DEFAULT '{}',
    declined text[] NOT NULL DEFAULT '{}', -- what was asked for and not given
    status text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('ACTIVE', 'EXPIRED', 'INVALID_SCOPES')),
    status_reason text,
    checked_at timestamptz NOT NULL,    -- when Meta last said how the token is
    check_after timestamptz NOT NULL,
    failures int NOT NULL DEFAULT 0,    -- checks in a row that Meta did not answer
    listed_at timestamptz,              -- when its ad accounts were last read whole
    list_after timestamptz NOT NULL,
    list_error text,                    -- why the last reading failed
    reminded_days int,                  -- of 10, 3 and 1: the last one told
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT meta_connections_person UNIQUE (organization_id, fb_user_id),
    CHECK (status = 'ACTIVE' OR status_reason IS NOT NULL),
    CHECK (status <> 'ACTIVE' OR access_token IS NOT NULL)
);
CREATE INDEX meta_connections_check ON meta_connections (check_after);
CREATE INDEX meta_connections_list ON meta_connections (list_after);
CREATE INDEX meta_connections_fb_user ON meta_connections (fb_user_id);
SELECT protect_tenant_table('meta_connections');

-- An ad account as Meta last told, and what the organization decided about it. Disconnecting a profile keeps it.
CREATE TABLE meta_ad_accounts (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    ad_account_id text NOT NULL CHECK (ad_account_id ~ '^act_[0-9]{1,32}$'),
    ad_account_name text NOT NULL,
    account_status int NOT NULL,        -- 1 active, 2 disabled … as Meta numbers them
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    timezone_name text NOT NULL,
    business_name text,
    connection_id uuid,                 -- whose token is tried first; null: any that sees it
    pixel_id text CHECK (pixel_id ~ '^[0-9]{1,32}$'),
    pixel_name text,
    pixel_confirmed boolean NOT NULL DEFAULT false, -- chosen although it is not linked to the WhatsApp account
    is_active boolean NOT NULL DEFAULT false,
    version int NOT NULL DEFAULT 1,     -- raised by every decision of a person
    seen_at timestamptz NOT NULL,       -- when a profile last listed it
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT meta_ad_accounts_account UNIQUE (organization_id, ad_account_id),
    FOREIGN KEY (organization_id, connection_id) REFERENCES meta_connections ON DELETE SET NULL (connection_id)
);
CREATE INDEX meta_ad_accounts_name ON meta_ad_accounts (organization_id, lower(ad_account_name), id);
CREATE INDEX meta_ad_accounts_connection ON meta_ad_accounts (organization_id, connection_id);
SELECT protect_tenant_table('meta_ad_accounts');

-- Which profile sees which account.
CREATE TABLE meta_ad_account_access (
    organization_id uuid NOT NULL,
    account_id uuid NOT NULL,
    connection_id uuid NOT NULL,
    PRIMARY KEY (organization_id, account_id, connection_id),
    FOREIGN KEY (organization_id, account_id) REFERENCES meta_ad_accounts ON DELETE CASCADE,
    FOREIGN KEY (organization_id, connection_id) REFERENCES meta_connections ON DELETE CASCADE
);
CREATE INDEX meta_ad_account_access_connection ON meta_ad_account_access (organization_id, connection_id);
SELECT protect_tenant_table('meta_ad_account_access');

-- A login dialog that somebody opened: which browser and person may come back with this state, once, for ten minutes.
CREATE TABLE oauth_states (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    hash bytea NOT NULL,                -- SHA-256 of the state
    bound_to bytea NOT NULL,            -- SHA-256 of who opened it, and in which session
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, hash)
);
CREATE INDEX oauth_states_expiry ON oauth_states (expires_at);
SELECT protect_tenant_table('oauth_states');

-- Installation-wide: a data deletion that Meta asked for, so that its status page can answer. It names nobody.
CREATE TABLE meta_data_deletions (
    code text PRIMARY KEY,
    profiles int NOT NULL,              -- how many were deleted
    done_at timestamptz NOT NULL DEFAULT now()
);

-- A number's own token (encrypted), what Meta says of the number, and its WhatsApp account's dataset.
ALTER TABLE whatsapp_numbers
    ADD COLUMN token bytea,
    ADD COLUMN token_app_id text,
    ADD COLUMN token_proof bytea,       -- SHA-256 of the app secret that makes the proof; null: none does
    ADD COLUMN token_status text NOT NULL DEFAULT 'ACTIVE' CHECK (token_status IN ('ACTIVE', 'EXPIRED', 'INVALID_SCOPES')),
    ADD COLUMN token_reason text,
    ADD COLUMN token_expires_at timestamptz,
    ADD COLUMN check_after timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN dataset_id text CHECK (dataset_id ~ '^[0-9]{1,32}$'), -- of its WABA
    ADD COLUMN dataset_reason text,     -- why there is none
    ADD COLUMN verified_name text CHECK (length(verified_name) <= 200),
    ADD COLUMN quality_rating text,
    ADD COLUMN subscribed_at timestamptz;
CREATE INDEX whatsapp_numbers_check ON whatsapp_numbers (check_after) WHERE token IS NOT NULL;

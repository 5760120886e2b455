-- People: who signs in, to which organizations, with which role; and who did what.

-- Installation-wide: a person may belong to many organizations, and is looked up before any of them is known.
CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 120),
    password_hash text,            -- argon2id; none until the person has chosen one
    is_operator boolean NOT NULL DEFAULT false,
    language text CHECK (language IN ('pt_BR', 'en')),
    theme text CHECK (theme IN ('light', 'dark')),
    totp_secret bytea,             -- encrypted (crypto.py)
    totp_step bigint,              -- the last time step whose code was taken: a code works once
    created_at timestamptz NOT NULL DEFAULT now(),
    disabled_at timestamptz
);
CREATE UNIQUE INDEX users_email ON users (lower(email));

-- One-time codes for the day when the phone with the authenticator is gone.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    hash bytea NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- A signed-in browser. The cookie holds a token, the row its SHA-256.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    token_hash bytea NOT NULL CONSTRAINT sessions_token UNIQUE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    organization_id uuid REFERENCES organizations ON DELETE SET NULL, -- the one on screen
    agent text NOT NULL CHECK (length(agent) <= 300),                 -- the browser, as it names itself
    address text NOT NULL CHECK (length(address) <= 64),
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- Links that work once: the installation's set-up, a sign-in printed by the command line, a forgotten password.
CREATE TABLE one_time_links (
    hash bytea PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('setup', 'sign_in', 'reset')),
    user_id uuid REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK ((kind = 'setup') = (user_id IS NULL))
);
CREATE INDEX one_time_links_user ON one_time_links (user_id);

-- Failed attempts, by what was attempted: 'account:<e-mail>' or 'address:<ip>', as a SHA-256. Survives restarts.
CREATE TABLE sign_in_failures (
    key bytea PRIMARY KEY,
    count int NOT NULL,
    since timestamptz NOT NULL,
    blocked_until timestamptz
);

-- Mail that is owed: written with what owes it, sent by a loop, deleted when the server has taken it.
CREATE TABLE emails (
    id uuid PRIMARY KEY,
    sealed bytea NOT NULL,         -- recipient, subject and text, encrypted: it holds links that open accounts
    attempts int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX emails_due ON emails (next_attempt_at);

CREATE TABLE memberships (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'agent', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id);
SELECT protect_tenant_table('memberships');

CREATE TABLE invitations (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    email text NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    role text NOT NULL CHECK (role IN ('owner', 'admin', 'agent', 'viewer')),
    token_hash bytea NOT NULL CONSTRAINT invitations_token UNIQUE,
    invited_by text NOT NULL,      -- an actor, as in audit_log
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE UNIQUE INDEX invitations_email ON invitations (organization_id, lower(email));
SELECT protect_tenant_table('invitations');

-- Who did what, append-only. actor: 'user:<id>', 'api_key:<id>' or 'system'.
CREATE TABLE audit_log (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text NOT NULL CHECK (length(action) <= 60), -- a closed set of words: tenants/audit.py
    target text NOT NULL CHECK (length(target) <= 120),-- what it was done to: 'ticket:<id>', 'stage:<id>' …
    detail json NOT NULL,
    PRIMARY KEY (organization_id, id)
);
CREATE INDEX audit_log_at ON audit_log (organization_id, at DESC, id DESC);
SELECT protect_tenant_table('audit_log');

ALTER TABLE api_key_hashes
    ADD COLUMN name text NOT NULL DEFAULT '' CHECK (length(name) <= 80),
    ADD COLUMN used_at timestamptz; -- to the hour

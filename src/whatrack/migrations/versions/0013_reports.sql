-- Who looks at the report, and how: links for people without an account, the morning's mail, remembered columns, the target.

-- A read-only link to the report as it was filtered. The token is kept as its SHA-256 and shown once.
CREATE TABLE report_links (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    id uuid NOT NULL,
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32),
    title text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
    question text NOT NULL CHECK (length(question) <= 2000), -- the report's own parameters, as its address has them
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    opened_at timestamptz,             -- last
    PRIMARY KEY (organization_id, id),
    CONSTRAINT report_links_token UNIQUE (organization_id, token_hash)
);
SELECT protect_tenant_table('report_links');

-- A member who wants yesterday's figures by mail at eight in the morning of the organization's zone.
CREATE TABLE report_subscriptions (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    due_at timestamptz NOT NULL,       -- the next letter
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships ON DELETE CASCADE
);
CREATE INDEX report_subscriptions_due ON report_subscriptions (due_at);
SELECT protect_tenant_table('report_subscriptions');

-- The columns that a member chose for the report's table, in their order.
CREATE TABLE report_columns (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    columns text[] NOT NULL CHECK (cardinality(columns) BETWEEN 1 AND 60),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id),
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships ON DELETE CASCADE
);
SELECT protect_tenant_table('report_columns');

-- What the organization aims at with its ads.
CREATE TABLE report_targets (
    organization_id uuid PRIMARY KEY REFERENCES organizations ON DELETE CASCADE,
    target_roas numeric(8,2) NOT NULL CHECK (target_roas > 0)
);
SELECT protect_tenant_table('report_targets');

-- Stages and tickets: one open ticket per contact and number.

CREATE TABLE stages (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 60),
    "group" text NOT NULL CHECK ("group" IN ('ACTIVE', 'WON', 'LOST')),
    role text CHECK (role IN ('new', 'qualified', 'won', 'lost')),
    position int NOT NULL,
    probability int NOT NULL CHECK (probability BETWEEN 0 AND 100),
    PRIMARY KEY (organization_id, id),
    CONSTRAINT stages_position UNIQUE (organization_id, position) DEFERRABLE
);
CREATE UNIQUE INDEX stages_name ON stages (organization_id, lower(name));
CREATE UNIQUE INDEX stages_role ON stages (organization_id, role) WHERE role IS NOT NULL;
SELECT protect_tenant_table('stages');

CREATE TABLE tickets (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    id uuid NOT NULL,
    contact_id uuid NOT NULL,
    phone_number_id text NOT NULL,
    stage_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('open', 'closed')),
    -- MERGED: two contacts turned out to be one person, and the other open ticket goes on
    close_reason text CHECK (close_reason IN ('WON', 'LOST', 'EXPIRED', 'MERGED')),
    lost_reason text CHECK (length(lost_reason) <= 500),
    deal_value numeric(12, 2) CHECK (deal_value > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    source text NOT NULL CHECK (source IN ('message', 'manual')),
    follow_up boolean NOT NULL,    -- "obrigado" after a sale: not counted as a lead
    opened_at timestamptz NOT NULL,
    last_message_at timestamptz,   -- inbound messages and the business's echoes, by message time
    active_at timestamptz NOT NULL,-- the latest of opened, last message, reopened: expiry counts from here
    closed_at timestamptz,
    won_at timestamptz,
    version int NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, contact_id) REFERENCES contacts,
    FOREIGN KEY (organization_id, stage_id) REFERENCES stages,
    CHECK ((status = 'closed') = (closed_at IS NOT NULL)),
    CHECK ((status = 'closed') = (close_reason IS NOT NULL)),
    CHECK ((close_reason = 'WON') IS NOT TRUE OR (deal_value IS NOT NULL AND won_at IS NOT NULL))
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX tickets_one_open ON tickets (organization_id, contact_id, phone_number_id) WHERE status = 'open';
CREATE INDEX tickets_closed ON tickets (organization_id, contact_id, closed_at DESC) WHERE status = 'closed';
CREATE INDEX tickets_expiry ON tickets (organization_id, active_at) WHERE status = 'open';
-- The board's columns, and stage by stage the list: one index that each message moves, not two.
CREATE INDEX tickets_stage ON tickets (organization_id, stage_id, active_at DESC, id DESC);
SELECT protect_tenant_table('tickets');

-- Every move between stages, by whom and when: the ticket's story, append-only.
CREATE TABLE ticket_stage_changes (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    from_stage_id uuid NOT NULL,
    to_stage_id uuid NOT NULL,
    from_stage text NOT NULL,      -- the names as they were then
    to_stage text NOT NULL,
    deal_value numeric(12, 2),
    currency text NOT NULL,
    lost_reason text,
    happened_at timestamptz NOT NULL, -- won_at for a sale, else the time of the move
    changed_at timestamptz NOT NULL,
    actor text NOT NULL,           -- 'api_key:<id>'
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, ticket_id) REFERENCES tickets ON DELETE CASCADE
);
CREATE INDEX ticket_stage_changes_ticket ON ticket_stage_changes (organization_id, ticket_id, changed_at);
SELECT protect_tenant_table('ticket_stage_changes');

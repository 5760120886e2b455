-- What the board adds to tickets: an owner, refunds, colours, and how a move is taken back.

ALTER TABLE stages ADD COLUMN color text NOT NULL DEFAULT 'slate'
    CHECK (color IN ('slate', 'blue', 'teal', 'green', 'amber', 'orange', 'red', 'pink', 'violet'));
UPDATE stages SET color = CASE role WHEN 'new' THEN 'blue' WHEN 'qualified' THEN 'teal' WHEN 'won' THEN 'green'
    WHEN 'lost' THEN 'red' ELSE 'violet' END;

-- No foreign key to memberships: who leaves the organization keeps what they owned until it is given to someone else.
ALTER TABLE tickets ADD COLUMN owner_id uuid;
CREATE INDEX tickets_owner ON tickets (organization_id, owner_id, active_at DESC, id DESC) WHERE owner_id IS NOT NULL;

-- before: the ticket as it was, so that a move can be taken back exactly; version: the ticket's after the move.
ALTER TABLE ticket_stage_changes ADD COLUMN before json, ADD COLUMN version int;

-- Money given back on a won ticket. The sale stays what it was; reports subtract these.
CREATE TABLE ticket_refunds (
    organization_id uuid NOT NULL,
    id uuid NOT NULL,
    ticket_id uuid NOT NULL,
    amount numeric(12, 2) NOT NULL CHECK (amount > 0),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reason text NOT NULL CHECK (length(reason) <= 500),
    refunded_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    actor text NOT NULL,
    PRIMARY KEY (organization_id, id),
    FOREIGN KEY (organization_id, ticket_id) REFERENCES tickets ON DELETE CASCADE
);
CREATE INDEX ticket_refunds_ticket ON ticket_refunds (organization_id, ticket_id, refunded_at);
SELECT protect_tenant_table('ticket_refunds');

-- The picture of an ad or post, copied while its link lives (links die in days). One row a picture, wanted before had.
CREATE TABLE ad_pictures (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    source_id text NOT NULL CHECK (length(source_id) <= 64), -- the ad's or the post's id
    url text NOT NULL,             -- where it was, as the referral said
    state text NOT NULL CHECK (state IN ('wanted', 'had', 'gone')),
    media_type text,
    bytes bytea CHECK (length(bytes) <= 2097152),
    reason text,                   -- why it is gone
    attempts int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    fetched_at timestamptz,
    PRIMARY KEY (organization_id, source_id),
    CHECK ((state = 'had') = (bytes IS NOT NULL AND media_type IS NOT NULL))
);
CREATE INDEX ad_pictures_wanted ON ad_pictures (next_attempt_at) WHERE state = 'wanted';
SELECT protect_tenant_table('ad_pictures');

-- Posts are few among the tickets: the list's filter finds them here.
CREATE INDEX ticket_tracking_post ON ticket_tracking (organization_id, ticket_id) WHERE meta_source_type = 'post';

-- What the board's columns are worth, without reading a ticket.
CREATE INDEX tickets_valued ON tickets (organization_id, stage_id, currency) INCLUDE (deal_value) WHERE deal_value IS NOT NULL;

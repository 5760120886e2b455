-- Deliveries as they came, the queue over them, what was set aside, and where each number's deliveries go.
-- All of it belongs to the installation: one body may hold several organizations' messages.

-- Which organization a live number's deliveries belong to, and the partition that drains it.
CREATE TABLE number_routes (
    phone_number_id text PRIMARY KEY,
    waba_id text NOT NULL,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    partition smallint NOT NULL CHECK (partition BETWEEN 0 AND 63)
);
CREATE INDEX number_routes_waba ON number_routes (waba_id);
CREATE INDEX number_routes_organization ON number_routes (organization_id);

CREATE SEQUENCE delivery_ids;

-- The signed bytes, append-only, never updated. One partition a day and no default one: days are dropped whole.
CREATE TABLE webhook_deliveries (
    day date NOT NULL,
    id bigint NOT NULL,
    received_at timestamptz NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);

-- One row per (delivery, route) that still has to be drained. route: a phone_number_id, 'waba:' and a WABA id, or ''
-- for a body not looked into yet. Partition -1 holds what has no route yet.
CREATE TABLE delivery_queue (
    partition smallint NOT NULL CHECK (partition BETWEEN -1 AND 63),
    id bigint NOT NULL,
    route text NOT NULL,
    day date NOT NULL,
    bytes int NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT now(),
    -- intake: seen for the first time · released: from quarantine · replay: seen before, so its statuses are not counted again
    origin text NOT NULL DEFAULT 'intake' CHECK (origin IN ('intake', 'released', 'replay')),
    PRIMARY KEY (partition, id, route)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_insert_threshold = -1);

-- What could not be processed (failed) or has no live number yet (quarantined), with its own copy of the body,
-- so that days always drop.
CREATE TABLE delivery_exceptions (
    id bigint NOT NULL,
    route text NOT NULL,
    state text NOT NULL CHECK (state IN ('failed', 'quarantined')),
    reason text NOT NULL,
    detail text NOT NULL DEFAULT '',
    attempts int NOT NULL DEFAULT 1,
    day date NOT NULL,
    received_at timestamptz NOT NULL,
    first_at timestamptz NOT NULL DEFAULT now(),
    last_at timestamptz NOT NULL DEFAULT now(),
    body bytea NOT NULL,
    PRIMARY KEY (id, route)
);
CREATE INDEX delivery_exceptions_state ON delivery_exceptions (state, id);
CREATE INDEX delivery_exceptions_route ON delivery_exceptions (route) WHERE state = 'quarantined';
CREATE INDEX delivery_exceptions_age ON delivery_exceptions (first_at);

-- Queue rows drained, counted where the drain that did it stands alone. Rows of dropped days stay.
CREATE TABLE delivery_counters (
    day date NOT NULL,
    partition smallint NOT NULL,
    done bigint NOT NULL,
    PRIMARY KEY (day, partition)
);

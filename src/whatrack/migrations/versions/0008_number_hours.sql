-- Is a number alive? What it brought, hour by hour, for the last month: written once a batch, read without a scan.

CREATE TABLE number_hours (
    organization_id uuid NOT NULL REFERENCES organizations ON DELETE CASCADE,
    phone_number_id text NOT NULL,
    hour timestamptz NOT NULL,
    messages bigint NOT NULL,      -- of people and of the business, by message time; history left out
    last_delivery_at timestamptz,  -- the last webhook of any kind that arrived in this hour
    PRIMARY KEY (organization_id, phone_number_id, hour)
);
CREATE INDEX number_hours_age ON number_hours (hour);
SELECT protect_tenant_table('number_hours');

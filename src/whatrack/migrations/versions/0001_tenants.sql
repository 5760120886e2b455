-- Organizations, their API keys and WhatsApp numbers; and the policy that keeps organizations apart.

-- Gives a table row-level security that binds its owner too. The scope is set for one transaction by db.tenant(org)
-- or db.system(); after such a setting ends it reads '', and ''::uuid would raise, hence nullif.
CREATE FUNCTION protect_tenant_table(tenant_table regclass, organization_column text DEFAULT 'organization_id')
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tenant_table);
    EXECUTE format(
        $policy$CREATE POLICY own_organization ON %s
            USING (%I = (SELECT nullif(current_setting('whatrack.org', true), '')::uuid)
                OR (SELECT current_setting('whatrack.org', true)) = 'ffffffff-ffff-ffff-ffff-ffffffffffff')
            WITH CHECK (%I = (SELECT nullif(current_setting('whatrack.org', true), '')::uuid)
                OR (SELECT current_setting('whatrack.org', true)) = 'ffffffff-ffff-ffff-ffff-ffffffffffff')$policy$,
        tenant_table, organization_column, organization_column);
END $$;

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    slug text NOT NULL CONSTRAINT organizations_slug UNIQUE CHECK (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    timezone text NOT NULL DEFAULT 'America/Sao_Paulo',
    base_currency text NOT NULL DEFAULT 'BRL' CHECK (base_currency ~ '^[A-Z]{3}$'),
    ticket_expiration_days int NOT NULL DEFAULT 30 CHECK (ticket_expiration_days BETWEEN 1 AND 365),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- One answer for all numbers of an organization: they are drained in order, by one drainer at a time.
    partition smallint NOT NULL CHECK (partition BETWEEN 0 AND 63)
);
SELECT protect_tenant_table('organizations', 'id');

-- Installation-wide: a key is looked up before anybody knows whose it is.
CREATE TABLE api_key_hashes (
    id uuid PRIMARY KEY,
    hash bytea NOT NULL CONSTRAINT api_key_hashes_hash UNIQUE,
    organization_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('operator', 'owner', 'admin', 'agent', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CHECK ((role = 'operator') = (organization_id IS NULL))
);
CREATE INDEX api_key_hashes_organization ON api_key_hashes (organization_id);

CREATE TABLE whatsapp_numbers (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    phone_number_id text NOT NULL CHECK (phone_number_id ~ '^[0-9]{1,64}$'),
    waba_id text NOT NULL CHECK (waba_id ~ '^[0-9]{1,64}$'),
    display_phone text NOT NULL CHECK (length(display_phone) BETWEEN 1 AND 40),
    live_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, phone_number_id)
);
SELECT protect_tenant_table('whatsapp_numbers');

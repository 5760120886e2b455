-- Which day each of the morning's letters was about, so that neither a night's start nor another zone tells a day twice.

CREATE TABLE report_letters (
    organization_id uuid NOT NULL,
    user_id uuid NOT NULL,
    day date NOT NULL,                 -- that it tells
    token_hash bytea NOT NULL CHECK (length(token_hash) = 32), -- of its link that stops the letters
    owed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organization_id, user_id, day),
    CONSTRAINT report_letters_token UNIQUE (organization_id, token_hash),
    FOREIGN KEY (organization_id, user_id) REFERENCES memberships ON DELETE CASCADE
);
SELECT protect_tenant_table('report_letters');

-- due_at is from now on when to look whether a letter is owed; which day it may be about, these say.
ALTER TABLE report_subscriptions ADD COLUMN first_day date;
UPDATE report_subscriptions s SET first_day = (s.due_at AT TIME ZONE o.timezone)::date - 1 FROM organizations o WHERE o.id = s.organization_id;
ALTER TABLE report_subscriptions ALTER COLUMN first_day SET NOT NULL;

-- Eight o'clock is another moment in another zone.
CREATE FUNCTION look_for_letters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE report_subscriptions SET due_at = now() WHERE organization_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER organizations_zone AFTER UPDATE OF timezone ON organizations FOR EACH ROW
WHEN (OLD.timezone IS DISTINCT FROM NEW.timezone) EXECUTE FUNCTION look_for_letters();

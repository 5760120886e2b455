-- When ads' names were asked for anew: asking that came to nothing is not repeated at once, and holds up nobody else.
ALTER TABLE meta_ads ADD COLUMN asked_at timestamptz;

-- What goes on once a dataset, a token or an account is there: looked through every few seconds, way by way.
CREATE INDEX meta_conversion_events_lacking ON meta_conversion_events (organization_id, event_time)
    WHERE status IN ('SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE') OR (status = 'PENDING' AND hold_reason = 'no_token');

-- A proof that comes late counts for a skipped event too, one that was attempted: it must not go again when it is mended.
CREATE OR REPLACE FUNCTION check_conversion_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    allowed text[];
BEGIN
    NEW.success := NEW.status = 'SENT';
    IF TG_OP = 'INSERT' THEN
        IF NEW.status NOT IN ('PENDING', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA', 'SKIPPED_DUPLICATE_LEAD') THEN
            RAISE EXCEPTION 'a conversion event cannot begin as %', NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_begin';
        END IF;
        RETURN NEW;
    END IF;
    IF (NEW.ticket_id, NEW.event_name, NEW.event_id, NEW.created_at)
        IS DISTINCT FROM (OLD.ticket_id, OLD.event_name, OLD.event_id, OLD.created_at) THEN
        RAISE EXCEPTION 'what a conversion event is about does not change'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_identity';
    END IF;
    IF OLD.status IN ('SENT', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA') AND (NEW.ctwa_clid, NEW.value, NEW.currency, NEW.event_time)
        IS DISTINCT FROM (OLD.ctwa_clid, OLD.value, OLD.currency, OLD.event_time) THEN
        RAISE EXCEPTION 'a conversion event that is over stays what it was'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_final';
    END IF;
    IF NEW.status = OLD.status THEN
        RETURN NEW;
    END IF;
    allowed := CASE OLD.status
        WHEN 'PENDING' THEN ARRAY['SENT', 'FAILED', 'EXPIRED_WINDOW', 'CANCELLED', 'SKIPPED_NO_DATASET', 'SKIPPED_ACCOUNT_INACTIVE']
        WHEN 'FAILED' THEN ARRAY['PENDING', 'SENT']
        WHEN 'CANCELLED' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'SKIPPED_NO_CTWA', 'SKIPPED_DUPLICATE_LEAD']
        WHEN 'SKIPPED_NO_DATASET' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'CANCELLED', 'SENT']
        WHEN 'SKIPPED_ACCOUNT_INACTIVE' THEN ARRAY['PENDING', 'EXPIRED_WINDOW', 'CANCELLED', 'SENT']
        WHEN 'SKIPPED_DUPLICATE_LEAD' THEN ARRAY['PENDING', 'CANCELLED']
        WHEN 'EXPIRED_WINDOW' THEN ARRAY['SENT']
        ELSE ARRAY[]::text[]
    END;
    IF NEW.status <> ALL (allowed)
        OR (NEW.status = 'CANCELLED' AND OLD.attempts > 0)
        OR (NEW.status = 'SENT' AND NEW.attempts = 0) THEN
        RAISE EXCEPTION 'a conversion event cannot go from % to %', OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'meta_conversion_events_transition';
    END IF;
    RETURN NEW;
END $$;

-- Work that is done behind the drain comes in pieces, and finds its rows without reading those that are done.

-- A statement may change any number of tickets: a connected account touches all that its ads brought. A mark holds a thousand
-- of them at most, so that following is done in short transactions.
CREATE OR REPLACE FUNCTION mark_tickets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT organization_id, array_agg(ticket_id)
    FROM (SELECT organization_id, ticket_id, row_number() OVER (PARTITION BY organization_id) AS place FROM changed) AS c
    GROUP BY organization_id, (place - 1) / 1000;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION mark_tickets_of_ads() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT organization_id, array_agg(ticket_id) FROM (
        SELECT k.organization_id, k.ticket_id, row_number() OVER (PARTITION BY k.organization_id) AS place FROM changed a
        JOIN ticket_tracking k ON k.organization_id = a.organization_id AND k.meta_ad_id = a.meta_ad_id) AS c
    GROUP BY organization_id, (place - 1) / 1000;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION mark_tickets_of_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO ticket_marks (organization_id, ticket_ids)
    SELECT organization_id, array_agg(ticket_id) FROM (
        SELECT k.organization_id, k.ticket_id, row_number() OVER (PARTITION BY k.organization_id) AS place FROM changed c
        JOIN meta_ads a ON a.organization_id = c.organization_id AND 'act_' || a.meta_account_id = c.ad_account_id
        JOIN ticket_tracking k ON k.organization_id = a.organization_id AND k.meta_ad_id = a.meta_ad_id) AS c
    GROUP BY organization_id, (place - 1) / 1000;
    RETURN NULL;
END $$;

-- Tickets without names: those that wait, in the order in which their ads are looked up, and those that were given up, by reason.
-- With the named ones beside them in one index, naming one ticket read all that its ad ever brought.
DROP INDEX ticket_tracking_pending;
CREATE INDEX ticket_tracking_unnamed ON ticket_tracking (meta_enrichment_status, organization_id, meta_ad_id, meta_enrichment_error)
    WHERE meta_enrichment_status IN ('PENDING', 'FAILED');

-- A ticket whose ad could not be named says why: by the reason it is found again when there is another one. One that says
-- nothing (none is known) is asked for anew.
UPDATE ticket_tracking SET meta_enrichment_status = 'PENDING'
WHERE meta_enrichment_status = 'FAILED' AND meta_enrichment_error IS NULL;
ALTER TABLE ticket_tracking ADD CONSTRAINT ticket_tracking_failed_why
    CHECK (meta_enrichment_status <> 'FAILED' OR meta_enrichment_error IS NOT NULL);

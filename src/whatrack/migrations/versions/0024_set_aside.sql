-- Why fetching was not whole: two more words. A day says for itself what in it could not be read.
ALTER TABLE insight_accounts
    DROP CONSTRAINT insight_accounts_reason_check,
    ADD CONSTRAINT insight_accounts_reason_check CHECK (reason IN ('no_profile', 'token_dead', 'no_access', 'permission_missing',
        'throttled', 'transient', 'report_waits', 'report_failed', 'too_much_data', 'currency_differs', 'refused', 'row_unreadable', 'internal')),
    ADD COLUMN asked_days smallint; -- how many days back that person asked for
-- A dead token's message is the names of its profiles, or nothing: what Meta said of it is nobody's name.
UPDATE insight_accounts SET message = NULL WHERE reason = 'token_dead';
ALTER TABLE insight_days
    ADD COLUMN message text CHECK (length(message) <= 500), -- which row of Meta's is why, for a person
    ADD COLUMN emptied_at timestamptz; -- when every row that it had before was gone from Meta's answer; null: never, or there are rows again
-- Days without delivery, which are few: whether people came all the same is asked of these alone.
CREATE INDEX insight_days_empty ON insight_days (organization_id, account_id, day) WHERE rows = 0 AND fetched_at IS NOT NULL;
CREATE INDEX roi_tickets_account ON roi_tickets (organization_id, account_ref, touched_at) WHERE is_lead AND account_ref IS NOT NULL;

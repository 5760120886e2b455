-- A ticket is written only in the transaction that wrote its contact or has just read it, and no contact is ever deleted by
-- itself. The check locked, and so rewrote, the contact's row for each ticket that opens.
ALTER TABLE tickets DROP CONSTRAINT tickets_organization_id_contact_id_fkey;

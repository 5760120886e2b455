-- When a person last connected: what Meta says of an earlier moment concerns an earlier login.
ALTER TABLE meta_connections ADD COLUMN connected_at timestamptz NOT NULL DEFAULT now();

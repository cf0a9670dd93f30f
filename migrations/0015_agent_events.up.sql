-- What an agent reports of its own log, beside what is seen of it here: NULL for
-- all other kinds of records.
ALTER TABLE tenant.record ADD COLUMN events jsonb;

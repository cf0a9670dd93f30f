-- Requests that were carried out, for as long as somebody could send them again, to
-- whichever replica: a recorded one must not put an old password back.
CREATE TABLE domain.once (
    hash  bytea       PRIMARY KEY, -- SHA-256
    until timestamptz NOT NULL
);
CREATE INDEX once_until ON domain.once (until);

-- One row that lasts as long as no transaction can have been forgotten: what is
-- UNLOGGED is empty after a crash of the server, and on a standby that takes over.
-- The numbers of transactions that had not reached the log are then given out
-- again, so what the server says of such a number is true only under the same id.
CREATE UNLOGGED TABLE tenant.run (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id  uuid    NOT NULL
);

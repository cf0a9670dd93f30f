-- Wrong passwords of accounts, counted for all replicas. A row belongs to one
-- version of a password: a new one begins anew, and ends a lock.
CREATE TABLE domain.guess (
    guid   uuid        PRIMARY KEY,
    kvno   bigint      NOT NULL,    -- -1: a row that stands for names that nobody has
    count  integer     NOT NULL,
    bad    timestamptz,             -- the last of them
    locked timestamptz,             -- NULL: is not locked, or was and there was a right password since
    until  timestamptz,             -- the end of the lock, fixed when it began; infinity: an administrator's
    rev    bigint      NOT NULL,    -- of the row
    xact   bigint      NOT NULL     -- the transaction that changed it last
) WITH (fillfactor = 50);
CREATE INDEX guess_xact ON domain.guess (xact);

-- count_guess adds n wrong passwords to an account's row, as one step. forget: 1
-- for a right password before them, 2 for an administrator who unlocks. hold is
-- a lock that a replica set while it could not ask, as seconds that are left; -1
-- is for ever. counted tells that they were added: while an account is locked
-- none are.
CREATE FUNCTION domain.count_guess(account uuid, version bigint, n integer, age double precision, hold double precision,
    forget integer, threshold integer, span double precision, duration double precision)
RETURNS TABLE (guid uuid, kvno bigint, count integer, bad timestamptz, since double precision, locked timestamptz,
    remaining double precision, rev bigint, counted boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    g domain.guess;
    t timestamptz;
    taken boolean := n = 0;
    held timestamptz;
BEGIN
    INSERT INTO domain.guess (guid, kvno, count, rev, xact) VALUES (account, version, 0, 0, 0) ON CONFLICT DO NOTHING;
    SELECT * INTO g FROM domain.guess d WHERE d.guid = account FOR UPDATE;
    t := clock_timestamp(); -- not before the row is ours
    IF version > g.kvno THEN
        g.kvno := version; g.count := 0; g.locked := NULL; g.until := NULL;
    END IF;
    IF g.until <= t OR forget = 2 THEN
        g.count := 0; g.locked := NULL; g.until := NULL;
    END IF;
    IF forget = 1 AND g.until IS NULL THEN
        g.count := 0; g.locked := NULL;
    END IF;
    IF n > 0 AND g.until IS NULL THEN
        IF g.bad IS NULL OR g.bad < t - (age + span) * interval '1 second' THEN
            g.count := 0;
        END IF;
        g.count := g.count + n;
        g.bad := greatest(g.bad, t - age * interval '1 second');
        taken := true;
        IF threshold > 0 AND g.count >= threshold THEN
            g.locked := t;
            g.until := CASE WHEN duration = 0 THEN 'infinity' ELSE t + duration * interval '1 second' END;
        END IF;
    END IF;
    IF hold <> 0 THEN
        held := CASE WHEN hold < 0 THEN 'infinity' ELSE t + hold * interval '1 second' END;
        g.locked := coalesce(g.locked, t);
        g.until := greatest(g.until, held);
    END IF;
    g.rev := g.rev + 1;
    g.xact := pg_current_xact_id()::text::bigint;
    UPDATE domain.guess d SET kvno = g.kvno, count = g.count, bad = g.bad, locked = g.locked, until = g.until,
        rev = g.rev, xact = g.xact WHERE d.guid = account;
    RETURN QUERY SELECT g.guid, g.kvno, g.count, g.bad, coalesce(extract(epoch FROM t - g.bad), 0)::double precision, g.locked,
        domain.lock_left(g.until, t), g.rev, taken;
END $$;

-- lock_left is the rest of a lock in seconds: 0 for none, -1 for ever.
CREATE FUNCTION domain.lock_left(until timestamptz, t timestamptz) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN until IS NULL OR until <= t THEN 0 WHEN until = 'infinity' THEN -1
        ELSE extract(epoch FROM until - t) END::double precision
$$;

-- The domain's security log, written in batches.
CREATE TABLE domain.event (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event       smallint    NOT NULL, -- Windows' number
    at          timestamptz NOT NULL,
    account     text        NOT NULL,
    rid         bigint      NOT NULL,
    service     text        NOT NULL,
    service_rid bigint      NOT NULL,
    options     bigint      NOT NULL,
    etype       integer     NOT NULL,
    status      bigint      NOT NULL,
    preauth     integer     NOT NULL,
    address     text        NOT NULL,
    port        integer     NOT NULL
);
CREATE INDEX event_at ON domain.event (at);

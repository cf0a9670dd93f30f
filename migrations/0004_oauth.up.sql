-- What ends a person's sessions before their time. A refresh token carries the
-- version of the credential that it was signed in with, and when that was;
-- nothing is stored for the token itself.
CREATE TABLE tenant.session (
    object_id     uuid   PRIMARY KEY,
    cloud_version bigint NOT NULL DEFAULT 0, -- of the newest password set in the cloud
    valid_from    bigint NOT NULL DEFAULT 0  -- sign-ins from then on count; microseconds since 1970
);

-- A synced password replaces a cloud one in tenant.credential, and with it what
-- says that the sessions from before the cloud one have ended. So the version is
-- kept here, by the transaction that stores the set, on whichever way it comes.
-- Sets that come by sync (source 1) end at the condition and cost a batch nothing.
CREATE FUNCTION tenant.keep_cloud_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tenant.session AS s (object_id, cloud_version) VALUES (NEW.object_id, NEW.version)
    ON CONFLICT (object_id) DO UPDATE SET cloud_version = greatest(s.cloud_version, EXCLUDED.cloud_version);
    RETURN NULL;
END $$;
CREATE TRIGGER keep_cloud_version AFTER INSERT ON tenant.credential
    FOR EACH ROW WHEN (NEW.source <> 1) EXECUTE FUNCTION tenant.keep_cloud_version();
INSERT INTO tenant.session (object_id, cloud_version)
    SELECT object_id, version FROM tenant.credential WHERE source <> 1;

-- Device codes (RFC 8628) until they are redeemed, and some time longer than they
-- are good, so that a late one is told from a false one.
CREATE TABLE tenant.device_code (
    code      bytea       PRIMARY KEY,          -- SHA-256 of it
    user_code text        COLLATE "C" NOT NULL, -- what a person types
    client_id uuid        NOT NULL,
    scope     text        NOT NULL,
    expires   timestamptz NOT NULL,
    state     smallint    NOT NULL CHECK (state BETWEEN 1 AND 3),
    object_id uuid,                             -- who approved it, and the sign-in
    signed_in bigint,
    version   bigint
);
CREATE UNIQUE INDEX device_code_user ON tenant.device_code (user_code);
CREATE INDEX device_code_expires ON tenant.device_code (expires);

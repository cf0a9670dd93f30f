-- The managed domain's half: written by the provisioner and the domain's own
-- edges, never by the API.
CREATE SCHEMA domain;

-- One row: what names the domain, and the proof of the key ring it was made under.
CREATE TABLE domain.info (
    one       boolean     PRIMARY KEY DEFAULT true CHECK (one),
    dns_name  text        NOT NULL,
    netbios   text        NOT NULL,
    sid       bytea       NOT NULL,
    guid      uuid        NOT NULL,
    dc        text        NOT NULL,
    tenant_id uuid        NOT NULL,
    created   timestamptz NOT NULL,
    key_id    text        NOT NULL,
    proof     bytea       NOT NULL
);

-- One row: the highest USN, the next RID, and the tenant's USN up to which its
-- changes are in. Every writer locks it before anything else.
CREATE TABLE domain.state (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    usn        bigint  NOT NULL,
    next_rid   bigint  NOT NULL,
    tenant_usn bigint  NOT NULL
) WITH (fillfactor = 10);
-- 1103 is the first RID that a new domain of Windows gives to an account.
INSERT INTO domain.state (usn, next_rid, tenant_usn) VALUES (0, 1103, 0);

CREATE TABLE domain.object (
    guid       uuid        PRIMARY KEY,
    usn        bigint      NOT NULL,
    kind       smallint    NOT NULL CHECK (kind BETWEEN 1 AND 4),
    class      text        NOT NULL,
    source     uuid,                    -- NULL: made in the domain
    generation integer     NOT NULL,
    rid        bigint      NOT NULL,    -- 0: has none
    parent     uuid        NOT NULL,
    rdn        text        NOT NULL,
    rdn_key    text        COLLATE "C", -- NULL for a tombstone
    sam        text        NOT NULL,
    sam_key    text        COLLATE "C", -- NULL for a tombstone and where there is no name
    upn        text        NOT NULL,
    spns       text[]      NOT NULL,
    attrs      jsonb       NOT NULL,    -- name to list of values, each in base64
    uac        bigint      NOT NULL,
    members    uuid[]      NOT NULL,
    secrets    bytea,                   -- encrypted under the domain's ring with guid and usn
    created    timestamptz NOT NULL,
    changed    timestamptz NOT NULL,
    deleted    boolean     NOT NULL
);
ALTER TABLE domain.object ALTER COLUMN secrets SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX object_usn ON domain.object (usn);
CREATE UNIQUE INDEX object_sam ON domain.object (sam_key);
CREATE UNIQUE INDEX object_rdn ON domain.object (parent, rdn_key);
CREATE UNIQUE INDEX object_source ON domain.object (source, generation) WHERE NOT deleted;
-- Below 1000 are the well-known ones; those of BUILTIN are of another domain.
-- A tombstone keeps its RID, so none is given twice.
CREATE UNIQUE INDEX object_rid ON domain.object (rid) WHERE rid >= 1000;

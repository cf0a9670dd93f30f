-- The tenant's half: written by the tenant role, read by the provisioner.
--
-- Key columns (…_key) hold what the program folded to lower case. lower() would
-- depend on the database's locale, and an index over it on the version of its C
-- library.
CREATE SCHEMA IF NOT EXISTS tenant;

-- One row: the tenant's settings and the proof of the key ring they were made under.
CREATE TABLE tenant.settings (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    settings jsonb   NOT NULL,
    key_id   text    NOT NULL,
    proof    bytea   NOT NULL
);

-- One row: the highest USN. Every writer locks it before anything else.
CREATE TABLE tenant.feed (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    usn bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO tenant.feed (usn) VALUES (0);

CREATE TABLE tenant.object (
    id         uuid        PRIMARY KEY,
    kind       smallint    NOT NULL CHECK (kind BETWEEN 1 AND 5),
    anchor     text        COLLATE "C" NOT NULL,
    upn        text        NOT NULL,
    upn_key    text        COLLATE "C",  -- NULL unless a live person
    addresses  text[]      COLLATE "C",  -- of mail, lower case; NULL unless live and with any
    enabled    boolean     NOT NULL,
    profile    jsonb       NOT NULL,
    roles      text[]      NOT NULL,
    created    timestamptz NOT NULL,
    changed    timestamptz NOT NULL,
    deleted    timestamptz,
    generation integer     NOT NULL,
    revision   bigint      NOT NULL,
    usn        bigint      NOT NULL
);
CREATE UNIQUE INDEX object_anchor ON tenant.object (anchor) WHERE anchor <> '';
CREATE UNIQUE INDEX object_upn ON tenant.object (upn_key);
CREATE UNIQUE INDEX object_usn ON tenant.object (usn);
CREATE INDEX object_addresses ON tenant.object USING gin (addresses) WHERE addresses IS NOT NULL;
-- Objects with values in quarantine, for the task that sees which are free by now.
CREATE INDEX object_conflict ON tenant.object (id)
    WHERE deleted IS NULL AND profile ? 'onPremisesProvisioningErrors';

-- A member is named by id, or by anchor before or after its object has come;
-- the other of the two is zero. Which objects that means is found when the list
-- is read, so there is no second truth to keep.
CREATE TABLE tenant.member (
    group_id      uuid NOT NULL REFERENCES tenant.object (id),
    member_id     uuid NOT NULL,
    member_anchor text COLLATE "C" NOT NULL,
    PRIMARY KEY (group_id, member_id, member_anchor)
);
CREATE INDEX member_id ON tenant.member (member_id) WHERE member_anchor = '';
CREATE INDEX member_anchor ON tenant.member (member_anchor) WHERE member_anchor <> '';

-- One set of verifiers for each user. digest is encrypted under the tenant's
-- ring, legacy sealed for the managed domain.
--
-- There is no foreign key on object_id: its trigger would cost a batch more
-- than the index does. The one statement that inserts here joins tenant.object
-- under the feed's lock, and objects are never removed from that table.
CREATE TABLE tenant.credential (
    object_id   uuid     PRIMARY KEY,
    version     bigint   NOT NULL,
    source      smallint NOT NULL,
    must_change boolean  NOT NULL,
    no_expiry   boolean  NOT NULL,
    usn         bigint   NOT NULL,
    digest      bytea    NOT NULL,
    legacy      text     COLLATE "C" NOT NULL
);
-- Ciphertext does not shrink; don't try.
ALTER TABLE tenant.credential ALTER COLUMN digest SET STORAGE EXTERNAL;
ALTER TABLE tenant.credential ALTER COLUMN legacy SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX credential_usn ON tenant.credential (usn);

CREATE TABLE tenant.app (
    client_id    uuid   PRIMARY KEY,
    display_name text   NOT NULL,
    secret_hash  bytea  NOT NULL,
    roles        text[] NOT NULL
);

-- What agents sent and what became of it, one row for a batch: a row for each
-- item would cost a full sync a third of its speed. The lists are of one length.
CREATE TABLE tenant.record (
    id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    smallint    NOT NULL,
    began   timestamptz NOT NULL,
    ended   timestamptz NOT NULL,
    name    text        NOT NULL,
    build   text        NOT NULL,
    machine text        NOT NULL,
    request uuid,
    error   text        NOT NULL,
    objects uuid[]      NOT NULL,
    anchors text[]      NOT NULL,
    changed bigint[]    NOT NULL,
    reasons smallint[]  NOT NULL
);
ALTER TABLE tenant.record ALTER COLUMN objects SET STORAGE EXTERNAL;
ALTER TABLE tenant.record ALTER COLUMN anchors SET STORAGE EXTERNAL;
ALTER TABLE tenant.record ALTER COLUMN changed SET STORAGE EXTERNAL;
CREATE INDEX record_ended ON tenant.record (ended);
CREATE INDEX record_kind ON tenant.record (kind, ended);

-- Names that one account alone may have, beside sam_key and rdn_key: user and
-- service principal names, each as domain.Record.Claims writes it. Without it two
-- writers at once could both have read that a name is free.
CREATE TABLE domain.name (
    name text COLLATE "C" PRIMARY KEY,
    guid uuid NOT NULL
);
-- What stands there already. A tenant's user has its name before any other.
INSERT INTO domain.name (name, guid)
    SELECT name, guid FROM (
        SELECT 'u:' || lower(o.upn) AS name, o.guid, o.source, o.usn FROM domain.object o
            WHERE NOT o.deleted AND o.upn <> '' AND o.kind IN (1, 3)
        UNION ALL
        SELECT 's:' || lower(s.spn), o.guid, o.source, o.usn FROM domain.object o, unnest(o.spns) AS s (spn)
            WHERE NOT o.deleted AND o.kind IN (1, 3)) had
    ORDER BY source IS NULL, usn
    ON CONFLICT DO NOTHING;

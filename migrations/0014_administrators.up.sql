-- The tenant's group whose members may write to the domain, by its object id. So
-- far it was found by its name, and a later group of that name had its rights.
ALTER TABLE domain.info ADD COLUMN administrators uuid;
UPDATE domain.info SET administrators = (
    SELECT o.id FROM tenant.object o
    WHERE o.kind = 2 AND o.anchor = '' AND o.profile ->> 'displayName' = 'AAD DC Administrators'
    ORDER BY o.created, o.id LIMIT 1);

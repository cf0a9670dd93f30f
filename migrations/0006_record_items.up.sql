-- The items of a record in one value, one behind the other as store/activity.go writes
-- and reads them. Four arrays cost the batch whose record it is ten times as much.
ALTER TABLE tenant.record ADD COLUMN items bytea;
ALTER TABLE tenant.record ALTER COLUMN items SET STORAGE EXTERNAL;
UPDATE tenant.record r SET items = coalesce((
    SELECT string_agg(uuid_send(u.object) || int8send(u.changed) || int2send(u.reason)
        || int2send(octet_length(convert_to(u.anchor, 'UTF8'))::smallint) || convert_to(u.anchor, 'UTF8'), ''::bytea ORDER BY u.n)
    FROM unnest(r.objects, r.changed, r.reasons, r.anchors) WITH ORDINALITY AS u (object, changed, reason, anchor, n)), '');
ALTER TABLE tenant.record ALTER COLUMN items SET NOT NULL;
ALTER TABLE tenant.record DROP COLUMN objects, DROP COLUMN anchors, DROP COLUMN changed, DROP COLUMN reasons;

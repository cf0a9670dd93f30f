package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// TenantChanges implements domain.Store. It reads what the provisioner may know: no digest.
//
// An object's place on the feed is the higher of its own and its credential's
// number. Both tables are read in the order of theirs, leaving out what
// stands further on in the other, so the first limit rows are found without
// reading the rest. LATERAL with LIMIT leaves the planner nothing to choose but a
// look-up by key.
func (d *Domain) TenantChanges(ctx context.Context, after tenant.USN, limit int) ([]tenant.Change, error) {
	if limit <= 0 {
		return nil, nil
	}
	rows, err := d.db.pool.Query(ctx, `SELECT f.usn, `+objectColumns+`, c.version, c.source, c.must_change, c.no_expiry, c.legacy
		FROM (
			(SELECT o.id, o.usn FROM tenant.object o
				WHERE o.usn > $1 AND NOT EXISTS (SELECT 1 FROM tenant.credential c WHERE c.object_id = o.id AND c.usn > o.usn)
				ORDER BY o.usn LIMIT $2)
			UNION ALL
			(SELECT c.object_id, c.usn FROM tenant.credential c
				WHERE c.usn > $1 AND NOT EXISTS (SELECT 1 FROM tenant.object o WHERE o.id = c.object_id AND o.usn > c.usn)
				ORDER BY c.usn LIMIT $2)
			ORDER BY usn LIMIT $2) f
		CROSS JOIN LATERAL (SELECT `+objectColumns+` FROM tenant.object o WHERE o.id = f.id LIMIT 1) o
		LEFT JOIN LATERAL (SELECT c.version, c.source, c.must_change, c.no_expiry, c.legacy
			FROM tenant.credential c WHERE c.object_id = f.id LIMIT 1) c ON true
		ORDER BY f.usn`, int64(after), limit)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	var groups [][16]byte
	place := make(map[tenant.ID]int)
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (change tenant.Change, err error) {
		var r objectRow
		var c credentialRow
		targets := append([]any{(*int64)(&change.USN)}, r.targets()...)
		if err := row.Scan(append(targets, &c.version, &c.source, &c.mustChange, &c.noExpiry, &c.legacy)...); err != nil {
			return change, err
		}
		if change.Object, err = r.object(); err != nil {
			return change, err
		}
		if c.version != nil {
			change.Credential = &tenant.Credential{Object: r.ID, Version: *c.version, Source: tenant.Source(*c.source),
				Legacy: cred.Sealed(*c.legacy), MustChange: *c.mustChange, NeverExpires: *c.noExpiry}
		}
		if r.Kind == tenant.Group && r.deleted == nil {
			place[r.ID] = len(place)
			groups = append(groups, r.ID)
		}
		return change, nil
	})
	if err != nil || groups == nil {
		return changes, fail(err, tenant.ErrConflict)
	}
	lists, err := d.groupMembers(ctx, groups, place)
	if err != nil {
		return nil, err
	}
	for i := range changes {
		if n, ok := place[changes[i].Object.ID]; ok {
			changes[i].Members = lists[n]
		}
	}
	return changes, nil
}

// groupMembers returns the lists of groups, at their places. It reads later than
// the feed was read: a list may be newer than its number, and then the
// group comes again.
func (d *Domain) groupMembers(ctx context.Context, groups [][16]byte, place map[tenant.ID]int) ([][]tenant.ID, error) {
	rows, err := d.db.pool.Query(ctx, `SELECT m.group_id, o.id FROM tenant.member m
			CROSS JOIN LATERAL (SELECT o.id FROM tenant.object o
				WHERE o.id = m.member_id AND o.deleted IS NULL LIMIT 1) o
			WHERE m.group_id = ANY($1) AND m.member_anchor = ''
		UNION SELECT m.group_id, o.id FROM tenant.member m
			CROSS JOIN LATERAL (SELECT o.id FROM tenant.object o
				WHERE o.anchor = m.member_anchor AND o.anchor <> '' AND o.deleted IS NULL LIMIT 1) o
			WHERE m.group_id = ANY($1) AND m.member_anchor <> ''`, groups)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	lists := make([][]tenant.ID, len(groups))
	var group, member [16]byte
	_, err = pgx.ForEachRow(rows, []any{&group, &member}, func() error {
		n := place[group]
		lists[n] = append(lists[n], member)
		return nil
	})
	return lists, fail(err, tenant.ErrConflict)
}

package store

import (
	"context"

	"github.com/jackc/pgx/v5"

	"skyrealm/tenant"
)

// ReadBack implements tenant.Store. The head is read first, so that what is
// deleted while an agent reads its first pages stands beyond it.
func (t *Tenant) ReadBack(ctx context.Context, since tenant.Since, limit int) ([]tenant.Listed, tenant.USN, error) {
	var head tenant.USN
	if err := t.db.pool.QueryRow(ctx, `SELECT usn FROM tenant.feed`).Scan((*int64)(&head)); err != nil {
		return nil, 0, fail(err, tenant.ErrConflict)
	}
	from := since.From
	if since == (tenant.Since{}) {
		from = head
	}
	rows, err := t.db.pool.Query(ctx, `SELECT o.usn, `+objectColumns+` FROM tenant.object o
		WHERE o.usn > $1 AND (o.deleted IS NULL OR o.usn > $2) ORDER BY o.usn LIMIT $3`, int64(since.USN), int64(from), limit)
	if err != nil {
		return nil, 0, fail(err, tenant.ErrConflict)
	}
	place := map[tenant.ID]int{}
	var groups [][16]byte
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (one tenant.Listed, err error) {
		var r objectRow
		if err := row.Scan(append([]any{(*int64)(&one.USN)}, r.targets()...)...); err != nil {
			return one, err
		}
		if one.Object, err = r.object(); err == nil && r.Kind == tenant.Group && r.deleted == nil {
			groups = append(groups, r.ID)
		}
		return one, err
	})
	if err != nil || groups == nil {
		return page, head, fail(err, tenant.ErrConflict)
	}
	for i := range page {
		place[page[i].Object.ID] = i
	}
	// As in groupMembers, by key and never by a scan of either table.
	rows, err = t.db.pool.Query(ctx, `SELECT m.group_id, o.anchor, o.id, o.kind FROM tenant.member m
			CROSS JOIN LATERAL (SELECT o.anchor, o.id, o.kind FROM tenant.object o
				WHERE o.id = m.member_id AND o.deleted IS NULL LIMIT 1) o
			WHERE m.group_id = ANY($1) AND m.member_anchor = ''
		UNION SELECT m.group_id, o.anchor, o.id, o.kind FROM tenant.member m
			CROSS JOIN LATERAL (SELECT o.anchor, o.id, o.kind FROM tenant.object o
				WHERE o.anchor = m.member_anchor AND o.anchor <> '' AND o.deleted IS NULL LIMIT 1) o
			WHERE m.group_id = ANY($1) AND m.member_anchor <> ''
		ORDER BY 1, 2, 3`, groups) // in one order for whoever compares replies
	if err != nil {
		return nil, 0, fail(err, tenant.ErrConflict)
	}
	var group, id [16]byte
	var kind int16
	member := tenant.Ref{Live: true}
	_, err = pgx.ForEachRow(rows, []any{&group, &member.Anchor, &id, &kind}, func() error {
		member.ID, member.Kind = id, tenant.Kind(kind)
		list := &page[place[group]].Members
		*list = append(*list, member)
		return nil
	})
	return page, head, fail(err, tenant.ErrConflict)
}

package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/tenant"
)

// putRecord stores a record in the transaction of what it tells of; nil is none.
func putRecord(ctx context.Context, tx pgx.Tx, r *tenant.Record) error {
	if r == nil {
		return nil
	}
	objects, anchors := make([][16]byte, len(r.Items)), make([]string, len(r.Items))
	changed, reasons := make([]int64, len(r.Items)), make([]int16, len(r.Items))
	for i := range r.Items {
		item := &r.Items[i]
		objects[i], reasons[i] = item.Object, item.Reason.Number()
		if item.Object.IsZero() {
			anchors[i] = item.Anchor // of an object it can be looked up
		}
		if !item.Changed.IsZero() {
			changed[i] = item.Changed.UnixMicro()
		}
	}
	var request *[16]byte
	if !r.Origin.Request.IsZero() {
		request = (*[16]byte)(&r.Origin.Request)
	}
	_, err := tx.Exec(ctx, `INSERT INTO tenant.record (kind, began, ended, name, build, machine, request, error,
		objects, anchors, changed, reasons) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		int16(r.Kind), r.Began, r.Ended, r.Origin.Name, r.Origin.Build, r.Origin.Machine, request, r.Error,
		objects, anchors, changed, reasons)
	return err
}

// PutRecord implements tenant.Store.
func (t *Tenant) PutRecord(ctx context.Context, r *tenant.Record) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error { return putRecord(ctx, tx, r) })
}

// Records implements tenant.Store. A user's are found by reading all of the time
// that is asked for: a record holds a whole batch, so there are few, and an
// index over their members would cost each batch more than all reads together.
func (t *Tenant) Records(ctx context.Context, q tenant.RecordQuery) ([]tenant.Record, error) {
	rows, err := t.db.pool.Query(ctx, `SELECT r.id, r.kind, r.began, r.ended, r.name, r.build, r.machine,
		coalesce(r.request, '00000000-0000-0000-0000-000000000000'), r.error, r.objects, r.anchors, r.changed, r.reasons
		FROM tenant.record r
		WHERE r.ended >= $1 AND ($2::bigint = 0 OR r.id < $2) AND ($3::smallint = 0 OR r.kind = $3)
		AND ($4::uuid IS NULL OR $4 = ANY(r.objects)) AND ($5::text = '' OR $5 = ANY(r.anchors))
		ORDER BY r.id DESC LIMIT $6`, q.After, q.Before, int16(q.Kind), idOrNull(q.Object), q.Anchor, q.Limit)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tenant.Record, error) {
		var r tenant.Record
		var kind int16
		var objects [][16]byte
		var anchors []string
		var changed []int64
		var reasons []int16
		if err := row.Scan(&r.ID, &kind, &r.Began, &r.Ended, &r.Origin.Name, &r.Origin.Build, &r.Origin.Machine,
			(*[16]byte)(&r.Origin.Request), &r.Error, &objects, &anchors, &changed, &reasons); err != nil {
			return r, err
		}
		r.Kind, r.Began, r.Ended = tenant.RecordKind(kind), r.Began.UTC(), r.Ended.UTC()
		for i := range objects {
			item := tenant.RecordItem{Object: objects[i], Anchor: anchors[i], Reason: tenant.ReasonOf(reasons[i])}
			if changed[i] != 0 {
				item.Changed = time.UnixMicro(changed[i]).UTC()
			}
			if q.Object.IsZero() && q.Anchor == "" || item.Object == q.Object && !q.Object.IsZero() || q.Anchor != "" && item.Anchor == q.Anchor {
				r.Items = append(r.Items, item)
			}
		}
		return r, nil
	})
	return out, fail(err, tenant.ErrConflict)
}

func idOrNull(id tenant.ID) *[16]byte {
	if id.IsZero() {
		return nil
	}
	return (*[16]byte)(&id)
}

// Activity implements tenant.Store. What was refused as a whole did not happen.
func (t *Tenant) Activity(ctx context.Context) (tenant.Activity, error) {
	var a tenant.Activity
	for kind, last := range map[tenant.RecordKind]*time.Time{
		tenant.ObjectBatch: &a.ObjectSync, tenant.HashBatch: &a.PasswordSync, tenant.Heartbeat: &a.Heartbeat,
	} {
		var at *time.Time
		err := t.db.pool.QueryRow(ctx, `SELECT max(r.ended) FROM tenant.record r WHERE r.kind = $1 AND r.error = ''`, int16(kind)).Scan(&at)
		if err != nil {
			return a, fail(err, tenant.ErrConflict)
		}
		if at != nil {
			*last = at.UTC()
		}
	}
	return a, nil
}

// DropRecords implements tenant.Store.
func (t *Tenant) DropRecords(ctx context.Context, before time.Time) (int64, error) {
	tag, err := t.db.pool.Exec(ctx, `DELETE FROM tenant.record WHERE ended < $1`, before)
	return tag.RowsAffected(), fail(err, tenant.ErrConflict)
}

package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/tenant"
)

// putRecord stores a record in the transaction of what it tells of; nil is none.
func putRecord(ctx context.Context, tx pgx.Tx, r *tenant.Record) error {
	if r == nil {
		return nil
	}
	var request *[16]byte
	if !r.Origin.Request.IsZero() {
		request = (*[16]byte)(&r.Origin.Request)
	}
	var events []byte
	if r.Events != nil {
		var err error
		if events, err = json.Marshal(r.Events); err != nil {
			return decided{fmt.Errorf("store: events of a record: %w", err)}
		}
	}
	_, err := tx.Exec(ctx, `INSERT INTO tenant.record (kind, began, ended, name, build, machine, request, error, items, events)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		int16(r.Kind), r.Began, r.Ended, r.Origin.Name, r.Origin.Build, r.Origin.Machine, request, r.Error, packItems(r.Items), events)
	return err
}

// packedItem is the size of an item without its anchor: object, date in
// microseconds since 1970 (0: none), reason, and the length of the anchor, which is
// kept only where there is no object to look it up at.
const packedItem = 16 + 8 + 2 + 2

func packItems(items []tenant.RecordItem) []byte {
	b := make([]byte, 0, len(items)*packedItem)
	for i := range items {
		item := &items[i]
		var changed int64
		if !item.Changed.IsZero() {
			changed = item.Changed.UnixMicro()
		}
		anchor := ""
		if item.Object.IsZero() {
			anchor = item.Anchor
		}
		b = append(b, item.Object[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(changed))
		b = binary.BigEndian.AppendUint16(b, uint16(item.Reason.Number()))
		b = packAnchor(b, anchor)
	}
	return b
}

func packAnchor(b []byte, anchor string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(anchor))), anchor...)
}

// unpackItems reads what packItems wrote.
func unpackItems(b []byte) (items []tenant.RecordItem, err error) {
	for len(b) > 0 {
		if len(b) < packedItem || len(b) < packedItem+int(binary.BigEndian.Uint16(b[packedItem-2:])) {
			return nil, fmt.Errorf("%w: items of a record", ErrCorrupt)
		}
		item := tenant.RecordItem{Object: tenant.ID(b[:16]), Reason: tenant.ReasonOf(int16(binary.BigEndian.Uint16(b[24:])))}
		if changed := int64(binary.BigEndian.Uint64(b[16:])); changed != 0 {
			item.Changed = time.UnixMicro(changed).UTC()
		}
		end := packedItem + int(binary.BigEndian.Uint16(b[packedItem-2:]))
		item.Anchor = string(b[packedItem:end])
		items, b = append(items, item), b[end:]
	}
	return items, nil
}

// PutRecord implements tenant.Store.
func (t *Tenant) PutRecord(ctx context.Context, r *tenant.Record) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error { return putRecord(ctx, tx, r) })
}

// Records implements tenant.Store. A user's are found by reading all of the time
// that is asked for: a record holds a whole batch, so there are few, and an
// index over their members would cost each batch more than all reads together.
func (t *Tenant) Records(ctx context.Context, q tenant.RecordQuery) ([]tenant.Record, error) {
	var object, anchor []byte // as they stand among the items; the rest is looked at below
	if !q.Object.IsZero() {
		object = q.Object[:]
	}
	if q.Anchor != "" {
		anchor = packAnchor(nil, q.Anchor)
	}
	rows, err := t.db.pool.Query(ctx, `SELECT r.id, r.kind, r.began, r.ended, r.name, r.build, r.machine,
		coalesce(r.request, '00000000-0000-0000-0000-000000000000'), r.error, r.items, r.events
		FROM tenant.record r
		WHERE r.ended >= $1 AND ($2::bigint = 0 OR r.id < $2) AND ($3::smallint = 0 OR r.kind = $3)
		AND ($4::bytea IS NULL OR position($4 IN r.items) > 0) AND ($5::bytea IS NULL OR position($5 IN r.items) > 0)
		ORDER BY r.id DESC LIMIT $6`, q.After, q.Before, int16(q.Kind), object, anchor, q.Limit)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tenant.Record, error) {
		var r tenant.Record
		var kind int16
		var packed, events []byte
		if err := row.Scan(&r.ID, &kind, &r.Began, &r.Ended, &r.Origin.Name, &r.Origin.Build, &r.Origin.Machine,
			(*[16]byte)(&r.Origin.Request), &r.Error, &packed, &events); err != nil {
			return r, err
		}
		if events != nil {
			if err := json.Unmarshal(events, &r.Events); err != nil {
				return r, err
			}
		}
		r.Kind, r.Began, r.Ended = tenant.RecordKind(kind), r.Began.UTC(), r.Ended.UTC()
		items, err := unpackItems(packed)
		if err != nil {
			return r, decided{err}
		}
		for _, item := range items {
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

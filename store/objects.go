package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"skyrealm/tenant"
)

// writer is a transaction that holds the tenant's feed.
type writer struct {
	t    *Tenant
	tx   pgx.Tx
	head tenant.USN // what the feed was at
	usn  tenant.USN // the last number given out
}

// lock takes the feed, before any other row.
func (t *Tenant) lock(ctx context.Context, tx pgx.Tx) (*writer, error) {
	w := &writer{t: t, tx: tx}
	err := tx.QueryRow(ctx, `SELECT usn FROM tenant.feed FOR UPDATE`).Scan((*int64)(&w.head))
	w.usn = w.head
	return w, err
}

// advance puts what was written on the feed. The notice leaves with the commit.
func (w *writer) advance(ctx context.Context) error {
	if w.usn == w.head {
		return nil
	}
	_, err := w.tx.Exec(ctx, `WITH feed AS (UPDATE tenant.feed SET usn = $1)
		SELECT pg_notify('`+channelTenant+`', '')`, int64(w.usn))
	return err
}

// PutObjects implements tenant.Store.
func (t *Tenant) PutObjects(ctx context.Context, writes []tenant.ObjectWrite, record *tenant.Record) (usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return 0, err
	}
	err = t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		if err := w.objects(ctx, writes, name); err != nil {
			return err
		}
		if err := putRecord(ctx, tx, record); err != nil {
			return err
		}
		usn = w.usn
		return w.advance(ctx)
	})
	return usn, err
}

// stored is what a write needs to know of the row that it replaces.
type stored struct {
	anchor  string
	upnKey  *string
	deleted bool
}

// upnKey is NULL for what holds no name: index entries that are NULL never collide.
func upnKey(o *tenant.Object) *string {
	if !o.Kind.Person() || !o.Deleted.IsZero() {
		return nil
	}
	k := key(o.UPN)
	return &k
}

// addresses is NULL for what answers to none.
func addresses(o *tenant.Object) []string {
	if !o.Deleted.IsZero() {
		return nil
	}
	return o.Addresses()
}

// objects stores writes with their members and credentials.
func (w *writer) objects(ctx context.Context, writes []tenant.ObjectWrite, name string) error {
	if len(writes) == 0 {
		return nil
	}
	old, err := w.replaced(ctx, writes)
	if err != nil {
		return err
	}
	if err := w.freeNames(ctx, writes, old); err != nil {
		return err
	}
	if err := w.rows(ctx, writes); err != nil {
		return err
	}
	if err := w.members(ctx, writes); err != nil {
		return err
	}
	if err := w.touchGroups(ctx, writes, old); err != nil {
		return err
	}
	var sets []tenant.Credential
	for i := range writes {
		if c := writes[i].Credential; c != nil {
			if c.Object != writes[i].Object.ID {
				return decided{fmt.Errorf("store: credential of another object than %s", writes[i].Object.ID)}
			}
			sets = append(sets, *c)
		}
	}
	if sets == nil {
		return nil
	}
	_, err = w.credentials(ctx, sets, w.t.encrypt(sets, name), name, 0)
	return err
}

// replaced reads the rows that writes replace, and refuses stale writes.
func (w *writer) replaced(ctx context.Context, writes []tenant.ObjectWrite) (map[tenant.ID]stored, error) {
	revisions := make(map[tenant.ID]int64)
	var ids [][16]byte
	for i := range writes {
		if o := &writes[i].Object; o.Revision != 0 {
			revisions[o.ID] = o.Revision
			ids = append(ids, o.ID)
		}
	}
	old := make(map[tenant.ID]stored, len(ids))
	if ids == nil {
		return old, nil
	}
	rows, err := w.tx.Query(ctx, `SELECT o.id, o.anchor, o.upn_key, o.deleted IS NOT NULL, o.revision
		FROM tenant.object o WHERE o.id = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	var id [16]byte
	var s stored
	var revision int64
	_, err = pgx.ForEachRow(rows, []any{&id, &s.anchor, &s.upnKey, &s.deleted, &revision}, func() error {
		if revisions[id] != revision {
			return decided{tenant.ErrConflict}
		}
		old[id] = s
		return nil
	})
	if err == nil && len(old) != len(ids) { // one is unknown, or stands twice in writes
		err = decided{tenant.ErrConflict}
	}
	return old, err
}

// freeNames takes the UPNs away that are about to change, so that within a batch names
// may be passed on or exchanged in any order.
func (w *writer) freeNames(ctx context.Context, writes []tenant.ObjectWrite, old map[tenant.ID]stored) error {
	var ids [][16]byte
	for i := range writes {
		o := &writes[i].Object
		had := old[o.ID].upnKey
		if has := upnKey(o); had != nil && (has == nil || *has != *had) {
			ids = append(ids, o.ID)
		}
	}
	if ids == nil {
		return nil
	}
	_, err := w.tx.Exec(ctx, `UPDATE tenant.object SET upn_key = NULL WHERE id = ANY($1)`, ids)
	return err
}

// rows inserts and updates the objects. Updates go first: they may give up an
// anchor that an insert takes.
func (w *writer) rows(ctx context.Context, writes []tenant.ObjectWrite) error {
	var b pgx.Batch
	queue := func(query string, o *tenant.Object) error {
		profile, err := json.Marshal(o.Profile)
		if err != nil {
			return decided{fmt.Errorf("store: profile of %s: %w", o.ID, err)}
		}
		var deleted *time.Time
		if !o.Deleted.IsZero() {
			deleted = &o.Deleted
		}
		w.usn++
		b.Queue(query, o.ID, int16(o.Kind), o.Anchor, o.UPN, upnKey(o), o.Enabled, profile, list(o.Roles),
			o.Created, o.Changed, deleted, o.Generation, o.Revision, int64(w.usn), addresses(o))
		return nil
	}
	for i := range writes {
		if o := &writes[i].Object; o.Revision != 0 {
			if err := queue(`UPDATE tenant.object SET kind = $2, anchor = $3, upn = $4, upn_key = $5, enabled = $6,
				profile = $7, roles = $8, created = $9, changed = $10, deleted = $11, generation = $12,
				revision = $13::bigint + 1, usn = $14, addresses = $15 WHERE id = $1 AND revision = $13`, o); err != nil {
				return err
			}
		}
	}
	for i := range writes {
		if o := &writes[i].Object; o.Revision == 0 {
			if err := queue(`INSERT INTO tenant.object (id, kind, anchor, upn, upn_key, enabled, profile, roles,
				created, changed, deleted, generation, revision, usn, addresses)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::bigint + 1, $14, $15)`, o); err != nil {
				return err
			}
		}
	}
	return each(w.tx.SendBatch(ctx, &b), b.Len(), tenant.ErrConflict)
}

// each reads the results of a batch whose statements have to touch one row each.
func each(results pgx.BatchResults, n int, conflict error) error {
	defer results.Close()
	for range n {
		tag, err := results.Exec()
		if err != nil {
			return err
		}
		if tag.RowsAffected() != 1 {
			return decided{conflict}
		}
	}
	return results.Close()
}

// memberKey is a member as it is stored: by id where it has one.
type memberKey struct {
	group  tenant.ID
	id     tenant.ID
	anchor string
}

// members brings the lists of the groups in writes to what they should be. Only
// differences are written: one more among 50,000 is one row.
func (w *writer) members(ctx context.Context, writes []tenant.ObjectWrite) error {
	var groups [][16]byte
	want := make(map[memberKey]struct{})
	for i := range writes {
		o := &writes[i].Object
		if writes[i].Members == nil {
			continue
		}
		if o.Revision != 0 {
			groups = append(groups, o.ID)
		}
		for _, m := range *writes[i].Members {
			if !m.ID.IsZero() {
				m.Anchor = ""
			}
			want[memberKey{o.ID, m.ID, m.Anchor}] = struct{}{}
		}
	}
	var gone []pgtype.TID
	if groups != nil {
		rows, err := w.tx.Query(ctx, `SELECT m.ctid, m.group_id, m.member_id, m.member_anchor FROM tenant.member m
			WHERE m.group_id = ANY($1)`, groups)
		if err != nil {
			return err
		}
		var at pgtype.TID
		var group, id [16]byte
		var anchor string
		_, err = pgx.ForEachRow(rows, []any{&at, &group, &id, &anchor}, func() error {
			k := memberKey{group, id, anchor}
			if _, ok := want[k]; ok {
				delete(want, k)
			} else {
				gone = append(gone, at)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if gone != nil {
		if _, err := w.tx.Exec(ctx, `DELETE FROM tenant.member WHERE ctid = ANY($1)`, gone); err != nil {
			return err
		}
	}
	if len(want) == 0 {
		return nil
	}
	rows := make([][]any, 0, len(want))
	for k := range want {
		rows = append(rows, []any{[16]byte(k.group), [16]byte(k.id), k.anchor})
	}
	_, err := w.tx.CopyFrom(ctx, pgx.Identifier{"tenant", "member"},
		[]string{"group_id", "member_id", "member_anchor"}, pgx.CopyFromRows(rows))
	return err
}

// Members implements tenant.Store.
func (t *Tenant) Members(ctx context.Context, groups []tenant.ID) (map[tenant.ID][]tenant.Member, error) {
	out := make(map[tenant.ID][]tenant.Member, len(groups))
	ids := make([][16]byte, len(groups))
	for i, g := range groups {
		out[g], ids[i] = nil, g
	}
	rows, err := t.db.pool.Query(ctx, `SELECT m.group_id, m.member_id, m.member_anchor FROM tenant.member m
		WHERE m.group_id = ANY($1)`, ids)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	var group, id [16]byte
	var anchor string
	_, err = pgx.ForEachRow(rows, []any{&group, &id, &anchor}, func() error {
		out[group] = append(out[group], tenant.Member{ID: id, Anchor: anchor})
		return nil
	})
	return out, fail(err, tenant.ErrConflict)
}

// touchGroups puts those groups on the feed whose effective members change because an object
// comes, goes, comes back or is anchored anew.
func (w *writer) touchGroups(ctx context.Context, writes []tenant.ObjectWrite, old map[tenant.ID]stored) error {
	inBatch := make(map[tenant.ID]struct{}, len(writes))
	var ids [][16]byte
	var anchors []string
	for i := range writes {
		o := &writes[i].Object
		inBatch[o.ID] = struct{}{}
		was, replaced := old[o.ID]
		if replaced && was.anchor == o.Anchor && was.deleted == !o.Deleted.IsZero() {
			continue
		}
		ids = append(ids, o.ID)
		for _, a := range []string{o.Anchor, was.anchor} {
			if a != "" {
				anchors = append(anchors, a)
			}
		}
	}
	if ids == nil {
		return nil
	}
	rows, err := w.tx.Query(ctx, `SELECT s.group_id
		FROM (SELECT m.group_id FROM tenant.member m WHERE m.member_anchor = '' AND m.member_id = ANY($1)
			UNION SELECT m.group_id FROM tenant.member m WHERE m.member_anchor <> '' AND m.member_anchor = ANY($2)) s
		CROSS JOIN LATERAL (SELECT 1 FROM tenant.object o WHERE o.id = s.group_id AND o.deleted IS NULL LIMIT 1) live`,
		ids, list(anchors))
	if err != nil {
		return err
	}
	var b pgx.Batch
	var group [16]byte
	_, err = pgx.ForEachRow(rows, []any{&group}, func() error {
		if _, ok := inBatch[group]; !ok {
			w.usn++
			b.Queue(`UPDATE tenant.object SET usn = $2 WHERE id = $1`, group, int64(w.usn))
		}
		return nil
	})
	if err != nil || b.Len() == 0 {
		return err
	}
	return each(w.tx.SendBatch(ctx, &b), b.Len(), tenant.ErrConflict)
}

package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// credentialColumns are what credentialRow takes. They are NULL in a LEFT JOIN
// of a user without one.
const credentialColumns = `c.version, c.source, c.must_change, c.no_expiry, c.digest, c.legacy`

type credentialRow struct {
	version    *int64
	source     *uint8
	mustChange *bool
	noExpiry   *bool
	digest     []byte
	legacy     *string
}

func (r *credentialRow) targets() []any {
	return []any{&r.version, &r.source, &r.mustChange, &r.noExpiry, &r.digest, &r.legacy}
}

// credential decrypts the row; nil where there was none.
func (r *credentialRow) credential(ring *cred.Ring, name string, id tenant.ID) (*tenant.Credential, error) {
	if r.version == nil {
		return nil, nil
	}
	digest, err := openDigest(ring, name, id, *r.version, r.digest)
	if err != nil {
		return nil, err
	}
	return &tenant.Credential{Object: id, Version: *r.version, Source: tenant.Source(*r.source),
		Digest: digest, Legacy: cred.Sealed(*r.legacy), MustChange: *r.mustChange, NeverExpires: *r.noExpiry}, nil
}

func digestPlace(name string, id tenant.ID, version int64) cred.Place {
	return cred.Place{Tenant: name, Object: id.String(), Column: "digest", Version: version}
}

func openDigest(ring *cred.Ring, name string, id tenant.ID, version int64, sealed []byte) (cred.Digest, error) {
	text, err := ring.Open(nil, sealed, digestPlace(name, id, version))
	if err != nil {
		return cred.Digest{}, fmt.Errorf("%w: digest of %s", ErrCorrupt, id)
	}
	digest, err := cred.ParseDigest(string(text))
	if err != nil {
		return cred.Digest{}, fmt.Errorf("%w: digest of %s", ErrCorrupt, id)
	}
	return digest, nil
}

// UserByUPN implements tenant.Store.
func (t *Tenant) UserByUPN(ctx context.Context, upn string) (tenant.Object, *tenant.Credential, error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return tenant.Object{}, nil, err
	}
	var r objectRow
	var c credentialRow
	o, err := r.one(t.db.pool.QueryRow(ctx, `SELECT `+objectColumns+`, `+credentialColumns+`
		FROM tenant.object o LEFT JOIN tenant.credential c ON c.object_id = o.id
		WHERE o.upn_key = $1`, key(upn)), append(r.targets(), c.targets()...))
	if err != nil {
		return tenant.Object{}, nil, err
	}
	set, err := c.credential(t.ring, name, o.ID)
	if err != nil {
		return tenant.Object{}, nil, err
	}
	return o, set, nil
}

// Credential implements tenant.Store.
func (t *Tenant) Credential(ctx context.Context, id tenant.ID) (*tenant.Credential, error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return nil, err
	}
	var c credentialRow
	err = t.db.pool.QueryRow(ctx, `SELECT `+credentialColumns+` FROM tenant.credential c
		WHERE c.object_id = $1`, id).Scan(c.targets()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	} else if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	return c.credential(t.ring, name, id)
}

// ReplaceCredential implements tenant.Store. It also refuses a set whose version is
// below the user's current one, which the feed's readers would take for old.
func (t *Tenant) ReplaceCredential(ctx context.Context, set tenant.Credential, was int64, record *tenant.Record) (usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := t.credentialRows([]tenant.Credential{set}, name)
	if err != nil {
		return 0, err
	}
	err = t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		var is int64
		var replaced []pgtype.TID
		var at pgtype.TID
		err = tx.QueryRow(ctx, `SELECT coalesce(c.version, 0), c.ctid FROM tenant.object o
			LEFT JOIN tenant.credential c ON c.object_id = o.id
			WHERE o.id = $1 AND o.kind = 1 AND o.deleted IS NULL`, set.Object).Scan(&is, &at)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && (is != was || set.Version < is) {
			return decided{tenant.ErrConflict}
		} else if err != nil {
			return err
		}
		if at.Valid {
			replaced = append(replaced, at)
		}
		if err := w.replace(ctx, rows, []int{0}, replaced); err != nil {
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

// credentials decides on each set and stores the rows of those that win. Only where versions are
// equal is what is stored decrypted and compared; so no fingerprint of it
// needs to stand in the clear beside it.
func (w *writer) credentials(ctx context.Context, sets []tenant.Credential, encrypted func() (*credentialRows, error), name string, asOf tenant.USN) ([]tenant.Outcome, error) {
	ids, places := make([][16]byte, len(sets)), make(map[[16]byte]int, len(sets))
	for i := range sets {
		ids[i], places[sets[i].Object] = sets[i].Object, i
	}
	var users int
	type row struct {
		at                 pgtype.TID
		version            int64
		mustChange, legacy bool
		noExpiry           bool
		digest             []byte
	}
	current := make([]row, len(sets))
	var b pgx.Batch
	// The feed is ours, so an object that changed after asOf has a higher number.
	b.Queue(`SELECT CASE WHEN EXISTS (SELECT 1 FROM tenant.object o WHERE o.usn > $2)
		THEN (SELECT count(*) FROM tenant.object o WHERE o.id = ANY($1) AND o.kind = 1 AND o.deleted IS NULL)
		ELSE cardinality($1::uuid[]) END`, ids, int64(asOf)).
		QueryRow(func(r pgx.Row) error { return r.Scan(&users) })
	b.Queue(`SELECT c.object_id, c.ctid, c.version, c.must_change, c.no_expiry, c.legacy <> '', c.digest
		FROM tenant.credential c WHERE c.object_id = ANY($1)`, ids).
		Query(func(rows pgx.Rows) error {
			var id [16]byte
			var c row
			_, err := pgx.ForEachRow(rows, []any{&id, &c.at, &c.version, &c.mustChange, &c.noExpiry, &c.legacy, &c.digest}, func() error {
				current[places[id]] = c
				return nil
			})
			return err
		})
	if err := w.tx.SendBatch(ctx, &b).Close(); err != nil {
		return nil, err
	}
	if users != len(sets) {
		return nil, decided{tenant.ErrConflict}
	}
	outcomes := make([]tenant.Outcome, len(sets))
	winners := make([]int, 0, len(sets))
	var replaced []pgtype.TID
	for i := range sets {
		s, c := &sets[i], &current[i]
		outcomes[i] = tenant.Stored
		if c.at.Valid {
			if c.version > s.Version {
				outcomes[i] = tenant.Superseded
				continue
			}
			// Sealed parts are never equal; that they came at all is news
			// (Domain Services were enabled).
			if c.version == s.Version && c.mustChange == s.MustChange && c.noExpiry == s.NeverExpires && c.legacy == (s.Legacy != "") {
				digest, err := openDigest(w.t.ring, name, s.Object, s.Version, c.digest)
				if err == nil && digest.Equal(s.Digest) { // a damaged row is one to be replaced
					outcomes[i] = tenant.Unchanged
					continue
				}
			}
			replaced = append(replaced, c.at)
		}
		winners = append(winners, i)
	}
	rows, err := encrypted()
	if err != nil {
		return nil, decided{err}
	}
	return outcomes, w.replace(ctx, rows, winners, replaced)
}

// replace stores the rows at the places winners, all of them whole, and takes away the rows
// that they replace. The feed's lock, under which those were read, makes this as
// good as INSERT ... ON CONFLICT, and COPY takes less than half of its time.
func (w *writer) replace(ctx context.Context, rows *credentialRows, winners []int, replaced []pgtype.TID) error {
	if len(replaced) > 0 {
		tag, err := w.tx.Exec(ctx, `DELETE FROM tenant.credential WHERE ctid = ANY($1)`, replaced)
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(len(replaced)) {
			return decided{tenant.ErrConflict}
		}
	}
	if len(winners) == 0 {
		return nil
	}
	tag, err := w.tx.Conn().PgConn().CopyFrom(ctx, rows.reader(winners, w.usn), `COPY tenant.credential
		(usn, object_id, version, source, must_change, no_expiry, digest, legacy) FROM STDIN BINARY`)
	w.usn += tenant.USN(len(winners))
	if err == nil && tag.RowsAffected() != int64(len(winners)) {
		err = fmt.Errorf("store: %d of %d credentials copied", tag.RowsAffected(), len(winners))
	}
	return err
}

// credentialRows are sets as COPY takes them, encrypted, and without their numbers. They
// are made before the feed is locked, as all other writers wait for who holds it.
type credentialRows struct {
	rows copyRows
	ends []int // of each row in rows
	sent bool  // in part at least
}

const (
	credentialFields = 8
	usnAt            = 2 + 4 // in a row: behind the count of fields and the first one's length
)

func (r *credentialRows) append(more *credentialRows) {
	for _, end := range more.ends {
		r.ends = append(r.ends, len(r.rows)+end)
	}
	r.rows = append(r.rows, more.rows...)
}

func (t *Tenant) credentialRows(sets []tenant.Credential, name string) (*credentialRows, error) {
	size := 0
	for i := range sets {
		size += 256 + len(sets[i].Legacy) // a digest's and the fixed fields' room, and something to spare
	}
	r := &credentialRows{rows: make(copyRows, 0, size), ends: make([]int, len(sets))}
	for i := range sets {
		s := &sets[i]
		if s.Digest.IsZero() {
			return nil, fmt.Errorf("store: credential of %s without a digest", s.Object)
		}
		r.rows.row(credentialFields)
		r.rows.int64(0) // the number, when it is known
		r.rows.bytes(s.Object[:])
		r.rows.int64(s.Version)
		r.rows.int16(int16(s.Source))
		r.rows.bool(s.MustChange)
		r.rows.bool(s.NeverExpires)
		err := r.rows.field(func(b []byte) ([]byte, error) {
			return t.ring.Seal(b, []byte(s.Digest.Expose()), digestPlace(name, s.Object, s.Version), t.db.rand)
		})
		if err != nil {
			return nil, fmt.Errorf("store: encrypting a digest: %w", err)
		}
		r.rows.text(string(s.Legacy))
		r.ends[i] = len(r.rows)
	}
	return r, nil
}

// reader numbers the rows at the places winners, which rise, and returns what COPY reads.
func (r *credentialRows) reader(winners []int, usn tenant.USN) io.Reader {
	if r.sent { // pgx does not wait for the sender of an attempt that the server broke off
		r.rows = bytes.Clone(r.rows)
	}
	r.sent = true
	parts := []io.Reader{strings.NewReader(copyHeader)}
	from, to := 0, 0 // rows that stand one behind the other are read as one
	for _, i := range winners {
		begin := 0
		if i > 0 {
			begin = r.ends[i-1]
		}
		usn++
		binary.BigEndian.PutUint64(r.rows[begin+usnAt:], uint64(usn))
		if begin != to {
			parts = append(parts, bytes.NewReader(r.rows[from:to]))
			from = begin
		}
		to = r.ends[i]
	}
	return io.MultiReader(append(parts, bytes.NewReader(r.rows[from:to]), strings.NewReader(copyTrailer))...)
}

package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

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

// PutCredentials implements tenant.Store. A set for what is not a live user
// refuses the batch with tenant.ErrConflict: it was one when the caller looked.
func (t *Tenant) PutCredentials(ctx context.Context, sets []tenant.Credential, asOf tenant.USN, record func([]tenant.Outcome) *tenant.Record) (outcomes []tenant.Outcome, usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return nil, 0, err
	}
	err = t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		if outcomes, err = w.credentials(ctx, sets, name, asOf); err != nil {
			return err
		}
		if record != nil {
			if err := putRecord(ctx, tx, record(outcomes)); err != nil {
				return err
			}
		}
		usn = w.usn
		return w.advance(ctx)
	})
	if err != nil {
		return nil, 0, err
	}
	return outcomes, usn, nil
}

// ReplaceCredential implements tenant.Store. It also refuses a set whose version is
// below the user's current one, which the feed's readers would take for old.
func (t *Tenant) ReplaceCredential(ctx context.Context, set tenant.Credential, was int64, record *tenant.Record) (usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
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
		if err := w.replace(ctx, []tenant.Credential{set}, name, []int{0}, replaced); err != nil {
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

// credentials decides on each set and stores those that win. Only where versions are
// equal is what is stored decrypted and compared; so no fingerprint of it
// needs to stand in the clear beside it.
func (w *writer) credentials(ctx context.Context, sets []tenant.Credential, name string, asOf tenant.USN) ([]tenant.Outcome, error) {
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
	return outcomes, w.replace(ctx, sets, name, winners, replaced)
}

// replace stores the sets at the places winners, all of them whole, and takes away the rows
// that they replace. The feed's lock, under which those were read, makes this as
// good as INSERT ... ON CONFLICT, and COPY takes less than half of its time.
func (w *writer) replace(ctx context.Context, sets []tenant.Credential, name string, winners []int, replaced []pgtype.TID) error {
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
	rows := &credentialRows{t: w.t, name: name, sets: sets, winners: winners, usn: w.usn}
	tag, err := w.tx.Conn().PgConn().CopyFrom(ctx, rows, `COPY tenant.credential
		(object_id, version, source, must_change, no_expiry, usn, digest, legacy) FROM STDIN BINARY`)
	if failed := rows.failed.Load(); failed != nil { // of which the server only knows that there was one
		return decided{*failed}
	}
	w.usn += tenant.USN(len(winners))
	if err == nil && tag.RowsAffected() != int64(len(winners)) {
		err = fmt.Errorf("store: %d of %d credentials copied", tag.RowsAffected(), len(winners))
	}
	return err
}

// credentialRows is the text of a COPY in its binary format (PostgreSQL
// documentation, COPY, "Binary Format"), written as the server takes it: while it
// stores one piece, the digests of the next are encrypted. Row by row through
// pgx, which boxes each value, this half of a bulk sync took twice as long.
type credentialRows struct {
	t       *Tenant
	name    string
	sets    []tenant.Credential
	winners []int // what is left to be written
	usn     tenant.USN
	buf     []byte
	read    int  // of buf
	begun   bool // the header is written
	ended   bool // the trailer is written
	// failed is atomic as pgx, where the server breaks off, does not wait for
	// the goroutine that reads from here.
	failed atomic.Pointer[error]
}

// copyPiece is about what is written at once: a message of the protocol.
const copyPiece = 64 << 10

func (r *credentialRows) Read(p []byte) (int, error) {
	if r.read == len(r.buf) {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			r.failed.Store(&err)
			return 0, err
		}
	}
	n := copy(p, r.buf[r.read:])
	r.read += n
	return n, nil
}

func (r *credentialRows) fill() (err error) {
	if r.buf == nil {
		r.buf = make([]byte, 0, copyPiece+cred.MaxSealed)
	}
	b := r.buf[:0]
	if !r.begun {
		r.begun = true
		b = append(b, "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...) // no flags, no extension
	}
	for len(b) < copyPiece && len(r.winners) > 0 {
		if b, err = r.row(b, &r.sets[r.winners[0]]); err != nil {
			return err
		}
		r.winners = r.winners[1:]
	}
	if len(r.winners) == 0 {
		b = append(b, 0xff, 0xff)
		r.ended = true
	}
	r.buf, r.read = b, 0
	return nil
}

func (r *credentialRows) row(b []byte, s *tenant.Credential) ([]byte, error) {
	if s.Digest.IsZero() {
		return nil, fmt.Errorf("store: credential of %s without a digest", s.Object)
	}
	const columns = 8
	r.usn++
	be := binary.BigEndian
	b = be.AppendUint16(b, columns)
	b = append(be.AppendUint32(b, uint32(len(s.Object))), s.Object[:]...)
	b = be.AppendUint64(be.AppendUint32(b, 8), uint64(s.Version))
	b = be.AppendUint16(be.AppendUint32(b, 2), uint16(s.Source))
	b = append(be.AppendUint32(b, 1), bit(s.MustChange))
	b = append(be.AppendUint32(b, 1), bit(s.NeverExpires))
	b = be.AppendUint64(be.AppendUint32(b, 8), uint64(r.usn))
	size := len(b)
	b, err := r.t.ring.Seal(be.AppendUint32(b, 0), []byte(s.Digest.Expose()), digestPlace(r.name, s.Object, s.Version), r.t.db.rand)
	if err != nil {
		return nil, fmt.Errorf("store: encrypting a digest: %w", err)
	}
	be.PutUint32(b[size:], uint32(len(b)-size-4))
	return append(be.AppendUint32(b, uint32(len(s.Legacy))), s.Legacy...), nil
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

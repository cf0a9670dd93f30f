package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// credentialColumns are what credentialRow takes. They are NULL in a LEFT JOIN
// of a user without one.
const credentialColumns = `c.version, c.source, c.must_change, c.digest, c.legacy`

type credentialRow struct {
	version    *int64
	source     *uint8
	mustChange *bool
	digest     []byte
	legacy     *string
}

func (r *credentialRow) targets() []any {
	return []any{&r.version, &r.source, &r.mustChange, &r.digest, &r.legacy}
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
		Digest: digest, Legacy: cred.Sealed(*r.legacy), MustChange: *r.mustChange}, nil
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
func (t *Tenant) PutCredentials(ctx context.Context, sets []tenant.Credential) (outcomes []tenant.Outcome, usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return nil, 0, err
	}
	sealed, err := t.seal(sets, name) // before the feed's lock, not under it
	if err != nil {
		return nil, 0, err
	}
	err = t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		if outcomes, err = w.credentials(ctx, sets, sealed, name); err != nil {
			return err
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
func (t *Tenant) ReplaceCredential(ctx context.Context, set tenant.Credential, was int64) (usn tenant.USN, err error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return 0, err
	}
	sets := []tenant.Credential{set}
	sealed, err := t.seal(sets, name)
	if err != nil {
		return 0, err
	}
	err = t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		var is int64
		err = tx.QueryRow(ctx, `SELECT coalesce(c.version, 0) FROM tenant.object o
			LEFT JOIN tenant.credential c ON c.object_id = o.id
			WHERE o.id = $1 AND o.kind = 1 AND o.deleted IS NULL`, set.Object).Scan(&is)
		if errors.Is(err, pgx.ErrNoRows) || err == nil && is != was {
			return decided{tenant.ErrConflict}
		} else if err != nil {
			return err
		}
		if err := w.insert(ctx, sets, sealed, []int{0}); err != nil {
			return err
		}
		usn = w.usn
		return w.advance(ctx)
	})
	return usn, err
}

// seal encrypts the digests of sets.
func (t *Tenant) seal(sets []tenant.Credential, name string) ([][]byte, error) {
	sealed := make([][]byte, len(sets))
	for i := range sets {
		s := &sets[i]
		if s.Digest.IsZero() {
			return nil, fmt.Errorf("store: credential of %s without a digest", s.Object)
		}
		var err error
		sealed[i], err = t.ring.Seal(nil, []byte(s.Digest.Expose()), digestPlace(name, s.Object, s.Version), t.db.rand)
		if err != nil {
			return nil, fmt.Errorf("store: encrypting a digest: %w", err)
		}
	}
	return sealed, nil
}

// credentials decides on each set and stores those that win. Only where versions are
// equal is what is stored decrypted and compared; so no fingerprint of it
// needs to stand in the clear beside it.
func (w *writer) credentials(ctx context.Context, sets []tenant.Credential, sealed [][]byte, name string) ([]tenant.Outcome, error) {
	ids, versions := make([][16]byte, len(sets)), make([]int64, len(sets))
	for i := range sets {
		ids[i], versions[i] = sets[i].Object, sets[i].Version
	}
	rows, err := w.tx.Query(ctx, `SELECT s.n, c.version, c.must_change,
			CASE WHEN c.version = s.version THEN c.digest END, c.legacy <> ''
		FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY s (id, version, n)
		JOIN tenant.object o ON o.id = s.id AND o.kind = 1 AND o.deleted IS NULL
		LEFT JOIN tenant.credential c ON c.object_id = s.id`, ids, versions)
	if err != nil {
		return nil, err
	}
	outcomes := make([]tenant.Outcome, len(sets))
	users := 0
	var n int64
	var version *int64
	var mustChange, legacy *bool
	var old []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &version, &mustChange, &old, &legacy}, func() error {
		users++
		s := &sets[n-1]
		switch {
		case version == nil || *version < s.Version:
			outcomes[n-1] = tenant.Stored
		case *version > s.Version:
			outcomes[n-1] = tenant.Superseded
		default:
			outcomes[n-1] = tenant.Stored
			// A damaged row is one to be replaced. Sealed parts are never
			// equal; that they came at all is news (Domain Services were enabled).
			digest, err := openDigest(w.t.ring, name, s.Object, s.Version, old)
			if err == nil && digest.Equal(s.Digest) && *mustChange == s.MustChange && *legacy == (s.Legacy != "") {
				outcomes[n-1] = tenant.Unchanged
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if users != len(sets) {
		return nil, decided{tenant.ErrConflict}
	}
	winners := make([]int, 0, len(sets))
	for i, o := range outcomes {
		if o == tenant.Stored {
			winners = append(winners, i)
		}
	}
	if len(winners) == 0 {
		return outcomes, nil
	}
	return outcomes, w.insert(ctx, sets, sealed, winners)
}

// insert stores the sets at the places which, all of them whole. Under the feed's lock the condition on
// the version can't fail for those that credentials chose.
func (w *writer) insert(ctx context.Context, sets []tenant.Credential, sealed [][]byte, which []int) error {
	n := len(which)
	ids, versions, sources, must := make([][16]byte, n), make([]int64, n), make([]int16, n), make([]bool, n)
	digests, legacies := make([][]byte, n), make([]string, n)
	for i, j := range which {
		s := &sets[j]
		ids[i], versions[i], sources[i], must[i] = s.Object, s.Version, int16(s.Source), s.MustChange
		digests[i], legacies[i] = sealed[j], string(s.Legacy)
	}
	tag, err := w.tx.Exec(ctx, `INSERT INTO tenant.credential AS c
			(object_id, version, source, must_change, usn, digest, legacy)
		SELECT s.id, s.version, s.source, s.must_change, $1 + s.n, s.digest, s.legacy
		FROM unnest($2::uuid[], $3::bigint[], $4::smallint[], $5::bool[], $6::bytea[], $7::text[])
			WITH ORDINALITY s (id, version, source, must_change, digest, legacy, n)
		ON CONFLICT (object_id) DO UPDATE SET version = excluded.version, source = excluded.source,
			must_change = excluded.must_change, usn = excluded.usn, digest = excluded.digest, legacy = excluded.legacy
		WHERE c.version <= excluded.version`,
		int64(w.usn), ids, versions, sources, must, digests, legacies)
	if err != nil {
		return err
	}
	if tag.RowsAffected() != int64(n) {
		return decided{tenant.ErrConflict}
	}
	w.usn += tenant.USN(n)
	return nil
}

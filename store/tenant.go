package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// Tenant is the tenant's half. It implements tenant.Store.
type Tenant struct {
	db   *DB
	ring *cred.Ring
	name atomic.Pointer[string] // the tenant's id, which never changes

	puttings puttings
}

var _ tenant.Store = (*Tenant)(nil)

// Tenant returns the tenant's half, whose secrets are under ring.
func (db *DB) Tenant(ring *cred.Ring) *Tenant { return &Tenant{db: db, ring: ring} }

// Create stores a new tenant with its first objects and apps, or
// tenant.ErrConflict where there is one already.
func (t *Tenant) Create(ctx context.Context, settings tenant.Settings, first []tenant.ObjectWrite, apps []tenant.App) error {
	name := settings.TenantID.String()
	text, err := json.Marshal(settings)
	if err != nil {
		return fmt.Errorf("store: settings: %w", err)
	}
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO tenant.settings (settings, key_id, proof) VALUES ($1, $2, $3)`,
			text, t.ring.KeyID(), t.ring.Proof(name))
		if err != nil {
			return err
		}
		for _, a := range apps {
			_, err := tx.Exec(ctx, `INSERT INTO tenant.app (client_id, display_name, secret_hash, roles)
				VALUES ($1, $2, $3, $4)`, a.ClientID, a.DisplayName, a.SecretHash[:], list(a.Roles))
			if err != nil {
				return err
			}
		}
		if err := w.objects(ctx, first, name); err != nil {
			return err
		}
		return w.advance(ctx)
	})
}

// CheckRing returns ErrWrongKey where the tenant was made under another key ring,
// tenant.ErrNoTenant where there is none yet.
func (t *Tenant) CheckRing(ctx context.Context) error {
	var id string
	var proof []byte
	err := t.db.pool.QueryRow(ctx, `SELECT key_id, proof FROM tenant.settings`).Scan(&id, &proof)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.ErrNoTenant
	} else if err != nil {
		return fail(err, tenant.ErrConflict)
	}
	name, err := t.tenantID(ctx)
	if err != nil {
		return err
	}
	return checkRing(t.ring, name, id, proof)
}

func checkRing(ring *cred.Ring, name, id string, proof []byte) error {
	if ring.CheckProof(name, proof) == nil {
		return nil
	}
	return fmt.Errorf("%w: the data needs key %s, the ring seals with %s", ErrWrongKey, id, ring.KeyID())
}

// tenantID is what the encryption binds secrets to.
func (t *Tenant) tenantID(ctx context.Context) (string, error) {
	if p := t.name.Load(); p != nil {
		return *p, nil
	}
	set, err := t.Settings(ctx)
	if err != nil {
		return "", err
	}
	name := set.TenantID.String()
	t.name.Store(&name)
	return name, nil
}

// Settings implements tenant.Store.
func (t *Tenant) Settings(ctx context.Context) (tenant.Settings, error) {
	return settings(t.db.pool.QueryRow(ctx, `SELECT settings FROM tenant.settings`))
}

func settings(row pgx.Row) (set tenant.Settings, err error) {
	var text []byte
	if err := row.Scan(&text); errors.Is(err, pgx.ErrNoRows) {
		return set, tenant.ErrNoTenant
	} else if err != nil {
		return set, fail(err, tenant.ErrConflict)
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return set, fmt.Errorf("store: settings: %w", err)
	}
	return set, nil
}

// UpdateSettings implements tenant.Store. change runs again where the server
// ended the transaction to resolve a conflict.
func (t *Tenant) UpdateSettings(ctx context.Context, change func(*tenant.Settings) error) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		set, err := settings(tx.QueryRow(ctx, `SELECT settings FROM tenant.settings FOR UPDATE`))
		if err != nil {
			return decided{err}
		}
		id := set.TenantID
		if err := change(&set); err != nil {
			return decided{err}
		}
		if set.TenantID != id {
			return decided{errors.New("store: a tenant's id can't change")}
		}
		text, err := json.Marshal(set)
		if err != nil {
			return decided{fmt.Errorf("store: settings: %w", err)}
		}
		_, err = tx.Exec(ctx, `UPDATE tenant.settings SET settings = $1`, text)
		return err
	})
}

// App implements tenant.Store.
func (t *Tenant) App(ctx context.Context, clientID tenant.ID) (tenant.App, error) {
	a := tenant.App{ClientID: clientID}
	var hash []byte
	err := t.db.pool.QueryRow(ctx, `SELECT display_name, secret_hash, roles FROM tenant.app WHERE client_id = $1`,
		clientID).Scan(&a.DisplayName, &hash, &a.Roles)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.App{}, tenant.ErrNotFound
	} else if err != nil {
		return tenant.App{}, fail(err, tenant.ErrConflict)
	}
	copy(a.SecretHash[:], hash)
	return a, nil
}

// objectColumns are what objectRow takes.
const objectColumns = `o.id, o.kind, o.anchor, o.upn, o.enabled, o.profile, o.roles,
	o.created, o.changed, o.deleted, o.generation, o.revision`

// objectRow takes the columns of one object.
type objectRow struct {
	tenant.Object
	profile []byte
	deleted *time.Time
}

func (r *objectRow) targets() []any {
	return []any{(*[16]byte)(&r.ID), (*uint8)(&r.Kind), &r.Anchor, &r.UPN, &r.Enabled, &r.profile, &r.Roles,
		&r.Created, &r.Changed, &r.deleted, &r.Generation, &r.Revision}
}

func (r *objectRow) object() (tenant.Object, error) {
	o := r.Object
	o.Created, o.Changed = o.Created.UTC(), o.Changed.UTC()
	if len(o.Roles) == 0 {
		o.Roles = nil // as it was written
	}
	if r.deleted != nil {
		o.Deleted = r.deleted.UTC()
	}
	if err := json.Unmarshal(r.profile, &o.Profile); err != nil {
		return o, decided{fmt.Errorf("store: profile of %s: %w", o.ID, err)}
	}
	return o, nil
}

// ObjectsByAnchor implements tenant.Store.
func (t *Tenant) ObjectsByAnchor(ctx context.Context, anchors []string) ([]tenant.Object, error) {
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o
		WHERE o.anchor <> '' AND o.anchor = ANY($1)`, list(anchors))
}

// Refs implements tenant.Store.
func (t *Tenant) Refs(ctx context.Context, anchors []string) ([]tenant.Ref, tenant.USN, error) {
	var asOf tenant.USN
	refs := make([]tenant.Ref, 0, len(anchors))
	var b pgx.Batch
	b.Queue(`SELECT usn FROM tenant.feed`).QueryRow(func(row pgx.Row) error { return row.Scan((*int64)(&asOf)) })
	b.Queue(`SELECT o.anchor, o.id, o.kind, o.deleted IS NULL,
		coalesce((o.profile->>'onPremisesSyncEnabled')::boolean, false) FROM tenant.object o
		WHERE o.anchor = ANY($1) AND o.anchor <> ''`, list(anchors)).Query(func(rows pgx.Rows) error {
		var r tenant.Ref
		var id [16]byte
		var kind int16
		_, err := pgx.ForEachRow(rows, []any{&r.Anchor, &id, &kind, &r.Live, &r.Synced}, func() error {
			r.ID, r.Kind = id, tenant.Kind(kind)
			refs = append(refs, r)
			return nil
		})
		return err
	})
	if err := t.db.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, 0, fail(err, tenant.ErrConflict)
	}
	return refs, asOf, nil
}

// ObjectsByUPN implements tenant.Store.
func (t *Tenant) ObjectsByUPN(ctx context.Context, upns []string) ([]tenant.Object, error) {
	keys := make([]string, len(upns))
	for i, upn := range upns {
		keys[i] = key(upn)
	}
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o WHERE o.upn_key = ANY($1)`, keys)
}

// Objects implements tenant.Store.
func (t *Tenant) Objects(ctx context.Context, ids []tenant.ID) ([]tenant.Object, error) {
	keys := make([][16]byte, len(ids))
	for i := range ids {
		keys[i] = ids[i]
	}
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o WHERE o.id = ANY($1)`, keys)
}

// ObjectsByAddress implements tenant.Store.
func (t *Tenant) ObjectsByAddress(ctx context.Context, addresses []string) ([]tenant.Object, error) {
	if len(addresses) == 0 {
		return nil, nil
	}
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o WHERE o.addresses && $1`, addresses)
}

// ObjectsInConflict implements tenant.Store.
func (t *Tenant) ObjectsInConflict(ctx context.Context, limit int) ([]tenant.Object, error) {
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o
		WHERE o.deleted IS NULL AND o.profile ? 'onPremisesProvisioningErrors' LIMIT $1`, limit)
}

// List implements tenant.Store.
func (t *Tenant) List(ctx context.Context, kinds []tenant.Kind, after tenant.ID, limit int) ([]tenant.Object, error) {
	numbers := make([]int16, len(kinds))
	for i, k := range kinds {
		numbers[i] = int16(k)
	}
	return t.list(ctx, `SELECT `+objectColumns+` FROM tenant.object o
		WHERE o.id > $1 AND o.kind = ANY($2) AND o.deleted IS NULL ORDER BY o.id LIMIT $3`, after, numbers, limit)
}

func (t *Tenant) list(ctx context.Context, query string, args ...any) ([]tenant.Object, error) {
	rows, err := t.db.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fail(err, tenant.ErrConflict)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tenant.Object, error) {
		var r objectRow
		if err := row.Scan(r.targets()...); err != nil {
			return tenant.Object{}, err
		}
		return r.object()
	})
	return out, fail(err, tenant.ErrConflict)
}

// Object implements tenant.Store.
func (t *Tenant) Object(ctx context.Context, id tenant.ID) (tenant.Object, error) {
	var r objectRow
	return r.one(t.db.pool.QueryRow(ctx, `SELECT `+objectColumns+` FROM tenant.object o
		WHERE o.id = $1 AND o.deleted IS NULL`, id), r.targets())
}

// one scans the only row of an object, which may have further columns.
func (r *objectRow) one(row pgx.Row, targets []any) (tenant.Object, error) {
	err := row.Scan(targets...)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.Object{}, tenant.ErrNotFound
	} else if err != nil {
		return tenant.Object{}, fail(err, tenant.ErrConflict)
	}
	o, err := r.object()
	return o, fail(err, tenant.ErrConflict)
}

// key folds a name for comparison without regard to case.
func key(name string) string { return strings.ToLower(name) }

// list makes an empty array of a nil slice, which pgx sends as NULL.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

package store

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// Domain is the managed domain's half. It implements domain.Store. A database that
// can't be asked is tenant.ErrUnavailable here too.
type Domain struct {
	db   *DB
	ring *cred.Ring
	info atomic.Pointer[domain.Info] // which never changes

	corrupt atomic.Int64
}

var _ domain.Store = (*Domain)(nil)

// Domain returns the domain's half, whose secrets are under ring.
func (db *DB) Domain(ring *cred.Ring) *Domain { return &Domain{db: db, ring: ring} }

// Create implements domain.Store.
func (d *Domain) Create(ctx context.Context, info domain.Info, records []domain.Record) error {
	name := info.Tenant.String()
	return d.db.write(ctx, domain.ErrConflict, func(tx pgx.Tx) error {
		w, err := d.lock(ctx, tx, &info)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO domain.info
				(dns_name, netbios, sid, guid, dc, tenant_id, created, key_id, proof, administrators)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`, info.DNSName, info.NetBIOS, []byte(info.SID), info.GUID,
			info.DC, info.Tenant, info.Created, d.ring.KeyID(), d.ring.Proof(name), idOrNull(info.Administrators))
		if err != nil {
			return err
		}
		writes := make([]domain.Write, len(records))
		for i := range records {
			writes[i].Record = records[i]
		}
		if err := w.records(ctx, writes); err != nil {
			return err
		}
		return w.advance(ctx, w.tenant)
	})
}

// Info implements domain.Store.
func (d *Domain) Info(ctx context.Context) (info domain.Info, err error) {
	var s []byte
	var administrators *[16]byte
	err = d.db.pool.QueryRow(ctx, `SELECT dns_name, netbios, sid, guid, dc, tenant_id, created, administrators FROM domain.info`).
		Scan(&info.DNSName, &info.NetBIOS, &s, (*[16]byte)(&info.GUID), &info.DC, (*[16]byte)(&info.Tenant), &info.Created, &administrators)
	if errors.Is(err, pgx.ErrNoRows) {
		return info, domain.ErrNoDomain
	} else if err != nil {
		return info, fail(err, domain.ErrConflict)
	}
	info.Created = info.Created.UTC()
	if administrators != nil {
		info.Administrators = *administrators
	}
	info.SID, err = sid.FromBytes(s)
	return info, err
}

// CheckRing returns ErrWrongKey where the domain was made under another key ring,
// domain.ErrNoDomain where there is none yet.
func (d *Domain) CheckRing(ctx context.Context) error {
	name, err := d.tenantID(ctx)
	if err != nil {
		return err
	}
	var id string
	var proof []byte
	if err := d.db.pool.QueryRow(ctx, `SELECT key_id, proof FROM domain.info`).Scan(&id, &proof); err != nil {
		return fail(err, domain.ErrConflict)
	}
	return checkRing(d.ring, name, id, proof)
}

// tenantID is what the encryption binds secrets to.
func (d *Domain) tenantID(ctx context.Context) (string, error) {
	info, err := d.named(ctx)
	if err != nil {
		return "", err
	}
	return info.Tenant.String(), nil
}

// named is Info, read once.
func (d *Domain) named(ctx context.Context) (*domain.Info, error) {
	if p := d.info.Load(); p != nil {
		return p, nil
	}
	info, err := d.Info(ctx)
	if err != nil {
		return nil, err
	}
	d.info.Store(&info)
	return &info, nil
}

// NTLMOff implements domain.Store.
func (d *Domain) NTLMOff(ctx context.Context) (bool, error) {
	set, err := settings(d.db.pool.QueryRow(ctx, `SELECT settings FROM tenant.settings`))
	return set.NTLMOff, err
}

// Provisioned implements domain.Store.
func (d *Domain) Provisioned(ctx context.Context) (usn tenant.USN, err error) {
	err = d.db.pool.QueryRow(ctx, `SELECT tenant_usn FROM domain.state`).Scan((*int64)(&usn))
	return usn, fail(err, domain.ErrConflict)
}

// NamesTaken implements domain.Store.
func (d *Domain) NamesTaken(ctx context.Context, names []string) (map[string]domain.ID, error) {
	return d.taken(ctx, `SELECT o.sam_key, o.guid FROM domain.object o WHERE o.sam_key = ANY($1)`, list(names))
}

// RDNsTaken implements domain.Store. Asked with = ANY the server would rather
// read all that stands below parent, each time, and a bulk sync take as long as
// the square of its users.
func (d *Domain) RDNsTaken(ctx context.Context, parent domain.ID, rdns []string) (map[string]domain.ID, error) {
	return d.taken(ctx, `SELECT n.name, o.guid FROM unnest($1::text[]) n (name)
		CROSS JOIN LATERAL (SELECT o.guid FROM domain.object o
			WHERE o.parent = $2 AND o.rdn_key = n.name LIMIT 1) o`, list(rdns), parent)
}

func (d *Domain) taken(ctx context.Context, query string, args ...any) (map[string]domain.ID, error) {
	rows, err := d.db.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fail(err, domain.ErrConflict)
	}
	held := make(map[string]domain.ID)
	var name string
	var guid [16]byte
	_, err = pgx.ForEachRow(rows, []any{&name, &guid}, func() error {
		held[name] = guid
		return nil
	})
	return held, fail(err, domain.ErrConflict)
}

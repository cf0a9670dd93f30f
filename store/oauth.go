package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/tenant"
)

// Standing implements tenant.Store.
func (t *Tenant) Standing(ctx context.Context, id tenant.ID) (s tenant.Standing, err error) {
	var r objectRow
	var from int64
	s.User, err = r.one(t.db.pool.QueryRow(ctx, `SELECT `+objectColumns+`, coalesce(c.version, 0), coalesce(c.must_change, false),
		coalesce(s.cloud_version, 0), coalesce(s.valid_from, 0)
		FROM tenant.object o LEFT JOIN tenant.credential c ON c.object_id = o.id LEFT JOIN tenant.session s ON s.object_id = o.id
		WHERE o.id = $1 AND o.deleted IS NULL`, id), append(r.targets(), &s.Version, &s.MustChange, &s.CloudVersion, &from))
	if err != nil {
		return tenant.Standing{}, err
	}
	if from != 0 {
		s.ValidFrom = time.UnixMicro(from).UTC()
	}
	return s, nil
}

// EndSessions implements tenant.Store.
func (t *Tenant) EndSessions(ctx context.Context, id tenant.ID, before time.Time) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO tenant.session AS s (object_id, valid_from) VALUES ($1, $2)
			ON CONFLICT (object_id) DO UPDATE SET valid_from = greatest(s.valid_from, EXCLUDED.valid_from)`, id, before.UnixMicro())
		return err
	})
}

// forgetAtOnce bounds what one request clears away of others. It is more than
// one, so that the table shrinks under any load.
const forgetAtOnce = 100

// PutDevice implements tenant.Store.
func (t *Tenant) PutDevice(ctx context.Context, d tenant.DeviceCode, forget time.Time) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		// Rows that another request is forgetting are not waited for.
		_, err := tx.Exec(ctx, `DELETE FROM tenant.device_code WHERE code IN (SELECT code FROM tenant.device_code
			WHERE expires < $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)`, forget, forgetAtOnce)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO tenant.device_code (code, user_code, client_id, scope, expires, state)
			VALUES ($1, $2, $3, $4, $5, $6)`, d.Hash[:], d.UserCode, d.Client, d.Scope, d.Expires, int16(d.State))
		return err
	})
}

// Device implements tenant.Store.
func (t *Tenant) Device(ctx context.Context, hash [32]byte) (tenant.DeviceCode, error) {
	return t.device(ctx, `code = $1`, hash[:])
}

// DeviceByUserCode implements tenant.Store.
func (t *Tenant) DeviceByUserCode(ctx context.Context, userCode string) (tenant.DeviceCode, error) {
	return t.device(ctx, `user_code = $1`, userCode)
}

func (t *Tenant) device(ctx context.Context, where string, arg any) (d tenant.DeviceCode, err error) {
	var hash []byte
	var client [16]byte
	var user *[16]byte
	var signedIn, version *int64
	err = t.db.pool.QueryRow(ctx, `SELECT code, user_code, client_id, scope, expires, state, object_id, signed_in, version
		FROM tenant.device_code WHERE `+where, arg).Scan(&hash, &d.UserCode, &client, &d.Scope, &d.Expires,
		(*uint8)(&d.State), &user, &signedIn, &version)
	if errors.Is(err, pgx.ErrNoRows) {
		return tenant.DeviceCode{}, tenant.ErrNotFound
	} else if err != nil {
		return tenant.DeviceCode{}, fail(err, tenant.ErrConflict)
	}
	copy(d.Hash[:], hash)
	d.Client, d.Expires = client, d.Expires.UTC()
	if user != nil && signedIn != nil && version != nil {
		d.Session = tenant.Session{User: *user, SignedIn: time.UnixMicro(*signedIn).UTC(), Version: *version}
	}
	return d, nil
}

// DecideDevice implements tenant.Store.
func (t *Tenant) DecideDevice(ctx context.Context, d tenant.DeviceCode, now time.Time) error {
	var signedIn, version *int64
	if !d.Session.User.IsZero() {
		at := d.Session.SignedIn.UnixMicro()
		signedIn, version = &at, &d.Session.Version
	}
	return t.one(ctx, `UPDATE tenant.device_code SET state = $2, object_id = $3, signed_in = $4, version = $5
		WHERE code = $1 AND state = 1 AND expires > $6`, d.Hash[:], int16(d.State), idOrNull(d.Session.User), signedIn, version, now)
}

// TakeDevice implements tenant.Store.
func (t *Tenant) TakeDevice(ctx context.Context, hash [32]byte) error {
	return t.one(ctx, `DELETE FROM tenant.device_code WHERE code = $1 AND state = 2`, hash[:])
}

// one runs a statement that finds one row, or tenant.ErrNotFound.
func (t *Tenant) one(ctx context.Context, statement string, args ...any) error {
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, statement, args...)
		if err == nil && tag.RowsAffected() == 0 {
			return decided{tenant.ErrNotFound}
		}
		return err
	})
}

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"

	"skyrealm/migrations"
)

// Keys of the advisory locks ("skyrealm" and a number).
const (
	lockMigrate = 0x736b79_0001
	lockLead    = 0x736b79_0002
)

// migrateUp brings the schema up to the newest step in migrations.
func migrateUp(ctx context.Context, cfg *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return unreachable(err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) // which also gives the lock back
	return migrateFrom(ctx, conn, migrations.FS)
}

func migrateFrom(ctx context.Context, conn *pgx.Conn, steps fs.FS) error {
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, int64(lockMigrate)); err != nil {
		return fmt.Errorf("store: migration lock: %w", fail(err, errMigration))
	}
	src, err := iofs.New(steps, ".")
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	newest, err := src.First()
	for next := newest; err == nil; next, err = src.Next(newest) {
		newest = next
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("store: migrations: %w", err)
	}
	drv := &stepper{ctx: ctx, conn: conn}
	m, err := migrate.NewWithInstance("iofs", src, "skyrealm", drv)
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	have, _, err := drv.Version()
	if err != nil {
		return fmt.Errorf("store: schema version: %w", fail(err, errMigration))
	}
	if have > int(newest) {
		return fmt.Errorf("%w: it is at step %d, this program knows %d", ErrSchemaNewer, have, newest)
	}
	if err := m.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return fmt.Errorf("store: migration: %w", fail(err, errMigration))
	}
	return nil
}

var errMigration = errors.New("store: conflicting migration")

// stepper is a database.Driver that applies a step and notes it in one
// transaction. The drivers of migrate note it "dirty" first and in a transaction
// of its own, so a process killed in between leaves a database that only a person
// can bring up again.
//
// migrate calls SetVersion(v, true), Run, SetVersion(v, false) for each step.
type stepper struct {
	ctx  context.Context
	conn *pgx.Conn
	tx   pgx.Tx
}

var _ database.Driver = (*stepper)(nil)

func (d *stepper) Open(string) (database.Driver, error) { return d, nil }
func (d *stepper) Close() error                         { return nil }

// The lock is held already, for longer than migrate would, and with a context.
func (d *stepper) Lock() error   { return nil }
func (d *stepper) Unlock() error { return nil }

func (d *stepper) Run(step io.Reader) error {
	text, err := io.ReadAll(step)
	if err != nil {
		return err
	}
	// Without arguments several statements may stand in one text.
	_, err = d.tx.Exec(d.ctx, string(text))
	return err
}

func (d *stepper) SetVersion(version int, begin bool) (err error) {
	if begin {
		d.tx, err = d.conn.Begin(d.ctx)
		return err
	}
	if _, err := d.tx.Exec(d.ctx, `CREATE SCHEMA IF NOT EXISTS tenant`); err != nil {
		return err
	}
	if _, err := d.tx.Exec(d.ctx, `CREATE TABLE IF NOT EXISTS tenant.migration
		(step bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())`); err != nil {
		return err
	}
	if _, err := d.tx.Exec(d.ctx, `INSERT INTO tenant.migration (step) VALUES ($1)`, version); err != nil {
		return err
	}
	return d.tx.Commit(d.ctx)
}

func (d *stepper) Version() (version int, dirty bool, err error) {
	var there bool
	err = d.conn.QueryRow(d.ctx, `SELECT to_regclass('tenant.migration') IS NOT NULL`).Scan(&there)
	if err != nil || !there {
		return database.NilVersion, false, err
	}
	err = d.conn.QueryRow(d.ctx, `SELECT coalesce(max(step), -1) FROM tenant.migration`).Scan(&version)
	return version, false, err
}

func (d *stepper) Drop() error { return errors.ErrUnsupported }

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Times and sizes of the connections.
const (
	maxConns       = 16
	connectTimeout = 5 * time.Second
	idleTrust      = 100 * time.Millisecond
	// maxTries is how often a transaction is begun that the server ended to
	// resolve a conflict.
	maxTries = 3
	// doubtTime is how long a writer asks for the fate of a COMMIT whose answer
	// was lost; a server that crashed is usually back within it.
	doubtTime = 3 * time.Second
)

// Options are what a DB needs besides the database.
type Options struct {
	Rand io.Reader // of the encryption's nonces
	Log  *slog.Logger
}

// DB is the database that both halves live in.
type DB struct {
	pool *pgxpool.Pool
	rand io.Reader
	log  *slog.Logger
}

// Open connects, and brings the schema up to what this program knows, one process
// at a time. Its errors are one line each: ErrUnreachable, ErrSchemaNewer.
func Open(ctx context.Context, url string, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("%w: the URL is malformed", ErrUnreachable) // its text may repeat the password
	}
	return open(ctx, cfg, o)
}

func open(ctx context.Context, cfg *pgxpool.Config, o Options) (*DB, error) {
	cfg.MaxConns = maxConns
	cfg.PingTimeout = connectTimeout
	// After a restart of the server all idle connections are dead, and each would
	// fail one request.
	cfg.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > idleTrust }
	cfg.ConnConfig.ConnectTimeout = connectTimeout
	for name, value := range map[string]string{
		"application_name": "skyrealm",
		// A process that hangs or is cut off must not hold the feed's row, the
		// provisioner's lock or the migration lock.
		"idle_in_transaction_session_timeout": "30s",
		"tcp_keepalives_idle":                 "5",
		"tcp_keepalives_interval":             "2",
		"tcp_keepalives_count":                "3",
		"tcp_user_timeout":                    "10s",
		// Every statement here finds its rows by key. The planner would rather
		// read all of a table that it takes for small (before the first ANALYZE it
		// takes a table of any size for that) and keep to this plan while
		// the table grows: a batch of 1000 then costs a quarter of a second.
		"enable_seqscan":   "off",
		"enable_hashjoin":  "off",
		"enable_mergejoin": "off",
		"plan_cache_mode":  "force_generic_plan",
		"jit":              "off", // it judges by cost, and what is off is said to cost much
	} {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	cfg.AfterConnect = durable
	if err := migrateUp(ctx, cfg.ConnConfig.Copy()); err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, unreachable(err)
	}
	return &DB{pool: pool, rand: o.Rand, log: o.Log}, nil
}

// durable undoes a server's or database's default of acknowledging a commit before it
// is on disk; the stricter settings stay as they are.
func durable(ctx context.Context, c *pgx.Conn) error {
	_, err := c.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false)
		WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// closeTime is how long Close waits for connections.
const closeTime = 3 * time.Second

// Close closes the connections, after those in use are given back, in a bounded
// time: pgx drains one whose write was cut off in the middle until the server hangs
// up, which that does after 15 seconds, as it waits for the rest of the message.
func (db *DB) Close() {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		db.pool.Close()
	}()
	select {
	case <-closed:
	case <-time.After(closeTime):
	}
}

// dial opens a connection besides the pool's, for what lasts as long as the
// connection: LISTEN and the provisioner's lock.
func (db *DB) dial(ctx context.Context) (*pgx.Conn, error) {
	return pgx.ConnectConfig(ctx, db.pool.Config().ConnConfig)
}

// write runs fn in a transaction, again where the server asks for that. What fn
// returns as a decided error leaves as it is; the rest is mapped by fail.
func (db *DB) write(ctx context.Context, conflict error, fn func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := db.attempt(ctx, fn)
		if err == nil || try == maxTries || !again(err) {
			return fail(err, conflict)
		}
	}
}

// attempt is one run of write. Read Committed is what the package's promises
// rest on: the statements after the feed's lock see all that was committed
// before it was granted.
func (db *DB) attempt(ctx context.Context, fn func(pgx.Tx) error) error {
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // no effect after Commit
	var xid string
	var run *string
	if err := tx.QueryRow(ctx, beginRun).Scan(&xid, &run); err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return err
	}
	err = tx.Commit(ctx)
	if err == nil || refused(err) {
		return err
	}
	// In this order: that the number was ours holds up to the moment of the last look.
	if run != nil && db.committed(ctx, xid) && db.sameRun(ctx, *run) {
		return nil
	}
	return err
}

// beginRun starts a transaction: its number, and the run of the server in which the
// number is its own (NULL where another writer is just founding the run).
const beginRun = `WITH founded AS (
		INSERT INTO tenant.run (id) SELECT gen_random_uuid() WHERE NOT EXISTS (SELECT 1 FROM tenant.run)
		ON CONFLICT DO NOTHING RETURNING id)
	SELECT pg_current_xact_id()::text, coalesce((SELECT id FROM founded), (SELECT id FROM tenant.run))::text`

// sameRun reports whether the server has not crashed since a transaction began. A
// server that crashed forgets the numbers of transactions that were not on disk
// yet and gives them to others: one of those commits, and a write that was lost
// would be acknowledged.
func (db *DB) sameRun(ctx context.Context, run string) (same bool) {
	ctx, cancel := context.WithTimeout(ctx, doubtTime)
	defer cancel()
	err := db.pool.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM tenant.run WHERE id = $1::text::uuid)`, run).Scan(&same)
	return err == nil && same
}

// committed asks what became of a COMMIT whose answer was lost with the
// connection. Without this, a change that was refused with ErrUnavailable could
// stand in the database all the same; it still can where the server crashed (see
// [DB.sameRun]). It gives up when ctx ends or after doubtTime.
func (db *DB) committed(ctx context.Context, xid string) bool {
	ctx, cancel := context.WithTimeout(ctx, doubtTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		var status *string
		err := db.pool.QueryRow(ctx, `SELECT pg_xact_status($1::text::xid8)`, xid).Scan(&status)
		if err == nil && status != nil && *status != "in progress" {
			return *status == "committed"
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
}

// refused reports whether the server has answered, and with a no.
func refused(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return errors.Is(err, pgx.ErrTxCommitRollback) || ok && !lost(pg.Code)
}

package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"skyrealm/tenant"
)

// The server ends the connections of PutCredentials again and again, at any point of
// it: each batch is in whole or not at all, what was acknowledged is in, and
// what was refused is not.
func TestKilledConnections(t *testing.T) {
	h := newHouse(t)
	us := make([]tenant.Object, 50)
	for i := range us {
		us[i] = user(t, fmt.Sprint("u", i))
	}
	h.put(t, us...)
	_, err := h.tenant.Settings(t.Context())
	check(t, err)
	watch := connect(t, h.url)

	ctx, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	killer.Go(func() {
		for ctx.Err() == nil {
			var n int
			mustExec(t, h.admin, `SELECT pg_sleep(random() * 0.02)`) // to reach all of its points
			if err := h.admin.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'skyrealm' AND datname = current_database() AND state <> 'idle'
				AND query NOT LIKE '%pg_xact_status%'`).Scan(&n); err != nil {
				t.Error(err)
			}
		}
	})
	defer killer.Wait()
	defer stop()
	stored := int64(0)
	var acks, refusals int
	for version := int64(1); acks < 20 || refusals < 20; version++ {
		if version > 5000 {
			t.Fatalf("%d acknowledged, %d refused", acks, refusals)
		}
		sets := make([]tenant.Credential, len(us))
		for i := range us {
			sets[i] = set(t, us[i], version)
		}
		_, _, err := h.tenant.PutCredentials(t.Context(), sets, 0, nil)
		switch {
		case err == nil:
			acks++
			stored = version
		case errors.Is(err, tenant.ErrUnavailable):
			refusals++
		default:
			t.Fatal(err)
		}
		var rows int
		var low, high int64
		check(t, watch.QueryRow(t.Context(), `SELECT count(*), coalesce(min(version), 0), coalesce(max(version), 0)
			FROM tenant.credential WHERE legacy = 'sealed.' || version`).Scan(&rows, &low, &high))
		if stored != low || stored != high || (rows != 0) != (stored != 0) || stored != 0 && rows != len(us) {
			t.Fatalf("%d rows of versions %d to %d, acknowledged was %d (last error: %v)", rows, low, high, stored, err)
		}
	}
	t.Logf("%d acknowledged, %d refused", acks, refusals)
}

// deafConn loses the answer to the next COMMIT, with the connection.
type deafConn struct {
	net.Conn
	armed *atomic.Bool
	deaf  bool
}

func (c *deafConn) Write(b []byte) (int, error) {
	if len(b) >= 11 && string(b[5:11]) == "commit" && c.armed.CompareAndSwap(true, false) {
		c.deaf = true
	}
	return c.Conn.Write(b)
}

func (c *deafConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b) // the server has answered: it is committed
	if c.deaf {
		c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// A commit whose answer was lost is found out about.
// Close does not wait for ever for a connection that does not come back.
func TestCloseIsBounded(t *testing.T) {
	url, _ := newDatabase(t)
	db, err := Open(t.Context(), url, Options{Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	held, err := db.pool.Acquire(t.Context())
	check(t, err)
	defer held.Release()
	began := time.Now()
	db.Close()
	if took := time.Since(began); took < closeTime || took > 4*closeTime {
		t.Errorf("it took %s", took)
	}
}

func TestLostCommit(t *testing.T) {
	var armed atomic.Bool
	h := newHouse(t, func(cfg *pgxpool.Config) {
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &deafConn{Conn: c, armed: &armed}, nil
		}
	})
	u := h.put(t, user(t, "u"))[0]
	armed.Store(true)
	got, _, err := h.tenant.PutCredentials(t.Context(), []tenant.Credential{set(t, u, 1)}, 0, nil)
	if err != nil || armed.Load() || got[0] != tenant.Stored {
		t.Fatalf("%v, %v, commit lost: %v", got, err, !armed.Load())
	}
	var xid string
	check(t, h.admin.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text`).Scan(&xid))
	if !h.committed(t.Context(), xid) {
		t.Error("a committed transaction is not found")
	}
	mustExec(t, h.admin, `BEGIN`)
	check(t, h.admin.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text`).Scan(&xid))
	mustExec(t, h.admin, `ROLLBACK`)
	if h.committed(t.Context(), xid) {
		t.Error("an aborted transaction counts as committed")
	}
}

// Deadlocks and serialization failures are tried again, and not for ever.
func TestRetries(t *testing.T) {
	h := newHouse(t)
	u := h.put(t, user(t, "u"))[0]
	mustExec(t, h.admin, `CREATE SEQUENCE public.failures`)
	mustExec(t, h.admin, `CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('public.failures') < 3 THEN RAISE deadlock_detected; END IF; RETURN NEW; END $$`)
	mustExec(t, h.admin, `CREATE TRIGGER fail BEFORE INSERT ON tenant.credential FOR EACH ROW EXECUTE FUNCTION public.fail()`)
	_, _, err := h.tenant.PutCredentials(t.Context(), []tenant.Credential{set(t, u, 1)}, 0, nil)
	check(t, err)
	mustExec(t, h.admin, `ALTER SEQUENCE public.failures RESTART MINVALUE -100 START -100`)
	_, _, err = h.tenant.PutCredentials(t.Context(), []tenant.Credential{set(t, u, 2)}, 0, nil)
	wantErr(t, err, tenant.ErrConflict)
	var tried int64
	check(t, h.admin.QueryRow(t.Context(), `SELECT last_value + 101 FROM public.failures`).Scan(&tried))
	if tried != maxTries {
		t.Errorf("tried %d times, want %d", tried, maxTries)
	}
}

// A store that is cut off says so, at once and without a value in the text.
func TestUnavailable(t *testing.T) {
	h := newHouse(t)
	u := h.put(t, user(t, "secret-anchor"))[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := h.tenant.Object(ctx, u.ID)
	wantErr(t, err, tenant.ErrUnavailable)
	wantErr(t, err, context.Canceled)
	_, err = Open(t.Context(), "postgres:///nothing?host=/nonexistent&password=hunter2", Options{})
	wantErr(t, err, ErrUnreachable)
	if s := err.Error(); len(s) > 300 || containsAny(s, "\n", "hunter2") {
		t.Errorf("not one clear line: %q", s)
	}
	_, err = Open(t.Context(), "postgres://%zz:hunter2@", Options{})
	wantErr(t, err, ErrUnreachable)
	if containsAny(err.Error(), "hunter2") {
		t.Error(err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	mustExec(t, h.admin, `BEGIN`)
	mustExec(t, h.admin, `SELECT usn FROM tenant.feed FOR UPDATE`) // somebody holds the feed
	_, _, err = h.tenant.PutCredentials(ctx, []tenant.Credential{set(t, u, 1)}, 0, nil)
	wantErr(t, err, tenant.ErrUnavailable)
	wantErr(t, err, context.DeadlineExceeded)
	mustExec(t, h.admin, `ROLLBACK`)

	u.UPN = "x\x00y"
	_, err = h.tenant.PutObjects(t.Context(), writes(u), nil)
	if err == nil || containsAny(err.Error(), "x\x00y", "secret-anchor") || errors.Is(err, tenant.ErrUnavailable) || errors.Is(err, tenant.ErrConflict) {
		t.Errorf("a text that PostgreSQL refuses: %v", err)
	}
}

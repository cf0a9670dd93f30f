package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/store/pgchild"
	"skyrealm/tenant"
)

// The server crashes under a transaction, forgets its number, and gives it to another,
// which commits. The first is not acknowledged for it.
func TestReusedTransactionNumber(t *testing.T) {
	if _, err := testServer(); err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal(err)
		}
		t.Skip("no PostgreSQL server: ", err)
	}
	// A server of its own: the others' tests would not like this one's end.
	s, err := pgchild.Start(t.Context(), pgchild.Options{Dir: filepath.Join(t.TempDir(), "pg")})
	check(t, err)
	t.Cleanup(func() { s.Stop(context.Background()) })
	db, err := Open(t.Context(), s.URL(), Options{Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	check(t, err)
	t.Cleanup(db.Close)
	// The run is founded, and on disk is what comes before the crash.
	check(t, db.write(t.Context(), tenant.ErrConflict, func(pgx.Tx) error { return nil }))

	var ours, theirs int64
	err = db.write(t.Context(), tenant.ErrConflict, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `UPDATE tenant.feed SET usn = 7`); err != nil {
			return err
		}
		if err := tx.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text::bigint`).Scan(&ours); err != nil {
			return err
		}
		pid := s.PID()
		check(t, syscall.Kill(pid, syscall.SIGKILL))
		other := nextServer(t, s, pid)
		defer other.Close(context.Background())
		for theirs < ours {
			check(t, other.QueryRow(t.Context(), `SELECT pg_current_xact_id()::text::bigint`).Scan(&theirs))
		}
		return nil
	})
	if theirs != ours {
		t.Fatalf("the server went on with transaction %d, not %d: it forgets none, and this test shows nothing", theirs, ours)
	}
	if !db.committed(t.Context(), strconv.FormatInt(ours, 10)) {
		t.Fatal("the other transaction has not committed")
	}
	wantErr(t, err, tenant.ErrUnavailable)
	check(t, db.write(t.Context(), tenant.ErrConflict, func(tx pgx.Tx) error {
		var usn int64
		if err := tx.QueryRow(t.Context(), `SELECT usn FROM tenant.feed`).Scan(&usn); err != nil {
			return err
		}
		if usn != 0 {
			return decided{fmt.Errorf("usn is %d", usn)}
		}
		return nil
	}))
}

// nextServer connects to the server that follows the one with the number pid.
func nextServer(t *testing.T, s *pgchild.Server, pid int) *pgx.Conn {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := errors.New("no other server")
		if now := s.PID(); now != 0 && now != pid {
			var c *pgx.Conn
			if c, err = pgx.Connect(t.Context(), s.URL()); err == nil {
				return c
			}
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

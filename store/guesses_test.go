package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/test/harness"
)

// cut is a store that the test takes away.
type cut struct {
	*Domain
	away atomic.Bool
}

func (c *cut) CountGuesses(ctx context.Context, add []domain.Guesses, p *domain.Policy) ([]domain.Guessed, error) {
	if c.away.Load() {
		return nil, errors.New("away")
	}
	return c.Domain.CountGuesses(ctx, add, p)
}

// door is a replica that people sign in at.
type door struct {
	*domain.Lockout
	store *cut
	ada   *domain.Object
}

// doors are replicas of one domain, on one database.
func doors(t *testing.T, h *house, n int) []*door {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	out := make([]*door, n)
	for i := range out {
		rep := domain.NewReplica(h.info)
		d := &door{store: &cut{Domain: h.domain}}
		began := time.Now()
		d.Lockout = &domain.Lockout{Replica: rep, Store: d.store, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Elapsed: func() time.Duration { return time.Since(began) + time.Hour }}
		rep.Lockout = d.Lockout
		running.Go(func() { d.Run(ctx) })
		f := &domain.Follower{Store: h.domain, Replica: rep, Log: slog.New(slog.DiscardHandler), Retry: time.Second}
		check(t, f.CatchUp(ctx))
		running.Go(func() { f.Run(ctx) })
		if d.ada = rep.BySAM("ada"); d.ada == nil {
			t.Fatal("no ada")
		}
		out[i] = d
	}
	return out
}

func newAda(t *testing.T, h *house) {
	t.Helper()
	head := domain.Record{GUID: h.info.GUID, Kind: domain.Container, Class: "domainDNS", RDN: "aadds", Created: moment, Changed: moment}
	ada := account(t, "ada")
	ada.Parent, ada.Secrets = head.GUID, domain.Secrets{Current: legacy(t, "right"), KVNO: 1, Set: moment}
	h.apply(t, head, ada)
}

// Guesses at two replicas at once: five are told so, exactly (W01).
func TestGuessesAtTwoReplicas(t *testing.T) {
	h := newHouse(t)
	newAda(t, h)
	d := doors(t, h, 2)
	for run := range 10 {
		var told, locked atomic.Int32
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				if d[i%2].Wrong(context.Background(), d[i%2].ada, 0) == nil {
					told.Add(1)
				} else {
					locked.Add(1)
				}
			})
		}
		all.Wait()
		if told.Load() != 5 || locked.Load() != 195 {
			t.Fatalf("run %d: %d guesses were told, %d refused", run, told.Load(), locked.Load())
		}
		for i := range d {
			harness.WaitFor(t, "the lock at each replica", func() error {
				if err := d[i].Right(d[i].ada); !errors.Is(err, domain.AccountLocked) {
					return fmt.Errorf("replica %d: %w", i, err)
				}
				return nil
			})
		}
		check(t, d[run%2].Unlock(t.Context(), d[run%2].ada))
		for i := range d {
			harness.WaitFor(t, "the end of the lock at each replica", func() error { return d[i].Right(d[i].ada) })
		}
	}
}

// What was counted while the database was away is added to what others counted.
func TestGuessesWhileAway(t *testing.T) {
	h := newHouse(t)
	newAda(t, h)
	d := doors(t, h, 2)
	count := func(i, want int) {
		t.Helper()
		harness.WaitFor(t, "the count", func() error {
			if n, _, _, _ := d[i].BadPasswords(d[i].ada); n != want {
				return fmt.Errorf("replica %d has counted %d, want %d", i, n, want)
			}
			return nil
		})
	}
	d[0].store.away.Store(true)
	for range 2 {
		check(t, d[0].Wrong(t.Context(), d[0].ada, 0))
	}
	check(t, d[1].Wrong(t.Context(), d[1].ada, 0))
	count(0, 3) // the feed goes on
	count(1, 1)
	d[0].store.away.Store(false)
	count(1, 3)
	count(0, 3)

	// A lock that was set alone holds everywhere, for the rest of its time.
	d[0].store.away.Store(true)
	for range 2 {
		check(t, d[0].Wrong(t.Context(), d[0].ada, 0))
	}
	wantErr(t, d[0].Wrong(t.Context(), d[0].ada, 0), domain.AccountLocked)
	check(t, d[1].Right(d[1].ada)) // does not know yet
	d[0].store.away.Store(false)
	harness.WaitFor(t, "the lock at the other replica", func() error {
		if err := d[1].Right(d[1].ada); err == nil {
			return errors.New("not locked")
		}
		return nil
	})
	rows, _, err := h.domain.Guessed(t.Context(), 0)
	check(t, err)
	if len(rows) != 1 || rows[0].Left < 29*time.Minute || rows[0].Left > 30*time.Minute {
		t.Errorf("the row is %+v", rows)
	}
	wantErr(t, d[0].Right(d[0].ada), domain.AccountLocked)
}

// A right password takes the count back in the database as well, and names that
// nobody has leave no row that a replica reads.
func TestGuessesForgotten(t *testing.T) {
	h := newHouse(t)
	newAda(t, h)
	d := doors(t, h, 2)
	for range 4 {
		check(t, d[0].Wrong(t.Context(), d[0].ada, 0))
	}
	check(t, d[0].Right(d[0].ada))
	harness.WaitFor(t, "the count to be taken back", func() error {
		rows, _, err := h.domain.Guessed(t.Context(), 0)
		if err != nil || len(rows) != 1 || rows[0].Count != 0 {
			return fmt.Errorf("%+v, %w", rows, err)
		}
		return nil
	})
	for i := range 20 {
		d[0].Nobody(t.Context(), fmt.Sprint("nobody", i%3))
	}
	rows, _, err := h.domain.Guessed(t.Context(), 0)
	check(t, err)
	if len(rows) != 1 {
		t.Errorf("%d rows", len(rows))
	}
	var n int
	check(t, h.pool.QueryRow(t.Context(), `SELECT count(*) FROM domain.guess WHERE kvno = -1`).Scan(&n))
	if n != 3 {
		t.Errorf("%d rows stand for nobody", n)
	}
}

// The feed passes over no row whose transaction ends later than others that began
// after it.
func TestGuessesFeedHasNoGaps(t *testing.T) {
	h := newHouse(t)
	newAda(t, h)
	slow, err := h.pool.Begin(t.Context())
	check(t, err)
	defer slow.Rollback(context.Background())
	id := newID(t)
	_, err = slow.Exec(t.Context(), `SELECT domain.count_guess($1, 1, 1, 0, 0, 0, 5, 120, 1800)`, id)
	check(t, err)
	_, err = h.domain.CountGuesses(t.Context(), []domain.Guesses{{Account: newID(t), KVNO: 1, N: 1, Threshold: 5}}, &domain.DefaultPolicy)
	check(t, err)
	rows, next, err := h.domain.Guessed(t.Context(), 0)
	check(t, err)
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	check(t, slow.Commit(t.Context()))
	rows, next, err = h.domain.Guessed(t.Context(), next)
	check(t, err)
	found := false
	for _, r := range rows {
		found = found || r.Account == id
	}
	if !found {
		t.Error("the row of the slow transaction is passed over")
	}
	if rows, _, err = h.domain.Guessed(t.Context(), next); err != nil || len(rows) != 0 {
		t.Errorf("%d rows once more, %v", len(rows), err)
	}
}

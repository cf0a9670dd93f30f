package store

import (
	"context"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
)

// within is how long a test waits for what has to come; it is not how long it takes.
const within = 20 * time.Second

func receive[T any](t *testing.T, c <-chan T, what string) (open bool) {
	t.Helper()
	select {
	case _, open = <-c:
		return open
	case <-time.After(within):
		t.Fatal("waited in vain for ", what)
		return false
	}
}

// listener returns the pids of connections that LISTEN.
const listeners = `SELECT pid FROM pg_stat_activity WHERE datname = current_database()
	AND application_name = 'skyrealm' AND query LIKE 'LISTEN%'`

func TestWatch(t *testing.T) {
	h := newHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// Notices alone, without the poll of Watch.
	woken := make(chan struct{}, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.listen(ctx, func() { woken <- struct{}{} })
	}()
	receive(t, woken, "the wake-up once it listens")
	h.put(t, user(t, "u"))
	receive(t, woken, "a notice of the tenant's feed")
	_, err := h.domain.Provision(t.Context(), nil, 0, 1)
	check(t, err)
	receive(t, woken, "a notice of the domain's feed")
	if _, err := h.domain.Apply(t.Context(), nil); err != nil { // no news
		t.Fatal(err)
	}
	if _, err := h.tenant.PutObjects(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(woken) != 0 {
		t.Error("woken by nothing")
	}
	for i := range 3 { // the connection is ended, and what is notified meanwhile is lost
		mustExec(t, h.admin, `SELECT pg_terminate_backend(pid, 5000) FROM (`+listeners+`) l`)
		h.put(t, user(t, strings.Repeat("x", i+1)))
		receive(t, woken, "the wake-up once it listens again")
	}
	stop()
	<-done
}

func TestWatchPolls(t *testing.T) {
	h := newHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	wake := h.domain.Watch(ctx)
	receive(t, wake, "the first")
	// With nobody listening, the change arrives all the same.
	s, err := testServer()
	check(t, err)
	mustExec(t, connect(t, s.URL()), `ALTER DATABASE `+h.pool.Config().ConnConfig.Database+` ALLOW_CONNECTIONS false`)
	mustExec(t, h.admin, `SELECT pg_terminate_backend(pid, 5000) FROM (`+listeners+`) l`)
	for range 2 {
		receive(t, wake, "a poll")
	}
	stop()
	for receive(t, wake, "the end") {
	}
}

func TestLead(t *testing.T) {
	h := newHouse(t)
	ctx, stop := context.WithCancel(t.Context())
	first, err := h.domain.Lead(ctx)
	check(t, err)
	other := h.Domain(h.rings[1])
	_, err = other.Lead(t.Context())
	wantErr(t, err, domain.ErrNotLeader)
	stop()
	receive(t, first, "the end of the first")
	second, err := other.Lead(t.Context())
	check(t, err)
	_, err = h.domain.Lead(t.Context())
	wantErr(t, err, domain.ErrNotLeader)
	mustExec(t, h.admin, `SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
		WHERE l.locktype = 'advisory' AND a.datname = current_database()`)
	receive(t, second, "the end of the second")
	ctx, stop = context.WithCancel(t.Context())
	third, err := h.domain.Lead(ctx)
	check(t, err)
	select {
	case <-third:
		t.Fatal("lost at once")
	case <-time.After(2 * aliveEvery): // it asks, and goes on
	}
	stop()
	receive(t, third, "the end of the third")
}

// A leader that was deposed without knowing is refused.
func TestDeposedLeader(t *testing.T) {
	h := newHouse(t)
	src := newID(t)
	rec := account(t, "u")
	rec.Source = src
	_, err := h.domain.Provision(t.Context(), []domain.Write{{Record: rec}}, 0, 5)
	check(t, err)
	again := account(t, "v")
	again.Source = src
	_, err = h.domain.Provision(t.Context(), []domain.Write{{Record: again}}, 0, 4)
	wantErr(t, err, domain.ErrNotLeader)
	// Also where it read the records after its successor had written them.
	now := h.record(t, rec.GUID)
	now.UAC = 0
	_, err = h.domain.Provision(t.Context(), []domain.Write{{Record: now}}, 0, 4)
	wantErr(t, err, domain.ErrNotLeader)
	_, err = h.domain.Provision(t.Context(), []domain.Write{{Record: again}}, 5, 6) // the same source twice
	wantErr(t, err, domain.ErrConflict)
	if usn, err := h.domain.Provisioned(t.Context()); err != nil || usn != 5 {
		t.Fatal(usn, err)
	}
}

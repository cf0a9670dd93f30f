package faults

import (
	"context"
	"sync"
	"testing"
	"time"
)

const (
	killListeners = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'skyrealm' AND query LIKE 'LISTEN %'`
	killLeader    = `SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted`
)

// staleness is how late a change may be usable in the worst case (F16).
const staleness = 5 * time.Second

// usable changes the password and returns how long the domain took to have it.
func (c *changer) usable(t *testing.T) time.Duration {
	t.Helper()
	if err := c.step(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.s.reached(t.Context(), c.ledger.token, c.head.Load()); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	if err := c.s.steady(c.person); err != nil {
		t.Fatal(err)
	}
	if took > staleness {
		t.Errorf("the change was usable after %s", took)
	}
	return took
}

func times() int {
	if testing.Short() {
		return 3
	}
	return 10
}

// The connections that notices come by are cut before and while something is
// noted: what was noted meanwhile is gone for ever, and is found all the same (F16).
func TestNoticesLost(t *testing.T) {
	s := start(t)
	l := newLedger(t, s)
	c := l.newChanger(t, 0)
	var longest time.Duration
	for range times() {
		n, err := s.sql(t.Context(), killListeners)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			t.Log("nobody listens") // the one before has not redialled
		}
		longest = max(longest, c.usable(t))
	}
	t.Logf("usable after at most %s", longest)

	// And with no notices at all.
	ctx, stop := context.WithCancel(t.Context())
	var killer sync.WaitGroup
	cut := int64(0)
	killer.Go(func() {
		for ctx.Err() == nil {
			n, err := s.sql(ctx, killListeners)
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			cut += n
		}
	})
	longest = 0
	for range times() {
		longest = max(longest, c.usable(t))
	}
	stop()
	killer.Wait()
	t.Logf("%d connections cut; without notices usable after at most %s", cut, longest)
	if cut == 0 {
		t.Error("nobody listened")
	}
	l.verify(t, random(t), 1)
}

// The provisioner's connection, and with it its lock, is cut: it leads again.
func TestLeaderCut(t *testing.T) {
	s := start(t)
	l := newLedger(t, s)
	c := l.newChanger(t, 0)
	l.settle(t)
	var longest time.Duration
	cut := int64(0)
	for range times() {
		n, err := s.sql(t.Context(), killLeader)
		if err != nil {
			t.Fatal(err)
		}
		cut += n
		longest = max(longest, c.usable(t))
	}
	t.Logf("%d leaders cut, usable after at most %s", cut, longest)
	if cut < 2 {
		t.Errorf("only %d leaders were cut", cut)
	}
	l.verify(t, random(t), 1)
}

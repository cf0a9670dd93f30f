package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"skyrealm/test/harness"
)

// howOften is the number of kills of each kind (issue 2), and perRound after how
// many of them everything is checked.
func howOften() (kills, perRound int) {
	if testing.Short() {
		return 5, 5
	}
	return 50, 10
}

// jitter picks the moment between two acknowledgements at which to strike: a
// write takes about as long.
const jitter = 25 * time.Millisecond

// stress runs agents and people who change their passwords, strikes again and
// again, and holds the service to the ledger.
func stress(t *testing.T, s *service, strike func(*ledger)) {
	r := random(t)
	l := newLedger(t, s)
	steps := []func(context.Context) error{l.newSyncer(r, 0).step, l.newSyncer(r, 1).step}
	for i := range 4 {
		steps = append(steps, l.newChanger(t, i).step)
	}
	kills, perRound := howOften()
	for done := 0; done < kills && !t.Failed(); {
		stop := l.load(t, steps)
		for range perRound {
			l.await(t, done)
			time.Sleep(time.Duration(r.Int64N(int64(jitter))))
			strike(l)
			done++
		}
		l.await(t, 0)
		l.await(t, 1)
		stop()
		l.verify(t, r, sample(done == kills))
	}
	t.Logf("%d batches and %d password changes acknowledged up to USN %d, %d tries failed; %d changes in doubt, of which %d done (%d although the answer was 503); %d people",
		l.syncs.Load(), l.changes.Load(), l.head.Load(), l.retries.Load(), l.doubts.Load(), l.done.Load(), l.after.Load(), len(l.everyone()))
	if l.retries.Load() < int64(kills) || l.doubts.Load() == 0 {
		t.Errorf("%d kills met only %d requests, %d of them password changes", kills, l.retries.Load(), l.doubts.Load())
	}
}

func sample(last bool) int {
	if last {
		return 200
	}
	return 20
}

// load runs the steps, each on and on, until the returned function is called. It
// returns when the last write is acknowledged.
func (l *ledger) load(t *testing.T, steps []func(context.Context) error) (stop func()) {
	quit := make(chan struct{})
	var all sync.WaitGroup
	for _, step := range steps {
		all.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				if err := step(t.Context()); err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	return func() {
		close(quit)
		all.Wait()
	}
}

// await returns after the next acknowledgement, of a batch or of a password change by turns.
func (l *ledger) await(t *testing.T, turn int) {
	t.Helper()
	n := &l.syncs
	if turn%2 == 1 {
		n = &l.changes
	}
	was := n.Load()
	harness.WaitFor(t, "the next acknowledgement", func() error {
		if n.Load() == was && !t.Failed() {
			return errors.New("none yet")
		}
		return nil
	})
}

// kept checks that the database knows of every USN that was acknowledged before.
func (l *ledger) kept(t *testing.T, acknowledged int64) {
	t.Helper()
	harness.WaitFor(t, "the database", func() error {
		head, err := l.s.sql(t.Context(), feedHead)
		if err == nil && head < acknowledged {
			t.Fatalf("the feed is at %d, acknowledged was %d", head, acknowledged)
		}
		return err
	})
}

// The program is killed in the middle of batches and password changes (F02, F03).
func TestServerKilled(t *testing.T) {
	s := start(t)
	var longest time.Duration
	stress(t, s, func(l *ledger) {
		s.kill()
		acknowledged, began := l.head.Load(), time.Now()
		s.run()
		longest = max(longest, time.Since(began))
		l.kept(t, acknowledged)
	})
	t.Logf("ready again after at most %s", longest)
}

// The database is killed in the middle of batches and password changes (F01, F03).
// The sign-ins of the domain do not notice.
func TestPostgresKilled(t *testing.T) {
	s := start(t)
	var longest time.Duration
	meanwhile := 0
	stress(t, s, func(l *ledger) {
		pid, began := killPostgres(t, s), time.Now()
		acknowledged := l.head.Load()
		if err := s.steady(l.steady); err != nil {
			t.Fatal(err)
		}
		if !answers(s, pid) {
			meanwhile++
		}
		harness.WaitFor(t, "another database server", func() error {
			if !answers(s, pid) {
				return errors.New("not yet")
			}
			return nil
		})
		l.kept(t, acknowledged)
		longest = max(longest, time.Since(began))
	})
	t.Logf("back after at most %s; signed in %d times before that", longest, meanwhile)
	if meanwhile == 0 {
		t.Error("no sign-in fell into an outage")
	}
}

func killPostgres(t *testing.T, s *service) (pid int) {
	t.Helper()
	pid, err := s.PostgresPID()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// answers reports whether another database server than pid takes connections.
func answers(s *service, pid int) bool {
	now, err := s.PostgresPID()
	if err != nil || now == pid {
		return false
	}
	_, err = s.sql(context.Background(), `SELECT 1`)
	return err == nil
}

// steady signs in by Kerberos and LDAP, on new connections.
func (s *service) steady(p *person) error {
	at := s.now.Load()
	if ok, err := at.kerberos(18, p.sam, p.password); !ok {
		return fmt.Errorf("Kerberos without the database: %v", err)
	}
	conn, err := at.ldap()
	if err != nil {
		return err
	}
	defer conn.Close()
	if ok, err := bind(conn, p.upn, p.password); !ok {
		return fmt.Errorf("LDAP without the database: %v", err)
	}
	if ok, err := bind(conn, p.upn, "not the password"); ok || err != nil {
		return fmt.Errorf("LDAP without the database takes any password: %v", err)
	}
	return nil
}

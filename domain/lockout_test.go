package domain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// locks is a world whose clocks the test sets: the wall's and the monotonic one.
type locks struct {
	*world
	wall    time.Time
	elapsed atomic.Int64
	ada     *Object
}

const adaPassword = "Analytical-1843"

func newLocks(t *testing.T) *locks {
	w := &locks{world: newWorld(t), wall: testNow}
	w.elapsed.Store(int64(time.Hour))
	w.rep.Lockout = &Lockout{Replica: w.rep, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.wall },
		Elapsed: func() time.Duration { return time.Duration(w.elapsed.Load()) }}
	w.put(w.user("ada", adaPassword))
	w.ada = w.rep.BySAM("ada")
	return w
}

func (w *locks) pass(d time.Duration) { w.elapsed.Add(int64(d)) }

func (w *locks) bind(password string) error {
	_, err := w.rep.Authenticate(w.t.Context(), testNow, "ada", password)
	return err
}

func (w *locks) want(password string, want error) {
	w.t.Helper()
	if err := w.bind(password); !errors.Is(err, want) || (err == nil) != (want == nil) {
		w.t.Errorf("%q: %v, want %v", password, err, want)
	}
}

func (w *locks) count(want int) {
	w.t.Helper()
	if n, _, _, _ := w.rep.Lockout.BadPasswords(w.rep.BySAM("ada")); n != want {
		w.t.Errorf("badPwdCount is %d, want %d", n, want)
	}
}

// The default policy: the fifth wrong password within two minutes locks for
// thirty minutes (W02).
func TestLockout(t *testing.T) {
	w := newLocks(t)
	for range 5 {
		w.want("wrong", BadCredentials)
		w.pass(2 * time.Minute)
	}
	w.pass(-2 * time.Minute)
	w.want("wrong", AccountLocked)
	w.want(adaPassword, AccountLocked)
	w.pass(30*time.Minute - time.Millisecond)
	w.want(adaPassword, AccountLocked)
	w.pass(time.Millisecond)
	w.want(adaPassword, nil)
	w.count(0)
}

// One wrong password that comes later than the window begins anew, and a right
// one takes back the count.
func TestLockoutWindow(t *testing.T) {
	w := newLocks(t)
	for range 4 {
		w.want("wrong", BadCredentials)
	}
	w.count(4)
	w.pass(2*time.Minute + 1)
	w.want("wrong", BadCredentials)
	w.count(1)
	w.want(adaPassword, nil)
	w.count(0)
	for range 4 {
		w.want("wrong", BadCredentials)
	}
	w.want(adaPassword, nil)
}

// A lockout ends by the clock that nobody sets (F08).
func TestLockoutEndsByTheMonotonicClock(t *testing.T) {
	w := newLocks(t)
	for range 5 {
		w.want("wrong", BadCredentials)
	}
	for _, jump := range []time.Duration{time.Hour, -25 * time.Hour, 10 * 365 * 24 * time.Hour} {
		w.wall = w.wall.Add(jump)
		w.want(adaPassword, AccountLocked)
	}
	w.pass(30 * time.Minute)
	w.want(adaPassword, nil)
}

// A change of the policy unlocks nobody (EDS/password-policy).
func TestPolicyChangeDoesNotUnlock(t *testing.T) {
	w := newLocks(t)
	for range 5 {
		w.want("wrong", BadCredentials)
	}
	head := w.rep.ByGUID(w.rep.Info.GUID)
	w.put(Record{GUID: head.GUID, Kind: Container, Class: "domainDNS", RDN: "aadds", Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"lockoutThreshold": {[]byte("3")}, "lockoutDuration": {[]byte("-600000000")}, "lockOutObservationWindow": {[]byte("-600000000")}}})
	if p := w.rep.Policy(); p.Threshold != 3 || p.Duration != time.Minute || p.Window != time.Minute || p.MaxAge != DefaultPolicy.MaxAge {
		t.Fatalf("the policy is %+v", p)
	}
	w.pass(29 * time.Minute)
	w.want(adaPassword, AccountLocked)
	w.pass(time.Minute)
	for range 3 {
		w.want("wrong", BadCredentials)
	}
	w.want("wrong", AccountLocked)
	w.pass(time.Minute)
	w.want(adaPassword, nil)
}

// A new password ends a lock; an administrator does as well.
func TestUnlock(t *testing.T) {
	w := newLocks(t)
	lock := func() {
		t.Helper()
		for range 5 {
			w.want("wrong", BadCredentials)
		}
		w.want(adaPassword, AccountLocked)
	}
	lock()
	if err := w.rep.Lockout.Unlock(t.Context(), w.rep.BySAM("ada")); err != nil {
		t.Fatal(err)
	}
	w.want(adaPassword, nil)
	lock()
	next := w.user("ada", "Second-2")
	next.GUID, next.RID, next.Secrets.KVNO = w.ada.GUID, w.ada.RID, 2
	w.put(next)
	w.want("Second-2", nil)
	w.count(0)
}

// The last two passwords are no guesses, the one before them is (W04).
func TestLastPasswordsDoNotCount(t *testing.T) {
	w := newLocks(t)
	r := w.user("ada", "one")
	r.GUID, r.RID = w.ada.GUID, w.ada.RID
	s := r.Secrets
	for i, password := range []string{"two", "three", "four"} {
		n := w.user("ada", password).Secrets
		n.History, n.KVNO = s.replaced(), uint32(i+2)
		s = n
	}
	if len(s.History) != 2 {
		t.Fatalf("%d passwords are remembered", len(s.History))
	}
	r.Secrets = s
	w.put(r)
	for range 10 {
		w.want("three", BadCredentials)
		w.want("two", BadCredentials)
	}
	w.count(0)
	w.want("one", BadCredentials)
	w.count(1)
	w.want("four", nil)
	for range 5 {
		w.want("wrong", BadCredentials)
	}
	w.want("three", AccountLocked)
}

// However many guess at once, five are told so, and a right password is taken
// exactly if it came before the lock (W01).
func TestParallelGuesses(t *testing.T) {
	const guesses = 200
	for run := range 50 {
		w := newLocks(t)
		var wrong, locked, right atomic.Int32
		var all sync.WaitGroup
		for i := range guesses {
			all.Go(func() {
				password := "wrong"
				if i == run*4 {
					password = adaPassword
				}
				_, err := w.rep.Authenticate(context.Background(), testNow, "ada", password)
				switch {
				case err == nil:
					right.Add(1)
				case errors.Is(err, AccountLocked):
					locked.Add(1)
				case errors.Is(err, BadCredentials):
					wrong.Add(1)
				}
			})
		}
		all.Wait()
		// The right one takes back what came before it.
		most := int32(5)
		if right.Load() == 1 {
			most = 9
		}
		if n := wrong.Load(); n < 5 || n > most || n+locked.Load()+right.Load() != guesses {
			t.Fatalf("%d wrong, %d locked, %d right", n, locked.Load(), right.Load())
		}
	}
}

// A password lasts ninety days, those that a directory elsewhere keeps excepted.
func TestPasswordAge(t *testing.T) {
	w := newLocks(t)
	late := testNow.Add(90 * 24 * time.Hour)
	if _, err := w.rep.Authenticate(t.Context(), late.Add(-time.Second), "ada", adaPassword); err != nil {
		t.Error(err)
	}
	if _, err := w.rep.Authenticate(t.Context(), late, "ada", adaPassword); !errors.Is(err, PasswordOld) {
		t.Error(err)
	}
	if _, err := w.rep.Authenticate(t.Context(), late, "ada", "wrong"); !errors.Is(err, BadCredentials) {
		t.Error(err)
	}
	synced := w.user("bob", adaPassword)
	synced.UAC |= UACDontExpirePassword
	w.put(synced)
	if _, err := w.rep.Authenticate(t.Context(), late, "bob", adaPassword); err != nil {
		t.Error(err)
	}
}

package domain_test

import (
	"crypto/rand"
	"testing"
	"time"

	"skyrealm/domain"
)

// The krbtgt's key rolls once it is seven days old, once, and keeps the one
// before.
func TestKrbtgtAges(t *testing.T) {
	h := newHouse(t)
	look := func() domain.AccountSecrets {
		t.Helper()
		if err := h.prov.Age(h.ctx); err != nil {
			t.Fatal(err)
		}
		rec, err := h.store.Record(h.ctx, h.rep.ByRID(domain.RIDKrbtgt).GUID)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.rep.Wait(h.ctx, rec.USN); err != nil { // the follower runs
			t.Fatal(err)
		}
		return h.rep.ByRID(domain.RIDKrbtgt).Secrets
	}
	first := look()
	h.now = h.now.Add(7*24*time.Hour - time.Second)
	if s := look(); s.KVNO != first.KVNO {
		t.Errorf("rolled a second too early: kvno %d", s.KVNO)
	}
	h.now = h.now.Add(time.Second)
	s := look()
	if s.KVNO != first.KVNO+1 || !s.Previous.Equal(first.Current) || s.Current.SamePassword(first.Current) {
		t.Fatalf("kvno %d after %d", s.KVNO, first.KVNO)
	}
	for _, k := range s.Current.Keys {
		if k.KVNO != s.KVNO {
			t.Errorf("a key of version %d", k.KVNO)
		}
	}
	if !s.Set.After(h.now) || s.Set.Sub(h.now) > time.Minute {
		t.Errorf("used from %v on, at %v", s.Set, h.now)
	}
	if again := look(); again.KVNO != s.KVNO {
		t.Error("rolled twice")
	}

	// On command; and a clock that was years ahead does not end the rolling.
	kvno, _, err := domain.RollKrbtgt(h.ctx, h.store, &h.rep.Info, h.now.Add(10*365*24*time.Hour), rand.Reader)
	if err != nil || kvno != s.KVNO+1 {
		t.Fatal(kvno, err)
	}
	if s = look(); s.KVNO != kvno+1 || s.Set.Sub(h.now) > time.Minute {
		t.Errorf("kvno %d, used from %v on", s.KVNO, s.Set)
	}
}

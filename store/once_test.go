package store

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/domain"
)

func hashOf(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// What a hash was stored with is not done again, by any process, until it expires.
func TestOnce(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	a := account(t, "a")
	a.USN = h.apply(t, a)
	apply := func(d *Domain, hashes ...byte) error {
		o := &domain.Once{For: time.Hour}
		for _, b := range hashes {
			o.Hashes = append(o.Hashes, hashOf(b))
		}
		usn, err := d.Apply(ctx, []domain.Write{{Record: a, Once: o}})
		if err == nil {
			a.USN = usn
		}
		return err
	}
	db, err := Open(ctx, h.url, Options{})
	check(t, err)
	defer db.Close()
	other := db.Domain(h.rings[1])
	check(t, apply(h.domain, 1, 2))
	for _, d := range []*Domain{h.domain, other} {
		for _, hashes := range [][]byte{{1, 2}, {3, 2}, {1, 3}} {
			wantErr(t, apply(d, hashes...), domain.ErrRepeated)
		}
		if r := h.record(t, a.GUID); r.USN != a.USN {
			t.Fatal("refused, and written")
		}
	}
	check(t, apply(other, 3)) // nothing of what was refused stays

	// What was not written was not done.
	stale := a
	stale.USN--
	_, err = h.domain.Apply(ctx, []domain.Write{{Record: stale, Once: &domain.Once{Hashes: [][]byte{hashOf(4)}, For: time.Hour}}})
	wantErr(t, err, domain.ErrConflict)
	check(t, apply(h.domain, 4))

	var left time.Duration
	check(t, h.admin.QueryRow(ctx, `SELECT until - now() FROM domain.once WHERE hash = $1`, hashOf(4)).Scan(&left))
	if left > time.Hour || left < 50*time.Minute {
		t.Errorf("it is kept for %v", left)
	}
	mustExec(t, h.admin, `UPDATE domain.once SET until = now() WHERE hash <> $1`, hashOf(4))
	check(t, apply(h.domain, 5))
	var rows int
	check(t, h.admin.QueryRow(ctx, `SELECT count(*) FROM domain.once`).Scan(&rows))
	if rows != 2 {
		t.Errorf("%d rows, expect the two that have not expired", rows)
	}
	check(t, apply(h.domain, 1, 2))
	wantErr(t, apply(h.domain, 4), domain.ErrRepeated)
}

// One request that comes to many at the same time is carried out by one.
func TestOnceTogether(t *testing.T) {
	h := newHouse(t)
	var done atomic.Int32
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			r := account(t, string(rune('a'+i)))
			_, err := h.domain.Apply(t.Context(), []domain.Write{{Record: r, Once: &domain.Once{Hashes: [][]byte{hashOf(1)}, For: time.Hour}}})
			if err == nil {
				done.Add(1)
			} else if !errors.Is(err, domain.ErrRepeated) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := done.Load(); n != 1 {
		t.Errorf("carried out %d times", n)
	}
}

package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"skyrealm/tenant"
)

// Sixteen writers, and a follower that reads in small pages meanwhile: it sees no USN
// twice or below one that it has seen, and misses none of what was acknowledged.
func TestFeed(t *testing.T) {
	h := newHouse(t)
	const writers, rounds = 16, 40
	type acked struct {
		usn      tenant.USN
		revision int64
		version  int64
	}
	var mu sync.Mutex
	wrote := make(map[tenant.ID]acked)
	note := func(id tenant.ID, a acked) {
		mu.Lock()
		defer mu.Unlock()
		was := wrote[id]
		wrote[id] = acked{max(was.usn, a.usn), max(was.revision, a.revision), max(was.version, a.version)}
	}
	var all sync.WaitGroup
	var finished atomic.Bool
	for w := range writers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(w)))
			var mine []tenant.Object
			for i := range rounds {
				ctx := t.Context()
				switch r.IntN(4) {
				case 0, 1: // new ones, some of which name what comes later
					batch := writes(user(t, fmt.Sprintf("u%d-%d", w, i)), user(t, fmt.Sprintf("v%d-%d", w, i)))
					g := tenant.ObjectWrite{Object: group(t, fmt.Sprintf("g%d-%d", w, i)), Members: &[]tenant.Member{
						{Anchor: fmt.Sprintf("u%d-%d", r.IntN(writers), r.IntN(rounds))}, {ID: batch[0].Object.ID}}}
					usn, err := h.tenant.PutObjects(ctx, append(batch, g), nil)
					if err != nil {
						t.Error(err)
						return
					}
					for _, b := range append(batch, g) {
						b.Object.Revision = 1
						note(b.Object.ID, acked{usn, 1, 0})
						if b.Object.Kind == tenant.User {
							mine = append(mine, b.Object)
						}
					}
				case 2: // a change, every other time together with one that is refused
					if len(mine) == 0 {
						continue
					}
					o := &mine[r.IntN(len(mine))]
					batch := writes(*o)
					if i%2 == 0 {
						stale := user(t, "nobody")
						stale.Revision = 3
						batch = append(batch, tenant.ObjectWrite{Object: stale})
					}
					usn, err := h.tenant.PutObjects(ctx, batch, nil)
					if i%2 == 0 {
						if !errors.Is(err, tenant.ErrConflict) {
							t.Error(err)
						}
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					o.Revision++
					note(o.ID, acked{usn, o.Revision, 0})
				case 3: // passwords, some of which give up on the way
					if len(mine) == 0 {
						continue
					}
					ctx, cancel := context.WithCancel(ctx)
					if i%3 == 0 {
						go cancel()
					}
					var sets []tenant.Credential
					for _, o := range mine {
						sets = append(sets, set(t, o, int64(i+1)))
					}
					_, usn, err := h.tenant.PutCredentials(ctx, sets, 0, nil)
					cancel()
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Error(err)
						return
					}
					if err == nil {
						for _, o := range mine {
							note(o.ID, acked{usn, 0, int64(i + 1)})
						}
					}
				}
			}
		})
	}
	go func() {
		all.Wait()
		finished.Store(true)
	}()

	type seen struct {
		usn               tenant.USN
		revision, version int64
	}
	saw := make(map[tenant.ID]seen)
	after := tenant.USN(0)
	for {
		last := finished.Load()
		page, err := h.domain.TenantChanges(t.Context(), after, 7)
		check(t, err)
		for _, c := range page {
			if c.USN <= after {
				t.Fatalf("USN %d after %d", c.USN, after)
			}
			after = c.USN
			s := seen{c.USN, c.Object.Revision, 0}
			if c.Credential != nil {
				s.version = c.Credential.Version
			}
			if was := saw[c.Object.ID]; s.revision < was.revision || s.version < was.version {
				t.Fatalf("an object goes back: %+v after %+v", s, was)
			}
			saw[c.Object.ID] = s
		}
		if last && len(page) == 0 {
			break
		}
	}
	if len(wrote) < writers {
		t.Fatalf("only %d objects were written", len(wrote))
	}
	highest := tenant.USN(0)
	for id, a := range wrote {
		s := saw[id]
		if s.revision < a.revision || s.version < a.version || s.usn > after {
			t.Errorf("missed: %+v was acknowledged, %+v seen", a, s)
		}
		highest = max(highest, a.usn)
	}
	var head int64
	check(t, h.admin.QueryRow(t.Context(), `SELECT usn FROM tenant.feed`).Scan(&head))
	if after != tenant.USN(head) || highest > after {
		t.Errorf("the follower is at %d, the feed at %d, the highest acknowledged %d", after, head, highest)
	}
	// Read again from the start, in pages of any size, it is the same.
	for _, size := range []int{1, 3, 1000} {
		again := h.changes(t, 0, size)
		if len(again) != len(saw) {
			t.Errorf("pages of %d: %d objects, saw %d", size, len(again), len(saw))
		}
		for _, c := range again {
			if saw[c.Object.ID].usn != c.USN {
				t.Errorf("pages of %d: an object stands at %d, was seen at %d", size, c.USN, saw[c.Object.ID].usn)
			}
		}
	}
}

// What a change says: the object as it is, the credential without digest.
func TestChange(t *testing.T) {
	h := newHouse(t)
	u := h.put(t, user(t, "u"))[0]
	c := set(t, u, 3)
	c.MustChange = true
	_, usn, err := h.tenant.PutCredentials(t.Context(), []tenant.Credential{c}, 0, nil)
	check(t, err)
	got := h.changes(t, 0, 10)
	if len(got) != 1 || got[0].USN != usn || got[0].Object.ID != u.ID || got[0].Members != nil {
		t.Fatalf("changes are %+v", got)
	}
	cc := got[0].Credential
	if !cc.Digest.IsZero() || cc.Legacy != c.Legacy || cc.Version != 3 || !cc.MustChange || cc.Source != c.Source || cc.Object != u.ID {
		t.Fatalf("credential is %+v", cc)
	}
	if got := h.changes(t, usn, 10); len(got) != 0 {
		t.Fatalf("after the head: %+v", got)
	}
	u.Deleted = moment
	h.put(t, u)
	got = h.changes(t, usn, 10)
	if len(got) != 1 || !got[0].Object.Deleted.Equal(moment) {
		t.Fatalf("a deletion is not on the feed: %+v", got)
	}
}

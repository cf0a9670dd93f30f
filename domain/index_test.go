package domain

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"skyrealm/domain/dit"
)

type named struct {
	name string
	n    int
}

func namedIndex(hash func(maphash.Seed, string) uint64) *index[string, named] {
	return newIndex(hash, func(v *named) string { return v.name }, func(v *named, name string) bool { return v.name == name })
}

// TestIndexIsAMap does the same to an index and to a map, with a good hash and
// with ones that put all in few places.
func TestIndexIsAMap(t *testing.T) {
	for what, hash := range map[string]func(maphash.Seed, string) uint64{
		"good":     maphash.String,
		"one part": func(_ maphash.Seed, s string) uint64 { return maphash.String(hashSeed, s) >> partBits },
		"the last": func(maphash.Seed, string) uint64 { return 1<<64 - 1 },
		"two":      func(_ maphash.Seed, s string) uint64 { return uint64(len(s)) << 63 },
	} {
		x, m := namedIndex(hash), map[string]*named{}
		r := rand.New(rand.NewPCG(1, 2))
		for i := range 20_000 {
			v := &named{fmt.Sprint("n", r.IntN(300)), i}
			switch was := m[v.name]; {
			case r.IntN(3) > 0:
				x.put(v)
				m[v.name] = v
			case r.IntN(4) == 0:
				x.drop(v) // not the one that has the name
			case was != nil:
				x.drop(was)
				delete(m, v.name)
			}
			if name := fmt.Sprint("n", r.IntN(300)); x.get(name) != m[name] {
				t.Fatalf("%s: after %d changes %s is %v, want %v", what, i+1, name, x.get(name), m[name])
			}
		}
		live := 0
		for i := range x.parts {
			p := &x.parts[i]
			live += p.live
			if p.used < p.live || p.len() > 0 && p.used >= p.len() {
				t.Errorf("%s: %d live, %d used of %d", what, p.live, p.used, p.len())
			}
			if p.len() > 8*len(m) {
				t.Errorf("%s: %d slots for %d names", what, p.len(), len(m))
			}
		}
		if live != len(m) {
			t.Errorf("%s: %d live, want %d", what, live, len(m))
		}
	}
	if x := namedIndex(maphash.String); x.get("") != nil || x.get("n") != nil {
		t.Error("an empty index finds something")
	}
}

var hashSeed = maphash.MakeSeed()

// TestIndexUnknownZero: the mark of what is gone has the zero name, and is nobody.
func TestIndexUnknownZero(t *testing.T) {
	x := namedIndex(func(maphash.Seed, string) uint64 { return 0 })
	v := &named{name: "a"}
	x.put(v)
	x.drop(v)
	if got := x.get(""); got != nil {
		t.Error("found what is gone")
	}
}

// TestIndexSeeds: what hashes alike in one index does not in another.
func TestIndexSeeds(t *testing.T) {
	if a, b := namedIndex(maphash.String), namedIndex(maphash.String); a.hash(a.seed, "x") == b.hash(b.seed, "x") {
		t.Error("two indexes have one hash")
	}
}

// TestLookUpsDuringChanges: while the writer makes, changes, renames and removes
// objects without end, those that stay are found at every moment by all of their
// names, and what is found has the name that it was looked for by.
func TestLookUpsDuringChanges(t *testing.T) {
	w := newWorld(t)
	const stay, come = 64, 700 // enough that the parts grow, and shrink
	var staying, coming []Record
	for i := range stay {
		staying = append(staying, w.user(fmt.Sprint("Stays", i), ""))
	}
	for i := range come {
		coming = append(coming, w.user(fmt.Sprint("comes", i), ""))
	}
	w.put(staying...)
	base := w.rep.Info.BaseDN()
	var stop atomic.Bool
	var looked atomic.Int64
	var readers sync.WaitGroup
	for n := range 4 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(n)))
			for !stop.Load() {
				s := &staying[r.IntN(stay)]
				dn := mustDN("CN=" + s.RDN + ",OU=AADDC Users," + base.String())
				for by, o := range map[string]*Object{"GUID": w.rep.ByGUID(s.GUID), "key": w.rep.byKey.get(s.Source), "RID": w.rep.ByRID(s.RID),
					"SAM": w.rep.BySAM(s.SAM), "UPN": w.rep.ByUPN(s.UPN), "DN": w.rep.ByDN(dn)} {
					if o == nil || o.GUID != s.GUID {
						t.Errorf("%s is not found by %s: %v", s.SAM, by, o)
						return
					}
				}
				f := dit.And(dit.Present("objectClass"), dit.Equal("mail", []byte(s.SAM+"@mail.test")))
				found := 0
				if err := w.rep.Search(base, dit.Sub, f, "", func(*Object) bool { found++; return true }); err != nil || found != 1 {
					t.Errorf("%s is found %d times by mail: %v", s.SAM, found, err)
					return
				}
				c := &coming[r.IntN(come)]
				if o := w.rep.ByGUID(c.GUID); o != nil && (o.GUID != c.GUID || o.RID != c.RID) {
					t.Errorf("%s is found under another's GUID", o.SAM)
					return
				}
				if o := w.rep.BySAM(c.SAM); o != nil && o.GUID != c.GUID {
					t.Errorf("%s is found as %s", o.SAM, c.SAM)
					return
				}
				looked.Add(1)
				runtime.Gosched()
			}
		})
	}
	for round := 0; round < 6 || looked.Load() < 2000 && !t.Failed(); round++ {
		for i := range staying { // a change, and every other time another title
			staying[i].Attrs["title"] = [][]byte{fmt.Append(nil, round)}
		}
		w.put(append([]Record(nil), staying...)...)
		for i := range coming {
			coming[i].Deleted = round%2 == 1
		}
		w.put(append([]Record(nil), coming...)...)
	}
	stop.Store(true)
	readers.Wait()
	if n := w.rep.Len(); n < stay {
		t.Errorf("%d objects are left", n)
	}
}

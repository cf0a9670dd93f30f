package domain

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync/atomic"
)

// index finds values by a name of theirs. Any number of goroutines read it without
// a lock while one changes it. Of a million values it takes 12 bytes each, as it
// holds pointers alone: the name is asked of the value. Strangers choose names, so
// nobody else knows the seed of the hash.
//
// It is a hash table with open addressing, in parts that grow one by one, so that no
// change takes long.
type index[K, V any] struct {
	hash  func(maphash.Seed, K) uint64
	name  func(*V) K       // of a value in it
	named func(*V, K) bool // whether that is its name

	seed  maphash.Seed
	gone  *V // marks a slot that was left: those looked for may stand behind it
	parts [1 << partBits]part[V]
}

const partBits = 6

type part[V any] struct {
	slots atomic.Pointer[[]atomic.Pointer[V]] // at least one of them is nil
	used  int                                 // slots that are not nil, of which
	live  int                                 // are not gone either; the writer's
}

func newIndex[K, V any](hash func(maphash.Seed, K) uint64, name func(*V) K, named func(*V, K) bool) *index[K, V] {
	return &index[K, V]{hash: hash, name: name, named: named, seed: maphash.MakeSeed(), gone: new(V)}
}

func (x *index[K, V]) part(hash uint64) *part[V] { return &x.parts[hash>>(64-partBits)] }

// begin is the slot of n at which the search for a hash begins.
func begin(hash uint64, n int) int {
	i, _ := bits.Mul64(hash<<partBits, uint64(n))
	return int(i)
}

// get returns the value of that name, or nil.
func (x *index[K, V]) get(k K) *V {
	hash := x.hash(x.seed, k)
	slots := x.part(hash).slots.Load()
	if slots == nil {
		return nil
	}
	for s, i := *slots, begin(hash, len(*slots)); ; i++ {
		if i == len(s) {
			i = 0
		}
		if v := s[i].Load(); v == nil || v != x.gone && x.named(v, k) {
			return v
		}
	}
}

// near returns some value, the same one for a hash while none comes or goes there, or
// nil where there are few.
func (x *index[K, V]) near(hash uint64) *V {
	slots := x.part(hash).slots.Load()
	if slots == nil {
		return nil
	}
	s := *slots
	for i, n := begin(hash, len(s)), 0; n < len(s); i, n = (i+1)%len(s), n+1 {
		if v := s[i].Load(); v != nil && v != x.gone {
			return v
		}
	}
	return nil
}

// put brings v in under its name, in place of what had that. A reader finds the one
// or the other.
func (x *index[K, V]) put(v *V) {
	k := x.name(v)
	hash := x.hash(x.seed, k)
	p := x.part(hash)
	slot, free := x.find(p, hash, func(old *V) bool { return x.named(old, k) })
	if slot != nil {
		slot.Store(v)
		return
	}
	if free == nil || free.Load() == nil {
		if 5*(p.used+1) > 4*p.len() {
			x.grow(p)
			_, free = x.find(p, hash, func(*V) bool { return false })
		}
		p.used++
	}
	free.Store(v)
	p.live++
}

// drop takes v out, if it is v that has its name.
func (x *index[K, V]) drop(v *V) {
	hash := x.hash(x.seed, x.name(v))
	p := x.part(hash)
	if slot, _ := x.find(p, hash, func(old *V) bool { return old == v }); slot != nil {
		slot.Store(x.gone)
		p.live--
	}
}

func (p *part[V]) len() int {
	if s := p.slots.Load(); s != nil {
		return len(*s)
	}
	return 0
}

// find returns the slot with the value that is wanted, or where there is none the
// first one that can take it.
func (x *index[K, V]) find(p *part[V], hash uint64, wanted func(*V) bool) (slot, free *atomic.Pointer[V]) {
	n := p.len()
	if n == 0 {
		return nil, nil
	}
	s := *p.slots.Load()
	for i := begin(hash, n); ; i = (i + 1) % n {
		switch v := s[i].Load(); {
		case v == nil:
			if free == nil {
				free = &s[i]
			}
			return nil, free
		case v == x.gone:
			if free == nil {
				free = &s[i]
			}
		case wanted(v):
			return &s[i], nil
		}
	}
}

// grow makes room for two fifths more, and forgets what is gone.
func (x *index[K, V]) grow(p *part[V]) {
	s := slices.Grow([]atomic.Pointer[V](nil), max(8, 7*p.live/4))
	s = s[:cap(s)]
	if old := p.slots.Load(); old != nil {
		for i := range *old {
			v := (*old)[i].Load()
			if v == nil || v == x.gone {
				continue
			}
			at := begin(x.hash(x.seed, x.name(v)), len(s))
			for s[at].Load() != nil {
				at = (at + 1) % len(s)
			}
			s[at].Store(v)
		}
	}
	p.slots.Store(&s)
	p.used = p.live
}

// Hashes of the kinds of names.

func hashID(seed maphash.Seed, id ID) uint64 { return maphash.Bytes(seed, id[:]) }

func hashRID(seed maphash.Seed, rid uint32) uint64 {
	return maphash.Bytes(seed, []byte{byte(rid), byte(rid >> 8), byte(rid >> 16), byte(rid >> 24)})
}

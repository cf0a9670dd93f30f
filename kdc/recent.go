package kdc

import (
	"hash/maphash"
	"sync"
	"time"
)

// recent remembers values for a while, in two generations: a new one begins when one is
// full or has lasted for the window, and then the one before the last is forgotten. So it is
// bounded by two generations of recentShards times the number of entries, and
// what is remembered lasts for at least one window, unless so much comes that it can't.
type recent[V any] struct{ shards [recentShards]recentShard[V] }

const recentShards = 32

type recentShard[V any] struct {
	mu       sync.Mutex
	now, old map[fingerprint]V
	since    time.Time
}

// fingerprint is a keyed hash. Nobody can work towards a collision without the seed.
type fingerprint uint64

var seed = maphash.MakeSeed()

func fingerprintOf(b []byte) fingerprint { return fingerprint(maphash.Bytes(seed, b)) }

// remember returns what stands under key, which is v unless there was something already.
func (c *recent[V]) remember(key fingerprint, v V, now time.Time, window time.Duration, entries int) (first V, known bool) {
	s := &c.shards[key%recentShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil || len(s.now) >= entries || now.Sub(s.since) > window {
		s.old, s.now, s.since = s.now, make(map[fingerprint]V, len(s.now)), now
	}
	if first, known := s.find(key); known {
		return first, true
	}
	s.now[key] = v
	return v, false
}

// recall returns what stands under key.
func (c *recent[V]) recall(key fingerprint) (V, bool) {
	s := &c.shards[key%recentShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(key)
}

func (s *recentShard[V]) find(key fingerprint) (V, bool) {
	if v, ok := s.now[key]; ok {
		return v, true
	}
	v, ok := s.old[key]
	return v, ok
}

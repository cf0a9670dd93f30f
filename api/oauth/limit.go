package oauth

import (
	"hash/maphash"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Sign-in attempts that one source may make for one name: a burst, then a
// steady rate. Smart lockout is what stops guessing; this bounds the work.
const (
	attemptBurst = 60
	attemptRate  = rate.Limit(10)
	limitSlots   = 1 << 14
)

// Limiter bounds sign-in attempts per source and name in a fixed amount of
// memory. Two pairs in one slot share it: under a seed that nobody knows, an
// attacker can't choose whom to share with.
type Limiter struct {
	seed  maphash.Seed
	mu    sync.Mutex
	slots []*rate.Limiter
}

// NewLimiter returns an empty one.
func NewLimiter() *Limiter {
	return &Limiter{seed: maphash.MakeSeed(), slots: make([]*rate.Limiter, limitSlots)}
}

// wait takes one attempt, or returns how long to wait for the next.
func (l *Limiter) wait(source, name string, now time.Time) time.Duration {
	var h maphash.Hash
	h.SetSeed(l.seed)
	h.WriteString(source)
	h.WriteByte(0)
	h.WriteString(name)
	slot := h.Sum64() % limitSlots

	l.mu.Lock()
	if l.slots[slot] == nil {
		l.slots[slot] = rate.NewLimiter(attemptRate, attemptBurst)
	}
	one := l.slots[slot]
	l.mu.Unlock()

	if one.AllowN(now, 1) {
		return 0
	}
	return max(time.Second, time.Duration(float64(time.Second)/float64(attemptRate)))
}

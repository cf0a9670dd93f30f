package kdc

import "skyrealm/domain"

// keysOf returns an account's keys as they are used now; nil where it has none.
//
// A new key of the krbtgt is known to all replicas for a moment before any makes
// tickets with it. The key before opens what was issued under it, which lives
// no longer than a ticket may; a ticket that is renewed comes under the new one
// (T13).
func (x *exchange) keysOf(o *domain.Object) *serviceKeys {
	s := x.k.keys.of(o)
	if s == nil || s.previous == nil {
		return s
	}
	p, age := &x.k.Policy, x.now.Sub(o.Secrets.Set)
	switch {
	case age < 0 && o.RID == domain.RIDKrbtgt:
		return s.early
	case age > p.maxLife()+2*p.skew(): // once for clients, once between replicas
		return s.late
	}
	return s
}

// age prepares what keysOf chooses from.
func (s *serviceKeys) age() {
	if s.previous == nil {
		return
	}
	early, late := *s, *s
	early.current, early.previous = s.previous, s.current
	late.previous = nil
	s.early, s.late = &early, &late
}

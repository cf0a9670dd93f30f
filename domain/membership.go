package domain

import (
	"slices"

	"skyrealm/sid"
)

// Membership is the closure of the groups that an object is in, directly or by
// nesting, its primary group among them.
type Membership struct {
	Groups []*Object // in the order of RID
	RIDs   []uint32  // of the global and universal security groups among them, ascending: what a PAC carries
	Local  []uint32  // of the domain-local ones, which tickets for services of the domain carry as well
	// History are the SIDs of other domains that the object and its security groups
	// have had there.
	History []sid.SID
	// Protected: Protected Users is among them.
	Protected bool

	epoch int64
}

// Membership works out, or remembers, the groups of an object. The result is
// shared and must not be changed.
func (r *Replica) Membership(o *Object) *Membership {
	epoch := r.epoch.Load()
	if m := o.closure.Load(); m != nil && m.epoch == epoch {
		return m
	}
	m := r.close(o)
	m.epoch = epoch
	o.closure.Store(m)
	return m
}

func (r *Replica) close(o *Object) *Membership {
	m := &Membership{Groups: make([]*Object, 0, 8)}
	var seen map[*Object]bool // where there are too many to look at each
	add := func(g *Object) {
		const few = 64
		switch {
		case g == nil || g == o:
			return
		case len(m.Groups) < few:
			if slices.Contains(m.Groups, g) {
				return
			}
		case seen == nil:
			seen = make(map[*Object]bool, 2*few)
			for _, g := range m.Groups {
				seen[g] = true
			}
			fallthrough
		default:
			if seen[g] {
				return
			}
			seen[g] = true
		}
		m.Groups = append(m.Groups, g)
	}
	if o.PrimaryGroup != 0 {
		add(r.ByRID(o.PrimaryGroup))
	}
	for i, x := -1, o; ; {
		for _, rid := range r.groups(x.Key) {
			add(r.ByRID(rid))
		}
		if i++; i == len(m.Groups) {
			break
		}
		x = m.Groups[i]
	}
	slices.SortFunc(m.Groups, func(a, b *Object) int { return int(int64(a.RID) - int64(b.RID)) })
	m.History = o.History
	m.RIDs = make([]uint32, 0, len(m.Groups))
	for _, g := range m.Groups {
		switch {
		case !g.Security:
			continue
		case g.Scope == ScopeLocal:
			m.Local = append(m.Local, g.RID)
		default:
			m.RIDs = append(m.RIDs, g.RID)
			m.Protected = m.Protected || g.RID == RIDProtectedUsers
		}
		m.History = append(m.History[:len(m.History):len(m.History)], g.History...)
	}
	return m
}

// direct returns the groups that name the object as a member.
func (r *Replica) direct(o *Object) []*Object {
	rids := r.groups(o.Key)
	out := make([]*Object, 0, len(rids))
	for _, rid := range rids {
		if g := r.ByRID(rid); g != nil {
			out = append(out, g)
		}
	}
	return out
}

// Administers reports whether the account is a member of AAD DC Administrators,
// which is what may write to the domain.
func (r *Replica) Administers(o *Object) bool {
	if o == nil || o.Disabled() || r.Info.Administrators.IsZero() {
		return false
	}
	// By the id: agents and administrators of the tenant can give any group the name.
	return slices.ContainsFunc(r.Membership(o).Groups, func(g *Object) bool { return g.Kind == Group && g.Key == r.Info.Administrators })
}

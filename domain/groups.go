package domain

import (
	"strconv"

	"skyrealm/sid"
)

// The groupType of the groups that can be made, beside the global ones
// ([MS-ADTS] §2.2.12).
const (
	GroupUniversalSecurity     = "-2147483640"
	GroupUniversalDistribution = "8"
	GroupLocalSecurity         = "-2147483644"
	GroupLocalDistribution     = "4"
)

func scopeOf(groupType string) Scope {
	n, err := strconv.ParseInt(groupType, 10, 64)
	switch {
	case err == nil && n&4 != 0:
		return ScopeLocal
	case err == nil && n&8 != 0:
		return ScopeUniversal
	}
	return ScopeGlobal
}

// checkGroupType allows the six kinds of groups, and of an existing group the
// change between access and mail.
//
// DIVERGES: AD also lets a group change its scope as far as its members and the
// groups that it is in allow; here a group is made anew.
func (w *writer) checkGroupType(value string) error {
	switch value {
	case GroupGlobalSecurity, GroupGlobalDistribution, GroupUniversalSecurity, GroupUniversalDistribution, GroupLocalSecurity, GroupLocalDistribution:
	default:
		return &ConstraintError{"groupType", "it is no kind of group that can be made"}
	}
	was := GroupGlobalSecurity
	if v := w.rec.Attrs["groupType"]; len(v) == 1 {
		was = string(v[0])
	}
	if w.rec.USN != 0 && scopeOf(was) != scopeOf(value) {
		return &ConstraintError{"groupType", "the scope of a group stays"}
	}
	return nil
}

// checkNesting refuses members that a group of its scope can't have ([MS-ADTS]
// §3.1.1.5.2.2): else a domain-local group would be carried out of the domain by
// a wider one.
func (w *writer) checkNesting() error {
	if w.rec.Kind != Group {
		return nil
	}
	scope := ScopeGlobal
	if v := w.rec.Attrs["groupType"]; len(v) == 1 {
		scope = scopeOf(string(v[0]))
	}
	if scope == ScopeLocal {
		return nil
	}
	for _, k := range w.rec.Members {
		o := w.d.Replica.byKey.get(k)
		if o != nil && o.Kind == Group && o.Scope != ScopeGlobal && (o.Scope == ScopeLocal || scope == ScopeGlobal) {
			return &ConstraintError{"member", "a group of this scope can't have a group of that scope as a member"}
		}
	}
	return nil
}

// historyOf reads the SIDs that an object had in its domain on premises. They
// come from outside, and are believed for that domain alone: none of ours, and
// none that every machine knows (S-1-5-32-544), becomes anybody's by them.
func historyOf(info *Info, values [][]byte) []sid.SID {
	var out []sid.SID
	for _, v := range values {
		s, err := sid.FromBytes(v)
		if err != nil {
			continue
		}
		d, _, ok := s.Split()
		if !ok || d == info.SID || !isDomain(d) {
			continue
		}
		out = append(out, s)
	}
	return out
}

// isDomain reports whether s has the form S-1-5-21-a-b-c ([MS-DTYP] §2.4.2.4).
func isDomain(s sid.SID) bool { return s.Authority() == 5 && s.Len() == 4 && s.Sub(0) == 21 }

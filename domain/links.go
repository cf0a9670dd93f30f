package domain

import (
	"slices"
	"strconv"

	"skyrealm/domain/dit"
)

var (
	aMember        = dit.Attr("member")
	aMemberOf      = dit.Attr("memberOf")
	aTokenGroups   = dit.Attr("tokenGroups")
	aTokenGlobal   = dit.Attr("tokenGroupsGlobalAndUniversal")
	aGroupToken    = dit.Attr("primaryGroupToken")
	aKVNO          = dit.Attr("msDS-KeyVersionNumber")
	aBadCount      = dit.Attr("badPwdCount")
	aBadTime       = dit.Attr("badPasswordTime")
	aLockoutTime   = dit.Attr("lockoutTime")
	aUACComputed   = dit.Attr("msDS-User-Account-Control-Computed")
	aPrincipalName = dit.Attr("msDS-PrincipalName")
	aCreateStamp   = dit.Attr("createTimeStamp")
	aModifyStamp   = dit.Attr("modifyTimeStamp")
	aStructural    = dit.Attr("structuralObjectClass")
)

// Bits of msDS-User-Account-Control-Computed: the account is locked out; the
// password has to be changed ([MS-ADTS] §3.1.1.4.5.17).
const (
	uacLockout = 0x10
	uacExpired = 0x800000
)

// Links gives an entry's values that hang on other objects or are worked out
// when they are read. Replica is the dit.Links of its entries.
func (r *Replica) Links(e *dit.Entry, t *dit.AttrType) []string {
	if !t.Computed {
		return nil
	}
	o := r.object(e)
	if o == nil {
		return nil
	}
	text := func(s string) []string { return []string{s} }
	switch t {
	case aMemberOf:
		return names(r.direct(o))
	case aMember:
		return r.memberNames(o)
	case aTokenGroups, aTokenGlobal:
		m := r.Membership(o)
		rids := m.RIDs
		if t == aTokenGroups {
			rids = append(rids[:len(rids):len(rids)], m.Local...)
		}
		out := make([]string, 0, len(rids))
		for _, rid := range rids {
			out = append(out, string(r.Info.SID.Append(rid)))
		}
		return out
	case aGroupToken:
		if o.Kind == Group {
			return text(strconv.Itoa(int(o.RID)))
		}
	case aKVNO:
		if o.SignsIn() {
			return text(strconv.Itoa(int(o.Secrets.KVNO)))
		}
	case aUACComputed:
		if o.SignsIn() {
			v := 0
			if o.MustChange() || r.Lockout != nil && o.PasswordExpired(r.Policy(), r.Lockout.Now()) {
				v = uacExpired
			}
			if r.Lockout.IsLocked(o) {
				v |= uacLockout
			}
			return text(strconv.Itoa(v))
		}
	case aBadCount, aBadTime, aLockoutTime:
		if !o.SignsIn() || r.Lockout == nil {
			return nil
		}
		count, last, locked, _ := r.Lockout.BadPasswords(o)
		switch t {
		case aBadCount:
			return text(strconv.Itoa(count))
		case aBadTime:
			return text(filetime(last))
		}
		return text(filetime(locked))
	case aPrincipalName:
		if o.SAM != "" {
			return text(r.Info.NetBIOS + `\` + o.SAM)
		}
	case aCreateStamp:
		return e.Get(aWhenCreated)
	case aModifyStamp:
		return e.Get(aWhenChanged)
	case aStructural:
		return e.Get(aObjectClass)
	}
	return nil
}

// HasLink answers (memberOf=…) and (member=…) without listing all of them.
func (r *Replica) HasLink(e *dit.Entry, t *dit.AttrType, target dit.DN) bool {
	o, other := r.object(e), r.ByDN(target)
	if o == nil || other == nil {
		return false
	}
	switch t {
	case aMemberOf:
		return r.names(o, other)
	case aMember:
		return r.names(other, o)
	}
	return false
}

// names reports whether the group names the object as a member.
func (r *Replica) names(o, group *Object) bool {
	return slices.Contains(r.groups(o.Key), group.RID)
}

// InChain answers the rule 1.2.840.113556.1.4.1941 for memberOf and member.
func (r *Replica) InChain(e *dit.Entry, t *dit.AttrType, target dit.DN) bool {
	o, other := r.object(e), r.ByDN(target)
	if o == nil || other == nil {
		return false
	}
	switch t {
	case aMemberOf:
		return r.nested(o, other)
	case aMember:
		return r.nested(other, o)
	}
	return false
}

// nested reports whether o is in the group, directly or not. The primary group
// does not count: it is no link ([MS-ADTS] §3.1.1.3.1.3.1 and memberOf itself).
func (r *Replica) nested(o, group *Object) bool {
	if !slices.Contains(r.Membership(o).Groups, group) {
		return false
	}
	return group.RID != o.PrimaryGroup || r.names(o, group)
}

// object finds the object of an entry, whichever version of it the entry is.
func (r *Replica) object(e *dit.Entry) *Object {
	guid := e.First(aGUID)
	if len(guid) != 16 {
		return nil
	}
	return r.ByGUID(wireGUID([]byte(guid)))
}

func names(objects []*Object) []string {
	out := make([]string, len(objects))
	for i, o := range objects {
		out[i] = o.Entry.DN.String()
	}
	return out
}

func (r *Replica) memberNames(group *Object) []string {
	out := make([]string, 0, len(group.Members))
	for _, k := range group.Members {
		if o := r.byKey.get(k); o != nil {
			out = append(out, o.Entry.DN.String())
		}
	}
	return out
}

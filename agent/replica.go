package agent

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entry is what the agent keeps of one object of the directory: all that it
// needs to say what the service should have, and no hash.
type entry struct {
	Class   class               `json:"class"`
	DN      string              `json:"dn,omitempty"`
	Attrs   map[string][]string `json:"attrs,omitempty"`
	Members []GUID              `json:"members,omitempty"` // in order
	Manager GUID                `json:"manager,omitzero"`
	Version uint32              `json:"passwordVersion,omitempty"` // of unicodePwd in the directory; 0: there is none
	Changed time.Time           `json:"passwordChanged,omitzero"`
}

func (e *entry) one(name string) string {
	if v := e.Attrs[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

func (e *entry) number(name string) int64 {
	n, _ := strconv.ParseInt(e.one(name), 10, 64) // absent is 0
	return n
}

// replica is the directory as the agent knows it.
type replica map[GUID]*entry

// apply takes in a change. It returns false for one that says only what has
// changed of an object that is not known: it came back from the recycle bin, or
// was of no interest before, and has to be read whole.
func (r replica) apply(c *change) bool {
	e := r[c.guid]
	switch {
	case c.deleted:
		delete(r, c.guid)
		return true
	case e == nil && c.class == classUnsaid:
		return false
	case e == nil:
		// One of no interest is kept by its name, so that what changes of it is
		// not taken for the change of an unknown one.
		e = &entry{}
		r[c.guid] = e
	}
	if c.class != classUnsaid {
		e.Class = c.class
	}
	if e.Class == classOther {
		return true
	}
	if e.DN != c.dn && c.dn != "" {
		if e.Class == classContainer && e.DN != "" {
			r.rename(e.DN, c.dn)
		}
		e.DN = c.dn
	}
	if e.Class != classUser && e.Class != classGroup {
		return true // of a container, the name is all
	}
	for name, values := range c.attrs {
		if len(values) == 0 {
			delete(e.Attrs, name)
			continue
		}
		if e.Attrs == nil {
			e.Attrs = map[string][]string{}
		}
		e.Attrs[name] = values
	}
	for _, name := range c.cleared {
		e.clearLinks(name)
	}
	for i, l := range c.links {
		if i == 0 || c.links[i-1].attr != l.attr {
			e.clearLinks(l.attr) // values in the object itself are all there are
		}
		e.link(l)
	}
	if c.version != 0 {
		e.Version, e.Changed = c.version, c.changed
	}
	return true
}

func (e *entry) clearLinks(name string) {
	switch name {
	case "member":
		e.Members = nil
	case "manager":
		e.Manager = GUID{}
	}
}

func (e *entry) link(l link) {
	switch l.attr {
	case "member":
		i, found := slices.BinarySearchFunc(e.Members, l.to, GUID.compare)
		switch {
		case l.present && !found:
			e.Members = slices.Insert(e.Members, i, l.to)
		case !l.present && found:
			e.Members = slices.Delete(e.Members, i, i+1)
		}
	case "manager":
		if l.present {
			e.Manager = l.to
		} else if e.Manager == l.to {
			e.Manager = GUID{}
		}
	}
}

func (g GUID) compare(o GUID) int { return bytes.Compare(g[:], o[:]) }

func sortedGUIDs[T any](m map[GUID]T) []GUID {
	return slices.SortedFunc(maps.Keys(m), GUID.compare)
}

// rename gives all below a container its new name: the directory says nothing of
// them, as they are named by what they stand in.
func (r replica) rename(from, to string) {
	suffix := "," + from
	for _, e := range r {
		if n := len(e.DN) - len(suffix); n > 0 && strings.EqualFold(e.DN[n:], suffix) {
			e.DN = e.DN[:n+1] + to
		}
	}
}

// Scope says which objects are synced. Both conditions hold where both are given.
type Scope struct {
	OUs    []string // DNs: the objects in them or below; none: all
	Groups []string // DNs: these groups and their members, direct or nested; none: all
}

// Bits of userAccountControl ([MS-ADTS] §2.2.16) and groupType (§2.2.12).
const (
	accountDisabled = 0x2
	normalAccount   = 0x200
	groupBuiltin    = 0x1
	groupSecurity   = 0x80000000
)

// syncable reports whether an object is of a kind that is synced at all: no
// built-in one, no account of the system or of a machine.
func (e *entry) syncable() bool {
	if e.number("isCriticalSystemObject") != 0 || e.one("sAMAccountName") == "" {
		return false
	}
	switch e.Class {
	case classUser:
		return e.number("userAccountControl")&normalAccount != 0
	case classGroup:
		kind := e.number("groupType")
		return kind&groupBuiltin == 0 && (kind&groupSecurity != 0 || e.one("mail") != "")
	}
	return false
}

// within returns the objects that are to be synced.
func (r replica) within(s Scope) map[GUID]bool {
	out := map[GUID]bool{}
	var chosen map[GUID]bool
	if len(s.Groups) > 0 {
		chosen = r.membersOf(s.Groups)
	}
	for g, e := range r {
		if e.syncable() && (chosen == nil || chosen[g]) && (len(s.OUs) == 0 || slices.ContainsFunc(s.OUs, e.below)) {
			out[g] = true
		}
	}
	return out
}

// below reports whether the object stands in an OU, or deeper.
func (e *entry) below(ou string) bool {
	n := len(e.DN) - len(ou)
	return n > 0 && e.DN[n-1] == ',' && strings.EqualFold(e.DN[n:], ou)
}

// membersOf returns the groups with these DNs and all in them, however deep. A
// group may be in itself.
func (r replica) membersOf(dns []string) map[GUID]bool {
	out := map[GUID]bool{}
	var next []GUID
	for g, e := range r {
		if e.Class == classGroup && slices.ContainsFunc(dns, func(dn string) bool { return strings.EqualFold(dn, e.DN) }) {
			next = append(next, g)
		}
	}
	for len(next) > 0 {
		g := next[len(next)-1]
		next = next[:len(next)-1]
		if out[g] {
			continue
		}
		out[g] = true
		if e := r[g]; e != nil {
			next = append(next, e.Members...)
		}
	}
	return out
}

// anchor is what an object without one gets: its ms-DS-ConsistencyGuid where an
// administrator or another agent has filled that in (entra-wire §D), else its
// GUID.
func (e *entry) anchor(g GUID) string {
	if v := e.one("mS-DS-ConsistencyGuid"); v != "" && len(v) <= maxAnchor {
		return v
	}
	return g.base64()
}

// passedOn are the attributes that go to the service as they are.
var passedOn = func() []attribute {
	var out []attribute
	for _, a := range attributes {
		if a.api != "" {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b attribute) int { return cmp.Compare(a.api, b.api) })
	return out
}()

// forGroups are those of them that a group has.
var forGroups = map[string]bool{"onPremisesSamAccountName": true, "onPremiseSecurityIdentifier": true, "displayName": true,
	"description": true, "mail": true, "mailNickname": true, "proxyAddresses": true}

// object is what the service should have of an entry. Attributes that the entry
// does not have are nil, so that what was cleared here is cleared there. anchors
// are those of all objects that are synced.
func (e *entry) object(g GUID, domain *Domain, anchors map[GUID]string) Object {
	o := Object{Type: "user", Operation: "set", Anchor: anchors[g], Attributes: make(map[string]any, 40)}
	a := o.Attributes
	if e.Class == classGroup {
		o.Type = "group"
	}
	for _, p := range passedOn {
		if o.Type == "group" && !forGroups[p.api] {
			continue
		}
		switch v := e.Attrs[p.name]; {
		case len(v) == 0:
			a[p.api] = nil
		case p.many:
			a[p.api] = v
		default:
			a[p.api] = v[0]
		}
	}
	a["onPremisesDistinguishedName"] = e.DN
	a["dnsDomainName"], a["netBiosName"] = domain.DNS, domain.NetBIOS
	if o.Type == "group" {
		if a["displayName"] == nil {
			a["displayName"] = e.one("sAMAccountName")
		}
		a["securityEnabled"] = e.number("groupType")&groupSecurity != 0
		a["mailEnabled"] = e.one("mail") != ""
		members := []string{} // none is said as such
		for _, m := range e.Members {
			if anchor, ok := anchors[m]; ok {
				members = append(members, anchor)
			}
		}
		slices.Sort(members) // the same members say the same
		a["member"] = members
		return o
	}
	a["accountEnabled"] = e.number("userAccountControl")&accountDisabled == 0
	a["userPrincipalName"] = e.one("userPrincipalName")
	if a["userPrincipalName"] == "" { // the name that AD takes for it ([MS-ADTS] §5.1.1.1.1)
		a["userPrincipalName"] = e.one("sAMAccountName") + "@" + domain.DNS
	}
	a["manager"] = nil
	if anchor, ok := anchors[e.Manager]; ok {
		a["manager"] = anchor
	}
	return o
}

// stamp tells one password of a user from another, and from the same with or
// without "has to change at the next logon".
type stamp struct {
	Version    uint32 `json:"version"`
	MustChange bool   `json:"mustChange,omitempty"`
}

func (e *entry) stamp() stamp {
	ticks, said := e.Attrs["pwdLastSet"]
	return stamp{e.Version, e.Version != 0 && said && ticks[0] == "0"}
}

// changed is the date of the password: pwdLastSet to 100 ns, and where that says
// that it has to be changed, the date that the directory replicates by.
func (e *entry) changed() time.Time {
	if at, ok := fileTime(e.number("pwdLastSet")); ok {
		return at
	}
	return e.Changed
}

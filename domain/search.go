package domain

import (
	"errors"
	"fmt"

	"skyrealm/domain/dit"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// NoSuchObjectError is a name that the directory does not hold; Matched is the
// longest part of it that it does (RFC 4511 §4.1.9).
type NoSuchObjectError struct{ Matched dit.DN }

func (e *NoSuchObjectError) Error() string {
	return fmt.Sprintf("domain: no such object below %q", e.Matched.String())
}

// ErrTooMuch ends a search that its caller bounded.
var ErrTooMuch = errors.New("domain: search limit reached")

// Search calls yield with each object in scope of base that the filter matches,
// in the order of the tree, until yield returns false. It sees one moment of
// the tree. after, where not "", is the place of an earlier search's last
// object ([Object.Place]): the search goes on behind it.
func (r *Replica) Search(base dit.DN, scope dit.Scope, filter *dit.Filter, after string, yield func(*Object) bool) error {
	v := r.view.Load()
	root := r.ByDN(base)
	if root == nil {
		return &NoSuchObjectError{r.matched(base)}
	}
	if scope == dit.Base {
		if after == "" && filter.Match(root.Entry, r) {
			yield(root)
		}
		return nil
	}
	last := dit.KeyDN(after)

	// An equality on an indexed attribute names the few that can match.
	if t, value, ok := filter.Equality(isIndexed); ok {
		r.candidates(v, t, value, last, func(o *Object) bool {
			return o.Entry.DN.Compare(last) <= 0 || !scope.Contains(base, o.Entry.DN) || !filter.Match(o.Entry, r) || yield(o)
		})
		return nil
	}

	from := root
	if last.Compare(base) > 0 {
		from = at(last)
	}
	it := v.tree.Iter()
	for ok := it.Seek(from); ok; {
		o := it.Item()
		dn := o.Entry.DN
		below := dn.IsDescendantOf(base)
		if !below && !dn.Equal(base) {
			break
		}
		if scope == dit.One && below {
			child := dn
			for !child.Parent().Equal(base) {
				child = child.Parent()
			}
			if !child.Equal(dn) { // past the whole subtree
				ok = it.Seek(at(child.Past()))
				continue
			}
		}
		if dn.Compare(last) > 0 && (scope == dit.Sub || below) && filter.Match(o.Entry, r) && !yield(o) {
			return nil
		}
		ok = it.Next()
	}
	return nil
}

// Place is the object's place in the order of the tree.
func (o *Object) Place() string { return o.Entry.DN.Key() }

// matched finds the nearest name above dn that exists.
func (r *Replica) matched(dn dit.DN) dit.DN {
	for !dn.IsRoot() {
		dn = dn.Parent()
		if o := r.ByDN(dn); o != nil {
			return o.Entry.DN
		}
	}
	return dit.DN{}
}

// candidates calls yield with the objects that an equality on an indexed attribute
// leaves, in the order of the tree from the place after on, until it returns false.
func (r *Replica) candidates(v *view, t *dit.AttrType, value string, after dit.DN, yield func(*Object) bool) {
	var one *Object
	switch t {
	case aSAM:
		one = r.BySAM(value)
	case aUPN:
		one = r.byUPN.get(Fold(value))
	case aSPN:
		one = r.BySPN(value)
	case aGUID:
		if len(value) == 16 {
			one = r.ByGUID(wireGUID([]byte(value)))
		}
	case aSID:
		one = r.bySID(sid.SID(value))
	case aAADObjectID:
		if id, err := tenant.ParseID(value); err == nil {
			one = r.byKey.get(id)
		}
	default:
		from := r.place(row(t), value, at(after))
		v.values.Ascend(from, func(p place) bool { return p.value == from.value && yield(p.o) })
	}
	if one != nil {
		yield(one)
	}
}

// Indexed reports whether a search with this filter looks at few objects only,
// those that an index names, however many the domain has.
func (r *Replica) Indexed(filter *dit.Filter) bool {
	_, _, ok := filter.Equality(isIndexed)
	return ok
}

func isIndexed(t *dit.AttrType) bool {
	switch t {
	case aSAM, aUPN, aSPN, aGUID, aSID, aAADObjectID:
		return true
	}
	return row(t) >= 0
}

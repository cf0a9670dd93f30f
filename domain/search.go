package domain

import (
	"errors"
	"fmt"
	"strings"

	"skyrealm/domain/dit"
	"skyrealm/sid"
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
	key := treeKey(base)
	root, ok := v.tree.Get(key)
	if !ok {
		return &NoSuchObjectError{r.matched(base)}
	}
	if scope == dit.Base {
		if after == "" && filter.Match(root.Entry, r) {
			yield(root)
		}
		return nil
	}

	// An equality on an indexed attribute names the few that can match.
	if t, value, ok := filter.Equality(isIndexed); ok {
		r.candidates(v, t, value, after, func(o *Object) bool {
			return o.treeKey <= after || !scope.Contains(base, o.Entry.DN) || !filter.Match(o.Entry, r) || yield(o)
		})
		return nil
	}

	depth := strings.Count(key, "\x00")
	it := v.tree.Iter()
	for ok := it.Seek(max(key, after)); ok && strings.HasPrefix(it.Key(), key); {
		o := it.Value()
		below := strings.Count(it.Key(), "\x00") - depth
		if scope == dit.One && below > 1 {
			// Past this whole subtree: \x01 sorts behind all that begins with
			// the child's key, whose last byte is \x00.
			child := nthPrefix(it.Key(), depth+1)
			ok = it.Seek(child[:len(child)-1] + "\x01")
			continue
		}
		if it.Key() > after && (scope == dit.Sub || below == 1) && filter.Match(o.Entry, r) && !yield(o) {
			return nil
		}
		ok = it.Next()
	}
	return nil
}

// Place is the object's place in the order of the tree.
func (o *Object) Place() string { return o.treeKey }

// nthPrefix returns key up to and with its nth separator.
func nthPrefix(key string, n int) string {
	for i := 0; i < len(key); i++ {
		if key[i] == 0 {
			if n--; n == 0 {
				return key[:i+1]
			}
		}
	}
	return key
}

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
func (r *Replica) candidates(v *view, t *dit.AttrType, value, after string, yield func(*Object) bool) {
	var one *Object
	switch t {
	case aSAM:
		one, _ = r.bySAM.get(Fold(value))
	case aUPN:
		one, _ = r.byUPN.get(Fold(value))
	case aSPN:
		one, _ = r.bySPN.get(Fold(value))
	case aGUID:
		if len(value) == 16 {
			one = r.ByGUID(wireGUID([]byte(value)))
		}
	case aSID:
		one = r.bySID(sid.SID(value))
	default:
		from := place{t.Index, value, &Object{treeKey: after}}
		v.values.Ascend(from, func(p place) bool { return p.attr == t.Index && p.value == value && yield(p.o) })
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
	case aSAM, aUPN, aSPN, aGUID, aSID:
		return true
	}
	for _, x := range indexed {
		if t == x {
			return true
		}
	}
	return false
}

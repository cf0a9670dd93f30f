package dit

import "sort"

// Value is one attribute value in the form its [Syntax] tells.
type Value = []byte

// Attribute is an attribute of an entry with its values, of which there is at
// least one.
type Attribute struct {
	Type   *AttrType
	Values [][]byte
}

// Entry is an object of the directory. It must not change once others can see
// it; [Edit] makes a changed copy.
type Entry struct {
	DN DN
	// Attrs are sorted by Type.Index.
	Attrs []Attribute
}

// Get returns the values that the entry itself holds, nil when there are none.
// The caller must not change them.
func (e *Entry) Get(t *AttrType) [][]byte {
	if t == nil {
		return nil
	}
	lo, hi := 0, len(e.Attrs)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if e.Attrs[mid].Type.Index < t.Index {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(e.Attrs) && e.Attrs[lo].Type == t {
		return e.Attrs[lo].Values
	}
	return nil
}

// First returns the first value that the entry itself holds, or nil.
func (e *Entry) First(t *AttrType) []byte {
	if v := e.Get(t); len(v) > 0 {
		return v[0]
	}
	return nil
}

// Links knows the values that an entry does not hold itself because they hang
// on other entries or on the moment: member, memberOf, tokenGroups, badPwdCount.
// A nil Links knows none.
type Links interface {
	// Links returns the values of a computed attribute, or nil for those that
	// the entry holds.
	Links(e *Entry, t *AttrType) [][]byte
}

// LinkTester is a [Links] that can answer, without building all the values,
// whether target is among them. Filters like (memberOf=…) ask it.
type LinkTester interface {
	HasLink(e *Entry, t *AttrType, target DN) bool
}

// ChainTester is a [Links] that follows links from entry to entry; the rule
// 1.2.840.113556.1.4.1941 asks it and is undefined without it.
type ChainTester interface {
	InChain(e *Entry, t *AttrType, target DN) bool
}

// Values returns what a client may see of an attribute: computed or stored, and
// nothing of a secret one. links may be nil.
func Values(e *Entry, t *AttrType, links Links) [][]byte {
	if t == nil || t.Secret {
		return nil
	}
	if t.Computed && links != nil {
		if v := links.Links(e, t); v != nil {
			return v
		}
	}
	return e.Get(t)
}

// Builder collects an entry's attributes. The zero Builder is ready for use.
type Builder struct {
	attrs []Attribute
}

// Edit returns a Builder that holds what e holds, to make a changed copy of it.
func Edit(e *Entry) *Builder {
	return &Builder{attrs: append(make([]Attribute, 0, len(e.Attrs)+4), e.Attrs...)}
}

// Set replaces the values of an attribute; none removes it.
func (b *Builder) Set(t *AttrType, values ...[]byte) *Builder {
	for i := range b.attrs {
		if b.attrs[i].Type == t {
			b.attrs[i].Values = values
			return b
		}
	}
	b.attrs = append(b.attrs, Attribute{t, values})
	return b
}

// SetString is Set for text; empty strings are left out, for LDAP has no empty
// values (RFC 4517 §3.3.6).
func (b *Builder) SetString(t *AttrType, values ...string) *Builder {
	v := make([][]byte, 0, len(values))
	for _, s := range values {
		if s != "" {
			v = append(v, []byte(s))
		}
	}
	return b.Set(t, v...)
}

// Entry returns the entry. The Builder must not be used afterwards.
func (b *Builder) Entry(dn DN) *Entry {
	attrs := b.attrs[:0]
	for _, a := range b.attrs {
		if len(a.Values) > 0 {
			attrs = append(attrs, a)
		}
	}
	sort.Slice(attrs, func(i, j int) bool { return attrs[i].Type.Index < attrs[j].Type.Index })
	return &Entry{DN: dn, Attrs: attrs}
}

// Scope is how far below the base a search looks (RFC 4511 §4.5.1.2).
type Scope uint8

// The scopes, by their numbers on the wire.
const (
	Base Scope = iota
	One
	Sub
)

// Contains reports whether a search of this scope from base looks at dn.
func (s Scope) Contains(base, dn DN) bool {
	switch s {
	case Base:
		return dn.Equal(base)
	case One:
		return !dn.IsRoot() && dn.Parent().Equal(base)
	default:
		return dn.Equal(base) || dn.IsDescendantOf(base)
	}
}

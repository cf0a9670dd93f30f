package dit

import (
	"encoding/binary"
	"slices"
)

// Entry is an object of the directory. It never changes. A domain holds a million
// of them, so one is packed: all text in one string, and what many entries have in
// common in another entry.
type Entry struct {
	DN     DN
	slots  []slot // by index
	packed string // the values: of an attribute their number, then each behind its length, as varints
	common *Entry // or nil; has none of the attributes of slots
}

// slot says where the values of an attribute stand in packed.
type slot struct {
	index uint32 // AttrType.Index
	at    uint32 // atDN: the one value is the entry's name
}

const atDN = 1<<32 - 1

// Get returns the values that the entry itself holds, nil when there are none.
func (e *Entry) Get(t *AttrType) []string { return e.append(nil, t) }

// append is Get onto dst.
func (e *Entry) append(dst []string, t *AttrType) []string {
	if t == nil {
		return dst
	}
	if s, of := e.find(t); of != nil {
		return of.values(dst, s)
	}
	return dst
}

// First returns the first value that the entry itself holds, or "".
func (e *Entry) First(t *AttrType) string {
	if t == nil {
		return ""
	}
	s, of := e.find(t)
	switch {
	case of == nil:
		return ""
	case s.at == atDN:
		return of.DN.text
	}
	_, at := of.varint(int(s.at))
	n, at := of.varint(at)
	return of.packed[at : at+n]
}

// find returns the attribute's slot and the entry that it is in, nil for none.
func (e *Entry) find(t *AttrType) (slot, *Entry) {
	for ; e != nil; e = e.common {
		lo, hi := 0, len(e.slots)
		for lo < hi {
			mid := int(uint(lo+hi) >> 1)
			if int(e.slots[mid].index) < t.Index {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		if lo < len(e.slots) && int(e.slots[lo].index) == t.Index {
			return e.slots[lo], e
		}
	}
	return slot{}, nil
}

// values appends those of a slot of e itself.
func (e *Entry) values(dst []string, s slot) []string {
	if s.at == atDN {
		return append(dst, e.DN.text)
	}
	count, at := e.varint(int(s.at))
	for ; count > 0; count-- {
		n, from := e.varint(at)
		at = from + n
		dst = append(dst, e.packed[from:at])
	}
	return dst
}

// varint reads the number that stands at i, and tells where it ends.
func (e *Entry) varint(i int) (n, end int) {
	for shift := 0; ; shift += 7 {
		c := e.packed[i]
		i++
		n |= int(c&0x7f) << shift
		if c < 0x80 {
			return n, i
		}
	}
}

// Cursor goes through the attributes of an entry, in the order of the schema.
type Cursor struct {
	e           *Entry
	own, common []slot // what is left
}

// Attributes begins with the first attribute that the entry itself holds.
func (e *Entry) Attributes() Cursor {
	c := Cursor{e: e, own: e.slots}
	if e.common != nil {
		c.common = e.common.slots
	}
	return c
}

// Next returns the next attribute and appends its values to dst; nil at the end.
func (c *Cursor) Next(dst []string) (*AttrType, []string) {
	if len(c.common) == 0 || len(c.own) > 0 && c.own[0].index < c.common[0].index {
		if len(c.own) == 0 {
			return nil, dst
		}
		s := c.own[0]
		c.own = c.own[1:]
		return attrTypes[s.index], c.e.values(dst, s)
	}
	s := c.common[0]
	c.common = c.common[1:]
	return attrTypes[s.index], c.e.common.values(dst, s)
}

// Links knows the values that an entry does not hold itself because they hang
// on other entries or on the moment: member, memberOf, tokenGroups, badPwdCount.
// A nil Links knows none.
type Links interface {
	// Links returns the values of a computed attribute, or nil for those that
	// the entry holds.
	Links(e *Entry, t *AttrType) []string
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

// AppendValues appends what a client may see of an attribute: computed or stored,
// and nothing of a secret one. links may be nil. Stored values need no memory
// where dst has room.
func AppendValues(dst []string, e *Entry, t *AttrType, links Links) []string {
	if t == nil || t.Secret {
		return dst
	}
	if t.Computed && links != nil {
		if v := links.Links(e, t); v != nil {
			return append(dst, v...)
		}
	}
	return e.append(dst, t)
}

// Builder collects an entry's attributes. The zero Builder is ready for use.
type Builder struct {
	attrs []attribute
}

type attribute struct {
	t      *AttrType
	values []string
	common bool
}

// Set replaces the values of an attribute; none removes it. It takes copies.
func (b *Builder) Set(t *AttrType, values ...[]byte) {
	v := make([]string, len(values))
	for i := range values {
		v[i] = string(values[i])
	}
	b.set(attribute{t, v, false})
}

// NewBuilder returns a Builder with room for n attributes.
func NewBuilder(n int) *Builder { return &Builder{make([]attribute, 0, n)} }

// SetString is Set for text; empty strings are left out, for LDAP has no empty
// values (RFC 4517 §3.3.6).
func (b *Builder) SetString(t *AttrType, values ...string) {
	b.set(attribute{t, filled(values), false})
}

// SetCommon is SetString for values that many entries have: see [Shared].
func (b *Builder) SetCommon(t *AttrType, values ...string) {
	b.set(attribute{t, filled(values), true})
}

func filled(values []string) []string {
	for _, s := range values {
		if s == "" {
			return slices.DeleteFunc(slices.Clone(values), func(s string) bool { return s == "" })
		}
	}
	return values
}

func (b *Builder) set(a attribute) {
	for i := range b.attrs {
		if b.attrs[i].t == a.t {
			b.attrs[i] = a
			return
		}
	}
	b.attrs = append(b.attrs, a)
}

// Shared holds what entries have in common, each such part once. One goroutine
// uses it.
type Shared struct{ parts map[string]*Entry }

// maxShared bounds how many parts are remembered: one forgotten is made again.
const maxShared = 4096

// Entry returns the entry. What [Builder.SetCommon] set is in shared, or where
// that is nil in the entry itself. The Builder must not be used afterwards.
func (b *Builder) Entry(dn DN, shared *Shared) *Entry {
	attrs := slices.DeleteFunc(b.attrs, func(a attribute) bool { return len(a.values) == 0 })
	if shared == nil {
		for i := range attrs {
			attrs[i].common = false
		}
	}
	slices.SortFunc(attrs, func(x, y attribute) int {
		switch {
		case x.common == y.common:
			return x.t.Index - y.t.Index
		case x.common:
			return 1
		}
		return -1
	})
	own := 0
	for own < len(attrs) && !attrs[own].common {
		own++
	}
	e := &Entry{}
	if own < len(attrs) {
		e.common = shared.part(attrs[own:])
	}
	// The name goes into the same string.
	text := append(append(make([]byte, 0, 1024), dn.text...), dn.key...)
	e.slots, text = pack(text, attrs[:own], dn.text)
	e.packed = string(text)
	e.DN = DN{e.packed[:len(dn.text)], e.packed[len(dn.text) : len(dn.text)+len(dn.key)]}
	return e
}

// part finds or makes the entry that holds these attributes.
func (s *Shared) part(attrs []attribute) *Entry {
	slots, packed := pack(nil, attrs, "")
	key := packed
	for _, s := range slots {
		key = binary.LittleEndian.AppendUint64(key, uint64(s.index)<<32|uint64(s.at))
	}
	if e, ok := s.parts[string(key)]; ok {
		return e
	}
	if s.parts == nil || len(s.parts) >= maxShared {
		s.parts = map[string]*Entry{}
	}
	e := &Entry{slots: slots, packed: string(packed)}
	s.parts[string(key)] = e
	return e
}

// pack appends the values of attributes to text. Equal values stand there once,
// and the entry's own name not at all.
func pack(text []byte, attrs []attribute, name string) ([]slot, []byte) {
	slots := make([]slot, len(attrs))
	for i, a := range attrs {
		same := slices.IndexFunc(attrs[:i], func(before attribute) bool { return slices.Equal(before.values, a.values) })
		slots[i] = slot{uint32(a.t.Index), uint32(len(text))}
		switch {
		case len(a.values) == 1 && a.values[0] == name:
			slots[i].at = atDN
		case same >= 0:
			slots[i].at = slots[same].at
		default:
			text = binary.AppendUvarint(text, uint64(len(a.values)))
			for _, v := range a.values {
				text = append(binary.AppendUvarint(text, uint64(len(v))), v...)
			}
		}
	}
	return slots, text
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

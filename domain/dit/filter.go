package dit

import (
	"bytes"
	"errors"
	"strings"
)

// MaxFilterDepth is how many and, or and not may enclose one another
// (CVE-2020-12243 and its kin).
const MaxFilterDepth = 40

// Errors of filters. ErrFilterDepth maps to unwillingToPerform, ErrFilterSyntax
// to protocolError on the wire.
var (
	ErrFilterSyntax = errors.New("dit: malformed filter")
	ErrFilterDepth  = errors.New("dit: filter nested too deeply")
)

// Op is the kind of a filter's node.
type Op uint8

// The kinds of node, by their numbers on the wire (RFC 4511 §4.5.1.7).
const (
	OpAnd Op = iota
	OpOr
	OpNot
	OpEqual
	OpSubstrings
	OpGreaterOrEqual
	OpLessOrEqual
	OpPresent
	OpApprox
	OpExtensible
)

// Matching rules that AD has ([MS-ADTS] §3.1.1.3.4.4).
const (
	RuleBitAnd = "1.2.840.113556.1.4.803"
	RuleBitOr  = "1.2.840.113556.1.4.804"
	RuleChain  = "1.2.840.113556.1.4.1941"
)

// Filter is a node of a search filter. Nodes are made by the functions of the
// same names, which prepare the assertion for matching, and must not be changed.
type Filter struct {
	Op   Op
	Subs []*Filter // of and, or, not

	// Name is the attribute description as it was written; Type is nil where the
	// schema does not have it, which makes the node undefined.
	Name string
	Type *AttrType

	Value []byte // the assertion; of substrings the initial part, nil when absent

	Any   [][]byte // substrings: the parts between
	Final []byte   // substrings: the last part, nil when absent

	Rule    string // extensible: the matching rule, "" for equality
	DNAttrs bool   // extensible: AD ignores it ([MS-ADTS] §3.1.1.3.1.3.1)

	// What the assertion became. A node that is not usable is undefined.
	usable bool
	normal string   // normal form of the value or of the initial part
	parts  [][]byte // normal forms of Any and, when there is one, Final
	number int64    // of the numeric syntaxes
	target DN       // of DNs
}

// And is true when all are; And() is true (RFC 4526).
func And(subs ...*Filter) *Filter { return &Filter{Op: OpAnd, Subs: subs} }

// Or is true when one is; Or() is false (RFC 4526).
func Or(subs ...*Filter) *Filter { return &Filter{Op: OpOr, Subs: subs} }

// Not turns true and false about, and leaves undefined as it is.
func Not(sub *Filter) *Filter { return &Filter{Op: OpNot, Subs: []*Filter{sub}} }

// Equal is true when the attribute has a value equal to this.
func Equal(name string, value []byte) *Filter { return assertion(OpEqual, name, value) }

// Approx is [Equal], as in AD ([MS-ADTS] §3.1.1.3.1.3.1).
func Approx(name string, value []byte) *Filter { return assertion(OpApprox, name, value) }

// GreaterOrEqual is true when the attribute has such a value.
func GreaterOrEqual(name string, value []byte) *Filter {
	return assertion(OpGreaterOrEqual, name, value)
}

// LessOrEqual is true when the attribute has such a value.
func LessOrEqual(name string, value []byte) *Filter { return assertion(OpLessOrEqual, name, value) }

// Present is true when the attribute has a value.
func Present(name string) *Filter {
	f := &Filter{Op: OpPresent, Name: name}
	f.resolve()
	return f
}

// Substrings is true when the attribute has a value that begins with initial,
// ends with final and has the parts of any between, in order. initial and final
// are nil when absent.
func Substrings(name string, initial []byte, any [][]byte, final []byte) *Filter {
	f := &Filter{Op: OpSubstrings, Name: name, Value: initial, Any: any, Final: final}
	if !f.resolve() {
		return f
	}
	switch f.Type.Syntax {
	case DirectoryString, CaseExactString, OctetString, OIDString:
	default: // no substring rule for numbers and names
		f.usable = false
		return f
	}
	f.normal = string(f.fold(initial))
	for _, part := range any {
		f.parts = append(f.parts, f.fold(part))
	}
	if final != nil {
		f.parts = append(f.parts, f.fold(final))
	}
	return f
}

func (f *Filter) fold(part []byte) []byte {
	if f.foldsCase() {
		return appendFold(nil, part)
	}
	return part
}

func (f *Filter) foldsCase() bool {
	return f.Type.Syntax == DirectoryString || f.Type.Syntax == OIDString
}

// Extensible applies a matching rule; without one it is [Equal], and without an
// attribute it is undefined, as in AD.
func Extensible(rule, name string, value []byte, dnAttrs bool) *Filter {
	f := assertion(OpExtensible, name, value)
	f.Rule, f.DNAttrs = rule, dnAttrs
	if !f.usable {
		return f
	}
	switch rule {
	case "":
	case RuleBitAnd, RuleBitOr:
		f.usable = f.Type.Syntax == Integer || f.Type.Syntax == LargeInteger
	case RuleChain:
		f.usable = f.Type.Syntax == DNString
	default:
		f.usable = false
	}
	return f
}

func assertion(op Op, name string, value []byte) *Filter {
	f := &Filter{Op: op, Name: name, Value: value}
	if !f.resolve() {
		return f
	}
	var buf [maxDNEntry]byte
	normal, ok := appendNormal(buf[:0], f.Type, value)
	if !ok {
		f.usable = false
		return f
	}
	f.normal = string(normal)
	ordered := true
	switch s := f.Type.Syntax; s {
	case DirectoryString, CaseExactString, OctetString:
	case Integer, LargeInteger, GeneralizedTime:
		f.number, _ = number(s, value)
	case DNString:
		f.target = DN{f.normal, f.normal}
		if f.Type != objectCategory {
			f.target.text = string(value)
		} else if key, ok := appendDNKey(buf[:0], value); ok {
			f.normal = string(key) // a whole name; without it a class was meant
		}
		ordered = false
	default:
		ordered = false
	}
	if op == OpGreaterOrEqual || op == OpLessOrEqual {
		f.usable = ordered
	}
	return f
}

// resolve finds the attribute and tells whether the node can be anything but
// undefined.
func (f *Filter) resolve() bool {
	f.Type = Attr(f.Name)
	if base, option, ok := strings.Cut(f.Name, ";"); ok && strings.EqualFold(option, "binary") {
		f.Type = Attr(base) // RFC 4522; certificates are asked for in this way
	}
	f.usable = f.Type != nil && !f.Type.Constructed
	return f.usable
}

// Match reports whether the filter is true of the entry: undefined and false
// are both no match. links may be nil.
func (f *Filter) Match(e *Entry, links Links) bool { return f.eval(e, links) == yes }

// truth is a value of the three-valued logic (RFC 4511 §4.5.1.7).
type truth int8

const (
	no truth = iota - 1
	undefined
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

func (f *Filter) eval(e *Entry, links Links) truth {
	switch f.Op {
	case OpAnd:
		all := yes
		for _, sub := range f.Subs {
			if all = min(all, sub.eval(e, links)); all == no {
				break
			}
		}
		return all
	case OpOr:
		one := no
		for _, sub := range f.Subs {
			if one = max(one, sub.eval(e, links)); one == yes {
				break
			}
		}
		return one
	case OpNot:
		return -f.Subs[0].eval(e, links)
	}
	if !f.usable {
		return undefined
	}
	if f.Type.Secret {
		return no
	}
	if f.Op == OpExtensible && f.Rule == RuleChain {
		if chain, ok := links.(ChainTester); ok {
			return truthOf(chain.InChain(e, f.Type, f.target))
		}
		return undefined
	}
	if f.Type.Computed && f.Type.Syntax == DNString && f.Op != OpPresent { // so it is equality
		if linked, ok := links.(LinkTester); ok {
			return truthOf(linked.HasLink(e, f.Type, f.target))
		}
	}
	var buf [4]string
	values := AppendValues(buf[:0], e, f.Type, links)
	if f.Op == OpPresent {
		return truthOf(len(values) > 0)
	}
	for _, v := range values {
		if f.test(v) {
			return yes
		}
	}
	return no
}

// test applies the node to one value.
func (f *Filter) test(v string) bool {
	switch f.Op {
	case OpSubstrings:
		return f.contains(v)
	case OpGreaterOrEqual, OpLessOrEqual:
		return f.compare(v)
	}
	switch f.Type.Syntax {
	case DirectoryString:
		return foldEqual(v, f.normal)
	case Integer, LargeInteger, GeneralizedTime:
		n, ok := number(f.Type.Syntax, v)
		switch f.Rule {
		case RuleBitAnd:
			return ok && n&f.number == f.number
		case RuleBitOr:
			return ok && n&f.number != 0
		}
		return ok && n == f.number
	case CaseExactString, OctetString, GUIDString, SIDString:
		return v == f.normal
	case OIDString:
		if foldEqual(v, f.normal) {
			return true
		}
	}
	var buf [maxDNEntry]byte
	if f.Type == objectCategory {
		// A whole name was asked for where the target was cut short.
		if len(f.normal) > len(f.target.key) {
			key, ok := appendDNKey(buf[:0], v)
			return ok && string(key) == f.normal
		}
	}
	normal, ok := appendNormal(buf[:0], f.Type, v)
	return ok && string(normal) == f.normal
}

// compare orders a value against the assertion.
func (f *Filter) compare(v string) bool {
	var c int
	switch f.Type.Syntax {
	case Integer, LargeInteger, GeneralizedTime:
		n, ok := number(f.Type.Syntax, v)
		if !ok {
			return false
		}
		switch {
		case n < f.number:
			c = -1
		case n > f.number:
			c = 1
		}
	case DirectoryString:
		var buf [maxDNEntry]byte
		c = order(appendFold(buf[:0], v), f.normal)
	case CaseExactString, OctetString:
		c = strings.Compare(v, f.normal)
	}
	if f.Op == OpGreaterOrEqual {
		return c >= 0
	}
	return c <= 0
}

// order is strings.Compare without making a string of v.
func order(v []byte, s string) int {
	switch {
	case string(v) < s:
		return -1
	case string(v) > s:
		return 1
	}
	return 0
}

// contains tests substrings. The value is folded once and searched from left to
// right, so that the cost stays linear whatever the parts are.
func (f *Filter) contains(value string) bool {
	var buf [maxDNEntry]byte
	v := buf[:0]
	if f.foldsCase() {
		if len(value) > 0 && len(f.normal) > 0 && lower(value[0]) != f.normal[0] && value[0] < 0x80 {
			return false // most values of most searches end here
		}
		v = appendFold(v, value)
	} else {
		v = append(v, value...)
	}
	if len(v) < len(f.normal) || string(v[:len(f.normal)]) != f.normal {
		return false
	}
	v = v[len(f.normal):]
	for i, part := range f.parts {
		if i == len(f.Any) { // the final part
			return bytes.HasSuffix(v, part)
		}
		at := bytes.Index(v, part)
		if at < 0 {
			return false
		}
		v = v[at+len(part):]
	}
	return true
}

// Equality finds an equality that the filter needs, for which an index exists:
// it looks at the filter itself and, where that is an And, at its parts. pick
// says for which attributes there is an index; normal is the form that
// [Normalise] gives. Every entry that matches the filter has such a value.
func (f *Filter) Equality(pick func(*AttrType) bool) (t *AttrType, normal string, ok bool) {
	switch f.Op {
	case OpAnd:
		for _, sub := range f.Subs {
			if t, normal, ok = sub.Equality(pick); ok {
				return t, normal, true
			}
		}
	case OpEqual, OpApprox:
		if f.usable && !f.Type.Secret && pick(f.Type) {
			if f.Type == objectCategory {
				return f.Type, f.target.key, true
			}
			return f.Type, f.normal, true
		}
	}
	return nil, "", false
}

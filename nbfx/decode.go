package nbfx

import (
	"fmt"
	"slices"
	"unicode/utf8"
)

// reader walks the records. Every length is compared with what is left before it
// is used, and nothing is ever allocated by it ([MC-NBFX] §4).
type reader struct {
	b      []byte
	at     int
	limits Limits

	nodes int
	names map[string]string // one copy of each name, and each checked once
	uris  map[string]string // and of each namespace
	stack []Node            // nodes of the elements that are still open
}

// Decode reads one message: one element and nothing after it. The tree points
// into b.
func Decode(b []byte, limits Limits) (*Element, error) {
	r := &reader{b: b, limits: limits, names: map[string]string{}, uris: map[string]string{}}
	if len(b) > limits.Bytes {
		return nil, r.fail(ErrLimit, "its length")
	}
	kind, err := r.byte()
	if err != nil {
		return nil, err
	}
	if !isElement(kind) {
		return nil, r.fail(ErrMalformed, "no element first")
	}
	root, err := r.element(kind, nil, 1)
	if err != nil {
		return nil, err
	}
	if r.at != len(b) {
		return nil, r.fail(ErrMalformed, "data after the end")
	}
	return root, nil
}

func (r *reader) fail(err error, what string) error {
	return fmt.Errorf("%w: %s (byte %d)", err, what, r.at)
}

func (r *reader) byte() (byte, error) {
	if r.at >= len(r.b) {
		return 0, r.fail(ErrMalformed, "truncated")
	}
	r.at++
	return r.b[r.at-1], nil
}

// next is the place of a byte that is known to be there.
func (r *reader) next() int { r.at++; return r.at - 1 }

func (r *reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)-r.at) {
		return nil, r.fail(ErrMalformed, "truncated")
	}
	end := r.at + int(n)
	b := r.b[r.at:end:end]
	r.at = end
	return b, nil
}

// counted takes n bytes of a name or text.
func (r *reader) counted(n uint64) ([]byte, error) {
	if n > uint64(r.limits.String) {
		return nil, r.fail(ErrLimit, "a string's length")
	}
	return r.take(n)
}

// int31 reads a MultiByteInt31 ([MC-NBFX] §2.1.2).
func (r *reader) int31() (uint32, error) {
	var n uint32
	for shift := 0; ; shift += 7 {
		c, err := r.byte()
		if err != nil {
			return 0, err
		}
		if shift == 28 && c > 0x07 {
			return 0, r.fail(ErrMalformed, "a number over 31 bits")
		}
		if n |= uint32(c&0x7F) << shift; c < 0x80 {
			return n, nil
		}
	}
}

func (r *reader) string() ([]byte, error) {
	n, err := r.int31()
	if err != nil {
		return nil, err
	}
	b, err := r.counted(uint64(n))
	if err == nil && !utf8.Valid(b) {
		return nil, r.fail(ErrMalformed, "not UTF-8")
	}
	return b, err
}

func (r *reader) word() (string, error) {
	id, err := r.int31()
	if err != nil {
		return "", err
	}
	w, ok := word(id)
	if !ok {
		return "", r.fail(ErrDictionary, fmt.Sprintf("id %d", id))
	}
	return w, nil
}

// name reads the name of an element or attribute, or a prefix.
func (r *reader) name(inDictionary bool) (string, error) {
	var s string
	if inDictionary {
		w, err := r.word()
		if err != nil {
			return "", err
		}
		s = w
	} else {
		b, err := r.string()
		if err != nil {
			return "", err
		}
		known, ok := r.names[string(b)]
		if ok {
			return known, nil
		}
		s = string(b)
	}
	if !isName(s) {
		return "", r.fail(ErrMalformed, "not a name")
	}
	if !inDictionary {
		r.names[s] = s
	}
	return s, nil
}

// isName tells whether XML could have a name or prefix s, as far as ASCII goes:
// whoever prints the tree can then rely on names being no markup. "xmlns" is
// never a name of its own ([MC-NBFX] §2.2).
func isName(s string) bool {
	if s == "" || s == "xmlns" {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c >= utf8.RuneSelf:
		case i > 0 && ('0' <= c && c <= '9' || c == '-' || c == '.'):
		default:
			return false
		}
	}
	return true
}

// count adds a node to what the message has cost.
func (r *reader) count() error {
	if r.nodes++; r.nodes > r.limits.Nodes {
		return r.fail(ErrLimit, "its number of nodes")
	}
	return nil
}

// element reads an element from after its record type to its end.
func (r *reader) element(kind byte, outer *scope, depth int) (*Element, error) {
	e, err := r.start(kind, outer, depth)
	if err != nil {
		return nil, err
	}
	mark := len(r.stack)
	for {
		kind, err := r.byte()
		if err != nil {
			return nil, err
		}
		end := kind == endElement
		switch {
		case end:
		case kind == comment:
			b, err := r.string()
			if err == nil {
				err = r.count()
			}
			if err != nil {
				return nil, err
			}
			r.stack = append(r.stack, Node{Value: Value{comment, b}})
		case kind == array:
			if err := r.array(e.scope, depth+1); err != nil {
				return nil, err
			}
		case isElement(kind):
			c, err := r.element(kind, e.scope, depth+1)
			if err != nil {
				return nil, err
			}
			r.stack = append(r.stack, Node{Element: c})
		case kind >= zero && kind <= lastText:
			v, err := r.text(kind &^ 1)
			if err == nil {
				err = r.count()
			}
			if err != nil {
				return nil, err
			}
			r.stack = append(r.stack, Node{Value: v})
			// A list that ends with EndListTextWithEndElement ends the element;
			// its start cannot: StartListTextWithEndElement would be a list
			// without an end ([MC-NBFX] §2.2.3.19, §2.2.3.31).
			if end = kind&1 != 0; v.kind == startList {
				if end {
					return nil, r.fail(ErrMalformed, "a list without end")
				}
				end = r.b[r.at-1] == endList|1
			}
		default:
			return nil, r.fail(ErrMalformed, fmt.Sprintf("record 0x%02x in an element", kind))
		}
		if end {
			if len(r.stack) > mark {
				e.Nodes = slices.Clone(r.stack[mark:])
				r.stack = r.stack[:mark]
			}
			return e, nil
		}
	}
}

// start reads an element's name and attributes, and resolves their prefixes.
func (r *reader) start(kind byte, outer *scope, depth int) (*Element, error) {
	if depth > r.limits.Depth {
		return nil, r.fail(ErrLimit, "its depth")
	}
	if err := r.count(); err != nil {
		return nil, err
	}
	e := &Element{scope: outer}
	var err error
	switch {
	case kind >= prefixElement:
		e.Prefix = letter(kind - prefixElement)
		e.Local, err = r.name(false)
	case kind >= prefixDictElement:
		e.Prefix = letter(kind - prefixDictElement)
		e.Local, err = r.name(true)
	default:
		if kind == element || kind == dictElement {
			e.Prefix, err = r.name(false)
		}
		if err == nil {
			e.Local, err = r.name(kind >= shortDictElement)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := r.attributes(e); err != nil {
		return nil, err
	}
	var ok bool
	if e.Namespace, ok = e.scope.find(e.Prefix); !ok {
		return nil, r.fail(ErrNamespace, "an element's prefix")
	}
	for i := range e.Attrs {
		// An attribute without prefix is in no namespace, not in the default one
		// (Namespaces in XML 1.0 §6.2).
		a := &e.Attrs[i]
		if a.Prefix == "" || a.Namespace != "" {
			continue
		}
		if a.Namespace, ok = e.scope.find(a.Prefix); !ok {
			return nil, r.fail(ErrNamespace, "an attribute's prefix")
		}
	}
	// Two of the same name would let two readers see two messages.
	for i := range e.Attrs {
		for j := range i {
			if e.Attrs[i].Local == e.Attrs[j].Local && e.Attrs[i].Namespace == e.Attrs[j].Namespace {
				return nil, r.fail(ErrMalformed, "an attribute twice")
			}
		}
	}
	return e, nil
}

func isElement(kind byte) bool { return kind >= shortElement && kind <= lastElement }

const letters = "abcdefghijklmnopqrstuvwxyz"

func letter(i byte) string { return letters[i : i+1] }

func (r *reader) attributes(e *Element) error {
	for r.at < len(r.b) && r.b[r.at] >= shortAttribute && r.b[r.at] < shortElement {
		if len(e.Attrs) >= r.limits.Attributes {
			return r.fail(ErrLimit, "an element's number of attributes")
		}
		if err := r.count(); err != nil {
			return err
		}
		a, err := r.attribute(r.b[r.next()])
		if err != nil {
			return err
		}
		if a.Namespace == nsXMLNS {
			if e.scope, err = r.declare(e.scope, a); err != nil {
				return err
			}
		}
		e.Attrs = append(e.Attrs, a)
	}
	return nil
}

func (r *reader) attribute(kind byte) (a Attr, err error) {
	switch {
	case kind >= prefixAttribute:
		a.Prefix = letter(kind - prefixAttribute)
		a.Local, err = r.name(false)
	case kind >= prefixDictAttribute:
		a.Prefix = letter(kind - prefixDictAttribute)
		a.Local, err = r.name(true)
	case kind >= shortXmlns:
		return r.xmlns(kind)
	default:
		if kind == attribute || kind == dictAttribute {
			a.Prefix, err = r.name(false)
		}
		if err == nil {
			a.Local, err = r.name(kind >= shortDictAttribute)
		}
	}
	if err != nil {
		return a, err
	}
	kind, err = r.byte()
	if err != nil {
		return a, err
	}
	// text takes no *WithEndElement: none inside an attribute ([MC-NBFX] §2.2.3.31).
	a.Value, err = r.text(kind)
	if err == nil && a.Value.kind == startList && r.b[r.at-1] != endList {
		err = r.fail(ErrMalformed, "the end of an element in an attribute")
	}
	return a, err
}

// xmlns reads a declaration as the attribute that XML makes of it.
func (r *reader) xmlns(kind byte) (a Attr, err error) {
	a = Attr{Local: "xmlns", Namespace: nsXMLNS, Value: Value{kind: chars32}}
	if kind == xmlns || kind == dictXmlns {
		a.Prefix = "xmlns"
		if a.Local, err = r.name(false); err != nil {
			return a, err
		}
	}
	if kind < shortDictXmlns {
		a.Value.raw, err = r.string()
		return a, err
	}
	from := r.at
	_, err = r.word()
	a.Value = Value{dictText, r.b[from:r.at:r.at]}
	return a, err
}

// declare puts a declaration in force.
func (r *reader) declare(outer *scope, a Attr) (*scope, error) {
	s := &scope{outer: outer, depth: 1}
	if outer != nil {
		s.depth += outer.depth
	}
	// Each lookup walks the scope: without a bound, a message of prefixes costs
	// the square of its length.
	if s.depth > r.limits.Scope {
		return nil, r.fail(ErrLimit, "its namespace declarations")
	}
	if a.Value.kind == dictText {
		s.uri = wordOf(a.Value.raw)
	} else if known, ok := r.uris[string(a.Value.raw)]; ok {
		s.uri = known
	} else {
		s.uri = string(a.Value.raw)
		r.uris[s.uri] = s.uri
	}
	if a.Prefix != "" {
		s.prefix = a.Local
		// Namespaces in XML 1.0 §3, §5: xml and xmlns are not to be taken, and
		// a prefix, unlike the default, is never taken back.
		if s.prefix == "xml" || s.uri == "" {
			return nil, r.fail(ErrNamespace, "a declaration")
		}
	}
	if s.uri == nsXML || s.uri == nsXMLNS {
		return nil, r.fail(ErrNamespace, "a declaration")
	}
	return s, nil
}

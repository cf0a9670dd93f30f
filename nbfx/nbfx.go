// Package nbfx reads and writes SOAP 1.2 in .NET binary XML, the media type
// application/soap+msbin1 that sync agents speak to /provisioningservice.svc.
//
// [Decode] turns a message into a tree of [Element]s that points into the bytes
// it was given. Names are resolved to namespaces, texts stay the records they
// came as until somebody asks: an agent chooses a record by what a text looks
// like (a name of four letters travels as base64 bytes, "True" loses its case,
// digits become an integer), so only [Element.Text] says what was written.
//
// [Writer] writes replies in the few record types that every known client
// reads; [Element.Append] writes a tree back as the records it came from.
//
// Bearer tokens and credentials pass through here. A [Value] and an [Element]
// therefore print as [redacted]; Text and Bytes are the way out.
//
// References: [MC-NBFX] (records), [MC-NBFS] (the dictionary of 487 strings).
// The session dictionary of [MC-NBFSE] is no part of this media type: odd
// dictionary ids are refused.
package nbfx

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
)

// ContentType is the media type of a message.
const ContentType = "application/soap+msbin1"

// What is wrong with a message. Errors of this package wrap one of them, say
// where, and hold nothing of the content.
var (
	ErrMalformed  = errors.New("nbfx: malformed message")
	ErrLimit      = errors.New("nbfx: message over a limit")
	ErrDictionary = errors.New("nbfx: no such string in the static dictionary")
	ErrNamespace  = errors.New("nbfx: undeclared or ill-declared namespace prefix")
)

// Limits bound what a message may cost. A zero field allows nothing, so start
// from [Defaults].
type Limits struct {
	Bytes      int // length of the message
	Depth      int // elements inside each other
	Nodes      int // elements, attributes, texts and comments together
	Attributes int // of one element, declarations included
	Scope      int // namespace declarations in force at one place
	String     int // bytes of one name, text or comment as encoded
}

// Defaults hold a group of 50,000 members and a text of a million UTF-16
// characters. The worst message within them allocates less than 64 MiB.
var Defaults = Limits{Bytes: 4 << 20, Depth: 64, Nodes: 150_000, Attributes: 64, Scope: 128, String: 3 << 20}

// Namespaces that mean something to the codec itself.
const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
	nsXSI   = "http://www.w3.org/2001/XMLSchema-instance"
)

// An Element of a decoded message. It must not be changed, nor the bytes it was
// decoded from. Methods of a nil Element answer as an absent element would, so
// that a path of Child calls needs no checks on the way.
type Element struct {
	Prefix, Local, Namespace string
	Attrs                    []Attr // in order, namespace declarations among them
	Nodes                    []Node
	scope                    *scope
}

// An Attr is an attribute; a namespace declaration is one in the namespace
// http://www.w3.org/2000/xmlns/.
type Attr struct {
	Prefix, Local, Namespace string
	Value                    Value
}

// A Node is a child element or, where Element is nil, a text or a comment.
type Node struct {
	Element *Element
	Value   Value
}

// scope is the innermost of the namespace declarations in force at an element.
type scope struct {
	prefix, uri string
	outer       *scope
	depth       int // declarations from here outwards
}

func (s *scope) find(prefix string) (uri string, ok bool) {
	if prefix == "xml" { // Namespaces in XML 1.0 §3: bound by definition
		return nsXML, true
	}
	for ; s != nil; s = s.outer {
		if s.prefix == prefix {
			return s.uri, true
		}
	}
	return "", prefix == ""
}

// Is tells whether the element has this name.
func (e *Element) Is(namespace, local string) bool {
	return e != nil && e.Local == local && e.Namespace == namespace
}

// Elements are the child elements in order.
func (e *Element) Elements() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		if e == nil {
			return
		}
		for i := range e.Nodes {
			if c := e.Nodes[i].Element; c != nil && !yield(c) {
				return
			}
		}
	}
}

// Child is the first child element of this name, or nil.
func (e *Element) Child(namespace, local string) *Element {
	for c := range e.Elements() {
		if c.Is(namespace, local) {
			return c
		}
	}
	return nil
}

// Attr is the attribute of this name; an attribute without prefix has the empty
// namespace.
func (e *Element) Attr(namespace, local string) (Value, bool) {
	if e == nil {
		return Value{}, false
	}
	for i := range e.Attrs {
		if a := &e.Attrs[i]; a.Local == local && a.Namespace == namespace {
			return a.Value, true
		}
	}
	return Value{}, false
}

// IsNil tells whether the element says xsi:nil: its value is unknown or to be
// cleared, which an empty text is not.
func (e *Element) IsNil() bool {
	v, _ := e.Attr(nsXSI, "nil")
	t := v.Text()
	return t == "true" || t == "1"
}

// Type is what xsi:type names, resolved where the element stands; both are
// empty where it says none or uses an undeclared prefix.
func (e *Element) Type() (namespace, local string) {
	v, ok := e.Attr(nsXSI, "type")
	if !ok {
		return "", ""
	}
	prefix, local, colon := strings.Cut(strings.TrimSpace(v.Text()), ":")
	if !colon {
		prefix, local = "", prefix
	}
	if namespace, ok = e.scope.find(prefix); !ok {
		return "", ""
	}
	return namespace, local
}

// Text is the element's own text as XML would have it, without the text of its
// children and without comments.
func (e *Element) Text() string {
	if e == nil || len(e.Nodes) == 0 {
		return ""
	}
	if len(e.Nodes) == 1 {
		return e.Nodes[0].text()
	}
	var b strings.Builder
	for nodes := e.Nodes; len(nodes) > 0; {
		n := nodes[0]
		if run, rest := leadingBytes(nodes); run != nil {
			n, nodes = Node{Value: Value{bytes8, run}}, rest
		} else {
			nodes = nodes[1:]
		}
		b.WriteString(n.text())
	}
	return b.String()
}

// leadingBytes joins the byte records that nodes begin with. A writer that
// streams sends one base64 text as several records; where a piece is no
// multiple of three bytes, joining the texts would put padding in the middle.
func leadingBytes(nodes []Node) (joined []byte, rest []Node) {
	n := 0
	for n < len(nodes) && nodes[n].Element == nil && nodes[n].Value.isBytes() {
		n++
	}
	if n == 1 {
		return nodes[0].Value.raw, nodes[1:]
	}
	for _, one := range nodes[:n] {
		joined = append(joined, one.Value.raw...)
	}
	return joined, nodes[n:]
}

// Bytes are what the element's text says in base64. Where it travelled as bytes,
// they point into the message. An empty text is no bytes and no error.
func (e *Element) Bytes() ([]byte, error) {
	if e == nil {
		return nil, nil
	}
	if run, rest := leadingBytes(e.Nodes); len(rest) == 0 {
		return run, nil
	}
	return fromBase64(e.Text())
}

func (n Node) text() string {
	if n.Element != nil {
		return ""
	}
	return n.Value.Text()
}

// String names the element and tells nothing of its content.
func (e *Element) String() string {
	if e == nil {
		return "<nil>"
	}
	return "<" + e.Local + " [redacted]>"
}

// GoString is String: %#v must not get at the content either.
func (e *Element) GoString() string { return e.String() }

// Format keeps every verb from the content.
func (e Element) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(e.String())) }

// LogValue is String.
func (e *Element) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON refuses the content.
func (e Element) MarshalJSON() ([]byte, error) { return []byte(`"[redacted]"`), nil }

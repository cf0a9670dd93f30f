package ldapmsg

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"skyrealm/der"
	"skyrealm/domain/dit"
)

// Selection is the list of attributes that a search asks for (RFC 4511
// §4.5.1.8). The zero Selection asks for none.
type Selection struct {
	// All is set for an empty list and for "*": everything but operational
	// attributes.
	All bool
	// Names are those asked for by name that the schema has, each once.
	Names []Selected

	listed bool // there was at least one, known or not
}

// Selected is an attribute asked for by name.
type Selected struct {
	Type *dit.AttrType
	// Suffix goes behind the name in the answer: ";binary" (RFC 4522).
	Suffix string
	// Low and High bound the values of an answer to name;range=low-high
	// ([MS-ADTS] §3.1.1.3.1.3.3), by which Windows reads large groups; High is
	// the largest int for "*". Ranged is set for it.
	Low, High int
	Ranged    bool
}

// NewSelection makes the Selection that a client's list means.
func NewSelection(names ...string) (s Selection) {
	for _, name := range names {
		s.add([]byte(name))
	}
	s.done()
	return s
}

// Has reports whether an attribute was asked for, by name or with all others.
func (s *Selection) Has(t *dit.AttrType) bool {
	for i := range s.Names {
		if s.Names[i].Type == t {
			return true
		}
	}
	return s.All && !t.Operational
}

// expect makes room for the list that list holds, as far as clients' lists go: a
// slice that grows by doubling takes three times what it holds in the end.
func (s *Selection) expect(list der.Reader) {
	n := 0
	for n < 32 {
		if _, _, _, ok := list.Any(); !ok {
			break
		}
		n++
	}
	if n > 0 {
		s.Names = make([]Selected, 0, n)
	}
}

// add takes the next name of the list. Unknown ones are ignored, "1.1" is one
// of these.
func (s *Selection) add(name []byte) {
	s.listed = true
	if len(name) == 1 && name[0] == '*' {
		s.All = true
		return
	}
	sel := Selected{Type: dit.AttrBytes(name), High: math.MaxInt}
	if sel.Type == nil {
		base, option, ok := bytes.Cut(name, []byte{';'})
		if sel.Type = dit.AttrBytes(base); sel.Type == nil || !ok || !sel.option(string(option)) {
			return
		}
	}
	for i := range s.Names {
		if s.Names[i].Type == sel.Type && s.Names[i].Suffix == sel.Suffix {
			return
		}
	}
	s.Names = append(s.Names, sel)
}

func (s *Selected) option(text string) bool {
	if strings.EqualFold(text, "binary") {
		s.Suffix = ";binary"
		return true
	}
	key, bounds, _ := strings.Cut(text, "=")
	low, high, ok := strings.Cut(bounds, "-")
	if !ok || !strings.EqualFold(key, "range") {
		return false
	}
	l, err := strconv.ParseUint(low, 10, 31)
	s.Low, s.Ranged = int(l), true
	if high == "*" {
		return err == nil
	}
	h, err2 := strconv.ParseUint(high, 10, 31)
	s.High = int(h)
	return err == nil && err2 == nil && l <= h
}

// done ends the list.
func (s *Selection) done() {
	s.All = s.All || !s.listed
	if len(s.Names) == 0 {
		s.Names = nil
	}
}

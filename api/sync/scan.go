package sync

import (
	"encoding/json"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth of a batch: the body, the list of items, an item, its attributes, a
// list of values.
const maxDepth = 5

// scanner reads JSON (RFC 8259) out of a body without copying it: a string
// without escapes is a piece of the body. It is strict where readers differ and
// so could be played off against each other: invalid UTF-8, a lone surrogate
// and anything after the end are errors, and names have one spelling.
//
// It is here because encoding/json took longer over a batch of hashes than
// checking and storing it (BenchmarkDecode).
//
// The first error sticks in bad; what is returned after it means nothing.
type scanner struct {
	s   string
	i   int
	bad bool
}

func (c *scanner) fail() { c.bad, c.i = true, len(c.s) }

// next skips white space and returns the byte there, 0 at the end.
func (c *scanner) next() byte {
	for c.i < len(c.s) {
		switch b := c.s[c.i]; b {
		case ' ', '\t', '\n', '\r':
			c.i++
		default:
			return b
		}
	}
	return 0
}

// take consumes b, which has to be next.
func (c *scanner) take(b byte) {
	if c.next() != b {
		c.fail()
		return
	}
	c.i++
}

// literal consumes word, which has to stand here.
func (c *scanner) literal(word string) {
	if !strings.HasPrefix(c.s[c.i:], word) {
		c.fail()
		return
	}
	c.i += len(word)
}

// object calls member for every member; member has to consume the value.
func (c *scanner) object(member func(name string)) {
	c.list('{', '}', func() {
		name := c.text()
		c.take(':')
		if !c.bad {
			member(name)
		}
	})
}

// array calls element for every element, which it has to consume.
func (c *scanner) array(element func()) { c.list('[', ']', element) }

func (c *scanner) list(open, end byte, one func()) {
	c.take(open)
	if c.next() == end {
		c.i++
		return
	}
	for !c.bad {
		one()
		switch c.next() {
		case ',':
			c.i++
		case end:
			c.i++
			return
		default:
			c.fail()
		}
	}
}

// text reads a string.
func (c *scanner) text() string {
	if c.take('"'); c.bad {
		return ""
	}
	start := c.i
	// The way to the closing quote decides the speed of a batch, so it is the
	// library's search, and not a loop here.
	end := strings.IndexByte(c.s[start:], '"')
	if end < 0 {
		c.fail()
		return ""
	}
	piece := c.s[start : start+end]
	if strings.IndexByte(piece, '\\') >= 0 {
		return c.escaped(start)
	}
	if control(piece) {
		c.fail()
		return ""
	}
	c.i = start + end + 1
	return piece
}

// control reports whether s has a character that must not stand bare in a string.
func control(s string) bool {
	i := 0
	for ; i+8 <= len(s); i += 8 { // eight at once: a byte below 0x20 borrows from its top bit
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		if (x-0x2020202020202020)&^x&0x8080808080808080 != 0 {
			return true
		}
	}
	for ; i < len(s); i++ {
		if s[i] < ' ' {
			return true
		}
	}
	return false
}

// escaped reads a string with escapes that starts at start.
func (c *scanner) escaped(start int) string {
	var out strings.Builder
	for i := start; i < len(c.s); {
		switch b := c.s[i]; {
		case b == '"':
			c.i = i + 1
			return out.String()
		case b < ' ':
			c.fail()
			return ""
		case b != '\\':
			out.WriteByte(b)
			i++
		case i+1 < len(c.s) && c.s[i+1] == 'u':
			r := hex4(c.s[i+2:])
			i += 6
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+2 <= len(c.s) && c.s[i:i+2] == `\u` {
					low = hex4(c.s[i+2:])
				}
				r = utf16.DecodeRune(r, low)
				if r == utf8.RuneError { // a surrogate alone is no character
					r = -1
				}
				i += 6
			}
			if r < 0 {
				c.fail()
				return ""
			}
			out.WriteRune(r)
		case i+1 < len(c.s) && strings.IndexByte(escapes, c.s[i+1]) >= 0:
			out.WriteByte(escaped[strings.IndexByte(escapes, c.s[i+1])])
			i += 2
		default:
			c.fail()
			return ""
		}
	}
	c.fail()
	return ""
}

const (
	escapes = `"\/bfnrt`
	escaped = "\"\\/\b\f\n\r\t"
)

// hex4 reads four hexadecimal digits, -1 where there are none.
func hex4(s string) rune {
	if len(s) < 4 {
		return -1
	}
	var r rune
	for _, b := range []byte(s[:4]) {
		switch {
		case b >= '0' && b <= '9':
			r = r<<4 | rune(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			r = r<<4 | rune(b|0x20-'a'+10)
		default:
			return -1
		}
	}
	return r
}

// number reads a number as it stands.
func (c *scanner) number() json.Number {
	start := c.i
	digits := func() {
		from := c.i
		for c.i < len(c.s) && c.s[c.i] >= '0' && c.s[c.i] <= '9' {
			c.i++
		}
		if c.i == from {
			c.fail()
		}
	}
	at := func(set string) bool { return c.i < len(c.s) && strings.IndexByte(set, c.s[c.i]) >= 0 }
	if at("-") {
		c.i++
	}
	if at("0") {
		c.i++
	} else {
		digits()
	}
	if at(".") {
		c.i++
		digits()
	}
	if at("eE") {
		c.i++
		if at("+-") {
			c.i++
		}
		digits()
	}
	if c.bad {
		return ""
	}
	return json.Number(c.s[start:c.i])
}

// skip consumes a value of any shape. depth counts the lists and objects that it
// stands in.
func (c *scanner) skip(depth int) {
	switch c.next() {
	case '{', '[':
		if depth >= maxDepth {
			c.fail()
			return
		}
		if c.s[c.i] == '{' {
			c.object(func(string) { c.skip(depth + 1) })
		} else {
			c.array(func() { c.skip(depth + 1) })
		}
	default:
		c.scalar()
	}
}

// scalar reads a string, a number, true, false or null (nil).
func (c *scanner) scalar() any {
	switch b := c.next(); b {
	case '"':
		return c.text()
	case 't':
		c.literal("true")
		return true
	case 'f':
		c.literal("false")
		return false
	case 'n':
		c.literal("null")
		return nil
	default:
		if b == '-' || b >= '0' && b <= '9' {
			return c.number()
		}
		c.fail()
		return nil
	}
}

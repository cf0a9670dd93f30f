package dit

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of a distinguished name. AD's own are wider than any name in use; these
// keep the cost of one name from a stranger small (CVE-2026-16560).
const (
	MaxDN      = 8 << 10 // bytes
	MaxRDNs    = 64
	maxAVAs    = 8 // attributes in one RDN; AD has one
	maxDNEntry = 512
)

// ErrDNSyntax is returned for text that is no distinguished name, or one past
// the limits. It maps to LDAP's invalidDNSyntax.
var ErrDNSyntax = errors.New("dit: malformed distinguished name")

// DN is a distinguished name: its spelling and its normal form. The zero DN is
// the root, the name of the rootDSE. Two spellings of one name are different
// under ==; use [DN.Equal], or [DN.Key] as a map's key.
type DN struct {
	text string
	key  string // normal form; holds no comma but between RDNs
}

// ParseDN reads a distinguished name (RFC 4514 §3). Spaces around the
// separators are allowed, as AD and OpenLDAP do. Values that are no UTF-8 are
// refused, also where they are written in hexadecimal pairs.
func ParseDN(text string) (DN, error) {
	if text == "" {
		return DN{}, nil
	}
	var buf [maxDNEntry]byte
	key, ok := appendDNKey(buf[:0], text)
	// The text itself too: half a character before a pair would make a whole one.
	if !ok || !utf8.ValidString(text) {
		return DN{}, ErrDNSyntax
	}
	if string(key) == text {
		return DN{text, text}, nil
	}
	return DN{text, string(key)}, nil
}

// MustParseDN is ParseDN for names that stand in the program; it panics.
func MustParseDN(text string) DN {
	dn, err := ParseDN(text)
	if err != nil {
		panic(text + ": " + err.Error())
	}
	return dn
}

// String returns the name as it was written.
func (d DN) String() string { return d.text }

// Key returns the normal form: equal names, and only those, have equal keys.
func (d DN) Key() string { return d.key }

// KeyDN returns the name that has this normal form, as [DN.Key] gave it.
func KeyDN(key string) DN { return DN{key, key} }

// IsRoot reports whether the name is empty.
func (d DN) IsRoot() bool { return d.key == "" }

// Equal reports whether both name the same entry.
func (d DN) Equal(other DN) bool { return d.key == other.key }

// Depth returns the number of RDNs.
func (d DN) Depth() int {
	if d.key == "" {
		return 0
	}
	return 1 + strings.Count(d.key, ",")
}

// IsDescendantOf reports whether d lies below base, at whatever depth. A name
// is no descendant of itself; every other is one of the root.
func (d DN) IsDescendantOf(base DN) bool {
	if base.key == "" {
		return d.key != ""
	}
	n := len(d.key) - len(base.key)
	return n > 0 && d.key[n-1] == ',' && d.key[n:] == base.key
}

// Compare orders names from the root to the leaf: a name stands before all that is
// below it, and what is below it in one run. It returns -1, 0 or 1.
func (d DN) Compare(other DN) int {
	a, b := d.key, other.key
	i, j := len(a), len(b) // what is from here on is the same
	for i > 0 && j > 0 && a[i-1] == b[j-1] {
		i--
		j--
	}
	switch {
	case i == 0 && j == 0:
		return 0
	case i == 0 && (a == "" || b[j-1] == ','):
		return -1
	case j == 0 && (b == "" || a[i-1] == ','):
		return 1
	}
	// The two RDNs that differ; they may end alike.
	n := strings.IndexByte(a[i:], ',')
	if n < 0 {
		n = len(a) - i
	}
	return strings.Compare(a[strings.LastIndexByte(a[:i], ',')+1:i+n], b[strings.LastIndexByte(b[:j], ',')+1:j+n])
}

// Past returns a name that nothing has: [DN.Compare] puts it behind d and all that
// is below d, and before what else is behind d.
func (d DN) Past() DN {
	rdn, above := d.key, ""
	if i := strings.IndexByte(d.key, ','); i >= 0 {
		rdn, above = d.key[:i], d.key[i:]
	}
	return KeyDN(rdn + "\x00" + above)
}

// Parent returns the name without its first RDN; the root's parent is the root.
func (d DN) Parent() DN {
	i, k := rdnEnd(d.text), strings.IndexByte(d.key, ',')
	if k < 0 {
		return DN{}
	}
	return DN{strings.TrimLeft(d.text[i+1:], " "), d.key[k+1:]}
}

// rdnEnd returns where the first RDN of well-formed text ends.
func rdnEnd(text string) int {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ',':
			return i
		}
	}
	return len(text)
}

// RDN returns the attribute, as it was written, and the unescaped value of the
// first RDN; of several attributes in it the first. The root has none.
func (d DN) RDN() (attr, value string) {
	if d.text == "" {
		return "", ""
	}
	p := dnParser{s: d.text}
	t, ok := p.attr()
	if !ok {
		return "", ""
	}
	v, ok := p.value(nil)
	if !ok {
		return "", ""
	}
	return t, string(v)
}

// RDNText returns the first RDN as it was written.
func (d DN) RDNText() string { return strings.TrimRight(d.text[:rdnEnd(d.text)], " ") }

// Child returns the name of an entry below d. The value is escaped; it must not
// be empty.
func (d DN) Child(attr, value string) (DN, error) {
	b := make([]byte, 0, len(attr)+len(value)+len(d.text)+8)
	b = append(append(b, attr...), '=')
	b = appendEscaped(b, value)
	if d.text != "" {
		b = append(append(b, ','), d.text...)
	}
	if value == "" {
		return DN{}, ErrDNSyntax
	}
	return ParseDN(string(b))
}

// appendEscaped writes a value so that it reads back (RFC 4514 §2.4).
func appendEscaped[S ~string | ~[]byte](dst []byte, value S) []byte {
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', hexDigits[c>>4], hexDigits[c&15])
			continue
		case c == ' ' && (i == 0 || i == len(value)-1), c == '#' && i == 0,
			strings.IndexByte(`"+,;<>\=`, c) >= 0:
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendDNKey appends the normal form of a name: attribute types by their
// schema names in lower case, values folded, and the characters that separate
// written as hexadecimal pairs, so that a comma in a key always divides RDNs.
func appendDNKey[S ~string | ~[]byte](dst []byte, text S) (key []byte, ok bool) {
	if len(text) > MaxDN {
		return nil, false
	}
	p := dnParserOf[S]{s: text}
	for rdns := 1; ; rdns++ {
		if rdns > MaxRDNs {
			return nil, false
		}
		start := len(dst)
		avas := 1
		for {
			if dst, ok = p.appendAVA(dst); !ok {
				return nil, false
			}
			if !p.take('+') {
				break
			}
			if avas++; avas > maxAVAs {
				return nil, false
			}
			dst = append(dst, '+')
		}
		if avas > 1 {
			dst = sortAVAs(dst, start)
		}
		if p.i == len(p.s) {
			return dst, true
		}
		if !p.take(',') {
			return nil, false
		}
		dst = append(dst, ',')
	}
}

// sortAVAs brings the parts of one RDN, which are a set, into one order.
func sortAVAs(dst []byte, start int) []byte {
	parts := bytes.Split(bytes.Clone(dst[start:]), []byte{'+'})
	slices.SortFunc(parts, bytes.Compare)
	return append(dst[:start], bytes.Join(parts, []byte{'+'})...)
}

type dnParser = dnParserOf[string]

type dnParserOf[S ~string | ~[]byte] struct {
	s S
	i int
}

func (p *dnParserOf[S]) spaces() {
	for p.i < len(p.s) && p.s[p.i] == ' ' {
		p.i++
	}
}

func (p *dnParserOf[S]) take(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// attr reads an attribute type and the equals sign.
func (p *dnParserOf[S]) attr() (name S, ok bool) {
	p.spaces()
	start := p.i
	for p.i < len(p.s) && isAttrByte(p.s[p.i]) {
		p.i++
	}
	name = p.s[start:p.i]
	p.spaces()
	return name, len(name) > 0 && p.take('=')
}

func isAttrByte(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.'
}

func (p *dnParserOf[S]) appendAVA(dst []byte) ([]byte, bool) {
	name, ok := p.attr()
	if !ok {
		return nil, false
	}
	if t := lookup(attrMap, name); t != nil {
		dst = appendFold(dst, t.Name)
	} else {
		dst = appendFold(dst, name)
	}
	dst = append(dst, '=')
	var buf [maxDNEntry]byte
	value, ok := p.value(buf[:0])
	if !ok {
		return nil, false
	}
	from := len(dst)
	return escapeKey(appendFold(dst, value), from), true
}

// escapeKey writes the separators in b[from:] as hexadecimal pairs, in place.
func escapeKey(b []byte, from int) []byte {
	n := 0
	for _, c := range b[from:] {
		if separates(c) {
			n++
		}
	}
	end := len(b)
	b = append(b, make([]byte, 2*n)...)
	for i := end - 1; n > 0; i-- {
		c := b[i]
		if !separates(c) {
			b[i+2*n] = c
			continue
		}
		n--
		b[i+2*n], b[i+2*n+1], b[i+2*n+2] = '\\', hexDigits[c>>4], hexDigits[c&15]
	}
	return b
}

func separates(c byte) bool { return c == ',' || c == '+' || c == '\\' }

// value appends the unescaped value up to the next separator.
func (p *dnParserOf[S]) value(dst []byte) (value []byte, ok bool) {
	p.spaces()
	if p.i < len(p.s) && p.s[p.i] == '#' {
		return p.hexValue(dst)
	}
	start := len(dst)
	keep := start // what lies before is no trailing space
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch c {
		case ',', '+':
			return finish(dst[:keep], start)
		case '"', ';', '<', '>', 0:
			return nil, false
		case '\\':
			if c, ok = p.escape(); !ok {
				return nil, false
			}
			dst = append(dst, c)
			keep = len(dst)
			continue
		}
		dst = append(dst, c)
		if c != ' ' {
			keep = len(dst)
		}
	}
	return finish(dst[:keep], start)
}

func finish(value []byte, start int) ([]byte, bool) {
	return value, len(value) > start && utf8.Valid(value[start:])
}

// escape reads what follows a backslash and stays on its last byte.
func (p *dnParserOf[S]) escape() (c byte, ok bool) {
	if p.i+1 >= len(p.s) {
		return 0, false
	}
	c = p.s[p.i+1]
	if strings.IndexByte(`"+,;<>\=# `, c) >= 0 {
		p.i++
		return c, true
	}
	if p.i+2 >= len(p.s) {
		return 0, false
	}
	hi, ok1 := unhex(c)
	lo, ok2 := unhex(p.s[p.i+2])
	p.i += 2
	return hi<<4 | lo, ok1 && ok2
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= lower(c) && lower(c) <= 'f':
		return lower(c) - 'a' + 10, true
	}
	return 0, false
}

// hexValue reads #hexstring, the BER encoding of a value (RFC 4514 §2.4), of
// one of the string types: no attribute that names an entry has another.
func (p *dnParserOf[S]) hexValue(dst []byte) (value []byte, ok bool) {
	start := p.i
	for p.i++; p.i < len(p.s); p.i++ {
		if _, ok := unhex(p.s[p.i]); !ok {
			break
		}
	}
	digits := []byte(p.s[start+1 : p.i])
	p.spaces()
	if p.i < len(p.s) && p.s[p.i] != ',' && p.s[p.i] != '+' {
		return nil, false
	}
	ber := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(ber, digits); err != nil || len(ber) < 3 {
		return nil, false
	}
	switch ber[0] {
	case 0x04, 0x0c, 0x13, 0x16: // OCTET, UTF8, Printable, IA5 string
		if int(ber[1]) == len(ber)-2 && utf8.Valid(ber[2:]) {
			return append(dst, ber[2:]...), true
		}
	}
	return nil, false
}

package der

import "time"

// Tag is an identifier octet: class, the constructed bit and a number up to 30.
type Tag byte

// Universal tags.
const (
	Boolean         Tag = 0x01
	Integer         Tag = 0x02
	BitString       Tag = 0x03
	OctetString     Tag = 0x04
	Null            Tag = 0x05
	OID             Tag = 0x06
	Enumerated      Tag = 0x0a
	UTF8String      Tag = 0x0c
	GeneralizedTime Tag = 0x18
	GeneralString   Tag = 0x1b
	Sequence        Tag = 0x30
	Set             Tag = 0x31
)

// Context is the constructed context-specific tag [n].
func Context(n int) Tag { return Tag(0xa0 | n) }

// ContextPrimitive is the primitive context-specific tag [n].
func ContextPrimitive(n int) Tag { return Tag(0x80 | n) }

// Application is the constructed application tag [APPLICATION n].
func Application(n int) Tag { return Tag(0x60 | n) }

// ApplicationPrimitive is the primitive application tag [APPLICATION n].
func ApplicationPrimitive(n int) Tag { return Tag(0x40 | n) }

// MaxDepth is how many elements may enclose one another.
const MaxDepth = 64

// Reader walks a run of elements. The zero Reader is an empty run.
//
// Each method returns ok=false on anything malformed and leaves the Reader
// where it was; a caller turns that into the error of its own protocol.
type Reader struct {
	rest  []byte
	depth uint8
}

// NewReader returns a Reader over b, which it does not copy.
func NewReader(b []byte) Reader { return Reader{rest: b} }

// Empty reports whether nothing is left.
func (r *Reader) Empty() bool { return len(r.rest) == 0 }

// Rest returns the bytes not read yet.
func (r *Reader) Rest() []byte { return r.rest }

// Peek returns the next tag; ok is false at the end.
func (r *Reader) Peek() (tag Tag, ok bool) {
	if len(r.rest) == 0 {
		return 0, false
	}
	return Tag(r.rest[0]), true
}

// header measures the first element of b. Lengths take at most four octets.
func header(b []byte) (tag Tag, head, length int, ok bool) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return 0, 0, 0, false
	}
	l := int(b[1])
	if l < 0x80 {
		return Tag(b[0]), 2, l, true
	}
	n := l & 0x7f
	if n == 0 || n > 4 || len(b) < 2+n {
		return 0, 0, 0, false
	}
	l = 0
	for _, c := range b[2 : 2+n] {
		l = l<<8 | int(c)
	}
	if l < 0 || l > 1<<31-1 {
		return 0, 0, 0, false
	}
	return Tag(b[0]), 2 + n, l, true
}

// Header measures the element at the start of b, which may be incomplete: a
// stream reader calls it to learn how many bytes to wait for. need is head plus
// length, or 0 while b is too short to tell; ok is false when no further byte
// can make the header valid.
func Header(b []byte) (tag Tag, need int, ok bool) {
	if len(b) == 0 {
		return 0, 0, true
	}
	if b[0]&0x1f == 0x1f {
		return 0, 0, false
	}
	if len(b) == 1 {
		return Tag(b[0]), 0, true
	}
	if n := int(b[1]); n >= 0x80 && len(b) < 2+n&0x7f {
		n &= 0x7f
		return Tag(b[0]), 0, n > 0 && n <= 4
	}
	tag, head, length, ok := header(b)
	return tag, head + length, ok
}

// Any reads the next element, whatever its tag: raw is the whole element and
// body its contents.
func (r *Reader) Any() (tag Tag, body, raw []byte, ok bool) {
	tag, head, length, ok := header(r.rest)
	if !ok || length > len(r.rest)-head {
		return 0, nil, nil, false
	}
	end := head + length
	raw = r.rest[:end:end]
	r.rest = r.rest[end:]
	return tag, raw[head:], raw, true
}

// Bytes reads the contents of the next element, which must carry tag.
func (r *Reader) Bytes(tag Tag) (body []byte, ok bool) {
	if t, present := r.Peek(); !present || t != tag {
		return nil, false
	}
	_, body, _, ok = r.Any()
	return body, ok
}

// Enter reads the next element, which must carry tag, as a run of its own.
func (r *Reader) Enter(tag Tag) (in Reader, ok bool) {
	if r.depth >= MaxDepth {
		return Reader{}, false
	}
	body, ok := r.Bytes(tag)
	return Reader{rest: body, depth: r.depth + 1}, ok
}

// Optional is Enter for an element that may be absent. ok is false only when
// the element is there and malformed.
func (r *Reader) Optional(tag Tag) (in Reader, present, ok bool) {
	if t, some := r.Peek(); !some || t != tag {
		return Reader{}, false, true
	}
	in, ok = r.Enter(tag)
	return in, ok, ok
}

// Skip passes over the next element when it carries tag.
func (r *Reader) Skip(tag Tag) (present, ok bool) {
	if t, some := r.Peek(); !some || t != tag {
		return false, true
	}
	_, _, _, ok = r.Any()
	return ok, ok
}

// Int64 reads an INTEGER, or an element of that shape under another tag.
func (r *Reader) Int64(tag Tag) (v int64, ok bool) {
	was := *r
	b, ok := r.Bytes(tag)
	if !ok || len(b) == 0 || len(b) > 8 {
		*r = was
		return 0, false
	}
	v = int64(int8(b[0]))
	for _, c := range b[1:] {
		v = v<<8 | int64(c)
	}
	return v, true
}

// Int32 reads an INTEGER that fits 32 bits, signed.
func (r *Reader) Int32(tag Tag) (v int32, ok bool) {
	was := *r
	w, ok := r.Int64(tag)
	if !ok || w != int64(int32(w)) {
		*r = was
		return 0, false
	}
	return int32(w), true
}

// Uint32 reads an INTEGER of 0 to 2^32-1. A negative 32-bit number is taken as
// its unsigned twin: MIT krb5 before 1.9 and several Java clients send nonces
// and sequence numbers that way (RFC 4120 §5.2.4).
func (r *Reader) Uint32(tag Tag) (v uint32, ok bool) {
	was := *r
	w, ok := r.Int64(tag)
	if !ok || w < -1<<31 || w > 1<<32-1 {
		*r = was
		return 0, false
	}
	return uint32(w), true
}

// Bool reads a BOOLEAN; any octet but zero is true (X.690 §8.2).
func (r *Reader) Bool(tag Tag) (v, ok bool) {
	was := *r
	b, ok := r.Bytes(tag)
	if !ok || len(b) != 1 {
		*r = was
		return false, false
	}
	return b[0] != 0, true
}

// Flags reads the first 32 bits of a BIT STRING, bit 0 as the highest
// (RFC 4120 §5.2.8); bits that are not there are zero.
func (r *Reader) Flags(tag Tag) (v uint32, ok bool) {
	was := *r
	b, ok := r.Bytes(tag)
	if !ok || len(b) < 1 || b[0] > 7 || (len(b) == 1 && b[0] != 0) {
		*r = was
		return 0, false
	}
	for i := 0; i < 4; i++ {
		v <<= 8
		if i+1 < len(b) {
			v |= uint32(b[i+1])
		}
	}
	if spare := uint(b[0]); len(b) <= 5 {
		// The unused bits of the last octet may hold anything in BER.
		v &^= 1<<(spare+8*uint(5-len(b))) - 1
	}
	return v, true
}

// Time reads a GeneralizedTime in its DER form, YYYYMMDDHHMMSSZ.
func (r *Reader) Time(tag Tag) (t time.Time, ok bool) {
	was := *r
	b, ok := r.Bytes(tag)
	if !ok || len(b) != 15 || b[14] != 'Z' {
		*r = was
		return time.Time{}, false
	}
	var n [14]int
	for i, c := range b[:14] {
		if c < '0' || c > '9' {
			*r = was
			return time.Time{}, false
		}
		n[i] = int(c - '0')
	}
	two := func(i int) int { return n[i]*10 + n[i+1] }
	year, month, day := two(0)*100+two(2), two(4), two(6)
	hour, minute, second := two(8), two(10), two(12)
	t = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	// time.Date normalises 31 February; a date that moved was not one.
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		*r = was
		return time.Time{}, false
	}
	return t, true
}

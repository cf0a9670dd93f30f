package pac

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"

	"skyrealm/sid"
)

var le = binary.LittleEndian

// writer appends little-endian fields to one buffer. An NDR body starts at base.
type writer struct {
	b    []byte
	base int
	ref  uint32 // the next referent id
	long bool   // some value did not fit its field
}

func (w *writer) u16(v uint16)    { w.b = le.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32)    { w.b = le.AppendUint32(w.b, v) }
func (w *writer) time(v FileTime) { w.b = le.AppendUint64(w.b, uint64(v)) }

// align fills up to a multiple of n from base.
func (w *writer) align(n int) {
	for (len(w.b)-w.base)%n != 0 {
		w.b = append(w.b, 0)
	}
}

// pointer puts a [unique] pointer. Ids ascend by four from 0x20000, as Windows
// numbers them.
func (w *writer) pointer(present bool) {
	if !present {
		w.u32(0)
		return
	}
	w.u32(w.ref)
	w.ref += 4
}

// structure begins a type serialization ([MS-RPCE] §2.2.6) with a pointer to
// the one structure in it; endStructure closes it.
func (w *writer) structure() (start int) {
	start = len(w.b)
	w.b = append(w.b,
		1, 0x10, 8, 0, 0xcc, 0xcc, 0xcc, 0xcc, // [MS-RPCE] §2.2.6.1
		0, 0, 0, 0, 0, 0, 0, 0) // §2.2.6.2, the length comes at the end
	w.base, w.ref = len(w.b), 0x20000
	w.pointer(true)
	return start
}

func (w *writer) endStructure(start int) {
	w.align(8)
	le.PutUint32(w.b[start+8:], uint32(len(w.b)-w.base))
}

// units is how many UTF-16 units s takes.
func units(s string) (n int) {
	for _, r := range s {
		if n++; r > 0xffff {
			n++
		}
	}
	return n
}

// utf16 puts s without length or terminator.
func (w *writer) utf16(s string) {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			w.b = append(w.b, c, 0)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			w.u16(uint16(hi))
			w.u16(uint16(lo))
			continue
		}
		w.u16(uint16(r))
	}
}

// str puts the RPC_UNICODE_STRING of s ([MS-DTYP] §2.3.10) and chars what it
// points to. spare is 1 for the two strings that Windows counts a terminator
// for in MaximumLength without sending it. An empty string is pointed to all
// the same, as in Windows' own PACs.
func (w *writer) str(s string, spare int) {
	n := units(s)
	if n > maxString {
		w.long, n = true, 0
	}
	w.u16(uint16(2 * n))
	w.u16(uint16(2 * (n + spare)))
	w.pointer(true)
}

func (w *writer) chars(s string, spare int) {
	n := units(s)
	w.align(4)
	w.u32(uint32(n + spare))
	w.u32(0)
	w.u32(uint32(n))
	w.utf16(s)
}

func (w *writer) sid(s sid.SID) {
	w.align(4)
	w.u32(uint32(s.Len()))
	w.b = append(w.b, s...)
}

func (w *writer) groups(list []Group) {
	w.align(4)
	w.u32(uint32(len(list)))
	for _, g := range list {
		w.u32(g.RID)
		w.u32(g.Attributes)
	}
}

// reader takes little-endian fields from b. The first fault stays: every later
// read gives zero.
type reader struct {
	b   []byte
	off int
	bad bool
}

// readStructure opens what structure began.
func readStructure(b []byte) (r reader, ok bool) {
	if len(b) < 16 || b[0] != 1 || b[1] != 0x10 || le.Uint16(b[2:]) != 8 {
		return r, false // another version, or big-endian
	}
	// The length counts the padding or not; what is left is no more than that.
	if n := uint64(le.Uint32(b[8:])); n > uint64(len(b)-16) || uint64(len(b)-16)-n >= 8 {
		return r, false
	}
	r.b = b[16:]
	return r, r.pointer()
}

// take returns the next n bytes, nil when they are not there.
func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b)-r.off {
		r.bad = true
		return nil
	}
	r.off += n
	return r.b[r.off-n : r.off : r.off]
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return le.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (r *reader) time() FileTime {
	if b := r.take(8); b != nil {
		return FileTime(le.Uint64(b))
	}
	return 0
}

func (r *reader) align(n int) { r.take((n - r.off%n) % n) }

// pointer reports whether a [unique] pointer points to anything.
func (r *reader) pointer() bool { return r.u32() != 0 }

// str reads an RPC_UNICODE_STRING and chars what it points to.
type str struct {
	length, max uint16
	present     bool
}

func (r *reader) str() (s str) {
	s.length, s.max = r.u16(), r.u16()
	s.present = r.pointer()
	if s.length%2 != 0 || s.length > s.max || (!s.present && s.length != 0) {
		r.bad = true
	}
	return s
}

func (r *reader) chars(s str) string {
	if !s.present {
		return ""
	}
	r.align(4)
	size, offset, actual := r.u32(), r.u32(), r.u32()
	if offset != 0 || actual > size || actual != uint32(s.length/2) {
		r.bad = true
	}
	return r.utf16(2 * int(s.length/2))
}

// utf16 reads n bytes of text; an unpaired surrogate becomes U+FFFD.
func (r *reader) utf16(n int) string {
	if n%2 != 0 {
		r.bad = true
	}
	b := r.take(n)
	if len(b) == 0 {
		return ""
	}
	text := make([]byte, 0, len(b))
	for len(b) >= 2 {
		c := rune(le.Uint16(b))
		b = b[2:]
		if utf16.IsSurrogate(c) {
			low := rune(0)
			if len(b) >= 2 {
				low = rune(le.Uint16(b))
			}
			if c = utf16.DecodeRune(c, low); c != utf8.RuneError {
				b = b[2:]
			}
		}
		text = utf8.AppendRune(text, c)
	}
	return string(text)
}

func (r *reader) sid() sid.SID {
	r.align(4)
	count := r.u32()
	if count > sid.MaxSubAuthorities {
		r.bad = true
		return ""
	}
	s, err := sid.FromBytes(r.take(8 + 4*int(count)))
	if err != nil {
		r.bad = true
	}
	return s
}

// count reads the size of a conformant array, which must be the one that the
// structure gave; each element takes at least size bytes.
func (r *reader) count(want uint32, size int) int {
	r.align(4)
	if n := r.u32(); n != want || n > MaxGroups || int(n)*size > len(r.b)-r.off {
		r.bad = true
		return 0
	}
	return int(want)
}

func (r *reader) groups(want uint32) []Group {
	n := r.count(want, 8)
	if n == 0 {
		return nil
	}
	list := make([]Group, n)
	for i := range list {
		list[i] = Group{r.u32(), r.u32()}
	}
	return list
}

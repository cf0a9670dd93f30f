package der

import "time"

// Writer builds a message from its last byte to its first. Fields are therefore
// written in reverse order, and a constructed element is closed by [Writer.Wrap]
// once all of its contents stand:
//
//	w := der.NewWriter(nil)
//	end := w.Len()
//	w.Int(der.Integer, 2) // second field
//	w.Int(der.Integer, 1) // first field
//	w.Wrap(der.Sequence, end)
//	msg := w.Bytes()
//
// The zero Writer is ready for use.
type Writer struct {
	buf []byte
	pos int // buf[pos:] is written
}

// NewWriter returns a Writer that uses the whole capacity of buf before it
// allocates.
func NewWriter(buf []byte) *Writer {
	w := &Writer{}
	w.Reset(buf)
	return w
}

// Reset forgets what was written and takes buf as the new buffer.
func (w *Writer) Reset(buf []byte) {
	w.buf = buf[:cap(buf)]
	w.pos = cap(buf)
}

// Bytes returns what was written. It points into the Writer's buffer.
func (w *Writer) Bytes() []byte { return w.buf[w.pos:] }

// Len returns how many bytes were written; it is the mark that Wrap takes.
func (w *Writer) Len() int { return len(w.buf) - w.pos }

// Space puts n bytes in front of what stands and returns them to be filled.
func (w *Writer) Space(n int) []byte {
	if n > w.pos {
		w.grow(n)
	}
	w.pos -= n
	return w.buf[w.pos : w.pos+n]
}

func (w *Writer) grow(n int) {
	used := w.Len()
	size := max(2*len(w.buf), used+n, 256)
	buf := make([]byte, size)
	copy(buf[size-used:], w.Bytes())
	w.buf, w.pos = buf, size-used
}

// Raw puts an encoded element, or any bytes, in front.
func (w *Writer) Raw(b []byte) { copy(w.Space(len(b)), b) }

// Wrap puts the header of an element that contains all that was written since
// Len returned mark.
func (w *Writer) Wrap(tag Tag, mark int) { w.head(tag, w.Len()-mark) }

func (w *Writer) head(tag Tag, length int) {
	switch {
	case length < 0x80:
		b := w.Space(2)
		b[0], b[1] = byte(tag), byte(length)
	case length < 0x100:
		b := w.Space(3)
		b[0], b[1], b[2] = byte(tag), 0x81, byte(length)
	case length < 0x10000:
		b := w.Space(4)
		b[0], b[1], b[2], b[3] = byte(tag), 0x82, byte(length>>8), byte(length)
	default:
		b := w.Space(6)
		b[0], b[1] = byte(tag), 0x84
		b[2], b[3], b[4], b[5] = byte(length>>24), byte(length>>16), byte(length>>8), byte(length)
		if length < 0x1000000 { // three octets are the shortest form here
			w.pos++
			w.buf[w.pos], w.buf[w.pos+1] = byte(tag), 0x83
		}
	}
}

// Octets puts an element whose contents are b.
func (w *Writer) Octets(tag Tag, b []byte) {
	w.Raw(b)
	w.head(tag, len(b))
}

// String puts an element whose contents are s.
func (w *Writer) String(tag Tag, s string) {
	copy(w.Space(len(s)), s)
	w.head(tag, len(s))
}

// Int puts an INTEGER, or an element of that shape under another tag, in the
// fewest octets.
func (w *Writer) Int(tag Tag, v int64) {
	n := 1
	for u := v; u > 0x7f || u < -0x80; u >>= 8 {
		n++
	}
	b := w.Space(n)
	for i := n - 1; i >= 0; i-- {
		b[i] = byte(v)
		v >>= 8
	}
	w.head(tag, n)
}

// Bool puts a BOOLEAN.
func (w *Writer) Bool(tag Tag, v bool) {
	b := w.Space(1)
	b[0] = 0
	if v {
		b[0] = 0xff
	}
	w.head(tag, 1)
}

// Flags puts a BIT STRING of 32 bits, bit 0 as the highest. Kerberos wants at
// least 32 bits, whatever DER says of trailing zeros (RFC 4120 §5.2.8).
func (w *Writer) Flags(tag Tag, v uint32) {
	b := w.Space(5)
	b[0], b[1], b[2], b[3], b[4] = 0, byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
	w.head(tag, 5)
}

// Time puts a GeneralizedTime in UTC, to the second.
func (w *Writer) Time(tag Tag, t time.Time) {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b := w.Space(15)
	two := func(i, v int) { b[i], b[i+1] = byte('0'+v/10%10), byte('0'+v%10) }
	two(0, year/100)
	two(2, year%100)
	two(4, int(month))
	two(6, day)
	two(8, hour)
	two(10, minute)
	two(12, second)
	b[14] = 'Z'
	w.head(tag, 15)
}

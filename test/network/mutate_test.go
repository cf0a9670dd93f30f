package network

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// mutant returns a broken copy of one of the messages.
func mutant(r *rand.Rand, messages [][]byte) []byte {
	pick := func() []byte { return messages[r.IntN(len(messages))] }
	b := slices.Clone(pick())
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			break
		}
		at := r.IntN(len(b))
		switch r.IntN(9) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b[at] = byte(r.Uint32())
		case 2:
			b = b[:at]
		case 3: // a length that is another's, or none's
			if spots := elements(b); len(spots) > 0 {
				b[spots[r.IntN(len(spots))].at+1] = []byte{0, 1, 0x7f, 0x80, 0x81, 0x84, 0xff, byte(r.Uint32())}[r.IntN(8)]
			}
		case 4: // the end of another message
			other := pick()
			b = append(b[:at], other[r.IntN(len(other)):]...)
		case 5: // a part twice
			b = slices.Insert(b, at, slices.Clone(b[at:at+r.IntN(len(b)-at)])...)
		default: // an element for another, or none, with all lengths right
			b = swap(r, b, pick())
		}
	}
	return b[:min(len(b), 8<<10)]
}

// element is where one of DER lies in a message, and in which others it is.
type element struct {
	at, head, end int
	in            []int // of the elements, outermost first
}

// elements finds those that can be told from lengths, in octet strings too.
func elements(b []byte) (found []element) {
	var walk func(at, end, depth int, in []int)
	walk = func(at, end, depth int, in []int) {
		for at+2 <= end && len(found) < 500 {
			e := element{at: at, in: in}
			n, head := int(b[at+1]), 2
			if n >= 0x80 {
				k := n & 0x7f
				if k == 0 || k > 2 || at+2+k > end {
					return
				}
				n, head = 0, 2+k
				for _, c := range b[at+2 : at+head] {
					n = n<<8 | int(c)
				}
			}
			e.head, e.end = at+head, at+head+n
			if e.end > end {
				return
			}
			found = append(found, e)
			if (b[at]&0x20 != 0 || b[at] == 4) && depth < 24 {
				walk(e.head, e.end, depth+1, append(slices.Clone(in), len(found)-1))
			}
			at = e.end
		}
	}
	walk(0, len(b), 0, nil)
	return found
}

// swap puts an element of other, or nothing, in place of one of b.
func swap(r *rand.Rand, b, other []byte) []byte {
	mine, theirs := elements(b), elements(other)
	if len(mine) == 0 || len(theirs) == 0 {
		return b
	}
	e := mine[r.IntN(len(mine))]
	var part []byte
	if r.IntN(4) > 0 {
		o := theirs[r.IntN(len(theirs))]
		part = other[o.at:o.end]
	}
	from, to := e.at, e.end
	for _, i := range slices.Backward(e.in) {
		p := mine[i]
		content := slices.Concat(b[p.head:from], part, b[to:p.end])
		part = append(header(b[p.at], len(content)), content...)
		from, to = p.at, p.end
	}
	return slices.Concat(b[:from], part, b[to:])
}

func header(tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return []byte{tag, byte(n)}
	case n < 0x100:
		return []byte{tag, 0x81, byte(n)}
	case n < 0x10000:
		return binary.BigEndian.AppendUint16([]byte{tag, 0x82}, uint16(n))
	}
	return binary.BigEndian.AppendUint32([]byte{tag, 0x84}, uint32(n))
}

package nbfx

import (
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// text reads the data of a text record of an even type, and refuses any other.
func (r *reader) text(kind byte) (Value, error) {
	v := Value{kind: kind}
	var err error
	if size, ok := fixed(kind); ok {
		if v.raw, err = r.take(uint64(size)); err != nil {
			return v, err
		}
		return v, r.checkFixed(v)
	}
	if size := lengthSize(kind); size > 0 {
		b, err := r.take(uint64(size))
		if err != nil {
			return v, err
		}
		var n uint64
		for i, c := range b {
			n |= uint64(c) << (8 * i)
		}
		if v.raw, err = r.counted(n); err != nil {
			return v, err
		}
		switch kind {
		case chars8, chars16, chars32:
			if !utf8.Valid(v.raw) {
				err = r.fail(ErrMalformed, "not UTF-8")
			}
		case unicode8, unicode16, unicode32:
			if !validUTF16(v.raw) {
				err = r.fail(ErrMalformed, "not UTF-16")
			}
		}
		return v, err
	}
	from := r.at
	switch kind {
	case qnameText:
		p, err := r.byte()
		if err != nil {
			return v, err
		}
		if p > 25 {
			return v, r.fail(ErrMalformed, "a prefix beyond z")
		}
		fallthrough
	case dictText:
		_, err = r.word()
		v.raw = r.b[from:r.at:r.at]
		return v, err
	case startList:
		return r.list()
	}
	return v, r.fail(ErrMalformed, fmt.Sprintf("record 0x%02x where a text should be", kind))
}

func (r *reader) checkFixed(v Value) error {
	ok := true
	switch v.kind {
	case boolText:
		ok = v.raw[0] <= 1
	case dateTime:
		ok = validDateTime(binary.LittleEndian.Uint64(v.raw))
	case decimalText:
		ok = validDecimal(v.raw)
	}
	if !ok {
		return r.fail(ErrMalformed, "a value out of range")
	}
	return nil
}

// list reads the items up to the list's end, and counts them as nodes.
func (r *reader) list() (Value, error) {
	from := r.at
	for {
		kind, err := r.byte()
		if err != nil {
			return Value{}, err
		}
		if kind&^1 == endList {
			return Value{startList, r.b[from : r.at-1 : r.at-1]}, nil
		}
		if kind == startList {
			return Value{}, r.fail(ErrMalformed, "a list in a list")
		}
		if _, err := r.text(kind); err != nil {
			return Value{}, err
		}
		if err := r.count(); err != nil {
			return Value{}, err
		}
	}
}

// array reads an element that repeats for each of a row of values ([MC-NBFX]
// §2.3.3). The bytes of the values bound how often: no type takes none.
func (r *reader) array(outer *scope, depth int) error {
	kind, err := r.byte()
	if err != nil {
		return err
	}
	if !isElement(kind) {
		return r.fail(ErrMalformed, "an array of no element")
	}
	e, err := r.start(kind, outer, depth)
	if err != nil {
		return err
	}
	if kind, err = r.byte(); err != nil {
		return err
	}
	if kind != endElement {
		return r.fail(ErrMalformed, "an array's element with content")
	}
	if kind, err = r.byte(); err != nil {
		return err
	}
	n, err := r.int31()
	if err != nil {
		return err
	}
	if !mayRepeat(kind) || n == 0 {
		return r.fail(ErrMalformed, "an array of such values")
	}
	for range n {
		v, err := r.text(kind &^ 1)
		if err != nil {
			return err
		}
		for range 2 { // the element and its text
			if err := r.count(); err != nil {
				return err
			}
		}
		c := *e
		c.Nodes = []Node{{Value: v}}
		r.stack = append(r.stack, Node{Element: &c})
	}
	return nil
}

func mayRepeat(kind byte) bool {
	switch kind {
	case boolText | 1, int16Text | 1, int32Text | 1, int64Text | 1, floatText | 1, doubleText | 1,
		decimalText | 1, dateTime | 1, timeSpan | 1, uuidText | 1:
		return true
	}
	return false
}

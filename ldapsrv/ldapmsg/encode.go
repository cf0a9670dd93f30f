package ldapmsg

import (
	"math"
	"strconv"

	"skyrealm/der"
	"skyrealm/domain/dit"
)

// Result is the part that all responses share (RFC 4511 §4.1.9).
type Result struct {
	Code      ResultCode
	MatchedDN string
	Message   string
	Referrals []string // with code Referral
}

// AppendResult appends a response that is only a result: OpSearchDone and those
// of modify, add, delete, modify DN and compare.
func AppendResult(dst []byte, id int32, op Op, r Result, controls ...Control) []byte {
	w := writer(dst)
	putControls(&w, controls)
	mark := w.Len()
	putResult(&w, r)
	w.Wrap(op, mark)
	return finish(dst, &w, id)
}

// AppendBindResponse appends a bind's response; serverCreds are nil when there
// are none.
func AppendBindResponse(dst []byte, id int32, r Result, serverCreds []byte, controls ...Control) []byte {
	w := writer(dst)
	putControls(&w, controls)
	mark := w.Len()
	if serverCreds != nil {
		w.Octets(der.ContextPrimitive(7), serverCreds)
	}
	putResult(&w, r)
	w.Wrap(OpBindResponse, mark)
	return finish(dst, &w, id)
}

// AppendExtended appends an extended response; name is left out when "", value
// when nil. With ID 0 it is an unsolicited notification (RFC 4511 §4.4).
func AppendExtended(dst []byte, id int32, r Result, name string, value []byte, controls ...Control) []byte {
	w := writer(dst)
	putControls(&w, controls)
	mark := w.Len()
	if value != nil {
		w.Octets(der.ContextPrimitive(11), value)
	}
	if name != "" {
		w.String(der.ContextPrimitive(10), name)
	}
	putResult(&w, r)
	w.Wrap(OpExtendedResponse, mark)
	return finish(dst, &w, id)
}

// AppendReference appends a search's reference to other servers.
func AppendReference(dst []byte, id int32, urls ...string) []byte {
	w := writer(dst)
	for i := len(urls) - 1; i >= 0; i-- {
		w.String(der.OctetString, urls[i])
	}
	w.Wrap(OpSearchReference, 0)
	return finish(dst, &w, id)
}

func putResult(w *der.Writer, r Result) {
	if len(r.Referrals) > 0 {
		mark := w.Len()
		for i := len(r.Referrals) - 1; i >= 0; i-- {
			w.String(der.OctetString, r.Referrals[i])
		}
		w.Wrap(der.Context(3), mark)
	}
	w.String(der.OctetString, r.Message)
	w.String(der.OctetString, r.MatchedDN)
	w.Int(der.Enumerated, int64(r.Code))
}

func putControls(w *der.Writer, list []Control) {
	if len(list) == 0 {
		return
	}
	for i := len(list) - 1; i >= 0; i-- {
		c, mark := &list[i], w.Len()
		if c.Value != nil {
			w.Octets(der.OctetString, c.Value)
		}
		if c.Critical {
			w.Bool(der.Boolean, true)
		}
		w.String(der.OctetString, c.OID)
		w.Wrap(der.Sequence, mark)
	}
	w.Wrap(der.Context(0), 0)
}

// writer writes into all the capacity that dst has to spare: a message grows there from its end,
// and finish moves it down to where dst ends.
func writer(dst []byte) (w der.Writer) {
	w.Reset(dst[len(dst):])
	return w
}

func finish(dst []byte, w *der.Writer, id int32) []byte {
	w.Int(der.Integer, int64(id))
	w.Wrap(der.Sequence, 0)
	return append(dst, w.Bytes()...)
}

// Paged reads the value of a paged results control (RFC 2696): the page's size
// in a request, an estimate of all in a response.
func (c *Control) Paged() (size int32, cookie []byte, ok bool) {
	r := der.NewReader(c.Value)
	in, ok := r.Enter(der.Sequence)
	size, ok2 := in.Int32(der.Integer)
	cookie, ok3 := in.Bytes(der.OctetString)
	return size, cookie, ok && ok2 && ok3 && size >= 0 && r.Empty() && in.Empty()
}

// PagedControl makes the control of a page's end; an empty cookie ends the
// search.
func PagedControl(size int32, cookie []byte) Control {
	var w der.Writer
	w.Octets(der.OctetString, cookie)
	w.Int(der.Integer, int64(size))
	w.Wrap(der.Sequence, 0)
	return Control{OID: PagedResults, Value: w.Bytes()}
}

// AppendEntry appends a search result entry with the attributes of sel, of
// which the client sees what [dit.AppendValues] gives; links may be nil. With
// typesOnly it has no values. Nothing is
// allocated when dst has room.
func AppendEntry(dst []byte, id int32, e *dit.Entry, sel *Selection, typesOnly bool, links dit.Links) []byte {
	// The lengths of the outer elements come last: their headers are written at
	// their longest and the list is then moved up to them by a few bytes.
	dn := e.DN.String()
	start := len(dst)
	room := start + maxHead + 6 + maxHead + maxHead + len(dn) + maxHead
	dst = append(dst, make([]byte, room-start)...)
	if sel.All {
		dst = appendAll(dst, e, typesOnly, links)
	}
	var buf [valuesRoom]string
	for i := range sel.Names {
		s := &sel.Names[i]
		if sel.All && !s.Type.Operational && s.Suffix == "" && !s.Ranged {
			continue // there already
		}
		dst = appendAttribute(dst, s.Type, s, dit.AppendValues(buf[:0], e, s.Type, links), typesOnly)
	}
	list := len(dst) - room
	op := headSize(len(dn)) + len(dn) + headSize(list) + list
	idSize := intSize(id)
	head := appendHead(dst[:start], der.Sequence, 2+idSize+headSize(op)+op)
	head = append(head, byte(der.Integer), byte(idSize))
	for i := idSize - 1; i >= 0; i-- {
		head = append(head, byte(int64(id)>>(8*i)))
	}
	head = appendHead(head, OpSearchEntry, op)
	head = appendHead(head, der.OctetString, len(dn))
	head = append(head, dn...)
	head = appendHead(head, der.Sequence, list)
	return append(head, dst[room:]...)
}

// valuesRoom is for how many values of an attribute nothing is allocated: more
// than most have.
const valuesRoom = 8

// computed are the attributes that an entry need not hold to have.
var computed = dit.Computed()

func appendAll(dst []byte, e *dit.Entry, typesOnly bool, links dit.Links) []byte {
	var buf [valuesRoom]string
	attrs := e.Attributes()
	for t, values := attrs.Next(buf[:0]); t != nil; t, values = attrs.Next(buf[:0]) {
		if !t.Operational && !t.Secret && !(t.Computed && links != nil) {
			dst = appendAttribute(dst, t, nil, values, typesOnly)
		}
	}
	if links != nil {
		for _, t := range computed {
			dst = appendAttribute(dst, t, nil, dit.AppendValues(buf[:0], e, t, links), typesOnly)
		}
	}
	return dst
}

func appendAttribute(dst []byte, t *dit.AttrType, s *Selected, values []string, typesOnly bool) []byte {
	if len(values) == 0 {
		return dst
	}
	suffix := ""
	if s != nil {
		suffix = s.Suffix
		if s.Ranged {
			if values, suffix = s.cut(values); values == nil {
				return dst
			}
		}
	}
	if typesOnly {
		values = nil
	}
	set := 0
	for _, v := range values {
		set += headSize(len(v)) + len(v)
	}
	name := len(t.Name) + len(suffix)
	dst = appendHead(dst, der.Sequence, headSize(name)+name+headSize(set)+set)
	dst = appendHead(dst, der.OctetString, name)
	dst = append(append(dst, t.Name...), suffix...)
	dst = appendHead(dst, der.Set, set)
	for _, v := range values {
		dst = append(appendHead(dst, der.OctetString, len(v)), v...)
	}
	return dst
}

// cut returns the values of a range, and what the answer's name says of them:
// the last values are told by "*".
func (s *Selected) cut(values []string) (part []string, suffix string) {
	if s.Low >= len(values) {
		return nil, ""
	}
	suffix = ";range=" + strconv.Itoa(s.Low) + "-"
	if s.High == math.MaxInt || s.High >= len(values)-1 {
		return values[s.Low:], suffix + "*"
	}
	return values[s.Low : s.High+1], suffix + strconv.Itoa(s.High)
}

const maxHead = 6

func headSize(n int) int {
	switch {
	case n < 0x80:
		return 2
	case n < 0x100:
		return 3
	case n < 0x10000:
		return 4
	case n < 0x1000000:
		return 5
	}
	return 6
}

func appendHead(dst []byte, tag der.Tag, n int) []byte {
	switch headSize(n) {
	case 2:
		return append(dst, byte(tag), byte(n))
	case 3:
		return append(dst, byte(tag), 0x81, byte(n))
	case 4:
		return append(dst, byte(tag), 0x82, byte(n>>8), byte(n))
	case 5:
		return append(dst, byte(tag), 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, byte(tag), 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

func intSize(v int32) (n int) {
	for n = 1; v > 0x7f || v < -0x80; v >>= 8 {
		n++
	}
	return n
}

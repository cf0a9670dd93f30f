package ldapmsg

import (
	"bytes"
	"unicode/utf8"

	"skyrealm/der"
	"skyrealm/domain/dit"
)

// Decoder decodes the requests of one connection. Clients ask for the same
// attributes in one search after the other, so it keeps the last list: requests
// share it. The zero Decoder is ready for use.
type Decoder struct {
	list  []byte // as it stood in the message
	attrs Selection
}

// maxKept is the longest list, in bytes, that a Decoder keeps.
const maxKept = 1 << 10

// Decode is [Decoder.Decode] for a single request.
func Decode(msg []byte) (Message, error) { return new(Decoder).Decode(msg) }

// Decode reads one request, which must fill msg. The error wraps one of this
// package's or dit.ErrFilterDepth; the Message then has what could be read of
// its envelope.
func (c *Decoder) Decode(msg []byte) (m Message, err error) {
	r := der.NewReader(msg)
	in, ok := r.Enter(der.Sequence)
	if !ok || !r.Empty() {
		return m, ErrMalformed
	}
	id, ok := in.Int32(der.Integer)
	tag, more := in.Peek()
	if !ok || id < 0 || !more {
		return m, ErrMalformed
	}
	m.ID, m.Tag = id, tag
	if m.Op, err = c.decodeOp(&in, tag, len(msg)); err != nil {
		return m, err
	}
	controls, present, ok := in.Optional(der.Context(0))
	if !ok {
		return m, ErrMalformed
	}
	if present {
		m.Controls, err = decodeControls(controls)
	}
	// What follows is for later versions of the protocol (RFC 4511 §4).
	return m, err
}

func (c *Decoder) decodeOp(in *der.Reader, tag Op, size int) (op any, err error) {
	if tag&0x20 == 0 { // primitive
		body, ok := in.Bytes(tag)
		if !ok {
			return nil, ErrMalformed
		}
		switch tag {
		case OpUnbindRequest:
			return &UnbindRequest{}, nil
		case OpDeleteRequest:
			if !utf8.Valid(body) {
				return nil, ErrMalformed
			}
			return &DeleteRequest{string(body)}, nil
		case OpAbandonRequest:
			return decodeAbandon(body)
		}
		return nil, ErrUnknownOp
	}
	switch tag {
	case OpModifyRequest, OpAddRequest, OpCompareRequest, OpExtendedRequest:
		// Their values outlive the buffer: they become entries.
		*in = der.NewReader(bytes.Clone(in.Rest()))
	}
	body, ok := in.Enter(tag)
	if !ok {
		return nil, ErrMalformed
	}
	d := decoder{Reader: body}
	switch tag {
	case OpBindRequest:
		op = d.bind()
	case OpSearchRequest:
		if size > MaxSearch {
			return nil, ErrTooLarge
		}
		op = d.search(c)
	case OpModifyRequest:
		op = d.modify()
	case OpAddRequest:
		op = d.add()
	case OpModifyDNRequest:
		op = d.modifyDN()
	case OpCompareRequest:
		op = d.compare()
	case OpExtendedRequest:
		op = d.extended()
	default:
		return nil, ErrUnknownOp
	}
	if d.err != nil {
		return nil, d.err
	}
	return op, nil
}

func decodeAbandon(body []byte) (*AbandonRequest, error) {
	// The body is that of an INTEGER under the operation's tag.
	if len(body) == 0 || len(body) > 8 {
		return nil, ErrMalformed
	}
	id := int64(int8(body[0]))
	for _, c := range body[1:] {
		id = id<<8 | int64(c)
	}
	if id != int64(int32(id)) || id < 0 {
		return nil, ErrMalformed
	}
	return &AbandonRequest{int32(id)}, nil
}

func decodeControls(r der.Reader) (list []Control, err error) {
	for !r.Empty() {
		if len(list) == MaxControls {
			return nil, ErrTooManyControls
		}
		d := decoder{}
		d.Reader, _ = r.Enter(der.Sequence)
		c := Control{OID: d.text(der.OctetString)}
		if t, ok := d.Peek(); ok && t == der.Boolean {
			c.Critical = d.bool()
		}
		if t, ok := d.Peek(); ok && t == der.OctetString {
			c.Value = bytes.Clone(d.bytes(der.OctetString))
		}
		if d.err != nil || c.OID == "" || !d.Empty() {
			return nil, ErrMalformed
		}
		list = append(list, c)
	}
	return list, nil
}

// decoder reads the fields of an operation and remembers the first error, after
// which it reads nothing.
type decoder struct {
	der.Reader
	err   error
	count int // of filter nodes, or of attributes and values
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.Reader = der.Reader{}
}

func (d *decoder) bytes(tag der.Tag) []byte {
	b, ok := d.Bytes(tag)
	if !ok {
		d.fail(ErrMalformed)
	}
	return b
}

// text reads an LDAPString, which is UTF-8 (RFC 4511 §4.1.2).
func (d *decoder) text(tag der.Tag) string {
	b := d.bytes(tag)
	if !utf8.Valid(b) {
		d.fail(ErrMalformed)
		return ""
	}
	return string(b)
}

// description reads an attribute description, and shares the schema's string
// where it is one.
func (d *decoder) description(tag der.Tag) (string, *dit.AttrType) {
	b := d.bytes(tag)
	if t := dit.AttrBytes(b); t != nil && string(b) == t.Name {
		return t.Name, t
	} else if !dit.ValidDescription(b) {
		d.fail(ErrMalformed)
		return "", nil
	} else {
		return string(b), t
	}
}

func (d *decoder) bool() bool {
	v, ok := d.Bool(der.Boolean)
	if !ok {
		d.fail(ErrMalformed)
	}
	return v
}

// number reads an INTEGER or ENUMERATED of 0 to most.
func (d *decoder) number(tag der.Tag, most int32) int32 {
	v, ok := d.Int32(tag)
	if !ok || v < 0 || v > most {
		d.fail(ErrMalformed)
		return 0
	}
	return v
}

// enter replaces the fields by those of the next element and returns what
// follows it.
func (d *decoder) enter(tag der.Tag) (after der.Reader) {
	in, ok := d.Enter(tag)
	if !ok {
		d.fail(ErrMalformed)
		return der.Reader{}
	}
	after, d.Reader = d.Reader, in
	return after
}

// leave goes back to what follows.
func (d *decoder) leave(after der.Reader) {
	if d.err == nil {
		d.Reader = after
	}
}

// counted bounds the elements of a request.
func (d *decoder) counted(most int) bool {
	if d.count++; d.count > most {
		d.fail(ErrTooLarge)
	}
	return d.err == nil
}

func (d *decoder) bind() *BindRequest {
	b := &BindRequest{Version: d.number(der.Integer, 127), Name: d.text(der.OctetString)}
	tag, _ := d.Peek()
	b.Auth = int(tag & 0x1f)
	switch {
	case tag == der.Context(AuthSASL):
		after := d.enter(tag)
		b.Mechanism = d.text(der.OctetString)
		if t, ok := d.Peek(); ok && t == der.OctetString {
			b.Credentials, b.HasCredentials = Secret{d.bytes(t)}, true
		}
		d.leave(after)
	case tag&0xe0 == 0x80: // simple, and Sicily's
		b.Credentials, b.HasCredentials = Secret{d.bytes(tag)}, true
	default:
		d.fail(ErrMalformed)
	}
	return b
}

func (d *decoder) search(c *Decoder) *SearchRequest {
	s := &SearchRequest{
		Base:      d.text(der.OctetString),
		Scope:     dit.Scope(d.number(der.Enumerated, int32(dit.Sub))),
		Deref:     d.number(der.Enumerated, 3),
		SizeLimit: d.number(der.Integer, 1<<31-1),
		TimeLimit: d.number(der.Integer, 1<<31-1),
		TypesOnly: d.bool(),
	}
	_, _, raw, ok := d.Any()
	if !ok {
		d.fail(ErrMalformed)
		return nil
	}
	// A paged search keeps its filter for longer than the buffer lasts.
	f := decoder{Reader: der.NewReader(bytes.Clone(raw))}
	if s.Filter = f.filter(0); f.err != nil {
		d.fail(f.err)
		return nil
	}
	after := d.enter(der.Sequence)
	s.Attrs = d.selection(c)
	d.leave(after)
	return s
}

// selection reads the list of attributes to its end.
func (d *decoder) selection(c *Decoder) (s Selection) {
	list := d.Rest()
	if len(list) > 0 && bytes.Equal(list, c.list) {
		return c.attrs
	}
	s.expect(d.Reader)
	for d.err == nil && !d.Empty() && d.counted(MaxAttributes) {
		s.add(d.bytes(der.OctetString))
	}
	s.done()
	if d.err == nil && len(list) <= maxKept {
		c.list, c.attrs = append(c.list[:0], list...), s
	}
	return s
}

func (d *decoder) attribute() (a Attribute) {
	after := d.enter(der.Sequence)
	a.Name, a.Type = d.description(der.OctetString)
	set := d.enter(der.Set)
	for d.err == nil && !d.Empty() && d.counted(MaxValues) {
		a.Values = append(a.Values, d.bytes(der.OctetString))
	}
	d.leave(set)
	d.leave(after)
	return a
}

func (d *decoder) modify() *ModifyRequest {
	m := &ModifyRequest{DN: d.text(der.OctetString)}
	after := d.enter(der.Sequence)
	for d.err == nil && !d.Empty() && d.counted(MaxValues) {
		one := d.enter(der.Sequence)
		op := ChangeOp(d.number(der.Enumerated, int32(ChangeIncrement)))
		m.Changes = append(m.Changes, Change{op, d.attribute()})
		d.leave(one)
	}
	d.leave(after)
	return m
}

func (d *decoder) add() *AddRequest {
	a := &AddRequest{DN: d.text(der.OctetString)}
	after := d.enter(der.Sequence)
	for d.err == nil && !d.Empty() && d.counted(MaxValues) {
		a.Attrs = append(a.Attrs, d.attribute())
	}
	d.leave(after)
	return a
}

func (d *decoder) modifyDN() *ModifyDNRequest {
	m := &ModifyDNRequest{DN: d.text(der.OctetString), NewRDN: d.text(der.OctetString), DeleteOld: d.bool()}
	if t, ok := d.Peek(); ok && t == der.ContextPrimitive(0) {
		m.NewSuperior, m.HasSuperior = d.text(t), true
	}
	return m
}

func (d *decoder) compare() *CompareRequest {
	c := &CompareRequest{DN: d.text(der.OctetString)}
	d.enter(der.Sequence)
	c.Name, c.Type = d.description(der.OctetString)
	c.Value = Secret{d.bytes(der.OctetString)}
	return c
}

func (d *decoder) extended() *ExtendedRequest {
	e := &ExtendedRequest{Name: d.text(der.ContextPrimitive(0))}
	if t, ok := d.Peek(); ok && t == der.ContextPrimitive(1) {
		e.Value, e.HasValue = Secret{d.bytes(t)}, true
	}
	return e
}

// filter reads the next filter, which depth others enclose (RFC 4511 §4.5.1.7).
func (d *decoder) filter(depth int) (f *dit.Filter) {
	tag, _ := d.Peek()
	if !d.counted(MaxFilterNodes) {
		return nil
	}
	op := dit.Op(tag & 0x1f)
	switch tag {
	case 0x87:
		name, _ := d.description(tag)
		return dit.Present(name)
	case 0xa0, 0xa1, 0xa2:
		if depth >= dit.MaxFilterDepth {
			d.fail(dit.ErrFilterDepth)
			return nil
		}
		after := d.enter(tag)
		subs := make([]*dit.Filter, 0, 4)
		for d.err == nil && !d.Empty() {
			subs = append(subs, d.filter(depth+1))
		}
		d.leave(after)
		switch {
		case op == dit.OpAnd:
			return dit.And(subs...)
		case op == dit.OpOr:
			return dit.Or(subs...)
		case len(subs) != 1:
			d.fail(ErrMalformed)
			return nil
		}
		return dit.Not(subs[0])
	case 0xa3, 0xa5, 0xa6, 0xa8:
		after := d.enter(tag)
		name, _ := d.description(der.OctetString)
		value := d.bytes(der.OctetString)
		d.leave(after)
		switch op {
		case dit.OpEqual:
			return dit.Equal(name, value)
		case dit.OpGreaterOrEqual:
			return dit.GreaterOrEqual(name, value)
		case dit.OpLessOrEqual:
			return dit.LessOrEqual(name, value)
		}
		return dit.Approx(name, value)
	case 0xa4:
		return d.substrings()
	case 0xa9:
		return d.extensible()
	}
	d.fail(ErrMalformed)
	return nil
}

func (d *decoder) substrings() *dit.Filter {
	after := d.enter(0xa4)
	name, _ := d.description(der.OctetString)
	var initial, final []byte
	var any [][]byte
	d.enter(der.Sequence)
	for first := true; d.err == nil && (first || !d.Empty()); first = false {
		tag, _ := d.Peek()
		part := d.bytes(tag)
		switch {
		case len(part) == 0 || final != nil: // the final part is the last
			d.fail(ErrMalformed)
		case tag == der.ContextPrimitive(0) && first:
			initial = part
		case tag == der.ContextPrimitive(1) && d.counted(MaxFilterNodes):
			any = append(any, part)
		case tag == der.ContextPrimitive(2):
			final = part
		default:
			d.fail(ErrMalformed)
		}
	}
	d.leave(after)
	return dit.Substrings(name, initial, any, final)
}

func (d *decoder) extensible() *dit.Filter {
	after := d.enter(0xa9)
	rule, name := "", ""
	if t, ok := d.Peek(); ok && t == der.ContextPrimitive(1) {
		rule = string(d.bytes(t))
	}
	if t, ok := d.Peek(); ok && t == der.ContextPrimitive(2) {
		name, _ = d.description(t)
	}
	value := d.bytes(der.ContextPrimitive(3))
	dnAttrs := false
	if t, ok := d.Peek(); ok && t == der.ContextPrimitive(4) {
		if dnAttrs, ok = d.Bool(t); !ok {
			d.fail(ErrMalformed)
		}
	}
	if rule != "" && !dit.ValidDescription(rule) || rule == "" && name == "" {
		d.fail(ErrMalformed)
	}
	d.leave(after)
	return dit.Extensible(rule, name, value, dnAttrs)
}

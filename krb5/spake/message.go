package spake

import (
	"errors"

	"skyrealm/der"
	"skyrealm/krb5"
)

// ErrSyntax is returned for what is no PA-SPAKE, or one over a limit below.
var ErrSyntax = errors.New("spake: malformed message")

// Limits on what a decoder takes.
const (
	maxGroups  = 16  // the registry has four
	maxFactors = 16  // a KDC offers them, so a client reads them
	maxElement = 133 // P-521, uncompressed
)

// SFNone is the number of the second factor that is none (RFC 9588 §12.2).
const SFNone int32 = 1

// Choice tells which message a Message is. Its value is the number of the tag.
type Choice int

// The messages.
const (
	Support Choice = iota
	Challenge
	Response
	EncData
)

// Message is the value of a PA-SPAKE element. Of the fields, those count that
// the choice names. []byte point into what was decoded.
//
//	PA-SPAKE ::= CHOICE {
//	    support   [0] SPAKESupport,
//	    challenge [1] SPAKEChallenge,
//	    response  [2] SPAKEResponse,
//	    encdata   [3] EncryptedData,
//	    ... }
//
//	SPAKESupport ::= SEQUENCE {
//	    groups [0] SEQUENCE (SIZE(1..MAX)) OF Int32,
//	    ... }
//
//	SPAKEChallenge ::= SEQUENCE {
//	    group   [0] Int32,
//	    pubkey  [1] OCTET STRING,
//	    factors [2] SEQUENCE (SIZE(1..MAX)) OF SPAKESecondFactor,
//	    ... }
//
//	SPAKEResponse ::= SEQUENCE {
//	    pubkey [0] OCTET STRING,
//	    factor [1] EncryptedData,
//	    ... }
type Message struct {
	Choice    Choice
	Groups    []Group            // of a support message
	Group     Group              // of a challenge
	PublicKey []byte             // of a challenge and of a response
	Factors   []Factor           // of a challenge
	Encrypted krb5.EncryptedData // of a response: its factor; of encdata
}

// Factor is a second factor that the KDC offers, or the client's answer.
//
//	SPAKESecondFactor ::= SEQUENCE {
//	    type [0] Int32,
//	    data [1] OCTET STRING OPTIONAL }
type Factor struct {
	Type int32
	Data []byte // nil: absent
}

// Marshal puts the message in front of w.
func (m *Message) Marshal(w *der.Writer) {
	end := w.Len()
	switch m.Choice {
	case Support:
		for i := len(m.Groups) - 1; i >= 0; i-- {
			w.Int(der.Integer, int64(m.Groups[i]))
		}
		wrap(w, 0, end)
		w.Wrap(der.Sequence, end)
	case Challenge:
		for i := len(m.Factors) - 1; i >= 0; i-- {
			m.Factors[i].Marshal(w)
		}
		wrap(w, 2, end)
		octets(w, 1, m.PublicKey)
		integer(w, 0, int64(m.Group))
		w.Wrap(der.Sequence, end)
	case Response:
		m.Encrypted.Marshal(w)
		w.Wrap(der.Context(1), end)
		octets(w, 0, m.PublicKey)
		w.Wrap(der.Sequence, end)
	case EncData:
		m.Encrypted.Marshal(w)
	}
	w.Wrap(der.Context(int(m.Choice)), end)
}

// Marshal puts the SEQUENCE in front of w.
func (f Factor) Marshal(w *der.Writer) {
	end := w.Len()
	if f.Data != nil {
		octets(w, 1, f.Data)
	}
	integer(w, 0, int64(f.Type))
	w.Wrap(der.Sequence, end)
}

// wrap closes the SEQUENCE begun at mark as field [n].
func wrap(w *der.Writer, n, mark int) {
	w.Wrap(der.Sequence, mark)
	w.Wrap(der.Context(n), mark)
}

func octets(w *der.Writer, n int, b []byte) {
	mark := w.Len()
	w.Octets(der.OctetString, b)
	w.Wrap(der.Context(n), mark)
}

func integer(w *der.Writer, n int, v int64) {
	mark := w.Len()
	w.Int(der.Integer, v)
	w.Wrap(der.Context(n), mark)
}

// Unmarshal decodes the whole of b. What an extension may add to a SEQUENCE is
// passed over, but stands in the transcript, which is of bytes. Error: ErrSyntax.
func (m *Message) Unmarshal(b []byte) error {
	*m = Message{}
	r := der.NewReader(b)
	tag, some := r.Peek()
	choice := Choice(tag - der.Context(0))
	if !some || choice < Support || choice > EncData {
		return ErrSyntax
	}
	m.Choice = choice
	d := decoder{}
	in := d.enter(&r, tag)
	if d.bad || !r.Empty() {
		return ErrSyntax
	}
	if choice == EncData {
		return d.encrypted(&in, &m.Encrypted)
	}
	one := d.enter(&in, der.Sequence)
	d.bad = d.bad || !in.Empty()
	switch choice {
	case Support:
		m.Groups = d.groups(&one)
	case Challenge:
		m.Group = Group(d.integer(&one, 0))
		m.PublicKey = d.octets(&one, 1)
		m.Factors = d.factors(&one)
	case Response:
		m.PublicKey = d.octets(&one, 0)
		field := d.enter(&one, der.Context(1))
		if d.bad {
			return ErrSyntax
		}
		if err := d.encrypted(&field, &m.Encrypted); err != nil {
			return err
		}
	}
	if d.bad || len(m.PublicKey) > maxElement {
		return ErrSyntax
	}
	return nil
}

// Unmarshal decodes the whole of b. Error: ErrSyntax.
func (f *Factor) Unmarshal(b []byte) error {
	d := decoder{}
	r := der.NewReader(b)
	*f = d.factor(&r)
	if d.bad || !r.Empty() {
		return ErrSyntax
	}
	return nil
}

// decoder remembers that some read failed.
type decoder struct{ bad bool }

func (d *decoder) enter(r *der.Reader, tag der.Tag) der.Reader {
	in, ok := r.Enter(tag)
	d.bad = d.bad || !ok
	return in
}

func (d *decoder) integer(r *der.Reader, n int) int32 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Int32(der.Integer)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

func (d *decoder) octets(r *der.Reader, n int) []byte {
	in := d.enter(r, der.Context(n))
	v, ok := in.Bytes(der.OctetString)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

func (d *decoder) list(r *der.Reader, n int) der.Reader {
	in := d.enter(r, der.Context(n))
	list := d.enter(&in, der.Sequence)
	d.bad = d.bad || !in.Empty() || list.Empty()
	return list
}

func (d *decoder) groups(r *der.Reader) (groups []Group) {
	for list := d.list(r, 0); !d.bad && !list.Empty(); {
		v, ok := list.Int32(der.Integer)
		if d.bad = !ok || len(groups) == maxGroups; !d.bad {
			groups = append(groups, Group(v))
		}
	}
	return groups
}

func (d *decoder) factors(r *der.Reader) (factors []Factor) {
	for list := d.list(r, 2); !d.bad && !list.Empty(); {
		if d.bad = len(factors) == maxFactors; !d.bad {
			factors = append(factors, d.factor(&list))
		}
	}
	return factors
}

func (d *decoder) factor(r *der.Reader) (f Factor) {
	one := d.enter(r, der.Sequence)
	f.Type = d.integer(&one, 0)
	if !d.bad && !one.Empty() {
		f.Data = d.octets(&one, 1)
	}
	d.bad = d.bad || !one.Empty()
	return f
}

// encrypted reads an EncryptedData that must be all that is left of r.
func (d *decoder) encrypted(r *der.Reader, e *krb5.EncryptedData) error {
	if e.Unmarshal(r.Rest()) != nil {
		return ErrSyntax
	}
	return nil
}

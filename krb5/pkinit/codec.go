package pkinit

import (
	"bytes"
	"time"

	"skyrealm/der"
	"skyrealm/krb5"
)

// decoder remembers that some read failed; what is read after that is zero.
type decoder struct{ bad bool }

func (d *decoder) err(what string) error {
	if d.bad {
		return SyntaxError(what)
	}
	return nil
}

func (d *decoder) end(r *der.Reader) { d.bad = d.bad || !r.Empty() }

func (d *decoder) enter(r *der.Reader, tag der.Tag) der.Reader {
	if d.bad {
		return der.Reader{}
	}
	in, ok := r.Enter(tag)
	d.bad = !ok
	return in
}

// whole opens an element that must be all of b.
func (d *decoder) whole(b []byte, tag der.Tag) der.Reader {
	r := der.NewReader(b)
	in := d.enter(&r, tag)
	d.end(&r)
	return in
}

func (d *decoder) bytes(r *der.Reader, tag der.Tag) []byte {
	if d.bad {
		return nil
	}
	b, ok := r.Bytes(tag)
	d.bad = !ok
	return b
}

// has reports whether tag comes next.
func (d *decoder) has(r *der.Reader, tag der.Tag) bool {
	t, some := r.Peek()
	return some && !d.bad && t == tag
}

// raw reads one element with its header.
func (d *decoder) raw(r *der.Reader, tag der.Tag) []byte {
	if d.bad {
		return nil
	}
	t, _, raw, ok := r.Any()
	if d.bad = !ok || t != tag; d.bad {
		return nil
	}
	return raw
}

// at reads the string in the explicit field [n].
func (d *decoder) at(r *der.Reader, n int, tag der.Tag) []byte {
	in := d.enter(r, der.Context(n))
	b := d.bytes(&in, tag)
	d.end(&in)
	return b
}

// optOctets is at for an OCTET STRING that may be absent.
func (d *decoder) optOctets(r *der.Reader, n, most int) []byte {
	if !d.has(r, der.Context(n)) {
		return nil
	}
	b := d.at(r, n, der.OctetString)
	d.bad = d.bad || len(b) > most
	return b
}

func (d *decoder) int64(r *der.Reader, n int) int64 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Int64(der.Integer)
	d.bad = d.bad || !ok
	d.end(&in)
	return v
}

func (d *decoder) time(r *der.Reader, n int) time.Time {
	in := d.enter(r, der.Context(n))
	t, ok := in.Time(der.GeneralizedTime)
	d.bad = d.bad || !ok
	d.end(&in)
	return t
}

// Algorithm is an AlgorithmIdentifier; Params is nil where there are none.
//
//	AlgorithmIdentifier ::= SEQUENCE {
//	    algorithm  OBJECT IDENTIFIER,
//	    parameters ANY OPTIONAL }
type Algorithm struct {
	OID    OID
	Params []byte
}

func (d *decoder) algorithm(r *der.Reader) (a Algorithm) {
	in := d.enter(r, der.Sequence)
	a.OID = OID(d.bytes(&in, der.OID))
	if !in.Empty() && !d.bad {
		_, _, raw, ok := in.Any()
		d.bad = !ok
		a.Params = raw
	}
	d.end(&in)
	return a
}

func (d *decoder) algorithms(list *der.Reader) (all []Algorithm) {
	for !list.Empty() && !d.bad {
		if len(all) == maxAlgorithms {
			d.bad = true
			break
		}
		all = append(all, d.algorithm(list))
	}
	return all
}

// Marshal puts the SEQUENCE in front of w.
func (a Algorithm) Marshal(w *der.Writer) {
	end := w.Len()
	w.Raw(a.Params)
	w.String(der.OID, string(a.OID))
	w.Wrap(der.Sequence, end)
}

// bits reads a BIT STRING of whole octets.
func (d *decoder) bits(r *der.Reader) []byte {
	b := d.bytes(r, der.BitString)
	if len(b) == 0 || b[0] != 0 {
		d.bad = true
		return nil
	}
	return b[1:]
}

func putBits(w *der.Writer, b []byte) {
	end := w.Len()
	w.Raw(b)
	w.Space(1)[0] = 0
	w.Wrap(der.BitString, end)
}

// unsigned reads an INTEGER that can't be negative, of any length.
func (d *decoder) unsigned(r *der.Reader) []byte {
	b := d.bytes(r, der.Integer)
	if len(b) == 0 || b[0]&0x80 != 0 {
		d.bad = true
		return nil
	}
	return bytes.TrimLeft(b, "\x00")
}

func putUnsigned(w *der.Writer, b []byte) {
	b = bytes.TrimLeft(b, "\x00")
	end := w.Len()
	w.Raw(b)
	if len(b) == 0 || b[0]&0x80 != 0 {
		w.Space(1)[0] = 0
	}
	w.Wrap(der.Integer, end)
}

func putOctets(w *der.Writer, n int, b []byte) {
	end := w.Len()
	w.Octets(der.OctetString, b)
	w.Wrap(der.Context(n), end)
}

// Name is a principal with its realm.
//
//	KRB5PrincipalName ::= SEQUENCE {
//	    realm         [0] Realm,
//	    principalName [1] PrincipalName }
type Name struct {
	Realm     string
	Principal krb5.PrincipalName
}

// Marshal puts the SEQUENCE in front of w.
func (n Name) Marshal(w *der.Writer) {
	end := w.Len()
	for i := len(n.Principal.Name) - 1; i >= 0; i-- {
		w.String(der.GeneralString, n.Principal.Name[i])
	}
	w.Wrap(der.Sequence, end)
	w.Wrap(der.Context(1), end)
	mark := w.Len()
	w.Int(der.Integer, int64(n.Principal.Type))
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
	w.Wrap(der.Context(1), end)
	mark = w.Len()
	w.String(der.GeneralString, n.Realm)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

// name reads what Marshal writes.
func (d *decoder) name(r *der.Reader) (n Name) {
	in := d.enter(r, der.Sequence)
	n.Realm = d.text(d.at(&in, 0, der.GeneralString))
	field := d.enter(&in, der.Context(1))
	d.end(&in)
	in = d.enter(&field, der.Sequence)
	d.end(&field)
	t := d.int64(&in, 0)
	n.Principal.Type = int32(t)
	d.bad = d.bad || t != int64(int32(t))
	field = d.enter(&in, der.Context(1))
	d.end(&in)
	list := d.enter(&field, der.Sequence)
	d.end(&field)
	for !list.Empty() && !d.bad {
		if len(n.Principal.Name) == krb5.MaxComponents {
			d.bad = true
			break
		}
		n.Principal.Name = append(n.Principal.Name, d.text(d.bytes(&list, der.GeneralString)))
	}
	d.bad = d.bad || len(n.Principal.Name) == 0
	return n
}

// text is a string that C programs read as well as we do.
func (d *decoder) text(b []byte) string {
	if len(b) > krb5.MaxComponent || bytes.IndexByte(b, 0) >= 0 {
		d.bad = true
		return ""
	}
	return string(b)
}

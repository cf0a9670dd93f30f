package krb5

import (
	"bytes"
	"time"

	"skyrealm/der"
)

// decoder remembers that some read failed; every read after that returns zero
// values, so that a decoder is written straight down its ASN.1 and asks once,
// at the end.
type decoder struct{ bad bool }

func (d *decoder) err(what string) error {
	if d.bad {
		return SyntaxError(what)
	}
	return nil
}

// end asks that nothing follows.
func (d *decoder) end(r *der.Reader) {
	if !r.Empty() {
		d.bad = true
	}
}

// enter reads an element whose contents are elements.
func (d *decoder) enter(r *der.Reader, tag der.Tag) der.Reader {
	if d.bad {
		return der.Reader{}
	}
	in, ok := r.Enter(tag)
	if !ok {
		d.bad = true
	}
	return in
}

// message opens [APPLICATION n] SEQUENCE, which must be all of b.
func (d *decoder) message(b []byte, n int) der.Reader {
	r := der.NewReader(b)
	app := d.enter(&r, der.Application(n))
	d.end(&r)
	return d.whole(&app)
}

// sequence opens a SEQUENCE, which must be all of b.
func (d *decoder) sequence(b []byte) der.Reader {
	r := der.NewReader(b)
	return d.whole(&r)
}

// whole opens a SEQUENCE, which must be all that is left of r.
func (d *decoder) whole(r *der.Reader) der.Reader {
	in := d.enter(r, der.Sequence)
	d.end(r)
	return in
}

// has reports whether the optional field [n] comes next.
func (d *decoder) has(r *der.Reader, n int) bool {
	tag, some := r.Peek()
	return some && !d.bad && tag == der.Context(n)
}

// sequenceAt opens the SEQUENCE in field [n].
func (d *decoder) sequenceAt(r *der.Reader, n int) der.Reader {
	in := d.enter(r, der.Context(n))
	return d.whole(&in)
}

func (d *decoder) int32(r *der.Reader, n int) int32 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Int32(der.Integer)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

func (d *decoder) uint32(r *der.Reader, n int) uint32 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Uint32(der.Integer)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

func (d *decoder) optUint32(r *der.Reader, n int) uint32 {
	if !d.has(r, n) {
		return 0
	}
	return d.uint32(r, n)
}

// nonce reads a UInt32 and keeps the sign it was written with.
func (d *decoder) nonce(r *der.Reader, n int) int64 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Int64(der.Integer)
	d.bad = d.bad || !ok || !in.Empty() || v < -1<<31 || v > 1<<32-1
	return v
}

// want reads an INTEGER that can only be v: pvno, msg-type.
func (d *decoder) want(r *der.Reader, n int, v int32) {
	if d.int32(r, n) != v {
		d.bad = true
	}
}

func (d *decoder) flags(r *der.Reader, n int) uint32 {
	in := d.enter(r, der.Context(n))
	v, ok := in.Flags(der.BitString)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

func (d *decoder) octets(r *der.Reader, n int) []byte {
	in := d.enter(r, der.Context(n))
	v, ok := in.Bytes(der.OctetString)
	d.bad = d.bad || !ok || !in.Empty()
	return v
}

// text reads a KerberosString. RFC 4120 §5.2.1 says IA5; the field sends UTF-8.
// A NUL would end the name early in every C program that reads it after us.
func (d *decoder) text(r *der.Reader, n int) string {
	in := d.enter(r, der.Context(n))
	v, ok := in.Bytes(der.GeneralString)
	if !ok || !in.Empty() || len(v) > MaxComponent || bytes.IndexByte(v, 0) >= 0 {
		d.bad = true
	}
	if d.bad {
		return ""
	}
	return string(v)
}

func (d *decoder) optText(r *der.Reader, n int) string {
	if !d.has(r, n) {
		return ""
	}
	return d.text(r, n)
}

func (d *decoder) time(r *der.Reader, n int) time.Time {
	in := d.enter(r, der.Context(n))
	t, ok := in.Time(der.GeneralizedTime)
	d.bad = d.bad || !ok || !in.Empty()
	return t
}

func (d *decoder) optTime(r *der.Reader, n int) time.Time {
	if !d.has(r, n) {
		return time.Time{}
	}
	return d.time(r, n)
}

func (d *decoder) micros(r *der.Reader, n int) time.Duration {
	v := d.int32(r, n)
	if v < 0 || v > maxMicroseconds {
		d.bad = true
		return 0
	}
	return time.Duration(v) * time.Microsecond
}

// optMicros adds the optional microseconds of field [n] to t, which means
// nothing without its seconds.
func (d *decoder) optMicros(r *der.Reader, n int, t time.Time) time.Time {
	if !d.has(r, n) {
		return t
	}
	us := d.micros(r, n)
	if t.IsZero() {
		return t
	}
	return t.Add(us)
}

// The encoding side: each puts the field [n] of a SEQUENCE.

func putInt(w *der.Writer, n int, v int64) {
	mark := w.Len()
	w.Int(der.Integer, v)
	w.Wrap(der.Context(n), mark)
}

func putFlags(w *der.Writer, n int, v uint32) {
	mark := w.Len()
	w.Flags(der.BitString, v)
	w.Wrap(der.Context(n), mark)
}

func putOctets(w *der.Writer, n int, b []byte) {
	mark := w.Len()
	w.Octets(der.OctetString, b)
	w.Wrap(der.Context(n), mark)
}

func putText(w *der.Writer, n int, s string) {
	mark := w.Len()
	w.String(der.GeneralString, s)
	w.Wrap(der.Context(n), mark)
}

func putTime(w *der.Writer, n int, t time.Time) {
	mark := w.Len()
	w.Time(der.GeneralizedTime, t)
	w.Wrap(der.Context(n), mark)
}

func putOptTime(w *der.Writer, n int, t time.Time) {
	if !t.IsZero() {
		putTime(w, n, t)
	}
}

func putMicros(w *der.Writer, n int, t time.Time) {
	putInt(w, n, int64(t.Nanosecond()/1000))
}

// wrapSequence closes the SEQUENCE begun at mark as field [n].
func wrapSequence(w *der.Writer, n, mark int) {
	w.Wrap(der.Sequence, mark)
	w.Wrap(der.Context(n), mark)
}

// wrapMessage closes the SEQUENCE begun at mark as [APPLICATION n].
func wrapMessage(w *der.Writer, n, mark int) {
	w.Wrap(der.Sequence, mark)
	w.Wrap(der.Application(n), mark)
}

package krb5

import "skyrealm/der"

// AuthDataEntry is one element of authorization data.
type AuthDataEntry struct {
	Type int32
	Data []byte
}

// AuthorizationData restricts or describes what a ticket is good for.
//
//	AuthorizationData ::= SEQUENCE OF SEQUENCE {
//	    ad-type [0] Int32,
//	    ad-data [1] OCTET STRING }
type AuthorizationData []AuthDataEntry

func (a AuthorizationData) entries(w *der.Writer) {
	for i := len(a) - 1; i >= 0; i-- {
		mark := w.Len()
		putOctets(w, 1, a[i].Data)
		putInt(w, 0, int64(a[i].Type))
		w.Wrap(der.Sequence, mark)
	}
}

// Marshal puts the SEQUENCE OF in front of w.
func (a AuthorizationData) Marshal(w *der.Writer) {
	mark := w.Len()
	a.entries(w)
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b: the data of an AD-IF-RELEVANT is one, and
// so is the plaintext of enc-authorization-data.
func (a *AuthorizationData) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	*a = d.authData(&in, (*a)[:0])
	return d.err("AuthorizationData")
}

func (d *decoder) authData(in *der.Reader, a AuthorizationData) AuthorizationData {
	for !in.Empty() && !d.bad {
		if len(a) == MaxAuthData {
			d.bad = true
			break
		}
		one := d.enter(in, der.Sequence)
		e := AuthDataEntry{Type: d.int32(&one, 0)}
		e.Data = d.octets(&one, 1)
		d.end(&one)
		a = append(a, e)
	}
	return a
}

func (d *decoder) optAuthData(r *der.Reader, n int, a AuthorizationData) AuthorizationData {
	if !d.has(r, n) {
		return a[:0]
	}
	in := d.sequenceAt(r, n)
	return d.authData(&in, a[:0])
}

func putAuthData(w *der.Writer, n int, a AuthorizationData) {
	if len(a) == 0 {
		return
	}
	mark := w.Len()
	a.Marshal(w)
	w.Wrap(der.Context(n), mark)
}

// lonePAC returns the PAC of an AD-IF-RELEVANT that holds it and nothing else.
func (e AuthDataEntry) lonePAC() []byte {
	if e.Type != ADIfRelevant {
		return nil
	}
	var d decoder
	in := d.sequence(e.Data)
	one := d.whole(&in)
	kind, data := d.int32(&one, 0), d.octets(&one, 1)
	d.end(&one)
	if d.bad || kind != ADWin2kPAC {
		return nil
	}
	return data
}

// Contains reports whether an entry of type t stands in a, or inside the
// containers that services look into (AD-IF-RELEVANT, AD-KDC-ISSUED and the
// like, whatever their exact shape). What can't be decoded is not looked into
// by anybody. A KDC asks it about data that a client supplies, where an
// AD-WIN2K-PAC would be a forged identity.
func (a AuthorizationData) Contains(t int32) bool {
	for _, e := range a {
		if e.Type == t {
			return true
		}
		switch e.Type {
		case ADIfRelevant, ADIntendedForServer, ADIntendedForClass, ADKDCIssued, ADAndOr, ADMandatoryForKDC, ADCAMMAC:
			if containsType(der.NewReader(e.Data), t) {
				return true
			}
		}
	}
	return false
}

// containsType looks for SEQUENCE { [0] t, [1] OCTET STRING … } at any depth
// that der allows, also within octets.
func containsType(r der.Reader, t int32) bool {
	for !r.Empty() {
		before := r
		tag, body, _, ok := r.Any()
		if !ok {
			return false
		}
		in, entered := before.Enter(tag)
		if !entered {
			return false
		}
		switch {
		case tag == der.Sequence:
			head := in
			if f, ok := head.Enter(der.Context(0)); ok {
				kind, isInt := f.Int32(der.Integer)
				next, some := head.Peek()
				if isInt && kind == t && some && next == der.Context(1) {
					return true
				}
			}
			if containsType(in, t) {
				return true
			}
		case tag == der.OctetString, tag&0x20 != 0:
			if len(body) > 0 && containsType(in, t) {
				return true
			}
		}
	}
	return false
}

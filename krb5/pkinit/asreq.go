package pkinit

import (
	"time"

	"skyrealm/der"
)

// ASReq is the value of PA-PK-AS-REQ. What the client trusts and which of our
// certificates it knows are hints that nothing rests on; they are not kept.
//
//	PA-PK-AS-REQ ::= SEQUENCE {
//	    signedAuthPack    [0] IMPLICIT OCTET STRING, -- ContentInfo of a SignedData
//	    trustedCertifiers [1] SEQUENCE OF ExternalPrincipalIdentifier OPTIONAL,
//	    kdcPkId           [2] IMPLICIT OCTET STRING OPTIONAL,
//	    ... }
type ASReq struct{ SignedAuthPack []byte }

// Unmarshal decodes the whole of b.
func (q *ASReq) Unmarshal(b []byte) error {
	var d decoder
	in := d.whole(b, der.Sequence)
	q.SignedAuthPack = d.bytes(&in, der.ContextPrimitive(0))
	for !in.Empty() && !d.bad {
		_, _, _, ok := in.Any()
		d.bad = !ok
	}
	return d.err("PA-PK-AS-REQ")
}

// Marshal puts the SEQUENCE in front of w.
func (q *ASReq) Marshal(w *der.Writer) {
	end := w.Len()
	w.Octets(der.ContextPrimitive(0), q.SignedAuthPack)
	w.Wrap(der.Sequence, end)
}

// AuthPack is what the client signs.
//
//	AuthPack ::= SEQUENCE {
//	    pkAuthenticator   [0] PKAuthenticator,
//	    clientPublicValue [1] SubjectPublicKeyInfo OPTIONAL,
//	    supportedCMSTypes [2] SEQUENCE OF AlgorithmIdentifier OPTIONAL,
//	    clientDHNonce     [3] OCTET STRING OPTIONAL,
//	    ...,
//	    supportedKDFs     [4] SEQUENCE OF KDFAlgorithmId OPTIONAL, -- RFC 8636
//	    ... }
//	PKAuthenticator ::= SEQUENCE {
//	    cusec          [0] INTEGER (0..999999),
//	    ctime          [1] KerberosTime,
//	    nonce          [2] INTEGER (0..4294967295),
//	    paChecksum     [3] OCTET STRING OPTIONAL, -- SHA-1 over KDC-REQ-BODY
//	    ...,
//	    freshnessToken [4] OCTET STRING OPTIONAL, -- RFC 8070
//	    paChecksum2    [5] PAChecksum2 OPTIONAL,  -- [MS-PKCA] §2.2.3
//	    ... }
//	PAChecksum2 ::= SEQUENCE {
//	    checksum            [0] OCTET STRING,
//	    algorithmIdentifier [1] AlgorithmIdentifier }
//	KDFAlgorithmId ::= SEQUENCE { kdf-id [0] OBJECT IDENTIFIER, ... }
type AuthPack struct {
	Time     time.Time
	Nonce    int64 // with the sign that the client wrote
	Checksum []byte
	Token    []byte // freshnessToken; nil: absent

	Checksum2     []byte
	Checksum2Type OID

	Public  *PublicValue // nil: the client wants its key encrypted to its certificate's
	DHNonce []byte
	KDFs    []OID // nil: the client knows RFC 4556 only
}

// Unmarshal decodes the whole of b.
func (a *AuthPack) Unmarshal(b []byte) error {
	var d decoder
	*a = AuthPack{}
	in := d.whole(b, der.Sequence)
	field := d.enter(&in, der.Context(0))
	auth := d.enter(&field, der.Sequence)
	d.end(&field)
	d.authenticator(&auth, a)
	if d.has(&in, der.Context(1)) {
		field = d.enter(&in, der.Context(1))
		a.Public = d.publicValue(&field)
		d.end(&field)
	}
	if d.has(&in, der.Context(2)) {
		field = d.enter(&in, der.Context(2))
		list := d.enter(&field, der.Sequence)
		d.algorithms(&list) // S/MIME capabilities, for a mode that is not spoken here
	}
	a.DHNonce = d.optOctets(&in, 3, maxNonce)
	if d.has(&in, der.Context(4)) {
		field = d.enter(&in, der.Context(4))
		list := d.enter(&field, der.Sequence)
		a.KDFs = []OID{}
		for !list.Empty() && !d.bad {
			one := d.enter(&list, der.Sequence)
			a.KDFs = append(a.KDFs, OID(d.at(&one, 0, der.OID)))
			d.bad = d.bad || len(a.KDFs) > maxAlgorithms
		}
	}
	return d.err("AuthPack")
}

func (d *decoder) authenticator(r *der.Reader, a *AuthPack) {
	us := d.int64(r, 0)
	a.Time = d.time(r, 1)
	a.Nonce = d.int64(r, 2)
	if us < 0 || us > 999999 || a.Nonce < -1<<31 || a.Nonce > 1<<32-1 {
		d.bad = true
		return
	}
	a.Time = a.Time.Add(time.Duration(us) * time.Microsecond)
	a.Checksum = d.optOctets(r, 3, 64)
	a.Token = d.optOctets(r, 4, maxToken)
	if d.has(r, der.Context(5)) {
		field := d.enter(r, der.Context(5))
		in := d.enter(&field, der.Sequence)
		a.Checksum2 = d.at(&in, 0, der.OctetString)
		field = d.enter(&in, der.Context(1))
		a.Checksum2Type = d.algorithm(&field).OID
	}
}

// Marshal puts the SEQUENCE in front of w.
func (a *AuthPack) Marshal(w *der.Writer) {
	end := w.Len()
	if a.KDFs != nil {
		for i := len(a.KDFs) - 1; i >= 0; i-- {
			putKDF(w, a.KDFs[i])
		}
		w.Wrap(der.Sequence, end)
		w.Wrap(der.Context(4), end)
	}
	if a.DHNonce != nil {
		putOctets(w, 3, a.DHNonce)
	}
	mark := w.Len()
	if a.Public != nil {
		a.Public.Marshal(w)
		w.Wrap(der.Context(1), mark)
		mark = w.Len()
	}
	if a.Checksum2 != nil {
		Algorithm{OID: a.Checksum2Type}.Marshal(w)
		w.Wrap(der.Context(1), mark)
		putOctets(w, 0, a.Checksum2)
		w.Wrap(der.Sequence, mark)
		w.Wrap(der.Context(5), mark)
	}
	if a.Token != nil {
		putOctets(w, 4, a.Token)
	}
	if a.Checksum != nil {
		putOctets(w, 3, a.Checksum)
	}
	field := w.Len()
	w.Int(der.Integer, a.Nonce)
	w.Wrap(der.Context(2), field)
	field = w.Len()
	w.Time(der.GeneralizedTime, a.Time)
	w.Wrap(der.Context(1), field)
	field = w.Len()
	w.Int(der.Integer, int64(a.Time.Nanosecond()/1000))
	w.Wrap(der.Context(0), field)
	w.Wrap(der.Sequence, mark)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

func putKDF(w *der.Writer, kdf OID) {
	mark := w.Len()
	w.String(der.OID, string(kdf))
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, mark)
}

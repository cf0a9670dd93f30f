package pkinit

import (
	"skyrealm/der"
)

// ASRep is the value of PA-PK-AS-REP in its Diffie-Hellman form; the other, a
// key encrypted to the client's certificate, has no forward secrecy and is not
// spoken here.
//
//	PA-PK-AS-REP ::= CHOICE {
//	    dhInfo     [0] DHRepInfo,
//	    encKeyPack [1] IMPLICIT OCTET STRING, ... }
//	DHRepInfo ::= SEQUENCE {
//	    dhSignedData  [0] IMPLICIT OCTET STRING, -- ContentInfo of a SignedData
//	    serverDHNonce [1] OCTET STRING OPTIONAL, -- only where a key is used twice
//	    ...,
//	    kdf           [2] KDFAlgorithmId OPTIONAL, -- RFC 8636
//	    ... }
type ASRep struct {
	DHSignedData []byte
	KDF          OID // "": that of RFC 4556
}

// Marshal puts the CHOICE in front of w.
func (p *ASRep) Marshal(w *der.Writer) {
	end := w.Len()
	if p.KDF != "" {
		putKDF(w, p.KDF)
		w.Wrap(der.Context(2), end)
	}
	w.Octets(der.ContextPrimitive(0), p.DHSignedData)
	w.Wrap(der.Sequence, end)
	w.Wrap(der.Context(0), end)
}

// Unmarshal decodes the whole of b, as a client does.
func (p *ASRep) Unmarshal(b []byte) error {
	var d decoder
	*p = ASRep{}
	info := d.whole(b, der.Context(0))
	in := d.enter(&info, der.Sequence)
	d.end(&info)
	p.DHSignedData = d.bytes(&in, der.ContextPrimitive(0))
	if d.has(&in, der.Context(1)) {
		d.bad = true // serverDHNonce: we never write it
	}
	if d.has(&in, der.Context(2)) {
		field := d.enter(&in, der.Context(2))
		one := d.enter(&field, der.Sequence)
		p.KDF = OID(d.at(&one, 0, der.OID))
	}
	d.end(&in)
	return d.err("PA-PK-AS-REP")
}

// DHKeyInfo is what the KDC signs: its half of the key agreement. The key is
// used once, so there is no dhKeyExpiration and the nonce is the client's.
//
//	KDCDHKeyInfo ::= SEQUENCE {
//	    subjectPublicKey [0] BIT STRING,
//	    nonce            [1] INTEGER (0..4294967295),
//	    dhKeyExpiration  [2] KerberosTime OPTIONAL, ... }
type DHKeyInfo struct {
	Public []byte // as in PublicValue.Key
	Nonce  int64
}

// Marshal puts the SEQUENCE in front of w.
func (k *DHKeyInfo) Marshal(w *der.Writer) {
	end := w.Len()
	w.Int(der.Integer, k.Nonce)
	w.Wrap(der.Context(1), end)
	mark := w.Len()
	putBits(w, k.Public)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b, as a client does.
func (k *DHKeyInfo) Unmarshal(b []byte) error {
	var d decoder
	in := d.whole(b, der.Sequence)
	field := d.enter(&in, der.Context(0))
	k.Public = d.bits(&field)
	d.end(&field)
	k.Nonce = d.int64(&in, 1)
	d.end(&in)
	return d.err("KDCDHKeyInfo")
}

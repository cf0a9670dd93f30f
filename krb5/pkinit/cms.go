package pkinit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"errors"

	"skyrealm/der"
)

// Why a signature is not believed.
var (
	ErrDigest    = errors.New("pkinit: digest algorithm not accepted")
	ErrSignature = errors.New("pkinit: the signature does not verify")
	ErrNoSigner  = errors.New("pkinit: no certificate of the signer")
)

// SignedData is a CMS container (RFC 5652 §5) of one content and at most one
// signer, whose attributes are signed, as they have to be for content that is no
// plain data. An anonymous client's has no signer (RFC 8062 §4.1).
//
//	ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] ANY }
//	SignedData ::= SEQUENCE {
//	    version          INTEGER,
//	    digestAlgorithms SET OF AlgorithmIdentifier,
//	    encapContentInfo SEQUENCE {
//	        eContentType OBJECT IDENTIFIER,
//	        eContent     [0] OCTET STRING OPTIONAL },
//	    certificates     [0] IMPLICIT SET OF Certificate OPTIONAL,
//	    crls             [1] IMPLICIT SET OF … OPTIONAL,
//	    signerInfos      SET OF SignerInfo }
//	SignerInfo ::= SEQUENCE {
//	    version            INTEGER,
//	    sid                CHOICE {
//	        issuerAndSerialNumber SEQUENCE { issuer Name, serialNumber INTEGER },
//	        subjectKeyIdentifier  [0] IMPLICIT OCTET STRING },
//	    digestAlgorithm    AlgorithmIdentifier,
//	    signedAttrs        [0] IMPLICIT SET OF Attribute OPTIONAL,
//	    signatureAlgorithm AlgorithmIdentifier,
//	    signature          OCTET STRING,
//	    unsignedAttrs      [1] IMPLICIT SET OF Attribute OPTIONAL }
type SignedData struct {
	Content      []byte
	Signed       bool
	Certificates []*x509.Certificate // the signer's first

	digest    OID
	attrs     []byte // as they are hashed, with the tag of a SET
	hash      []byte // in the attributes
	algorithm OID
	signature []byte
}

// signer tells whose signature it is.
type signer struct{ issuer, serial, keyID []byte }

// Unmarshal decodes the whole of b, whose content must be of the type. It
// verifies nothing.
func (s *SignedData) Unmarshal(b []byte, content OID) error {
	var d decoder
	*s = SignedData{}
	info := d.whole(b, der.Sequence)
	if OID(d.bytes(&info, der.OID)) != signedData {
		return SyntaxError("ContentInfo")
	}
	field := d.enter(&info, der.Context(0))
	d.end(&info)
	in := d.enter(&field, der.Sequence)
	d.end(&field)
	d.bytes(&in, der.Integer)
	list := d.enter(&in, der.Set)
	d.algorithms(&list)
	encap := d.enter(&in, der.Sequence)
	if OID(d.bytes(&encap, der.OID)) != content {
		return SyntaxError("content type of SignedData")
	}
	s.Content = d.at(&encap, 0, der.OctetString)
	d.end(&encap)
	certs := d.certificates(&in)
	if d.has(&in, der.Context(1)) {
		d.raw(&in, der.Context(1))
	}
	signers := d.enter(&in, der.Set)
	d.end(&in)
	if d.bad {
		return SyntaxError("SignedData")
	}
	if signers.Empty() {
		return nil
	}
	s.Signed = true
	by := s.signerInfo(&d, &signers, content)
	d.end(&signers)
	if d.bad {
		return SyntaxError("SignerInfo")
	}
	return s.parse(certs, by)
}

// certificates counts and measures them before anybody looks inside.
func (d *decoder) certificates(r *der.Reader) (all [][]byte) {
	if !d.has(r, der.Context(0)) {
		return nil
	}
	list := d.enter(r, der.Context(0))
	for !list.Empty() && !d.bad {
		c := d.raw(&list, der.Sequence)
		if len(all) == MaxCertificates || len(c) > MaxCertificate {
			d.bad = true
			return nil
		}
		all = append(all, c)
	}
	return all
}

func (s *SignedData) signerInfo(d *decoder, r *der.Reader, content OID) (by signer) {
	in := d.enter(r, der.Sequence)
	d.bytes(&in, der.Integer)
	if d.has(&in, der.ContextPrimitive(0)) {
		by.keyID = d.bytes(&in, der.ContextPrimitive(0))
	} else {
		name := d.enter(&in, der.Sequence)
		by.issuer = d.raw(&name, der.Sequence)
		by.serial = d.bytes(&name, der.Integer)
		d.end(&name)
	}
	s.digest = d.algorithm(&in).OID
	if raw := d.raw(&in, der.Context(0)); !d.bad {
		s.attrs = bytes.Clone(raw)
		s.attrs[0] = byte(der.Set) // RFC 5652 §5.4
		s.attributes(d, content)
	}
	s.algorithm = d.algorithm(&in).OID
	s.signature = d.bytes(&in, der.OctetString)
	if d.has(&in, der.Context(1)) {
		d.raw(&in, der.Context(1))
	}
	d.end(&in)
	return by
}

// attributes reads the two that every signature has, once each.
func (s *SignedData) attributes(d *decoder, content OID) {
	list := d.whole(s.attrs, der.Set)
	var kind OID
	for n := 0; !list.Empty() && !d.bad; n++ {
		in := d.enter(&list, der.Sequence)
		id := OID(d.bytes(&in, der.OID))
		values := d.enter(&in, der.Set)
		d.end(&in)
		switch {
		case n == maxAttributes, id == attrContentType && kind != "", id == attrDigest && s.hash != nil:
			d.bad = true
		case id == attrContentType:
			kind = OID(d.bytes(&values, der.OID))
			d.end(&values)
		case id == attrDigest:
			s.hash = d.bytes(&values, der.OctetString)
			d.end(&values)
		}
	}
	d.bad = d.bad || kind != content || s.hash == nil
}

// parse reads the certificates and puts the signer's in front.
func (s *SignedData) parse(raw [][]byte, by signer) error {
	found := false
	for _, b := range raw {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return SyntaxError("certificate")
		}
		s.Certificates = append(s.Certificates, c)
		if !found && by.is(c) {
			found = true
			last := len(s.Certificates) - 1
			s.Certificates[0], s.Certificates[last] = s.Certificates[last], s.Certificates[0]
		}
	}
	if !found {
		return ErrNoSigner
	}
	return nil
}

func (by *signer) is(c *x509.Certificate) bool {
	if by.keyID != nil {
		return bytes.Equal(by.keyID, c.SubjectKeyId)
	}
	w := der.NewWriter(nil)
	putUnsigned(w, c.SerialNumber.Bytes())
	var d decoder
	r := der.NewReader(w.Bytes())
	return bytes.Equal(by.issuer, c.RawIssuer) && bytes.Equal(by.serial, d.bytes(&r, der.Integer))
}

// Verify checks the signature against the signer's certificate, which somebody
// else has to believe.
func (s *SignedData) Verify() error {
	if !s.Signed {
		return ErrSignature
	}
	hash, ok := digests[s.digest]
	if !ok {
		return ErrDigest
	}
	alg, ok := signatures[s.algorithm]
	if !ok || alg.hash != 0 && alg.hash != hash {
		return ErrDigest
	}
	if !bytes.Equal(sum(hash, s.Content), s.hash) {
		return ErrSignature
	}
	switch key := s.Certificates[0].PublicKey.(type) {
	case *rsa.PublicKey:
		// Small keys can be broken, huge ones cost us seconds.
		if n := key.N.BitLen(); alg.rsa && n >= 2048 && n <= 8192 && rsa.VerifyPKCS1v15(key, hash, sum(hash, s.attrs), s.signature) == nil {
			return nil
		}
	case *ecdsa.PublicKey:
		if !alg.rsa && ecdsa.VerifyASN1(key, sum(hash, s.attrs), s.signature) {
			return nil
		}
	}
	return ErrSignature
}

func sum(hash crypto.Hash, b []byte) []byte {
	h := hash.New()
	h.Write(b)
	return h.Sum(nil)
}

package pkinit

import (
	"crypto/x509"

	"skyrealm/der"
)

// Types of typed data (RFC 4556 §3.1.3, RFC 8636 §3).
const (
	tdTrustedCertifiers = 104
	tdDHParameters      = 109
	tdCMSDigests        = 111
)

// TrustedCertifiers is the e-data of KDC_ERR_CANT_VERIFY_CERTIFICATE: whose
// certificates count.
//
//	TD-TRUSTED-CERTIFIERS ::= SEQUENCE OF ExternalPrincipalIdentifier
//	ExternalPrincipalIdentifier ::= SEQUENCE {
//	    subjectName [0] IMPLICIT OCTET STRING OPTIONAL, … }
func TrustedCertifiers(cas []*x509.Certificate) Typed {
	return typed(tdTrustedCertifiers, func(w *der.Writer) {
		for i := len(cas) - 1; i >= 0; i-- {
			mark := w.Len()
			w.Octets(der.ContextPrimitive(0), cas[i].RawSubject)
			w.Wrap(der.Sequence, mark)
		}
	})
}

// DHParameters is the e-data of KDC_ERR_DH_KEY_PARAMETERS_NOT_ACCEPTED: what the
// client should use, the best first.
//
//	TD-DH-PARAMETERS ::= SEQUENCE OF AlgorithmIdentifier
func DHParameters(groups []*Group) Typed {
	return typed(tdDHParameters, func(w *der.Writer) {
		for i := len(groups) - 1; i >= 0; i-- {
			groups[i].Algorithm().Marshal(w)
		}
	})
}

// CMSDigests is the e-data of KDC_ERR_DIGEST_IN_SIGNED_DATA_NOT_ACCEPTED.
//
//	TD-CMS-DIGEST-ALGORITHMS-DATA ::= SEQUENCE OF AlgorithmIdentifier
func CMSDigests() Typed {
	return typed(tdCMSDigests, func(w *der.Writer) {
		for _, d := range []OID{SHA512, SHA384, SHA256} {
			Algorithm{OID: d}.Marshal(w)
		}
	})
}

// Typed is an element of TYPED-DATA; inside FAST it is one of METHOD-DATA, whose
// numbers are the same (RFC 6113 §5.4.4).
type Typed struct {
	Type  int32
	Value []byte
}

// Marshal puts a TYPED-DATA of this one element in front of w (RFC 4120 §5.9.1).
//
//	TYPED-DATA ::= SEQUENCE OF SEQUENCE {
//	    data-type  [0] Int32,
//	    data-value [1] OCTET STRING OPTIONAL }
func (t Typed) Marshal(w *der.Writer) {
	end := w.Len()
	putOctets(w, 1, t.Value)
	mark := w.Len()
	w.Int(der.Integer, int64(t.Type))
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
	w.Wrap(der.Sequence, end)
}

func typed(kind int32, fill func(*der.Writer)) Typed {
	w := der.NewWriter(nil)
	fill(w)
	w.Wrap(der.Sequence, 0)
	return Typed{kind, w.Bytes()}
}

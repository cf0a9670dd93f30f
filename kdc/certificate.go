package kdc

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/pkinit"
)

// checkSigner asks whether the certificate signs in the client that the request
// names, and whether its owner has signed.
func (x *exchange) checkSigner(s *pkinit.SignedData) error {
	if err := x.checkPath(s.Certificates); err != nil {
		return err
	}
	switch err := s.Verify(); {
	case errors.Is(err, pkinit.ErrDigest):
		return x.typed(krb5.ErrDigestInSignedData, "signed over a digest that is not taken", pkinit.CMSDigests())
	case err != nil:
		return refuse(krb5.ErrInvalidSig, err.Error())
	}
	leaf := s.Certificates[0]
	who, err := signsIn(leaf)
	if err != nil {
		return err
	}
	return x.checkIdentity(x.client, &who, leaf)
}

// holderOf finds the account that a service means by somebody's certificate
// ([MS-SFU] §2.2.2). Nobody shows its key here: the service has seen that, in TLS
// for one, and says so. Else it is as good as one that signs in with PKINIT, and
// issued by one of the authorities, as nothing is sent of what stands between.
// named is the account that the request names beside it; nil: none.
func (x *exchange) holderOf(raw []byte, named *domain.Object) (*domain.Object, error) {
	if x.k.PKINIT == nil {
		return nil, refuse(krb5.ErrPADataTypeNoSupp, "no certificates are known here")
	}
	if len(raw) > pkinit.MaxCertificate {
		return nil, refuse(krb5.ErrInvalidCertificate, "a certificate that is too long")
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, refuse(krb5.ErrInvalidCertificate, "a malformed certificate")
	}
	if path := x.checkPath([]*x509.Certificate{leaf}); path != nil {
		return nil, path
	}
	who, err := signsIn(leaf)
	if err != nil {
		return nil, err
	}
	o := named
	if o == nil {
		if o, err = x.accountOf(&who); err != nil {
			return nil, err
		}
	}
	return o, x.checkIdentity(o, &who, leaf)
}

// accountOf finds the one account that a certificate names.
func (x *exchange) accountOf(who *pkinit.Identity) (o *domain.Object, err error) {
	is := func(found *domain.Object) {
		switch {
		case found == nil || !found.SignsIn():
		case o != nil && o.RID != found.RID:
			err = refuse(krb5.ErrCertificateMismatch, "a certificate for two accounts")
		default:
			o = found
		}
	}
	for _, upn := range who.UPNs {
		is(x.k.Replica.ByUPN(upn))
	}
	for i := range who.Names {
		if n := &who.Names[i]; x.k.isRealm(n.Realm) {
			is(x.k.clientByName(n.Principal))
		}
	}
	if err == nil && o == nil {
		err = refuse(krb5.ErrCPrincipalUnknown, "a certificate for nobody here")
	}
	return o, err
}

// signsIn returns whom a certificate is for, if that is to sign in.
func signsIn(leaf *x509.Certificate) (pkinit.Identity, error) {
	if !maySignIn(leaf) {
		return pkinit.Identity{}, refuse(krb5.ErrInconsistentPurpose, "a certificate for other purposes than to sign in")
	}
	who, err := pkinit.IdentityOf(leaf)
	if err != nil {
		return who, refuse(krb5.ErrInvalidCertificate, err.Error())
	}
	return who, nil
}

// checkPath verifies the chain to one of the authorities. The purpose of the
// certificates is none that crypto/x509 knows, so it is asked for no purpose.
func (x *exchange) checkPath(chain []*x509.Certificate) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: x.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, ca := range x.k.PKINIT.Clients {
		o.Roots.AddCert(ca)
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(o)
	if unknown := (x509.UnknownAuthorityError{}); errors.As(err, &unknown) {
		return x.typed(krb5.ErrCantVerifyCertificate, "a certificate of an authority that we don't know", pkinit.TrustedCertifiers(x.k.PKINIT.Clients))
	}
	if err != nil {
		return refuse(krb5.ErrInvalidCertificate, "the certificate is expired, not yet valid, or not for this use")
	}
	return nil
}

// maySignIn: RFC 4556 §3.2.2 and, for cards made for Windows, [MS-PKCA] §3.1.5.2.
func maySignIn(c *x509.Certificate) bool {
	return (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageDigitalSignature != 0) && !c.IsCA &&
		slices.ContainsFunc(c.UnknownExtKeyUsage, func(u asn1.ObjectIdentifier) bool {
			return u.Equal(pkinit.EKUClient) || u.Equal(pkinit.EKUSmartCard)
		})
}

// checkIdentity asks whether the certificate is the account's. A name alone can
// have been somebody else's when the certificate was issued, so it also has to
// say which account it means, by SID or the tenant's object id, or to be younger
// than the account (KB5014754, CVE-2022-26923).
func (x *exchange) checkIdentity(o *domain.Object, who *pkinit.Identity, c *x509.Certificate) error {
	is := func(found *domain.Object) bool { return found != nil && found.RID == o.RID }
	named := slices.ContainsFunc(who.UPNs, func(upn string) bool { return is(x.k.Replica.ByUPN(upn)) }) ||
		slices.ContainsFunc(who.Names, func(n pkinit.Name) bool { return x.k.isRealm(n.Realm) && is(x.k.clientByName(n.Principal)) })
	if !named {
		return refuse(krb5.ErrClientNameMismatch, "a certificate for another name")
	}
	strong := who.SID != ""
	if strong && who.SID != o.SID().String() {
		return refuse(krb5.ErrCertificateMismatch, "a certificate for another SID")
	}
	for _, uri := range who.URIs {
		if id, ok := strings.CutPrefix(uri, ObjectURI); ok {
			if !strings.EqualFold(id, o.Key.String()) {
				return refuse(krb5.ErrCertificateMismatch, "a certificate for another object of the tenant's")
			}
			strong = true
		}
	}
	if !strong && c.NotBefore.Before(o.Created()) {
		return refuse(krb5.ErrCertificateMismatch, "a certificate from before the account, which says no SID")
	}
	return nil
}

// ObjectURI and the tenant's object id are how a certificate of the tenant's says
// whom it is for: the tenant can't know SIDs.
const ObjectURI = "urn:uuid:"

package main

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"time"

	"skyrealm/api/graph"
	"skyrealm/kdc"
	"skyrealm/krb5"
	"skyrealm/krb5/pkinit"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// certify issues the certificate that signs a user in to the domain: for the
// tenant's object, which nobody else ever is, by its UPN, which the KDC compares,
// and by the SID where the administrator says it. The tenant can't know SIDs, so
// the KDC goes by the object's id as well (KB5014754).
func (a *signInAuthority) certify(user *tenant.Object, order graph.CertificateOrder, now time.Time) (*x509.Certificate, error) {
	csr, err := x509.ParseCertificateRequest(order.Request)
	if err != nil || csr.CheckSignature() != nil {
		return nil, graph.ErrCertificateRequest
	}
	switch key := csr.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return nil, graph.ErrCertificateRequest
		}
	case *ecdsa.PublicKey:
	default:
		return nil, graph.ErrCertificateRequest
	}
	who := pkinit.Identity{
		Names: []pkinit.Name{{Realm: a.realm, Principal: krb5.Principal(krb5.NTEnterprise, user.UPN)}},
		UPNs:  []string{user.UPN},
		URIs:  []string{kdc.ObjectURI + user.ID.String()},
	}
	if order.SID != "" {
		id, err := sid.Parse(order.SID)
		if err != nil {
			return nil, graph.ErrSecurityIdentifier
		}
		who.SID = id.String()
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	end := now.Add(order.Life)
	if end.After(a.cert.NotAfter) {
		return nil, errors.New("the sign-in CA ends before the certificate would")
	}
	t := &x509.Certificate{
		SerialNumber:       serial,
		Subject:            pkix.Name{CommonName: user.UPN},
		NotBefore:          now.Add(-5 * time.Minute), // the KDC's clock may be behind ours
		NotAfter:           end,
		KeyUsage:           x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{pkinit.EKUClient, pkinit.EKUSmartCard},
		ExtraExtensions:    who.Extensions(),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

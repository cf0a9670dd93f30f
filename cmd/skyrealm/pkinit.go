package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skyrealm/domain"
	"skyrealm/kdc"
	"skyrealm/krb5"
	"skyrealm/krb5/pkinit"
)

// Two authorities, neither of which can do the other's work:
//
//	tls/kdc-ca      vouches for the KDC. Each domain process makes its own, as it
//	                does for TLS; clients trust kdc-ca.pem, which krb5.conf names.
//	keys/signin-ca  signs people in. Whoever has its key is everybody in the
//	                domain, so the key is the tenant role's, and stands where the
//	                keys stand that a backup needs. The domain role reads the
//	                certificate alone; certificates of other authorities that
//	                may sign people in are put behind it, in the same file.
//
// The first is RSA, as is the KDC's own key: Heimdal in Debian knows no curves.
const (
	kdcCAName    = "kdc-ca"
	signinCAName = "signin-ca"
	anchorsFile  = "pkinit-anchors.pem" // both, for clients
	moduliFile   = "moduli"             // for Heimdal's
	kdcLife      = serverLife
	renewCheck   = time.Hour
)

func newRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// signInAuthority is what the tenant role issues with.
type signInAuthority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	realm string
}

// openSignIn reads keys/signin-ca, with create after it was made. a is nil where
// the key is kept elsewhere, and so no certificates are issued here.
func openSignIn(dir, tenantDomain, realm string, create bool, now time.Time) (a *signInAuthority, err error) {
	dir = filepath.Join(dir, "keys")
	_, err = os.Stat(filepath.Join(dir, signinCAName+".pem"))
	_, keyErr := os.Stat(filepath.Join(dir, signinCAName+"-key.pem"))
	switch {
	case errors.Is(err, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) && create:
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		t := authorityTemplate("Skyrealm sign-in CA of "+tenantDomain, now)
		if _, _, err := issue(dir, signinCAName, t, t, key, key); err != nil {
			return nil, err
		}
	case errors.Is(err, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist):
		return nil, nil
	}
	cert, key, err := readPair(dir, signinCAName)
	if err != nil {
		return nil, err
	}
	return &signInAuthority{cert: cert, key: key, realm: realm}, nil
}

func authorityTemplate(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name, Organization: []string{"Skyrealm"}},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(caLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// startPKINIT makes the KDC ready for certificates.
func (s *service) startPKINIT(now time.Time) error {
	p := &kdc.PKINIT{RequireFreshness: s.cfg.requireFreshness, AllowGroup2: s.cfg.allowGroup2}
	text, err := os.ReadFile(filepath.Join(s.cfg.data, "keys", signinCAName+".pem"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if p.Clients, err = parseCertificates(text); err != nil {
		return fmt.Errorf("keys/%s.pem: %w", signinCAName, err)
	}
	ca, err := s.certifyKDC(p, now)
	if err != nil {
		return err
	}
	// MIT's client verifies its own certificate as well before it sends it.
	if err := writeFile(filepath.Join(s.cfg.data, "tls", anchorsFile), append(ca, text...), 0o644); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(s.cfg.data, "tls", moduliFile), []byte(moduli()), 0o644); err != nil {
		return err
	}
	s.ready.KDCCAFile = filepath.Join(s.cfg.data, "tls", kdcCAName+".pem")
	s.ready.AnchorsFile = filepath.Join(s.cfg.data, "tls", anchorsFile)
	s.kdc.PKINIT = p
	s.work.Go(func() {
		every := time.NewTicker(renewCheck)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-s.backing.Done():
				return
			}
			if _, err := s.certifyKDC(p, time.Now()); err != nil {
				s.log.Warn("the KDC's certificate could not be renewed, it is tried again", "error", err)
			}
		}
	})
	return nil
}

func parseCertificates(text []byte) (all []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all, nil
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
}

// certifyKDC gives the KDC its certificate, a new one where there is none or it
// is about to end or to name another realm.
func (s *service) certifyKDC(p *kdc.PKINIT, now time.Time) (caPEM []byte, err error) {
	dir := filepath.Join(s.cfg.data, "tls")
	ca, caKey, err := readPair(dir, kdcCAName)
	if errors.Is(err, fs.ErrNotExist) {
		if caKey, err = newRSA(); err != nil {
			return nil, err
		}
		t := authorityTemplate("Skyrealm KDC CA of "+s.info.Realm(), now)
		ca, caKey, err = issue(dir, kdcCAName, t, t, caKey, caKey)
	}
	if err != nil {
		return nil, err
	}
	leaf, key, err := readPair(dir, "kdc")
	if errors.Is(err, fs.ErrNotExist) || err == nil && !servesRealm(leaf, ca, &s.info, now) {
		if key, err = newRSA(); err != nil {
			return nil, err
		}
		leaf, key, err = issue(dir, "kdc", kdcTemplate(&s.info, now), ca, key, caKey)
	}
	if err != nil {
		return nil, err
	}
	p.Use([]*x509.Certificate{leaf}, key)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), nil
}

// kdcTemplate: RFC 4556 §3.2.4, and the name in DNS for clients of [MS-PKCA].
func kdcTemplate(info *domain.Info, now time.Time) *x509.Certificate {
	realm := info.Realm()
	who := pkinit.Identity{Names: []pkinit.Name{{Realm: realm, Principal: krb5.Principal(krb5.NTSrvInst, "krbtgt", realm)}}}
	return &x509.Certificate{
		Subject:            pkix.Name{CommonName: info.DCName()},
		NotBefore:          now.Add(-time.Hour),
		NotAfter:           now.Add(kdcLife),
		KeyUsage:           x509.KeyUsageDigitalSignature,
		ExtKeyUsage:        []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{pkinit.EKUKDC},
		ExtraExtensions:    who.Extensions(info.DCName()),
	}
}

func servesRealm(leaf, ca *x509.Certificate, info *domain.Info, now time.Time) bool {
	who, err := pkinit.IdentityOf(leaf)
	return err == nil && len(who.Names) == 1 && who.Names[0].Realm == info.Realm() && leaf.VerifyHostname(info.DCName()) == nil &&
		leaf.NotAfter.After(now.Add(renewAhead)) && leaf.CheckSignatureFrom(ca) == nil
}

// moduli are the groups that are taken, as Heimdal's clients read them: name,
// bits, modulus, generator, order.
func moduli() string {
	var b strings.Builder
	for _, g := range []*pkinit.Group{pkinit.Group14, pkinit.Group16} {
		p, q := g.Modulus()
		fmt.Fprintf(&b, "%s %d %X 02 %X\n", strings.ReplaceAll(g.String(), " ", "-"), p.BitLen(), p, q)
	}
	return b.String()
}

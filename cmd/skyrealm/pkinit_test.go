package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"skyrealm/api/graph"
	"skyrealm/domain"
	"skyrealm/kdc"
	"skyrealm/krb5/pkinit"
	"skyrealm/tenant"
)

// TestKDCCertificate: it stays as long as it serves, and is renewed a month
// before it ends, under the same authority.
func TestKDCCertificate(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "tls"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &service{cfg: config{data: dir}, info: domain.Info{DNSName: "aadds.contoso.test", DC: "DC1", NetBIOS: "AADDS"}}
	now := time.Now()
	certify := func(at time.Time) (*x509.Certificate, []byte) {
		t.Helper()
		ca, err := s.certifyKDC(new(kdc.PKINIT), at)
		if err != nil {
			t.Fatal(err)
		}
		leaf, _, err := readPair(filepath.Join(dir, "tls"), "kdc")
		if err != nil {
			t.Fatal(err)
		}
		return leaf, ca
	}
	first, ca := certify(now)
	who, err := pkinit.IdentityOf(first)
	if err != nil || len(who.Names) != 1 || who.Names[0].Realm != "AADDS.CONTOSO.TEST" || who.Names[0].Principal.String() != "krbtgt/AADDS.CONTOSO.TEST" ||
		!slices.ContainsFunc(first.UnknownExtKeyUsage, pkinit.EKUKDC.Equal) || first.VerifyHostname("dc1.aadds.contoso.test") != nil {
		t.Errorf("%v: %+v", err, who)
	}
	for _, c := range []struct {
		after time.Duration
		realm string
		same  bool
	}{
		{0, "aadds.contoso.test", true},
		{kdcLife - renewAhead - time.Hour, "aadds.contoso.test", true},
		{kdcLife - renewAhead + time.Hour, "aadds.contoso.test", false},
		{kdcLife - renewAhead + time.Hour, "other.test", false},
	} {
		s.info.DNSName = c.realm
		before, _, err := readPair(filepath.Join(dir, "tls"), "kdc")
		if err != nil {
			t.Fatal(err)
		}
		leaf, again := certify(now.Add(c.after))
		if leaf.Equal(before) != c.same || !bytes.Equal(ca, again) {
			t.Errorf("%s after %v: the same: %v", c.realm, c.after, leaf.Equal(before))
		}
	}
}

func TestSignInAuthority(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	open := func(create bool) *signInAuthority {
		t.Helper()
		a, err := openSignIn(dir, "contoso.test", "AADDS.CONTOSO.TEST", create, now)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	if open(false) != nil {
		t.Error("an authority of nothing")
	}
	a := open(true)
	if again := open(true); !again.cert.Equal(a.cert) {
		t.Error("a new authority in the place of the old one")
	}

	// It issues what the KDC believes, for keys that are worth it.
	id, err := tenant.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	user := &tenant.Object{ID: id, UPN: "ada@contoso.test"}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	request := func(key any) []byte {
		b, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"bob"}}, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	altered := request(ec)
	altered[len(altered)-1] ^= 1
	for name, c := range map[string]struct {
		order  graph.CertificateOrder
		expect error
	}{
		"good":           {graph.CertificateOrder{Request: request(ec), SID: "S-1-5-21-1-2-3-1104", Life: time.Hour}, nil},
		"a small key":    {graph.CertificateOrder{Request: request(small), Life: time.Hour}, graph.ErrCertificateRequest},
		"somebody's key": {graph.CertificateOrder{Request: altered, Life: time.Hour}, graph.ErrCertificateRequest},
		"no SID":         {graph.CertificateOrder{Request: request(ec), SID: "ada", Life: time.Hour}, graph.ErrSecurityIdentifier},
		"nothing":        {graph.CertificateOrder{Life: time.Hour}, graph.ErrCertificateRequest},
	} {
		cert, err := a.certify(user, c.order, now)
		if !errors.Is(err, c.expect) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		who, err := pkinit.IdentityOf(cert)
		if err != nil || who.SID != c.order.SID || !slices.Equal(who.UPNs, []string{user.UPN}) || !slices.Equal(who.URIs, []string{kdc.ObjectURI + id.String()}) ||
			len(cert.DNSNames) != 0 || cert.IsCA || cert.CheckSignatureFrom(a.cert) != nil {
			t.Errorf("%v: %+v", err, who)
		}
	}

	// A domain process has the certificate alone, and issues nothing.
	if err := os.Remove(filepath.Join(dir, "keys", signinCAName+"-key.pem")); err != nil {
		t.Fatal(err)
	}
	if open(true) != nil {
		t.Error("an authority without its key issues, or was made anew")
	}
}

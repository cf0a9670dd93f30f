package cred

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestEnvelopeKey(t *testing.T) {
	k, now := otherEnvelopeKey(), otherEnvelopeTime
	cert, err := x509.ParseCertificate(k.CertificateDER())
	if err != nil {
		t.Fatal(err)
	}
	// As a public tool takes the domain from it.
	if _, domain, _ := strings.Cut(cert.Subject.String(), "-"); strings.TrimSpace(domain) != "fabrikam.test" {
		t.Errorf("the subject is %s", cert.Subject)
	}
	if err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		t.Error(err)
	}
	if !cert.NotBefore.Equal(now.Add(-time.Hour)) || cert.NotAfter.Year() != 9999 || cert.SerialNumber.Sign() <= 0 {
		t.Errorf("%v to %v, %v", cert.NotBefore, cert.NotAfter, cert.SerialNumber)
	}
	if k.Thumbprint() != sha1.Sum(cert.Raw) || Thumbprint(cert.Raw) != k.Thumbprint() {
		t.Error("thumbprint")
	}
	k.CertificateDER()[0] ^= 1
	if k.CertificateDER()[0] != cert.Raw[0] {
		t.Error("gives away its own copy")
	}

	text, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseEnvelopePEM(text)
	if err != nil || back.Thumbprint() != k.Thumbprint() || !bytes.Equal(back.CertificateDER(), cert.Raw) {
		t.Fatal(err)
	}
	if _, err := back.OpenNTHash(mustEnvelope(t, k, AttrUnicodePwd, NTHashOf("x").Expose())); err != nil {
		t.Error("the key from its PEM does not open:", err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("", "k", k)
	prints := fmt.Sprintf("%v %+v %#v %s %x", k, k, k, k, k)
	if strings.TrimSpace(strings.ReplaceAll(prints, redacted, "")) != "" || !strings.Contains(log.String(), redacted) {
		t.Errorf("prints %.200s %.200s", prints, log.String())
	}

	private, certificate := splitPEM(t, text)
	_, otherCert := splitPEM(t, mustPEM(t, testEnvelopeKey()))
	ec := mustECKey(t)
	for name, bad := range map[string]string{
		"empty":                   "",
		"no certificate":          private,
		"no key":                  certificate,
		"the other way round":     certificate + private,
		"something behind":        string(text) + "x",
		"two certificates":        string(text) + certificate,
		"another's certificate":   private + otherCert,
		"an EC key":               ec.key + certificate,
		"an EC certificate":       private + ec.cert,
		"no PKCS#8":               strings.Replace(private, "MII", "AII", 1) + certificate,
		"no X.509":                private + strings.Replace(certificate, "MII", "AII", 1),
		"key under another name":  strings.ReplaceAll(private, "PRIVATE", "RSA PRIVATE") + certificate,
		"a key of 1024 bits":      mustRSA(t, 1024),
		"cert under another name": private + strings.ReplaceAll(certificate, "CERT", "X CERT"),
	} {
		if _, err := ParseEnvelopePEM([]byte(bad)); !errors.Is(err, ErrEnvelopeKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	block, _ := pem.Decode([]byte(ec.cert))
	for name, der := range map[string][]byte{"EC": block.Bytes, "nothing": nil, "trailing": append(k.CertificateDER(), 0)} {
		if _, err := SealEnvelope(der, AttrUnicodePwd, nil, rand.Reader); !errors.Is(err, ErrEnvelopeKey) {
			t.Errorf("sealed for %s: %v", name, err)
		}
	}
	if _, err := (EnvelopeKey{}).MarshalPEM(); !errors.Is(err, ErrEnvelopeKey) {
		t.Error(err)
	}
	if _, err := NewEnvelopeKey("x", now, iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
}

func mustPEM(t *testing.T, k EnvelopeKey) []byte {
	t.Helper()
	text, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func splitPEM(t *testing.T, text []byte) (private, certificate string) {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil {
		t.Fatal("no PEM")
	}
	return string(pem.EncodeToMemory(block)), string(rest)
}

// pemPair is a key and its certificate, as MarshalPEM would write them.
type pemPair struct{ key, cert string }

func newPair(t *testing.T, public, private any) pemPair {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: envelopeEnd}
	cert, err1 := x509.CreateCertificate(rand.Reader, template, template, public, private)
	key, err2 := x509.MarshalPKCS8PrivateKey(private)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return pemPair{
		string(pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: key})),
		string(pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: cert})),
	}
}

func mustECKey(t *testing.T) pemPair {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newPair(t, &k.PublicKey, k)
}

func mustRSA(t *testing.T, bits int) string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	p := newPair(t, &k.PublicKey, k)
	return p.key + p.cert
}

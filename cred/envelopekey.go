package cred

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"
)

// ErrEnvelopeKey is returned for what is no RSA-2048 key with its certificate.
var ErrEnvelopeKey = errors.New("cred: not a key for envelopes")

const certBlock = "CERTIFICATE"

// EnvelopeKey opens what agents of the real service seal. Only the domain and
// provision roles hold it; the tenant publishes its certificate.
type EnvelopeKey struct {
	secret
	key        *rsa.PrivateKey
	cert       []byte
	thumbprint [sha1.Size]byte
}

// envelopeEnd is the date that means no end (RFC 5280 §4.1.2.5). A new
// certificate has a new thumbprint, by which all that was sealed before becomes
// unreadable, so nothing may renew it by the calendar.
var envelopeEnd = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// NewEnvelopeKey makes a key and its self-signed certificate. crypto/rsa takes
// no reader's randomness for keys since Go 1.26; rand makes the serial number.
func NewEnvelopeKey(tenantDomain string, now time.Time, rand io.Reader) (EnvelopeKey, error) {
	var serial [16]byte
	if _, err := io.ReadFull(rand, serial[:]); err != nil {
		return EnvelopeKey{}, fmt.Errorf("cred: envelope key: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and never shorter
	key, err := rsa.GenerateKey(rand, 8*envelopeRSA)
	if err != nil {
		return EnvelopeKey{}, fmt.Errorf("cred: envelope key: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]),
		// Tools read the domain after the first "-" (entra-wire.md §C1).
		Subject:   pkix.Name{CommonName: "Domain Services - " + tenantDomain},
		NotBefore: now.UTC().Add(-time.Hour), // agents' clocks run late
		NotAfter:  envelopeEnd,
		KeyUsage:  x509.KeyUsageKeyEncipherment,
	}
	cert, err := x509.CreateCertificate(rand, template, template, &key.PublicKey, key)
	if err != nil {
		return EnvelopeKey{}, fmt.Errorf("cred: envelope certificate: %w", err)
	}
	return EnvelopeKey{key: key, cert: cert, thumbprint: Thumbprint(cert)}, nil
}

// CertificateDER is the certificate that agents seal for, X.509 in DER.
func (k EnvelopeKey) CertificateDER() []byte { return bytes.Clone(k.cert) }

// Thumbprint names the key in envelopes.
func (k EnvelopeKey) Thumbprint() [sha1.Size]byte { return k.thumbprint }

// Thumbprint is the SHA-1 of a certificate's DER.
func Thumbprint(certDER []byte) [sha1.Size]byte { return sha1.Sum(certDER) }

// MarshalPEM is the key in PKCS#8 and its certificate, for a file with mode
// 0600. It is the only way out. The certificate can't be made again from the
// key: it would have another thumbprint.
func (k EnvelopeKey) MarshalPEM() ([]byte, error) {
	if k.key == nil {
		return nil, ErrEnvelopeKey
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, ErrEnvelopeKey
	}
	defer clear(der)
	text := pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: der})
	return append(text, pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: k.cert})...), nil
}

// ParseEnvelopePEM reads what MarshalPEM wrote, and nothing after it.
func ParseEnvelopePEM(text []byte) (EnvelopeKey, error) {
	private, rest := pem.Decode(text)
	if private == nil || private.Type != pemBlock {
		return EnvelopeKey{}, ErrEnvelopeKey
	}
	cert, rest := pem.Decode(rest)
	if cert == nil || cert.Type != certBlock || len(rest) != 0 {
		return EnvelopeKey{}, ErrEnvelopeKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private.Bytes)
	if err != nil {
		return EnvelopeKey{}, ErrEnvelopeKey // its text could quote the key
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return EnvelopeKey{}, ErrEnvelopeKey
	}
	public, err := envelopePublic(cert.Bytes)
	if err != nil || !public.Equal(&key.PublicKey) {
		return EnvelopeKey{}, ErrEnvelopeKey
	}
	return EnvelopeKey{key: key, cert: cert.Bytes, thumbprint: Thumbprint(cert.Bytes)}, nil
}

// envelopePublic is the key in a certificate. Its dates are left alone: the
// certificate comes over an authenticated channel and only carries the key.
func envelopePublic(certDER []byte) (*rsa.PublicKey, error) {
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, fmt.Errorf("%w: no certificate", ErrEnvelopeKey)
	}
	public, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok || public.N.BitLen() != 8*envelopeRSA {
		return nil, fmt.Errorf("%w: not RSA-2048", ErrEnvelopeKey)
	}
	return public, nil
}

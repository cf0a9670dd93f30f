package cred

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrPublicKey is returned for a JWK that is no P-256 public key for sealing.
	ErrPublicKey = errors.New("cred: not a public key for sealing")
	// ErrPrivateKey is returned for text that is no P-256 private key.
	ErrPrivateKey = errors.New("cred: not a private key for sealing")
)

var (
	p256 = ecdh.P256()
	// b64 refuses stray bits in the last character, so that a value has one
	// text form.
	b64 = base64.RawURLEncoding.Strict()
)

const (
	maxJWK   = 4096
	pemBlock = "PRIVATE KEY"
)

// PublicKey seals for the managed domain. The tenant and the agents hold it.
type PublicKey struct {
	key  *ecdh.PublicKey
	kid  string
	x, y string // base64url, as a JWK has them
}

func newPublicKey(key *ecdh.PublicKey) PublicKey {
	point := key.Bytes() // 4 | x | y
	p := PublicKey{key: key, x: b64.EncodeToString(point[1:33]), y: b64.EncodeToString(point[33:])}
	// RFC 7638 §3: the required members in the order of their names.
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + p.x + `","y":"` + p.y + `"}`))
	p.kid = b64.EncodeToString(sum[:])
	return p
}

// KeyID is the key's RFC 7638 thumbprint, 43 characters; "" for the zero value.
func (p PublicKey) KeyID() string { return p.kid }

type jwk struct {
	Kty string          `json:"kty"`
	Crv string          `json:"crv"`
	X   string          `json:"x"`
	Y   string          `json:"y"`
	Use string          `json:"use,omitempty"`
	Alg string          `json:"alg,omitempty"`
	Kid string          `json:"kid,omitempty"`
	D   json.RawMessage `json:"d,omitempty"`
}

// JWK is the form in which the key is published (RFC 7517).
func (p PublicKey) JWK() ([]byte, error) {
	if p.key == nil {
		return nil, ErrPublicKey
	}
	return json.Marshal(jwk{Kty: "EC", Crv: "P-256", X: p.x, Y: p.y, Use: "enc", Alg: sealAlg, Kid: p.kid})
}

// ParsePublicJWK reads such a form. A key that has a private part is refused, as
// is one whose name is not its thumbprint.
func ParsePublicJWK(b []byte) (PublicKey, error) {
	var j jwk
	if len(b) > maxJWK || json.Unmarshal(b, &j) != nil {
		return PublicKey{}, fmt.Errorf("%w: no JWK", ErrPublicKey)
	}
	if j.Kty != "EC" || j.Crv != "P-256" || j.D != nil || j.Use != "" && j.Use != "enc" || j.Alg != "" && j.Alg != sealAlg {
		return PublicKey{}, fmt.Errorf("%w: not a public P-256 key for %s", ErrPublicKey, sealAlg)
	}
	key, err := parsePoint(j.X, j.Y)
	if err != nil {
		return PublicKey{}, err
	}
	p := newPublicKey(key)
	if j.Kid != "" && j.Kid != p.kid {
		return PublicKey{}, fmt.Errorf("%w: kid is not the thumbprint", ErrPublicKey)
	}
	return p, nil
}

// coordinate is the length of 32 bytes in base64url.
const coordinate = 43

// parsePoint reads the coordinates of a point and checks that it is on the
// curve: another point would give away the private key bit by bit.
func parsePoint(x, y string) (*ecdh.PublicKey, error) {
	point := [65]byte{4}
	if len(x) != coordinate || len(y) != coordinate {
		return nil, fmt.Errorf("%w: coordinates have not 32 bytes", ErrPublicKey)
	}
	_, err1 := b64.Decode(point[1:33], []byte(x))
	_, err2 := b64.Decode(point[33:], []byte(y))
	key, err3 := p256.NewPublicKey(point[:])
	if err1 != nil || err2 != nil || err3 != nil {
		return nil, fmt.Errorf("%w: not a point of the curve", ErrPublicKey)
	}
	return key, nil
}

// PrivateKey opens what was sealed. Only the domain and provision roles hold it.
type PrivateKey struct {
	secret
	key    *ecdh.PrivateKey
	public PublicKey
}

// NewPrivateKey makes a key from randomness.
func NewPrivateKey(rand io.Reader) (PrivateKey, error) {
	key, err := generate(rand)
	if err != nil {
		return PrivateKey{}, err
	}
	return PrivateKey{key: key, public: newPublicKey(key.PublicKey())}, nil
}

// generate draws a scalar. crypto/ecdh's own way ignores the reader it is given
// since Go 1.26.
func generate(rand io.Reader) (*ecdh.PrivateKey, error) {
	var b [32]byte
	defer clear(b[:])
	// A draw is out of range once in 2^32, so three in a row are no randomness.
	for range 3 {
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, fmt.Errorf("cred: key: %w", err)
		}
		if key, err := p256.NewPrivateKey(b[:]); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: the randomness is constant", ErrPrivateKey)
}

// Public is the key that seals for this one.
func (p PrivateKey) Public() PublicKey { return p.public }

// MarshalPEM is the key in PKCS#8, for a file with mode 0600. It is the only way
// out.
func (p PrivateKey) MarshalPEM() ([]byte, error) {
	if p.key == nil {
		return nil, ErrPrivateKey
	}
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return nil, ErrPrivateKey
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemBlock, Bytes: der}), nil
}

// ParsePrivatePEM reads what MarshalPEM wrote, and nothing after it.
func ParsePrivatePEM(text []byte) (PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemBlock || len(rest) != 0 {
		return PrivateKey{}, ErrPrivateKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return PrivateKey{}, ErrPrivateKey // its text could quote the key
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return PrivateKey{}, ErrPrivateKey
	}
	key, err := k.ECDH()
	if err != nil || key.Curve() != p256 {
		return PrivateKey{}, ErrPrivateKey
	}
	return PrivateKey{key: key, public: newPublicKey(key.PublicKey())}, nil
}

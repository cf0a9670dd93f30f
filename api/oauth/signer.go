package oauth

import (
	"crypto"
	"crypto/cipher"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/go-jose/go-jose/v4"
)

// algorithm is the only one, in making and in judging.
const algorithm = jose.RS256

// Signer signs tokens with the tenant's key, and seals those that only we read.
type Signer struct {
	public  jose.JSONWebKey
	signer  jose.Signer
	refresh cipher.AEAD // seals refresh tokens
}

// NewSigner returns a signer with key, of 2048 bits or more. Its kid is the
// thumbprint of the public half (RFC 7638), so replicas with one key agree.
func NewSigner(key *rsa.PrivateKey) (*Signer, error) {
	if key == nil || key.N.BitLen() < 2048 { // RFC 7518 §3.3
		return nil, errors.New("oauth: a signing key has 2048 bits or more")
	}
	public := jose.JSONWebKey{Key: &key.PublicKey, Algorithm: string(algorithm), Use: "sig"}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, err
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: public.KeyID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	refresh, err := newRefreshAEAD(key)
	if err != nil {
		return nil, err
	}
	return &Signer{public: public, signer: signer, refresh: refresh}, nil
}

// sign returns claims as a compact JWS.
func (s *Signer) sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed, err := s.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

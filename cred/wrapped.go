package cred

import (
	"bytes"
	"encoding/json"
	"io"
)

// maxWrapped bounds a JWE around envelopes: two of [MaxEnvelope] in base64 twice.
const maxWrapped = 64 << 10

// wrapped is the second kind of payload that a Sealed has: the envelopes of an
// agent of the real service. They authenticate nothing, not even whose they
// are; around them the JWE does.
type wrapped struct {
	V            int    `json:"v"`
	Tid          string `json:"tid"`
	Sub          string `json:"sub"`
	Ver          int64  `json:"ver"`
	Legacy       []byte `json:"windowsLegacyCredentials,omitempty"`
	Supplemental []byte `json:"windowsSupplementalCredentials,omitempty"`
}

const wrappedVersion = 2

// Wrap seals envelopes (entra-wire §C2), either of which may be empty, as they
// came from an agent, and binds them to their user. Whether they open only the
// managed domain can tell.
func (p PublicKey) Wrap(b Binding, legacy, supplemental []byte, rand io.Reader) (Sealed, error) {
	if b.Tenant == "" || b.Subject == "" {
		return "", ErrBinding
	}
	if len(legacy) > MaxEnvelope || len(supplemental) > MaxEnvelope {
		return "", ErrSealedSize
	}
	if len(legacy)+len(supplemental) == 0 {
		return "", ErrLegacy
	}
	plain, err := json.Marshal(wrapped{wrappedVersion, b.Tenant, b.Subject, b.Version, legacy, supplemental})
	if err != nil {
		return "", err
	}
	return p.seal(plain, maxWrapped, rand)
}

// Opener opens both kinds of Sealed. The zero Envelope opens no envelopes.
type Opener struct {
	Private  PrivateKey
	Envelope EnvelopeKey
}

// Open is [PrivateKey.Open] for both kinds. The error is always ErrUnsealable.
func (o Opener) Open(b Binding, s Sealed) (Legacy, error) {
	plain, err := o.Private.open(s)
	if err != nil {
		return Legacy{}, err
	}
	defer clear(plain)
	if !bytes.HasPrefix(plain, []byte(`{"v":2,`)) { // only we make the second kind, and so
		if len(s) > MaxSealed {
			return Legacy{}, ErrUnsealable
		}
		return unmarshalPayload(plain, b)
	}
	var w wrapped
	if json.Unmarshal(plain, &w) != nil || w.V != wrappedVersion ||
		b.Tenant != w.Tid || b.Subject != w.Sub || w.Ver < b.Version || b.Tenant == "" || b.Subject == "" {
		return Legacy{}, ErrUnsealable
	}
	return o.Envelope.OpenLegacy(w.Legacy, w.Supplemental)
}

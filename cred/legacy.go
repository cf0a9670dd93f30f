package cred

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"skyrealm/krb5/etype"
)

// Limits of a Legacy. They hold at Seal, so that an agent hears of it, and at
// Open, as anyone with the public key can seal.
const (
	maxKeys    = 16
	maxKeySalt = 512
)

// ErrLegacy is returned for legacy hashes that can't be sealed: none at all, or
// a key outside the limits.
var ErrLegacy = errors.New("cred: legacy hashes out of bounds")

// KerberosKey is a long-term key with what a client needs to make it from the
// password: the KDC announces salt and iterations per user, as keys synced from
// on-premises keep the salt of their own realm (entra-wire.md §C5).
type KerberosKey struct {
	Key        etype.Key
	Salt       string
	Iterations uint32 // 0: the type's default
	KVNO       uint32 // 0: left to the domain
}

func (k KerberosKey) equal(o KerberosKey) bool {
	return k.Key.Equal(o.Key) && k.Salt == o.Salt && k.Iterations == o.Iterations && k.KVNO == o.KVNO
}

// Legacy is what the managed domain needs of one password. Either part may be
// absent: no NT hash where NTLM hash sync is off, no keys from an agent that
// has only the NT hash. The key of type 23 is the NT hash itself and never
// stands among Keys, so that the two can't differ.
type Legacy struct {
	NT   NTHash
	Keys []KerberosKey
}

// NewLegacy makes all forms of a password: NT hash, and keys of types 18 and 17
// (in this order) with 4096 iterations, and of the types named beside these, of
// which each has its own number of iterations.
func NewLegacy(password, salt string, also ...etype.ID) (Legacy, error) {
	if err := CheckPassword(password); err != nil {
		return Legacy{}, err
	}
	l := Legacy{NT: NTHashOf(password), Keys: make([]KerberosKey, 0, 2+len(also))}
	for _, id := range append([]etype.ID{etype.AES256SHA1, etype.AES128SHA1}, also...) {
		n := id.DefaultIterations()
		k, err := etype.StringToKey(id, password, salt, n)
		if err != nil {
			return Legacy{}, fmt.Errorf("cred: legacy key: %w", err)
		}
		l.Keys = append(l.Keys, KerberosKey{Key: k, Salt: salt, Iterations: n})
	}
	return l, nil
}

// Key returns the first key of a type; that of type 23 is made from NT.
func (l Legacy) Key(id etype.ID) (KerberosKey, bool) {
	if id == etype.RC4 {
		if l.NT.IsZero() {
			return KerberosKey{}, false
		}
		k, err := etype.NewKey(etype.RC4, l.NT.b[:])
		return KerberosKey{Key: k}, err == nil
	}
	for _, k := range l.Keys {
		if k.Key.ID() == id && id.Known() {
			return k, true
		}
	}
	return KerberosKey{}, false
}

// Equal compares all of it, the secrets in constant time.
func (l Legacy) Equal(o Legacy) bool {
	return l.NT.Equal(o.NT) && slices.EqualFunc(l.Keys, o.Keys, KerberosKey.equal)
}

// check is the one place that knows the limits.
// IsZero reports whether there is no form of a password.
func (l Legacy) IsZero() bool { return l.NT.IsZero() && len(l.Keys) == 0 }

func (l Legacy) check() error {
	if l.IsZero() {
		return fmt.Errorf("%w: none", ErrLegacy)
	}
	if len(l.Keys) > maxKeys {
		return fmt.Errorf("%w: more than %d keys", ErrLegacy, maxKeys)
	}
	for i, k := range l.Keys {
		switch id := k.Key.ID(); {
		case !id.Known():
			return fmt.Errorf("%w: key %d has no known type", ErrLegacy, i)
		case id == etype.RC4:
			return fmt.Errorf("%w: key %d: type 23 is the NT hash", ErrLegacy, i)
		case len(k.Salt) > maxKeySalt || !utf8.ValidString(k.Salt):
			return fmt.Errorf("%w: key %d: salt is longer than %d bytes or not UTF-8", ErrLegacy, i, maxKeySalt)
		case k.Iterations > etype.MaxIterations:
			return fmt.Errorf("%w: key %d: more than %d iterations", ErrLegacy, i, etype.MaxIterations)
		}
	}
	return nil
}

// payload is what stands inside a Sealed.
type payload struct {
	V    int          `json:"v"`
	Tid  string       `json:"tid"`
	Sub  string       `json:"sub"`
	Ver  int64        `json:"ver"`
	NT   []byte       `json:"nt,omitempty"`
	Keys []payloadKey `json:"keys,omitempty"`
}

type payloadKey struct {
	Etype      int32  `json:"etype"`
	Salt       string `json:"salt"`
	Iterations uint32 `json:"iterations"`
	KVNO       uint32 `json:"kvno"`
	Key        []byte `json:"key"`
}

const payloadVersion = 1

func marshalPayload(b Binding, l Legacy) ([]byte, error) {
	if b.Tenant == "" || b.Subject == "" || !utf8.ValidString(b.Tenant+b.Subject) {
		return nil, ErrBinding
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	p := payload{V: payloadVersion, Tid: b.Tenant, Sub: b.Subject, Ver: b.Version}
	if !l.NT.IsZero() {
		p.NT = l.NT.b[:]
	}
	for _, k := range l.Keys {
		p.Keys = append(p.Keys, payloadKey{int32(k.Key.ID()), k.Salt, k.Iterations, k.KVNO, k.Key.Expose()})
	}
	return json.Marshal(p)
}

// unmarshalPayload gives ErrUnsealable for all that is wrong.
func unmarshalPayload(plain []byte, b Binding) (Legacy, error) {
	var p payload
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if d.Decode(&p) != nil || p.V != payloadVersion || len(p.Keys) > maxKeys {
		return Legacy{}, ErrUnsealable
	}
	if _, err := d.Token(); err != io.EOF {
		return Legacy{}, ErrUnsealable
	}
	if b.Tenant != p.Tid || b.Subject != p.Sub || p.Ver < b.Version || b.Tenant == "" || b.Subject == "" {
		return Legacy{}, ErrUnsealable
	}
	var l Legacy
	if p.NT != nil {
		nt, err := ParseNTHash(p.NT)
		if err != nil {
			return Legacy{}, ErrUnsealable
		}
		l.NT = nt
		clear(p.NT)
	}
	for _, k := range p.Keys {
		key, err := etype.NewKey(etype.ID(k.Etype), k.Key)
		if err != nil {
			return Legacy{}, ErrUnsealable
		}
		clear(k.Key)
		l.Keys = append(l.Keys, KerberosKey{key, k.Salt, k.Iterations, k.KVNO})
	}
	if l.check() != nil {
		return Legacy{}, ErrUnsealable
	}
	return l, nil
}

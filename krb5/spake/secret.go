package spake

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"

	"skyrealm/krb5/etype"
)

// UsageFactor is the key usage of second factors and what answers them (RFC
// 9588 §12.1).
const UsageFactor uint32 = 65

// Secret is a client's long-term key as one group uses it. It prints as
// [redacted].
type Secret struct {
	group Group
	curve curve
	key   etype.Key
	w     [scalarSize]byte
}

// NewSecret derives w from the client's key (RFC 9588 §5). Errors: ErrGroup;
// etype.ErrUnknown for the zero Key.
func NewSecret(g Group, key etype.Key) (Secret, error) {
	c := g.curve()
	if c == nil {
		return Secret{}, ErrGroup
	}
	if key.IsZero() {
		return Secret{}, etype.ErrUnknown
	}
	s := Secret{group: g, curve: c, key: key}
	copy(s.w[:], key.PRFPlus(binary.BigEndian.AppendUint32([]byte("SPAKEsecret"), uint32(g)), scalarSize))
	return s, nil
}

// Generate makes a party's private scalar and its public element.
func (s Secret) Generate(role Role, rand io.Reader) (private, public []byte, err error) {
	if s.curve == nil {
		return nil, nil, ErrGroup
	}
	return s.curve.generate(role, &s.w, rand)
}

// Result is the group element that both parties arrive at. Errors: ErrElement
// for the other's public element, ErrPrivate for the own scalar.
func (s Secret) Result(role Role, private, peer []byte) ([]byte, error) {
	if s.curve == nil {
		return nil, ErrGroup
	}
	return s.curve.result(role, &s.w, private, peer)
}

// Key is K'[n] (RFC 9588 §7): K'[0] is the reply key, K'[1] that of the client's
// first factor. body is the encoded KDC-REQ-BODY that the key is for, within
// FAST the one inside.
func (s Secret) Key(n uint32, result []byte, transcript [HashSize]byte, body []byte) (etype.Key, error) {
	id := s.key.ID()
	if s.curve == nil {
		return etype.Key{}, ErrGroup
	}
	// One block of SHA-256 is as long as the longest key, so there is a second
	// for no etype; random-to-key is the identity in all that there are.
	h := sha256.New()
	h.Write([]byte("SPAKEkey"))
	var number [4]byte
	for _, v := range [...]uint32{uint32(s.group), uint32(id)} {
		binary.BigEndian.PutUint32(number[:], v)
		h.Write(number[:])
	}
	h.Write(s.w[:])
	h.Write(result)
	h.Write(transcript[:])
	h.Write(body)
	binary.BigEndian.PutUint32(number[:], n)
	h.Write(number[:])
	h.Write([]byte{1})
	seed := h.Sum(nil)
	defer clear(seed)
	derived, err := etype.NewKey(id, seed[:id.KeySize()])
	if err != nil {
		return etype.Key{}, err
	}
	return etype.CF2(s.key, derived, "SPAKE", "keyderiv")
}

// Transcript adds to the hash of what was said (RFC 9588 §6), which begins with
// zeros: first the support message, where there was one, together with the
// challenge, then the public element of the response.
func Transcript(before [HashSize]byte, said ...[]byte) (after [HashSize]byte) {
	h := sha256.New()
	h.Write(before[:])
	for _, b := range said {
		h.Write(b)
	}
	h.Sum(after[:0])
	return after
}

const redacted = "[redacted]"

func (s Secret) String() string               { return redacted }
func (s Secret) GoString() string             { return redacted }
func (s Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func mustHex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic("spake: " + err.Error()) // a constant of this package
	}
	return b
}

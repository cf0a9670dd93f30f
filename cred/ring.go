package cred

import (
	"bytes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	ringVersion = 1
	ringID      = 4
	ringHeader  = 1 + ringID + gcmNonce
	ringKey     = 32
	maxRing     = 64 // keys
)

var (
	// ErrAtRest is the one answer to sealed bytes that don't open: changed, cut,
	// from another place or another version of the row.
	ErrAtRest = errors.New("cred: secret at rest can't be opened")
	// ErrUnknownKey is returned, with the key's id, for bytes that were sealed
	// under a key that is not in the ring.
	ErrUnknownKey = errors.New("cred: key is not in the ring")
	// ErrRing is returned for text that is no key ring.
	ErrRing = errors.New("cred: malformed key ring")
)

// Ring is the AES-256-GCM keys that guard secrets in the database. The last one
// seals, all open. To bring in a new key, add the text of a new ring at the end
// of the old; take the old line out when nothing is sealed under it. Nonces are
// random, so a key is good for 2^32 sealings (NIST SP 800-38D §8.3).
//
// A Ring does not change and is safe for concurrent use.
type Ring struct {
	secret
	keys []ringEntry // oldest first
}

type ringEntry struct {
	id   [ringID]byte
	key  [ringKey]byte
	aead cipher.AEAD
}

// Place is where a secret stands. It is authenticated with it, so that what was
// copied to another row or column, or back from an older version, does not open.
type Place struct {
	Tenant  string
	Object  string
	Column  string
	Version int64
}

// appendTo writes the place such that its fields can't run into one another.
func (p Place) appendTo(b []byte) []byte {
	b = append(b, ringVersion)
	for _, s := range [...]string{p.Tenant, p.Object, p.Column} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(p.Version))
}

func (p Place) size() int { return 1 + 3*4 + len(p.Tenant) + len(p.Object) + len(p.Column) + 8 }

// NewRing makes a ring of one key.
func NewRing(rand io.Reader) (*Ring, error) {
	var key [ringKey]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, fmt.Errorf("cred: ring: %w", err)
	}
	return &Ring{keys: []ringEntry{newRingEntry(key)}}, nil
}

// newRingEntry names the key after itself, so that a damaged line is noticed.
func newRingEntry(key [ringKey]byte) ringEntry {
	e := ringEntry{key: key}
	copy(e.id[:], e.hmac("skyrealm ring key id", ""))
	e.aead = newGCM(&key)
	return e
}

func (e *ringEntry) hmac(label, text string) []byte {
	h := hmac.New(sha256.New, e.key[:])
	io.WriteString(h, label)
	h.Write([]byte{0})
	io.WriteString(h, text)
	return h.Sum(nil)
}

// ParseRing reads lines "id base64", the oldest key first. Empty lines and lines
// that begin with # are left out.
func ParseRing(text []byte) (*Ring, error) {
	r := new(Ring)
	line := 0
	for raw := range bytes.Lines(text) {
		line++
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 || raw[0] == '#' {
			continue
		}
		id, value, _ := bytes.Cut(raw, []byte(" "))
		var key [ringKey + 3]byte
		if len(value) != base64.StdEncoding.EncodedLen(ringKey) {
			return nil, fmt.Errorf("%w: line %d is not an id and 32 bytes in base64", ErrRing, line)
		}
		n, err := base64.StdEncoding.Strict().Decode(key[:], value)
		if err != nil || n != ringKey {
			return nil, fmt.Errorf("%w: line %d is not an id and 32 bytes in base64", ErrRing, line)
		}
		e := newRingEntry([ringKey]byte(key[:]))
		if hex.EncodeToString(e.id[:]) != string(id) {
			return nil, fmt.Errorf("%w: the key in line %d is not the one of its id", ErrRing, line)
		}
		if r.find(e.id) != nil || len(r.keys) == maxRing {
			return nil, fmt.Errorf("%w: line %d repeats a key, or there are more than %d", ErrRing, line, maxRing)
		}
		r.keys = append(r.keys, e)
	}
	if len(r.keys) == 0 {
		return nil, fmt.Errorf("%w: no key", ErrRing)
	}
	return r, nil
}

// Marshal is the text that ParseRing reads, for a file with mode 0600. It is the
// only way out.
func (r *Ring) Marshal() []byte {
	var b []byte
	for i := range r.keys {
		b = hex.AppendEncode(b, r.keys[i].id[:])
		b = append(b, ' ')
		b = base64.StdEncoding.AppendEncode(b, r.keys[i].key[:])
		b = append(b, '\n')
	}
	return b
}

func (r *Ring) find(id [ringID]byte) *ringEntry {
	for i := range r.keys {
		if r.keys[i].id == id {
			return &r.keys[i]
		}
	}
	return nil
}

func (r *Ring) newest() *ringEntry { return &r.keys[len(r.keys)-1] }

// KeyID names the key that seals.
func (r *Ring) KeyID() string { return hex.EncodeToString(r.newest().id[:]) }

// Seal appends the sealed form of plain to dst: a version byte, 4 bytes of key
// id, 12 of nonce, ciphertext, 16 of tag. dst and plain must not overlap.
func (r *Ring) Seal(dst, plain []byte, at Place, rand io.Reader) ([]byte, error) {
	e := r.newest()
	n := len(dst)
	total := ringHeader + len(plain) + gcmTag
	// The associated data is written behind the result, to need no memory of
	// its own.
	dst = slices.Grow(dst, total+at.size())
	aad := at.appendTo(dst[n+total : n+total])
	dst = append(append(dst, ringVersion), e.id[:]...)
	dst = dst[:n+ringHeader]
	nonce := dst[n+1+ringID:]
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, fmt.Errorf("cred: seal at rest: %w", err)
	}
	return e.aead.Seal(dst, nonce, plain, aad), nil
}

// Open appends the plaintext of what Seal made to dst. Errors: ErrAtRest, and
// ErrUnknownKey with the id. dst and sealed must not overlap.
func (r *Ring) Open(dst, sealed []byte, at Place) ([]byte, error) {
	if len(sealed) < ringHeader+gcmTag || sealed[0] != ringVersion {
		return nil, ErrAtRest
	}
	e, err := r.named(sealed[1:])
	if err != nil {
		return nil, err
	}
	n := len(dst)
	total := len(sealed) - ringHeader - gcmTag
	dst = slices.Grow(dst, total+at.size())
	aad := at.appendTo(dst[n+total : n+total])
	out, err := e.aead.Open(dst, sealed[1+ringID:ringHeader], sealed[ringHeader:], aad)
	if err != nil {
		return nil, ErrAtRest
	}
	return out, nil
}

// named finds the key whose id b begins with.
func (r *Ring) named(b []byte) (*ringEntry, error) {
	id := [ringID]byte(b)
	if e := r.find(id); e != nil {
		return e, nil
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknownKey, hex.EncodeToString(id[:]))
}

// Derive makes a secret for another use, which the label names, of 32 bytes. It is
// made with the oldest key, and so stays when a key is added.
func (r *Ring) Derive(label string) []byte { return r.keys[0].hmac("skyrealm ring secret", label) }

// Proof is for the database: a start with another ring is noticed by CheckProof
// before the first row fails to open. It is made with the sealing key and tells
// nothing about it.
func (r *Ring) Proof(tenant string) []byte {
	e := r.newest()
	return append(e.id[:len(e.id):len(e.id)], e.hmac("skyrealm ring proof", tenant)...)
}

// CheckProof reports whether a ring that made the proof is part of this one:
// ErrUnknownKey with the id if its key is missing, ErrAtRest if the proof is no
// proof for the tenant.
func (r *Ring) CheckProof(tenant string, proof []byte) error {
	if len(proof) != ringID+sha256.Size {
		return ErrAtRest
	}
	e, err := r.named(proof)
	if err != nil {
		return err
	}
	if !hmac.Equal(e.hmac("skyrealm ring proof", tenant), proof[ringID:]) {
		return ErrAtRest
	}
	return nil
}

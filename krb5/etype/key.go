package etype

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/md4" //lint:ignore SA1019 RFC 4757 is built on it
)

// Key is a protocol key with its encryption type. It is a plain value: copying
// it copies the secret, and comparing with == is not constant time (use Equal).
// It prints as [redacted]; but fmt can't call methods on unexported fields, so
// don't print structs that hide one.
type Key struct {
	id ID
	b  [32]byte
	// ready is what was made ready of it; nobody changes it.
	ready *ready
}

type ready struct {
	base *base // to derive from
	sum  *readyChecksum
}

type readyChecksum struct {
	usage uint32
	mac   mac
}

// Ready returns the key made ready to derive the keys of usages from, for one that is
// used under several. It is the same key in every other way.
func (k Key) Ready() Key {
	p := k.id.profile()
	if p.key == 0 || k.id == RC4 || k.ready != nil && k.ready.base != nil {
		return k
	}
	e := p.hash.get()
	defer e.put()
	r := &ready{base: new(base)}
	if k.ready != nil {
		r.sum = k.ready.sum
	}
	k.base(e, r.base)
	k.ready = r
	return k
}

// WithChecksum returns the key with the checksum of one usage made ready: those of a
// key that signs again and again cost half. It is the same key in every other way.
func (k Key) WithChecksum(usage uint32) Key {
	p := k.id.profile()
	if p.key == 0 || k.id == RC4 {
		return k
	}
	e := p.hash.get()
	defer e.put()
	r := &ready{sum: &readyChecksum{usage: usage}}
	k.checksumKey(e, &r.sum.mac, usage)
	if k.ready != nil {
		r.base = k.ready.base
	}
	k.ready = r
	return k
}

// NewKey takes a copy of b as a key of type id.
func NewKey(id ID, b []byte) (Key, error) {
	if !id.Known() {
		return Key{}, ErrUnknown
	}
	if len(b) != id.KeySize() {
		return Key{}, ErrKeyLength
	}
	k := Key{id: id}
	copy(k.b[:], b)
	return k, nil
}

// Random makes a key from randomness. Random-to-key is the identity in all five
// types (RFC 3962 §6, RFC 8009 §5; RFC 4757 has no other).
func Random(id ID, rand io.Reader) (Key, error) {
	if !id.Known() {
		return Key{}, ErrUnknown
	}
	b := make([]byte, id.KeySize())
	if _, err := io.ReadFull(rand, b); err != nil {
		return Key{}, fmt.Errorf("etype: random key: %w", err)
	}
	return NewKey(id, b)
}

// StringToKey makes a key from a password. Zero iterations mean the type's
// default. Salt and iterations have no meaning for type 23, whose key is the
// NT hash.
func StringToKey(id ID, password, salt string, iterations uint32) (Key, error) {
	p := id.profile()
	if p.key == 0 {
		return Key{}, ErrUnknown
	}
	if id == RC4 {
		return ntHash(password)
	}
	if iterations == 0 {
		iterations = p.rounds
	}
	if iterations > MaxIterations {
		return Key{}, ErrIterations
	}
	k := Key{id: id}
	switch id {
	case AES128SHA1, AES256SHA1: // RFC 3962 §4
		p.hash.pbkdf2(k.b[:p.key], []byte(password), []byte(salt), iterations)
		e := p.hash.get()
		defer e.put()
		block := newAES(k.b[:p.key])
		fold := kerberosFold
		deriveAES(block, &fold, k.b[:p.key])
	default: // RFC 8009 §4
		p.hash.pbkdf2(k.b[:p.key], []byte(password), []byte(p.name+"\x00"+salt), iterations)
		e := p.hash.get()
		defer e.put()
		var m mac
		e.setKey(&m, k.b[:p.key])
		copy(k.b[:p.key], e.kdf(&m, []byte("kerberos"), nil, p.key))
	}
	return k, nil
}

// ntHash is MD4 over UTF-16LE (RFC 4757 §2). Characters above U+FFFF are
// surrogate pairs, as Windows stores them. What is not UTF-8 has no characters
// and is refused: to replace it would make different passwords equal.
func ntHash(password string) (Key, error) {
	if !utf8.ValidString(password) {
		return Key{}, ErrNotUTF8
	}
	b := make([]byte, 0, 2*len(password))
	for _, r := range password {
		if r1, r2 := utf16.EncodeRune(r); r > 0xffff {
			b = binary.LittleEndian.AppendUint16(b, uint16(r1))
			b = binary.LittleEndian.AppendUint16(b, uint16(r2))
		} else {
			b = binary.LittleEndian.AppendUint16(b, uint16(r))
		}
	}
	h := md4.New()
	h.Write(b)
	clear(b)
	k := Key{id: RC4}
	h.Sum(k.b[:0])
	return k, nil
}

// ID is the key's encryption type; 0 for the zero Key.
func (k Key) ID() ID { return k.id }

// IsZero reports whether k is the zero Key, which is no key.
func (k Key) IsZero() bool { return k.id == 0 }

// Equal compares type and bytes in time that does not depend on the bytes.
func (k Key) Equal(o Key) bool {
	return k.id == o.id && subtle.ConstantTimeCompare(k.b[:], o.b[:]) == 1
}

// Expose returns a copy of the key's bytes. It is the only way out.
func (k Key) Expose() []byte { return append([]byte(nil), k.b[:k.id.KeySize()]...) }

const redacted = "[redacted]"

func (k Key) String() string               { return redacted }
func (k Key) GoString() string             { return redacted }
func (k Key) Format(f fmt.State, _ rune)   { io.WriteString(f, redacted) }
func (k Key) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Package etype holds the Kerberos cryptosystems of a managed domain: string
// to key, encryption, checksums and the pseudo-random functions of encryption
// types 17, 18 (AES with SHA-1), 19, 20 (AES with SHA-2) and 23 (RC4), and the
// opaque [Key] that carries them.
//
// References: RFC 3961 (framework), RFC 3962 (17, 18), RFC 8009 (19, 20),
// RFC 4757 (23), RFC 6113 §5.1 (combining keys).
//
// Everything here is safe for concurrent use, and randomness is passed in.
package etype

import (
	"errors"
	"strconv"
)

// ID is an encryption type number (RFC 3961 §8, IANA "Kerberos Encryption Type
// Numbers"). Numbers that this package does not implement are valid values for
// which Known reports false.
type ID int32

// The encryption types that are implemented.
const (
	AES128SHA1 ID = 17 // aes128-cts-hmac-sha1-96
	AES256SHA1 ID = 18 // aes256-cts-hmac-sha1-96
	AES128SHA2 ID = 19 // aes128-cts-hmac-sha256-128
	AES256SHA2 ID = 20 // aes256-cts-hmac-sha384-192
	RC4        ID = 23 // rc4-hmac
)

// MaxIterations bounds the PBKDF2 rounds of StringToKey: the count arrives from
// peers and files, and 2^32 rounds are twenty minutes of a core.
const MaxIterations = 1 << 20

var (
	// ErrIntegrity is the one answer to a ciphertext or checksum that does not
	// verify, whatever the reason: too short, wrong key, changed.
	ErrIntegrity = errors.New("etype: integrity check failed")
	// ErrUnknown is returned for an encryption type that is not implemented,
	// and so for every use of the zero Key.
	ErrUnknown = errors.New("etype: unknown encryption type")
	// ErrKeyLength is returned for key bytes that don't have the type's length.
	ErrKeyLength = errors.New("etype: wrong key length")
	// ErrIterations is returned for an iteration count above MaxIterations.
	ErrIterations = errors.New("etype: iteration count out of bounds")
	// ErrNotUTF8 is returned by StringToKey for type 23, which is defined over
	// characters. The AES types take a password's bytes as they are.
	ErrNotUTF8 = errors.New("etype: password is not UTF-8")
	// ErrRoom is returned by EncryptInPlace for a buffer without the room
	// that the cryptosystem adds.
	ErrRoom = errors.New("etype: buffer has no room for confounder and tag")
)

// profile is what tells one cryptosystem from another.
type profile struct {
	name     string // as registered; salted into the key for 19 and 20
	key      int    // bytes of the protocol key
	mac      int    // bytes of the integrity tag
	front    int    // bytes that encryption puts before the plaintext
	checksum int32
	rounds   uint32 // default PBKDF2 rounds
	integ    int    // bytes of Ki and Kc
	hash     *hashAlg
}

var profiles = [...]profile{
	AES128SHA1: {"aes128-cts-hmac-sha1-96", 16, 12, 16, 15, 4096, 16, &sha1Alg},
	AES256SHA1: {"aes256-cts-hmac-sha1-96", 32, 12, 16, 16, 4096, 32, &sha1Alg},
	AES128SHA2: {"aes128-cts-hmac-sha256-128", 16, 16, 16, 19, 32768, 16, &sha256Alg},
	AES256SHA2: {"aes256-cts-hmac-sha384-192", 32, 24, 16, 20, 32768, 24, &sha384Alg},
	RC4:        {"rc4-hmac", 16, 16, 24, -138, 0, 16, &md5Alg},
}

// profile returns the cryptosystem, or the empty one for an unknown type.
func (id ID) profile() *profile {
	if id < 0 || int(id) >= len(profiles) {
		id = 0
	}
	return &profiles[id]
}

// Known reports whether the encryption type is implemented.
func (id ID) Known() bool { return id.profile().key != 0 }

// KeySize is the length of a key in bytes; 0 for an unknown type.
func (id ID) KeySize() int { return id.profile().key }

// Overhead is the number of bytes that encryption adds to a plaintext.
func (id ID) Overhead() int {
	p := id.profile()
	if id == RC4 {
		return p.front // the tag stands in front, RFC 4757 §4
	}
	return p.front + p.mac
}

// Confounder is how many of the Overhead bytes stand before the plaintext in a
// ciphertext: the confounder, and for type 23 also the tag.
func (id ID) Confounder() int { return id.profile().front }

// ChecksumType is the number of the type's keyed checksum; 0 when unknown.
func (id ID) ChecksumType() int32 { return id.profile().checksum }

// DefaultIterations is the PBKDF2 round count that holds where none is
// announced; 0 for type 23, which has none.
func (id ID) DefaultIterations() uint32 { return id.profile().rounds }

// String is the registered name, or the number of an unknown type.
func (id ID) String() string {
	if p := id.profile(); p.key != 0 {
		return p.name
	}
	return "etype " + strconv.Itoa(int(id))
}

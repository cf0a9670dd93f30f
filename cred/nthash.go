package cred

import (
	"bytes"
	"crypto/subtle"
	"errors"

	"skyrealm/krb5/etype"
)

// ErrNTHash is returned for bytes that are no NT hash.
var ErrNTHash = errors.New("cred: an NT hash has 16 bytes, not all zero")

// NTHash is MD4 over a password in UTF-16LE ([MS-NLMP] §3.3.1 NTOWFv1): what
// NTLM and Kerberos type 23 work with. It is as good as the password. The zero
// value is no hash.
type NTHash struct {
	secret
	b [16]byte
}

// NTHashOf hashes a password. One that is not UTF-8 has no characters and so no
// NT hash: the result is zero.
func NTHashOf(password string) NTHash {
	var h NTHash
	k, err := etype.StringToKey(etype.RC4, password, "", 0)
	if err != nil {
		return h
	}
	copy(h.b[:], k.Expose())
	return h
}

// ParseNTHash takes a copy of 16 bytes.
func ParseNTHash(b []byte) (NTHash, error) {
	var h NTHash
	if len(b) != len(h.b) || bytes.Equal(b, h.b[:]) {
		return h, ErrNTHash
	}
	copy(h.b[:], b)
	return h, nil
}

// IsZero reports whether h is absent.
func (h NTHash) IsZero() bool { return h.Equal(NTHash{}) }

// Equal compares in constant time.
func (h NTHash) Equal(o NTHash) bool { return subtle.ConstantTimeCompare(h.b[:], o.b[:]) == 1 }

// Expose returns a copy of the hash's bytes. It is the only way out.
func (h NTHash) Expose() []byte { return append([]byte(nil), h.b[:]...) }

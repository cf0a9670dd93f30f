package cred

import (
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf16"
)

// SamePassword reports whether both are of one password: all that hangs on it
// is equal, whatever versions the keys carry.
func (l Legacy) SamePassword(o Legacy) bool {
	return l.NT.Equal(o.NT) && slices.EqualFunc(l.Keys, o.Keys, func(a, b KerberosKey) bool {
		a.KVNO, b.KVNO = 0, 0
		return a.equal(b)
	})
}

// WithKVNO returns the set with the version that its new owner gives it.
func (l Legacy) WithKVNO(kvno uint32) Legacy {
	l.Keys = slices.Clone(l.Keys)
	for i := range l.Keys {
		l.Keys[i].KVNO = kvno
	}
	return l
}

// ErrUnicodePwd is returned for a value of unicodePwd that is no password.
var ErrUnicodePwd = errors.New("cred: unicodePwd is not a quoted UTF-16 password")

// ParseUnicodePwd reads a value of the LDAP attribute: the password between
// quotation marks, in UTF-16LE ([MS-ADTS] §3.1.1.3.1.5.1).
func ParseUnicodePwd(value []byte) (string, error) {
	if len(value)%2 != 0 || len(value) < 4 || len(value) > 2*(MaxPassword+2) {
		return "", ErrUnicodePwd
	}
	units := make([]uint16, len(value)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(value[2*i:])
	}
	if units[0] != '"' || units[len(units)-1] != '"' {
		return "", ErrUnicodePwd
	}
	units = units[1 : len(units)-1]
	runes := utf16.Decode(units)
	// A lone surrogate would come back as U+FFFD: another password than the
	// client meant.
	if !slices.Equal(utf16.Encode(runes), units) {
		return "", ErrUnicodePwd
	}
	return string(runes), nil
}

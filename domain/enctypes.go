package domain

import (
	"strconv"

	"skyrealm/domain/dit"
	"skyrealm/krb5/etype"
)

// EncTypes is msDS-SupportedEncryptionTypes ([MS-KILE] §2.2.7): which types of
// key an account says that it can use. Without any of the bits below it says
// nothing, and what keys it has decides.
type EncTypes uint32

const (
	encRC4       EncTypes = 1 << 2
	encAES128    EncTypes = 1 << 3
	encAES256    EncTypes = 1 << 4
	encAES256SK  EncTypes = 1 << 5 // for session keys, whatever the ticket is under
	encAES128SHA EncTypes = 1 << 6 // SHA-2
	encAES256SHA EncTypes = 1 << 7 // SHA-2
	encNoSIDs    EncTypes = 1 << 19
	encKnown              = encRC4 | encAES128 | encAES256 | encAES128SHA | encAES256SHA
)

const attrEncTypes = "msDS-SupportedEncryptionTypes"

func encBit(id etype.ID) EncTypes {
	switch id {
	case etype.RC4:
		return encRC4
	case etype.AES128SHA1:
		return encAES128
	case etype.AES256SHA1:
		return encAES256
	case etype.AES128SHA2:
		return encAES128SHA
	case etype.AES256SHA2:
		return encAES256SHA
	}
	return 0
}

// Says reports whether there is anything said.
func (t EncTypes) Says() bool { return t&encKnown != 0 }

// Has reports whether the account says that it can use a type of key.
func (t EncTypes) Has(id etype.ID) bool { return t&encBit(id) != 0 }

// HasSession is Has for session keys.
func (t EncTypes) HasSession(id etype.ID) bool {
	return t.Has(id) || id == etype.AES256SHA1 && t&encAES256SK != 0
}

// NoSIDCompression reports whether the account, a service, can't read resource
// groups in a PAC's compact form.
func (t EncTypes) NoSIDCompression() bool { return t&encNoSIDs != 0 }

// With returns the types with one more.
func (t EncTypes) With(id etype.ID) EncTypes { return t | encBit(id) }

// Bits are those with a meaning: 2 to 7.
func (t EncTypes) Bits() uint32 { return uint32(t & (encKnown | encAES256SK)) }

// encTypes reads a record's. What can't be read says nothing.
func (r *Record) encTypes() EncTypes {
	v := r.Attrs[attrEncTypes]
	if len(v) != 1 {
		return 0
	}
	n, err := strconv.ParseInt(string(v[0]), 10, 32)
	if err != nil {
		return 0
	}
	return EncTypes(int32(n))
}

// encTypes takes the one number.
func (w *writer) encTypes(t *dit.AttrType, m Mod) error {
	for _, v := range m.Values {
		if _, err := strconv.ParseInt(string(v), 10, 32); err != nil {
			return &ConstraintError{t.Name, "it is a number of 32 bits"}
		}
	}
	values, err := merge(w.rec.Attrs[t.Name], m, func(v []byte) string { return dit.Normalise(t, v) })
	if err != nil {
		return err
	}
	return w.hold(t, values, 1)
}

// Extra are the types beyond the usual ones that keys of a new password are made
// of, as the account asks for them. They cost 32,768 rounds each.
func (t EncTypes) Extra() (ids []etype.ID) {
	for _, id := range []etype.ID{etype.AES256SHA2, etype.AES128SHA2} {
		if t.Has(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

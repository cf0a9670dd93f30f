package cred

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// ErrSupplemental is returned for supplemental credentials that can't be read.
var ErrSupplemental = errors.New("cred: malformed supplemental credentials")

// UserProperties is the value of supplementalCredentials, USER_PROPERTIES
// ([MS-SAMR] §2.2.10.1): what a domain controller keeps of a password beside the
// NT hash. It can hold MD5 digests and even the clear text (Primary:WDigest,
// Primary:CLEARTEXT), so an agent sends NewUserProperties of the keys alone and
// never what it has read. The zero value has no properties.
type UserProperties struct {
	secret
	list []userProperty
}

// userProperty is a USER_PROPERTY ([MS-SAMR] §2.2.10.2), its value out of hex.
type userProperty struct {
	name  string
	value []byte
}

// Properties by name.
const (
	propNewerKeys = "Primary:Kerberos-Newer-Keys" // KERB_STORED_CREDENTIAL_NEW
	propKerberos  = "Primary:Kerberos"            // KERB_STORED_CREDENTIAL
	propPackages  = "Packages"                    // the other names
	propPrefix    = "Primary:"
)

const (
	maxUserProperties = 64 << 10
	maxProperties     = 64

	userHead      = 110 // up to the signature, which is its end
	userTail      = 1   // Reserved5
	userOutside   = 13  // what Length does not count: head to Reserved4, and tail
	userSignature = 0x50
	propertyHead  = 6
)

// isUserProperties reports whether b has the outer form. None of the bare forms
// of supplementalKeys has: where Length stands here, stored keys have their
// number, which is too small for the room that keys take, or with other counts
// above it too large for any blob; a property has part of its name, and hex has
// digits.
func isUserProperties(b []byte) bool {
	return len(b) >= userOutside && len(b) <= maxUserProperties &&
		uint64(binary.LittleEndian.Uint32(b[4:])) == uint64(len(b)-userOutside)
}

// ParseUserProperties reads the blob that a domain controller stores. The
// reserved fields may hold anything, as the specification says and Windows
// writes. The error is ErrSupplemental with what is wrong.
func ParseUserProperties(b []byte) (UserProperties, error) {
	var p UserProperties
	if !isUserProperties(b) {
		return p, fmt.Errorf("%w: Length is not that of the blob", ErrSupplemental)
	}
	if len(b) == userOutside { // without Reserved4 and signature: no properties
		return p, nil
	}
	if len(b) < userHead+userTail || binary.LittleEndian.Uint16(b[userHead-2:]) != userSignature {
		return p, fmt.Errorf("%w: no PropertySignature", ErrSupplemental)
	}
	rest := b[userHead : len(b)-userTail]
	if len(rest) == 0 { // PropertyCount is left out when zero
		return p, nil
	}
	if len(rest) < 2 {
		return p, fmt.Errorf("%w: PropertyCount is cut", ErrSupplemental)
	}
	count := int(binary.LittleEndian.Uint16(rest))
	if count > maxProperties {
		return p, fmt.Errorf("%w: more than %d properties", ErrSupplemental, maxProperties)
	}
	rest = rest[2:]
	room := make([]byte, 0, len(rest)/2) // for all values
	for i := range count {
		name, text, after, ok := cutProperty(rest)
		if !ok {
			return UserProperties{}, fmt.Errorf("%w: property %d is cut or has no name", ErrSupplemental, i)
		}
		rest = after
		if p.find(name) != nil {
			return UserProperties{}, fmt.Errorf("%w: property %d repeats a name", ErrSupplemental, i)
		}
		start := len(room)
		var err error
		// [MS-SAMR] §2.2.10.2 wants lower case, which Windows writes; Samba writes
		// upper case.
		if room, err = hex.AppendDecode(room, text); err != nil {
			return UserProperties{}, fmt.Errorf("%w: property %d is not hex", ErrSupplemental, i)
		}
		p.list = append(p.list, userProperty{name, room[start:]})
	}
	if len(rest) != 0 {
		return UserProperties{}, fmt.Errorf("%w: bytes after the last property", ErrSupplemental)
	}
	return p, nil
}

// cutProperty takes the first USER_PROPERTY off b: NameLength, ValueLength and
// Reserved as u16, name, value in hex.
func cutProperty(b []byte) (name string, text, rest []byte, ok bool) {
	if len(b) < propertyHead {
		return "", nil, nil, false
	}
	n, v := int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
	b = b[propertyHead:]
	if n == 0 || n+v > len(b) {
		return "", nil, nil, false
	}
	name, ok = decodeUTF16(b[:n])
	return name, b[n : n+v], b[n+v:], ok
}

// NewUserProperties is what a domain controller would store of the keys: the
// property Primary:Kerberos-Newer-Keys. Errors: ErrLegacy for keys outside the
// limits of a Legacy, none, or with different salts, as there is room for one.
func NewUserProperties(keys []KerberosKey) (UserProperties, error) {
	value, err := marshalStored(keys)
	if err != nil {
		return UserProperties{}, err
	}
	packages := appendUTF16(nil, strings.TrimPrefix(propNewerKeys, propPrefix))
	return UserProperties{list: []userProperty{{propNewerKeys, value}, {propPackages, packages}}}, nil
}

// Marshal is the blob as Windows writes it.
func (p UserProperties) Marshal() []byte {
	size := userHead + 2 + userTail
	for _, u := range p.list {
		size += propertyHead + 2*len(u.name) + 2*len(u.value)
	}
	b := make([]byte, 12, size)
	for range 48 {
		b = append(b, ' ', 0)
	}
	b = binary.LittleEndian.AppendUint16(b, userSignature)
	if len(p.list) > 0 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p.list)))
	}
	for _, u := range p.list {
		reserved := uint16(1)
		if u.name == propPackages {
			reserved = 2
		}
		start := len(b)
		b = append(b, make([]byte, propertyHead)...)
		b = appendUTF16(b, u.name)
		binary.LittleEndian.PutUint16(b[start:], uint16(len(b)-start-propertyHead))
		binary.LittleEndian.PutUint16(b[start+2:], uint16(hex.EncodedLen(len(u.value))))
		binary.LittleEndian.PutUint16(b[start+4:], reserved)
		b = hex.AppendEncode(b, u.value)
	}
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-userOutside))
	return b
}

func (p UserProperties) find(name string) *userProperty {
	i := slices.IndexFunc(p.list, func(u userProperty) bool { return u.name == name })
	if i < 0 {
		return nil
	}
	return &p.list[i]
}

// Expose returns a copy of a property's value, out of hex; nil where there is no
// such property. It is the only way out beside Marshal.
func (p UserProperties) Expose(name string) []byte {
	if u := p.find(name); u != nil {
		return append([]byte{}, u.value...)
	}
	return nil
}

// clear takes the values out of memory.
func (p UserProperties) clear() {
	for _, u := range p.list {
		clear(u.value)
	}
}

// keys are the current Kerberos keys; none where no property has any. The older
// property has only DES keys in what Windows and Samba write, so it speaks only
// where the newer one is missing.
func (p UserProperties) keys() ([]KerberosKey, error) {
	for _, name := range []string{propNewerKeys, propKerberos} {
		if u := p.find(name); u != nil {
			return parseStored(u.value)
		}
	}
	return nil, nil
}

// LegacyFrom makes what the domain gets from what a domain controller stores of
// one password, as DRSUAPI delivers it: the NT hash and the value of
// supplementalCredentials, of which either may be absent. Errors:
// ErrSupplemental; ErrLegacy where there is nothing that the domain can use.
func LegacyFrom(nt NTHash, supplemental []byte) (Legacy, error) {
	l := Legacy{NT: nt}
	if len(supplemental) > 0 {
		p, err := ParseUserProperties(supplemental)
		if err != nil {
			return Legacy{}, err
		}
		defer p.clear()
		if l.Keys, err = p.keys(); err != nil {
			return Legacy{}, err
		}
	}
	if err := l.check(); err != nil {
		return Legacy{}, err
	}
	return l, nil
}

// supplementalKeys reads what an agent may have put into an envelope of
// AttrSupplementalCredentials. No public text says whether the real one puts in
// the whole attribute or the Kerberos property alone (entra-wire.md §G1), so
// there are four: USER_PROPERTIES, one USER_PROPERTY, its value in hex, and
// that in binary. They can't be mistaken for one another: Length says which is
// the first; the second has the length that its head says, and a known name; in
// the third all bytes are hex digits, of which none is a revision.
func supplementalKeys(b []byte) ([]KerberosKey, error) {
	if isUserProperties(b) {
		p, err := ParseUserProperties(b)
		if err != nil {
			return nil, err
		}
		defer p.clear()
		return p.keys()
	}
	if name, text, rest, ok := cutProperty(b); ok && len(rest) == 0 && (name == propNewerKeys || name == propKerberos) {
		b = text
	}
	if raw, err := hex.AppendDecode(make([]byte, 0, len(b)/2), b); err == nil {
		defer clear(raw)
		b = raw
	}
	return parseStored(b)
}

// decodeUTF16 reads UTF-16LE. Half of a surrogate pair is refused: no text in
// UTF-8 says the same, and a salt must be exact.
func decodeUTF16(b []byte) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	units := make([]uint16, 0, len(b)/2)
	for pair := range slices.Chunk(b, 2) {
		units = append(units, binary.LittleEndian.Uint16(pair))
	}
	s := string(utf16.Decode(units))
	return s, bytes.Equal(appendUTF16(make([]byte, 0, len(b)), s), b)
}

func appendUTF16(b []byte, s string) []byte {
	for _, r := range s {
		if r1, r2 := utf16.EncodeRune(r); r > 0xffff {
			b = binary.LittleEndian.AppendUint16(b, uint16(r1))
			b = binary.LittleEndian.AppendUint16(b, uint16(r2))
		} else {
			b = binary.LittleEndian.AppendUint16(b, uint16(r))
		}
	}
	return b
}

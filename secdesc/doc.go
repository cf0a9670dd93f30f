// Package secdesc reads and writes Windows security descriptors in their
// self-relative form, as they stand in LDAP attributes, and says whom one lets
// do what.
//
// [Parse] trusts no offset, size or count, and allocates nothing for one before
// the bytes are seen. An entry of a type that it does not know is kept as bytes
// and grants nothing.
//
// References: [MS-DTYP] §2.4.4 (ACE), §2.4.5 (ACL), §2.4.6 (descriptor) and
// §2.5.3.2 (the access check); [MS-ADTS] §5.1.3.2 (rights).
package secdesc

import "errors"

// MaxSize bounds a descriptor: an ACL counts its own size in 16 bits.
const MaxSize = 1 << 16

// ErrSyntax is returned for bytes that are no self-relative descriptor.
var ErrSyntax = errors.New("secdesc: malformed security descriptor")

// Bits of Control ([MS-DTYP] §2.4.6).
const (
	DACLPresent  uint16 = 1 << 2
	SACLPresent  uint16 = 1 << 4
	SelfRelative uint16 = 1 << 15
)

// Rights to an object of the directory ([MS-ADTS] §5.1.3.2).
const (
	ControlAccess uint32 = 0x100
	GenericAll    uint32 = 0x10000000
	// FullControl is what GenericAll stands for, and what Windows writes for a
	// service that may act on behalf of others.
	FullControl uint32 = 0xf01ff
)

// Types of entries ([MS-DTYP] §2.4.4.1).
const (
	Allow               uint8 = 0
	Deny                uint8 = 1
	Audit               uint8 = 2
	AllowObject         uint8 = 5
	DenyObject          uint8 = 6
	AuditObject         uint8 = 7
	AllowCallback       uint8 = 9
	DenyCallback        uint8 = 10
	AllowCallbackObject uint8 = 11
	DenyCallbackObject  uint8 = 12
	AuditCallback       uint8 = 13
	AuditCallbackObject uint8 = 15
	MandatoryLabel      uint8 = 17
	ResourceAttribute   uint8 = 18
	ScopedPolicy        uint8 = 19
)

// InheritOnly in an entry's flags: it is for children and says nothing of the
// object itself.
const InheritOnly uint8 = 1 << 3

// Which GUIDs an object entry has ([MS-DTYP] §2.4.4.3).
const (
	objectTypePresent    uint32 = 1 << 0
	inheritedTypePresent uint32 = 1 << 1
)

// form says what follows the header of an entry.
type form uint8

const (
	opaque form = iota // we don't know
	plain              // mask, SID, and application data
	object             // mask, flags, GUIDs, SID, and application data
)

func formOf(kind uint8) form {
	switch kind {
	case Allow, Deny, Audit, AllowCallback, DenyCallback, AuditCallback, MandatoryLabel, ResourceAttribute, ScopedPolicy:
		return plain
	case AllowObject, DenyObject, AuditObject, AllowCallbackObject, DenyCallbackObject, AuditCallbackObject:
		return object
	}
	return opaque
}

package secdesc

import (
	"encoding/binary"

	"skyrealm/sid"
)

var le = binary.LittleEndian

// Descriptor is a SECURITY_DESCRIPTOR ([MS-DTYP] §2.4.6).
type Descriptor struct {
	// Control without the bits that say what is there: they follow from the
	// rest, but for the NULL list below.
	Control  uint16
	Resource uint8 // Sbz1: the resource manager's, where Control has bit 14
	Owner    sid.SID
	Group    sid.SID
	// DACL and SACL are nil where there is none. A list that is present and
	// NULL, which Windows takes for "everybody may everything", is nil with
	// its bit in Control.
	DACL, SACL *ACL
}

// ACL is an access control list ([MS-DTYP] §2.4.5).
type ACL struct {
	Revision uint8 // 2, and 4 where there are object entries
	Entries  []ACE
}

// ACE is an entry of one ([MS-DTYP] §2.4.4).
type ACE struct {
	Type  uint8
	Flags uint8
	Mask  uint32
	// Which GUIDs an object entry has, and these in the order of the wire.
	ObjectFlags   uint32
	ObjectType    [16]byte
	InheritedType [16]byte
	SID           sid.SID
	// Data is what follows the SID: a callback's condition. Of a type that is
	// not known it is all behind the header.
	Data []byte
}

const (
	headSize = 20 // of a descriptor
	aclSize  = 8  // of an ACL's header
	aceSize  = 4  // of an ACE's
)

// Parse reads a descriptor. Two of its parts may share bytes, as they may for
// Windows; what is behind the last is left out. The result holds nothing of b.
func Parse(b []byte) (*Descriptor, error) {
	if len(b) < headSize || len(b) > MaxSize || b[0] != 1 {
		return nil, ErrSyntax
	}
	control := le.Uint16(b[2:])
	if control&SelfRelative == 0 {
		return nil, ErrSyntax
	}
	d := &Descriptor{Control: control &^ SelfRelative, Resource: b[1]}
	part := func(at int) ([]byte, bool, error) {
		switch offset := le.Uint32(b[at:]); {
		case offset == 0:
			return nil, false, nil
		case offset < headSize || uint64(offset) > uint64(len(b)):
			return nil, false, ErrSyntax
		default:
			return b[offset:], true, nil
		}
	}
	for _, p := range [...]struct {
		at int
		to *sid.SID
	}{{4, &d.Owner}, {8, &d.Group}} {
		in, some, err := part(p.at)
		if err == nil && some {
			*p.to, _, err = leadingSID(in)
		}
		if err != nil {
			return nil, err
		}
	}
	for _, p := range [...]struct {
		at      int
		present uint16
		to      **ACL
	}{{12, SACLPresent, &d.SACL}, {16, DACLPresent, &d.DACL}} {
		in, some, err := part(p.at)
		// An offset without the bit is one to nothing ([MS-DTYP] §2.4.6).
		if err == nil && some && control&p.present != 0 {
			*p.to, err = parseACL(in)
			d.Control &^= p.present
		}
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// leadingSID takes the SID that b begins with, and returns what is behind it.
func leadingSID(b []byte) (sid.SID, []byte, error) {
	if len(b) < 8 {
		return "", nil, ErrSyntax
	}
	n := 8 + 4*int(b[1])
	if n > len(b) {
		return "", nil, ErrSyntax
	}
	s, err := sid.FromBytes(b[:n])
	if err != nil {
		return "", nil, ErrSyntax
	}
	return s, b[n:], nil
}

func parseACL(b []byte) (*ACL, error) {
	if len(b) < aclSize {
		return nil, ErrSyntax
	}
	size, count := int(le.Uint16(b[2:])), int(le.Uint16(b[4:]))
	if size < aclSize || size > len(b) {
		return nil, ErrSyntax
	}
	a := &ACL{Revision: b[0]}
	b = b[aclSize:size]
	if count*aceSize > len(b) {
		return nil, ErrSyntax
	}
	for range count {
		if len(b) < aceSize {
			return nil, ErrSyntax
		}
		n := int(le.Uint16(b[2:]))
		if n < aceSize || n > len(b) {
			return nil, ErrSyntax
		}
		e, err := parseACE(b[:n])
		if err != nil {
			return nil, err
		}
		a.Entries = append(a.Entries, e)
		b = b[n:]
	}
	return a, nil
}

func parseACE(b []byte) (ACE, error) {
	e := ACE{Type: b[0], Flags: b[1]}
	b = b[aceSize:]
	f := formOf(e.Type)
	if f == opaque {
		e.Data = append(e.Data, b...)
		return e, nil
	}
	if len(b) < 4 {
		return ACE{}, ErrSyntax
	}
	e.Mask, b = le.Uint32(b), b[4:]
	if f == object {
		if len(b) < 4 {
			return ACE{}, ErrSyntax
		}
		e.ObjectFlags, b = le.Uint32(b), b[4:]
		for _, g := range [...]struct {
			bit uint32
			to  *[16]byte
		}{{objectTypePresent, &e.ObjectType}, {inheritedTypePresent, &e.InheritedType}} {
			if e.ObjectFlags&g.bit == 0 {
				continue
			}
			if len(b) < 16 {
				return ACE{}, ErrSyntax
			}
			*g.to, b = [16]byte(b), b[16:]
		}
	}
	s, rest, err := leadingSID(b)
	if err != nil {
		return ACE{}, err
	}
	e.SID = s
	e.Data = append(e.Data, rest...)
	return e, nil
}

// Bytes writes the descriptor, its parts in the order of Windows and of Samba.
// It is an ErrSyntax to be longer than MaxSize.
func (d *Descriptor) Bytes() ([]byte, error) {
	control := d.Control | SelfRelative
	b := make([]byte, headSize, 128)
	b[0], b[1] = 1, d.Resource
	for _, p := range [...]struct {
		at  int
		sid sid.SID
	}{{4, d.Owner}, {8, d.Group}} {
		if p.sid != "" {
			le.PutUint32(b[p.at:], uint32(len(b)))
			b = append(b, p.sid...)
		}
	}
	for _, p := range [...]struct {
		at      int
		present uint16
		acl     *ACL
	}{{12, SACLPresent, d.SACL}, {16, DACLPresent, d.DACL}} {
		if p.acl == nil {
			continue
		}
		control |= p.present
		le.PutUint32(b[p.at:], uint32(len(b)))
		var ok bool
		if b, ok = p.acl.append(b); !ok {
			return nil, ErrSyntax
		}
	}
	le.PutUint16(b[2:], control)
	if len(b) > MaxSize {
		return nil, ErrSyntax
	}
	return b, nil
}

func (a *ACL) append(b []byte) ([]byte, bool) {
	start := len(b)
	b = append(b, a.Revision, 0, 0, 0, 0, 0, 0, 0)
	le.PutUint16(b[start+4:], uint16(len(a.Entries)))
	for i := range a.Entries {
		at := len(b)
		b = a.Entries[i].append(b)
		if len(b)-at > 1<<16-1 {
			return nil, false
		}
		le.PutUint16(b[at+2:], uint16(len(b)-at))
	}
	size := len(b) - start
	le.PutUint16(b[start+2:], uint16(size))
	return b, size <= 1<<16-1
}

func (e *ACE) append(b []byte) []byte {
	b = append(b, e.Type, e.Flags, 0, 0)
	f := formOf(e.Type)
	if f != opaque {
		b = le.AppendUint32(b, e.Mask)
	}
	if f == object {
		b = le.AppendUint32(b, e.ObjectFlags)
		if e.ObjectFlags&objectTypePresent != 0 {
			b = append(b, e.ObjectType[:]...)
		}
		if e.ObjectFlags&inheritedTypePresent != 0 {
			b = append(b, e.InheritedType[:]...)
		}
	}
	if f != opaque {
		b = append(b, e.SID...)
	}
	return append(b, e.Data...)
}

package cred

import (
	"encoding/binary"
	"fmt"

	"skyrealm/krb5/etype"
)

// storedLayout is where the fields of the two forms of stored Kerberos keys
// stand ([MS-SAMR] §2.2.10.4 and §2.2.10.6). The number of current keys is at
// offset 4 in both. An entry ends with type, length and offset, u32 each; the
// entries of the current keys come first, those of old ones after them.
type storedLayout struct {
	head  int // bytes before the first entry
	salt  int // its length u16, the buffer's u16, its offset u32
	entry int // bytes of an entry
}

var (
	storedOld = storedLayout{head: 16, salt: 8, entry: 20}  // revision 3, KERB_STORED_CREDENTIAL
	storedNew = storedLayout{head: 24, salt: 12, entry: 24} // revision 4, KERB_STORED_CREDENTIAL_NEW
)

const (
	storedRounds = 20 // offset of DefaultIterationCount in the new form
	entryRounds  = 8  // offset of IterationCount in its entries
)

// parseStored reads the current keys of types that are implemented, the first
// of each; those of old passwords and DES stay behind, as does type 23, which
// is the NT hash. The value comes from whoever can seal, so every offset is
// checked, and nothing is allocated by a count. The result may be empty.
func parseStored(b []byte) ([]KerberosKey, error) {
	if len(b) < 2 {
		return nil, fmt.Errorf("%w: no stored keys", ErrSupplemental)
	}
	at := storedNew
	switch binary.LittleEndian.Uint16(b) {
	case 3:
		at = storedOld
	case 4:
	default:
		return nil, fmt.Errorf("%w: stored keys have no known revision", ErrSupplemental)
	}
	if len(b) < at.head {
		return nil, fmt.Errorf("%w: stored keys are cut", ErrSupplemental)
	}
	count := int(binary.LittleEndian.Uint16(b[4:]))
	if at.head+count*at.entry > len(b) {
		return nil, fmt.Errorf("%w: there is no room for %d stored keys", ErrSupplemental, count)
	}
	text, ok := within(b, binary.LittleEndian.Uint32(b[at.salt+4:]), uint32(binary.LittleEndian.Uint16(b[at.salt:])))
	if !ok || len(text) > 2*maxKeySalt {
		return nil, fmt.Errorf("%w: salt is outside or too long", ErrSupplemental)
	}
	salt, ok := decodeUTF16(text)
	if !ok {
		return nil, fmt.Errorf("%w: salt is not UTF-16", ErrSupplemental)
	}

	var keys []KerberosKey
	for i := range count {
		entry := b[at.head+i*at.entry:][:at.entry]
		tail := entry[at.entry-12:]
		id := etype.ID(binary.LittleEndian.Uint32(tail))
		value, ok := within(b, binary.LittleEndian.Uint32(tail[8:]), binary.LittleEndian.Uint32(tail[4:]))
		if !ok {
			return nil, fmt.Errorf("%w: stored key %d is outside", ErrSupplemental, i)
		}
		if !id.Known() || id == etype.RC4 || hasKey(keys, id) {
			continue
		}
		key, err := etype.NewKey(id, value)
		if err != nil {
			return nil, fmt.Errorf("%w: stored key %d has not the length of its type", ErrSupplemental, i)
		}
		k := KerberosKey{Key: key, Salt: salt}
		if at == storedNew {
			if k.Iterations = binary.LittleEndian.Uint32(entry[entryRounds:]); k.Iterations == 0 {
				k.Iterations = binary.LittleEndian.Uint32(b[storedRounds:])
			}
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func hasKey(keys []KerberosKey, id etype.ID) bool {
	for _, k := range keys {
		if k.Key.ID() == id {
			return true
		}
	}
	return false
}

// within is the n bytes of b from off, if they are there.
func within(b []byte, off, n uint32) ([]byte, bool) {
	if uint64(off)+uint64(n) > uint64(len(b)) {
		return nil, false
	}
	return b[off:][:n], true
}

// marshalStored writes KERB_STORED_CREDENTIAL_NEW as Windows does: header,
// entries, an empty entry, salt, keys.
func marshalStored(keys []KerberosKey) ([]byte, error) {
	if err := (Legacy{Keys: keys}).check(); err != nil {
		return nil, err
	}
	salt := appendUTF16(nil, keys[0].Salt)
	saltAt := storedNew.head + (len(keys)+1)*storedNew.entry
	size := saltAt + len(salt)
	for i, k := range keys {
		if k.Salt != keys[0].Salt {
			return nil, fmt.Errorf("%w: key %d has another salt", ErrLegacy, i)
		}
		size += k.Key.ID().KeySize()
	}
	le := binary.LittleEndian
	b := le.AppendUint16(make([]byte, 0, size), 4) // Revision
	b = le.AppendUint16(b, 0)                      // Flags
	b = le.AppendUint16(b, uint16(len(keys)))
	b = append(b, make([]byte, 6)...) // no service, old or older keys
	b = le.AppendUint16(b, uint16(len(salt)))
	b = le.AppendUint16(b, uint16(len(salt)))
	b = le.AppendUint32(b, uint32(saltAt))
	b = le.AppendUint32(b, etype.AES256SHA1.DefaultIterations())
	at := saltAt + len(salt)
	for _, k := range keys {
		id, rounds := k.Key.ID(), k.Iterations
		if rounds == 0 {
			rounds = id.DefaultIterations()
		}
		b = append(b, make([]byte, 8)...) // Reserved1 to 3
		b = le.AppendUint32(b, rounds)
		b = le.AppendUint32(b, uint32(id))
		b = le.AppendUint32(b, uint32(id.KeySize()))
		b = le.AppendUint32(b, uint32(at))
		at += id.KeySize()
	}
	b = append(append(b, make([]byte, storedNew.entry)...), salt...)
	for _, k := range keys {
		b = append(b, k.Key.Expose()...)
	}
	return b, nil
}

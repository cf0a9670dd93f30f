package krb5

import (
	"encoding/binary"
	"time"
)

// KeytabEntry is one key of one principal in a keytab file.
type KeytabEntry struct {
	Principal PrincipalName
	Realm     string
	Time      time.Time
	KVNO      uint32
	Etype     int32
	Key       []byte
}

// MarshalKeytab writes a keytab file of version 5.2, the one that MIT, Heimdal
// and Java read (MIT krb5, "Keytab file format").
func MarshalKeytab(entries []KeytabEntry) []byte {
	b := []byte{5, 2}
	text := func(s string) {
		b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	for _, e := range entries {
		start := len(b)
		b = append(b, 0, 0, 0, 0) // the entry's length, below
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Principal.Name)))
		text(e.Realm)
		for _, c := range e.Principal.Name {
			text(c)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(e.Principal.Type))
		b = binary.BigEndian.AppendUint32(b, uint32(e.Time.Unix()))
		b = append(b, byte(e.KVNO)) // the low octet; the whole number stands at the end
		b = binary.BigEndian.AppendUint16(b, uint16(e.Etype))
		text(string(e.Key))
		b = binary.BigEndian.AppendUint32(b, e.KVNO)
		binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	}
	return b
}

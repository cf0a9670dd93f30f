package krb5

import (
	"crypto/subtle"
	"fmt"
	"log/slog"

	"skyrealm/der"
)

const redacted = "[redacted]"

// Secret is bytes that print as [redacted] in every kind of output, also where
// they are part of what is printed.
type Secret struct{ value []byte }

// NewSecret takes value without copying it.
func NewSecret(value []byte) Secret { return Secret{value} }

// Expose returns the bytes themselves, not a copy.
func (s Secret) Expose() []byte { return s.value }

// IsZero reports whether there are no bytes.
func (s Secret) IsZero() bool { return len(s.value) == 0 }

// String returns [redacted].
func (s Secret) String() string { return redacted }

// GoString returns [redacted].
func (s Secret) GoString() string { return redacted }

// Format writes [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted], for encoding/json too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// EncryptionKey is a key as messages carry it; it prints as [redacted]. One
// without bytes is absent.
//
//	EncryptionKey ::= SEQUENCE {
//	    keytype  [0] Int32,
//	    keyvalue [1] OCTET STRING }
type EncryptionKey struct {
	Type int32 // the etype
	Secret
}

// NewEncryptionKey takes value without copying it.
func NewEncryptionKey(etype int32, value []byte) EncryptionKey {
	return EncryptionKey{etype, Secret{value}}
}

// Equal compares in constant time.
func (k EncryptionKey) Equal(o EncryptionKey) bool {
	return k.Type == o.Type && subtle.ConstantTimeCompare(k.value, o.value) == 1
}

// Marshal puts the SEQUENCE in front of w: what PA-PKINIT-KX encrypts.
func (k EncryptionKey) Marshal(w *der.Writer) {
	mark := w.Len()
	putOctets(w, 1, k.value)
	putInt(w, 0, int64(k.Type))
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (k *EncryptionKey) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	k.Type = d.int32(&in, 0)
	k.value = d.octets(&in, 1)
	d.end(&in)
	return d.err("EncryptionKey")
}

func (d *decoder) key(r *der.Reader, n int) (k EncryptionKey) {
	in := d.sequenceAt(r, n)
	k.Type = d.int32(&in, 0)
	k.value = d.octets(&in, 1)
	d.end(&in)
	if len(k.value) == 0 {
		d.bad = true
	}
	return k
}

func (d *decoder) optKey(r *der.Reader, n int) EncryptionKey {
	if !d.has(r, n) {
		return EncryptionKey{}
	}
	return d.key(r, n)
}

func putKey(w *der.Writer, n int, k EncryptionKey) {
	mark := w.Len()
	putOctets(w, 1, k.value)
	putInt(w, 0, int64(k.Type))
	wrapSequence(w, n, mark)
}

// Checksum is a checksum of a named type.
//
//	Checksum ::= SEQUENCE {
//	    cksumtype [0] Int32,
//	    checksum  [1] OCTET STRING }
type Checksum struct {
	Type  int32
	Value []byte // nil: absent
}

func (d *decoder) checksum(r *der.Reader, n int) (c Checksum) {
	in := d.sequenceAt(r, n)
	c.Type = d.int32(&in, 0)
	c.Value = d.octets(&in, 1)
	d.end(&in)
	return c
}

func putChecksum(w *der.Writer, n int, c Checksum) {
	mark := w.Len()
	putOctets(w, 1, c.Value)
	putInt(w, 0, int64(c.Type))
	wrapSequence(w, n, mark)
}

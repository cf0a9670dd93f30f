package krb5

import (
	"encoding/binary"

	"skyrealm/der"
)

// ForUser is the value of PA-FOR-USER ([MS-SFU] §2.2.1): whom a service wants a
// ticket to itself for.
//
//	PA-FOR-USER ::= SEQUENCE {
//	    userName     [0] PrincipalName,
//	    userRealm    [1] Realm,
//	    cksum        [2] Checksum,
//	    auth-package [3] KerberosString }
type ForUser struct {
	Name     PrincipalName
	Realm    string
	Checksum Checksum
	Package  string // Kerberos
}

// Marshal puts the SEQUENCE in front of w.
func (f *ForUser) Marshal(w *der.Writer) {
	mark := w.Len()
	putText(w, 3, f.Package)
	putChecksum(w, 2, f.Checksum)
	putText(w, 1, f.Realm)
	putName(w, 0, f.Name)
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (f *ForUser) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	d.name(&in, 0, &f.Name)
	f.Realm = d.text(&in, 1)
	f.Checksum = d.checksum(&in, 2)
	f.Package = d.text(&in, 3)
	d.end(&in)
	return d.err("PA-FOR-USER")
}

// Signed returns what the checksum covers: the name's type in little-endian
// order, then all the texts, one behind the other.
func (f *ForUser) Signed() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(f.Name.Type))
	for _, c := range f.Name.Name {
		b = append(b, c...)
	}
	b = append(b, f.Realm...)
	return append(b, f.Package...)
}

// S4UOptions are the options of an S4UUserID, bit 0 as the highest.
type S4UOptions uint32

// The options of an S4UUserID ([MS-SFU] §2.2.2).
const (
	S4UCheckLogonHours    S4UOptions = 1 << (31 - 1)
	S4UReplyKeyUsage      S4UOptions = 1 << (31 - 2) // the reply's checksum is to have a usage of its own
	maxSubjectCertificate            = 16 << 10
)

// S4UX509User is the value of PA-S4U-X509-USER ([MS-SFU] §2.2.2), of requests
// and replies: whom a service wants a ticket to itself for, by name,
// certificate, or both.
//
//	PA-S4U-X509-USER ::= SEQUENCE {
//	    user-id  [0] S4UUserID,
//	    checksum [1] Checksum }
//	S4UUserID ::= SEQUENCE {
//	    nonce               [0] UInt32,
//	    cname               [1] PrincipalName OPTIONAL,
//	    crealm              [2] Realm,
//	    subject-certificate [3] OCTET STRING OPTIONAL,
//	    options             [4] BIT STRING OPTIONAL }
type S4UX509User struct {
	Nonce       int64 // that of the request's body, as in KDCReq
	Name        PrincipalName
	Realm       string
	Certificate []byte     // nil: absent
	Options     S4UOptions // 0: absent
	Checksum    Checksum

	// RawUserID is the S4UUserID as it was received, which is what the
	// checksum covers.
	RawUserID []byte
}

// Marshal puts the SEQUENCE in front of w. It encodes the fields and pays no
// heed to RawUserID.
func (u *S4UX509User) Marshal(w *der.Writer) {
	end := w.Len()
	putChecksum(w, 1, u.Checksum)
	mark := w.Len()
	u.MarshalUserID(w)
	w.Wrap(der.Context(0), mark)
	w.Wrap(der.Sequence, end)
}

// MarshalUserID puts the S4UUserID alone in front of w.
func (u *S4UX509User) MarshalUserID(w *der.Writer) {
	end := w.Len()
	if u.Options != 0 {
		putFlags(w, 4, uint32(u.Options))
	}
	if u.Certificate != nil {
		putOctets(w, 3, u.Certificate)
	}
	putText(w, 2, u.Realm)
	putOptName(w, 1, u.Name)
	putInt(w, 0, u.Nonce)
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b.
func (u *S4UX509User) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	id := d.enter(&in, der.Context(0))
	u.RawUserID = id.Rest()
	r := d.whole(&id)
	u.Nonce = d.nonce(&r, 0)
	d.optName(&r, 1, &u.Name)
	u.Realm = d.text(&r, 2)
	u.Certificate, u.Options = nil, 0
	if d.has(&r, 3) {
		u.Certificate = d.octets(&r, 3)
		d.bad = d.bad || len(u.Certificate) > maxSubjectCertificate
	}
	if d.has(&r, 4) {
		u.Options = S4UOptions(d.flags(&r, 4))
	}
	d.end(&r)
	u.Checksum = d.checksum(&in, 1)
	d.end(&in)
	return d.err("PA-S4U-X509-USER")
}

// extendedError is the data-type of a KERB_EXT_ERROR.
const extendedError = 3

// ExtError is the NTSTATUS that AD puts into the e-data of a KRB-ERROR
// ([MS-KILE] §2.2.1 and §2.2.2).
//
//	KERB-ERROR-DATA ::= SEQUENCE {
//	    data-type  [1] INTEGER,
//	    data-value [2] OCTET STRING OPTIONAL -- KERB_EXT_ERROR: status, 0, flags -- }
type ExtError uint32

// Marshal puts the SEQUENCE in front of w.
func (e ExtError) Marshal(w *der.Writer) {
	mark := w.Len()
	var value [12]byte
	binary.LittleEndian.PutUint32(value[:], uint32(e))
	value[8] = 1 // the status stands for itself
	putOctets(w, 2, value[:])
	putInt(w, 1, extendedError)
	w.Wrap(der.Sequence, mark)
}

// Unmarshal decodes the whole of b.
func (e *ExtError) Unmarshal(b []byte) error {
	var d decoder
	in := d.sequence(b)
	d.want(&in, 1, extendedError)
	value := d.octets(&in, 2)
	d.end(&in)
	if d.bad || len(value) != 12 {
		return SyntaxError("KERB-ERROR-DATA")
	}
	*e = ExtError(binary.LittleEndian.Uint32(value))
	return nil
}

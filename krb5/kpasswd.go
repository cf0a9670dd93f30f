package krb5

import (
	"encoding/binary"

	"skyrealm/der"
)

// Versions of the password change protocol (RFC 3244 §2). A reply has the first,
// whichever the request had.
const (
	KpasswdChange uint16 = 1      // the user data is the client's new password
	KpasswdSet    uint16 = 0xff80 // the user data is a ChangePasswdData
)

// KpasswdResult is the outcome of a password change (RFC 3244 §2).
type KpasswdResult uint16

// The outcomes. Clients ask for another password after a soft error alone.
const (
	KpasswdSuccess           KpasswdResult = 0
	KpasswdMalformed         KpasswdResult = 1
	KpasswdHardError         KpasswdResult = 2
	KpasswdAuthError         KpasswdResult = 3
	KpasswdSoftError         KpasswdResult = 4
	KpasswdAccessDenied      KpasswdResult = 5
	KpasswdBadVersion        KpasswdResult = 6
	KpasswdInitialFlagNeeded KpasswdResult = 7
)

// Kpasswd is a message of the password change protocol, without the length that
// stands in front of it on TCP. It is no ASN.1: three big-endian numbers of 16
// bits (length of all of it, version, length of AP) and two messages.
//
// In a request AP is an AP-REQ and Body a KRB-PRIV. In a reply AP is an AP-REP,
// or empty where Body is a KRB-ERROR.
type Kpasswd struct {
	Version  uint16
	AP, Body []byte
}

const (
	kpasswdHeader = 6
	// MaxKpasswd is what the length of 16 bits can say.
	MaxKpasswd = 1<<16 - 1
)

// Marshal puts the message in front of w. It has to be no longer than
// [MaxKpasswd].
func (k *Kpasswd) Marshal(w *der.Writer) {
	w.Raw(k.Body)
	w.Raw(k.AP)
	head := w.Space(kpasswdHeader)
	binary.BigEndian.PutUint16(head, uint16(kpasswdHeader+len(k.AP)+len(k.Body)))
	binary.BigEndian.PutUint16(head[2:], k.Version)
	binary.BigEndian.PutUint16(head[4:], uint16(len(k.AP)))
}

// Unmarshal takes the whole of b apart. All lengths have to fit each other to the
// byte (CVE-2026-58216).
func (k *Kpasswd) Unmarshal(b []byte) error {
	*k = Kpasswd{}
	if len(b) < kpasswdHeader || int(binary.BigEndian.Uint16(b)) != len(b) {
		return SyntaxError("kpasswd message")
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	rest := b[kpasswdHeader:]
	if n >= len(rest) { // there is always a second message
		return SyntaxError("kpasswd message")
	}
	k.Version = binary.BigEndian.Uint16(b[2:])
	k.AP, k.Body = rest[:n:n], rest[n:]
	return nil
}

// ChangePasswdData is the user data of a request that sets a password.
//
//	ChangePasswdData ::= SEQUENCE {
//	    newpasswd [0] OCTET STRING,
//	    targname  [1] PrincipalName OPTIONAL,
//	    targrealm [2] Realm OPTIONAL }
type ChangePasswdData struct {
	NewPassword Secret
	TargetName  PrincipalName // without components: the client's own
	TargetRealm string
}

// Marshal puts the data in front of w.
func (c *ChangePasswdData) Marshal(w *der.Writer) {
	end := w.Len()
	if c.TargetRealm != "" {
		putText(w, 2, c.TargetRealm)
	}
	putOptName(w, 1, c.TargetName)
	putOctets(w, 0, c.NewPassword.value)
	w.Wrap(der.Sequence, end)
}

// Unmarshal decodes the whole of b. Fields that later versions may add behind
// those that it knows are passed over (RFC 3244 §2).
func (c *ChangePasswdData) Unmarshal(b []byte) error {
	var d decoder
	r := d.sequence(b)
	c.NewPassword = NewSecret(d.octets(&r, 0))
	d.optName(&r, 1, &c.TargetName)
	c.TargetRealm = d.optText(&r, 2)
	for !r.Empty() && !d.bad {
		tag, _, _, ok := r.Any()
		if !ok || tag <= der.Context(2) {
			d.bad = true
		}
	}
	return d.err("ChangePasswdData")
}

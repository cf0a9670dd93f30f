package kdc

import (
	"encoding/binary"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// preauthenticate is phase 4 of the AS exchange. Every account needs it: an
// answer without it is encrypted in the password's key, for anybody to take
// away and guess at. A type that we don't know is none (RFC 4120 §5.2.7).
func (x *exchange) preauthenticate() error {
	usable := false
	for _, id := range strengths {
		if _, ok := x.clientKey(id); ok {
			usable = true
			break
		}
	}
	if !usable {
		if l := &x.client.Secrets.Current; len(l.Keys) == 0 && l.NT.IsZero() {
			// A synced account whose hashes have not come, or a cloud-only one
			// whose password was not changed since the domain exists. AD's
			// code for an account without keys, and the only one of which a
			// client says something to the point.
			return refuse(krb5.ErrNullKey, "the client has no keys yet")
		}
		return refuse(krb5.ErrETypeNoSupp, "the client has no key of a type that it lists")
	}
	for i := range x.req.PAData {
		if p := &x.req.PAData[i]; p.Type == krb5.PAEncTimestamp {
			return x.encTimestamp(p.Value)
		}
	}
	return x.askFor(krb5.ErrPreauthRequired, "no pre-authentication")
}

// askFor refuses with the METHOD-DATA that says how to do better. A wrong
// password gets the same as none: clients read the salt in either (RFC 4120
// §7.5.2).
func (x *exchange) askFor(code krb5.ErrorCode, why string) error {
	x.etypeInfo = x.etypeInfo[:0]
	for _, id := range strengths {
		x.addETypeInfo(id)
	}
	mark := x.aux.Len()
	x.etypeInfo.Marshal(&x.aux)
	info := x.aux.Bytes()[:x.aux.Len()-mark]
	x.padata = append(x.padata[:0],
		krb5.PAData{Type: krb5.PAETypeInfo2, Value: info},
		krb5.PAData{Type: krb5.PAEncTimestamp, Value: []byte{}})
	mark = x.aux.Len()
	x.padata.Marshal(&x.aux)
	return &refusal{code: code, why: why, data: x.aux.Bytes()[:x.aux.Len()-mark]}
}

// addETypeInfo tells how the key of one etype is made: with the account's own
// salt, which for a synced one is that of the realm it came from (entra-wire.md
// §C5), and its own count of iterations.
func (x *exchange) addETypeInfo(id etype.ID) {
	k, ok := x.clientKey(id)
	if !ok {
		return
	}
	e := krb5.ETypeInfoEntry{EType: int32(id), Salt: k.Salt, NoSalt: id == etype.RC4}
	if k.Iterations != 0 && k.Iterations != id.DefaultIterations() {
		e.S2KParams = binary.BigEndian.AppendUint32(nil, k.Iterations) // RFC 3962 §4
	}
	x.etypeInfo = append(x.etypeInfo, e)
}

package kdc

import (
	"encoding/binary"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// mechanism is one way to prove who asks. The KDC keeps nothing between the
// rounds of one: what it has to remember goes to the client and back in a
// cookie (see [exchange.more]).
type mechanism struct {
	kind  int32 // the pre-authentication type of the client's element
	place place
	// keyed says that the proof is made with the account's own key, so that an
	// account without a key that the client can use can't use it either.
	keyed bool
	// offer appends what METHOD-DATA says of the mechanism, or nothing where
	// this client can't use it.
	offer func(x *exchange, to krb5.MethodData) krb5.MethodData
	// prove judges the client's element. It returns nil once the client is
	// proven, with x.reply (the key of the reply, see [exchange.replyWith]) and
	// x.proof set, and what the AS-REP carries for it appended to
	// x.repPAData; x.more(…) to ask for another round; errWrong for another
	// password's proof; x.askFor(…) or a refusal of its own when the client has
	// failed otherwise. It may be asked again with an earlier password in
	// x.secrets.
	prove func(x *exchange, value []byte) error
}

// place is where a mechanism is good.
type place uint8

const (
	anywhere    place = iota
	insideFAST        // not safe, or not defined, without armor
	outsideFAST       // within armor there is something better
)

func (p place) allows(armored bool) bool {
	return p == anywhere || armored == (p == insideFAST)
}

// allMechanisms lists them in order of preference: of several elements in a
// request the first in this order counts, and clients try what METHOD-DATA
// offers from its start. SPAKE takes a round more than the encrypted challenge,
// which the armor protects well enough; it is there for who wants no trust in
// whoever else has the armor's key.
func allMechanisms() []mechanism {
	return []mechanism{encryptedChallenge, spakeExchange, encTimestamp}
}

// preauthenticate is phase 4 of the AS exchange. Every account needs it: an
// answer without it is encrypted in the password's key, for anybody to take
// away and guess at. A type that we don't know is none (RFC 4120 §5.2.7).
func (x *exchange) preauthenticate() error {
	for i := range x.k.mechanisms {
		m := &x.k.mechanisms[i]
		if !m.place.allows(x.armored()) {
			continue
		}
		value, ok := x.req.PAData.Find(m.kind)
		if !ok {
			continue
		}
		if x.needsArmor() {
			return refuse(krb5.ErrPolicy, "a sign-in without armor")
		}
		if m.keyed {
			if err := x.checkKeys(); err != nil {
				return err
			}
		}
		return x.judge(m, value)
	}
	return x.askFor(krb5.ErrPreauthRequired, "no pre-authentication")
}

// checkKeys refuses a client that has no key of a type that it lists.
func (x *exchange) checkKeys() error {
	for _, id := range strengths {
		if _, ok := x.clientKey(id); ok {
			return nil
		}
	}
	if x.secrets.IsZero() {
		// A synced account whose hashes have not come, or a cloud-only one
		// whose password was not changed since the domain exists. AD's
		// code for an account without keys, and the only one of which a
		// client says something to the point.
		return refuse(krb5.ErrNullKey, "the client has no keys yet")
	}
	return refuse(krb5.ErrETypeNoSupp, "the client has no key of a type that it lists")
}

// askFor refuses with the METHOD-DATA that says how to do better. A wrong
// password gets the same as none: clients read the salt in either (RFC 4120
// §7.5.2).
func (x *exchange) askFor(code krb5.ErrorCode, why string) error {
	x.padata = x.padata[:0]
	if !x.armored() {
		x.padata = append(x.padata, krb5.PAData{Type: krb5.PAFXFast, Value: []byte{}})
	}
	if x.needsArmor() {
		return &refusal{code: code, why: "no armor", methods: x.padata}
	}
	keys := x.checkKeys()
	if keys == nil {
		x.padata = x.offerETypes(x.padata)
	}
	told := len(x.padata)
	for i := range x.k.mechanisms {
		if m := &x.k.mechanisms[i]; m.place.allows(x.armored()) && (keys == nil || !m.keyed) {
			x.padata = m.offer(x, x.padata)
		}
	}
	if keys != nil && len(x.padata) == told {
		return keys
	}
	x.padata = append(x.padata, krb5.PAData{Type: krb5.PAFXCookie, Value: noCookie})
	return &refusal{code: code, why: why, methods: x.padata}
}

// more asks for another round (RFC 6113 §5.2): the client answers pa, and gives
// back the state, which it can neither read nor change.
func (x *exchange) more(pa krb5.PAData, state []byte, why string) error {
	cookie, err := x.bakeCookie(pa.Type, state)
	if err != nil {
		return err
	}
	x.padata = x.padata[:0]
	if x.checkKeys() == nil {
		// For a client that began without asking, and has no salt yet.
		x.padata = x.offerETypes(x.padata)
	}
	x.padata = append(x.padata, pa, krb5.PAData{Type: krb5.PAFXCookie, Value: cookie})
	return &refusal{code: krb5.ErrMorePreauthRequired, why: why, methods: x.padata}
}

// replyWith sets the key that the reply is encrypted in. kvno is 0 for a key
// that is no account's.
func (x *exchange) replyWith(key etype.Key, kvno uint32) {
	x.reply = replyKey{key: key, kvno: kvno, usage: krb5.UsageASRepPart}
}

// offerETypes tells how the client's keys are made.
func (x *exchange) offerETypes(to krb5.MethodData) krb5.MethodData {
	x.etypeInfo = x.etypeInfo[:0]
	for _, id := range strengths {
		x.addETypeInfo(id)
	}
	to = append(to, krb5.PAData{Type: krb5.PAETypeInfo2, Value: x.aside(&x.etypeInfo)})
	if x.oldETypes() {
		old := krb5.ETypeInfo(x.etypeInfo)
		to = append(to, krb5.PAData{Type: krb5.PAETypeInfo, Value: x.aside(&old)})
	}
	return to
}

// aside encodes m where it stays until the end of the exchange.
func (x *exchange) aside(m krb5.Marshaler) []byte {
	mark := x.aux.Len()
	m.Marshal(&x.aux)
	return x.aux.Bytes()[:x.aux.Len()-mark]
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

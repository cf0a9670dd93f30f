package kdc

import (
	"encoding/binary"
	"slices"

	"skyrealm/cred"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/spake"
)

// spakeExchange is PA-SPAKE (RFC 9588), in three messages: the client says which
// groups it knows, the KDC sends a public element, the client answers with its
// own and with a factor encrypted in a key that only who knows the password has
// in common with us. An encrypted timestamp is a dictionary's touchstone for
// whoever saw it pass; here nobody who was not one of the two parties has any.
//
// Nothing in it that depends on the client's key goes to a stranger but the
// public element, which is as likely under any other password.
//
// It costs two multiplications in the group for the challenge and two for the
// answer, some 0.3 ms, so the challenge waits until a client asks for it: RFC
// 9588 §4.1 lets a KDC send one with PREAUTH_REQUIRED, at the expense of every
// client that can't use it and for anybody who asks.
//
// A client that used its last password but one is not told from one that
// guessed, as with a timestamp it is: its answer fits our challenge under
// today's password or not at all.
var spakeExchange = mechanism{
	kind: krb5.PASPAKE, place: anywhere, keyed: true,
	offer: func(_ *exchange, to krb5.MethodData) krb5.MethodData {
		return append(to, krb5.PAData{Type: krb5.PASPAKE, Value: []byte{}})
	},
	prove: (*exchange).proveSPAKE,
}

// spakeGroups are the groups that clients may use, in order of preference. The
// order of a client's list does not count: it is not protected.
var spakeGroups = [...]spake.Group{spake.Edwards25519, spake.P256}

func (x *exchange) proveSPAKE(value []byte) error {
	var m spake.Message
	if m.Unmarshal(value) != nil {
		return x.askFor(krb5.ErrPreauthFailed, "malformed PA-SPAKE")
	}
	switch m.Choice {
	case spake.Support:
		return x.challengeSPAKE(m.Groups, value)
	case spake.Response:
		return x.checkSPAKE(&m)
	}
	// A challenge is the KDC's to send, and encrypted data is a second
	// factor's, of which none was offered.
	return x.askFor(krb5.ErrPreauthFailed, "a SPAKE message that nobody asked for")
}

// spakeState is what the cookie says of a challenge. The cookie itself is bound
// to the client; the state to the version and the type of key that the
// challenge was made for, and to all that was said.
//
//	group (4) | kvno (4) | etype (4) | transcript (32) | private scalar
type spakeState struct {
	group      spake.Group
	kvno       uint32
	etype      etype.ID
	transcript [spake.HashSize]byte
	private    []byte
}

const spakeStateHead = 12 + spake.HashSize

func (s *spakeState) marshal() []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, spakeStateHead+len(s.private)), uint32(s.group))
	b = binary.BigEndian.AppendUint32(b, s.kvno)
	b = binary.BigEndian.AppendUint32(b, uint32(s.etype))
	b = append(b, s.transcript[:]...)
	return append(b, s.private...)
}

func (s *spakeState) unmarshal(b []byte) bool {
	if len(b) < spakeStateHead {
		return false
	}
	s.group = spake.Group(binary.BigEndian.Uint32(b))
	s.kvno = binary.BigEndian.Uint32(b[4:])
	s.etype = etype.ID(binary.BigEndian.Uint32(b[8:]))
	copy(s.transcript[:], b[12:])
	s.private = b[spakeStateHead:]
	return true
}

// strongestKey is the client's key where no proof says which one it took: the
// first in ETYPE-INFO2, which is the one that clients choose.
func (x *exchange) strongestKey() (cred.KerberosKey, bool) {
	for _, id := range strengths {
		if k, ok := x.clientKey(id); ok {
			return k, true
		}
	}
	return cred.KerberosKey{}, false
}

// challengeSPAKE answers a support message. It stands in the transcript: who
// takes a group from it on the way has the client answer for another
// conversation than ours.
func (x *exchange) challengeSPAKE(groups []spake.Group, support []byte) error {
	i := slices.IndexFunc(spakeGroups[:], func(g spake.Group) bool { return slices.Contains(groups, g) })
	key, ok := x.strongestKey()
	if i < 0 || !ok {
		return x.askFor(krb5.ErrPreauthFailed, "no SPAKE group in common")
	}
	s := spakeState{group: spakeGroups[i], kvno: x.client.Secrets.KVNO, etype: key.Key.ID()}
	secret, err := spake.NewSecret(s.group, key.Key)
	if err != nil {
		return err
	}
	m := spake.Message{Choice: spake.Challenge, Group: s.group, Factors: []spake.Factor{{Type: spake.SFNone}}}
	if s.private, m.PublicKey, err = secret.Generate(spake.KDC, x.k.Rand); err != nil {
		return err
	}
	challenge := x.aside(&m)
	s.transcript = spake.Transcript(s.transcript, support, challenge)
	state := s.marshal()
	defer clear(state)
	clear(s.private)
	return x.more(krb5.PAData{Type: krb5.PASPAKE, Value: challenge}, state, "SPAKE challenge")
}

// checkSPAKE judges a response. Where the challenge was not ours, or not for
// this client, or is too old, or the password was changed meanwhile, nothing was
// guessed at: the client is to begin again.
func (x *exchange) checkSPAKE(m *spake.Message) error {
	var s spakeState
	state, ok := x.cookie(krb5.PASPAKE)
	if !ok || !s.unmarshal(state) {
		return refuse(krb5.ErrPreauthExpired, "SPAKE response without a good cookie")
	}
	defer clear(state)
	key, ok := x.strongestKey()
	if !ok || key.Key.ID() != s.etype || x.client.Secrets.KVNO != s.kvno {
		return refuse(krb5.ErrPreauthExpired, "SPAKE response to a challenge for another key")
	}
	secret, err := spake.NewSecret(s.group, key.Key)
	if err != nil {
		return err
	}
	result, err := secret.Result(spake.KDC, s.private, m.PublicKey)
	if err != nil {
		return x.askFor(krb5.ErrPreauthFailed, "no SPAKE element")
	}
	defer clear(result)
	transcript := spake.Transcript(s.transcript, m.PublicKey)
	// The body is in the keys, so a response that is taken to another request
	// is as good as a wrong password.
	first, err := secret.Key(1, result, transcript, x.req.RawBody)
	if err != nil {
		return err
	}
	plain, err := first.Decrypt(x.plain[:0], m.Encrypted.Cipher, spake.UsageFactor)
	if err != nil || m.Encrypted.EType != int32(first.ID()) {
		return errWrong
	}
	x.plain = plain
	var factor spake.Factor
	if factor.Unmarshal(plain) != nil || factor.Type != spake.SFNone {
		return x.askFor(krb5.ErrPreauthFailed, "a second factor that was not offered")
	}
	reply, err := secret.Key(0, result, transcript, x.req.RawBody)
	if err != nil {
		return err
	}
	x.proof = m.Encrypted.Cipher
	x.replyWith(reply, 0)
	return nil
}

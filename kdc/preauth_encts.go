package kdc

import (
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// encTimestamp is PA-ENC-TIMESTAMP (RFC 4120 §5.2.7.2): the time, encrypted in
// the client's key. Within FAST the encrypted challenge takes its place (RFC
// 6113 §5.4.6).
var encTimestamp = mechanism{
	kind: krb5.PAEncTimestamp, place: outsideFAST, keyed: true,
	offer: func(_ *exchange, to krb5.MethodData) krb5.MethodData {
		return append(to, krb5.PAData{Type: krb5.PAEncTimestamp, Value: []byte{}})
	},
	prove: (*exchange).proveTimestamp,
}

// proveTimestamp also chooses the key of the reply: the one that the client has
// shown to have.
func (x *exchange) proveTimestamp(value []byte) error {
	var e krb5.EncryptedData
	if e.Unmarshal(value) != nil {
		return x.askFor(krb5.ErrPreauthFailed, "malformed PA-ENC-TIMESTAMP")
	}
	id := etype.ID(e.EType)
	k, ok := x.clientKey(id)
	if !ok {
		return refuse(krb5.ErrETypeNoSupp, "timestamp in a type of key that the client may not use or did not list")
	}
	key := k.Key.Ready() // for the timestamp, the reply and its checksum of the request
	plain, err := key.Decrypt(x.plain[:0], e.Cipher, krb5.UsageASReqTimestamp)
	if err != nil {
		return errWrong
	}
	return x.timely(plain, e.Cipher, key)
}

// timely takes the time that cipher decrypted to for the proof that the client has the
// key, where it is of now, and answers in that key.
func (x *exchange) timely(plain, cipher []byte, key etype.Key) error {
	x.plain = plain
	var ts krb5.PAEncTSEnc
	if ts.Unmarshal(plain) != nil {
		return x.askFor(krb5.ErrPreauthFailed, "malformed timestamp")
	}
	if !x.current(ts.Time) {
		return refuse(krb5.ErrSkew, "the client's clock is off")
	}
	x.proof = cipher
	x.replyWith(key, x.client.Secrets.KVNO)
	return nil
}

// current reports whether a client's time is within the skew of ours, which is
// the last moment that counts.
func (x *exchange) current(t time.Time) bool {
	return t.Sub(x.now).Abs() <= x.k.Policy.skew()
}

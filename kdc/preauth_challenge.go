package kdc

import (
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// encryptedChallenge is PA-ENCRYPTED-CHALLENGE (RFC 6113 §5.4.6): the time,
// encrypted in a key that takes the armor key as well as the client's own. So
// nothing of it can be guessed at by who only listens, and the client knows from
// our answer that we have its key. Outside FAST there is no armor key to use,
// and it is not looked at (CVE-2021-36222).
var encryptedChallenge = mechanism{
	kind: krb5.PAEncryptedChallenge, place: insideFAST, keyed: true,
	offer: func(_ *exchange, to krb5.MethodData) krb5.MethodData {
		return append(to, krb5.PAData{Type: krb5.PAEncryptedChallenge, Value: []byte{}})
	},
	prove: (*exchange).proveChallenge,
}

func (x *exchange) proveChallenge(value []byte) error {
	var e krb5.EncryptedData
	if e.Unmarshal(value) != nil {
		return x.askFor(krb5.ErrPreauthFailed, "malformed PA-ENCRYPTED-CHALLENGE")
	}
	armor := x.fast.armor
	for _, id := range strengths {
		// The challenge is in a key of the armor's type: which of the client's
		// keys is in it, only trying tells.
		k, ok := x.clientKey(id)
		if !ok {
			continue
		}
		challenge, err := etype.CF2(armor, k.Key, "clientchallengearmor", "challengelongterm")
		if err != nil {
			return err
		}
		plain, err := challenge.Decrypt(x.plain[:0], e.Cipher, krb5.UsageEncryptedChallengeUser)
		if err != nil || e.EType != int32(armor.ID()) {
			continue
		}
		if err := x.timely(plain, e.Cipher, k.Key); err != nil {
			return err
		}
		return x.answerChallenge(k.Key)
	}
	return errWrong
}

// answerChallenge shows that we have the client's key too.
func (x *exchange) answerChallenge(key etype.Key) error {
	armor := x.fast.armor
	answer, err := etype.CF2(armor, key, "kdcchallengearmor", "challengelongterm")
	if err != nil {
		return err
	}
	now := krb5.PAEncTSEnc{Time: x.now}
	cipher, err := answer.Encrypt(nil, x.aside(&now), krb5.UsageEncryptedChallengeKDC, x.k.Rand)
	if err != nil {
		return err
	}
	x.repPAData = append(x.repPAData, krb5.PAData{Type: krb5.PAEncryptedChallenge,
		Value: x.aside(&krb5.EncryptedData{EType: int32(answer.ID()), Cipher: cipher})})
	return nil
}

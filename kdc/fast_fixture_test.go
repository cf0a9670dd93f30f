package kdc

import (
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// armor is a client's half of FAST; the fields may be altered before a request
// is wrapped.
type armor struct {
	w       *world
	tgt     krb5.Ticket
	session etype.Key
	auth    krb5.Authenticator
	subkey  etype.Key
	key     etype.Key // the armor key

	options krb5.FASTOptions
	outer   func(*krb5.KDCReq)         // the outer request, before it is vouched for
	inner   func(*krb5.FASTReq)        // the inner one, before it is encrypted
	envelop func(*krb5.FASTArmoredReq) // what goes out
	late    func(*krb5.KDCReq)         // the outer request, when it is vouched for
}

// armor makes armor of a grant, as a machine does for whoever signs in on it.
func (w *world) armor(g *grant) *armor {
	w.t.Helper()
	a := &armor{w: w, tgt: g.rep.Ticket, session: g.session,
		auth: krb5.Authenticator{CRealm: g.rep.CRealm, CName: g.rep.CName, CTime: w.now, SeqNumber: 42}}
	a.rekey(etype.AES256SHA1)
	return a
}

// rekey gives it another subkey, and by that another armor key.
func (a *armor) rekey(id etype.ID) {
	a.w.t.Helper()
	var err error
	if a.subkey, err = etype.Random(id, a.w.rand); err != nil {
		a.w.t.Fatal(err)
	}
	a.auth.Subkey = krb5.NewEncryptionKey(int32(id), a.subkey.Expose())
	a.key = a.cf2(a.subkey, a.session, "subkeyarmor", "ticketarmor")
}

func (a *armor) cf2(k1, k2 etype.Key, p1, p2 string) etype.Key {
	a.w.t.Helper()
	k, err := etype.CF2(k1, k2, p1, p2)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return k
}

func (a *armor) encrypt(k etype.Key, plain []byte, usage uint32) krb5.EncryptedData {
	a.w.t.Helper()
	cipher, err := k.Encrypt(nil, plain, usage, a.w.rand)
	if err != nil {
		a.w.t.Fatal(err)
	}
	return krb5.EncryptedData{EType: int32(k.ID()), Cipher: cipher}
}

// challenge is PA-ENCRYPTED-CHALLENGE.
func (a *armor) challenge(user etype.Key) krb5.PAData {
	k := a.cf2(a.key, user, "clientchallengearmor", "challengelongterm")
	e := a.encrypt(k, krb5.Encode(krb5.PAEncTSEnc{Time: a.w.now}), krb5.UsageEncryptedChallengeUser)
	return krb5.PAData{Type: krb5.PAEncryptedChallenge, Value: krb5.Encode(e)}
}

// wrap puts an AS-REQ into the armor. The outer request is another's, as it is
// not to be looked at.
func (a *armor) wrap(q *krb5.KDCReq) []byte {
	ap := krb5.APReq{Ticket: a.tgt, Authenticator: a.encrypt(a.session, krb5.Encode(&a.auth), krb5.UsageAPReqAuthenticator)}
	outer := a.w.asReq("nobody")
	outer.CName, outer.Nonce, outer.SName = anonymous, 1, krb5.PrincipalName{}
	if a.outer != nil {
		a.outer(outer)
	}
	f := a.envelope(q, krb5.Encode(marshalBody{outer}))
	f.ArmorType, f.ArmorValue = krb5.ArmorAPRequest, krb5.Encode(&ap)
	if a.envelop != nil {
		a.envelop(f)
	}
	outer.PAData = krb5.MethodData{{Type: krb5.PAFXFast, Value: krb5.Encode(f)}}
	if a.late != nil {
		a.late(outer)
	}
	return krb5.Encode(outer)
}

func (a *armor) envelope(q *krb5.KDCReq, vouches []byte) *krb5.FASTArmoredReq {
	in := krb5.FASTReq{Options: a.options, PAData: q.PAData, Body: krb5.Encode(marshalBody{q})}
	if a.inner != nil {
		a.inner(&in)
	}
	return &krb5.FASTArmoredReq{
		Checksum: krb5.Checksum{Type: a.key.ID().ChecksumType(), Value: a.key.Checksum(nil, vouches, krb5.UsageFASTReqChecksum)},
		EncReq:   a.encrypt(a.key, krb5.Encode(&in), krb5.UsageFASTEncrypt),
	}
}

// response opens what the KDC said inside the armor.
func (a *armor) response(padata krb5.MethodData) *krb5.FASTResponse {
	a.w.t.Helper()
	if len(padata) != 1 || padata[0].Type != krb5.PAFXFast {
		a.w.t.Fatalf("padata beside PA-FX-FAST, or none: %d", len(padata))
	}
	var f krb5.FASTArmoredRep
	if err := f.Unmarshal(padata[0].Value); err != nil {
		a.w.t.Fatal(err)
	}
	plain, err := a.key.Decrypt(nil, f.EncRep.Cipher, krb5.UsageFASTReply)
	if err != nil {
		a.w.t.Fatal(err)
	}
	r := new(krb5.FASTResponse)
	if err := r.Unmarshal(plain); err != nil {
		a.w.t.Fatal(err)
	}
	return r
}

// refused expects an armored error, and returns what it says inside: the same
// error, and the padata with it.
func (a *armor) refused(reply []byte, code krb5.ErrorCode) (*krb5.Error, *krb5.FASTResponse) {
	a.w.t.Helper()
	outer := a.w.refused(reply, code)
	r := a.response(a.w.methods(outer))
	v, ok := r.PAData.Find(krb5.PAFXError)
	inner := new(krb5.Error)
	if err := inner.Unmarshal(v); !ok || err != nil {
		a.w.t.Fatal("no PA-FX-ERROR", err)
	}
	if inner.EData != nil || inner.Code != outer.Code || !inner.SName.Equal(outer.SName) || !inner.STime.Equal(outer.STime) {
		a.w.t.Errorf("PA-FX-ERROR %+v, outside %+v", inner, outer)
	}
	if !r.Strengthen.IsZero() || r.Finished != nil {
		a.w.t.Error("an error with a strengthen-key or a finished")
	}
	return inner, r
}

// open checks a reply as a client does, and decrypts it.
func (a *armor) open(reply []byte, key etype.Key, usage uint32, nonce int64) (*grant, *krb5.FASTResponse) {
	a.w.t.Helper()
	var e krb5.Error
	if e.Unmarshal(reply) == nil {
		a.w.t.Fatalf("refused: %v", e.Code)
	}
	var rep krb5.KDCRep
	if err := rep.Unmarshal(reply); err != nil {
		a.w.t.Fatal(err)
	}
	r := a.response(rep.PAData)
	if r.Nonce != nonce || r.Finished == nil || r.Strengthen.IsZero() {
		a.w.t.Fatalf("nonce %d, finished %v", r.Nonce, r.Finished)
	}
	sum := r.Finished.Ticket
	if sum.Type != a.key.ID().ChecksumType() || a.key.VerifyChecksum(krb5.Encode(&rep.Ticket), sum.Value, krb5.UsageFASTFinished) != nil {
		a.w.t.Fatal("the ticket's checksum does not verify")
	}
	strengthen, err := etype.NewKey(etype.ID(r.Strengthen.Type), r.Strengthen.Expose())
	if err != nil {
		a.w.t.Fatal(err)
	}
	return a.w.open(reply, a.cf2(strengthen, key, "strengthenkey", "replykey"), usage), r
}

// login signs in inside the armor.
func (a *armor) login(sam string, id etype.ID) *grant {
	a.w.t.Helper()
	key := a.w.key(sam, id)
	q := a.w.asReq(sam)
	q.PAData = krb5.MethodData{a.challenge(key)}
	g, r := a.open(a.w.sendRaw(a.wrap(q)), key, krb5.UsageASRepPart, q.Nonce)
	// The KDC shows that it has the user's key as well.
	v, _ := r.PAData.Find(krb5.PAEncryptedChallenge)
	var e krb5.EncryptedData
	if err := e.Unmarshal(v); err != nil {
		a.w.t.Fatal("no answer to the challenge", err)
	}
	plain, err := a.cf2(a.key, key, "kdcchallengearmor", "challengelongterm").Decrypt(nil, e.Cipher, krb5.UsageEncryptedChallengeKDC)
	var ts krb5.PAEncTSEnc
	if err != nil || ts.Unmarshal(plain) != nil || !ts.Time.Equal(a.w.now) {
		a.w.t.Fatal("the answer to the challenge", err, ts)
	}
	return g
}

// tgs wraps a TGS-REQ, whose TGT is the armor.
func (a *armor) tgs(q *tgsReq) []byte {
	q.tgt, q.key, q.auth = a.tgt, a.session, a.auth
	body := krb5.Encode(marshalBody{&q.body})
	q.auth.Checksum = krb5.Checksum{Type: q.key.ID().ChecksumType(), Value: q.key.Checksum(nil, body, krb5.UsageTGSReqChecksum)}
	ap := krb5.APReq{Ticket: q.tgt, Authenticator: a.encrypt(q.key, krb5.Encode(&q.auth), krb5.UsageTGSReqAuthenticator)}
	apReq := krb5.Encode(&ap)
	inner := q.body
	inner.PAData = q.padata
	f := a.envelope(&inner, apReq)
	if a.envelop != nil {
		a.envelop(f)
	}
	q.body.PAData = krb5.MethodData{{Type: krb5.PATGSReq, Value: apReq}, {Type: krb5.PAFXFast, Value: krb5.Encode(f)}}
	return krb5.Encode(&q.body)
}

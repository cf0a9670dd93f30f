package kdc

import (
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// fastState is what an exchange inside FAST (RFC 6113 §5.4) has beside any
// other. The inner request takes the outer one's place in exchange.req, so that
// the phases after it know no difference.
type fastState struct {
	armor      etype.Key // encrypts request and reply
	strengthen etype.Key // a part of the reply key
	armored    krb5.FASTArmoredReq
	req        krb5.FASTReq
	plain      []byte // of the inner request, which points into it
	rep        [1]krb5.PAData
}

// armored reports whether the request came inside FAST.
func (x *exchange) armored() bool { return x.fast != nil }

// hidden reports whether the client's name must not be seen on the wire.
func (x *exchange) hidden() bool {
	return x.fast != nil && x.fast.req.Options&krb5.FASTHideClientNames != 0
}

// anonymous is what stands in the place of a hidden name (RFC 8062 §3).
var anonymous = krb5.Principal(krb5.NTWellKnown, "WELLKNOWN", "ANONYMOUS")

const anonymousRealm = "WELLKNOWN:ANONYMOUS"

// needsArmor reports whether the policy refuses the client outside FAST. An
// account with service principal names is a service's: to offer guesses at its
// password, the TGS has tickets for everybody.
func (x *exchange) needsArmor() bool {
	return x.k.Policy.RequireArmor && !x.armored() &&
		x.client != nil && x.client.Kind == domain.User && len(x.client.SPNs) == 0
}

// unarmorAS opens an AS-REQ inside FAST, if it is one: its armor is an AP-REQ
// with a TGT that the client's machine, or nobody in particular, has.
func (x *exchange) unarmorAS() error {
	value, ok := x.req.PAData.Find(krb5.PAFXFast)
	if !ok {
		return nil
	}
	f := &x.fastRoom
	if f.armored.Unmarshal(value) != nil {
		return refuse(krb5.ErrPreauthFailed, "malformed PA-FX-FAST")
	}
	if f.armored.ArmorValue == nil || f.armored.ArmorType != krb5.ArmorAPRequest {
		return refuse(krb5.ErrPreauthFailed, "no armor, or of a type that we don't know")
	}
	if x.ap.Unmarshal(f.armored.ArmorValue) != nil {
		return refuse(krb5.ErrPreauthFailed, "malformed AP-REQ in the armor")
	}
	version, err := x.headerTGT()
	if err != nil {
		return err
	}
	session, err := x.readAuthenticator(krb5.UsageAPReqAuthenticator)
	if err != nil {
		return err
	}
	// An anonymous TGT (RFC 8062) is good for armor and has no account. Any
	// other is as for the TGS: a ticket for kadmin/changepw is under the same
	// key, and a machine that was disabled makes no armor.
	if x.tgt.Flags&krb5.FlagAnonymous == 0 {
		if _, err := x.identify(version); err != nil {
			return err
		}
		x.client, x.cname = nil, krb5.PrincipalName{}
	}
	return x.unarmor(session, x.req.RawBody)
}

// unarmorTGS opens a TGS-REQ inside FAST, if it is one. Its armor is the TGT
// that it is for (RFC 6113 §5.4.2: only implicit armor in the TGS exchange).
func (x *exchange) unarmorTGS(session etype.Key, apReq []byte) error {
	value, ok := x.req.PAData.Find(krb5.PAFXFast)
	if !ok {
		// The client says, where nobody can change it, that there was one.
		if x.auth.AuthData.Contains(krb5.ADFXFASTUsed) || x.tgt.AuthData.Contains(krb5.ADFXFASTUsed) {
			return refuse(krb5.ErrModified, "FAST was taken off the request")
		}
		return nil
	}
	f := &x.fastRoom
	if f.armored.Unmarshal(value) != nil {
		return refuse(krb5.ErrPreauthFailed, "malformed PA-FX-FAST")
	}
	if f.armored.ArmorValue != nil {
		return refuse(krb5.ErrPreauthFailed, "explicit armor in a TGS-REQ")
	}
	return x.unarmor(session, apReq)
}

// unarmor decrypts the inner request, and puts it in the outer one's place.
// What vouches is what ties the two together.
func (x *exchange) unarmor(session etype.Key, vouches []byte) error {
	if x.auth.Subkey.IsZero() {
		return refuse(krb5.ErrPreauthFailed, "armor without a subkey")
	}
	subkey, err := etype.NewKey(etype.ID(x.auth.Subkey.Type), x.auth.Subkey.Expose())
	if err != nil {
		return refuse(krb5.ErrETypeNoSupp, "the subkey is of no type that we know")
	}
	// Both sides have a part in it: the KDC made the one, the client the other.
	armor, err := etype.CF2(subkey, session, "subkeyarmor", "ticketarmor")
	if err != nil {
		return err
	}
	f := &x.fastRoom
	enc := &f.armored.EncReq
	plain, err := armor.Decrypt(f.plain[:0], enc.Cipher, krb5.UsageFASTEncrypt)
	if err != nil || enc.EType != int32(armor.ID()) {
		return refuse(krb5.ErrBadIntegrity, "the armored request does not decrypt")
	}
	f.plain = plain
	f.armor, x.fast = armor, f // the client reads what is armored from here on
	f.req.Options = 0
	sum := &f.armored.Checksum
	if sum.Type != armor.ID().ChecksumType() || armor.VerifyChecksum(vouches, sum.Value, krb5.UsageFASTReqChecksum) != nil {
		return refuse(krb5.ErrModified, "the armor is of another request")
	}
	if f.req.Unmarshal(plain) != nil {
		return refuse(krb5.ErrGeneric, "malformed KrbFastReq")
	}
	if f.req.Options&krb5.FASTCritical&^krb5.FASTHideClientNames != 0 {
		return refuse(krb5.ErrUnknownFASTOption, "a critical option that we don't know")
	}
	if x.req.UnmarshalBody(f.req.Body) != nil {
		return refuse(krb5.ErrGeneric, "malformed KDC-REQ-BODY inside FAST")
	}
	// Nothing of the outer request counts any more.
	x.req.PAData, f.req.PAData = f.req.PAData, x.req.PAData
	return nil
}

// strengthenReply makes the reply key anew, so that a reply without FAST, or an
// old one, can't take the place of this one (RFC 6113 §5.4.3).
func (x *exchange) strengthenReply() error {
	f := x.fast
	var err error
	if f.strengthen, err = etype.Random(x.reply.key.ID(), x.k.Rand); err != nil {
		return err
	}
	x.reply.key, err = etype.CF2(f.strengthen, x.reply.key, "strengthenkey", "replykey")
	return err
}

// armorReply moves the reply's padata into the armor, beside what ends the
// conversation: whom the ticket names, and a checksum of it.
func (x *exchange) armorReply(ticket []byte) error {
	f := x.fast
	var sum [24]byte
	err := x.seal(&krb5.FASTResponse{
		PAData:     x.rep.PAData,
		Strengthen: krb5.NewEncryptionKey(int32(f.strengthen.ID()), f.strengthen.Expose()),
		Nonce:      x.req.Nonce,
		Finished: &krb5.FASTFinished{
			Time: x.now, CRealm: x.crealm, CName: x.cname,
			Ticket: krb5.Checksum{
				Type:  f.armor.ID().ChecksumType(),
				Value: f.armor.Checksum(sum[:0], ticket, krb5.UsageFASTFinished),
			},
		},
	})
	x.rep.PAData = f.rep[:]
	if x.hidden() {
		x.rep.CRealm, x.rep.CName = anonymousRealm, anonymous
	}
	return err
}

// armorError makes the e-data of an error (RFC 6113 §5.4.4): the error once
// more, where nobody can change it, and the METHOD-DATA beside it.
func (x *exchange) armorError(e *krb5.Error, methods krb5.MethodData) ([]byte, error) {
	x.padata = append(methods, krb5.PAData{Type: krb5.PAFXError, Value: x.aside(e)})
	err := x.seal(&krb5.FASTResponse{PAData: x.padata, Nonce: x.req.Nonce})
	outer := krb5.MethodData(x.fast.rep[:])
	return x.aside(&outer), err
}

// seal encrypts a response into fast.rep.
func (x *exchange) seal(r *krb5.FASTResponse) error {
	f := x.fast
	cipher, err := f.armor.Encrypt(nil, x.aside(r), krb5.UsageFASTReply, x.k.Rand)
	if err != nil {
		return err
	}
	f.rep[0] = krb5.PAData{Type: krb5.PAFXFast, Value: x.aside(&krb5.FASTArmoredRep{
		EncRep: krb5.EncryptedData{EType: int32(f.armor.ID()), Cipher: cipher}})}
	return nil
}

// forgetFAST is a part of [exchange.end].
func (x *exchange) forgetFAST() {
	if f := x.fast; f != nil {
		clear(f.plain[:cap(f.plain)])
		f.armor, f.strengthen, f.rep[0] = etype.Key{}, etype.Key{}, krb5.PAData{}
		f.armored, f.req.Body = krb5.FASTArmoredReq{}, nil
		x.fast = nil
	}
}

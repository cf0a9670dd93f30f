package kdc

import (
	"skyrealm/krb5"
)

// tgsExchange answers a TGS-REQ (RFC 4120 §3.3.3): a TGT for another ticket.
func (x *exchange) tgsExchange() ([]byte, error) {
	// 3. and 4. Whose TGT is it, and is the sender the one it was issued to? The
	// name is inside, and so may be all of the request (FAST), so the order is
	// the other way round here.
	attributes, err := x.tgsRequest()
	if err != nil {
		return nil, err
	}

	// 2. Is it a request that this KDC answers?
	if err := x.checkTGS(); err != nil {
		return nil, err
	}
	if err := x.findService(); err != nil {
		return nil, err
	}
	// Or is it for somebody else than the TGT's owner?
	if err := x.onBehalf(); err != nil {
		return nil, err
	}

	// 5. The ticket.
	if err := x.chooseSession(); err != nil {
		return nil, err
	}
	if err := x.tgsTimes(); err != nil {
		return nil, err
	}
	if err := x.tgsAuthData(); err != nil {
		return nil, err
	}
	return x.issue(attributes)
}

// noTGS are the options of tickets that are not issued.
const noTGS = krb5.OptValidate | krb5.OptRequestAnonymous

func (x *exchange) checkTGS() error {
	switch {
	case !x.k.isRealm(x.req.Realm):
		return refuse(krb5.ErrWrongRealm, "not our realm")
	case x.req.Options&postdating != 0:
		return refuse(krb5.ErrCannotPostdate, "postdated tickets are not issued")
	case x.req.Options&noTGS != 0:
		return refuse(krb5.ErrBadOption, "VALIDATE or anonymous")
	}
	return nil
}

// tgsAuthData gathers what stands behind the PAC: what the TGT had there, and
// what the client adds to restrict itself (RFC 4120 §5.2.6).
func (x *exchange) tgsAuthData() error {
	x.ticket.AuthData = append(x.ticket.AuthData[:0], x.basis().AuthData...)
	if x.req.EncAuthData.IsZero() {
		return nil
	}
	key, usage := x.reply.key, krb5.UsageTGSReqAuthDataSubkey
	if x.auth.Subkey.IsZero() {
		usage = krb5.UsageTGSReqAuthDataSession
	}
	plain, err := key.Decrypt(x.plain[:0], x.req.EncAuthData.Cipher, usage)
	if err != nil || x.req.EncAuthData.EType != int32(key.ID()) {
		return refuse(krb5.ErrBadIntegrity, "enc-authorization-data does not decrypt")
	}
	x.plain = plain
	if x.authData.Unmarshal(plain) != nil {
		return refuse(krb5.ErrBadIntegrity, "malformed enc-authorization-data")
	}
	// Some services take the last PAC that they find.
	if x.authData.Contains(krb5.ADWin2kPAC) {
		return refuse(krb5.ErrPolicy, "a PAC of the client's own making")
	}
	if len(x.ticket.AuthData)+len(x.authData) > krb5.MaxAuthData-1 {
		return refuse(krb5.ErrPolicy, "too much authorization data")
	}
	x.ticket.AuthData = append(x.ticket.AuthData, x.authData...)
	return nil
}

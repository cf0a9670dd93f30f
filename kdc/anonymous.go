package kdc

import (
	"runtime"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// anonymousAS answers an AS-REQ of nobody (RFC 8062 §4.1): a TGT for FAST armor,
// so that a machine without a keytab can protect a password. It has no PAC, and
// so the TGS gives no ticket for it. What it takes is PKINIT without a signature.
func (x *exchange) anonymousAS() ([]byte, error) {
	if !x.req.CName.Equal(anonymous) {
		// DIVERGES: RFC 8062 lets a client prove itself and then stay unnamed
		// to services. Nothing of a domain works for such a ticket.
		return nil, refuse(krb5.ErrBadOption, "anonymity for a client that is named")
	}
	if x.k.PKINIT == nil {
		return nil, refuse(krb5.ErrCPrincipalUnknown, "no anonymous tickets here")
	}
	x.cname, x.crealm = anonymous, anonymousRealm
	if err := x.findService(); err != nil && x.k.Replica.Decoys == nil { // else it tells of accounts
		return nil, err
	}
	if !x.service.tgs {
		return nil, refuse(krb5.ErrPolicy, "an anonymous ticket for a service")
	}
	value, ok := x.req.PAData.Find(krb5.PAPKASReq)
	if !ok {
		return nil, x.askNobody(krb5.ErrPreauthRequired, "no pre-authentication")
	}
	// What it takes is the work of a hundred passwords, for whoever asks: half of
	// the processors stay for people.
	p := x.k.PKINIT
	if p.nobodies.Add(1) > max(1, int32(runtime.GOMAXPROCS(0)/2)) {
		p.nobodies.Add(-1)
		return nil, refuse(krb5.ErrSvcUnavailable, "too many anonymous requests at once")
	}
	err := x.proveCertificate(value)
	p.nobodies.Add(-1)
	if err != nil {
		return nil, err
	}
	if err := x.chooseSession(); err != nil {
		return nil, err
	}
	if err := x.asTimes(); err != nil {
		return nil, err
	}
	// Not renewable either: the TGS would refuse it.
	x.ticket.Flags = x.ticket.Flags&^krb5.FlagRenewable | krb5.FlagAnonymous
	x.ticket.RenewTill = time.Time{}
	x.ticket.AuthData = x.ticket.AuthData[:0]
	if err := x.agreeSession(); err != nil {
		return nil, err
	}
	return x.issue(0)
}

// agreeSession makes a session key that both sides have a part in (RFC 8062 §7),
// and tells ours: a KDC in the middle, which could be a client of the true one,
// can't hand its own session on.
func (x *exchange) agreeSession() error {
	part, err := etype.Random(x.session.id, x.k.Rand)
	if err != nil {
		return err
	}
	both, err := etype.CF2(part, x.reply.key, "PKINIT", "KEYEXCHANGE")
	if err != nil {
		return err
	}
	copy(x.session.bytes[:], both.Expose())
	x.session.made = true
	plain := krb5.Encode(krb5.NewEncryptionKey(int32(part.ID()), part.Expose()))
	cipher, err := x.reply.key.Encrypt(nil, plain, krb5.UsagePKINITKX, x.k.Rand)
	if err != nil {
		return err
	}
	x.repPAData = append(x.repPAData, krb5.PAData{Type: krb5.PAPKINITKX,
		Value: krb5.Encode(krb5.EncryptedData{EType: int32(x.reply.key.ID()), Cipher: cipher})})
	return nil
}

// askNobody is [exchange.askFor] where there are no keys to tell about.
func (x *exchange) askNobody(code krb5.ErrorCode, why string) error {
	x.padata = certificates.offer(x, x.padata[:0])
	x.padata = append(x.padata, krb5.PAData{Type: krb5.PAPKINITKX, Value: []byte{}}, krb5.PAData{Type: krb5.PAFXCookie, Value: noCookie})
	return &refusal{code: code, why: why, methods: x.padata}
}

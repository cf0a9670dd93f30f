package kdc

import (
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// tgsRequest is PA-TGS-REQ (RFC 4120 §3.3.1 and §3.2.3): an AP-REQ with a TGT,
// whose authenticator vouches for the request's body. It finds the client, and
// returns whether the client once asked for a PAC.
func (x *exchange) tgsRequest() (pac.Attributes, error) {
	value, ok := x.req.PAData.Find(krb5.PATGSReq)
	if !ok {
		return 0, refuse(krb5.ErrPADataTypeNoSupp, "no PA-TGS-REQ")
	}
	if x.ap.Unmarshal(value) != nil {
		return 0, refuse(krb5.ErrGeneric, "malformed AP-REQ")
	}
	version, err := x.headerTGT()
	if err != nil {
		return 0, err
	}
	session, err := x.openAuthenticator()
	if err != nil {
		return 0, err
	}
	if err := x.unarmorTGS(session, value); err != nil {
		return 0, err
	}
	return x.identify(version)
}

// headerTGT opens the ticket of the AP-REQ, and checks that it is good now.
func (x *exchange) headerTGT() (*keyVersion, error) {
	t := &x.ap.Ticket
	v, err := x.tgtKey(t)
	if err != nil {
		return nil, err
	}
	if x.opened = x.recallTGT(t, v); x.opened == nil {
		x.opened = &opened{version: v}
		if _, err := decryptTGT(t, v, &x.opened.part, nil); err != nil {
			return nil, err
		}
	}
	x.tgt = x.opened.part
	if err := x.checkTimes(&x.tgt); err != nil {
		return nil, err
	}
	return v, x.checkAddresses()
}

// openTGT decrypts a ticket into part, using room.
func (x *exchange) openTGT(t *krb5.Ticket, part *krb5.EncTicketPart, room []byte) (v *keyVersion, plain []byte, err error) {
	if v, err = x.tgtKey(t); err != nil {
		return nil, nil, err
	}
	plain, err = decryptTGT(t, v, part, room)
	return v, plain, err
}

// tgtKey is the key that a TGT is under. Its name is not protected, so the key decides
// what it is; tickets for other services are none of the TGS's.
func (x *exchange) tgtKey(t *krb5.Ticket) (*keyVersion, error) {
	if n := t.SName.Name; len(n) != 2 || n[0] != "krbtgt" || !x.k.isRealm(n[1]) || !x.k.isRealm(t.Realm) {
		return nil, refuse(krb5.ErrNotUs, "not a ticket for this TGS")
	}
	keys, err := x.krbtgtKeys()
	if err != nil {
		return nil, err
	}
	return keys.find(&t.EncPart)
}

func decryptTGT(t *krb5.Ticket, v *keyVersion, part *krb5.EncTicketPart, room []byte) ([]byte, error) {
	plain, err := v.ticket.Decrypt(room[:0], t.EncPart.Cipher)
	if err != nil {
		return nil, refuse(krb5.ErrBadIntegrity, "the TGT does not decrypt")
	}
	if part.Unmarshal(plain) != nil {
		return nil, refuse(krb5.ErrBadIntegrity, "malformed TGT")
	}
	return plain, nil
}

// checkTimes checks that a ticket is good now.
func (x *exchange) checkTimes(part *krb5.EncTicketPart) error {
	skew := x.k.Policy.skew()
	start := part.StartTime
	if start.IsZero() {
		start = part.AuthTime
	}
	switch {
	case part.Flags&krb5.FlagInvalid != 0, start.Sub(x.now) > skew:
		return refuse(krb5.ErrTktNYV, "the ticket is not yet valid")
	case x.now.Sub(part.EndTime) > skew:
		return refuse(krb5.ErrTktExpired, "the ticket has expired")
	}
	return nil
}

// openAuthenticator checks that the sender has the TGT's session key and that
// the body is what it sent.
func (x *exchange) openAuthenticator() (session etype.Key, err error) {
	// The usage is that of a TGS-REQ, whatever the ticket's name says.
	if session, err = x.readAuthenticator(krb5.UsageTGSReqAuthenticator); err != nil {
		return session, err
	}
	a := &x.auth
	// Only the session key's own checksum will do: one that needs no key, as
	// MD5 or CRC32, lets anybody exchange the body (CVE-2018-16860, MS14-068).
	if a.Checksum.Value == nil || a.Checksum.Type != session.ID().ChecksumType() {
		return session, refuse(krb5.ErrInappCksum, "no checksum under the session key")
	}
	if session.VerifyChecksum(x.req.RawBody, a.Checksum.Value, krb5.UsageTGSReqChecksum) != nil {
		return session, refuse(krb5.ErrModified, "the body is not what the authenticator vouches for")
	}
	// Such a ticket or authenticator was lent to make armor with, not to sign in
	// as its owner (RFC 6113 §5.4.1.1).
	if a.AuthData.Contains(krb5.ADFXArmor) || x.tgt.AuthData.Contains(krb5.ADFXArmor) {
		return session, refuse(krb5.ErrPolicy, "good for FAST armor only")
	}
	x.proof = x.ap.Authenticator.Cipher
	x.reply = replyKey{key: session, usage: krb5.UsageTGSRepPartSession}
	if !a.Subkey.IsZero() {
		sub, err := etype.NewKey(etype.ID(a.Subkey.Type), a.Subkey.Expose())
		if err != nil {
			return session, refuse(krb5.ErrETypeNoSupp, "the subkey is of no type that we know")
		}
		x.reply = replyKey{key: sub, usage: krb5.UsageTGSRepPartSubkey}
	}
	return session, nil
}

// readAuthenticator decrypts the authenticator, and checks that it goes with the
// ticket and is of now.
func (x *exchange) readAuthenticator(usage uint32) (session etype.Key, err error) {
	var ready *etype.Cipher
	if o := x.opened; o != nil && o.auth != nil {
		session = o.session
		if usage == krb5.UsageTGSReqAuthenticator {
			ready = o.auth
		}
	} else if session, err = etype.NewKey(etype.ID(x.tgt.Key.Type), x.tgt.Key.Expose()); err != nil {
		return session, refuse(krb5.ErrBadIntegrity, "the TGT's session key is none")
	}
	if x.ap.Authenticator.EType != int32(session.ID()) {
		return session, refuse(krb5.ErrBadIntegrity, "the authenticator is under another type of key")
	}
	var plain []byte
	if ready != nil {
		plain, err = ready.Decrypt(x.authPlain[:0], x.ap.Authenticator.Cipher)
	} else {
		plain, err = session.Decrypt(x.authPlain[:0], x.ap.Authenticator.Cipher, usage)
	}
	if err != nil {
		return session, refuse(krb5.ErrBadIntegrity, "the authenticator does not decrypt")
	}
	x.authPlain = plain
	a := &x.auth
	if a.Unmarshal(plain) != nil {
		return session, refuse(krb5.ErrBadIntegrity, "malformed authenticator")
	}
	if a.CRealm != x.tgt.CRealm || !a.CName.Equal(x.tgt.CName) {
		return session, refuse(krb5.ErrBadMatch, "the authenticator names another client")
	}
	if !x.current(a.CTime) {
		return session, refuse(krb5.ErrSkew, "the client's clock is off")
	}
	return session, nil
}

// identify finds the client, and what it once said about the PAC.
func (x *exchange) identify(v *keyVersion) (pac.Attributes, error) {
	p := x.opened.pac
	if p == nil {
		var err error
		if p, err = x.genuineTGT(&x.tgt, v); err != nil {
			return 0, err
		}
	}
	o, err := x.account(p)
	if err != nil {
		return 0, err
	}
	x.rememberTGT(p)
	x.client, x.cname = o, x.tgt.CName
	if p.Attributes == nil {
		return pac.PACImplicit, nil
	}
	return *p.Attributes, nil
}

// ownerOf finds the account that a TGT was issued to.
func (x *exchange) ownerOf(tgt *krb5.EncTicketPart, v *keyVersion) (*domain.Object, error) {
	p, err := x.genuineTGT(tgt, v)
	if err != nil {
		return nil, err
	}
	return x.account(p)
}

// genuineTGT returns a TGT's PAC. One without a genuine PAC of ours is worth nothing
// (CVE-2020-25719). The key that decrypted the ticket signed both ways: a TGT's service is
// the KDC itself.
func (x *exchange) genuineTGT(tgt *krb5.EncTicketPart, v *keyVersion) (*pac.PAC, error) {
	return x.genuine(tgt, krb5.ErrTGTRevoked, v.key, nil, v.key)
}

// account finds whom a TGT's PAC is of, by the SID in it: names can be given to somebody
// else meanwhile (CVE-2021-42287).
func (x *exchange) account(p *pac.PAC) (*domain.Object, error) {
	// Only TGTs name their requestor. A ticket for kadmin/changepw is under the
	// same key, and with its name rewritten is still no TGT (CVE-2022-2031).
	domainSID, rid, ok := p.Requestor.Split()
	if !ok || domainSID != x.k.Replica.Info.SID || p.Logon.UserID != rid || p.Logon.LogonDomainID != domainSID {
		return nil, refuse(krb5.ErrTGTRevoked, "the PAC's requestor is no account of ours")
	}
	o := x.k.Replica.ByRID(rid)
	if o == nil || !o.SignsIn() || rid == domain.RIDKrbtgt {
		return nil, refuse(krb5.ErrTGTRevoked, "the client is gone")
	}
	// DIVERGES: AD looks at a TGT's account again only after twenty minutes
	// ([MS-KILE] §3.3.5.7.1). We have it at hand.
	switch {
	case o.Disabled():
		return nil, refuseStatus(krb5.ErrClientRevoked, statusAccountDisabled, "client disabled")
	case o.Settings.Expired(x.now):
		return nil, refuseStatus(krb5.ErrClientRevoked, statusAccountExpired, "client account expired")
	case stale(p.KeyVersion, o):
		return nil, refuse(krb5.ErrTGTRevoked, "the password has changed since")
	}
	return o, nil
}

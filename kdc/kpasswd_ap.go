package kdc

import (
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// authenticate checks the AP-REQ and opens the KRB-PRIV (RFC 4120 §3.2.3 and
// §3.5.2), and finds the account.
func (c *change) authenticate() error {
	version, err := c.openChangePW()
	if err != nil {
		return err
	}
	if err := c.owner(version); err != nil {
		return err
	}
	if err := c.openSubkey(); err != nil {
		return err
	}
	return c.openPriv()
}

// openChangePW decrypts the ticket. It is under the krbtgt's key, as TGTs are, and
// its name is not protected: what tells it from a TGT with its name rewritten is
// its life, and its PAC, which says of no requestor (CVE-2022-2031).
func (c *change) openChangePW() (*keyVersion, error) {
	t := &c.ap.Ticket
	if n := t.SName.Name; len(n) != 2 || !strings.EqualFold(n[0], "kadmin") || !strings.EqualFold(n[1], "changepw") || !c.k.isRealm(t.Realm) {
		return nil, refuse(krb5.ErrNotUs, "not a ticket for kadmin/changepw")
	}
	if c.ap.Options&krb5.APOptUseSessionKey != 0 {
		return nil, refuse(krb5.ErrBadOption, "user-to-user")
	}
	// No key but the krbtgt's opens it: a client's own key, or another account's
	// that it knows, would let it write itself any ticket (CVE-2022-32744).
	keys, err := c.krbtgtKeys()
	if err != nil {
		return nil, err
	}
	version, err := keys.find(&t.EncPart)
	if err != nil {
		return nil, err
	}
	if c.tgtPlain, err = version.ticket.Decrypt(c.tgtPlain[:0], t.EncPart.Cipher); err != nil {
		return nil, refuse(krb5.ErrBadIntegrity, "the ticket does not decrypt")
	}
	if c.tgt.Unmarshal(c.tgtPlain) != nil {
		return nil, refuse(krb5.ErrBadIntegrity, "malformed ticket")
	}
	if err := c.checkTimes(&c.tgt); err != nil {
		return nil, err
	}
	start := c.tgt.StartTime
	if start.IsZero() {
		start = c.tgt.AuthTime
	}
	if c.tgt.EndTime.Sub(start) > changePWLife {
		return nil, refuse(krb5.ErrNotUs, "a ticket that lives longer than those for kadmin/changepw")
	}
	c.ticket = c.tgt
	return version, nil
}

// owner finds the account that the ticket was issued to, by the SID in its PAC.
func (c *change) owner(v *keyVersion) error {
	p, err := c.genuine(&c.tgt, krb5.ErrTGTRevoked, v.key, nil, v.key)
	if err != nil {
		return err
	}
	if p.Requestor != "" || p.Attributes != nil {
		return refuse(krb5.ErrNotUs, "a TGT under another name")
	}
	// A service that acts for somebody does not do so here, whatever it may.
	if p.Delegation != nil {
		return refuse(krb5.ErrPolicy, "a ticket that was got by delegation")
	}
	if p.Logon.LogonDomainID != c.k.Replica.Info.SID {
		return refuse(krb5.ErrTGTRevoked, "the PAC is of no account of ours")
	}
	o := c.k.Replica.ByRID(p.Logon.UserID)
	switch {
	case o == nil || !o.SignsIn() || o.RID == domain.RIDKrbtgt || p.UPN != nil && p.UPN.SID != "" && p.UPN.SID != o.SID():
		return refuse(krb5.ErrTGTRevoked, "the client is gone")
	case o.Disabled():
		return refuse(krb5.ErrClientRevoked, "client disabled")
	}
	c.who, c.fresh = o, p.Logon.PasswordLastSet == pac.FileTimeOf(o.Secrets.Set)
	return nil
}

// openSubkey checks that the sender has the ticket's session key, and finds the
// key that it chose for this exchange (RFC 3244 §2: there has to be one).
func (c *change) openSubkey() error {
	var err error
	if c.session, err = c.readAuthenticator(krb5.UsageAPReqAuthenticator); err != nil {
		return err
	}
	a := &c.auth
	// What was lent to make armor with is good for nothing else (RFC 6113 §5.4.1.1).
	if a.AuthData.Contains(krb5.ADFXArmor) || c.tgt.AuthData.Contains(krb5.ADFXArmor) {
		return refuse(krb5.ErrPolicy, "good for FAST armor only")
	}
	if a.Subkey.IsZero() {
		return refuse(krb5.ErrNoKey, "no subkey")
	}
	if c.subkey, err = etype.NewKey(etype.ID(a.Subkey.Type), a.Subkey.Expose()); err != nil {
		return refuse(krb5.ErrETypeNoSupp, "the subkey is of no type that we know")
	}
	c.proof = c.ap.Authenticator.Cipher
	return nil
}

// openPriv decrypts the new password.
//
// Addresses are not compared: a client behind address translation has another one
// than it knows, and what they are against, a message sent back to where it came
// from, does not pass here, as no reply has an AP-REQ. The sequence number binds
// the message to the authenticator (RFC 3244 §2); MIT's clients have none in
// either, which is the number 0.
func (c *change) openPriv() error {
	e := &c.priv.EncPart
	if e.EType != int32(c.subkey.ID()) {
		return refuse(krb5.ErrBadIntegrity, "the KRB-PRIV is under another type of key")
	}
	var err error
	if c.plain, err = c.subkey.Decrypt(c.plain[:0], e.Cipher, krb5.UsagePriv); err != nil {
		return refuse(krb5.ErrBadIntegrity, "the KRB-PRIV does not decrypt")
	}
	switch {
	case c.part.Unmarshal(c.plain) != nil:
		return refuse(krb5.ErrModified, "malformed KRB-PRIV")
	case c.part.SeqNumber != c.auth.SeqNumber:
		return refuse(krb5.ErrBadOrder, "the KRB-PRIV is of another exchange")
	case !c.part.Time.IsZero() && !c.current(c.part.Time):
		return refuse(krb5.ErrSkew, "the client's clock is off")
	}
	return nil
}

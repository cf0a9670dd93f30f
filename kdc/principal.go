package kdc

import (
	"strings"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
)

// isRealm reports whether text names our realm. Active Directory takes its DNS
// name in any case and its NetBIOS name, and answers with the one true form, on
// which a client that did not ask for canonicalization may stumble.
func (k *KDC) isRealm(text string) bool {
	return strings.EqualFold(text, k.realm) || strings.EqualFold(text, k.Replica.Info.NetBIOS)
}

// findClient is phase 3 of the AS exchange: whose password is to be proven?
// A disabled account is refused before that, as AD does.
func (x *exchange) findClient() error {
	name := x.req.CName
	o, err := x.clientOf(name)
	if err != nil {
		return err
	}
	decoys, secrets := x.k.Replica.Decoys, (*cred.Legacy)(nil)
	if decoys == nil {
		secrets = &o.Secrets.Current
	} else if o, secrets = x.k.standIn(name, o); o == nil {
		return refuse(krb5.ErrCPrincipalUnknown, "no account has such a name")
	}
	// Nobody signs in as the krbtgt, enabled or not: a ticket in its name would
	// be believed by whatever trusts the KDC.
	if o.Disabled() && decoys == nil || o.RID == domain.RIDKrbtgt {
		return refuseStatus(krb5.ErrClientRevoked, statusAccountDisabled, "client disabled")
	}
	x.client, x.secrets, x.cname = o, secrets, name
	// A right password would do as little: nobody is told which it was.
	if x.k.Replica.Lockout.IsLocked(o) {
		return errLocked
	}
	// RFC 6806 §5: the name of the account itself, where the client can take
	// it; one that sends an enterprise name always can.
	if (x.req.Options&krb5.OptCanonicalize != 0 || name.Type == krb5.NTEnterprise || name.Type == krb5.NTMSPrincipal || name.Type == krb5.NTX500Principal) && !o.IsDecoy() {
		x.cname = krb5.Principal(krb5.NTPrincipal, o.SAM)
	}
	if o.Settings != nil && decoys == nil {
		return x.checkRestrictions()
	}
	return nil
}

// clientOf finds the account that an AS-REQ is about, or nil where a decoy is to
// answer. Before S4U2Self by certificate a service asks so whose that is, and in
// which realm ([MS-SFU] §2.2.2): the name is the certificate's subject then, or empty.
func (x *exchange) clientOf(name krb5.PrincipalName) (*domain.Object, error) {
	if name.Type == krb5.NTX500Principal {
		if cert, ok := x.req.PAData.Find(krb5.PAS4UX509User); ok {
			return x.holderOf(cert, nil)
		}
	}
	o := x.k.clientByName(name)
	if o == nil && x.k.Replica.Decoys == nil {
		return nil, refuse(krb5.ErrCPrincipalUnknown, "no such client")
	}
	return o, nil
}

// clientByName finds an account by the names that clients sign in with
// ([MS-KILE] §3.3.5.6.1). It never tries the name with a $ added or taken away:
// that found the domain controller for a machine named like it (CVE-2021-42287).
func (k *KDC) clientByName(name krb5.PrincipalName) *domain.Object {
	var o *domain.Object
	switch {
	case len(name.Name) == 1:
		o = k.byName(name.Name[0])
	case len(name.Name) > 1:
		// host/web.contoso.test, as keytabs of Unix machines have it.
		if spn, ok := joined(name); ok {
			if o = k.Replica.BySPN(spn); o != nil && o.Kind != domain.Computer {
				o = nil
			}
		}
	}
	if o == nil || !o.SignsIn() {
		return nil
	}
	return o
}

// byName finds an account by a name of one component: sAMAccountName, UPN, or
// DOMAIN\name, as old programs for Windows send it.
func (k *KDC) byName(name string) *domain.Object {
	if at := strings.IndexByte(name, '\\'); at >= 0 {
		if !k.isRealm(name[:at]) {
			return nil
		}
		return k.Replica.BySAM(name[at+1:]) // which has no backslash
	}
	if at := strings.LastIndexByte(name, '@'); at >= 0 {
		if o := k.Replica.ByUPN(name); o != nil || !strings.EqualFold(name[at+1:], k.Replica.Info.NetBIOS) {
			return o
		}
		return k.Replica.BySAM(name[:at])
	}
	if o := k.Replica.BySAM(name); o != nil {
		return o
	}
	// The UPN that the principal is when it is written with its realm.
	return k.Replica.ByUPN(name + "@" + k.Replica.Info.DNSName)
}

// joined writes a service's name. A slash within a component would let two
// different names mean one account.
func joined(name krb5.PrincipalName) (spn string, ok bool) {
	for _, c := range name.Name {
		if c == "" || strings.IndexByte(c, '/') >= 0 {
			return "", false
		}
	}
	return strings.Join(name.Name, "/"), true
}

// wrongRealm refuses a request for a realm that is not ours. A client that can be
// sent elsewhere, and whose name there is the UPN of an account of ours, is sent
// here (RFC 6806 §7): ada@CONTOSO.TEST is ada@contoso.test.
func (x *exchange) wrongRealm() error {
	r := &refusal{code: krb5.ErrWrongRealm, why: "not our realm"}
	name := x.req.CName
	if x.req.MsgType != krb5.MsgASReq || len(name.Name) != 1 || x.req.Options&krb5.OptCanonicalize == 0 && name.Type != krb5.NTEnterprise {
		return r
	}
	upn := name.Name[0]
	if strings.IndexByte(upn, '@') < 0 {
		upn += "@" + x.req.Realm
	}
	if d := x.k.Replica.Decoys; d != nil {
		if d.Suffix(upn) {
			r.crealm = x.k.realm
		}
	} else if o := x.k.Replica.ByUPN(upn); o != nil && o.SignsIn() {
		r.crealm = x.k.realm
	}
	return r
}

// byServiceName finds the account of a service by any name that is not the
// krbtgt's.
func (k *KDC) byServiceName(name krb5.PrincipalName) *domain.Object {
	if len(name.Name) == 1 {
		return k.byName(name.Name[0])
	}
	if spn, ok := joined(name); ok {
		return k.Replica.ByService(spn)
	}
	return nil
}

// target is the service that a ticket is for.
type target struct {
	account  *domain.Object
	keys     *serviceKeys
	name     krb5.PrincipalName // as the ticket has it
	tgs      bool               // the ticket is a TGT
	changePW bool               // kadmin/changepw
}

// findService finds the account and keys of a service.
func (x *exchange) findService() error {
	name := x.req.SName
	t := target{name: name}
	const unknown = krb5.ErrSPrincipalUnknown
	switch n := name.Name; {
	case len(n) == 0:
		return refuse(unknown, "no service named")
	case strings.EqualFold(n[0], "krbtgt"):
		// A ticket under the krbtgt's key that any other name leads to would be
		// a TGT to whoever rewrites the name, which is not protected.
		if len(n) != 2 || !x.k.isRealm(n[1]) {
			return refuse(unknown, "not our krbtgt")
		}
		t.account, t.tgs = x.k.Replica.ByRID(domain.RIDKrbtgt), true
		if x.req.Options&krb5.OptCanonicalize != 0 {
			t.name = x.k.tgs
		}
	default:
		t.account = x.k.byServiceName(name)
	}
	o := t.account
	if o == nil || !o.SignsIn() {
		return refuse(unknown, "no such service")
	}
	if o.RID == domain.RIDKrbtgt && !t.tgs {
		if len(name.Name) != 2 {
			return refuse(unknown, "the krbtgt by its account name")
		}
		t.changePW = true // its one service principal name
	} else if o.Disabled() && !t.tgs {
		return refuse(krb5.ErrServiceRevoked, "service disabled")
	}
	if x.req.Options&krb5.OptEncTktInSKey != 0 {
		x.service = t
		return x.userToUser()
	}
	// A person's account is no service: its ticket would be encrypted in a key
	// made from a password, there to be guessed at (CVE-2024-3183). [MS-KILE]
	// §3.3.5.7: such accounts take user-to-user only.
	if o.Kind == domain.User && len(o.SPNs) == 0 {
		return refuse(krb5.ErrMustUseUser2User, "the account has no service principal name")
	}
	if t.keys = x.keysOf(o); t.keys == nil {
		if o.HasKeys() {
			return refuse(krb5.ErrETypeNoSupp, "the service has no key of a type that it says it can use")
		}
		return refuse(krb5.ErrNullKey, "the service has no keys")
	}
	x.service = t
	return nil
}

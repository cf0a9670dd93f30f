package kdc

import (
	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
)

// A KDC tells whoever asks which names are accounts, by RFC 4120 §3.1.3: PREAUTH_REQUIRED
// or C_PRINCIPAL_UNKNOWN. With [domain.Decoys] it does not (K11). A name that nobody has
// gets the answers of an account whose password was not guessed, down to its lockout; and
// what there is to say of an account that can't sign in, only who knows its password hears.

// standIn returns the client of a request, and the secrets that it has to prove. For a name
// that nobody has it is a decoy; one that has no keys yet is itself, with a decoy's secrets.
// A decoy is made for those that need none too, as it takes time.
func standIn(d *domain.Decoys, name krb5.PrincipalName, o *domain.Object) (*domain.Object, *cred.Legacy) {
	asked := name.Name
	if o != nil {
		asked = []string{o.SAM}
	}
	decoy := d.Named(asked...)
	switch {
	case o != nil && o.HasKeys():
		return o, &o.Secrets.Current
	case decoy == nil:
		return nil, nil
	case o != nil:
		return o, &decoy.Secrets.Current
	}
	return decoy, &decoy.Secrets.Current
}

// checkClient refuses a client that is proven and may not sign in all the same.
func (x *exchange) checkClient() error {
	if x.client.Disabled() {
		return refuseStatus(krb5.ErrClientRevoked, statusAccountDisabled, "client disabled")
	}
	if x.client.Settings != nil {
		return x.checkRestrictions()
	}
	return nil
}

// truth is what the log is told of a refusal.
func (x *exchange) truth(why string) string {
	switch {
	case x.k.Replica.Decoys == nil || x.client == nil || x.req.MsgType != krb5.MsgASReq:
	case x.client.IsDecoy():
		return "no such client; it was told: " + why
	case !x.client.HasKeys():
		return "the client has no keys yet; it was told: " + why
	}
	return why
}

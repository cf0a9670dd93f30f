package kdc

import (
	"runtime"
	"strings"

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
//
// It takes the same time for all (W05). A decoy is made for those that need none too. To find
// an account takes less than to find none, and its memory is in no cache when it is used: so
// for an account it looks for one more that nobody has, and for a decoy at somebody else.
func (k *KDC) standIn(name krb5.PrincipalName, o *domain.Object) (*domain.Object, *cred.Legacy) {
	asked := name.Name
	if o != nil {
		asked = []string{o.SAM}
	}
	decoy := k.Replica.Decoys.Named(asked...)
	switch {
	case decoy == nil && o == nil:
		return nil, nil
	case decoy == nil:
		return o, &o.Secrets.Current
	case o == nil:
		if s := k.Replica.Someone(decoy); s != nil {
			runtime.KeepAlive(k.byName(s.SAM))
			for _, id := range strengths {
				key, _ := s.Secrets.Current.Key(id)
				runtime.KeepAlive(key)
			}
		}
		return decoy, &decoy.Secrets.Current
	}
	runtime.KeepAlive(k.clientByName(nobodys(name)))
	if !o.HasKeys() {
		return o, &decoy.Secrets.Current
	}
	return o, &o.Secrets.Current
}

// nobodys makes a name of the same form that can be no account's.
func nobodys(name krb5.PrincipalName) krb5.PrincipalName {
	if n := len(name.Name) - 1; n >= 0 {
		last := name.Name[n]
		at := strings.IndexByte(last, '\\') + 1
		name.Name = append(name.Name[:n:n], last[:at]+"\x00"+last[at:])
	}
	return name
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

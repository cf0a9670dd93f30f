package kdc

import (
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// userToUser makes the session key of the service's own TGT the key of the
// ticket (RFC 4120 §3.3.3, ENC-TKT-IN-SKEY): so a program that a person runs
// can be a service, without a key that a password leads to.
//
// The TGT is checked as if it were shown by its owner. Who could bring one that
// is expired, altered, or no TGT would have tickets made under a key of its
// choice (trust.md T10).
func (x *exchange) userToUser() error {
	if len(x.req.AdditionalTickets) == 0 {
		return refuse(krb5.ErrBadOption, "user-to-user without the service's TGT")
	}
	var part krb5.EncTicketPart
	version, _, err := x.openTGT(&x.req.AdditionalTickets[0], &part, nil)
	if err != nil {
		return err
	}
	if err := x.checkTimes(&part); err != nil {
		return err
	}
	if part.CRealm != x.k.realm || part.Flags&krb5.FlagAnonymous != 0 || part.AuthData.Contains(krb5.ADFXArmor) {
		return refuse(krb5.ErrBadOption, "user-to-user with the TGT of no account of ours")
	}
	o, err := x.ownerOf(&part, version)
	if err != nil {
		return err
	}
	if o.RID != x.service.account.RID {
		return refuse(krb5.ErrBadMatch, "user-to-user with another account's TGT")
	}
	key, err := etype.NewKey(etype.ID(part.Key.Type), part.Key.Expose())
	if err != nil {
		return refuse(krb5.ErrBadIntegrity, "the TGT's session key is none")
	}
	x.service.keys = &serviceKeys{account: o, supported: supported(o), current: &keyVersion{key: key, ticket: key.Cipher(krb5.UsageTicket)}}
	return nil
}

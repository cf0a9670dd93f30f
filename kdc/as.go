package kdc

import (
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// as answers an AS-REQ (RFC 4120 §3.1.3): a password for a ticket.
func (x *exchange) as() ([]byte, error) {
	if err := x.unarmorAS(); err != nil {
		return nil, err
	}

	// 2. Is it a request that this KDC answers?
	if err := x.checkAS(); err != nil {
		return nil, err
	}

	if x.req.Options&krb5.OptRequestAnonymous != 0 {
		return x.anonymousAS()
	}

	// 3. Who asks, and for what?
	if err := x.findClient(); err != nil {
		return nil, err
	}
	unfit, hide := x.findService(), x.k.Replica.Decoys != nil
	if unfit != nil && !hide {
		return nil, unfit
	}

	// 4. Does the sender know the password?
	if err := x.preauthenticate(); err != nil {
		return nil, err
	}
	if hide {
		// Not before: each of these tells that there is an account, the service's or
		// the client's.
		if err := x.checkClient(); err != nil {
			return nil, err
		}
		if unfit != nil {
			return nil, unfit
		}
	}
	// A weak key is refused to who asked for more protection than others
	// ([MS-KILE] §3.3.5.6).
	if x.reply.key.ID() == etype.RC4 && x.k.Replica.Membership(x.client).Protected {
		return nil, refuse(krb5.ErrPolicy, "RC4 for a member of Protected Users")
	}
	// Only who knows the password learns that it has to be changed; it is good
	// for the service that changes it.
	if x.client.MustChange() && !x.service.changePW {
		return nil, refuseStatus(krb5.ErrKeyExpired, statusPasswordMustChange, "the password must be changed")
	}
	if x.client.PasswordExpired(x.k.Replica.Policy(), x.now) && !x.service.changePW {
		return nil, refuseStatus(krb5.ErrKeyExpired, statusPasswordExpired, "the password has expired")
	}

	// 5. The ticket.
	if err := x.chooseSession(); err != nil {
		return nil, err
	}
	if err := x.asTimes(); err != nil {
		return nil, err
	}
	x.ticket.AuthData = x.ticket.AuthData[:0]
	attributes := pac.PACImplicit
	if v, ok := x.req.PAData.Find(krb5.PAPACRequest); ok {
		var wanted krb5.PACRequest
		if wanted.Unmarshal(v) != nil {
			return nil, refuse(krb5.ErrGeneric, "malformed PA-PAC-REQUEST")
		}
		attributes = 0
		if wanted {
			attributes = pac.PACRequested
		}
	}
	return x.issue(attributes)
}

// noAS are the options that only a TGS-REQ can carry (RFC 4120 §3.1.3).
const noAS = krb5.OptForwarded | krb5.OptProxy | krb5.OptRenew | krb5.OptValidate |
	krb5.OptEncTktInSKey | krb5.OptCNameInAddlTkt

// postdating is not supported, as in AD ([MS-KILE] §3.3.5.1).
const postdating = krb5.OptAllowPostdate | krb5.OptPostdated

func (x *exchange) checkAS() error {
	switch {
	case x.req.CName.IsZero():
		return refuse(krb5.ErrCPrincipalUnknown, "no client named")
	case !x.k.isRealm(x.req.Realm):
		return x.wrongRealm()
	case x.req.Options&postdating != 0:
		return refuse(krb5.ErrCannotPostdate, "postdated tickets are not issued")
	case x.req.Options&noAS != 0:
		return refuse(krb5.ErrBadOption, "an option that an AS-REQ can't have")
	}
	return nil
}

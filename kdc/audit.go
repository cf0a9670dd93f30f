package kdc

import (
	"strings"

	"skyrealm/domain"
	"skyrealm/krb5"
)

// audit notes what became of a request. What only asks for more, and a request
// that came twice, is none of anybody's deeds.
func (x *exchange) audit(code krb5.ErrorCode) {
	a := x.k.Replica.Audit
	if a == nil || x.repeated {
		return
	}
	e := domain.Event{ID: domain.EventTGT, At: x.now, Options: uint32(x.req.Options), EType: -1, Status: uint32(code),
		PreAuth: x.preAuth, From: x.from}
	decoy := x.client != nil && x.client.IsDecoy()
	if decoy { // whatever the client was told
		e.Status = uint32(krb5.ErrCPrincipalUnknown)
	}
	switch code {
	case krb5.ErrPreauthRequired, krb5.ErrMorePreauthRequired, krb5.ErrPreauthExpired:
		if !decoy {
			return
		}
	case krb5.ErrResponseTooBig:
		return
	case krb5.ErrPreauthFailed, krb5.ErrKeyExpired:
		if !decoy {
			e.ID = domain.EventPreAuthFailed
		}
	}
	if x.req.MsgType == krb5.MsgTGSReq {
		e.ID = domain.EventServiceTicket
		if code == krb5.ErrNone && x.req.Options&krb5.OptRenew != 0 {
			e.ID = domain.EventRenewed
		}
	}
	if o := x.client; o != nil && !decoy {
		e.Account, e.RID = o.SAM, o.RID
	} else {
		e.Account = strings.Clone(shown(x.clientName()))
	}
	if o := x.service.account; o != nil {
		e.Service, e.ServiceRID = o.SAM, o.RID
		if code == krb5.ErrNone {
			e.EType = int32(x.service.keys.current.key.ID())
		}
	} else {
		e.Service = strings.Clone(shown(x.req.SName.String()))
	}
	a.Put(&e)
}

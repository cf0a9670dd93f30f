package kdc

import (
	"time"

	"skyrealm/krb5"
)

// changePWLife is how long a ticket for kadmin/changepw lives. It is under the
// krbtgt's key, so it must be of no other use, and a password is changed at once.
const changePWLife = 2 * time.Minute

// forever is the date beyond every limit of ours.
var forever = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// wanted reads till and rtime: absent or 1970-01-01T00:00:00Z is as long as
// possible (RFC 4120 §5.4.1).
func wanted(t time.Time) time.Time {
	if t.IsZero() || t.Unix() == 0 {
		return forever
	}
	return t
}

func earliest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if o.Before(t) {
			t = o
		}
	}
	return t
}

// start checks the times that all requests share and returns the start of the
// ticket's life.
func (x *exchange) start() (time.Time, error) {
	if x.req.From.Sub(x.now) > x.k.Policy.skew() {
		return time.Time{}, refuse(krb5.ErrCannotPostdate, "a start in the future")
	}
	return x.now.Truncate(time.Second), nil
}

func (x *exchange) maxLife() time.Duration {
	if x.service.changePW {
		return min(changePWLife, x.k.Policy.maxLife())
	}
	return x.k.Policy.maxLife()
}

// protectedLife bounds the TGT of a member of Protected Users, renewals and all
// ([MS-KILE] §3.3.5.6).
const protectedLife = 4 * time.Hour

// asTimes sets the times and flags of an initial ticket.
func (x *exchange) asTimes() error {
	start, err := x.start()
	if err != nil {
		return err
	}
	t := &x.ticket
	t.AuthTime, t.StartTime, t.RenewTill = start, start, time.Time{}
	till := wanted(x.req.Till)
	life, renewals := x.maxLife(), x.k.Policy.maxRenew()
	if x.client != nil && x.k.Replica.Membership(x.client).Protected {
		life, renewals = min(life, protectedLife), min(renewals, protectedLife)
	}
	t.EndTime = earliest(till, start.Add(life))
	t.Flags = krb5.FlagInitial | krb5.FlagPreAuthent
	if o := x.client; o != nil && o.Settings != nil && !o.Settings.Expires.IsZero() {
		t.EndTime = earliest(t.EndTime, o.Settings.Expires.Truncate(time.Second)) // no ticket outlives its account
	}
	if !t.EndTime.After(start) {
		return refuse(krb5.ErrNeverValid, "an end before the start")
	}

	rtime := wanted(x.req.RTime)
	renewable := x.req.Options&krb5.OptRenewable != 0
	if x.req.Options&krb5.OptRenewableOK != 0 && !renewable && till.After(t.EndTime) {
		renewable, rtime = true, till // RFC 4120 §2.9.3
	}
	if renewable && !x.service.changePW {
		x.renewable(earliest(rtime, start.Add(renewals)))
	}

	// An account that must not be delegated gets no ticket that could be
	// ([MS-KILE] §3.3.5.1).
	if x.client != nil && x.k.Replica.Delegable(x.client) {
		if x.req.Options&krb5.OptForwardable != 0 {
			t.Flags |= krb5.FlagForwardable
		}
		if x.req.Options&krb5.OptProxiable != 0 {
			t.Flags |= krb5.FlagProxiable
		}
	}
	if _, ok := x.req.PAData.Find(krb5.PAReqEncPARep); ok {
		t.Flags |= krb5.FlagEncPARep // RFC 6806 §11
	}
	return nil
}

func (x *exchange) renewable(till time.Time) {
	if till.Before(x.ticket.EndTime) {
		return
	}
	x.ticket.Flags |= krb5.FlagRenewable
	x.ticket.RenewTill = till
}

// inherited are the flags that a ticket has from its TGT as long as that has
// them (RFC 4120 §2).
const inherited = krb5.FlagPreAuthent | krb5.FlagHWAuthent | krb5.FlagForwarded | krb5.FlagProxy

// tgsTimes sets the times and flags of a ticket that is issued for a TGT. No
// ticket outlives the one that it was issued for.
func (x *exchange) tgsTimes() error {
	start, err := x.start()
	if err != nil {
		return err
	}
	t, tgt, basis, options := &x.ticket, &x.tgt, x.basis(), x.req.Options
	t.AuthTime, t.StartTime, t.RenewTill = basis.AuthTime, start, time.Time{}
	t.Flags = basis.Flags & inherited

	if options&krb5.OptRenew != 0 {
		return x.renew(start)
	}
	if !tgt.EndTime.After(start) { // within the skew
		return refuse(krb5.ErrTktExpired, "the TGT has expired")
	}
	t.EndTime = earliest(wanted(x.req.Till), start.Add(x.maxLife()), tgt.EndTime, basis.EndTime)
	if !t.EndTime.After(start) {
		return refuse(krb5.ErrNeverValid, "an end before the start")
	}
	if options&krb5.OptRenewable != 0 && tgt.Flags&basis.Flags&krb5.FlagRenewable != 0 && !x.service.changePW {
		x.renewable(earliest(wanted(x.req.RTime), tgt.RenewTill, basis.RenewTill, start.Add(x.k.Policy.maxRenew())))
	}

	delegable := x.k.Replica.Delegable(x.client) && !x.bound()
	may := func(want krb5.KDCOptions, flag krb5.TicketFlags) bool {
		return options&want != 0 && tgt.Flags&flag != 0 && delegable
	}
	if may(krb5.OptForwardable, krb5.FlagForwardable) {
		t.Flags |= krb5.FlagForwardable
	}
	if may(krb5.OptProxiable, krb5.FlagProxiable) {
		t.Flags |= krb5.FlagProxiable
	}
	if options&krb5.OptForwarded != 0 {
		if !may(krb5.OptForwarded, krb5.FlagForwardable) {
			return refuse(krb5.ErrBadOption, "FORWARDED of a TGT that is not forwardable")
		}
		t.Flags |= krb5.FlagForwarded
	}
	if options&krb5.OptProxy != 0 {
		if !may(krb5.OptProxy, krb5.FlagProxiable) || x.service.tgs {
			return refuse(krb5.ErrBadOption, "PROXY of a TGT that is not proxiable, or of a TGT itself")
		}
		t.Flags |= krb5.FlagProxy
	}
	return nil
}

// renew gives a TGT another life of the same length, no longer than its
// renew-till (RFC 4120 §3.3.3). INITIAL does not survive: the password was not
// shown again.
func (x *exchange) renew(start time.Time) error {
	t, tgt := &x.ticket, &x.tgt
	switch {
	case !x.service.tgs:
		return refuse(krb5.ErrServerNoMatch, "RENEW for another service")
	case tgt.Flags&krb5.FlagRenewable == 0:
		return refuse(krb5.ErrBadOption, "RENEW of a ticket that is not renewable")
	case !tgt.RenewTill.After(start):
		return refuse(krb5.ErrTktExpired, "RENEW after renew-till")
	}
	from := tgt.StartTime
	if from.IsZero() {
		from = tgt.AuthTime
	}
	life := min(tgt.EndTime.Sub(from), x.k.Policy.maxLife())
	// Under today's policy, not under that of the first day.
	t.RenewTill = earliest(tgt.RenewTill, tgt.AuthTime.Add(x.k.Policy.maxRenew()))
	t.EndTime = earliest(start.Add(life), t.RenewTill)
	if !t.EndTime.After(start) {
		return refuse(krb5.ErrNeverValid, "an end before the start")
	}
	t.Flags |= krb5.FlagRenewable | tgt.Flags&(krb5.FlagForwardable|krb5.FlagProxiable|krb5.FlagEncPARep)
	if !x.k.Replica.Delegable(x.client) {
		t.Flags &^= krb5.FlagForwardable | krb5.FlagProxiable
	}
	return nil
}

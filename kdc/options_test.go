package kdc

import (
	"testing"
	"time"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// An option is honoured, by the flag that it gives; refused, by the code; or, as
// those that no document gives a meaning, without effect.
type optionRule struct {
	flag krb5.TicketFlags
	code krb5.ErrorCode
	any  bool // refused, by a code that depends on more than the option
}

// TestOptions sets each bit of KDCOptions alone (RFC 4120 §5.4.1).
func TestOptions(t *testing.T) {
	as := map[krb5.KDCOptions]optionRule{
		krb5.OptForwardable:      {flag: krb5.FlagForwardable},
		krb5.OptForwarded:        {code: krb5.ErrBadOption},
		krb5.OptProxiable:        {flag: krb5.FlagProxiable},
		krb5.OptProxy:            {code: krb5.ErrBadOption},
		krb5.OptAllowPostdate:    {code: krb5.ErrCannotPostdate},
		krb5.OptPostdated:        {code: krb5.ErrCannotPostdate},
		krb5.OptRenewable:        {flag: krb5.FlagRenewable},
		krb5.OptCNameInAddlTkt:   {code: krb5.ErrBadOption},
		krb5.OptRequestAnonymous: {any: true},
		krb5.OptEncTktInSKey:     {code: krb5.ErrBadOption},
		krb5.OptRenew:            {code: krb5.ErrBadOption},
		krb5.OptValidate:         {code: krb5.ErrBadOption},
	}
	tgs := map[krb5.KDCOptions]optionRule{
		krb5.OptForwardable:      {flag: krb5.FlagForwardable},
		krb5.OptForwarded:        {flag: krb5.FlagForwarded},
		krb5.OptProxiable:        {flag: krb5.FlagProxiable},
		krb5.OptProxy:            {flag: krb5.FlagProxy},
		krb5.OptAllowPostdate:    {code: krb5.ErrCannotPostdate},
		krb5.OptPostdated:        {code: krb5.ErrCannotPostdate},
		krb5.OptRenewable:        {flag: krb5.FlagRenewable},
		krb5.OptCNameInAddlTkt:   {any: true}, // without a ticket to take the name from
		krb5.OptRequestAnonymous: {any: true},
		krb5.OptEncTktInSKey:     {any: true}, // without a ticket to take the key from
		krb5.OptRenew:            {code: krb5.ErrServerNoMatch},
		krb5.OptValidate:         {code: krb5.ErrBadOption}, // of a ticket that never was postdated (RFC 4120 §3.3.3)
	}
	for bit := range 32 {
		option := krb5.KDCOptions(1) << (31 - bit)
		for exchange, rules := range map[string]map[krb5.KDCOptions]optionRule{"AS": as, "TGS": tgs} {
			w := newWorld(t)
			rule := rules[option]
			var reply []byte
			var base krb5.TicketFlags
			key, usage := w.key("alice", 18), krb5.UsageASRepPart
			if exchange == "AS" {
				base = krb5.FlagInitial | krb5.FlagPreAuthent
				q := w.proven("alice", etype.AES256SHA1)
				q.Options, q.RTime = option, w.now.Add(48*time.Hour).Truncate(time.Second)
				q.Till = w.now.Add(time.Hour).Truncate(time.Second)
				reply = w.send(q)
			} else {
				base = krb5.FlagPreAuthent
				g := w.login("alice")
				q := w.tgsReq(g, webSPN)
				q.body.Options = option
				reply = w.sendRaw(w.encode(q))
				key, usage = g.session, krb5.UsageTGSRepPartSession
			}
			if rule.any {
				var e krb5.Error
				if err := e.Unmarshal(reply); err != nil {
					t.Errorf("%s bit %d: not refused", exchange, bit)
				}
				continue
			}
			if rule.code != 0 {
				w.refused(reply, rule.code)
				continue
			}
			if g := w.open(reply, key, usage); g.part.Flags != base|rule.flag {
				t.Errorf("%s bit %d: flags %08x, expect %08x", exchange, bit, g.part.Flags, base|rule.flag)
			}
		}
	}
}

// TestTGSLifetimes (trust.md T17): no service ticket outlives its TGT, nor a TGT
// the policy, whatever is asked for.
func TestTGSLifetimes(t *testing.T) {
	day := func(y int) time.Time { return time.Date(y, 1, 2, 3, 4, 5, 0, time.UTC) }
	for _, till := range []time.Time{time.Unix(0, 0).UTC(), day(2027), day(2038), day(2106), day(9999)} {
		w := newWorld(t)
		g := w.login("alice")
		w.now = w.now.Add(time.Hour)
		q := w.tgsReq(g, webSPN)
		q.body.Till, q.body.RTime = till, till
		if s := w.tgs(q); !s.part.EndTime.Equal(g.part.EndTime) || s.part.RenewTill.After(g.part.RenewTill) {
			t.Errorf("till %v: ends %v, %v", till, s.part.EndTime, s.part.RenewTill)
		}
		q = w.tgsReq(g, "krbtgt/"+testRealm)
		q.body.Options, q.body.Till, q.body.RTime = krb5.OptRenew, till, till
		w.now = w.now.Add(time.Second)
		q.auth.CTime = w.now
		if s := w.tgs(q); s.part.EndTime.After(w.now.Add(10*time.Hour)) || s.part.RenewTill.After(g.part.RenewTill) {
			t.Errorf("renewed till %v: ends %v, %v", till, s.part.EndTime, s.part.RenewTill)
		}
	}
	for _, till := range []time.Time{day(1), day(1969), day(1971), testNow.Add(-time.Minute)} {
		w := newWorld(t)
		q := w.tgsReq(w.login("alice"), webSPN)
		q.body.Till = till
		w.refused(w.sendRaw(w.encode(q)), krb5.ErrNeverValid)
	}
	// A TGT at its end has no time to give, skew or not.
	w := newWorld(t)
	g := w.login("alice")
	w.now = g.part.EndTime.Add(time.Minute)
	q := w.tgsReq(g, webSPN)
	q.body.Till = w.now.Add(time.Hour)
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrTktExpired)
}

// TestAddresses: as AD, no ticket is bound to addresses; one that is, is held to them.
func TestAddresses(t *testing.T) {
	w := newWorld(t)
	q := w.proven("alice", etype.AES256SHA1)
	q.Addresses = []krb5.HostAddress{{Type: krb5.AddrIPv4, Address: []byte{192, 0, 2, 1}}, {Type: krb5.AddrNetBIOS, Address: []byte("PC              ")}}
	g := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	if tkt := w.ticket(&g.rep.Ticket, w.key("krbtgt", 18)); len(tkt.Addresses) != 0 || len(g.part.Addresses) != 0 {
		t.Errorf("the ticket is bound to %v", tkt.Addresses)
	}
	r := w.tgsReq(g, webSPN)
	r.body.Addresses = q.Addresses
	if s := w.tgs(r); len(s.part.Addresses) != 0 {
		t.Errorf("the service ticket is bound to %v", s.part.Addresses)
	}
	here := krb5.HostAddress{Type: krb5.AddrIPv4, Address: client4.Addr().AsSlice()}
	for _, c := range []struct {
		in []krb5.HostAddress
		ok bool
	}{
		{[]krb5.HostAddress{here}, true},
		{[]krb5.HostAddress{q.Addresses[0], here}, true},
		{q.Addresses, false},
		{[]krb5.HostAddress{{Type: krb5.AddrIPv6, Address: here.Address}}, false},
	} {
		w.now = w.now.Add(time.Second)
		r := w.tgsReq(g, webSPN)
		r.tgt = w.forge(g, func(p *krb5.EncTicketPart, _ etype.Key) { p.Addresses = c.in })
		if c.ok {
			w.tgs(r)
		} else {
			w.refused(w.sendRaw(w.encode(r)), krb5.ErrBadAddr)
		}
	}
}

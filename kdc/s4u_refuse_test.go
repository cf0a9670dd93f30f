package kdc

import (
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/secdesc"
	"skyrealm/sid"
)

// TestS4U2ProxyRefusals (trust.md K05, T01, T02, T07, T08): the evidence is a
// ticket of alice's for web, unless the row says otherwise.
func TestS4U2ProxyRefusals(t *testing.T) {
	classic := func(w *world) { w.delegates("web", false, filesSPN) }
	resource := func(w *world) { w.lets("FILES$", w.full("web")) }
	// As the service itself can, which knows its own key.
	own := func(alter func(w *world, p *krb5.EncTicketPart)) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) {
			q.body.AdditionalTickets[0] = w.reseal(q.body.AdditionalTickets[0], w.key("web", 18), func(p *krb5.EncTicketPart) { alter(w, p) })
		}
	}
	evidence := func(get func(w *world) krb5.Ticket) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) { q.body.AdditionalTickets[0] = get(w) }
	}
	option := func(o krb5.KDCOptions) func(w *world, q *tgsReq) {
		return func(_ *world, q *tgsReq) { q.body.Options |= o }
	}
	// signed makes a PAC that says something else and is signed as a KDC that
	// knows nothing of the later signatures would, or an attacker who found two
	// PACs with one server signature (CVE-2022-37967).
	signed := func(ticket []byte, alter func(*pac.PAC)) func(w *world, p *krb5.EncTicketPart) {
		return func(w *world, part *krb5.EncTicketPart) {
			p, err := pac.Parse(part.PAC)
			if err != nil {
				w.t.Fatal(err)
			}
			alter(p)
			if part.PAC, err = p.Sign(nil, w.key("web", 18), w.key("krbtgt", 18), ticket); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	// stale keeps one signature of the genuine PAC in one that says another
	// group, all others made anew.
	stale := func(kind uint32) func(w *world, p *krb5.EncTicketPart) {
		return func(w *world, part *krb5.EncTicketPart) {
			old := part.PAC
			blank := *part
			blank.PAC = []byte{0}
			ticket := krb5.Encode(&blank)
			if kind == pac.TypeTicketChecksum {
				blank.Flags ^= krb5.FlagProxiable
				ticket = krb5.Encode(&blank)
			}
			signed(ticket, func(p *pac.PAC) { p.Logon.PrimaryGroupID = 512 })(w, part)
			if kind == pac.TypeTicketChecksum {
				return // the signature of another ticket
			}
			web, krbtgt := w.key("web", 18), w.key("krbtgt", 18)
			copy(buffer(w.t, part.PAC, kind), buffer(w.t, old, kind))
			// Those that cover it are made anew.
			server, kdc := buffer(w.t, part.PAC, pac.TypeServerChecksum)[4:], buffer(w.t, part.PAC, pac.TypeKDCChecksum)[4:]
			switch kind {
			case pac.TypeFullChecksum:
				clear(server)
				clear(kdc)
				copy(server, web.Checksum(nil, part.PAC, krb5.UsagePACChecksum))
				fallthrough
			case pac.TypeServerChecksum:
				copy(kdc, krbtgt.Checksum(nil, server, krb5.UsagePACChecksum))
			}
		}
	}
	same := func(*pac.PAC) {}
	for name, c := range map[string]struct {
		set    func(w *world)
		alter  func(w *world, q *tgsReq)
		code   krb5.ErrorCode
		status krb5.ExtError
	}{
		// Who may what.
		"no list of targets (T08)":       {func(*world) {}, nil, krb5.ErrBadOption, statusNotSupported},
		"an empty list (T08)":            {func(w *world) { w.delegates("web", true) }, nil, krb5.ErrBadOption, statusNotSupported},
		"another target":                 {func(w *world) { w.delegates("web", true, "cifs/other") }, nil, krb5.ErrBadOption, statusNoMatch},
		"another name of the target":     {classic, func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "HOST", "files") }, krb5.ErrBadOption, statusNoMatch},
		"the target by its account name": {classic, func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(1, "FILES$") }, krb5.ErrBadOption, statusNoMatch},
		"resource-based, not asked for":  {resource, nil, krb5.ErrBadOption, statusNotSupported},
		"claims asked for instead": {resource, func(_ *world, q *tgsReq) {
			q.padata = krb5.MethodData{{Type: krb5.PAPACOptions, Value: krb5.Encode(krb5.PACOptions(krb5.PACOptClaims))}}
		}, krb5.ErrBadOption, statusNotSupported},
		"no descriptor":             {func(*world) {}, func(_ *world, q *tgsReq) { resourceBased(q) }, krb5.ErrBadOption, statusNotFound},
		"a descriptor of others":    {func(w *world) { w.lets("FILES$", w.full("old")) }, func(_ *world, q *tgsReq) { resourceBased(q) }, krb5.ErrBadOption, statusNotFound},
		"an empty descriptor (T08)": {func(w *world) { w.lets("FILES$") }, func(_ *world, q *tgsReq) { resourceBased(q) }, krb5.ErrBadOption, statusNotFound},
		"denied": {func(w *world) {
			w.lets("FILES$", secdesc.ACE{Type: secdesc.Deny, Mask: secdesc.FullControl, SID: w.rep.BySAM("web").SID()}, w.full("web"))
		}, func(_ *world, q *tgsReq) { resourceBased(q) }, krb5.ErrBadOption, statusNotFound},
		"the person, whom nobody asked":    {func(w *world) { w.lets("FILES$", w.full("alice")) }, func(_ *world, q *tgsReq) { resourceBased(q) }, krb5.ErrBadOption, statusNotFound},
		"malformed PA-PAC-OPTIONS":         {resource, func(_ *world, q *tgsReq) { q.padata = krb5.MethodData{{Type: krb5.PAPACOptions, Value: []byte("x")}} }, krb5.ErrGeneric, 0},
		"the descriptor of another target": {resource, func(_ *world, q *tgsReq) { resourceBased(q).body.SName = krb5.Principal(1, "WS1$") }, krb5.ErrBadOption, statusNotFound},

		// Who can't be passed on (T07).
		"a sensitive person": {classic, evidence(func(w *world) krb5.Ticket { return w.evidence("fay", webSPN) }), krb5.ErrBadOption, statusAccountRestriction},
		"a protected one":    {classic, evidence(func(w *world) krb5.Ticket { return w.evidence("gina", webSPN) }), krb5.ErrBadOption, statusAccountRestriction},
		"sensitive since": {classic, func(w *world, _ *tgsReq) {
			w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACNotDelegated })
		}, krb5.ErrBadOption, statusAccountRestriction},
		"disabled since": {classic, func(w *world, _ *tgsReq) { w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACDisabled }) }, krb5.ErrClientRevoked, 0},
		"gone since":     {classic, func(w *world, _ *tgsReq) { w.change("alice", func(r *domain.Record) { r.Deleted = true }) }, krb5.ErrTGTRevoked, 0},
		"not forwardable": {classic, evidence(func(w *world) krb5.Ticket {
			q := w.tgsReq(w.login("alice"), webSPN)
			q.body.Options = 0
			return w.tgs(q).rep.Ticket
		}), krb5.ErrBadOption, statusAccountRestriction},
		"not forwardable, resource-based": {resource, evidence(func(w *world) krb5.Ticket {
			q := w.tgsReq(w.login("alice"), webSPN)
			q.body.Options = 0
			return w.tgs(q).rep.Ticket
		}), krb5.ErrBadOption, statusAccountRestriction},

		// The evidence (T01, T02).
		"FORWARDABLE set (T01)": {classic, func(w *world, q *tgsReq) {
			e := w.tgsReq(w.login("alice"), webSPN)
			e.body.Options = 0
			q.body.AdditionalTickets[0] = w.reseal(w.tgs(e).rep.Ticket, w.key("web", 18), func(p *krb5.EncTicketPart) { p.Flags |= krb5.FlagForwardable })
		}, krb5.ErrModified, 0},
		"FORWARDABLE set, sensitive person (T01)": {classic, func(w *world, q *tgsReq) {
			q.body.AdditionalTickets[0] = w.reseal(w.evidence("fay", webSPN), w.key("web", 18), func(p *krb5.EncTicketPart) { p.Flags |= krb5.FlagForwardable })
		}, krb5.ErrModified, 0},
		"end time moved": {classic, own(func(_ *world, p *krb5.EncTicketPart) { p.EndTime = p.EndTime.Add(time.Hour) }), krb5.ErrModified, 0},
		"client changed": {classic, own(func(_ *world, p *krb5.EncTicketPart) { p.CName = krb5.Principal(1, "müller") }), krb5.ErrModified, 0},
		"no PAC":         {classic, own(func(_ *world, p *krb5.EncTicketPart) { p.PAC = nil }), krb5.ErrModified, 0},
		"two PACs": {classic, own(func(_ *world, p *krb5.EncTicketPart) {
			p.AuthData = krb5.AuthorizationData{{Type: krb5.ADWin2kPAC, Data: p.PAC}}
		}), krb5.ErrModified, 0},
		"authorization data taken off": {classic, own(func(_ *world, p *krb5.EncTicketPart) {
			p.AuthData = krb5.AuthorizationData{{Type: -7, Data: []byte("x")}}
		}), krb5.ErrModified, 0},
		"without 16 and 19 (T02)":      {classic, own(signed(nil, same)), krb5.ErrModified, 0},
		"stale server signature (T02)": {classic, own(stale(pac.TypeServerChecksum)), krb5.ErrModified, 0},
		"stale KDC signature (T02)":    {classic, own(stale(pac.TypeKDCChecksum)), krb5.ErrModified, 0},
		"another ticket's (T01)":       {classic, own(stale(pac.TypeTicketChecksum)), krb5.ErrModified, 0},
		"stale full signature (T02)":   {classic, own(stale(pac.TypeFullChecksum)), krb5.ErrModified, 0},
		"the service's own PAC": {classic, own(func(w *world, part *krb5.EncTicketPart) {
			p, err := pac.Parse(part.PAC)
			if err != nil {
				w.t.Fatal(err)
			}
			blank := *part
			blank.PAC = []byte{0}
			web := w.key("web", 18)
			if part.PAC, err = p.Sign(nil, web, web, krb5.Encode(&blank)); err != nil {
				w.t.Fatal(err)
			}
		}), krb5.ErrModified, 0},

		"of another domain's account (T15)": {classic, own(func(w *world, part *krb5.EncTicketPart) {
			blank := *part
			blank.PAC = []byte{0}
			signed(krb5.Encode(&blank), func(p *pac.PAC) { p.Logon.LogonDomainID = sid.New(5, 21, 1, 2, 3) })(w, part)
		}), krb5.ErrModified, 0},

		"none (K05)":                   {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets = nil }, krb5.ErrBadOption, 0},
		"a TGT for evidence":           {classic, evidence(func(w *world) krb5.Ticket { return w.login("alice").rep.Ticket }), krb5.ErrBadKeyVer, 0},
		"its own TGT for evidence":     {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets[0] = q.tgt }, krb5.ErrBadKeyVer, 0},
		"a ticket for another service": {classic, evidence(func(w *world) krb5.Ticket { return w.evidence("alice", "HOST/WS1") }), krb5.ErrModified, 0},
		"of another realm":             {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets[0].Realm = "OTHER.TEST" }, krb5.ErrBadOption, 0},
		"expired":                      {classic, func(w *world, q *tgsReq) { w.now = w.now.Add(11 * time.Hour); again(w, q) }, krb5.ErrTktExpired, 0},
		"cut":                          {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets[0].EncPart.Cipher = []byte{1} }, krb5.ErrModified, 0},
		"another kvno":                 {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets[0].EncPart.KVNO = 9 }, krb5.ErrBadKeyVer, 0},
		"another etype (K05)":          {classic, func(_ *world, q *tgsReq) { q.body.AdditionalTickets[0].EncPart.EType = 3 }, krb5.ErrETypeNoSupp, 0},

		"a TGT as the target": {classic, func(w *world, q *tgsReq) { q.body.SName = w.kdc.tgs }, krb5.ErrBadOption, 0},
		"kadmin/changepw":     {classic, func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "kadmin", "changepw") }, krb5.ErrBadOption, 0},
		"a person":            {classic, func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(1, "müller") }, krb5.ErrMustUseUser2User, 0},
		"renew (K05)":         {classic, option(krb5.OptRenew), krb5.ErrBadOption, 0},
		"forwarded (K05)":     {classic, option(krb5.OptForwarded), krb5.ErrBadOption, 0},
		"proxy (K05)":         {classic, option(krb5.OptProxy), krb5.ErrBadOption, 0},
		"validate (K05)":      {classic, option(krb5.OptValidate), krb5.ErrBadOption, 0},
		"user-to-user (K05)":  {classic, option(krb5.OptEncTktInSKey), krb5.ErrNotUs, 0},
		"etype of old (K05)":  {classic, func(_ *world, q *tgsReq) { q.body.ETypes = []int32{1, 3} }, krb5.ErrETypeNoSupp, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := s4uWorld(t)
			c.set(w)
			q := w.proxyReq(w.login("web"), w.evidence("alice", webSPN), filesSPN)
			if c.alter != nil {
				c.alter(w, q)
			}
			e := w.refused(w.sendRaw(w.encode(q)), c.code)
			if got := w.status(e); got != c.status {
				t.Errorf("status %08x, expect %08x", uint32(got), uint32(c.status))
			}
			w.delegates("web", false, filesSPN) // and a good one afterwards
			w.now = w.now.Add(time.Second)
			w.tgs(w.proxyReq(w.login("web"), w.evidence("müller", webSPN), filesSPN))
		})
	}
}

// again gives a request a TGT of now.
func again(w *world, q *tgsReq) {
	g := w.login("web")
	q.tgt, q.key, q.auth.CTime = g.rep.Ticket, g.session, w.now
	q.body.Till = w.now.Add(time.Hour).Truncate(time.Second)
}

// TestDelegationHops: the list of services ends.
func TestDelegationHops(t *testing.T) {
	w := s4uWorld(t)
	w.lets("FILES$", w.full("FILES$"))
	ticket := w.evidence("alice", filesSPN)
	for range pac.MaxTransited {
		w.now = w.now.Add(time.Second)
		ticket = w.tgs(resourceBased(w.proxyReq(w.login("FILES$"), ticket, filesSPN))).rep.Ticket
	}
	if _, p := w.said(&ticket, w.key("FILES$", 18)); len(p.Delegation.Transited) != pac.MaxTransited {
		t.Errorf("%+v", p.Delegation)
	}
	w.now = w.now.Add(time.Second)
	w.refused(w.sendRaw(w.encode(resourceBased(w.proxyReq(w.login("FILES$"), ticket, filesSPN)))), krb5.ErrPolicy)
}

// TestUserToUser: a ticket for a person, under the session key of that person's
// TGT.
func TestUserToUser(t *testing.T) {
	w := s4uWorld(t)
	for _, id := range []etype.ID{18, 17} {
		as := w.proven("fay", 18)
		as.ETypes = []int32{18}
		if id == 17 {
			as.PAData, as.ETypes = krb5.MethodData{w.proof(w.key("fay", 17), w.now)}, []int32{17}
		}
		fay := w.open(w.send(as), w.key("fay", id), krb5.UsageASRepPart)
		q := w.tgsReq(w.login("alice"), "fay")
		q.body.Options |= krb5.OptEncTktInSKey
		q.body.AdditionalTickets = []krb5.Ticket{fay.rep.Ticket}
		g := w.tgs(q)
		if e := g.rep.Ticket.EncPart; e.EType != int32(id) || e.KVNO != 0 {
			t.Errorf("etype %d, kvno %d", e.EType, e.KVNO)
		}
		part, p := w.said(&g.rep.Ticket, fay.session)
		if part.CName.String() != "alice" || p.Logon.EffectiveName != "alice" || extraSIDs(p) != "S-1-18-1" || !g.part.SName.Equal(q.body.SName) {
			t.Errorf("%v %+v", part.CName, p.Logon)
		}
		w.now = w.now.Add(time.Second)
	}
}

// TestUserToUserRefusals (trust.md T10).
func TestUserToUserRefusals(t *testing.T) {
	forge := func(alter func(w *world, p *krb5.EncTicketPart, key etype.Key)) func(w *world, q *tgsReq, fay *grant) {
		return func(w *world, q *tgsReq, fay *grant) {
			q.body.AdditionalTickets[0] = w.forge(fay, func(p *krb5.EncTicketPart, key etype.Key) { alter(w, p, key) })
		}
	}
	for name, c := range map[string]struct {
		alter func(w *world, q *tgsReq, fay *grant)
		code  krb5.ErrorCode
	}{
		"no TGT":        {func(_ *world, q *tgsReq, _ *grant) { q.body.AdditionalTickets = nil }, krb5.ErrBadOption},
		"not asked for": {func(_ *world, q *tgsReq, _ *grant) { q.body.Options &^= krb5.OptEncTktInSKey }, krb5.ErrMustUseUser2User},
		"a service ticket": {func(w *world, q *tgsReq, fay *grant) {
			q.body.AdditionalTickets[0] = w.tgs(w.tgsReq(fay, webSPN)).rep.Ticket
		}, krb5.ErrNotUs},
		"a service ticket by the krbtgt's name": {func(w *world, q *tgsReq, fay *grant) {
			t := w.tgs(w.tgsReq(fay, webSPN)).rep.Ticket
			t.SName = w.kdc.tgs
			q.body.AdditionalTickets[0] = t
		}, krb5.ErrBadKeyVer},
		"a ticket for kadmin/changepw": {func(w *world, q *tgsReq, fay *grant) {
			as := w.proven("fay", 18)
			as.SName = krb5.Principal(2, "kadmin", "changepw")
			w.now = w.now.Add(time.Second)
			as.PAData = krb5.MethodData{w.proof(w.key("fay", 18), w.now)}
			t := w.open(w.send(as), w.key("fay", 18), krb5.UsageASRepPart).rep.Ticket
			t.SName = w.kdc.tgs
			q.body.AdditionalTickets[0] = t
		}, krb5.ErrTGTRevoked},
		"another's TGT":           {func(_ *world, q *tgsReq, _ *grant) { q.body.AdditionalTickets[0] = q.tgt }, krb5.ErrBadMatch},
		"for another service":     {func(_ *world, q *tgsReq, _ *grant) { q.body.SName = krb5.Principal(1, "müller") }, krb5.ErrBadMatch},
		"for a service with keys": {func(_ *world, q *tgsReq, _ *grant) { q.body.SName = krb5.Principal(2, "HTTP", "web") }, krb5.ErrBadMatch},
		"for the krbtgt":          {func(w *world, q *tgsReq, _ *grant) { q.body.SName = w.kdc.tgs }, krb5.ErrBadMatch},
		"for nobody":              {func(_ *world, q *tgsReq, _ *grant) { q.body.SName = krb5.Principal(1, "nobody") }, krb5.ErrSPrincipalUnknown},
		"altered":                 {func(_ *world, q *tgsReq, _ *grant) { q.body.AdditionalTickets[0].EncPart.Cipher[40] ^= 1 }, krb5.ErrBadIntegrity},
		"cut":                     {func(_ *world, q *tgsReq, _ *grant) { q.body.AdditionalTickets[0].EncPart.Cipher = []byte{1, 2, 3} }, krb5.ErrBadIntegrity},
		"another realm":           {func(_ *world, q *tgsReq, _ *grant) { q.body.AdditionalTickets[0].Realm = "OTHER.TEST" }, krb5.ErrNotUs},
		"another realm's krbtgt": {func(_ *world, q *tgsReq, _ *grant) {
			q.body.AdditionalTickets[0].SName = krb5.Principal(2, "krbtgt", "OTHER.TEST")
		}, krb5.ErrNotUs},
		"another realm's client": {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) { p.CRealm = "OTHER.TEST" }), krb5.ErrBadOption},
		"without a PAC":          {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC = nil }), krb5.ErrTGTRevoked},
		"two PACs": {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) {
			p.AuthData = krb5.AuthorizationData{{Type: krb5.ADWin2kPAC, Data: p.PAC}}
		}), krb5.ErrTGTRevoked},
		"a PAC that is altered": {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC[200] ^= 1 }), krb5.ErrTGTRevoked},
		"a PAC of another":      {forge(func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.CName = krb5.Principal(1, "alice") }), krb5.ErrTGTRevoked},
		"of no requestor": {forge(func(w *world, p *krb5.EncTicketPart, k etype.Key) {
			p.PAC = resign(w.t, p.PAC, k, func(c *pac.PAC) { c.Requestor = "" })
		}), krb5.ErrTGTRevoked},
		"not yet valid": {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) { p.Flags |= krb5.FlagInvalid }), krb5.ErrTktNYV},
		"expired":       {forge(func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.EndTime = w.now.Add(-6 * time.Minute) }), krb5.ErrTktExpired},
		"anonymous":     {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) { p.Flags |= krb5.FlagAnonymous }), krb5.ErrBadOption},
		"a session key of no type": {forge(func(_ *world, p *krb5.EncTicketPart, _ etype.Key) {
			p.Key = krb5.NewEncryptionKey(3, []byte("DES keys"))
		}), krb5.ErrBadIntegrity},
		"owner disabled": {func(w *world, _ *tgsReq, _ *grant) {
			w.change("fay", func(r *domain.Record) { r.UAC |= domain.UACDisabled })
		}, krb5.ErrServiceRevoked},
	} {
		t.Run(name, func(t *testing.T) {
			w := s4uWorld(t)
			fay := w.login("fay")
			q := w.tgsReq(w.login("alice"), "fay")
			q.body.Options |= krb5.OptEncTktInSKey
			q.body.AdditionalTickets = []krb5.Ticket{fay.rep.Ticket}
			c.alter(w, q, fay)
			w.refused(w.sendRaw(w.encode(q)), c.code)
			w.now = w.now.Add(time.Second)
			w.tgs(w.tgsReq(w.login("müller"), webSPN)) // and a normal one afterwards
		})
	}
}

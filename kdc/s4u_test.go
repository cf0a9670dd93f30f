package kdc

import (
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/secdesc"
	"skyrealm/sid"
)

// TestS4U2Self: a service gets the ticket that a person would have shown it,
// however it says who that is.
func TestS4U2Self(t *testing.T) {
	w := s4uWorld(t)
	plain, enterprise := krb5.Principal(krb5.NTPrincipal, "ALICE"), krb5.Principal(krb5.NTEnterprise, "alice.liddell@contoso.test")
	for name, c := range map[string]struct {
		subkey bool
		padata func(q *tgsReq, key etype.Key) krb5.MethodData
	}{
		"for user":         {false, func(q *tgsReq, _ etype.Key) krb5.MethodData { return krb5.MethodData{forUser(q.key, plain, testRealm)} }},
		"for user, subkey": {true, func(q *tgsReq, _ etype.Key) krb5.MethodData { return krb5.MethodData{forUser(q.key, plain, testRealm)} }},
		"for user, enterprise": {false, func(q *tgsReq, _ etype.Key) krb5.MethodData {
			return krb5.MethodData{forUser(q.key, enterprise, "aadds")}
		}},
		"for user, own checksum": {false, func(q *tgsReq, _ etype.Key) krb5.MethodData {
			u := krb5.ForUser{Name: plain, Realm: testRealm, Package: "Kerberos"}
			u.Checksum = krb5.Checksum{Type: 16, Value: q.key.Checksum(nil, u.Signed(), 17)}
			return krb5.MethodData{{Type: krb5.PAForUser, Value: krb5.Encode(&u)}}
		}},
		"by id": {false, func(q *tgsReq, key etype.Key) krb5.MethodData {
			return krb5.MethodData{byID(key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: plain, Realm: testRealm})}
		}},
		"by id, subkey, as MIT": {true, func(q *tgsReq, key etype.Key) krb5.MethodData {
			return krb5.MethodData{forUser(q.key, enterprise, testRealm),
				byID(key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: enterprise, Realm: testRealm, Options: krb5.S4UReplyKeyUsage})}
		}},
		// An RC4 client's other element has no key; the keyed one counts.
		"RC4": {true, func(q *tgsReq, key etype.Key) krb5.MethodData {
			u := krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(krb5.NTPrincipal, "bob"), Realm: testRealm,
				Checksum: krb5.Checksum{Type: 2, Value: make([]byte, 16)}}
			return krb5.MethodData{forUser(q.key, plain, testRealm), {Type: krb5.PAS4UX509User, Value: krb5.Encode(&u)}}
		}},
		"RC4, keyed": {true, func(q *tgsReq, key etype.Key) krb5.MethodData {
			return krb5.MethodData{byID(key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: plain, Realm: testRealm, Options: krb5.S4UReplyKeyUsage})}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.now = w.now.Add(time.Second)
			q := w.tgsReq(w.login("web"), webSPN)
			key, usage := q.key, krb5.UsageTGSRepPartSession
			if c.subkey {
				id := etype.AES256SHA1
				if name[:3] == "RC4" {
					id = etype.RC4
				}
				key, usage = mustKey(t, id), krb5.UsageTGSRepPartSubkey
				q.auth.Subkey = krb5.NewEncryptionKey(int32(id), key.Expose())
			}
			q.padata = c.padata(q, key)
			g := w.open(w.sendRaw(w.encode(q)), key, usage)
			part, p := w.said(&g.rep.Ticket, w.key("web", 18))
			alice := w.rep.BySAM("alice")
			if !strings.EqualFold(g.rep.CName.String(), "alice") || !part.CName.Equal(g.rep.CName) || p.Client.Name != part.CName.String() || p.Logon.UserID != alice.RID ||
				p.Logon.EffectiveName != "alice" || p.UPN.SID != alice.SID() || len(p.Logon.Groups) != 3 || !g.part.SName.Equal(q.body.SName) {
				t.Errorf("%v %v %+v %+v", g.rep.CName, part.CName, p.Client, p.Logon)
			}
			if extraSIDs(p) != "S-1-18-2" || p.Delegation != nil || part.Flags&krb5.FlagForwardable == 0 {
				t.Errorf("extra SIDs %s, %+v, flags %08x", extraSIDs(p), p.Delegation, part.Flags)
			}

			v, there := q.padata.Find(krb5.PAS4UX509User)
			answer, answered := g.rep.PAData.Find(krb5.PAS4UX509User)
			again, encrypted := g.part.EncPAData.Find(krb5.PAS4UX509User)
			if want := there && name != "RC4"; answered != want || encrypted != (want && key.ID() == etype.RC4) {
				t.Fatalf("answered %v, encrypted %v", answered, encrypted)
			}
			if !answered {
				return
			}
			var asked, told krb5.S4UX509User
			if asked.Unmarshal(v) != nil || told.Unmarshal(answer) != nil {
				t.Fatal("malformed")
			}
			usage = krb5.UsageS4UX509Request
			if asked.Options != 0 {
				usage = krb5.UsageS4UX509Reply
			}
			if told.Nonce != q.body.Nonce || !told.Name.Equal(part.CName) || told.Options != asked.Options ||
				key.VerifyChecksum(told.RawUserID, told.Checksum.Value, usage) != nil {
				t.Errorf("the answer is %+v", told)
			}
			if encrypted && !slices.Equal(again, slices.Concat(asked.Checksum.Value, told.Checksum.Value)) {
				t.Errorf("the encrypted answer is %x", again)
			}
		})
	}
}

// TestS4U2SelfForwardable: whose ticket may go further (trust.md T07). The rows
// are those of Samba's tests of Windows.
func TestS4U2SelfForwardable(t *testing.T) {
	for name, c := range map[string]struct {
		person   string
		trusted  bool
		to       []string
		not      bool // asked for
		tgt      bool // not forwardable
		expected bool
	}{
		"no targets":                    {person: "alice", expected: true},
		"targets":                       {person: "alice", to: []string{filesSPN}},
		"trusted, no targets":           {person: "alice", trusted: true, expected: true},
		"trusted, targets":              {person: "alice", trusted: true, to: []string{filesSPN}, expected: true},
		"not asked for":                 {person: "alice", trusted: true, not: true},
		"a TGT that is not forwardable": {person: "alice", trusted: true, tgt: true},
		"a sensitive person":            {person: "fay", trusted: true},
		"a protected one":               {person: "gina", trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := s4uWorld(t)
			w.delegates("web", c.trusted, c.to...)
			as := w.proven("web", 18)
			if c.tgt {
				as.Options &^= krb5.OptForwardable
			}
			q := w.selfReq(w.open(w.send(as), w.key("web", 18), krb5.UsageASRepPart), webSPN, c.person)
			if c.not {
				q.body.Options &^= krb5.OptForwardable
			}
			g := w.tgs(q)
			if got := g.part.Flags&krb5.FlagForwardable != 0; got != c.expected {
				t.Errorf("flags %08x", g.part.Flags)
			}
		})
	}
}

// TestProtectedTGT: what a member of Protected Users has goes nowhere, and did
// not become forwardable by being renewed or asked for again.
func TestProtectedTGT(t *testing.T) {
	w := s4uWorld(t)
	tgt := w.login("gina")
	q := w.tgsReq(tgt, webSPN)
	q.body.Options |= krb5.OptProxiable
	again := w.tgsReq(w.login("alice"), testTGS)
	w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACNotDelegated })
	again.body.Options |= krb5.OptRenew
	for name, flags := range map[string]krb5.TicketFlags{"TGT": tgt.part.Flags, "ticket": w.tgs(q).part.Flags, "renewed": w.tgs(again).part.Flags} {
		if flags&(krb5.FlagForwardable|krb5.FlagProxiable) != 0 {
			t.Errorf("%s: flags %08x", name, flags)
		}
	}
}

// TestProtectedLife: four hours, and no RC4.
func TestProtectedLife(t *testing.T) {
	w := s4uWorld(t)
	p := w.login("gina").part
	if life := p.EndTime.Sub(p.StartTime); life != 4*time.Hour || p.RenewTill.Sub(p.StartTime) > 4*time.Hour {
		t.Errorf("a TGT for %v, to be renewed until %v", life, p.RenewTill)
	}
	group := w.rep.ByRID(domain.RIDProtectedUsers)
	w.put(domain.Record{GUID: group.GUID, Kind: domain.Group, Class: "group", RID: group.RID, Parent: w.ou, RDN: group.SAM, SAM: group.SAM,
		Members: []domain.ID{w.rep.BySAM("bob").GUID}, Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}})
	w.now = w.now.Add(time.Second)
	w.refused(w.send(w.proven("bob", etype.RC4)), krb5.ErrPolicy)
	if p = w.login("gina").part; p.EndTime.Sub(p.StartTime) != 10*time.Hour {
		t.Errorf("a TGT until %v for who was a member", p.EndTime)
	}
}

const testTGS = "krbtgt/" + testRealm

// TestS4U2SelfRefusals (trust.md K05, T06, K16).
func TestS4U2SelfRefusals(t *testing.T) {
	sum := func(kind int32, value func(w *world, q *tgsReq, signed []byte) []byte) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) {
			u := krb5.ForUser{Name: krb5.Principal(1, "alice"), Realm: testRealm, Package: "Kerberos"}
			u.Checksum = krb5.Checksum{Type: kind, Value: value(w, q, u.Signed())}
			q.padata = krb5.MethodData{{Type: krb5.PAForUser, Value: krb5.Encode(&u)}}
		}
	}
	person := func(kind int32, names ...string) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) {
			q.padata = krb5.MethodData{forUser(q.key, krb5.Principal(kind, names...), testRealm)}
		}
	}
	option := func(o krb5.KDCOptions) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) { q.body.Options |= o }
	}
	id := func(alter func(w *world, q *tgsReq, u *krb5.S4UX509User)) func(w *world, q *tgsReq) {
		return func(w *world, q *tgsReq) {
			u := krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(1, "alice"), Realm: testRealm}
			alter(w, q, &u)
			q.padata = krb5.MethodData{byID(q.key, u)}
		}
	}
	for name, c := range map[string]struct {
		alter func(w *world, q *tgsReq)
		code  krb5.ErrorCode
	}{
		"MD5 (T06)":  {sum(7, func(_ *world, _ *tgsReq, b []byte) []byte { s := md5.Sum(b); return s[:] }), krb5.ErrInappCksum},
		"SHA1 (T06)": {sum(14, func(_ *world, _ *tgsReq, b []byte) []byte { s := sha1.Sum(b); return s[:] }), krb5.ErrInappCksum},
		"CRC32 (T06)": {sum(1, func(_ *world, _ *tgsReq, b []byte) []byte {
			return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b))
		}), krb5.ErrInappCksum},
		"type 0 (T06)":      {sum(0, func(*world, *tgsReq, []byte) []byte { return nil }), krb5.ErrInappCksum},
		"an empty HMAC-MD5": {sum(-138, func(*world, *tgsReq, []byte) []byte { return nil }), krb5.ErrModified},
		"HMAC-MD5 under no key": {sum(-138, func(_ *world, _ *tgsReq, b []byte) []byte { return hmacMD5Sum(nil, 17, b) }),
			krb5.ErrModified},
		"under another key": {sum(-138, func(w *world, _ *tgsReq, b []byte) []byte { return hmacMD5Sum(mustKey(w.t, 18).Expose(), 17, b) }),
			krb5.ErrModified},
		"MD5 under the key's own type": {sum(16, func(_ *world, _ *tgsReq, b []byte) []byte { s := md5.Sum(b); return s[:12] }), krb5.ErrModified},
		"another name than signed": {func(w *world, q *tgsReq) {
			var u krb5.ForUser
			if u.Unmarshal(q.padata[0].Value) != nil {
				w.t.Fatal("malformed")
			}
			u.Name = krb5.Principal(1, "müller")
			q.padata[0].Value = krb5.Encode(&u)
		}, krb5.ErrModified},
		"another package": {func(w *world, q *tgsReq) {
			u := krb5.ForUser{Name: krb5.Principal(1, "alice"), Realm: testRealm, Package: "NTLM"}
			u.Checksum = krb5.Checksum{Type: -138, Value: hmacMD5Sum(q.key.Expose(), 17, u.Signed())}
			q.padata = krb5.MethodData{{Type: krb5.PAForUser, Value: krb5.Encode(&u)}}
		}, krb5.ErrGeneric},
		"malformed": {func(_ *world, q *tgsReq) { q.padata[0].Value = []byte("junk") }, krb5.ErrGeneric},
		"empty":     {func(_ *world, q *tgsReq) { q.padata[0].Value = nil }, krb5.ErrGeneric},

		"nobody":          {person(1, "nobody"), krb5.ErrCPrincipalUnknown},
		"a group":         {person(1, "Staff"), krb5.ErrCPrincipalUnknown},
		"disabled":        {person(1, "dave"), krb5.ErrClientRevoked},
		"krbtgt":          {person(1, "krbtgt"), krb5.ErrClientRevoked},
		"krbtgt, in two":  {person(2, "krbtgt", testRealm), krb5.ErrCPrincipalUnknown},
		"with a $ (K16)":  {person(1, "alice$"), krb5.ErrCPrincipalUnknown},
		"without $ (K16)": {person(1, "WS1"), krb5.ErrCPrincipalUnknown},
		"of another realm": {func(_ *world, q *tgsReq) {
			q.padata = krb5.MethodData{forUser(q.key, krb5.Principal(1, "alice"), "OTHER.TEST")}
		}, krb5.ErrCPrincipalUnknown},

		"another service":    {func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "cifs", "files.aadds.contoso.test") }, krb5.ErrBadMatch},
		"the krbtgt":         {func(w *world, q *tgsReq) { q.body.SName = w.kdc.tgs }, krb5.ErrBadOption},
		"kadmin/changepw":    {func(_ *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "kadmin", "changepw") }, krb5.ErrBadOption},
		"renew (K05)":        {option(krb5.OptRenew), krb5.ErrBadOption},
		"forwarded (K05)":    {option(krb5.OptForwarded), krb5.ErrBadOption},
		"proxy (K05)":        {option(krb5.OptProxy), krb5.ErrBadOption},
		"validate (K05)":     {option(krb5.OptValidate), krb5.ErrBadOption},
		"postdated (K05)":    {option(krb5.OptPostdated), krb5.ErrCannotPostdate},
		"anonymous (K05)":    {option(krb5.OptRequestAnonymous), krb5.ErrBadOption},
		"user-to-user (K05)": {option(krb5.OptEncTktInSKey), krb5.ErrBadOption},
		"user-to-user, with the TGT (K05)": {func(w *world, q *tgsReq) {
			q.body.Options |= krb5.OptEncTktInSKey
			q.body.AdditionalTickets = []krb5.Ticket{q.tgt}
		}, krb5.ErrBadOption},
		"S4U2Proxy as well (K05)": {func(w *world, q *tgsReq) {
			q.body.Options |= krb5.OptCNameInAddlTkt
			q.body.AdditionalTickets = []krb5.Ticket{w.evidence("alice", webSPN)}
		}, krb5.ErrBadOption},
		"old etypes only (K05)": {func(_ *world, q *tgsReq) { q.body.ETypes = []int32{1, 3, 16} }, krb5.ErrETypeNoSupp},
		"a DES session (K05)": {func(w *world, q *tgsReq) {
			q.tgt = w.reseal(q.tgt, w.key("krbtgt", 18), func(p *krb5.EncTicketPart) { p.Key = krb5.NewEncryptionKey(3, []byte("DES keys")) })
		}, krb5.ErrBadIntegrity},

		"id of another nonce":                    {id(func(_ *world, _ *tgsReq, u *krb5.S4UX509User) { u.Nonce++ }), krb5.ErrModified},
		"id of nobody":                           {id(func(_ *world, _ *tgsReq, u *krb5.S4UX509User) { u.Name = krb5.PrincipalName{} }), krb5.ErrCPrincipalUnknown},
		"id by certificate, where none signs in": {id(func(_ *world, _ *tgsReq, u *krb5.S4UX509User) { u.Certificate = []byte("alice's") }), krb5.ErrPADataTypeNoSupp},
		"outside of the hours": {id(func(w *world, _ *tgsReq, u *krb5.S4UX509User) {
			w.change("alice", func(r *domain.Record) { r.Attrs = map[string][][]byte{"logonHours": {make([]byte, 21)}} })
			u.Options = krb5.S4UCheckLogonHours
		}), krb5.ErrClientRevoked},
		"id malformed": {func(_ *world, q *tgsReq) {
			q.padata = krb5.MethodData{{Type: krb5.PAS4UX509User, Value: []byte("junk")}}
		}, krb5.ErrGeneric},
		"id under MD4 (T06)": {func(_ *world, q *tgsReq) {
			u := krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(1, "alice"), Realm: testRealm, Checksum: krb5.Checksum{Type: 2, Value: make([]byte, 16)}}
			q.padata = krb5.MethodData{{Type: krb5.PAS4UX509User, Value: krb5.Encode(&u)}}
		}, krb5.ErrInappCksum},
		"id under MD4, RC4 key (T06)": {func(w *world, q *tgsReq) {
			q.auth.Subkey = krb5.NewEncryptionKey(23, mustKey(w.t, 23).Expose())
			u := krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(1, "alice"), Realm: testRealm, Checksum: krb5.Checksum{Type: 2, Value: make([]byte, 16)}}
			q.padata = krb5.MethodData{{Type: krb5.PAS4UX509User, Value: krb5.Encode(&u)}}
		}, krb5.ErrInappCksum},
		"id under the session key, not the subkey": {func(w *world, q *tgsReq) {
			q.auth.Subkey = krb5.NewEncryptionKey(18, mustKey(w.t, 18).Expose())
			q.padata = krb5.MethodData{byID(q.key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(1, "alice"), Realm: testRealm})}
		}, krb5.ErrModified},
		"id of somebody else": {func(_ *world, q *tgsReq) {
			q.padata = append(q.padata, byID(q.key, krb5.S4UX509User{Nonce: q.body.Nonce, Name: krb5.Principal(1, "müller"), Realm: testRealm}))
		}, krb5.ErrBadMatch},
	} {
		t.Run(name, func(t *testing.T) {
			w := s4uWorld(t)
			q := w.selfReq(w.login("web"), webSPN, "alice")
			c.alter(w, q)
			w.refused(w.sendRaw(w.encode(q)), c.code)
			w.tgs(w.selfReq(w.login("WS1$"), "WS1$", "müller")) // and a good one afterwards
		})
	}
	// Hours are for those who are signed in, and the service says whether that is so.
	w := s4uWorld(t)
	w.change("alice", func(r *domain.Record) { r.Attrs = map[string][][]byte{"logonHours": {make([]byte, 21)}} })
	w.tgs(w.selfReq(w.login("web"), webSPN, "alice"))
	// A person is no service.
	w = s4uWorld(t)
	w.refused(w.sendRaw(w.encode(w.selfReq(w.login("fay"), "fay", "alice"))), krb5.ErrMustUseUser2User)
}

// TestS4U2Proxy: classic and resource-based, over two services.
func TestS4U2Proxy(t *testing.T) {
	w := s4uWorld(t)
	w.delegates("web", false, "CIFS/files.aadds.contoso.test")
	w.lets("WS1$", w.full("FILES$"))
	evidence := w.evidence("alice", webSPN)
	shown := w.ticket(&evidence, w.key("web", 18))
	w.now = w.now.Add(30 * time.Minute)
	g := w.tgs(w.proxyReq(w.login("web"), evidence, filesSPN))
	part, p := w.said(&g.rep.Ticket, w.key("FILES$", 18))
	if g.rep.CName.String() != "alice" || p.Logon.EffectiveName != "alice" || extraSIDs(p) != "S-1-18-1" || len(p.Logon.Groups) != 3 {
		t.Errorf("%v %+v", g.rep.CName, p.Logon)
	}
	if !part.AuthTime.Equal(shown.AuthTime) || part.EndTime.After(shown.EndTime) || part.Flags&krb5.FlagForwardable == 0 {
		t.Errorf("%v %v, flags %08x", part.AuthTime, part.EndTime, part.Flags)
	}
	if d := p.Delegation; d == nil || d.Target != filesSPN || !slices.Equal(d.Transited, []string{webSPN + "@" + testRealm}) {
		t.Errorf("delegation %+v", d)
	}

	if _, told := g.part.EncPAData.Find(krb5.PAPACOptions); told {
		t.Error("options that nobody asked for")
	}

	// Further, where the target lets it.
	g = w.tgs(resourceBased(w.proxyReq(w.login("FILES$"), g.rep.Ticket, "HOST/WS1")))
	if _, told := g.part.EncPAData.Find(krb5.PAPACOptions); !told {
		t.Error("the client is not told that resource-based delegation is known")
	}
	_, p = w.said(&g.rep.Ticket, w.key("WS1$", 18))
	if d := p.Delegation; d == nil || d.Target != "HOST/WS1" || !slices.Equal(d.Transited, []string{webSPN + "@" + testRealm, filesSPN + "@" + testRealm}) {
		t.Errorf("delegation %+v", d)
	}

	// After protocol transition the PAC goes on to say so.
	w.delegates("web", true, filesSPN)
	w.now = w.now.Add(time.Second)
	tgt := w.login("web")
	self := w.tgs(w.selfReq(tgt, webSPN, "alice"))
	w.now = w.now.Add(time.Second)
	g = w.tgs(w.proxyReq(tgt, self.rep.Ticket, filesSPN))
	if _, p = w.said(&g.rep.Ticket, w.key("FILES$", 18)); extraSIDs(p) != "S-1-18-2" || p.Logon.EffectiveName != "alice" {
		t.Errorf("extra SIDs %s", extraSIDs(p))
	}

	// By a SID that many hold, and after the service's and the krbtgt's keys have changed.
	w.lets("FILES$", secdesc.ACE{Mask: secdesc.FullControl, SID: sid.New(5, 11)})
	w.delegates("web", false)
	evidence = w.evidence("alice", webSPN)
	for _, sam := range []string{"web", "krbtgt"} {
		w.change(sam, func(r *domain.Record) {
			r.Secrets.Previous, r.Secrets.KVNO = r.Secrets.Current, r.Secrets.KVNO+1
			r.Secrets.Current = legacy(t, "another", sam).WithKVNO(r.Secrets.KVNO)
		})
	}
	w.now = w.now.Add(time.Second)
	w.tgs(resourceBased(w.proxyReq(w.login("web"), evidence, filesSPN)))
}

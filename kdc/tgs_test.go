package kdc

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
	"skyrealm/sid"
)

// TestServiceTicket looks at everything that a TGT gives.
func TestServiceTicket(t *testing.T) {
	w := newWorld(t)
	tgt := w.login("alice")
	w.now = w.now.Add(time.Hour)
	q := w.tgsReq(tgt, "http/WEB.aadds.contoso.test") // whatever the case
	g := w.tgs(q)

	if g.rep.MsgType != krb5.MsgTGSRep || g.part.MsgType != krb5.MsgTGSRep || g.rep.EncPart.KVNO != 0 || g.part.Nonce != q.body.Nonce ||
		g.rep.CName.String() != "alice" || !g.part.SName.Equal(q.body.SName) || g.session.Equal(tgt.session) {
		t.Errorf("reply %+v", g.rep)
	}
	// Authenticated when the password was shown; ends when the TGT does.
	flags := krb5.FlagPreAuthent | krb5.FlagForwardable | krb5.FlagRenewable
	if g.part.Flags != flags || !g.part.AuthTime.Equal(tgt.part.AuthTime) || !g.part.StartTime.Equal(w.now.Truncate(time.Second)) ||
		!g.part.EndTime.Equal(tgt.part.EndTime) || !g.part.RenewTill.Equal(q.body.RTime) {
		t.Errorf("flags %08x, times %v %v %v %v", g.part.Flags, g.part.AuthTime, g.part.StartTime, g.part.EndTime, g.part.RenewTill)
	}

	web, krbtgt := w.key("web", 18), w.key("krbtgt", 18)
	tkt := w.ticket(&g.rep.Ticket, web)
	blank := *tkt
	blank.PAC = []byte{0}
	if err := pac.Verify(tkt.PAC, web, krb5.Encode(&blank), krbtgt); err != nil {
		t.Fatal(err)
	}
	p, err := pac.Parse(tkt.PAC)
	if err != nil {
		t.Fatal(err)
	}
	var rids []uint32
	for _, x := range p.Logon.Groups {
		rids = append(rids, x.RID)
	}
	if !slices.Equal(rids, []uint32{513, 1111, 1112}) || p.Logon.PrimaryGroupID != 513 || p.Logon.UserID != w.rep.BySAM("alice").RID ||
		p.Requestor != "" || p.Attributes != nil || len(p.Logon.ExtraSIDs) != 1 || p.Logon.ExtraSIDs[0].SID.String() != "S-1-18-1" {
		t.Errorf("PAC %+v, logon %+v", p, p.Logon)
	}
}

// TestSubkey: the reply is encrypted in the authenticator's subkey.
func TestSubkey(t *testing.T) {
	w := newWorld(t)
	for _, id := range []etype.ID{18, 17, 23} {
		sub := mustKey(t, id)
		q := w.tgsReq(w.login("alice"), webSPN)
		q.auth.Subkey = krb5.NewEncryptionKey(int32(id), sub.Expose())
		w.open(w.sendRaw(w.encode(q)), sub, krb5.UsageTGSRepPartSubkey)
		w.now = w.now.Add(time.Second)
	}
	q := w.tgsReq(w.login("alice"), webSPN)
	q.auth.Subkey = krb5.NewEncryptionKey(18, []byte("short"))
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrETypeNoSupp)
}

func TestTGSRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(w *world, q *tgsReq)
		code  krb5.ErrorCode
	}{
		"person without SPN (T12)": {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(1, "bob") }, krb5.ErrMustUseUser2User},
		"person by UPN":            {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(10, "alice.liddell@contoso.test") }, krb5.ErrMustUseUser2User},
		"no service (K04)":         {func(w *world, q *tgsReq) { q.body.SName = krb5.PrincipalName{} }, krb5.ErrSPrincipalUnknown},
		"unknown service":          {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "HTTP", "nowhere") }, krb5.ErrSPrincipalUnknown},
		"computer without its $":   {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(1, "WS1") }, krb5.ErrSPrincipalUnknown},
		"krbtgt of another realm":  {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "krbtgt", "OTHER.TEST") }, krb5.ErrSPrincipalUnknown},
		"krbtgt by account name":   {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(1, "krbtgt") }, krb5.ErrSPrincipalUnknown},
		"disabled service":         {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "off", "x") }, krb5.ErrServiceRevoked},
		"service without keys":     {func(w *world, q *tgsReq) { q.body.SName = krb5.Principal(2, "null", "x") }, krb5.ErrNullKey},
		"other realm":              {func(w *world, q *tgsReq) { q.body.Realm = "OTHER.TEST" }, krb5.ErrWrongRealm},
		"validate":                 {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptValidate }, krb5.ErrBadOption},
		"postdated":                {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptPostdated }, krb5.ErrCannotPostdate},
		"user to user":             {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptEncTktInSKey }, krb5.ErrBadOption},
		"delegation":               {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptCNameInAddlTkt }, krb5.ErrBadOption},
		"S4U2Self":                 {func(w *world, q *tgsReq) { q.padata = krb5.MethodData{{Type: krb5.PAForUser}} }, krb5.ErrBadMatch},
		"S4U2Self by certificate":  {func(w *world, q *tgsReq) { q.padata = krb5.MethodData{{Type: krb5.PAS4UX509User}} }, krb5.ErrBadMatch},
		"renew of another service": {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptRenew }, krb5.ErrServerNoMatch},
		"proxy of a TGT":           {func(w *world, q *tgsReq) { q.body.Options |= krb5.OptProxy; q.body.SName = w.kdc.tgs }, krb5.ErrBadOption},
		"ends before it starts":    {func(w *world, q *tgsReq) { q.body.Till = w.now.Add(-time.Hour) }, krb5.ErrNeverValid},
		"DES only":                 {func(w *world, q *tgsReq) { q.body.ETypes = []int32{3} }, krb5.ErrETypeNoSupp},
		"RC4 only (T11)":           {func(w *world, q *tgsReq) { q.body.ETypes = []int32{23} }, krb5.ErrETypeNoSupp},
		"clock":                    {func(w *world, q *tgsReq) { q.auth.CTime = w.now.Add(-time.Hour) }, krb5.ErrSkew},
		"another client's name":    {func(w *world, q *tgsReq) { q.auth.CName = krb5.Principal(1, "bob") }, krb5.ErrBadMatch},
		"another client's realm":   {func(w *world, q *tgsReq) { q.auth.CRealm = "OTHER.TEST" }, krb5.ErrBadMatch},
		"another session key":      {func(w *world, q *tgsReq) { q.key = mustKey(w.t, 18) }, krb5.ErrBadIntegrity},
		"expired":                  {func(w *world, q *tgsReq) { w.now = w.now.Add(11 * time.Hour); q.auth.CTime = w.now }, krb5.ErrTktExpired},
		"wrong kvno":               {func(w *world, q *tgsReq) { q.tgt.EncPart.KVNO = 9 }, krb5.ErrBadKeyVer},
		"kvno of a read-only DC":   {func(w *world, q *tgsReq) { q.tgt.EncPart.KVNO = 1<<16 | 1 }, krb5.ErrBadKeyVer},
		"wrong etype (T16)":        {func(w *world, q *tgsReq) { q.tgt.EncPart.EType = 23 }, krb5.ErrETypeNoSupp},
		"changed TGT":              {func(w *world, q *tgsReq) { q.tgt.EncPart.Cipher[40] ^= 1 }, krb5.ErrBadIntegrity},
		"short TGT":                {func(w *world, q *tgsReq) { q.tgt.EncPart.Cipher = []byte{1, 2, 3} }, krb5.ErrBadIntegrity},
		"TGT of another realm":     {func(w *world, q *tgsReq) { q.tgt.Realm = "OTHER.TEST" }, krb5.ErrNotUs},
		"another service's ticket": {func(w *world, q *tgsReq) { q.tgt.SName = krb5.Principal(2, "HTTP", "web") }, krb5.ErrNotUs},
		"no checksum (T06)":        {func(w *world, q *tgsReq) { q.noSum = true }, krb5.ErrInappCksum},
		"MD5 (T06)": {func(w *world, q *tgsReq) {
			q.sum = func(b []byte) krb5.Checksum { s := md5.Sum(b); return krb5.Checksum{Type: 7, Value: s[:]} }
		}, krb5.ErrInappCksum},
		"CRC32 (T06)": {func(w *world, q *tgsReq) {
			q.sum = func(b []byte) krb5.Checksum {
				return krb5.Checksum{Type: 1, Value: binary.LittleEndian.AppendUint32(nil, ^crc32.Update(^uint32(0), crc32.IEEETable, b))}
			}
		}, krb5.ErrInappCksum},
		"MD5 under the name of the right type": {func(w *world, q *tgsReq) {
			q.sum = func(b []byte) krb5.Checksum { s := md5.Sum(b); return krb5.Checksum{Type: 16, Value: s[:12]} }
		}, krb5.ErrModified},
		"empty checksum": {func(w *world, q *tgsReq) {
			q.sum = func([]byte) krb5.Checksum { return krb5.Checksum{Type: 16, Value: []byte{}} }
		}, krb5.ErrModified},
		"checksum of another body": {func(w *world, q *tgsReq) {
			q.sum = func(b []byte) krb5.Checksum {
				return krb5.Checksum{Type: 16, Value: q.key.Checksum(nil, append(b, 0), krb5.UsageTGSReqChecksum)}
			}
		}, krb5.ErrModified},
		"checksum under a subkey": {func(w *world, q *tgsReq) {
			sub := mustKey(w.t, 18)
			q.auth.Subkey = krb5.NewEncryptionKey(18, sub.Expose())
			q.sum = func(b []byte) krb5.Checksum {
				return krb5.Checksum{Type: 16, Value: sub.Checksum(nil, b, krb5.UsageTGSReqChecksum)}
			}
		}, krb5.ErrModified},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			off := w.user("off", testPassword)
			off.SPNs, off.UAC = []string{"off/x"}, domain.UACNormal|domain.UACDisabled
			null := w.user("null", "")
			null.SPNs = []string{"null/x"}
			w.put(off, null)
			q := w.tgsReq(w.login("alice"), webSPN)
			q.tgt.EncPart.Cipher = bytes.Clone(q.tgt.EncPart.Cipher)
			c.alter(w, q)
			w.refused(w.sendRaw(w.encode(q)), c.code)
			w.tgs(w.tgsReq(w.login("müller"), webSPN)) // and a normal one afterwards
		})
	}
}

func TestNoTGSRequest(t *testing.T) {
	w := newWorld(t)
	q := w.tgsReq(w.login("alice"), webSPN)
	w.refused(w.send(&q.body), krb5.ErrPADataTypeNoSupp)
	q.body.PAData = krb5.MethodData{{Type: krb5.PATGSReq, Value: []byte("junk")}}
	w.refused(w.send(&q.body), krb5.ErrGeneric)
}

// forge makes a TGT as only the holder of the krbtgt's key can, so that what is
// behind the encryption is tested too.
func (w *world) forge(g *grant, alter func(p *krb5.EncTicketPart, key etype.Key)) krb5.Ticket {
	w.t.Helper()
	key := w.key("krbtgt", 18)
	part := w.ticket(&g.rep.Ticket, key)
	alter(part, key)
	cipher, err := key.Encrypt(nil, krb5.Encode(part), krb5.UsageTicket, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	t := g.rep.Ticket
	t.EncPart.Cipher = cipher
	return t
}

// resign changes what a PAC says and signs it again.
func resign(t testing.TB, b []byte, key etype.Key, alter func(*pac.PAC)) []byte {
	t.Helper()
	p, err := pac.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	alter(p)
	out, err := p.Sign(nil, key, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPACOfTGT (trust.md T03, T04, K16): a TGT is worth what its PAC is.
func TestPACOfTGT(t *testing.T) {
	for name, alter := range map[string]func(w *world, p *krb5.EncTicketPart, key etype.Key){
		"none":             func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC = nil },
		"not in front":     func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC, p.AuthData = nil, lonePAC(p.PAC) },
		"two":              func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.AuthData = lonePAC(p.PAC) },
		"empty":            func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC = []byte{} },
		"one bit":          func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC[len(p.PAC)/2] ^= 1 },
		"signature":        func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC[len(p.PAC)-1-4] ^= 1 },
		"cut":              func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC = p.PAC[:len(p.PAC)-8] },
		"no buffers":       func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC, 0) },
		"one buffer":       func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC, 1) },
		"2^16 buffers":     func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC, 1<<16) },
		"2^28 buffers":     func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC, 1<<28) },
		"2^32-1 buffers":   func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC, 1<<32-1) },
		"length past end":  func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint32(p.PAC[12:], 1<<31) },
		"offset past end":  func(w *world, p *krb5.EncTicketPart, _ etype.Key) { binary.LittleEndian.PutUint64(p.PAC[16:], 1<<40) },
		"unaligned":        func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.PAC[16]++ },
		"another's cname":  func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.CName = krb5.Principal(1, "bob") },
		"another authtime": func(w *world, p *krb5.EncTicketPart, _ etype.Key) { p.AuthTime = p.AuthTime.Add(time.Second) },
		"signed by another": func(w *world, p *krb5.EncTicketPart, _ etype.Key) {
			p.PAC = resign(w.t, p.PAC, mustKey(w.t, 18), func(*pac.PAC) {})
		},
		"no requestor": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) { p.Requestor = "" })
		},
		"another requestor": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) { p.Requestor = w.rep.BySAM("bob").SID() })
		},
		"of another domain altogether": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) {
				other := sid.New(5, 21, 1, 2, 3)
				p.Requestor, p.Logon.LogonDomainID = other.Append(p.Logon.UserID), other
			})
		},
		"logon of another domain": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) { p.Logon.LogonDomainID = authorityAsserted[0].SID })
		},
		"krbtgt's own": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) {
				o := w.rep.BySAM("krbtgt")
				p.Requestor, p.Logon.UserID = o.SID(), o.RID
			})
		},
		"a group's": func(w *world, p *krb5.EncTicketPart, key etype.Key) {
			p.PAC = resign(w.t, p.PAC, key, func(p *pac.PAC) {
				o := w.rep.BySAM("Staff")
				p.Requestor, p.Logon.UserID = o.SID(), o.RID
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.login("alice")
			q := w.tgsReq(g, webSPN)
			q.tgt = w.forge(g, func(p *krb5.EncTicketPart, key etype.Key) {
				alter(w, p, key)
				q.auth.CName = p.CName
			})
			w.refused(w.sendRaw(w.encode(q)), krb5.ErrTGTRevoked)
			q.body.SName, q.body.Options = w.kdc.tgs, krb5.OptRenew
			w.refused(w.sendRaw(w.encode(q)), krb5.ErrTGTRevoked)
		})
	}
	// The control: forging by itself changes nothing.
	w := newWorld(t)
	g := w.login("alice")
	q := w.tgsReq(g, webSPN)
	q.tgt = w.forge(g, func(p *krb5.EncTicketPart, key etype.Key) { p.PAC = resign(t, p.PAC, key, func(*pac.PAC) {}) })
	w.tgs(q)
}

func lonePAC(b []byte) krb5.AuthorizationData {
	inner := krb5.Encode(krb5.AuthorizationData{{Type: krb5.ADWin2kPAC, Data: b}})
	return krb5.AuthorizationData{{Type: 999, Data: []byte("x")}, {Type: krb5.ADIfRelevant, Data: inner}}
}

func TestTicketStates(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(w *world, p *krb5.EncTicketPart)
		code  krb5.ErrorCode
	}{
		"invalid":        {func(w *world, p *krb5.EncTicketPart) { p.Flags |= krb5.FlagInvalid }, krb5.ErrTktNYV},
		"from tomorrow":  {func(w *world, p *krb5.EncTicketPart) { p.StartTime = w.now.Add(24 * time.Hour) }, krb5.ErrTktNYV},
		"no session key": {func(w *world, p *krb5.EncTicketPart) { p.Key = krb5.NewEncryptionKey(99, []byte("x")) }, krb5.ErrBadIntegrity},
	} {
		w := newWorld(t)
		g := w.login("alice")
		q := w.tgsReq(g, webSPN)
		q.tgt = w.forge(g, func(p *krb5.EncTicketPart, _ etype.Key) { c.alter(w, p) })
		if e := w.refused(w.sendRaw(w.encode(q)), c.code); e.Code != c.code {
			t.Errorf("%s: %v", name, e.Code)
		}
	}
}

// TestClientSince: the account counts as it is now, found by its SID.
func TestClientSince(t *testing.T) {
	t.Run("deleted", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		w.change("alice", func(r *domain.Record) { r.Deleted = true })
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrTGTRevoked)
	})
	t.Run("name given to another (CVE-2021-42287)", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		w.change("alice", func(r *domain.Record) { r.SAM, r.RDN, r.UPN = "was-alice", "was-alice", "" })
		w.put(w.user("alice", "another password"))
		tkt := w.ticket(&w.tgs(w.tgsReq(g, webSPN)).rep.Ticket, w.key("web", 18))
		p, err := pac.Parse(tkt.PAC)
		if err != nil || p.Logon.EffectiveName != "was-alice" {
			t.Errorf("the ticket speaks for %+v, %v", p, err)
		}
	})
	t.Run("disabled", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		w.change("alice", func(r *domain.Record) { r.UAC |= domain.UACDisabled })
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrClientRevoked)
	})
	t.Run("no longer in a group", func(t *testing.T) {
		w := newWorld(t)
		g := w.login("alice")
		staff := w.rep.BySAM("Staff")
		w.put(domain.Record{GUID: staff.GUID, Kind: domain.Group, Class: "group", RID: staff.RID, Parent: w.ou, RDN: "Staff", SAM: "Staff",
			Attrs: map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}})
		tkt := w.ticket(&w.tgs(w.tgsReq(g, webSPN)).rep.Ticket, w.key("web", 18))
		p, err := pac.Parse(tkt.PAC)
		if err != nil || len(p.Logon.Groups) != 1 {
			t.Errorf("groups %+v, %v", p, err)
		}
	})
}

// roll gives the krbtgt a new key.
func (w *world) roll() {
	w.change("krbtgt", func(r *domain.Record) {
		s, err := domain.RandomSecrets("", w.now, w.rand)
		if err != nil {
			w.t.Fatal(err)
		}
		s.KVNO, s.Previous = r.Secrets.KVNO+1, r.Secrets.Current
		s.Current = s.Current.WithKVNO(s.KVNO)
		r.Secrets = s
	})
}

// TestKrbtgtRolls (trust.md T13, T16): the previous key is good, the one before
// is not, and versions don't mix.
func TestKrbtgtRolls(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	w.roll()
	if now := w.tgs(w.tgsReq(g, webSPN)); now.rep.Ticket.EncPart.KVNO != 2 {
		t.Errorf("kvno %d", now.rep.Ticket.EncPart.KVNO)
	}
	r := w.tgsReq(g, webSPN)
	r.tgt.EncPart.KVNO = 2
	w.refused(w.sendRaw(w.encode(r)), krb5.ErrBadIntegrity)
	r.tgt.EncPart.KVNO = 0 // no number is the current one
	w.refused(w.sendRaw(w.encode(r)), krb5.ErrBadIntegrity)
	if again := w.login("müller"); again.rep.Ticket.EncPart.KVNO != 2 {
		t.Errorf("new TGT has kvno %d", again.rep.Ticket.EncPart.KVNO)
	}
	w.roll()
	w.refused(w.sendRaw(w.encode(w.tgsReq(g, webSPN))), krb5.ErrBadKeyVer)
}

func TestServiceKeyChanges(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	w.tgs(w.tgsReq(g, webSPN))
	l, err := cred.NewLegacy("another", "salt")
	if err != nil {
		t.Fatal(err)
	}
	w.change("web", func(r *domain.Record) { r.Secrets = domain.Secrets{Current: l.WithKVNO(3), KVNO: 3, Set: w.now} })
	now := w.tgs(w.tgsReq(g, webSPN))
	w.ticket(&now.rep.Ticket, l.Keys[0].Key)
	if now.rep.Ticket.EncPart.KVNO != 3 {
		t.Errorf("kvno %d", now.rep.Ticket.EncPart.KVNO)
	}
}

func TestRenew(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	renew := func(g *grant) *tgsReq {
		q := w.tgsReq(g, "krbtgt/"+testRealm)
		q.body.Options = krb5.OptRenew
		return q
	}
	w.now = w.now.Add(9 * time.Hour)
	again := w.tgs(renew(g))
	start := w.now.Truncate(time.Second)
	if !again.part.StartTime.Equal(start) || !again.part.EndTime.Equal(start.Add(10*time.Hour)) || !again.part.RenewTill.Equal(g.part.RenewTill) ||
		!again.part.AuthTime.Equal(g.part.AuthTime) || again.part.Flags != g.part.Flags&^krb5.FlagInitial {
		t.Errorf("renewed: flags %08x, times %v to %v, renew till %v", again.part.Flags, again.part.StartTime, again.part.EndTime, again.part.RenewTill)
	}
	w.tgs(w.tgsReq(again, webSPN))

	// To the end, and no further.
	for again.part.EndTime.Before(g.part.RenewTill) {
		w.now = again.part.EndTime.Add(-time.Minute)
		again = w.tgs(renew(again))
	}
	if !again.part.EndTime.Equal(g.part.RenewTill) {
		t.Errorf("ends %v, expect %v", again.part.EndTime, g.part.RenewTill)
	}
	w.now = again.part.EndTime
	w.refused(w.sendRaw(w.encode(renew(again))), krb5.ErrTktExpired)

	w = newWorld(t)
	q := w.proven("alice", 18)
	q.Options = 0
	g = w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	w.refused(w.sendRaw(w.encode(renew(g))), krb5.ErrBadOption)
}

// TestForwarding: FORWARDED and PROXY need a TGT that allows them.
func TestForwarding(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	forward := func(g *grant) *tgsReq {
		q := w.tgsReq(g, "krbtgt/"+testRealm)
		q.body.Options = krb5.OptForwarded | krb5.OptForwardable
		q.body.Addresses = []krb5.HostAddress{{Type: krb5.AddrIPv4, Address: []byte{192, 0, 2, 1}}}
		return q
	}
	f := w.tgs(forward(g))
	if want := krb5.FlagForwarded | krb5.FlagForwardable | krb5.FlagPreAuthent; f.part.Flags != want || len(f.part.Addresses) != 0 {
		t.Errorf("flags %08x", f.part.Flags)
	}
	if tkt := w.ticket(&f.rep.Ticket, w.key("krbtgt", 18)); len(tkt.Addresses) != 0 {
		t.Errorf("the ticket is bound to %v", tkt.Addresses)
	}
	if s := w.tgs(w.tgsReq(f, webSPN)); s.part.Flags&krb5.FlagForwarded == 0 {
		t.Error("a service ticket for a forwarded TGT does not say so")
	}
	p := w.tgsReq(g, webSPN)
	p.body.Options = krb5.OptProxy
	if s := w.tgs(p); s.part.Flags&krb5.FlagProxy == 0 {
		t.Errorf("flags %08x", s.part.Flags)
	}

	q := w.proven("alice", 18)
	q.Options = 0
	q.Nonce++
	w.now = w.now.Add(time.Second)
	q.PAData = krb5.MethodData{w.proof(w.key("alice", 18), w.now)}
	plain := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	w.refused(w.sendRaw(w.encode(forward(plain))), krb5.ErrBadOption)
	p = w.tgsReq(plain, webSPN)
	p.body.Options = krb5.OptProxy
	w.refused(w.sendRaw(w.encode(p)), krb5.ErrBadOption)
	// To ask for what the TGT can't give is no fault.
	p = w.tgsReq(plain, webSPN)
	p.body.Options = krb5.OptForwardable | krb5.OptProxiable | krb5.OptRenewable
	if s := w.tgs(p); s.part.Flags != krb5.FlagPreAuthent {
		t.Errorf("flags %08x", s.part.Flags)
	}
}

// TestAuthorizationData: a client may restrict itself, not promote.
func TestAuthorizationData(t *testing.T) {
	send := func(data krb5.AuthorizationData, subkey bool) (*world, *tgsReq) {
		w := newWorld(t)
		q := w.tgsReq(w.login("alice"), webSPN)
		key, usage := q.key, krb5.UsageTGSReqAuthDataSession
		if subkey {
			key, usage = mustKey(t, 17), krb5.UsageTGSReqAuthDataSubkey
			q.auth.Subkey = krb5.NewEncryptionKey(17, key.Expose())
		}
		cipher, err := key.Encrypt(nil, krb5.Encode(data), usage, w.rand)
		if err != nil {
			t.Fatal(err)
		}
		q.body.EncAuthData = krb5.EncryptedData{EType: int32(key.ID()), Cipher: cipher}
		return w, q
	}
	fine := krb5.AuthorizationData{{Type: krb5.ADTokenRestrictions, Data: []byte("restricted")}}
	for _, subkey := range []bool{false, true} {
		w, q := send(fine, subkey)
		var g *grant
		if subkey {
			g = w.open(w.sendRaw(w.encode(q)), mustKey(t, 17), krb5.UsageTGSRepPartSubkey)
		} else {
			g = w.tgs(q)
		}
		tkt := w.ticket(&g.rep.Ticket, w.key("web", 18))
		if tkt.PAC == nil || len(tkt.AuthData) != 1 || tkt.AuthData[0].Type != fine[0].Type || !bytes.Equal(tkt.AuthData[0].Data, fine[0].Data) {
			t.Errorf("subkey %v: %+v", subkey, tkt.AuthData)
		}
	}
	w, q := send(krb5.AuthorizationData{{Type: krb5.ADWin2kPAC, Data: []byte("forged")}}, false)
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrPolicy)
	w, q = send(lonePAC([]byte("forged")), false)
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrPolicy)
	w, q = send(fine, false)
	q.body.EncAuthData.Cipher[20] ^= 1
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrBadIntegrity)
	w, q = send(slices.Repeat(fine, krb5.MaxAuthData), false)
	w.refused(w.sendRaw(w.encode(q)), krb5.ErrPolicy)
}

// TestFailingAuthData (trust.md T05, CVE-2023-39975): authorization data that can't be
// taken over ends requests of every kind with the right error, and nothing else.
func TestFailingAuthData(t *testing.T) {
	fine := krb5.AuthorizationData{{Type: krb5.ADTokenRestrictions, Data: []byte("restricted")}}
	for name, c := range map[string]struct {
		plain []byte
		alter func(w *world, q *tgsReq)
		code  krb5.ErrorCode
	}{
		"malformed":         {[]byte("junk"), nil, krb5.ErrBadIntegrity},
		"cut":               {krb5.Encode(fine)[:10], nil, krb5.ErrBadIntegrity},
		"a PAC":             {krb5.Encode(krb5.AuthorizationData{{Type: krb5.ADWin2kPAC, Data: []byte("forged")}}), nil, krb5.ErrPolicy},
		"a PAC inside":      {krb5.Encode(lonePAC([]byte("forged"))), nil, krb5.ErrPolicy},
		"too much":          {krb5.Encode(slices.Repeat(fine, krb5.MaxAuthData)), nil, krb5.ErrPolicy},
		"does not decrypt":  {krb5.Encode(fine), func(_ *world, q *tgsReq) { q.body.EncAuthData.Cipher[20] ^= 1 }, krb5.ErrBadIntegrity},
		"too short":         {krb5.Encode(fine), func(_ *world, q *tgsReq) { q.body.EncAuthData.Cipher = []byte{1} }, krb5.ErrBadIntegrity},
		"of another etype":  {krb5.Encode(fine), func(_ *world, q *tgsReq) { q.body.EncAuthData.EType = 17 }, krb5.ErrBadIntegrity},
		"under another key": {krb5.Encode(fine), func(w *world, q *tgsReq) { q.auth.Subkey = krb5.NewEncryptionKey(18, mustKey(w.t, 18).Expose()) }, krb5.ErrBadIntegrity},
		"with the TGT's too much": {krb5.Encode(slices.Repeat(fine, 2)), func(w *world, q *tgsReq) {
			q.tgt = w.forge(&grant{rep: krb5.KDCRep{Ticket: q.tgt}}, func(p *krb5.EncTicketPart, _ etype.Key) {
				p.AuthData = slices.Repeat(fine, krb5.MaxAuthData-2)
			})
		}, krb5.ErrPolicy},
	} {
		for kind, options := range map[string]krb5.KDCOptions{"service": 0, "renew": krb5.OptRenew, "forward": krb5.OptForwarded, "validate": krb5.OptValidate} {
			t.Run(name+", "+kind, func(t *testing.T) {
				w := newWorld(t)
				g := w.login("alice")
				request := func(plain []byte) *tgsReq {
					w.now = w.now.Add(time.Second)
					q := w.tgsReq(g, webSPN)
					q.body.Options = options
					if options != 0 {
						q.body.SName = w.kdc.tgs
					}
					cipher, err := q.key.Encrypt(nil, plain, krb5.UsageTGSReqAuthDataSession, w.rand)
					if err != nil {
						t.Fatal(err)
					}
					q.body.EncAuthData = krb5.EncryptedData{EType: int32(q.key.ID()), Cipher: cipher}
					return q
				}
				q, code := request(c.plain), c.code
				if c.alter != nil {
					c.alter(w, q)
				}
				if options == krb5.OptValidate { // which no ticket is for
					code = krb5.ErrBadOption
				}
				w.refused(w.sendRaw(w.encode(q)), code)
				if n := w.kdc.Count.Panics.Load(); n != 0 {
					t.Error("a panic")
				}
				if q = request(krb5.Encode(fine)); options != krb5.OptValidate { // and a good one afterwards
					w.tgs(q)
				}
			})
		}
	}
}

// TestWhoseTGT (trust.md T21, CVE-2020-25721): every TGT, however it was got, says the
// account's name and SID beside its UPN, and the SID is the requestor's.
func TestWhoseTGT(t *testing.T) {
	w := newWorld(t)
	card := w.withPKINIT().card(person(w.anna()))
	check := func(how, sam string, g *grant) {
		t.Helper()
		o := w.rep.BySAM(sam)
		p, err := pac.Parse(w.ticket(&g.rep.Ticket, w.key("krbtgt", 18)).PAC)
		if err != nil {
			t.Fatal(err)
		}
		if u := p.UPN; u == nil || u.SAM != o.SAM || u.SID != o.SID() || p.Requestor != o.SID() || p.Logon.UserID != o.RID {
			t.Errorf("%s of %s: %+v, requestor %v", how, sam, u, p.Requestor)
		}
	}
	further := func(how, sam string, g *grant) {
		t.Helper()
		check(how, sam, g)
		for what, options := range map[string]krb5.KDCOptions{"renewed": krb5.OptRenew, "forwarded": krb5.OptForwarded | krb5.OptForwardable} {
			w.now = w.now.Add(time.Second)
			if what == "forwarded" && g.part.Flags&krb5.FlagForwardable == 0 {
				continue
			}
			q := w.tgsReq(g, "krbtgt/"+testRealm)
			q.body.Options = options
			check(how+", "+what, sam, w.tgs(q))
		}
	}
	for _, sam := range []string{"alice", "fay", "müller", "web", "WS1$"} { // with a UPN and without
		further("a TGT", sam, w.login(sam))
		further("one by FAST", sam, w.armor(w.login("WS1$")).login(sam, etype.AES256SHA1))
	}
	g, _ := w.signIn(w.asReq("alice"), card)
	check("one by certificate", "alice", g)
	as := w.proven("alice", etype.AES256SHA1)
	as.PAData = append(as.PAData, krb5.PAData{Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(false))})
	further("one without a PAC", "alice", w.open(w.send(as), w.key("alice", 18), krb5.UsageASRepPart))
}

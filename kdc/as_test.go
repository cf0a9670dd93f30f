package kdc

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pac"
)

// etypeInfo reads the ETYPE-INFO2 out of the e-data of an error.
func (w *world) etypeInfo(e *krb5.Error) krb5.ETypeInfo2 {
	w.t.Helper()
	var m krb5.MethodData
	if err := m.Unmarshal(e.EData); err != nil {
		w.t.Fatal(err)
	}
	if _, ok := m.Find(krb5.PAEncTimestamp); !ok {
		w.t.Error("PA-ENC-TIMESTAMP is not offered")
	}
	v, _ := m.Find(krb5.PAETypeInfo2)
	var info krb5.ETypeInfo2
	if err := info.Unmarshal(v); err != nil {
		w.t.Fatal(err)
	}
	return info
}

func TestPreauthRequired(t *testing.T) {
	params := binary.BigEndian.AppendUint32(nil, 10000)
	for _, c := range []struct {
		client string
		etypes []int32
		rc4    bool
		expect krb5.ETypeInfo2
	}{
		{"alice", []int32{23, 17, 18}, false, krb5.ETypeInfo2{{EType: 18, Salt: testRealm + "alice"}, {EType: 17, Salt: testRealm + "alice"}}},
		{"alice", []int32{17, 3, -133, 99}, false, krb5.ETypeInfo2{{EType: 17, Salt: testRealm + "alice"}}},
		{"alice", []int32{23, 18}, true, krb5.ETypeInfo2{{EType: 18, Salt: testRealm + "alice"}, {EType: 23, NoSalt: true}}},
		{"bob", []int32{18, 17, 23}, false, krb5.ETypeInfo2{{EType: 23, NoSalt: true}}},
		{"müller", []int32{18, 17, 23}, false, krb5.ETypeInfo2{
			{EType: 18, Salt: "CONTOSO.LOCALMüller", S2KParams: params}, {EType: 17, Salt: "CONTOSO.LOCALMüller", S2KParams: params}}},
	} {
		w := newWorld(t)
		w.kdc.Policy.AllowRC4 = c.rc4
		q := w.asReq(c.client)
		q.ETypes = c.etypes
		none := w.refused(w.send(q), krb5.ErrPreauthRequired)
		q.PAData = krb5.MethodData{w.proof(mustKey(t, etype.ID(c.expect[0].EType)), w.now)}
		wrong := w.refused(w.send(q), krb5.ErrPreauthFailed)
		for _, e := range []*krb5.Error{none, wrong} {
			if got := w.etypeInfo(e); !slices.EqualFunc(got, c.expect, func(a, b krb5.ETypeInfoEntry) bool {
				return a.EType == b.EType && a.Salt == b.Salt && a.NoSalt == b.NoSalt && bytes.Equal(a.S2KParams, b.S2KParams)
			}) {
				t.Errorf("%s %v: %+v, expect %+v", c.client, c.etypes, got, c.expect)
			}
			if e.Realm != testRealm || !e.SName.Equal(q.SName) || !e.STime.Equal(w.now) {
				t.Errorf("%s: error is from %v@%s at %v", c.client, e.SName, e.Realm, e.STime)
			}
		}
	}
}

func mustKey(t testing.TB, id etype.ID) etype.Key {
	t.Helper()
	k, err := etype.Random(id, &stream{n: 1 << 32})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestASReply looks at everything that a sign-in gives.
func TestASReply(t *testing.T) {
	w := newWorld(t)
	q := w.proven("alice", etype.AES256SHA1)
	q.Nonce = -5
	q.PAData = append(q.PAData, krb5.PAData{Type: krb5.PAReqEncPARep, Value: []byte{}},
		krb5.PAData{Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(true))})
	request := krb5.Encode(q)
	user := w.key("alice", etype.AES256SHA1)
	g := w.open(w.sendRaw(request), user, krb5.UsageASRepPart)

	start := testNow.Truncate(time.Second)
	if g.rep.MsgType != krb5.MsgASRep || g.part.MsgType != krb5.MsgASRep || g.rep.CRealm != testRealm || g.rep.CName.String() != "alice" ||
		g.rep.EncPart.KVNO != 2 || g.rep.EncPart.EType != 18 || g.part.Nonce != -5 || g.part.SRealm != testRealm || !g.part.SName.Equal(q.SName) {
		t.Errorf("reply %+v, part %+v", g.rep, g.part)
	}
	flags := krb5.FlagInitial | krb5.FlagPreAuthent | krb5.FlagForwardable | krb5.FlagProxiable | krb5.FlagRenewable | krb5.FlagEncPARep
	if g.part.Flags != flags || !g.part.AuthTime.Equal(start) || !g.part.StartTime.Equal(start) ||
		!g.part.EndTime.Equal(start.Add(10*time.Hour)) || !g.part.RenewTill.Equal(start.Add(7*24*time.Hour)) {
		t.Errorf("flags %08x, times %v %v %v %v", g.part.Flags, g.part.AuthTime, g.part.StartTime, g.part.EndTime, g.part.RenewTill)
	}

	// RFC 6806 §11: the client can see that its request came unchanged.
	v, _ := g.part.EncPAData.Find(krb5.PAReqEncPARep)
	// SEQUENCE { [0] INTEGER 16, [1] OCTET STRING }
	expect := append([]byte{0x30, 0x15, 0xa0, 3, 2, 1, 16, 0xa1, 14, 4, 12}, user.Checksum(nil, request, krb5.UsageASReq)...)
	if !bytes.Equal(v, expect) {
		t.Errorf("enc-pa-rep %x", v)
	}
	if v, _ := g.part.EncPAData.Find(krb5.PASupportedEncTypes); !bytes.Equal(v, []byte{0x18, 0, 1, 0}) {
		t.Errorf("supported enctypes %x", v)
	}

	// The ticket says the same to the service.
	krbtgt := w.key("krbtgt", etype.AES256SHA1)
	if e := g.rep.Ticket.EncPart; e.EType != 18 || e.KVNO != 1 {
		t.Errorf("ticket under etype %d kvno %d", e.EType, e.KVNO)
	}
	tkt := w.ticket(&g.rep.Ticket, krbtgt)
	if !tkt.Key.Equal(g.part.Key) || tkt.Flags != flags || tkt.CRealm != testRealm || !tkt.CName.Equal(g.rep.CName) ||
		!tkt.EndTime.Equal(g.part.EndTime) || !tkt.RenewTill.Equal(g.part.RenewTill) || len(tkt.Addresses) != 0 || len(tkt.AuthData) != 0 {
		t.Errorf("ticket %+v", tkt)
	}
	if err := pac.Verify(tkt.PAC, krbtgt, nil, krbtgt); err != nil {
		t.Fatal(err)
	}
	p, err := pac.Parse(tkt.PAC)
	if err != nil {
		t.Fatal(err)
	}
	alice := w.rep.BySAM("alice")
	if p.Requestor != alice.SID() || p.Attributes == nil || *p.Attributes != pac.PACRequested ||
		p.UPN.UPN != alice.UPN || p.UPN.SAM != "alice" || p.UPN.SID != alice.SID() || p.UPN.Constructed || p.UPN.DNSDomain != testRealm ||
		p.Client.Name != "alice" || !p.Client.AuthTime.Equal(start) ||
		p.Logon.UserAccountControl != pac.AccountNormal || p.Logon.LogonDomainName != "AADDS" || p.Logon.LogonServer != "DC1" {
		t.Errorf("PAC %+v, logon %+v", p, p.Logon)
	}
}

func TestClientNames(t *testing.T) {
	principal := func(kind int32, n ...string) krb5.PrincipalName { return krb5.Principal(kind, n...) }
	for _, c := range []struct {
		name   krb5.PrincipalName
		canon  bool
		expect string // the name in the ticket; "" for a refusal with code
		code   krb5.ErrorCode
	}{
		{principal(1, "alice"), false, "alice", 0},
		{principal(1, "ALICE"), false, "ALICE", 0},
		{principal(1, "ALICE"), true, "alice", 0},
		{principal(0, "alice"), false, "alice", 0},
		{principal(1, "alice.liddell@CONTOSO.test"), false, `alice.liddell\@CONTOSO.test`, 0},
		{principal(10, "Alice.Liddell@contoso.test"), false, "alice", 0},
		{principal(10, "alice@aadds.contoso.test"), true, "alice", 0},
		{principal(10, "alice"), true, "alice", 0},
		{principal(1, "MÜLLER"), true, "müller", 0},
		{principal(1, "WS1$"), false, "WS1$", 0},
		{principal(3, "host", "ws1.aadds.contoso.test"), false, "host/ws1.aadds.contoso.test", 0},

		{principal(10, "alice@elsewhere.test"), true, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "nobody"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "WS1"), false, "", krb5.ErrCPrincipalUnknown},    // CVE-2021-42287
		{principal(1, "alice$"), false, "", krb5.ErrCPrincipalUnknown}, // and back
		{principal(1, "DC1"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "Staff"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, ""), false, "", krb5.ErrCPrincipalUnknown},
		{principal(2, "HTTP", "web.aadds.contoso.test"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(2, "kadmin", "changepw"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "host/ws1.aadds.contoso.test"), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "host", "ws1.aadds.contoso.test", ""), false, "", krb5.ErrCPrincipalUnknown},
		{principal(1, "krbtgt"), false, "", krb5.ErrClientRevoked},
		{principal(1, "dave"), false, "", krb5.ErrClientRevoked},
		{principal(1, "carol"), false, "", krb5.ErrNullKey},
	} {
		w := newWorld(t)
		q := w.asReq("")
		q.CName = c.name
		if c.canon {
			q.Options |= krb5.OptCanonicalize
		}
		if c.expect == "" {
			w.refused(w.send(q), c.code)
			continue
		}
		w.refused(w.send(q), krb5.ErrPreauthRequired)
		key := w.kdc.clientByName(c.name).Secrets.Current.Keys[0].Key
		q.PAData = krb5.MethodData{w.proof(key, w.now)}
		if g := w.open(w.send(q), key, krb5.UsageASRepPart); g.rep.CName.String() != c.expect {
			t.Errorf("%v: ticket for %v, expect %s", c.name, g.rep.CName, c.expect)
		}
	}
}

// TestKrbtgtNeverSignsIn: not even where somebody enables its account.
func TestKrbtgtNeverSignsIn(t *testing.T) {
	w := newWorld(t)
	w.change("krbtgt", func(r *domain.Record) { r.UAC &^= domain.UACDisabled })
	w.refused(w.send(w.proven("krbtgt", etype.AES256SHA1)), krb5.ErrClientRevoked)
}

func TestASRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(w *world, q *krb5.KDCReq)
		code  krb5.ErrorCode
	}{
		"no client":        {func(w *world, q *krb5.KDCReq) { q.CName = krb5.PrincipalName{} }, krb5.ErrCPrincipalUnknown},
		"no service":       {func(w *world, q *krb5.KDCReq) { q.SName = krb5.PrincipalName{} }, krb5.ErrSPrincipalUnknown},
		"other realm":      {func(w *world, q *krb5.KDCReq) { q.Realm = "OTHER.TEST" }, krb5.ErrWrongRealm},
		"other krbtgt":     {func(w *world, q *krb5.KDCReq) { q.SName.Name[1] = "OTHER.TEST" }, krb5.ErrSPrincipalUnknown},
		"bare krbtgt":      {func(w *world, q *krb5.KDCReq) { q.SName.Name = []string{"krbtgt"} }, krb5.ErrSPrincipalUnknown},
		"krbtgt by UPN":    {func(w *world, q *krb5.KDCReq) { q.SName.Name = []string{"krbtgt@aadds.contoso.test"} }, krb5.ErrSPrincipalUnknown},
		"unknown service":  {func(w *world, q *krb5.KDCReq) { q.SName.Name = []string{"HTTP", "nowhere"} }, krb5.ErrSPrincipalUnknown},
		"group as service": {func(w *world, q *krb5.KDCReq) { q.SName.Name = []string{"Staff"} }, krb5.ErrSPrincipalUnknown},
		"person":           {func(w *world, q *krb5.KDCReq) { q.SName.Name = []string{"bob"} }, krb5.ErrMustUseUser2User},
		"slash inside": {func(w *world, q *krb5.KDCReq) {
			q.SName.Name = []string{"ldap/DC1.aadds.contoso.test", "aadds.contoso.test"}
		}, krb5.ErrSPrincipalUnknown},
		"postdated":      {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptPostdated }, krb5.ErrCannotPostdate},
		"may postdate":   {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptAllowPostdate }, krb5.ErrCannotPostdate},
		"from tomorrow":  {func(w *world, q *krb5.KDCReq) { q.From = w.now.Add(24 * time.Hour) }, krb5.ErrCannotPostdate},
		"renew":          {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptRenew }, krb5.ErrBadOption},
		"validate":       {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptValidate }, krb5.ErrBadOption},
		"forwarded":      {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptForwarded }, krb5.ErrBadOption},
		"proxy":          {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptProxy }, krb5.ErrBadOption},
		"user to user":   {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptEncTktInSKey }, krb5.ErrBadOption},
		"delegation":     {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptCNameInAddlTkt }, krb5.ErrBadOption},
		"anonymous":      {func(w *world, q *krb5.KDCReq) { q.Options |= krb5.OptRequestAnonymous }, krb5.ErrBadOption},
		"no etypes":      {func(w *world, q *krb5.KDCReq) { q.ETypes = nil }, krb5.ErrETypeNoSupp},
		"DES only":       {func(w *world, q *krb5.KDCReq) { q.ETypes = []int32{1, 3} }, krb5.ErrETypeNoSupp},
		"RC4 only":       {func(w *world, q *krb5.KDCReq) { q.ETypes = []int32{23, -128, -133} }, krb5.ErrETypeNoSupp},
		"ended":          {func(w *world, q *krb5.KDCReq) { q.Till = w.now.Add(-time.Second) }, krb5.ErrNeverValid},
		"clock":          {func(w *world, q *krb5.KDCReq) { q.PAData[0] = w.proof(w.key("alice", 18), w.now.Add(time.Hour)) }, krb5.ErrSkew},
		"wrong password": {func(w *world, q *krb5.KDCReq) { q.PAData[0] = w.proof(mustKey(w.t, 18), w.now) }, krb5.ErrPreauthFailed},
		"junk timestamp": {func(w *world, q *krb5.KDCReq) { q.PAData[0].Value = []byte("junk") }, krb5.ErrPreauthFailed},
		"short timestamp": {func(w *world, q *krb5.KDCReq) {
			q.PAData[0].Value = krb5.Encode(krb5.EncryptedData{EType: 18, Cipher: []byte{1}})
		}, krb5.ErrPreauthFailed},
		"timestamp in unlisted etype": {func(w *world, q *krb5.KDCReq) { q.ETypes = []int32{17} }, krb5.ErrETypeNoSupp},
		"timestamp in RC4 beside AES": {func(w *world, q *krb5.KDCReq) { q.PAData[0] = w.proof(w.key("alice", 23), w.now) }, krb5.ErrETypeNoSupp},
		// CVE-2021-36222: without FAST there is no such thing.
		"encrypted challenge": {func(w *world, q *krb5.KDCReq) { q.PAData[0].Type = krb5.PAEncryptedChallenge }, krb5.ErrPreauthRequired},
		"junk PAC request": {func(w *world, q *krb5.KDCReq) {
			q.PAData = append(q.PAData, krb5.PAData{Type: krb5.PAPACRequest, Value: []byte{1}})
		}, krb5.ErrGeneric},
	} {
		w := newWorld(t)
		q := w.proven("alice", etype.AES256SHA1)
		c.alter(w, q)
		e := new(krb5.Error)
		if err := e.Unmarshal(w.send(q)); err != nil || e.Code != c.code {
			t.Errorf("%s: %v %v, expect %v", name, err, e.Code, c.code)
		}
		if e.EText != "" {
			t.Errorf("%s: the client is told %q", name, e.EText)
		}
		if got := w.kdc.Count.Refused(c.code); got != 1 {
			t.Errorf("%s: counted %d times", name, got)
		}
		w.login("alice") // and a normal sign-in afterwards
	}
}

// TestMustChange: the old password is good for nothing but its own change.
func TestMustChange(t *testing.T) {
	w := newWorld(t)
	w.refused(w.send(w.asReq("erin")), krb5.ErrPreauthRequired)
	wrong := w.proven("erin", etype.AES256SHA1)
	wrong.PAData[0] = w.proof(mustKey(t, 18), w.now)
	w.refused(w.send(wrong), krb5.ErrPreauthFailed)
	w.refused(w.send(w.proven("erin", etype.AES256SHA1)), krb5.ErrKeyExpired)

	q := w.proven("erin", etype.AES256SHA1)
	q.SName = krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw")
	g := w.open(w.send(q), w.key("erin", etype.AES256SHA1), krb5.UsageASRepPart)
	if life := g.part.EndTime.Sub(g.part.StartTime); life != 2*time.Minute || g.part.Flags&krb5.FlagRenewable != 0 {
		t.Errorf("a ticket for kadmin/changepw lives %v, flags %08x", life, g.part.Flags)
	}

	// CVE-2022-2031: it is under the krbtgt's key, and its name is not protected.
	r := w.tgsReq(g, webSPN)
	r.tgt.SName = krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm)
	w.refused(w.sendRaw(w.encode(r)), krb5.ErrTGTRevoked)
}

// TestSkew: the limit itself still counts (trust.md K12).
func TestSkew(t *testing.T) {
	const limit = 5 * time.Minute
	for _, c := range []struct {
		off time.Duration
		ok  bool
	}{
		{0, true}, {limit - time.Second, true}, {limit, true}, {limit + time.Microsecond, false}, {limit + time.Second, false}, {24 * time.Hour, false},
		{-limit + time.Second, true}, {-limit, true}, {-limit - time.Microsecond, false}, {-limit - time.Second, false}, {-24 * time.Hour, false},
	} {
		w := newWorld(t)
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{w.proof(w.key("alice", 18), w.now.Add(c.off))}
		reply := w.send(q)
		g := w.login("alice")
		r := w.tgsReq(g, webSPN)
		r.auth.CTime = w.now.Add(c.off)
		second := w.sendRaw(w.encode(r))
		if !c.ok {
			w.refused(reply, krb5.ErrSkew)
			w.refused(second, krb5.ErrSkew)
			continue
		}
		w.open(reply, w.key("alice", 18), krb5.UsageASRepPart)
		w.open(second, g.session, krb5.UsageTGSRepPartSession)
	}
}

// TestReplay (trust.md K13): the same request has one answer; the same proof in
// another request has none.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	q := w.proven("alice", etype.AES256SHA1)
	first := w.send(q)
	w.now = w.now.Add(4 * time.Minute)
	if again := w.send(q); !bytes.Equal(first, again) {
		t.Error("a retransmission got another reply")
	}
	q.Nonce++
	w.refused(w.send(q), krb5.ErrRepeat)
	if n := w.kdc.Count.Repeats.Load(); n != 1 {
		t.Errorf("%d repeats", n)
	}

	g := w.login("alice")
	r := w.tgsReq(g, webSPN)
	request := w.encode(r)
	one := w.sendRaw(request)
	w.open(one, g.session, krb5.UsageTGSRepPartSession)
	if !bytes.Equal(one, w.sendRaw(request)) {
		t.Error("a retransmitted TGS-REQ got another reply")
	}
	// The padata are outside of what the authenticator vouches for.
	r.body.PAData = append(r.body.PAData, krb5.PAData{Type: 999})
	w.refused(w.send(&r.body), krb5.ErrRepeat)
}

// TestReplayElsewhere (trust.md K13): another replica, or the same one after a start, which
// knows nothing of a request, makes no second session key of it; and of what somebody else
// made of the request it makes another.
func TestReplayElsewhere(t *testing.T) {
	w := newWorld(t)
	elsewhere := func(request []byte) []byte {
		other := &KDC{Replica: w.rep, Now: func() time.Time { return w.now }, Rand: rand.Reader}
		return other.Handle(t.Context(), request, client4, true)
	}
	same := func(a, b *grant) bool { return a.session.Equal(b.session) }

	key := w.key("alice", etype.AES256SHA1)
	q := w.proven("alice", etype.AES256SHA1)
	request := krb5.Encode(q)
	g := w.open(w.sendRaw(request), key, krb5.UsageASRepPart)
	if !same(g, w.open(elsewhere(request), key, krb5.UsageASRepPart)) {
		t.Error("an AS-REQ brought two session keys")
	}
	q.SName = krb5.Principal(krb5.NTSrvInst, "HTTP", "web.aadds.contoso.test")
	if same(g, w.open(elsewhere(krb5.Encode(q)), key, krb5.UsageASRepPart)) {
		t.Error("a service was given the key of the TGT")
	}
	q = w.proven("alice", etype.AES256SHA1)
	q.Nonce++
	if same(g, w.open(elsewhere(krb5.Encode(q)), key, krb5.UsageASRepPart)) {
		t.Error("two requests have one session key")
	}

	r := w.tgsReq(g, webSPN)
	request = w.encode(r)
	one := w.open(w.sendRaw(request), g.session, krb5.UsageTGSRepPartSession)
	if !same(one, w.open(elsewhere(request), g.session, krb5.UsageTGSRepPartSession)) {
		t.Error("a TGS-REQ brought two session keys")
	}
	w.now = w.now.Add(time.Second)
	if same(one, w.open(elsewhere(w.encode(w.tgsReq(g, webSPN))), g.session, krb5.UsageTGSRepPartSession)) {
		t.Error("two TGS-REQs have one session key")
	}
}

// TestReplayCacheIsBounded: it forgets, and does not grow.
func TestReplayCacheIsBounded(t *testing.T) {
	var c replayCache
	var proof fingerprint
	for i := range 10 * replayEntries {
		proof = fingerprint(i * recentShards) // all of shard 0
		c.remember(proof, answered{request: proof, reply: []byte{1}}, testNow, time.Minute)
	}
	if s := &c.shards[0]; len(s.now) > replayEntries || len(s.old) > replayEntries {
		t.Errorf("%d and %d entries", len(s.now), len(s.old))
	}
	if _, repeated := c.remember(proof, answered{}, testNow.Add(2*time.Minute), time.Minute); !repeated {
		t.Error("the old generation is not looked at")
	}
	if _, repeated := c.remember(proof, answered{}, testNow.Add(5*time.Minute), time.Minute); repeated {
		t.Error("remembered beyond the window twice")
	}
}

// TestETypes: AES wherever there is a key for it (CVE-2022-37966).
func TestETypes(t *testing.T) {
	for _, c := range []struct {
		client  string
		key     etype.ID
		etypes  []int32
		service []string
		rc4     bool
		session int32
		ticket  int32
		code    krb5.ErrorCode
	}{
		{"alice", 18, []int32{23, 17, 18}, nil, false, 18, 18, 0},
		{"alice", 17, []int32{17}, nil, false, 17, 18, 0},
		{"alice", 17, []int32{23, 17}, nil, true, 17, 18, 0},
		{"alice", 23, []int32{23}, nil, false, 0, 0, krb5.ErrETypeNoSupp},
		{"alice", 23, []int32{23}, nil, true, 23, 18, 0}, // the option is there for such clients
		{"bob", 23, []int32{18, 17, 23}, nil, false, 18, 18, 0},
		{"bob", 23, []int32{23}, nil, false, 0, 0, krb5.ErrETypeNoSupp},
		{"alice", 18, []int32{18, 17, 23}, []string{"cifs", "old.aadds.contoso.test"}, false, 18, 23, 0},
		{"bob", 23, []int32{23}, []string{"cifs", "old.aadds.contoso.test"}, false, 23, 23, 0},
		{"alice", 18, []int32{18, 17, 23}, []string{"HTTP", "web"}, true, 18, 18, 0},
	} {
		w := newWorld(t)
		w.kdc.Policy.AllowRC4 = c.rc4
		q := w.asReq(c.client)
		q.ETypes = c.etypes
		q.PAData = krb5.MethodData{w.proof(w.key(c.client, c.key), w.now)}
		if c.service != nil {
			q.SName.Name = c.service
		}
		reply := w.send(q)
		if c.code != 0 {
			w.refused(reply, c.code)
			continue
		}
		g := w.open(reply, w.key(c.client, c.key), krb5.UsageASRepPart)
		if g.part.Key.Type != c.session || g.rep.Ticket.EncPart.EType != c.ticket || g.rep.EncPart.EType != int32(c.key) {
			t.Errorf("%+v: session %d, ticket %d", c, g.part.Key.Type, g.rep.Ticket.EncPart.EType)
		}
	}
}

// TestLifetimes (trust.md T17): nothing lives longer than the policy says.
func TestLifetimes(t *testing.T) {
	start := testNow.Truncate(time.Second)
	day := func(y int) time.Time { return time.Date(y, 1, 2, 3, 4, 5, 0, time.UTC) }
	for _, till := range []time.Time{time.Unix(0, 0).UTC(), day(2038), day(2106), day(9999), day(2027)} {
		for _, rtime := range []time.Time{{}, time.Unix(0, 0).UTC(), day(2038), day(2106), day(9999)} {
			w := newWorld(t)
			q := w.proven("alice", etype.AES256SHA1)
			q.Till, q.RTime = till, rtime
			g := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
			if !g.part.EndTime.Equal(start.Add(10*time.Hour)) || !g.part.RenewTill.Equal(start.Add(7*24*time.Hour)) {
				t.Errorf("till %v, rtime %v: ends %v, %v", till, rtime, g.part.EndTime, g.part.RenewTill)
			}
		}
	}
	for _, till := range []time.Time{day(1), day(1969), day(1971), testNow.Add(-time.Minute), start} {
		w := newWorld(t)
		q := w.proven("alice", etype.AES256SHA1)
		q.Till = till
		w.refused(w.send(q), krb5.ErrNeverValid)
	}

	w := newWorld(t)
	q := w.proven("alice", etype.AES256SHA1)
	q.Options, q.Till = krb5.OptRenewableOK, start.Add(2*24*time.Hour)
	g := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	if g.part.Flags&krb5.FlagRenewable == 0 || !g.part.RenewTill.Equal(q.Till) {
		t.Errorf("RENEWABLE-OK: flags %08x, renew till %v", g.part.Flags, g.part.RenewTill)
	}
	q = w.proven("alice", etype.AES256SHA1)
	q.Options, q.Till = krb5.OptRenewableOK, start.Add(time.Hour)
	g = w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
	if g.part.Flags&krb5.FlagRenewable != 0 || !g.part.RenewTill.IsZero() || !g.part.EndTime.Equal(q.Till) {
		t.Errorf("RENEWABLE-OK that is not needed: flags %08x, ends %v", g.part.Flags, g.part.EndTime)
	}
}

func TestNotDelegated(t *testing.T) {
	w := newWorld(t)
	if g := w.login("fay"); g.part.Flags&(krb5.FlagForwardable|krb5.FlagProxiable) != 0 {
		t.Errorf("flags %08x", g.part.Flags)
	}
}

// TestRealmForms: AD answers to any case and to the NetBIOS name, with the one
// true realm.
func TestRealmForms(t *testing.T) {
	for _, realm := range []string{"aadds.contoso.test", "AADDS", "aadds"} {
		w := newWorld(t)
		q := w.proven("alice", etype.AES256SHA1)
		q.Realm = realm
		q.SName.Name = []string{"krbtgt", realm}
		g := w.open(w.send(q), w.key("alice", 18), krb5.UsageASRepPart)
		if g.rep.CRealm != testRealm || g.part.SRealm != testRealm || g.rep.Ticket.Realm != testRealm {
			t.Errorf("%s: crealm %s", realm, g.rep.CRealm)
		}
		w.tgs(w.tgsReq(g, webSPN)) // and the TGT is good under that name
	}
}

// TestNobodyWithoutProof (trust.md K10): whatever an account's record says, nothing
// that its password's key is in is given away. DONT_REQ_PREAUTH ([MS-ADTS] §2.2.16)
// can't be set (see domain), and would mean nothing.
func TestNobodyWithoutProof(t *testing.T) {
	const dontRequirePreauth = 0x400000
	for _, sam := range []string{"alice", "bob", "fay", "müller", "web", "old", "WS1$"} {
		w := newWorld(t)
		w.change(sam, func(r *domain.Record) { r.UAC |= dontRequirePreauth })
		for name, padata := range map[string]krb5.MethodData{
			"none":          nil,
			"of no meaning": {{Type: 999, Value: []byte("x")}, {Type: krb5.PAReqEncPARep, Value: []byte{}}},
			"a PAC request": {{Type: krb5.PAPACRequest, Value: krb5.Encode(krb5.PACRequest(true))}},
		} {
			for _, service := range []krb5.PrincipalName{krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm), krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw"), krb5.Principal(krb5.NTSrvInst, "HTTP", "web")} {
				q := w.asReq(sam)
				q.PAData, q.SName = padata, service
				if e := w.refused(w.send(q), krb5.ErrPreauthRequired); len(e.EData) == 0 {
					t.Errorf("%s, %s: no word of how to do better", sam, name)
				}
			}
		}
	}
}

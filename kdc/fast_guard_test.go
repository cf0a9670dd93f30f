package kdc

import (
	"bytes"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// TestChallengeOutsideFAST (trust.md K03, CVE-2021-36222): it counts as nothing.
func TestChallengeOutsideFAST(t *testing.T) {
	w := newWorld(t)
	q := w.asReq("alice")
	q.PAData = krb5.MethodData{w.armor(w.login("WS1$")).challenge(w.key("alice", etype.AES256SHA1))}
	w.refused(w.calm(krb5.Encode(q)), krb5.ErrPreauthRequired)
	w.login("alice")
}

// TestOmittedInFAST leaves out each combination of optional fields, outside and
// inside (trust.md K04, CVE-2021-37750), and goes on to sign somebody in.
func TestOmittedInFAST(t *testing.T) {
	w := newWorld(t)
	machine, key := w.login("WS1$"), w.key("alice", etype.AES256SHA1)
	sealed := krb5.EncryptedData{EType: 18, Cipher: []byte("no ciphertext")}
	omit := func(q *krb5.KDCReq, mask int) {
		q.From, q.EncAuthData = w.now, sealed
		q.CName = krb5.Principal(krb5.NTPrincipal, "alice")
		q.SName = krb5.Principal(krb5.NTSrvInst, "krbtgt", testRealm)
		q.Addresses = []krb5.HostAddress{{Type: krb5.AddrIPv4, Address: []byte{127, 0, 0, 1}}}
		q.AdditionalTickets = []krb5.Ticket{machine.rep.Ticket}
		for i, omit := range []func(){
			func() { q.CName = krb5.PrincipalName{} }, func() { q.SName = krb5.PrincipalName{} },
			func() { q.From = time.Time{} }, func() { q.RTime = time.Time{} }, func() { q.Addresses = nil },
			func() { q.EncAuthData = krb5.EncryptedData{} }, func() { q.AdditionalTickets = nil },
		} {
			if mask>>i&1 != 0 {
				omit()
			}
		}
	}
	answer := func(what string, mask int, b []byte) {
		t.Helper()
		reply := w.calm(b)
		var e krb5.Error
		switch refused := e.Unmarshal(reply) == nil; {
		case reply == nil:
			t.Errorf("%s without %07b: no answer", what, mask)
		case mask&2 != 0 && !refused, what == "AS" && mask&1 != 0 && !refused:
			t.Errorf("%s without %07b: a ticket for nobody or to nowhere", what, mask)
		}
	}
	for mask := range 1 << 7 {
		a := w.armor(machine)
		a.outer = func(q *krb5.KDCReq) { omit(q, mask) }
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{a.challenge(key)}
		answer("outer AS", mask&^2, a.wrap(q)) // the outer request is not looked at
		q.PAData = krb5.MethodData{a.challenge(key)}
		a.outer = nil
		omit(q, mask)
		answer("AS", mask, a.wrap(q))

		r := w.tgsReq(machine, webSPN)
		omit(&r.body, mask)
		r.body.EncAuthData = krb5.EncryptedData{}
		answer("TGS", mask, a.tgs(r))
	}
	// The parts of the armor itself.
	for name, alter := range map[string]func(a *armor){
		"armor":    func(a *armor) { a.envelop = func(f *krb5.FASTArmoredReq) { f.ArmorValue = nil } },
		"type":     func(a *armor) { a.envelop = func(f *krb5.FASTArmoredReq) { f.ArmorType = 2 } },
		"checksum": func(a *armor) { a.envelop = func(f *krb5.FASTArmoredReq) { f.Checksum = krb5.Checksum{} } },
		"subkey":   func(a *armor) { a.auth.Subkey = krb5.EncryptionKey{} },
		"body":     func(a *armor) { a.inner = func(f *krb5.FASTReq) { f.Body = []byte{0x30, 0} } },
		"kvno":     func(a *armor) { a.tgt.EncPart.KVNO = 0 },
	} {
		a := w.armor(machine)
		alter(a)
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{a.challenge(key)}
		reply := w.calm(a.wrap(q))
		if got := reply != nil && reply[0] == 0x6b; got != (name == "kvno") {
			t.Errorf("without %s: a ticket is %v", name, got)
		}
	}
	w.armor(machine).login("alice", etype.AES256SHA1)
}

// TestArmorRequired (trust.md T18): with the policy on, who leaves FAST away
// gets nowhere, whatever the KDC said before.
func TestArmorRequired(t *testing.T) {
	w := newWorld(t)
	w.kdc.Policy.RequireArmor = true
	// It is told what to do, and nothing that a password could be guessed from.
	m := w.methods(w.refused(w.send(w.asReq("alice")), krb5.ErrPreauthRequired))
	if len(m) != 1 || m[0].Type != krb5.PAFXFast || len(m[0].Value) != 0 {
		t.Errorf("METHOD-DATA %d", len(m))
	}
	w.refused(w.send(w.proven("alice", etype.AES256SHA1)), krb5.ErrPolicy)
	w.armor(w.login("WS1$")).login("alice", etype.AES256SHA1) // machines
	w.armor(w.login("web")).login("alice", etype.AES256SHA1)  // and services make armor
	// The same person's proof, taken out of the armor.
	q := w.asReq("alice")
	q.PAData = krb5.MethodData{w.armor(w.login("WS1$")).challenge(w.key("alice", etype.AES256SHA1))}
	w.refused(w.send(q), krb5.ErrPreauthRequired)
	q.PAData = append(q.PAData, w.proof(w.key("alice", etype.AES256SHA1), w.now))
	w.refused(w.send(q), krb5.ErrPolicy)
}

// TestArmorTicket tries every ticket that is not to make armor (trust.md T18).
func TestArmorTicket(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(w *world, a *armor) *armor
		code  krb5.ErrorCode
	}{
		"good":         {func(_ *world, a *armor) *armor { return a }, krb5.ErrNone},
		"a service's":  {func(w *world, a *armor) *armor { return w.armor(w.tgs(w.tgsReq(a.grant(), webSPN))) }, krb5.ErrNotUs},
		"under a name": {func(_ *world, a *armor) *armor { a.tgt.SName.Name[0] = "host"; return a }, krb5.ErrNotUs},
		"a service's, as krbtgt": {func(w *world, a *armor) *armor {
			b := w.armor(w.tgs(w.tgsReq(a.grant(), webSPN)))
			b.tgt.SName, b.tgt.EncPart.KVNO = a.tgt.SName, a.tgt.EncPart.KVNO
			return b
		}, krb5.ErrBadIntegrity},
		"kadmin/changepw, as krbtgt": {func(w *world, a *armor) *armor {
			q := w.proven("WS1$", etype.AES256SHA1)
			q.SName = krb5.Principal(krb5.NTSrvInst, "kadmin", "changepw")
			b := w.armor(w.open(w.send(q), w.key("WS1$", etype.AES256SHA1), krb5.UsageASRepPart))
			b.tgt.SName = a.tgt.SName
			return b
		}, krb5.ErrTGTRevoked},
		"another realm's": {func(_ *world, a *armor) *armor { a.tgt.Realm = "OTHER.TEST"; return a }, krb5.ErrNotUs},
		"a session key that is another's": {func(w *world, a *armor) *armor {
			a.session = w.login("web").session
			return a
		}, krb5.ErrBadIntegrity},
		"another client's authenticator": {func(_ *world, a *armor) *armor {
			a.auth.CName = krb5.Principal(krb5.NTPrincipal, "web")
			return a
		}, krb5.ErrBadMatch},
		"no subkey": {func(_ *world, a *armor) *armor { a.auth.Subkey = krb5.EncryptionKey{}; return a }, krb5.ErrPreauthFailed},
		"unknown subkey type": {func(_ *world, a *armor) *armor {
			a.auth.Subkey = krb5.NewEncryptionKey(3, make([]byte, 8))
			return a
		}, krb5.ErrETypeNoSupp},
		"disabled machine": {func(w *world, a *armor) *armor {
			w.change("WS1$", func(r *domain.Record) { r.UAC |= domain.UACDisabled })
			return a
		}, krb5.ErrClientRevoked},
		"at its last moment": {func(w *world, a *armor) *armor {
			w.now = w.now.Add(10*time.Hour + 5*time.Minute).Truncate(time.Second)
			a.auth.CTime = w.now
			return a
		}, krb5.ErrNone},
		"expired": {func(w *world, a *armor) *armor {
			w.now = w.now.Add(10*time.Hour + 5*time.Minute + time.Second)
			a.auth.CTime = w.now
			return a
		}, krb5.ErrTktExpired},
		"old authenticator": {func(w *world, a *armor) *armor {
			a.auth.CTime = w.now.Add(-5*time.Minute - time.Microsecond)
			return a
		}, krb5.ErrSkew},
		"krbtgt rolled once":  {func(w *world, a *armor) *armor { w.roll(); return a }, krb5.ErrNone},
		"krbtgt rolled twice": {func(w *world, a *armor) *armor { w.roll(); w.roll(); return a }, krb5.ErrBadKeyVer},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := c.alter(w, w.armor(w.login("WS1$")))
			key := w.key("alice", etype.AES256SHA1)
			q := w.asReq("alice")
			q.PAData = krb5.MethodData{a.challenge(key)}
			reply := w.calm(a.wrap(q))
			if c.code == krb5.ErrNone {
				a.open(reply, key, krb5.UsageASRepPart, q.Nonce)
				return
			}
			w.refused(reply, c.code)
		})
	}
}

// grant is what the armor was made of.
func (a *armor) grant() *grant {
	return &grant{rep: krb5.KDCRep{CRealm: a.auth.CRealm, CName: a.auth.CName, Ticket: a.tgt}, session: a.session}
}

// TestArmoredRequestAltered (trust.md T18): an envelope is good for the request
// that it came with, and as it came.
func TestArmoredRequestAltered(t *testing.T) {
	for name, c := range map[string]struct {
		alter func(a *armor)
		code  krb5.ErrorCode
	}{
		"checksum": {func(a *armor) {
			a.envelop = func(f *krb5.FASTArmoredReq) { f.Checksum.Value[0] ^= 1 }
		}, krb5.ErrModified},
		"checksum of nothing": {func(a *armor) {
			a.envelop = func(f *krb5.FASTArmoredReq) { f.Checksum.Value = []byte{} }
		}, krb5.ErrModified},
		"checksum without a key": {func(a *armor) {
			a.envelop = func(f *krb5.FASTArmoredReq) { f.Checksum = krb5.Checksum{Type: 14, Value: make([]byte, 20)} }
		}, krb5.ErrModified},
		"outer request":           {func(a *armor) { a.late = func(q *krb5.KDCReq) { q.Nonce++ } }, krb5.ErrModified},
		"unknown critical option": {func(a *armor) { a.options = 1 << (31 - 2) }, krb5.ErrUnknownFASTOption},
		"reserved option":         {func(a *armor) { a.options = 1 << 31 }, krb5.ErrUnknownFASTOption},
		"uncritical options":      {func(a *armor) { a.options = 0xffff }, krb5.ErrNone},
		"inner request cut off": {func(a *armor) {
			a.inner = func(f *krb5.FASTReq) { f.Body = f.Body[:len(f.Body)-1] }
		}, krb5.ErrGeneric},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
			c.alter(a)
			q := w.asReq("alice")
			q.PAData = krb5.MethodData{a.challenge(key)}
			reply := w.calm(a.wrap(q))
			if c.code == krb5.ErrNone {
				a.open(reply, key, krb5.UsageASRepPart, q.Nonce)
				return
			}
			a.refused(reply, c.code)
		})
	}
	t.Run("each byte", func(t *testing.T) {
		w := newWorld(t)
		a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
		q := w.asReq("alice")
		q.PAData = krb5.MethodData{a.challenge(key)}
		var cipher []byte
		a.envelop = func(f *krb5.FASTArmoredReq) { cipher = f.EncReq.Cipher }
		good := a.wrap(q)
		a.open(w.sendRaw(good), key, krb5.UsageASRepPart, q.Nonce)
		at := bytes.Index(good, cipher)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			reply := w.calm(bad)
			switch {
			case i >= at && i < at+len(cipher):
				w.refused(reply, krb5.ErrBadIntegrity)
			case reply != nil:
				// Some bytes are vouched for by nothing, as the AP-REQ's options,
				// but the proof inside is good only once.
				w.code(reply)
			}
		}
	})
}

func (w *world) code(reply []byte) krb5.ErrorCode {
	var e krb5.Error
	if err := e.Unmarshal(reply); err != nil {
		w.t.Fatal(err)
	}
	return e.Code
}

// TestInnerRequestCounts: names, nonce and service of the reply are those of the
// inner request, and a reply to one request is none to another.
func TestInnerRequestCounts(t *testing.T) {
	w := newWorld(t)
	a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
	a.outer = func(q *krb5.KDCReq) { *q = *w.asReq("bob"); q.Nonce = 1 }
	q := w.asReq("alice")
	q.Nonce = 2
	_, r := a.refused(w.sendRaw(a.wrap(q)), krb5.ErrPreauthRequired)
	if r.Nonce != 2 {
		t.Errorf("nonce %d in an error", r.Nonce)
	}
	q.PAData = krb5.MethodData{a.challenge(key)}
	g, r := a.open(w.sendRaw(a.wrap(q)), key, krb5.UsageASRepPart, 2)
	if g.part.Nonce != 2 || g.rep.CName.String() != "alice" || r.Finished.CName.String() != "alice" {
		t.Errorf("nonce %d for %v", g.part.Nonce, g.rep.CName)
	}
}

// TestChallengeAgain: the same request is a retransmission, the same challenge
// in another is somebody else's doing (trust.md K13).
func TestChallengeAgain(t *testing.T) {
	w := newWorld(t)
	a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
	q := w.asReq("alice")
	q.PAData = krb5.MethodData{a.challenge(key)}
	b := a.wrap(q)
	first := w.sendRaw(b)
	if !bytes.Equal(first, w.sendRaw(b)) {
		t.Error("another reply to the same request")
	}
	q.Nonce++
	a.refused(w.sendRaw(a.wrap(q)), krb5.ErrRepeat)
	// In armor of another key it does not even decrypt.
	c := w.armor(w.login("WS1$"))
	c.refused(w.sendRaw(c.wrap(q)), krb5.ErrPreauthFailed)
}

func TestChallengeRefused(t *testing.T) {
	for name, c := range map[string]struct {
		client string
		alter  func(w *world, a *armor) krb5.PAData
		code   krb5.ErrorCode
	}{
		"wrong password": {"alice", func(w *world, a *armor) krb5.PAData { return a.challenge(w.key("web", etype.AES256SHA1)) }, krb5.ErrPreauthFailed},
		"malformed":      {"alice", func(*world, *armor) krb5.PAData { return krb5.PAData{Type: krb5.PAEncryptedChallenge} }, krb5.ErrPreauthFailed},
		"another type": {"alice", func(w *world, a *armor) krb5.PAData {
			p := a.challenge(w.key("alice", etype.AES256SHA1))
			p.Value = bytes.Replace(p.Value, []byte{2, 1, 18}, []byte{2, 1, 17}, 1)
			return p
		}, krb5.ErrPreauthFailed},
		"the KDC's own": {"alice", func(w *world, a *armor) krb5.PAData {
			k := a.cf2(a.key, w.key("alice", etype.AES256SHA1), "kdcchallengearmor", "challengelongterm")
			e := a.encrypt(k, krb5.Encode(krb5.PAEncTSEnc{Time: w.now}), krb5.UsageEncryptedChallengeKDC)
			return krb5.PAData{Type: krb5.PAEncryptedChallenge, Value: krb5.Encode(e)}
		}, krb5.ErrPreauthFailed},
		"clock": {"alice", func(w *world, a *armor) krb5.PAData {
			p := a.challenge(w.key("alice", etype.AES256SHA1))
			w.now = w.now.Add(5*time.Minute + time.Microsecond)
			a.auth.CTime = w.now
			return p
		}, krb5.ErrSkew},
		"timestamp in the place of a challenge": {"alice", func(w *world, _ *armor) krb5.PAData {
			return w.proof(w.key("alice", etype.AES256SHA1), w.now)
		}, krb5.ErrPreauthRequired},
		"no keys":  {"carol", func(w *world, a *armor) krb5.PAData { return a.challenge(w.key("alice", etype.AES256SHA1)) }, krb5.ErrNullKey},
		"disabled": {"dave", func(w *world, a *armor) krb5.PAData { return a.challenge(w.key("dave", etype.AES256SHA1)) }, krb5.ErrClientRevoked},
		"nobody":   {"nobody", func(w *world, a *armor) krb5.PAData { return a.challenge(w.key("alice", etype.AES256SHA1)) }, krb5.ErrCPrincipalUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.armor(w.login("WS1$"))
			q := w.asReq(c.client)
			q.PAData = krb5.MethodData{c.alter(w, a)}
			_, r := a.refused(w.calm(a.wrap(q)), c.code)
			// A client that may try again reads the salt, and a cookie.
			_, salt := r.PAData.Find(krb5.PAETypeInfo2)
			_, cookie := r.PAData.Find(krb5.PAFXCookie)
			if again := c.code == krb5.ErrPreauthFailed || c.code == krb5.ErrPreauthRequired; salt != again || cookie != again {
				t.Errorf("salt %v, cookie %v", salt, cookie)
			}
		})
	}
	// Those that have something of their own sign in.
	w := newWorld(t)
	w.armor(w.login("WS1$")).login("müller", etype.AES128SHA1)
	w.armor(w.login("WS1$")).login("bob", etype.RC4)
}

// TestHiddenClient: with hide-client-names nothing on the wire tells who signs
// in; the client learns it inside.
func TestHiddenClient(t *testing.T) {
	for _, hide := range []bool{true, false} {
		w := newWorld(t)
		a, key := w.armor(w.login("WS1$")), w.key("alice", etype.AES256SHA1)
		if hide {
			a.options = krb5.FASTHideClientNames
		}
		q := w.asReq("alice")
		request := a.wrap(q)
		refusal := w.sendRaw(request)
		a.refused(refusal, krb5.ErrPreauthRequired)
		q.PAData = krb5.MethodData{a.challenge(key)}
		reply := w.sendRaw(a.wrap(q))
		g, r := a.open(reply, key, krb5.UsageASRepPart, q.Nonce)
		if r.Finished.CName.String() != "alice" || r.Finished.CRealm != testRealm {
			t.Errorf("finished for %v", r.Finished.CName)
		}
		for what, b := range map[string][]byte{"request": request, "refusal": refusal} {
			if bytes.Contains(b, []byte("alice")) {
				t.Errorf("the %s names alice", what)
			}
		}
		if bytes.Contains(reply, []byte("alice")) == hide {
			t.Errorf("hide %v: the reply is for %v", hide, g.rep.CName)
		}
		if hide && (g.rep.CName.String() != "WELLKNOWN/ANONYMOUS" || g.rep.CRealm != "WELLKNOWN:ANONYMOUS") {
			t.Errorf("the reply is for %v of %s", g.rep.CName, g.rep.CRealm)
		}
		// And in the TGS exchange.
		b := w.armor(w.login("alice"))
		b.options = a.options
		s := w.tgsReq(b.grant(), webSPN)
		if tgs := w.sendRaw(b.tgs(s)); bytes.Contains(tgs, []byte("alice")) == hide {
			t.Errorf("hide %v: the TGS-REP is otherwise", hide)
		}
	}
}

// TestTGSArmor: implicit armor only, and nobody takes it off.
func TestTGSArmor(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	for name, c := range map[string]struct {
		alter func(a *armor)
		strip bool
		code  krb5.ErrorCode
	}{
		"explicit armor": {func(a *armor) {
			a.envelop = func(f *krb5.FASTArmoredReq) { f.ArmorType, f.ArmorValue = krb5.ArmorAPRequest, []byte{0x30, 0} }
		}, false, krb5.ErrPreauthFailed},
		"no subkey": {func(a *armor) { a.auth.Subkey = krb5.EncryptionKey{} }, false, krb5.ErrPreauthFailed},
		"checksum of the body": {func(a *armor) {
			a.envelop = func(f *krb5.FASTArmoredReq) {
				f.Checksum.Value = a.key.Checksum(nil, []byte("body"), krb5.UsageFASTReqChecksum)
			}
		}, false, krb5.ErrModified},
		"lent authenticator": {func(a *armor) {
			a.auth.AuthData = krb5.AuthorizationData{{Type: krb5.ADFXArmor, Data: []byte{}}}
		}, false, krb5.ErrPolicy},
		"stripped": {func(a *armor) {
			a.auth.AuthData = krb5.AuthorizationData{{Type: krb5.ADFXFASTUsed, Data: []byte{}}}
		}, true, krb5.ErrModified},
		"as it was": {func(a *armor) {
			a.auth.AuthData = krb5.AuthorizationData{{Type: krb5.ADFXFASTUsed, Data: []byte{}}}
		}, false, krb5.ErrNone},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.armor(g)
			c.alter(a)
			q := w.tgsReq(g, webSPN)
			b := a.tgs(q)
			if c.strip {
				q.body.PAData = q.body.PAData[:1]
				b = krb5.Encode(&q.body)
			}
			reply := w.calm(b)
			if c.code != krb5.ErrNone {
				w.refused(reply, c.code)
				return
			}
			a.open(reply, a.subkey, krb5.UsageTGSRepPartSubkey, q.body.Nonce)
		})
	}
	// A TGT that was got to make armor with is good for that alone.
	q := w.tgsReq(w.login("WS1$"), "krbtgt/"+testRealm)
	lent := krb5.Encode(krb5.AuthorizationData{{Type: krb5.ADFXArmor, Data: []byte{}}})
	q.body.EncAuthData = (&armor{w: w}).encrypt(q.key, lent, krb5.UsageTGSReqAuthDataSession)
	got := w.tgs(q)
	w.armor(got).login("alice", etype.AES256SHA1)
	w.refused(w.sendRaw(w.encode(w.tgsReq(got, webSPN))), krb5.ErrPolicy)
}

// TestFASTLeavesNothing: an exchange is used again, and what was hidden in one
// must not show in the next.
func TestFASTLeavesNothing(t *testing.T) {
	w := newWorld(t)
	a := w.armor(w.login("WS1$"))
	a.options = krb5.FASTHideClientNames
	for i := range 50 {
		a.rekey(etype.AES256SHA1)
		a.login("alice", etype.AES256SHA1)
		if g := w.login("web"); g.rep.CName.String() != "web" || len(g.rep.PAData) != 1 || g.rep.PAData[0].Type != krb5.PAETypeInfo2 {
			t.Fatalf("round %d: %v, padata %d", i, g.rep.CName, len(g.rep.PAData))
		}
		w.now = w.now.Add(time.Second)
		a.auth.CTime = w.now
		if m := w.methods(w.refused(w.send(w.asReq("bob")), krb5.ErrPreauthRequired)); len(m) < 3 || len(m[0].Value) != 0 {
			t.Fatalf("round %d: METHOD-DATA %d", i, len(m))
		}
	}
}

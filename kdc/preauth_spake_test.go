package kdc

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/spake"
)

// spakeClient is a client's half of PA-SPAKE. What the hooks alter is what
// goes out, not what the client reckons with.
type spakeClient struct {
	w      *world
	key    etype.Key
	req    *krb5.KDCReq
	groups []spake.Group
	armor  *armor

	onWire   func(support []byte) []byte // the support message, on its way
	factor   spake.Factor
	response func(m *spake.Message)

	support, challenge []byte
	cookie             []byte
	group              spake.Group
	reply              etype.Key // K'[0]
}

func (w *world) spake(sam string, id etype.ID, groups ...spake.Group) *spakeClient {
	w.t.Helper()
	c := &spakeClient{w: w, key: w.key(sam, id), req: w.asReq(sam), groups: groups, factor: spake.Factor{Type: spake.SFNone}}
	if c.groups == nil {
		c.groups = []spake.Group{spake.Edwards25519}
	}
	return c
}

// send is a request with a PA-SPAKE, inside the armor if there is one.
func (c *spakeClient) send(message []byte, cookie []byte) []byte {
	c.req.PAData = krb5.MethodData{{Type: krb5.PASPAKE, Value: message}}
	if cookie != nil {
		c.req.PAData = append(c.req.PAData, krb5.PAData{Type: krb5.PAFXCookie, Value: cookie})
	}
	if c.armor != nil {
		return c.w.sendRaw(c.armor.wrap(c.req))
	}
	return c.w.send(c.req)
}

func (c *spakeClient) methods(reply []byte, code krb5.ErrorCode) krb5.MethodData {
	c.w.t.Helper()
	if c.armor != nil {
		_, r := c.armor.refused(reply, code)
		return r.PAData
	}
	return c.w.methods(c.w.refused(reply, code))
}

// begin sends the support message and takes the challenge.
func (c *spakeClient) begin() {
	c.w.t.Helper()
	c.support = krb5.Encode(&spake.Message{Choice: spake.Support, Groups: c.groups})
	sent := c.support
	if c.onWire != nil {
		sent = c.onWire(sent)
	}
	m := c.methods(c.send(sent, nil), krb5.ErrMorePreauthRequired)
	challenge, ok := m.Find(krb5.PASPAKE)
	cookie, ok2 := m.Find(krb5.PAFXCookie)
	if !ok || !ok2 || len(m) > 4 {
		c.w.t.Fatalf("METHOD-DATA %v", m)
	}
	c.challenge, c.cookie = bytes.Clone(challenge), bytes.Clone(cookie)
}

// answer is the response to the challenge, for the request as it is.
func (c *spakeClient) answer() []byte {
	c.w.t.Helper()
	var ch spake.Message
	if err := ch.Unmarshal(c.challenge); err != nil || ch.Choice != spake.Challenge {
		c.w.t.Fatal("no challenge", err)
	}
	if len(ch.Factors) != 1 || ch.Factors[0].Type != spake.SFNone || ch.Factors[0].Data != nil {
		c.w.t.Errorf("factors %v", ch.Factors)
	}
	c.group = ch.Group
	s, err := spake.NewSecret(ch.Group, c.key)
	if err != nil {
		c.w.t.Fatal(err)
	}
	y, pub, err := s.Generate(spake.Client, c.w.rand)
	if err != nil {
		c.w.t.Fatal(err)
	}
	result, err := s.Result(spake.Client, y, ch.PublicKey)
	if err != nil {
		c.w.t.Fatal(err)
	}
	transcript := spake.Transcript(spake.Transcript([spake.HashSize]byte{}, c.support, c.challenge), pub)
	body := krb5.Encode(marshalBody{c.req})
	var first etype.Key
	for n, k := range []*etype.Key{&c.reply, &first} {
		if *k, err = s.Key(uint32(n), result, transcript, body); err != nil {
			c.w.t.Fatal(err)
		}
	}
	cipher, err := first.Encrypt(nil, krb5.Encode(c.factor), spake.UsageFactor, c.w.rand)
	if err != nil {
		c.w.t.Fatal(err)
	}
	m := spake.Message{Choice: spake.Response, PublicKey: pub, Encrypted: krb5.EncryptedData{EType: int32(c.key.ID()), Cipher: cipher}}
	if c.response != nil {
		c.response(&m)
	}
	return krb5.Encode(&m)
}

func (c *spakeClient) open(reply []byte) *grant {
	c.w.t.Helper()
	if c.armor != nil {
		g, _ := c.armor.open(reply, c.reply, krb5.UsageASRepPart, c.req.Nonce)
		return g
	}
	return c.w.open(reply, c.reply, krb5.UsageASRepPart)
}

// TestSPAKE signs in by each group, with each type of key, in and out of FAST.
func TestSPAKE(t *testing.T) {
	ed, p256 := spake.Edwards25519, spake.P256
	for name, c := range map[string]struct {
		client string
		id     etype.ID
		groups []spake.Group
		expect spake.Group
	}{
		"edwards25519":              {"alice", etype.AES256SHA1, []spake.Group{ed}, ed},
		"P-256":                     {"alice", etype.AES256SHA1, []spake.Group{p256}, p256},
		"AES-128":                   {"alice", etype.AES128SHA1, []spake.Group{ed}, ed},
		"RC4, the only key":         {"bob", etype.RC4, []spake.Group{p256}, p256},
		"synced salt and rounds":    {"müller", etype.AES256SHA1, []spake.Group{ed}, ed},
		"our order of groups":       {"alice", etype.AES256SHA1, []spake.Group{p256, ed}, ed},
		"groups that we don't have": {"alice", etype.AES256SHA1, []spake.Group{4, 3, -1, p256}, p256},
	} {
		for _, armored := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", in FAST"}[armored], func(t *testing.T) {
				w := newWorld(t)
				s := w.spake(c.client, c.id, c.groups...)
				if c.id == etype.AES128SHA1 {
					s.req.ETypes = []int32{17, 23}
				}
				if armored {
					s.armor = w.armor(w.login("WS1$"))
				}
				s.begin()
				g := s.open(s.send(s.answer(), s.cookie))
				if s.group != c.expect {
					t.Errorf("%v, expect %v", s.group, c.expect)
				}
				if g.rep.EncPart.KVNO != 0 || g.part.Flags&krb5.FlagPreAuthent == 0 {
					t.Errorf("kvno %d, flags %x", g.rep.EncPart.KVNO, g.part.Flags)
				}
				q := w.tgsReq(g, webSPN)
				w.open(w.sendRaw(w.encode(q)), g.session, krb5.UsageTGSRepPartSession)
				// The long-term key opens nothing of it.
				if _, err := s.key.Decrypt(nil, g.rep.EncPart.Cipher, krb5.UsageASRepPart); err == nil {
					t.Error("the reply is under the client's own key")
				}
			})
		}
	}
}

func TestSPAKEIsOfferedFirst(t *testing.T) {
	w := newWorld(t)
	at := func(m krb5.MethodData, kind int32) int {
		for i := range m {
			if m[i].Type == kind {
				return i
			}
		}
		t.Fatalf("METHOD-DATA %v without %d", m, kind)
		return 0
	}
	m := w.methods(w.refused(w.send(w.asReq("alice")), krb5.ErrPreauthRequired))
	if at(m, krb5.PASPAKE) > at(m, krb5.PAEncTimestamp) {
		t.Errorf("METHOD-DATA %v", m)
	}
	if m[at(m, krb5.PASPAKE)].Value == nil || len(m[at(m, krb5.PASPAKE)].Value) != 0 {
		t.Error("a challenge that nobody asked for")
	}
	// Who has no key has nothing to prove by it.
	w.refused(w.send(w.asReq("carol")), krb5.ErrNullKey)
}

// TestSPAKERefusals: each case differs from a good conversation in one thing. A
// client that was not talking about today's challenge to it is told to begin
// again (PREAUTH_EXPIRED); only the others have failed.
func TestSPAKERefusals(t *testing.T) {
	const none = krb5.ErrorCode(0)
	for name, c := range map[string]struct {
		before  func(c *spakeClient)                          // the support message
		between func(c *spakeClient)                          // challenge and response
		after   func(c *spakeClient, m []byte) (again []byte) // the response
		expect  krb5.ErrorCode
	}{
		"nothing": {expect: none},
		"wrong password": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			c.key = mustKey(c.w.t, etype.AES256SHA1)
		}},
		"wrong password from the start": {expect: krb5.ErrPreauthFailed, before: func(c *spakeClient) {
			c.key = mustKey(c.w.t, etype.AES256SHA1)
		}},
		"no cookie": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) { c.cookie = nil }},
		"altered cookie": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.cookie[len(c.cookie)/2] ^= 1
		}},
		"cookie too old": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.w.now = c.w.now.Add(cookieLife + time.Microsecond)
		}},
		"cookie as old as it may be": {expect: none, between: func(c *spakeClient) {
			c.w.now = c.w.now.Add(cookieLife)
		}},
		"cookie of another client": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			other := c.w.spake("fay", etype.AES256SHA1)
			other.begin()
			c.cookie = other.cookie
		}},
		"cookie of another conversation": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			other := c.w.spake("alice", etype.AES256SHA1)
			other.begin()
			c.cookie = other.cookie
		}},
		"cookie of another group's challenge": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			other := c.w.spake("alice", etype.AES256SHA1, spake.P256)
			other.begin()
			c.cookie = other.cookie
		}},
		"cookie from inside FAST": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			other := c.w.spake("alice", etype.AES256SHA1)
			other.armor = c.w.armor(c.w.login("WS1$"))
			other.begin()
			c.cookie = other.cookie
		}},
		"cookie of another mechanism": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.cookie = bakeFor(c.w, "alice", krb5.PAEncTimestamp, make([]byte, 80))
		}},
		"state cut off": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.cookie = bakeFor(c.w, "alice", krb5.PASPAKE, make([]byte, spakeStateHead-1))
		}},
		"a group taken off the support message on its way": {expect: krb5.ErrPreauthFailed, before: func(c *spakeClient) {
			c.groups = []spake.Group{spake.Edwards25519, spake.P256}
			c.onWire = func([]byte) []byte {
				return krb5.Encode(&spake.Message{Choice: spake.Support, Groups: []spake.Group{spake.P256}})
			}
		}},
		"altered challenge": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			var m spake.Message
			if m.Unmarshal(c.challenge) != nil {
				c.w.t.Fatal("no challenge")
			}
			m.PublicKey = []byte(strings.Repeat("\x03", 32)) // a point, as it happens
			c.challenge = krb5.Encode(&m)
		}},
		"another body": {expect: krb5.ErrPreauthFailed, after: func(c *spakeClient, m []byte) []byte {
			c.req.Nonce++
			return m
		}},
		"password changed meanwhile": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.w.change("alice", func(r *domain.Record) { r.Secrets.KVNO++ })
		}},
		"krbtgt rolled meanwhile": {expect: none, between: func(c *spakeClient) { c.w.roll() }},
		"another type of key listed meanwhile": {expect: krb5.ErrPreauthExpired, between: func(c *spakeClient) {
			c.req.ETypes = []int32{17}
		}},
		"factor under another type": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			c.response = func(m *spake.Message) { m.Encrypted.EType = 17 }
		}},
		"a second factor": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) { c.factor.Type = 2 }},
		"no element": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			c.response = func(m *spake.Message) { m.PublicKey = append(make([]byte, 31), 0x40) }
		}},
		"element of order one": {expect: krb5.ErrPreauthFailed, between: func(c *spakeClient) {
			c.response = func(m *spake.Message) { m.PublicKey = append([]byte{1}, make([]byte, 31)...) }
		}},
		"encdata": {expect: krb5.ErrPreauthFailed, after: func(c *spakeClient, m []byte) []byte {
			var r spake.Message
			if r.Unmarshal(m) != nil {
				c.w.t.Fatal("no response")
			}
			return krb5.Encode(&spake.Message{Choice: spake.EncData, Encrypted: r.Encrypted})
		}},
		"a challenge": {expect: krb5.ErrPreauthFailed, after: func(c *spakeClient, _ []byte) []byte { return c.challenge }},
		"malformed":   {expect: krb5.ErrPreauthFailed, after: func(_ *spakeClient, m []byte) []byte { return m[:len(m)-1] }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.spake("alice", etype.AES256SHA1)
			if c.before != nil {
				c.before(s)
			}
			s.begin()
			if c.between != nil {
				c.between(s)
			}
			m := s.answer()
			if c.after != nil {
				m = c.after(s, m)
			}
			reply := s.send(m, s.cookie)
			if c.expect == none {
				s.open(reply)
				return
			}
			e := w.refused(reply, c.expect)
			if c.expect == krb5.ErrPreauthFailed {
				if _, ok := w.methods(e).Find(krb5.PASPAKE); !ok {
					t.Error("no METHOD-DATA to begin again with")
				}
			}
		})
	}
}

func bakeFor(w *world, sam string, kind int32, state []byte) []byte {
	w.t.Helper()
	x := &exchange{k: w.kdc, now: w.now, client: w.rep.BySAM(sam)}
	c, err := x.bakeCookie(kind, state)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestSPAKEWithoutGroupInCommon(t *testing.T) {
	w := newWorld(t)
	s := w.spake("alice", etype.AES256SHA1)
	s.req.PAData = nil
	for _, groups := range [][]spake.Group{{3}, {4, 3, 0, -7}} {
		m := s.methods(s.send(krb5.Encode(&spake.Message{Choice: spake.Support, Groups: groups}), nil), krb5.ErrPreauthFailed)
		if _, ok := m.Find(krb5.PAEncTimestamp); !ok {
			t.Error("nothing to fall back to")
		}
	}
}

// TestSPAKEReplay: the same request again is a retransmission, and gets the same
// reply; its response in another request is worth nothing.
func TestSPAKEReplay(t *testing.T) {
	w := newWorld(t)
	s := w.spake("alice", etype.AES256SHA1)
	s.begin()
	m := s.answer()
	first := s.send(m, s.cookie)
	s.open(first)
	if again := s.send(m, s.cookie); !bytes.Equal(first, again) {
		t.Error("a retransmission has another reply")
	}
	// The same body and so a good response, in a request that differs outside.
	s.req.PAData = append(s.req.PAData, krb5.PAData{Type: krb5.PAReqEncPARep, Value: []byte{}})
	w.refused(w.send(s.req), krb5.ErrRepeat)

	s.req.Nonce++
	w.refused(s.send(m, s.cookie), krb5.ErrPreauthFailed)
	// To answer the same challenge once more is to have the password once more.
	s.open(s.send(s.answer(), s.cookie))
}

// TestNothingToGuessAt: until a client has proven itself, no answer holds
// anything that is encrypted under its key, or differs by it but for the one
// element that is as likely under any key (K10, and what a dictionary would be
// tried on).
func TestNothingToGuessAt(t *testing.T) {
	known := map[int32]bool{krb5.PAETypeInfo2: true, krb5.PASPAKE: true, krb5.PAEncTimestamp: true,
		krb5.PAFXFast: true, krb5.PAFXCookie: true, krb5.PAPKASReq: true, krb5.PAASFreshness: true}
	answers := func(password string) (out [][]byte, public [][]byte) {
		w := newWorld(t)
		alice := w.rep.BySAM("alice").Secrets
		l := legacy(t, password, testRealm+"alice")
		w.change("alice", func(r *domain.Record) { r.Secrets.Current, r.Secrets.KVNO = l.WithKVNO(2), alice.KVNO })
		w.rand.n, w.rand.left = 1000, nil
		for _, q := range []*krb5.KDCReq{w.asReq("alice"), w.asReq("ALICE")} {
			m := w.methods(w.refused(w.send(q), krb5.ErrPreauthRequired))
			for _, p := range m {
				if !known[p.Type] {
					t.Errorf("METHOD-DATA has %d", p.Type)
				}
			}
			out = append(out, krb5.Encode(m))
		}
		for _, g := range spakeGroups {
			s := w.spake("alice", etype.AES256SHA1, g)
			s.begin()
			var ch spake.Message
			if err := ch.Unmarshal(s.challenge); err != nil {
				t.Fatal(err)
			}
			public = append(public, ch.PublicKey)
		}
		return out, public
	}
	said, element := answers("one password")
	said2, element2 := answers("another one")
	for i := range said {
		if !bytes.Equal(said[i], said2[i]) {
			t.Errorf("answer %d depends on the password:\n%x\n%x", i, said[i], said2[i])
		}
	}
	for i := range element {
		if bytes.Equal(element[i], element2[i]) {
			t.Errorf("%v: the element does not depend on the password", spakeGroups[i])
		}
	}
}

// FuzzSPAKE reaches what only a client with a good cookie does.
func FuzzSPAKE(f *testing.F) {
	w := newWorld(f)
	var all []*spakeClient
	for _, g := range spakeGroups {
		c := w.spake("alice", etype.AES256SHA1, g)
		c.begin()
		f.Add(uint8(len(all)), c.answer())
		f.Add(uint8(len(all)), c.support)
		f.Add(uint8(len(all)), c.challenge)
		all = append(all, c)
	}
	f.Fuzz(func(t *testing.T, which uint8, message []byte) {
		w := *w
		w.t = t
		c := all[int(which)%len(all)]
		q := *c.req
		q.PAData = krb5.MethodData{{Type: krb5.PASPAKE, Value: message}, {Type: krb5.PAFXCookie, Value: c.cookie}}
		w.calm(krb5.Encode(&q))
	})
}

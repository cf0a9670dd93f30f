package kdc

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math"
	mrand "math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/krb5/pkinit"
	"skyrealm/krb5/spake"
)

// hide is --hide-unknown.
func hide(r *domain.Replica) {
	r.Decoys = domain.NewDecoys(r.Info, []byte("a secret of the domain's"))
}

// subject is a name in the classifier's experiment, and whether it is an account.
type subject struct {
	stem  string // eight characters
	known bool
	ask   krb5.PrincipalName
	canon bool
	see   []string // what the answers look like, without the name
}

// subjects are n names, half of them accounts of all sorts that a domain has, and
// asked for in all forms: nothing but the account tells the halves apart.
func (w *world) subjects(n int, chance *mrand.Rand) []subject {
	var records []domain.Record
	out := make([]subject, n)
	for i := range out {
		s := &out[i]
		s.stem = fmt.Sprintf("p%07x", i<<12|chance.IntN(1<<12))
		s.known = chance.IntN(2) == 0
		computer := chance.IntN(8) == 0
		if s.known {
			records = append(records, w.sort(s.stem, computer, chance))
		}
		s.canon = chance.IntN(2) == 0
		name, kind := s.stem, int32(krb5.NTPrincipal)
		switch form := chance.IntN(6); {
		case computer && form < 3:
			s.ask = krb5.Principal(krb5.NTSrvHst, "host", name+".aadds.contoso.test")
			continue
		case computer:
			name += "$"
		case form == 1:
			name, kind = name+"@contoso.test", krb5.NTEnterprise
		case form == 2:
			name, kind = `AADDS\`+name, krb5.NTMSPrincipal
		case form == 3:
			name, kind = name+"@AADDS", krb5.NTEnterprise
		case form == 4:
			name = strings.ToUpper(name)
		}
		s.ask = krb5.Principal(kind, name)
	}
	w.put(records...)
	return out
}

// sort is an account of a sort at random.
func (w *world) sort(stem string, computer bool, chance *mrand.Rand) domain.Record {
	r := w.user(stem, "")
	salt, rounds, history := testRealm+stem, uint32(4096), 0
	if computer {
		r.SAM, r.Kind, r.Class, r.UAC = stem+"$", domain.Computer, "computer", domain.UACWorkstation
		r.SPNs = []string{"HOST/" + stem, "HOST/" + stem + ".aadds.contoso.test"}
		salt = testRealm + "host" + stem + ".aadds.contoso.test"
		if chance.IntN(2) == 0 {
			r.Attrs = map[string][][]byte{"msDS-SupportedEncryptionTypes": {[]byte("28")}}
		}
	} else {
		r.UPN = stem + "@contoso.test"
		switch chance.IntN(8) {
		case 0: // synced, as it is written there
			r.SAM = strings.ToUpper(stem)
			salt, rounds = "CONTOSO.LOCAL"+r.SAM, 10000
		case 1, 2, 3:
			salt, history = "CONTOSO.LOCAL"+stem, chance.IntN(3)
		case 4: // an NT hash and no more
			rounds = 0
		case 5:
			r.SPNs = []string{"HTTP/" + stem}
		}
	}
	s, err := domain.RandomSecrets(salt, testNow, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range s.Current.Keys {
		s.Current.Keys[i].Iterations = rounds
	}
	if rounds == 0 {
		s.Current.Keys = nil
	}
	for range history {
		s.History = append(s.History, s.Current)
	}
	r.Secrets = s
	switch chance.IntN(16) {
	case 0:
		r.UAC |= domain.UACDisabled
	case 1:
		r.Secrets = domain.Secrets{} // no hashes yet
	case 2:
		if r.Attrs == nil {
			r.Attrs = map[string][][]byte{}
		}
		r.Attrs["accountExpires"] = [][]byte{[]byte("1")}
	}
	return r
}

// saw notes all that a reply shows, but for the name.
func (s *subject) saw(reply []byte, armor *armor) krb5.ErrorCode {
	var e krb5.Error
	if e.Unmarshal(reply) != nil {
		s.see = append(s.see, fmt.Sprintf("%d bytes, no error", len(reply)))
		return -1
	}
	text := fmt.Sprintf("%v, %d and %d bytes, from %q %v", e.Code, len(reply), len(e.EData), e.CRealm, s.blank(e.SName.String()))
	var m krb5.MethodData
	if m.Unmarshal(e.EData) != nil {
		text += " " + hex.EncodeToString(e.EData)
	}
	if armor != nil {
		m = armor.response(m).PAData
	}
	for _, pa := range m {
		text += fmt.Sprintf(" [%d: %d bytes", pa.Type, len(pa.Value))
		var info krb5.ETypeInfo2
		if pa.Type == krb5.PAETypeInfo2 && info.Unmarshal(pa.Value) == nil {
			for _, i := range info {
				text += fmt.Sprintf(" %d %q %x", i.EType, s.blank(i.Salt), i.S2KParams)
			}
		}
		text += "]"
	}
	s.see = append(s.see, text)
	return e.Code
}

// blank takes the name out of a salt, and leaves how it is written.
func (s *subject) blank(salt string) string {
	all := strings.ToUpper(s.stem)
	return strings.NewReplacer(s.stem, "<name>", all, "<NAME>", all[:1]+s.stem[1:], "<Name>").Replace(salt)
}

// talk has the conversations that begin without the password; with a card, also those
// that cost most.
func (w *world) talk(s *subject, machine *armor, card *card, whole bool) {
	plain := func() *krb5.KDCReq {
		q := w.asReq("")
		q.CName = s.ask
		if s.canon {
			q.Options |= krb5.OptCanonicalize
		}
		return q
	}
	send := func(alter func(q *krb5.KDCReq)) (krb5.ErrorCode, krb5.MethodData) {
		q := plain()
		alter(q)
		reply := w.send(q)
		var e krb5.Error
		var m krb5.MethodData
		if e.Unmarshal(reply) == nil {
			_ = m.Unmarshal(e.EData)
		}
		return s.saw(reply, nil), m
	}
	_, methods := send(func(*krb5.KDCReq) {})
	for _, types := range [][]int32{{18}, {17, 23}, {23}, {20, 19, 18}, {3, 1}} {
		send(func(q *krb5.KDCReq) { q.ETypes = types })
	}
	send(func(q *krb5.KDCReq) { q.SName = krb5.Principal(krb5.NTPrincipal, s.stem) }) // is it a service, and if not why?
	send(func(q *krb5.KDCReq) {
		q.Realm, q.CName = "CONTOSO.TEST", krb5.Principal(krb5.NTEnterprise, s.stem+"@contoso.test")
	})
	if !whole {
		return
	}

	// As a client with a wrong password: in the first type of key that it is told of.
	id := etype.AES256SHA1
	var info krb5.ETypeInfo2
	if v, ok := methods.Find(krb5.PAETypeInfo2); ok && info.Unmarshal(v) == nil && len(info) > 0 {
		id = etype.ID(info[0].EType)
	}
	wrong, err := etype.Random(id, w.rand)
	if err != nil {
		w.t.Fatal(err)
	}
	guess := w.proof(wrong, w.now)
	for range 3 { // one guess, sent three times
		send(func(q *krb5.KDCReq) { q.PAData = krb5.MethodData{guess} })
	}
	send(func(q *krb5.KDCReq) { q.PAData = krb5.MethodData{{Type: krb5.PAEncTimestamp, Value: []byte{0x30, 0}}} })
	q := plain()
	s.saw(w.sendRaw(machine.wrap(q)), machine)
	q.PAData = krb5.MethodData{machine.challenge(wrong)}
	s.saw(w.sendRaw(machine.wrap(q)), machine)
	send(func(q *krb5.KDCReq) { q.PAData = krb5.MethodData{{Type: krb5.PAPKASReq, Value: []byte{0x30, 0}}} })
	if card != nil { // somebody else's
		request, _ := w.request(plain(), card)
		s.saw(w.sendRaw(request), nil)
		c := &spakeClient{w: w, key: wrong, req: plain(), groups: []spake.Group{spake.Edwards25519}, factor: spake.Factor{Type: spake.SFNone}}
		c.support = krb5.Encode(&spake.Message{Choice: spake.Support, Groups: c.groups})
		reply := c.send(c.support, nil)
		if s.saw(reply, nil) == krb5.ErrMorePreauthRequired {
			m := c.methods(reply, krb5.ErrMorePreauthRequired)
			c.challenge, _ = m.Find(krb5.PASPAKE)
			c.cookie, _ = m.Find(krb5.PAFXCookie)
			answer := c.answer()
			s.saw(c.send(answer, c.cookie), nil)
			c.req.CName = krb5.Principal(krb5.NTPrincipal, s.stem+"x")
			s.saw(c.send(answer, c.cookie), nil) // a cookie of its name is no other's
		}
	}

	// Until it is locked, and what then.
	for i := range 6 {
		send(func(q *krb5.KDCReq) {
			q.PAData = krb5.MethodData{w.proof(wrong, w.now.Add(time.Duration(i+1)*time.Microsecond))}
		})
	}
	send(func(*krb5.KDCReq) {})
	send(func(q *krb5.KDCReq) { q.CName = krb5.Principal(krb5.NTPrincipal, s.stem) })
	s.saw(w.sendRaw(machine.wrap(plain())), machine)
}

// classify learns from the first half what known names look like, by each answer and
// by all together, and returns the best of what it guesses right of the second.
func classify(all []subject) (best float64, by string) {
	width := 0
	for i := range all {
		all[i].see = append(all[i].see, strings.Join(all[i].see, "\n"))
		width = max(width, len(all[i].see))
	}
	half := len(all) / 2
	for f := range width {
		value := func(s *subject) string {
			if f < len(s.see) {
				return s.see[f]
			}
			return ""
		}
		votes := map[string]int{}
		for i := range all[:half] {
			if s := &all[i]; s.known {
				votes[value(s)]++
			} else {
				votes[value(s)]--
			}
		}
		right := 0
		for i := range all[half:] {
			if s := &all[half+i]; votes[value(s)] > 0 == s.known {
				right++
			}
		}
		if share := float64(right) / float64(half); share > best {
			best, by = share, value(&all[0])
		}
	}
	return best, by
}

// K11: with the option on, a stranger does not tell names of accounts from others,
// by anything that is answered, before or after they are locked; with the option off
// the first answer tells all.
func TestHideUnknown(t *testing.T) {
	for _, c := range []struct {
		name         string
		on           bool
		n            int
		whole, armor bool
	}{
		{"on", true, 2400, true, false},
		{"on, with RequireArmor", true, 2400, false, true},
		{"off", false, 400, true, false},
		{"off, with RequireArmor", false, 400, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			if c.on {
				w = newWorld(t, hide)
			}
			w.lockout(nil)
			w.kdc.Policy.RequireArmor = c.armor
			ca := w.withPKINIT()
			alice := ca.card(person(w.anna()))
			machine := w.armor(w.login("WS1$"))
			chance := mrand.New(mrand.NewPCG(1, 2))
			all := w.subjects(c.n, chance)
			for i := range all {
				card := alice
				if i%8 != 0 {
					card = nil
				}
				w.talk(&all[i], machine, card, c.whole)
			}
			best, by := classify(all)
			t.Logf("%.1f %% of %d names are told right", 100*best, c.n/2)
			if c.on && best > 0.55 {
				t.Errorf("%.1f %% are told by answers as\n%s", 100*best, by)
			}
			if !c.on && best != 1 {
				t.Errorf("the classifier finds %.1f %%: it proves nothing", 100*best)
			}
		})
	}
}

// What can't be told before the password is proven is told after: that an account
// is disabled, may not sign in now, or that the service is none.
func TestHiddenReasons(t *testing.T) {
	w := newWorld(t, hide)
	w.lockout(nil)
	ca := w.withPKINIT()
	w.change("fay", func(r *domain.Record) { r.Attrs = map[string][][]byte{"accountExpires": {[]byte("1")}} })
	w.change("erin", func(r *domain.Record) { r.Secrets.Set = testNow })
	for _, c := range []struct {
		client, service string
		code            krb5.ErrorCode
	}{
		{"dave", "", krb5.ErrClientRevoked},
		{"fay", "", krb5.ErrClientRevoked},
		{"alice", "fay", krb5.ErrMustUseUser2User},
		{"alice", "zed", krb5.ErrSPrincipalUnknown},
	} {
		q := w.proven(c.client, etype.AES256SHA1)
		if c.service != "" {
			q.SName = krb5.Principal(krb5.NTPrincipal, c.service)
		}
		proof := q.PAData
		q.PAData = nil
		w.refused(w.send(q), krb5.ErrPreauthRequired)
		q.PAData = proof
		w.refused(w.send(q), c.code)
	}
	// Nobody in particular asks for a service.
	for _, service := range []string{"alice", "zed", "web", "HTTP/none"} {
		q := w.asReq("")
		q.CName, q.SName = anonymous, krb5.Principal(krb5.NTPrincipal, strings.Split(service, "/")...)
		q.Options |= krb5.OptRequestAnonymous
		w.refused(w.send(q), krb5.ErrPolicy)
	}
	// Whoever has a certificate needs no keys; that there are none, the log says.
	q := w.asReq("carol")
	q.PAData = krb5.MethodData{w.proof(w.key("alice", etype.AES256SHA1), w.now)}
	w.refused(w.send(q), krb5.ErrPreauthFailed)
	if n, _, _, _ := w.rep.Lockout.BadPasswords(w.rep.BySAM("carol")); n != 1 {
		t.Errorf("carol's badPwdCount is %d", n)
	}
	carol := w.rep.BySAM("carol")
	w.signIn(w.asReq("carol"), ca.card(person(pkinit.Identity{SID: carol.SID().String(),
		Names: []pkinit.Name{{Realm: testRealm, Principal: krb5.Principal(krb5.NTPrincipal, "carol")}}})))
	w.login("alice")
	w.refused(w.send(w.asReq("krbtgt")), krb5.ErrClientRevoked)
}

// A decoy signs in with nothing: not with its own keys, if they were known, and not
// with a cookie that another decoy was given.
func TestDecoySignsInWithNothing(t *testing.T) {
	w := newWorld(t, hide)
	w.lockout(nil)
	key := func(name string) etype.Key {
		k, ok := w.rep.Decoys.Named(name).Secrets.Current.Key(etype.AES256SHA1)
		if !ok {
			t.Fatal("no key")
		}
		return k.Key
	}
	// The sorts of accounts in this world differ; these take after one with AES keys.
	var with []string
	for i := 0; len(with) < 2; i++ {
		name := fmt.Sprint("zed", i)
		if _, ok := w.rep.Decoys.Named(name).Secrets.Current.Key(etype.AES256SHA1); ok {
			with = append(with, name)
		}
	}
	q := w.asReq(with[0])
	q.PAData = krb5.MethodData{w.proof(key(with[0]), w.now)}
	w.refused(w.send(q), krb5.ErrPreauthFailed)
	a := w.armor(w.login("WS1$"))
	q.PAData = krb5.MethodData{a.challenge(key(with[0]))}
	a.refused(w.sendRaw(a.wrap(q)), krb5.ErrPreauthFailed)

	c := &spakeClient{w: w, key: key(with[0]), req: w.asReq(with[0]), groups: []spake.Group{spake.Edwards25519}, factor: spake.Factor{Type: spake.SFNone}}
	c.begin()
	answer := c.answer()
	w.refused(c.send(answer, c.cookie), krb5.ErrPreauthFailed)
	c.req.CName = krb5.Principal(krb5.NTPrincipal, with[1])
	w.refused(c.send(answer, c.cookie), krb5.ErrPreauthExpired)
}

// The security log and the log have the truth.
func TestDecoysAreWrittenDown(t *testing.T) {
	w := newWorld(t, hide)
	w.lockout(nil)
	s := &ledger{}
	w.rep.Audit = domain.NewAudit(s, slog.New(slog.DiscardHandler))
	var log strings.Builder
	w.kdc.Log = slog.New(slog.NewTextHandler(&log, nil))
	const asked = "zed@CONTOSO.test"
	wrong, err := etype.Random(w.rep.Decoys.Named(asked).Secrets.Current.Keys[0].Key.ID(), w.rand)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(w.send(w.asReq(asked)), krb5.ErrPreauthRequired)
	for i := range 6 {
		q := w.asReq(asked)
		q.Options |= krb5.OptCanonicalize
		q.PAData = krb5.MethodData{w.proof(wrong, w.now.Add(time.Duration(i)*time.Microsecond))}
		code := krb5.ErrPreauthFailed
		if i == 5 {
			code = krb5.ErrClientRevoked
		}
		w.refused(w.send(q), code)
	}
	w.refused(w.send(w.asReq("carol")), krb5.ErrPreauthRequired)
	q := w.asReq("carol")
	q.PAData = krb5.MethodData{w.proof(w.key("alice", etype.AES256SHA1), w.now)}
	w.refused(w.send(q), krb5.ErrPreauthFailed)

	ctx, stop := context.WithCancel(t.Context())
	stop()
	w.rep.Audit.Run(ctx)
	if len(s.events) != 8 {
		t.Fatalf("%d events: %+v", len(s.events), s.events)
	}
	for i, e := range s.events[:7] {
		if e.ID != domain.EventTGT || e.Status != uint32(krb5.ErrCPrincipalUnknown) || e.RID != 0 || e.Account != `zed\@CONTOSO.test` || e.EType != -1 {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	if e := s.events[7]; e.ID != domain.EventPreAuthFailed || e.RID != w.rep.BySAM("carol").RID {
		t.Errorf("the event of an account without keys is %+v", e)
	}
	for _, want := range []string{"no such client; it was told: wrong password", "no such client; it was told: account locked out",
		"the client has no keys yet; it was told: wrong password"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in\n%s", want, log.String())
		}
	}
}

// asked is a database that knows how often it was asked.
type asked struct{ n atomic.Int64 }

func (a *asked) CountGuesses(_ context.Context, add []domain.Guesses, _ *domain.Policy) ([]domain.Guessed, error) {
	out := make([]domain.Guessed, len(add))
	for i := range out {
		out[i] = domain.Guessed{Account: add[i].Account, KVNO: add[i].KVNO, Count: 1, Rev: a.n.Add(1), Counted: true}
	}
	return out, nil
}

func (a *asked) Guessed(context.Context, int64) ([]domain.Guessed, int64, error) { return nil, 0, nil }

// A name that nobody has costs what another does: as much memory, as much chance, and
// as many questions to the database.
func TestHiddenCostsTheSame(t *testing.T) {
	w := newWorld(t, hide)
	// All accounts are of one sort, or the decoys would be of several.
	for _, name := range []string{"bob", "müller", "web", "old", "dave", "erin", "fay"} {
		w.put(domain.Record{GUID: w.rep.BySAM(name).GUID, Deleted: true})
	}
	w.put(domain.Record{GUID: w.rep.Info.GUID, Kind: domain.Container, Class: "domainDNS", RDN: "aadds", Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"lockoutThreshold": {[]byte("0")}}}) // so that all guesses are counted
	db := &asked{}
	w.counting(db)
	wrong, err := etype.Random(etype.AES256SHA1, w.rand)
	if err != nil {
		t.Fatal(err)
	}
	type cost struct {
		allocs    float64
		chance    uint64
		questions int64
	}
	const runs = 20
	of := func(name string, padata func(i int) krb5.MethodData, code krb5.ErrorCode) (c cost) {
		requests := make([][]byte, runs+1) // one to warm up
		for i := range requests {
			q := w.asReq(name)
			q.PAData = padata(i)
			requests[i] = krb5.Encode(q)
		}
		n, chance, questions := 0, w.rand.n, db.n.Load()
		c.allocs = testing.AllocsPerRun(runs, func() {
			w.refused(w.sendRaw(requests[n]), code)
			n++
		})
		return cost{c.allocs, w.rand.n - chance, db.n.Load() - questions}
	}
	support := krb5.Encode(&spake.Message{Choice: spake.Support, Groups: []spake.Group{spake.Edwards25519}})
	for name, c := range map[string]struct {
		padata    func(i int) krb5.MethodData
		code      krb5.ErrorCode
		questions int64
	}{
		"a first request": {func(int) krb5.MethodData { return nil }, krb5.ErrPreauthRequired, 0},
		"a wrong timestamp": {func(i int) krb5.MethodData {
			return krb5.MethodData{w.proof(wrong, w.now.Add(time.Duration(i)*time.Microsecond))}
		}, krb5.ErrPreauthFailed, runs + 1},
		"a SPAKE challenge": {func(int) krb5.MethodData { return krb5.MethodData{{Type: krb5.PASPAKE, Value: support}} },
			krb5.ErrMorePreauthRequired, 0},
	} {
		known, unknown := of("alice", c.padata, c.code), of("alicf", c.padata, c.code)
		t.Logf("%s: %+v, of nobody %+v", name, known, unknown)
		if known.questions != c.questions || unknown.questions != c.questions {
			t.Errorf("%s: %d questions to the database, %d of nobody", name, known.questions, unknown.questions)
		}
		if d := int64(known.chance - unknown.chance); d < -1 || d > 1 { // a rest of the block before
			t.Errorf("%s: %d blocks of chance, %d of nobody", name, known.chance, unknown.chance)
		}
		if math.Abs(known.allocs-unknown.allocs) > 10 { // a decoy is twenty; the race detector empties pools at random
			t.Errorf("%s: %v allocations, %v of nobody", name, known.allocs, unknown.allocs)
		}
	}
}

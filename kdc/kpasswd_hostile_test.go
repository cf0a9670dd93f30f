package kdc

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/tenant"
)

// good is a request that changes cleo's password.
func (h *house) good() []byte { return h.wire(h.changing(h.changeTicket("cleo"), newPassword)) }

// silent expects no answer, and no change.
func (h *house) silent(what string, b []byte) {
	h.t.Helper()
	dropped := h.kpasswd.Count.Sockets.Dropped.Load()
	if reply := h.handle(b); reply != nil || h.kpasswd.Count.Sockets.Dropped.Load() != dropped+1 {
		h.t.Errorf("%s is answered with %x", what, reply)
	}
}

// TestKpasswdNoAnswer: errors and its own messages least of all are answered, or
// two servers would talk for ever (trust.md P03, CVE-2002-2443).
func TestKpasswdNoAnswer(t *testing.T) {
	h := newHouse(t)
	good := h.good()
	e := krb5.Encode(&krb5.Error{STime: h.now, Code: krb5.ErrGeneric, Realm: testRealm, SName: krb5.Principal(2, "kadmin", "changepw")})
	frame := func(version uint16, ap, body []byte) []byte {
		return krb5.Encode(&krb5.Kpasswd{Version: version, AP: ap, Body: body})
	}
	var parts krb5.Kpasswd
	if err := parts.Unmarshal(good); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "a byte": {0}, "an empty header": {0, 6, 0, 1, 0, 0}, "HTTP": []byte("POST / HTTP/1.1\r\n\r\n"),
		"a KRB-ERROR":            e,
		"a framed KRB-ERROR":     frame(1, nil, e),
		"a framed one of setpw":  frame(0xff80, nil, e),
		"an AP-REQ with an e":    frame(1, parts.AP, e),
		"an AP-REQ alone":        frame(1, nil, parts.AP),
		"a KRB-PRIV alone":       frame(1, nil, parts.Body),
		"a KRB-PRIV twice":       frame(1, parts.Body, parts.Body),
		"an AS-REQ":              krb5.Encode(h.proven("cleo", 18)),
		"an AS-REQ for AP":       frame(1, krb5.Encode(h.proven("cleo", 18)), parts.Body),
		"an AP-REQ and trailing": frame(1, append(bytes.Clone(parts.AP), 0), parts.Body),
		"a KRB-PRIV and more":    frame(1, parts.AP, append(bytes.Clone(parts.Body), 0)),
	} {
		h.silent(what, b)
	}
	// Every kind of answer of its own.
	ask := func(alter func(q *changing)) []byte {
		q := h.changing(h.changeTicket("alice"), "short1")
		alter(q)
		return h.handle(h.wire(q))
	}
	for what, b := range map[string][]byte{
		"a refusal":              ask(func(*changing) {}),
		"an authentication":      ask(func(q *changing) { q.part.SeqNumber++ }),
		"one of the other kind":  ask(func(q *changing) { q.part.SeqNumber++; q.version = krb5.KpasswdSet }),
		"that a version is none": ask(func(q *changing) { q.version = 7 }),
		"a malformed one":        ask(func(q *changing) { q.version, q.user = krb5.KpasswdSet, []byte("no ChangePasswdData") }),
		"a success":              h.handle(good),
	} {
		if b == nil {
			t.Errorf("%s: no answer to begin with", what)
		}
		h.silent(what, b)
		if reply := h.kdc.Handle(t.Context(), b, client4, false); reply != nil {
			t.Errorf("the KDC answers %s", what)
		}
	}
}

// TestKpasswdTwoServers: what one server answers, sent on to another as if it came
// from there, ends there.
func TestKpasswdTwoServers(t *testing.T) {
	h := newHouse(t)
	q := h.changing(h.changeTicket("alice"), "short1")
	q.part.SeqNumber++
	message, packets := h.wire(q), 0
	for message != nil && packets < 100 {
		message = h.handle(message)
		packets++
	}
	if packets != 2 { // an answer to the trigger, and none to the answer
		t.Errorf("%d packets", packets)
	}
}

// TestKpasswdVersions: a version that is none is told so (RFC 3244 §2).
func TestKpasswdVersions(t *testing.T) {
	h := newHouse(t)
	for _, version := range []uint16{0, 2, 0xff7f, 0xff81, 0xffff} {
		q := h.changing(h.changeTicket("cleo"), newPassword)
		q.version = version
		h.expect(q, krb5.KpasswdBadVersion)
	}
	q := h.changing(h.changeTicket("cleo"), "")
	q.version, q.user = krb5.KpasswdSet, []byte(newPassword)
	h.expect(q, krb5.KpasswdMalformed)
	q = h.setting(h.changeTicket("root"), "web", newPassword)
	q.realm = "OTHER.TEST"
	h.expect(q, krb5.KpasswdHardError)
}

// TestKpasswdLengths moves each length by up to 6, and cuts (trust.md P04,
// CVE-2026-58216).
func TestKpasswdLengths(t *testing.T) {
	h := newHouse(t)
	good := h.good()
	for _, at := range []int{0, 4} {
		for off := -6; off <= 6; off++ {
			b := bytes.Clone(good)
			binary.BigEndian.PutUint16(b[at:], uint16(int(binary.BigEndian.Uint16(b[at:]))+off))
			if off != 0 {
				h.silent(fmt.Sprintf("length at %d off by %d", at, off), b)
			}
		}
	}
	for n := range good {
		h.silent("a cut request", good[:n])
		if n >= 6 {
			b := bytes.Clone(good[:n])
			binary.BigEndian.PutUint16(b, uint16(n))
			h.silent("a cut request with its length", b)
		}
	}
	if !h.knows("cleo", testPassword) {
		t.Error("the password was changed")
	}
	if h.handle(good); !h.knows("cleo", newPassword) {
		t.Error("the whole of it does nothing")
	}
}

// TestKpasswdFlipped changes every byte: whatever it makes of the request, the
// password is the old one or the new one, and never becomes another.
func TestKpasswdFlipped(t *testing.T) {
	h := newHouse(t)
	good := h.good()
	for i := range good {
		for _, bit := range []byte{1, 0x20, 0x80} {
			b := bytes.Clone(good)
			b[i] ^= bit
			reply := h.handle(b)
			var e krb5.Error
			var frame krb5.Kpasswd
			if reply != nil && e.Unmarshal(reply) != nil && frame.Unmarshal(reply) != nil {
				t.Fatalf("byte %d: %x", i, reply)
			}
		}
	}
	if n := h.kpasswd.Count.Sockets.Panics.Load(); n != 0 {
		t.Errorf("%d panics", n)
	}
	if !h.knows("cleo", testPassword) && !h.knows("cleo", newPassword) {
		t.Error("another password")
	}
}

// TestKpasswdSameVerdict: 500 candidates get the verdict that the API's change
// gives them (trust.md P06).
func TestKpasswdSameVerdict(t *testing.T) {
	h := newHouse(t)
	cleo := h.rep.BySAM("cleo")
	user := h.users[cleo.Key]
	digest, set := h.sets[cleo.Key].Digest, h.sets[cleo.Key]
	same := &cleoStore{tenantStore: tenantStore{h: h}, set: tenant.Credential{Object: user.ID, Version: set.Version, Digest: digest}}
	api := &tenant.Service{Store: same, Now: h.tenant.Now, Rand: &stream{}}
	pieces := []string{"", "a", "Ab", "abcdefg", "ABCDEFGH", "12345678", "!?", "cleo", "Cleo", "ä", "\x00", " ", "\t", "😀", "Passw0rd", testPassword, "-and-more"}
	took := 0
	for i := range 500 {
		candidate := pieces[i%len(pieces)] + pieces[i/len(pieces)%len(pieces)] + pieces[(i*7+i/31)%len(pieces)]
		if i == 499 {
			candidate = testPassword
		}
		_, want := api.ChangePassword(t.Context(), user.ID, testPassword, candidate)

		// Back to the old password, as if nobody had changed it.
		h.now = h.now.Add(time.Second)
		h.sets[user.ID] = set
		r := h.records[cleo.GUID]
		r.Secrets = cleo.Secrets.Record()
		h.follow(r)
		result, text := func() (krb5.KpasswdResult, string) {
			q := h.changing(h.changeTicket("cleo"), candidate)
			return h.answer(q, h.handle(h.wire(q)))
		}()
		if (want == nil) != (result == krb5.KpasswdSuccess) || want != nil && want.Error() != "tenant: password policy: "+text {
			t.Errorf("%q: the API says %v, kpasswd %d %s", candidate, want, result, text)
		}
		if want == nil {
			took++
		}
	}
	if took < 50 || took > 450 {
		t.Errorf("%d of 500 were taken, so they tell nothing", took)
	}
}

// cleoStore has one credential, which nothing changes.
type cleoStore struct {
	tenantStore
	set tenant.Credential
}

func (s *cleoStore) Credential(context.Context, tenant.ID) (*tenant.Credential, error) {
	set := s.set
	return &set, nil
}

func (s *cleoStore) ReplaceCredential(context.Context, tenant.Credential, int64, *tenant.Record) (tenant.USN, error) {
	return 1, nil
}

// TestKpasswdSockets: by UDP and by TCP, and no answer to a length that is none.
func TestKpasswdSockets(t *testing.T) {
	h := newHouse(t)
	s, err := h.kpasswd.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.serve(s)
	for i, network := range []string{"udp", "tcp"} {
		c, err := net.Dial(network, s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		q := h.changing(h.changeTicket("cleo"), fmt.Sprintf("Passw0rd-by-%s", network))
		message := h.wire(q)
		if network == "tcp" {
			message = frame(message)
		}
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
		var reply []byte
		if network == "tcp" {
			reply = readFrame(t, c)
		} else {
			reply = make([]byte, 4096)
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			n, err := c.Read(reply)
			if err != nil {
				t.Fatal(err)
			}
			reply = reply[:n]
		}
		if result, text := h.answer(q, reply); result != krb5.KpasswdSuccess {
			t.Errorf("%s: %d %s", network, result, text)
		}
		if kvno := h.rep.BySAM("cleo").Secrets.KVNO; kvno != uint32(3+i) {
			t.Errorf("kvno %d", kvno)
		}
		h.now = h.now.Add(time.Second)
	}
	c := dial(t, s)
	if _, err := c.Write([]byte{0, 1, 0, 1}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Error("a length above the limit is answered")
	}
	if got := h.kpasswd.sender(); got.Type != krb5.AddrIPv4 || !bytes.Equal(got.Address, []byte{127, 0, 0, 1}) {
		t.Errorf("replies are from %+v", got)
	}
}

// FuzzKpasswd sends anything, framed and not, with keys that are the server's so
// that what is inside is reached.
func FuzzKpasswd(f *testing.F) {
	h := newHouse(f)
	g := h.changeTicket("cleo")
	f.Add(h.good(), []byte(nil), uint16(0))
	f.Add([]byte(nil), krb5.Encode(&krb5.ChangePasswdData{NewPassword: krb5.NewSecret([]byte("new")), TargetName: krb5.Principal(1, "web"), TargetRealm: testRealm}), krb5.KpasswdSet)
	f.Add([]byte{0, 6, 0, 1, 0, 0}, []byte("Sh0rt!"), krb5.KpasswdChange)
	f.Fuzz(func(t *testing.T, raw, user []byte, version uint16) {
		h.t, h.world.t = t, t
		h.handle(raw)
		if len(user) < 1<<14 {
			q := h.changing(g, "")
			q.user, q.version = append([]byte{}, user...), version
			h.now = h.now.Add(time.Microsecond)
			if h.now.Sub(testNow) > time.Minute { // for ever within the ticket's life
				h.now = testNow
			}
			q.auth.CTime = h.now
			if reply := h.handle(h.wire(q)); reply != nil {
				h.answer(q, reply)
			}
		}
		if n := h.kpasswd.Count.Sockets.Panics.Load(); n != 0 {
			t.Fatal("panic")
		}
	})
}

// TestLongPasswords (trust.md K17, CVE-2020-1722): what is longer than a password can
// be is refused before it costs anything, also where a hash of it is stored. Limits of
// the messages come before that; this is behind them.
func TestLongPasswords(t *testing.T) {
	h := newHouse(t)
	cleo := h.rep.BySAM("cleo")
	id, set := cleo.Key, h.sets[cleo.Key]
	ways := map[string]func(password string) error{
		"bind": func(p string) error { _, err := h.rep.Authenticate(t.Context(), h.now, "alice", p); return err },
		"bind of nobody": func(p string) error {
			_, err := h.rep.Authenticate(t.Context(), h.now, "nobody", p)
			return err
		},
		"the old one": func(p string) error { _, err := h.tenant.ChangePassword(t.Context(), id, p, newPassword); return err },
		"the new one": func(p string) error { _, err := h.tenant.ChangePassword(t.Context(), id, testPassword, p); return err },
		"the new one proven": func(p string) error {
			_, err := h.tenant.ChangeProvenPassword(t.Context(), id, set.Version, p)
			return err
		},
		"kpasswd": func(p string) error { return h.kpasswd.Directory.ChangePassword(t.Context(), h.rep.BySAM("alice"), p) },
		"kpasswd, another's": func(p string) error {
			return h.kpasswd.Directory.SetPassword(t.Context(), h.rep.BySAM("root"), h.rep.BySAM("web"), p, nil)
		},
	}
	for _, password := range []string{strings.Repeat("Aa1!", 64) + "x", strings.Repeat("\U0001f600", 128) + "x", strings.Repeat("Aa1!", 256),
		strings.Repeat("Aa1!", 1<<18), strings.Repeat("Aa1!", 1<<22)} {
		if len(password) <= 1024 { // as if it were the password
			h.change("alice", func(r *domain.Record) { r.Secrets.Current.NT = cred.NTHashOf(password) })
		}
		for name, try := range ways {
			least := time.Hour
			for range 5 { // the machine has other things to do as well
				start := time.Now()
				if try(password) == nil {
					t.Fatalf("%s: %d bytes are taken", name, len(password))
				}
				least = min(least, time.Since(start))
			}
			// The old password is there to be compared with, whatever the new one is.
			if name != "the new one" && least > 5*time.Millisecond {
				t.Fatalf("%s: %d bytes take %v", name, len(password), least)
			}
		}
	}
	if !h.knows("cleo", testPassword) || !h.knows("web", testPassword) {
		t.Error("a password was changed")
	}
	h.expect(h.changing(h.changeTicket("cleo"), newPassword), krb5.KpasswdSuccess)
}

// TestDomainSameVerdict: candidates for an account that was made in the domain are
// judged alike, whichever way they come (trust.md P06).
func TestDomainSameVerdict(t *testing.T) {
	h := newHouse(t)
	root, before, d := h.rep.BySAM("root"), h.records[h.rep.BySAM("web").GUID], h.kpasswd.Directory
	quoted := func(password string) (b []byte) {
		for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
			b = binary.LittleEndian.AppendUint16(b, u)
		}
		return b
	}
	ways := map[string]func(web *domain.Object, p string) error{
		"own change":  func(web *domain.Object, p string) error { return d.ChangePassword(t.Context(), web, p) },
		"kpasswd set": func(web *domain.Object, p string) error { return d.SetPassword(t.Context(), root, web, p, nil) },
		"LDAP": func(web *domain.Object, p string) error {
			return d.Modify(t.Context(), root, web.Entry.DN, []domain.Mod{{Op: domain.ModReplace, Attr: "unicodePwd", Values: [][]byte{quoted(p)}}})
		},
	}
	pieces := []string{"", "a", "Ab", "123", "!?", "ä", " ", "\U0001f600", strings.Repeat("x", 250)}
	took := 0
	const candidates = 100
	for i := range candidates {
		candidate := pieces[i%len(pieces)] + pieces[i/len(pieces)%len(pieces)] + pieces[(i*7+i/31)%len(pieces)] + pieces[i%4]
		verdicts := map[string]bool{}
		for name, way := range ways {
			verdicts[name] = way(h.rep.BySAM("web"), candidate) == nil
			if taken := h.rep.BySAM("web").Secrets.Current.NT.Equal(cred.NTHashOf(candidate)); taken != verdicts[name] {
				t.Errorf("%s: %q is said to be taken: %v", name, candidate, verdicts[name])
			}
			h.follow(before)
		}
		if verdicts["own change"] != verdicts["kpasswd set"] || verdicts["LDAP"] != verdicts["kpasswd set"] {
			t.Errorf("%q: %v", candidate, verdicts)
		}
		if verdicts["LDAP"] {
			took++
		}
	}
	if took < candidates/10 || took > candidates*9/10 {
		t.Errorf("%d of %d were taken, so they tell nothing", took, candidates)
	}
}

package agent

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"skyrealm/api"
	"skyrealm/cred"
	"skyrealm/nbfx"
	"skyrealm/store"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// real is a tenant of the real thing, behind a round tripper.
type real struct {
	*tenant.Service
	found   *tenant.Founding
	handler http.Handler
	opener  cred.Opener
	seen    map[string]int // requests, by path or operation
}

func newReal(t *testing.T, now func() time.Time) *real {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	db, err := store.Open(t.Context(), harness.Database(t), store.Options{Rand: rand.Reader, Log: log})
	must(err)
	t.Cleanup(db.Close)
	ring, err := cred.NewRing(rand.Reader)
	must(err)
	r := &real{seen: map[string]int{}}
	r.opener.Private, err = cred.NewPrivateKey(rand.Reader)
	must(err)
	jwk, err := r.opener.Private.Public().JWK()
	must(err)
	r.opener.Envelope, err = cred.NewEnvelopeKey("corp.test", now(), rand.Reader)
	must(err)
	r.found, err = tenant.Found("corp.test", "AADDS.CORP.TEST", jwk, r.opener.Envelope.CertificateDER(), now().Add(-time.Hour), rand.Reader)
	must(err)
	st := db.Tenant(ring)
	must(st.Create(t.Context(), r.found.Settings, r.found.Objects, []tenant.App{r.found.App}))
	r.Service = &tenant.Service{Store: st, Now: now, Rand: rand.Reader}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	r.handler, err = (&api.Server{Tenant: r.Service, Key: key, Log: log, Metrics: prometheus.NewRegistry(), Now: now, Rand: rand.Reader}).Handler(t.Context())
	must(err)
	return r
}

func (r *real) RoundTrip(req *http.Request) (*http.Response, error) {
	path := req.URL.Path
	if op := req.Header.Get("x-ms-aadmsods-apiaction"); op != "" {
		path = op
	}
	r.seen[path]++
	rec := httptest.NewRecorder()
	r.handler.ServeHTTP(rec, req)
	return rec.Result(), nil
}

// state is what an agent made of the tenant: objects, lists, passwords and what the
// domain gets, without what is new with each tenant.
func (r *real) state(t *testing.T, d *directory) map[string]any {
	t.Helper()
	out := map[string]any{}
	var anchors []string
	for g := range d.objects {
		anchors = append(anchors, g.base64())
	}
	objects, err := r.Store.ObjectsByAnchor(t.Context(), append(anchors, id(90).base64()))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		lists, err := r.Store.Members(t.Context(), []tenant.ID{o.ID})
		if err != nil {
			t.Fatal(err)
		}
		var members []string
		for _, m := range lists[o.ID] {
			members = append(members, m.Anchor)
		}
		slices.Sort(members)
		set, err := r.Store.Credential(t.Context(), o.ID)
		if err != nil {
			t.Fatal(err)
		}
		password := "none"
		if set != nil {
			l, err := r.opener.Open(cred.Binding{Tenant: r.found.Settings.TenantID.String(), Subject: o.Anchor, Version: set.Version}, set.Legacy)
			if err != nil {
				t.Fatal(o.UPN, err)
			}
			var keys []string
			for _, k := range l.Keys {
				keys = append(keys, fmt.Sprintf("%d %s %x", k.Key.ID(), k.Salt, k.Key.Expose()))
			}
			slices.Sort(keys)
			password = fmt.Sprintf("%d %t %x %s verifies %t", set.Version, set.MustChange, l.NT.Expose(), keys, set.Digest.Verify("Passw0rd-of-"+o.Profile.OnPremisesSAMAccountName))
		}
		o.ID, o.Revision, o.Created, o.Changed = tenant.ID{}, 0, time.Time{}, time.Time{}
		o.Profile.LastSync = time.Time{}
		deleted := !o.Deleted.IsZero()
		o.Deleted = time.Time{}
		out[o.Anchor] = []any{o, deleted, members, password}
	}
	return out
}

// TestWire: an agent that speaks the real service's protocol leaves a tenant as one
// that speaks the sync API does, run after run.
func TestWire(t *testing.T) {
	at := testNow
	now := func() time.Time { return at }
	d := &directory{objects: map[GUID]*change{}}
	person := func(n int, name, password string, more ...string) {
		c := d.put(n, name, "")
		c.attrs["objectSid"] = []string{fmt.Sprintf("S-1-5-21-1-2-3-%d", 1100+n)}
		for i := 0; i < len(more); i += 2 {
			c.attrs[more[i]] = strings.Split(more[i+1], ";")
		}
		legacy, err := cred.NewLegacy(password, "CORP.TEST"+name)
		if err != nil {
			t.Fatal(err)
		}
		c.version, c.changed, c.legacy = 1, testNow, legacy
	}
	person(1, "ada", "Passw0rd-of-ada", "displayName", "Ada Lovelace <&> äöü 🐴", "mail", "ada@corp.test", "proxyAddresses", "SMTP:ada@corp.test;smtp:al@corp.test", "department", "Engines")
	person(2, "bob", "Passw0rd-of-bob", "userAccountControl", "514")
	person(3, "eve", "Passw0rd-of-eve", "proxyAddresses", "SMTP:eve@corp.test;smtp:al@corp.test") // an address that ada has
	person(90, "leaver", "Passw0rd-of-leaver")
	for n := range 60 { // more than one request
		person(200+n, fmt.Sprint("many", n), fmt.Sprint("Passw0rd-of-many", n))
	}
	d.group(20, "Crew", 1, 2, 21)
	d.group(21, "Inner", 3)

	ways := map[string]*real{"rest": newReal(t, now), "wire": newReal(t, now)}
	agents := map[string]*Agent{}
	var log bytes.Buffer
	for name, r := range ways {
		st, err := OpenStore(filepath.Join(t.TempDir(), name), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		c := &Client{BaseURL: "https://host", HTTP: &http.Client{Transport: r}, ClientID: r.found.App.ClientID.String(),
			Secret: Secret(r.found.AgentSecret), Now: now, Rand: rand.Reader, Machine: st.Agent}
		agents[name] = &Agent{Service: c, Source: d, Store: st, Log: slog.New(slog.NewTextHandler(&log, nil))}
		if name == "wire" {
			agents[name].Service = NewWire(c)
		}
	}
	whole := slices.Clone(d.pending)
	step := func(what string, change func()) {
		t.Helper()
		at = at.Add(time.Minute)
		d.pending = nil
		change()
		said := d.pending
		if what == "first" {
			said = whole
		}
		runs := map[string]Run{}
		for name, a := range agents {
			d.pending = said
			run, err := a.Once(t.Context(), false)
			if err != nil {
				t.Fatalf("%s, %s: %v\n%s", what, name, err, &log)
			}
			run.Began, run.Ended = time.Time{}, time.Time{}
			runs[name] = run
		}
		if runs["rest"] != runs["wire"] {
			t.Errorf("%s: by REST %+v, by the wire %+v", what, runs["rest"], runs["wire"])
		}
		rest, wire := ways["rest"].state(t, d), ways["wire"].state(t, d)
		for anchor := range rest {
			if !reflect.DeepEqual(rest[anchor], wire[anchor]) {
				t.Errorf("%s: %s\nby REST     %+v\nby the wire %+v", what, anchor, rest[anchor], wire[anchor])
			}
		}
		if len(rest) != len(wire) {
			t.Errorf("%s: %d and %d objects", what, len(rest), len(wire))
		}
	}
	step("first", func() {})
	step("nothing", func() {})
	step("a new password", func() {
		c := *d.objects[id(1)]
		legacy, _ := cred.NewLegacy("Passw0rd-of-ada", "CORP.TESTada")
		c.version, c.changed, c.legacy = 2, at, legacy
		d.objects[c.guid] = &c
		d.say(c)
	})
	step("a leaver, a mail address that goes, a group that shrinks", func() {
		d.remove(90)
		c := *d.objects[id(1)]
		c.attrs = map[string][]string{"sAMAccountName": {"ada"}, "userPrincipalName": {"ada@corp.test"}, "userAccountControl": {"512"}, "pwdLastSet": c.attrs["pwdLastSet"]}
		d.objects[c.guid] = &c
		d.say(c)
		d.group(20, "Crew", 2)
	})

	// Signed in for real, with what came over the wire.
	if _, _, err := ways["wire"].SignIn(t.Context(), "many7@corp.test", "Passw0rd-of-many7"); err != nil {
		t.Error(err)
	}
	seen := ways["wire"].seen
	for _, op := range []string{"GetCompanyConfiguration", "GetWindowsCredentialsSyncConfig", "ProvisionAzureADSyncObjects", "ProvisionCredentials"} {
		if seen[op] == 0 {
			t.Errorf("no %s: %v", op, seen)
		}
	}
	for path := range seen {
		if strings.Contains(path, "/sync/v1") {
			t.Errorf("the wire's agent used %s", path)
		}
	}
	// It pings where it has nothing to send, and says so when it may not.
	if err := agents["wire"].Service.Heartbeat(t.Context()); err != nil {
		t.Error(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(ways["wire"].SetFeatures(t.Context(), 0, tenant.PasswordHashSync))
	refused := (*Error)(nil)
	if err := agents["wire"].Service.Heartbeat(t.Context()); !errors.As(err, &refused) || refused.Code != "Fault 90" {
		t.Error(err)
	}
	must(ways["wire"].SetDirSync(t.Context(), false))
	if _, err := agents["wire"].Service.Objects(t.Context(), []Object{{"user", "set", "x", nil}}); !errors.As(err, &refused) || !strings.Contains(refused.Message, "not yet activated") {
		t.Error(err)
	}
	for _, secret := range []string{"v1;PPH1_MD4", "Passw0rd-of"} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log has a ", secret)
		}
	}
}

// What may come instead of an answer: faults that pass and that stay, a token that
// is good no more, and what is no SOAP at all.
func TestWireFaults(t *testing.T) {
	fault := func(number, text string) string {
		b, err := nbfx.Fault("", nbfx.Sender, text, func(w *nbfx.Writer) {
			w.Start("", "AdminWebServiceFault")
			w.Xmlns("", nsWireCredentials)
			if number != "" {
				w.Leaf("", "ErrorCode", number)
			}
			w.End()
		})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	good, err := nbfx.Reply("x", "", func(w *nbfx.Writer) {
		w.Start("", "ProvisionCredentialsResponse")
		w.Xmlns("", nbfx.NSChange)
		w.End()
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		status int
		first  []string // before the good answer
		tokens int
		err    string
	}{
		"at once":           {500, nil, 1, ""},
		"busy":              {500, []string{fault("81", "busy")}, 1, ""},
		"a proxy's page":    {503, []string{"<html>"}, 1, ""},
		"a token too old":   {500, []string{fault("", faultDenied+". Contact Technical Support.")}, 2, ""},
		"never let in":      {500, []string{fault("", faultDenied), fault("", faultDenied)}, 2, "denied"},
		"passwords are off": {500, []string{fault("90", "not activated")}, 1, "Fault 90"},
		"no such thing":     {404, []string{"<html>"}, 1, "no SOAP"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := 0
				s := &service{answer: func(*http.Request, []byte) (int, http.Header, string) {
					at++
					if at <= len(test.first) {
						return test.status, http.Header{}, test.first[at-1]
					}
					return 200, http.Header{}, string(good)
				}}
				c := s.client()
				c.Rand = rand.Reader
				err := NewWire(c).Heartbeat(t.Context())
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Error(err)
				}
				if s.tokens != test.tokens {
					t.Errorf("%d tokens", s.tokens)
				}
			})
		})
	}
}

// The items of a request and their results keep to what the real service's agents
// write and read.
func TestWireItems(t *testing.T) {
	for duration, want := range map[string]time.Duration{"PT30M": 30 * time.Minute, "PT1H30M": 90 * time.Minute, "": 0, "P1D": 0, "PT": 0, "PTxM": 0} {
		if got := minutes(duration); got != want {
			t.Errorf("%s is %s", duration, got)
		}
	}
	for _, bad := range []Object{{"user", "set", "x", map[string]any{sidAttribute: "S-1-x"}}, {"user", "set", "x", map[string]any{"n": 7}}} {
		if err := writable(&bad); err == nil {
			t.Errorf("%v is written", bad)
		}
	}
	var b nbfx.Writer
	b.Start("", "r")
	b.Xmlns("", nbfx.NSChange)
	writeHashes(&b, []Hash{{Anchor: "a", Changed: "2026-01-01T00:00:00.000000Z", Digest: "v1;d", windowsLegacy: []byte{1, 2, 3}}})
	b.End()
	message, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	root, err := nbfx.Decode(message, nbfx.Defaults)
	if err != nil {
		t.Fatal(err)
	}
	item := root.Child(nbfx.NSChange, "request").Child(nsWireCredentials, "RequestItems").Child(nsWireCredentials, "SyncCredentialsChangeItem")
	var got []string
	for e := range item.Elements() {
		got = append(got, e.Local+"="+e.Text())
	}
	const want = "ChangeDate=2026-01-01T00:00:00.000000Z CloudAnchor= CredentialData=v1;d ForcePasswordChangeOnLogon=false SourceAnchor=a WindowsLegacyCredentials=AQID WindowsSupplementalCredentials="
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

package rules

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"skyrealm/api"
	"skyrealm/cred"
	"skyrealm/store"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

// way is how an agent reaches the tenant.
type way struct {
	objects       func(*world, []tenant.ObjectItem) []string
	hashes        func(*world, []tenant.HashItem) ([]string, error)
	itself        bool // the rules, and nothing in between
	inetOrgPerson bool
	envelopes     bool // legacy hashes go in the real service's form, and old builds are sent away
}

// ways are all of them: the rules themselves, and what speaks for them.
var ways = map[string]way{
	"service": {
		objects: func(w *world, items []tenant.ObjectItem) []string {
			r, err := w.SyncObjects(w.ctx, tenant.Origin{}, items)
			w.must(err)
			return reasons(r)
		},
		hashes: func(w *world, items []tenant.HashItem) ([]string, error) {
			r, err := w.SyncHashes(w.ctx, tenant.Origin{Build: w.build}, items)
			return reasons(r), err
		},
		itself:        true,
		inetOrgPerson: true,
	},
	"REST": {
		objects: restObjects,
		hashes: func(w *world, items []tenant.HashItem) ([]string, error) {
			return w.rest("/sync/v1/passwordHashes:batch", hashLines(items))
		},
		inetOrgPerson: true,
	},
	"stream": stream,
	"wire":   wire,
}

// hashLines are items as the API has them.
func hashLines(items []tenant.HashItem) []any {
	out := make([]any, len(items))
	for i, item := range items {
		out[i] = map[string]any{"sourceAnchor": item.Anchor, "changeDate": item.Changed.Format(time.RFC3339Nano),
			"credentialData": item.Digest, "legacy": string(item.Legacy), "forcePasswordChangeOnLogon": item.MustChange}
	}
	return out
}

func restObjects(w *world, items []tenant.ObjectItem) []string {
	var out []any
	for _, i := range items {
		out = append(out, map[string]any{"type": i.Kind.String(), "operation": "set", "sourceAnchor": i.Anchor, "attributes": i.Attributes})
	}
	got, err := w.rest("/sync/v1/objects:batch", out)
	w.must(err)
	return got
}

// stream sends objects in batches and passwords as one stream, which answers with
// totals and names what it refused; what became of each of the others is on record.
var stream = way{
	objects: restObjects,
	hashes: func(w *world, items []tenant.HashItem) ([]string, error) {
		var body bytes.Buffer
		lines := json.NewEncoder(&body)
		for _, l := range hashLines(items) {
			w.must(lines.Encode(l))
		}
		answer := w.post("/sync/v1/passwordHashes:stream", "application/x-ndjson", w.token("https://graph.microsoft.com/.default"), body.Bytes())
		if answer.Code != http.StatusOK {
			return nil, fmt.Errorf("%d %s", answer.Code, answer.Body)
		}
		out := make([]string, len(items))
		var end struct{ Done bool }
		for line := range bytes.Lines(answer.Body.Bytes()) {
			var chunk struct {
				Failures []struct {
					Line   int
					Reason string
				}
				Stored, Unchanged, Superseded, More int
			}
			w.must(json.Unmarshal(line, &chunk))
			w.must(json.Unmarshal(line, &end))
			if chunk.More > 0 {
				w.t.Fatal("a test with so many refusals needs a way that names them all")
			}
			for _, f := range chunk.Failures {
				out[f.Line-1] = f.Reason
			}
		}
		if !end.Done {
			return nil, fmt.Errorf("the stream did not end well: %s", answer.Body)
		}
		records, err := w.Store.Records(w.ctx, tenant.RecordQuery{Kind: tenant.HashBatch, Limit: 1})
		w.must(err)
		taken := records[0].Items
		for i := range out {
			// Lines that could not be read have no item on record.
			if len(taken) > 0 && (out[i] == "" || string(taken[0].Reason) == out[i]) {
				out[i], taken = string(taken[0].Reason), taken[1:]
			}
		}
		return out, nil
	},
	inetOrgPerson: true,
}

func reasons(r tenant.BatchResult) []string {
	out := make([]string, len(r.Items))
	for i := range r.Items {
		out[i] = string(r.Items[i].Reason)
	}
	return out
}

// world is a tenant in a database of its own.
type world struct {
	*tenant.Service
	t        *testing.T
	way      way
	ctx      context.Context
	clock    time.Time
	build    string
	settings tenant.Settings
	founding *tenant.Founding
	handler  http.Handler
	tokens   map[string]string
	opener   cred.Opener // the managed domain's keys
	log      *bytes.Buffer
}

var tokenKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newWorld(t *testing.T, how way) *world {
	t.Helper()
	w := &world{t: t, way: how, tokens: map[string]string{}, ctx: t.Context(), clock: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	w.log = new(bytes.Buffer)
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := store.Open(w.ctx, harness.Database(t), store.Options{Rand: rand.Reader, Log: log})
	w.must(err)
	t.Cleanup(db.Close)
	ring, err := cred.NewRing(rand.Reader)
	w.must(err)
	private, err := cred.NewPrivateKey(rand.Reader)
	w.must(err)
	jwk, err := private.Public().JWK()
	w.must(err)
	envelope, err := cred.NewEnvelopeKey("contoso.test", w.clock, rand.Reader)
	w.must(err)
	w.opener = cred.Opener{Private: private, Envelope: envelope}
	w.founding, err = tenant.Found("contoso.test", "AADDS.CONTOSO.TEST", jwk, envelope.CertificateDER(), w.clock.Add(-time.Hour*24*365), rand.Reader)
	w.must(err)
	w.settings = w.founding.Settings
	st := db.Tenant(ring)
	w.must(st.Create(w.ctx, w.settings, w.founding.Objects, []tenant.App{w.founding.App}))
	now := func() time.Time { return w.clock }
	w.Service = &tenant.Service{Store: st, Now: now, Rand: rand.Reader, Log: log}
	key, err := tokenKey()
	w.must(err)
	server := &api.Server{Tenant: w.Service, Key: key, Log: log, Metrics: prometheus.NewRegistry(), Now: now, Rand: rand.Reader}
	w.handler, err = server.Handler(w.ctx)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) tick(minutes int) { w.clock = w.at(minutes) }

func (w *world) at(minutes int) time.Time { return w.clock.Add(time.Duration(minutes) * time.Minute) }

func (w *world) objects(items ...tenant.ObjectItem) {
	w.t.Helper()
	for i, reason := range w.way.objects(w, items) {
		if !tenant.Reason(reason).OK() {
			w.t.Fatal(items[i].Anchor, reason)
		}
	}
}

func (w *world) users(anchors ...string) {
	w.t.Helper()
	for len(anchors) > 0 {
		n := min(len(anchors), tenant.MaxBatchItems)
		items := make([]tenant.ObjectItem, n)
		for i, a := range anchors[:n] {
			items[i] = tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Set, Anchor: a, Attributes: map[string]any{"userPrincipalName": a + "@contoso.test"}}
		}
		w.objects(items...)
		anchors = anchors[n:]
	}
}

func (w *world) user(anchor string) tenant.ID {
	w.t.Helper()
	w.users(anchor)
	found, err := w.Store.ObjectsByAnchor(w.ctx, []string{anchor})
	w.must(err)
	return found[0].ID
}

func (w *world) digest(password string) string {
	w.t.Helper()
	d, err := cred.NewDigest(cred.NTHashOf(password), rand.Reader)
	w.must(err)
	return d.Expose()
}

// hash is a change of some minutes from now.
func (w *world) hash(anchor, password string, minutes int) tenant.HashItem {
	w.t.Helper()
	return tenant.HashItem{Anchor: anchor, Changed: w.at(minutes), Digest: w.digest(password)}
}

func (w *world) withLegacy(h tenant.HashItem, password string) tenant.HashItem {
	w.t.Helper()
	l, err := cred.NewLegacy(password, "CORP.TESTx")
	w.must(err)
	key, err := cred.ParsePublicJWK(w.settings.DomainKey)
	w.must(err)
	if w.way.envelopes {
		h.WindowsLegacy, err = cred.SealEnvelope(w.settings.EnvelopeCertificate, cred.AttrUnicodePwd, l.NT.Expose(), rand.Reader)
		w.must(err)
		return h
	}
	h.Legacy, err = key.Seal(cred.Binding{Tenant: w.settings.TenantID.String(), Subject: h.Anchor, Version: h.Changed.UnixMicro()}, l, rand.Reader)
	w.must(err)
	return h
}

// send sends hashes; a batch that is refused as a whole has no reasons.
func (w *world) send(items ...tenant.HashItem) []string {
	w.t.Helper()
	got, err := w.way.hashes(w, items)
	if err != nil {
		return nil
	}
	if len(got) != len(items) {
		w.t.Fatalf("%d results for %d items", len(got), len(items))
	}
	return got
}

func (w *world) want(reason string, item tenant.HashItem) {
	w.t.Helper()
	if got := w.send(item); len(got) != 1 || got[0] != reason {
		w.t.Errorf("%s: %v, want %s", item.Anchor, got, reason)
	}
}

func (w *world) refused(reasons []string) {
	w.t.Helper()
	if reasons != nil {
		w.t.Errorf("the batch was taken: %v", reasons)
	}
}

func (w *world) credential(anchor string) *tenant.Credential {
	w.t.Helper()
	found, err := w.Store.ObjectsByAnchor(w.ctx, []string{anchor})
	w.must(err)
	set, err := w.Store.Credential(w.ctx, found[0].ID)
	w.must(err)
	if set == nil {
		w.t.Fatal(anchor, "has no credential")
	}
	return set
}

func (w *world) signsIn(anchor, password string) {
	w.t.Helper()
	if _, _, err := w.SignIn(w.ctx, anchor+"@contoso.test", password); err != nil {
		w.t.Errorf("%s does not sign in: %v", anchor, err)
	}
}

func (w *world) refusedSignIn(anchor, password string) {
	w.t.Helper()
	if _, _, err := w.SignIn(w.ctx, anchor+"@contoso.test", password); err == nil {
		w.t.Errorf("%s signs in with a password that should be none any more", anchor)
	}
}

// rest sends a batch over the real handler and returns the reasons.
func (w *world) rest(path string, items []any) ([]string, error) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"items": items})
	w.must(err)
	answer := w.post(path, "application/json", w.token("https://graph.microsoft.com/.default"), body)
	if answer.Code != http.StatusOK {
		return nil, fmt.Errorf("%d %s", answer.Code, answer.Body)
	}
	var out struct {
		Results []struct {
			Reason string `json:"reason"`
		} `json:"results"`
	}
	w.must(json.Unmarshal(answer.Body.Bytes(), &out))
	got := make([]string, len(out.Results))
	for i := range got {
		got[i] = out.Results[i].Reason
	}
	return got, nil
}

// token signs the agent in, once for each scope: sign-ins are throttled.
func (w *world) token(scope string) string {
	w.t.Helper()
	if w.tokens[scope] != "" {
		return w.tokens[scope]
	}
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {w.founding.App.ClientID.String()},
		"client_secret": {w.founding.AgentSecret}, "scope": {scope}}
	var answer struct {
		Token string `json:"access_token"`
	}
	r := w.post("/contoso.test/oauth2/v2.0/token", "application/x-www-form-urlencoded", "", []byte(form.Encode()))
	w.must(json.Unmarshal(r.Body.Bytes(), &answer))
	if w.tokens[scope] = answer.Token; answer.Token == "" {
		w.t.Fatalf("the agent does not sign in: %s", r.Body)
	}
	return answer.Token
}

func (w *world) post(path, kind, token string, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://localhost"+path, bytes.NewReader(body))
	r.Header.Set("Content-Type", kind)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if w.build != "" {
		r.Header.Set("x-ms-aadmsods-dirsyncbuildnumber", w.build)
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}

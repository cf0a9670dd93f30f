package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
)

// directory is a Source in memory: what a domain controller would say.
type directory struct {
	objects map[GUID]*change // whole
	pending []page           // not yet read
	reads   int
	singles int
	err     error
	stalls  bool // single objects can't be read
}

func (d *directory) Domain(context.Context) (Domain, error) {
	return Domain{"DC=corp,DC=test", "corp.test", "CORP"}, nil
}

func (d *directory) Read(_ context.Context, since Cookie, each func(page) error) (Cookie, error) {
	if d.err != nil {
		return Cookie{}, d.err
	}
	d.reads++
	pages := d.pending
	if since.IsZero() {
		pages = nil
		for _, g := range sortedGUIDs(d.objects) {
			pages = append(pages, page{changes: []change{*d.objects[g]}})
		}
	}
	for _, p := range pages {
		if err := each(p); err != nil {
			return Cookie{}, err
		}
	}
	d.pending = nil
	return Cookie{Source: GUID{1}, HighObject: int64(d.reads)}, nil
}

func (d *directory) Objects(_ context.Context, which []GUID, each func(page) error) error {
	if d.stalls {
		return errStalled
	}
	for _, g := range which {
		d.singles++
		c := change{guid: g, deleted: true}
		if o := d.objects[g]; o != nil {
			c = *o
		}
		if err := each(page{changes: []change{c}}); err != nil {
			return err
		}
	}
	return nil
}

// id makes a GUID of a number.
func id(n int) GUID { return GUID{15: byte(n), 14: byte(n >> 8), 0: 0xff} }

// put adds or replaces a user whole.
func (d *directory) put(n int, name, password string) *change {
	c := &change{guid: id(n), dn: "CN=" + name + ",OU=People,DC=corp,DC=test", class: classUser, attrs: map[string][]string{
		"sAMAccountName": {name}, "userPrincipalName": {name + "@corp.test"}, "userAccountControl": {"512"}, "pwdLastSet": {"133932096001234567"}}}
	if password != "" {
		c.version, c.changed, c.legacy = 1, testNow, cred.Legacy{NT: cred.NTHashOf(password)}
	}
	d.objects[c.guid] = c
	d.say(*c)
	return c
}

func (d *directory) group(n int, name string, members ...int) *change {
	c := &change{guid: id(n), dn: "CN=" + name + ",OU=People,DC=corp,DC=test", class: classGroup,
		attrs: map[string][]string{"sAMAccountName": {name}, "groupType": {"-2147483646"}}}
	for _, m := range members {
		c.links = append(c.links, link{c.guid, id(m), "member", true})
	}
	d.objects[c.guid] = c
	d.say(*c)
	return c
}

func (d *directory) remove(n int) {
	delete(d.objects, id(n))
	d.say(change{guid: id(n), deleted: true})
}

func (d *directory) say(c change) { d.pending = append(d.pending, page{changes: []change{c}}) }

// cloud is a tenant in memory behind a round tripper, as far as an agent sees it.
type cloud struct {
	config  map[string]any
	objects map[string]Object
	hashes  map[string]Hash
	calls   []string
	events  []Event
	refuse  map[string]string             // anchor to reason
	meddle  func(path string) (int, bool) // a status instead of an answer
	hooked  func(path string)
}

func newCloud(t testing.TB) (*cloud, cred.PrivateKey) {
	private, err := cred.NewPrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := private.Public()
	jwk, err := public.JWK()
	if err != nil {
		t.Fatal(err)
	}
	return &cloud{objects: map[string]Object{}, hashes: map[string]Hash{}, refuse: map[string]string{}, config: map[string]any{
		"tenantId": "tid", "directorySync": true, "passwordSync": true, "legacyHashes": true, "legacyKey": json.RawMessage(jwk), "now": testNow}}, private
}

func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	answer := func(status int, v any) (*http.Response, error) {
		text, _ := json.Marshal(v)
		return &http.Response{StatusCode: status, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
	}
	path := strings.TrimPrefix(r.URL.Path, "/sync/v1/")
	if strings.HasSuffix(path, "/token") {
		return answer(200, map[string]any{"access_token": "t", "expires_in": 3600})
	}
	c.calls = append(c.calls, path)
	if c.meddle != nil {
		if status, yes := c.meddle(path); yes {
			return answer(status, map[string]any{"error": map[string]string{"code": "Denied", "message": "m"}})
		}
	}
	if path == "configuration" {
		return answer(200, c.config)
	}
	if path == "heartbeat" {
		return answer(204, nil)
	}
	if path == "events" {
		var b struct{ Events []Event }
		_ = json.Unmarshal(body, &b)
		c.events = append(c.events, b.Events...)
		return answer(204, nil)
	}
	var results []Result
	result := func(anchor string) bool {
		r := Result{Anchor: anchor, Status: "ok", Reason: "stored"}
		if reason := c.refuse[anchor]; reason != "" {
			r.Status, r.Reason = "error", reason
		}
		results = append(results, r)
		return r.OK()
	}
	if path == "objects:batch" {
		var b struct{ Items []Object }
		_ = json.Unmarshal(body, &b)
		for _, o := range b.Items {
			if !result(o.Anchor) {
				continue
			}
			if delete(c.objects, o.Anchor); o.Operation == "set" {
				c.objects[o.Anchor] = o
			}
		}
	} else {
		var b struct{ Items []Hash }
		_ = json.Unmarshal(body, &b)
		for _, h := range b.Items {
			if result(h.Anchor) {
				c.hashes[h.Anchor] = h
			}
		}
	}
	if c.hooked != nil {
		c.hooked(path)
	}
	return answer(200, Answer{USN: 1, Results: results})
}

// rig is an agent between the two.
type rig struct {
	*Agent
	t   *testing.T
	dir string
	d   *directory
	c   *cloud
	at  time.Time
	log bytes.Buffer
}

func newRig(t *testing.T) *rig {
	c, _ := newCloud(t)
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "state"), d: &directory{objects: map[GUID]*change{}}, c: c, at: testNow}
	r.open()
	t.Cleanup(func() { r.Store.Close() })
	return r
}

// open starts a new process, as it were.
func (r *rig) open() {
	r.t.Helper()
	store, err := OpenStore(r.dir, rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	r.Agent = &Agent{Source: r.d, Store: store, Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Service: &Client{BaseURL: "https://host", HTTP: &http.Client{Transport: r.c}, ClientID: "id", Secret: "s", Now: func() time.Time { return r.at }, Rand: rand.Reader}}
}

func (r *rig) reopen() { r.Store.Close(); r.open() }

// once is a run that has to end as expected: objects sent, deleted, passwords, refused.
func (r *rig) once(sent, deleted, passwords, refused int) {
	r.t.Helper()
	r.c.config["now"] = r.at
	run, err := r.Once(r.t.Context(), false)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.log.String())
	}
	if run.Sent != sent || run.Deleted != deleted || run.Passwords != passwords || run.Refused != refused {
		r.t.Fatalf("%+v\n%s", run, r.log.String())
	}
}

func TestCycles(t *testing.T) {
	r := newRig(t)
	r.d.put(1, "ada", "one")
	r.d.put(2, "bob", "two")
	r.d.group(3, "inner", 1)
	r.d.group(4, "outer", 3, 2, 99)
	r.once(4, 0, 2, 0)
	outer := r.c.objects[id(4).base64()]
	want := []any{id(3).base64(), id(2).base64()}
	slices.SortFunc(want, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
	if got := fmt.Sprint(outer.Attributes["member"]); got != fmt.Sprint(want) {
		t.Errorf("members %s", got)
	}
	r.once(0, 0, 0, 0)
	if last := r.c.calls[len(r.c.calls)-1]; last != "heartbeat" {
		t.Errorf("an idle run ends with %s", last)
	}

	// A change of one attribute, a new password, and one object less.
	r.d.say(change{guid: id(1), dn: "CN=ada,OU=Else,DC=corp,DC=test", attrs: map[string][]string{"department": {"D"}, "title": {}}})
	next := *r.d.put(2, "bob", "new")
	next.version = 2
	r.d.objects[id(2)], r.d.pending[len(r.d.pending)-1] = &next, page{changes: []change{next}}
	r.d.remove(3)
	r.once(2, 1, 1, 0) // outer loses a member
	ada := r.c.objects[id(1).base64()].Attributes
	if ada["department"] != "D" || ada["onPremisesDistinguishedName"] != "CN=ada,OU=Else,DC=corp,DC=test" || ada["title"] != nil {
		t.Errorf("ada is %v", ada)
	}

	// A restart knows all that; full-sync sends it again.
	r.reopen()
	r.once(0, 0, 0, 0)
	run, err := r.Once(t.Context(), true)
	if err != nil || run.Sent != 3 || run.Passwords != 2 || !run.Full {
		t.Errorf("%+v, %v", run, err)
	}
	if r.Store.report.Users != 2 || r.Store.report.Groups != 1 {
		t.Errorf("%+v", r.Store.report)
	}
}

// TestKilled: at any moment after the service's answer the agent is gone, and
// the directory changes before the next run.
func TestKilled(t *testing.T) {
	for _, path := range []string{"objects:batch", "passwordHashes:batch"} {
		t.Run(path, func(t *testing.T) {
			r := newRig(t)
			r.d.put(1, "ada", "one")
			r.d.put(2, "bob", "two")
			saved := map[string][]byte{}
			r.c.hooked = func(at string) {
				if at != path {
					return
				}
				for _, name := range []string{stateFile, reportFile} {
					b, _ := os.ReadFile(filepath.Join(r.dir, name))
					saved[name] = b
				}
			}
			r.once(2, 0, 2, 0)
			before := r.c.hashes[id(1).base64()]
			r.c.hooked = nil
			r.Store.Close()
			for name, b := range saved { // as if nothing after had happened
				if err := os.WriteFile(filepath.Join(r.dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r.d.remove(2)
			r.open()
			if _, err := r.Once(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if got := slices.Collect(maps.Keys(r.c.objects)); !slices.Equal(got, []string{id(1).base64()}) {
				t.Errorf("the service has %v", got)
			}
			after := r.c.hashes[id(1).base64()]
			if before.Digest != after.Digest || before.Changed != after.Changed {
				t.Error("the re-send of a password is not the same: it would be a new version of it")
			}
		})
	}
}

func TestRetryQueue(t *testing.T) {
	r := newRig(t)
	r.d.put(1, "ada", "one")
	anchor := id(1).base64()
	r.c.refuse[anchor] = "attributeInvalid"
	r.once(0, 0, 0, 1)
	r.once(0, 0, 0, 0) // it waits
	if r.Store.report.Retries != 1 || !strings.Contains(r.log.String(), "event=605") {
		t.Error("it is not in the queue")
	}
	r.reopen() // the queue persists
	r.at = r.at.Add(firstRetry)
	r.once(0, 0, 0, 1)
	r.at = r.at.Add(firstRetry) // the second pause is longer
	r.once(0, 0, 0, 0)
	r.d.objects[id(1)].dn = "CN=ada,DC=corp,DC=test"
	r.d.say(change{guid: id(1), dn: "CN=ada,DC=corp,DC=test"}) // something else is sent at once
	delete(r.c.refuse, anchor)
	r.c.meddle = func(path string) (int, bool) { return 403, path == "passwordHashes:batch" }
	if _, err := r.Once(t.Context(), false); err == nil || len(r.c.objects) != 1 {
		t.Fatalf("%v, %d", err, len(r.c.objects))
	}
	if !strings.Contains(r.log.String(), "event=652") || r.Store.report.Error == "" {
		t.Error("a failed batch is not said")
	}
	// The password is not in the state, so it is read again.
	r.c.meddle = nil
	r.reopen()
	r.once(0, 0, 1, 0)
	if r.d.singles != 2 || r.Store.report.Retries != 0 {
		t.Errorf("%d single reads", r.d.singles)
	}

	// The service has lost a user: the object is sent again, then the password.
	r.c.refuse[anchor] = "unknownAnchor"
	next := *r.d.objects[id(1)]
	next.version++
	r.d.objects[id(1)] = &next
	r.d.say(next)
	if run, _ := r.Once(t.Context(), false); run.Refused != 1 {
		t.Fatalf("%+v", run)
	}
	delete(r.c.refuse, anchor)
	r.at = r.at.Add(lastRetry)
	r.once(1, 0, 1, 0)
	if !strings.Contains(r.log.String(), "event=606") {
		t.Error("nothing left the queue")
	}
}

// TestUnknown: what changes of an object that is not known makes it be read
// whole, and where that can't be done, all of the directory.
func TestUnknown(t *testing.T) {
	for _, stalls := range []bool{false, true} {
		r := newRig(t)
		r.d.stalls = stalls
		r.d.put(1, "ada", "one")
		r.once(1, 0, 1, 0)
		r.d.put(2, "back", "two")
		r.d.group(3, "group", 1, 2)
		r.d.pending = []page{{changes: []change{{guid: id(2), dn: "CN=back,DC=x", attrs: map[string][]string{"mail": {"m"}}}}, links: []link{{id(3), id(1), "member", true}}}}
		r.once(2, 0, 1, 0)
		if want := fmt.Sprint([]any{id(1).base64(), id(2).base64()}); fmt.Sprint(r.c.objects[id(3).base64()].Attributes["member"]) != want || stalls == (r.d.singles > 0) {
			t.Errorf("stalls %t: %v, %d", stalls, r.c.objects[id(3).base64()].Attributes["member"], r.d.singles)
		}
		r.once(0, 0, 0, 0)
	}
}

func TestRetryPauses(t *testing.T) {
	var q *retry
	var pauses []time.Duration
	for range 8 {
		q = q.again("x", "r", testNow)
		pauses = append(pauses, q.Next.Sub(testNow))
	}
	if got := fmt.Sprint(pauses); got != "[2m0s 4m0s 8m0s 16m0s 32m0s 1h0m0s 1h0m0s 1h0m0s]" {
		t.Error(got)
	}
	if q = q.again("y", "r", testNow); q.Attempts != 1 {
		t.Error("another thing has the pauses of the one before")
	}
}

func TestDeletionGuard(t *testing.T) {
	for name, test := range map[string]struct {
		flag   int
		said   any
		stops  bool
		remove int
	}{
		"default":             {0, nil, false, 10},
		"tenant's count":      {0, map[string]any{"synchronizationPreventionType": "enabledForCount", "alertThreshold": 4}, true, 5},
		"at the count":        {0, map[string]any{"synchronizationPreventionType": "enabledForCount", "alertThreshold": 5}, false, 5},
		"tenant's percentage": {0, map[string]any{"synchronizationPreventionType": "enabledForPercentage", "alertThreshold": 20}, true, 5},
		"off in the tenant":   {0, map[string]any{"synchronizationPreventionType": "disabled"}, false, 15},
		"the flag wins":       {3, map[string]any{"synchronizationPreventionType": "disabled"}, true, 4},
		"the flag says any":   {-1, map[string]any{"synchronizationPreventionType": "enabledForCount", "alertThreshold": 1}, false, 15},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for i := range 20 {
				r.d.put(i+1, fmt.Sprintf("u%d", i), "x")
			}
			r.once(20, 0, 20, 0)
			r.c.config["accidentalDeletionPrevention"] = test.said
			r.Deletions = test.flag
			for i := range test.remove {
				r.d.remove(i + 1)
			}
			r.d.put(50, "new", "x")
			run, err := r.Once(t.Context(), false)
			if errors.Is(err, ErrDeletions) != test.stops {
				t.Fatalf("%v", err)
			}
			want := 21 - test.remove
			if test.stops {
				want = 20 // nothing is exported, not even what is new
			}
			if len(r.c.objects) != want || test.stops != (run.Stopped == test.remove) {
				t.Errorf("%d objects, %+v", len(r.c.objects), run)
			}
			if test.stops && !strings.Contains(r.log.String(), "event=116") {
				t.Error("no event 116")
			}
		})
	}
}

func TestPasswordRules(t *testing.T) {
	r := newRig(t)
	r.c.config["passwordSync"] = false
	r.d.put(1, "ada", "one")
	r.once(1, 0, 0, 0)
	r.c.config["passwordSync"] = true
	r.once(0, 0, 1, 0)

	// "Has to change" is filtered until the tenant takes it.
	temporary := *r.d.objects[id(1)]
	temporary.version, temporary.attrs = 2, maps.Clone(temporary.attrs)
	temporary.attrs["pwdLastSet"] = []string{"0"}
	r.d.objects[id(1)] = &temporary
	r.d.say(temporary)
	r.once(0, 0, 0, 0)
	if r.run.Filtered != 1 {
		t.Errorf("%+v", r.run)
	}
	r.c.config["features"] = forcePasswordChange
	r.once(0, 0, 1, 0)
	if h := r.c.hashes[id(1).base64()]; !h.MustChange || h.Changed != "2026-01-02T03:04:05.000000Z" {
		t.Errorf("must change %t, %s", h.MustChange, h.Changed)
	}

	// The tenant asks for all of them; a new key does as well.
	r.once(0, 0, 0, 0)
	r.c.config["fullPasswordSync"] = r.at
	r.once(0, 0, 1, 0)
	r.once(0, 0, 0, 0)
	other, _ := newCloud(t)
	r.c.config["legacyKey"] = other.config["legacyKey"]
	r.once(0, 0, 1, 0)
	r.once(0, 0, 0, 0)
}

func TestAnchors(t *testing.T) {
	r := newRig(t)
	one := r.d.put(1, "ada", "")
	one.attrs["mS-DS-ConsistencyGuid"] = []string{"Y29uc2lzdGVudA=="}
	two := r.d.put(2, "bob", "")
	two.attrs["mS-DS-ConsistencyGuid"] = []string{"Y29uc2lzdGVudA=="}
	r.once(1, 0, 0, 0)
	if _, ok := r.c.objects["Y29uc2lzdGVudA=="]; !ok || !strings.Contains(r.log.String(), "another object has its anchor") {
		t.Error(r.log.String())
	}
	// The anchor sticks, whatever the attribute becomes: the other one still can't
	// have it, and nothing of the first has changed.
	r.d.say(change{guid: id(1), dn: one.dn, attrs: map[string][]string{"mS-DS-ConsistencyGuid": {"b3RoZXI="}}})
	r.once(0, 0, 0, 0)
}

func TestStaging(t *testing.T) {
	r := newRig(t)
	r.Staging = true
	r.d.put(1, "ada", "one")
	r.once(1, 0, 1, 0)
	if len(r.c.objects)+len(r.c.hashes) != 0 || slices.Contains(r.c.calls, "heartbeat") {
		t.Errorf("%v", r.c.calls)
	}
	r.Staging = false
	r.once(1, 0, 1, 0)
}

func TestOtherTenantOrDirectory(t *testing.T) {
	r := newRig(t)
	r.d.put(1, "ada", "one")
	r.once(1, 0, 1, 0)
	r.c.config["tenantId"] = "another"
	if _, err := r.Once(t.Context(), false); err == nil || !strings.Contains(err.Error(), "belongs to tenant") {
		t.Error(err)
	}
}

func TestDirectoryAway(t *testing.T) {
	r := newRig(t)
	r.d.err = errDirectory
	if _, err := r.Once(t.Context(), false); !errors.Is(err, errDirectory) || !strings.Contains(r.log.String(), "event=611") {
		t.Error(err)
	}
	report, err := ReadReport(r.dir)
	if err != nil || report.Error == "" {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestStore(t *testing.T) {
	r := newRig(t)
	if _, err := OpenStore(r.dir, rand.Reader); !errors.Is(err, ErrLocked) {
		t.Errorf("two agents: %v", err)
	}
	r.d.put(1, "ada", "Pa$$w0rd")
	r.once(1, 0, 1, 0)
	for _, name := range []string{stateFile, reportFile} {
		path := filepath.Join(r.dir, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", name, err)
		}
		b, _ := os.ReadFile(path)
		for _, secret := range []string{"Pa$$w0rd", "92937945", "kpN5RbUYgUNB3j9yZQDU/w", "PPH1"} {
			if bytes.Contains(bytes.ToLower(b), []byte(strings.ToLower(secret))) || strings.Contains(r.log.String(), secret) {
				t.Errorf("%s or the log has %s", name, secret)
			}
		}
	}
	r.Store.Close()
	if err := os.WriteFile(filepath.Join(r.dir, stateFile), []byte(`{"format":7}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(r.dir, rand.Reader); err == nil {
		t.Error("a state of another format is taken")
	}
}

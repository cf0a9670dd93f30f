package api_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// What agents sent and what became of it stays visible, as the events that the
// real agent's log has, and never with a hash.
func TestEvents(t *testing.T) {
	h := newHouse(t, nil)
	agent := h.agent(t)
	const build = "2.4.21.0"
	send := func(path string, items ...map[string]any) {
		t.Helper()
		r := h.do(t, "POST", "/sync/v1/"+path, agent, map[string]any{"items": items}, "x-ms-aadmsods-dirsyncbuildnumber", build, "x-ms-aadmsods-machineid", "dc1\r\nforged=1")
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	digest, err := cred.NewDigest(cred.NTHashOf("Passw0rd"), rand.Reader)
	must(t, err)
	changed := h.clock.now().Add(-time.Minute).UTC().Format(time.RFC3339)
	send("objects:batch", map[string]any{"type": "user", "operation": "set", "sourceAnchor": "ada", "attributes": map[string]any{
		"userPrincipalName": "ada@contoso.test", "onPremisesDistinguishedName": "CN=Ada,DC=corp"}})
	send("passwordHashes:batch",
		map[string]any{"sourceAnchor": "ada", "changeDate": changed, "credentialData": digest.Expose()},
		map[string]any{"sourceAnchor": "nobody", "changeDate": changed, "credentialData": digest.Expose()})
	h.clock.add(time.Minute)
	if r := h.do(t, "POST", "/sync/v1/heartbeat", agent, nil); r.status != 204 {
		t.Fatalf("%d %s", r.status, r.body)
	}

	list := func(query url.Values) []map[string]any {
		t.Helper()
		r := h.do(t, "GET", "/sync/v1/events?"+query.Encode(), h.admin(t), nil)
		if r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
		var out []map[string]any
		for _, e := range r.json(t)["value"].([]any) {
			out = append(out, e.(map[string]any))
		}
		return out
	}
	ids := func(events []map[string]any) string {
		var s []string
		for _, e := range events {
			s = append(s, fmt.Sprint(e["id"]))
		}
		return strings.Join(s, " ")
	}
	if got := ids(list(nil)); got != "654 653 651 657 656 657 656 650" {
		t.Error(got)
	}
	ada := list(url.Values{"user": {"ada@contoso.test"}, "id": {"657"}})
	if len(ada) != 1 {
		t.Fatal(ada)
	}
	for name, want := range map[string]any{"sourceAnchor": "ada", "dn": "CN=Ada,DC=corp", "userPrincipalName": "ada@contoso.test",
		"result": "Success", "changeDate": changed, "build": build, "machine": "dc1forged=1", "agent": h.founding.App.ClientID.String()} {
		if ada[0][name] != want {
			t.Errorf("%s is %v, want %v", name, ada[0][name], want)
		}
	}
	for _, key := range []string{"ada", fmt.Sprint(ada[0]["userId"])} {
		if got := ids(list(url.Values{"user": {key}})); got != "651 657 656 650" {
			t.Errorf("by %s: %s", key, got)
		}
	}
	nobody := list(url.Values{"user": {"nobody"}, "id": {"657"}})
	if len(nobody) != 1 || nobody[0]["result"] != "Failure" || nobody[0]["extendedError"] != "unknownAnchor" {
		t.Error(nobody)
	}
	if got := ids(list(url.Values{"after": {h.clock.now().UTC().Format(time.RFC3339)}})); got != "654 653" {
		t.Error("after", got)
	}
	for _, bad := range []string{"id=x", "top=0", "top=1001", "before=-1", "after=yesterday"} {
		if r := h.do(t, "GET", "/sync/v1/events?"+bad, agent, nil); r.status != 400 {
			t.Errorf("%s: %d", bad, r.status)
		}
	}
	eve := h.create(t, "eve", "Cloud-Passw0rd")
	_ = eve
	if r := h.do(t, "GET", "/sync/v1/events", h.token(t, "eve@contoso.test", "Cloud-Passw0rd"), nil); r.status != 403 {
		t.Error("an ordinary user reads the events", r.status)
	}

	// The records go after a week, and health tells of silence before that.
	health := func() string { t.Helper(); return h.do(t, "GET", "/sync/v1/health", h.admin(t), nil).text(t, "status") }
	if got := health(); got != "ok" {
		t.Error(got)
	}
	h.clock.add(tenant.StaleAfter + time.Minute)
	if got := health(); got != "noSync" {
		t.Error(got)
	}
	h.clock.add(tenant.RecordsKept)
	if _, n, err := h.Tenant.Tidy(t.Context()); err != nil || n != 3 {
		t.Error(n, err)
	}
	if got := list(nil); len(got) != 0 {
		t.Error(got)
	}
	if strings.Contains(h.answers.String(), digest.Expose()) || strings.Contains(h.logs.String(), digest.Expose()) {
		t.Error("a digest is visible")
	}
}

func TestTimeline(t *testing.T) {
	h := newHouse(t, nil)
	h.create(t, "ada", "First-Passw0rd")
	token := h.token(t, "ada@contoso.test", "First-Passw0rd")
	h.clock.add(time.Minute)
	if r := h.do(t, "POST", "/v1.0/me/changePassword", token, map[string]string{"currentPassword": "First-Passw0rd", "newPassword": "Second-Passw0rd"}); r.status != 204 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	r := h.do(t, "GET", "/sync/v1/users/ada@contoso.test/timeline", h.admin(t), nil)
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	out := r.json(t)
	forms, steps := out["forms"].([]any), out["steps"].([]any)
	if len(forms) != 2 || forms[0].(map[string]any)["form"] != "digest" || forms[1].(map[string]any)["form"] != "legacy" || forms[1].(map[string]any)["by"] != "change" {
		t.Error(forms)
	}
	if len(steps) != 1 || steps[0].(map[string]any)["what"] != "change" || steps[0].(map[string]any)["reason"] != "stored" {
		t.Error(steps)
	}
	if r := h.do(t, "GET", "/sync/v1/users/nobody@contoso.test/timeline", h.admin(t), nil); r.status != 404 {
		t.Error(r.status)
	}
}

// Agents before build 1.1.614.0 can't send legacy hashes (§6 of the design).
func TestOldAgents(t *testing.T) {
	h := newHouse(t, nil)
	agent := h.agent(t)
	h.do(t, "POST", "/sync/v1/objects:batch", agent, map[string]any{"items": []any{map[string]any{"type": "user", "operation": "set", "sourceAnchor": "ada",
		"attributes": map[string]any{"userPrincipalName": "ada@contoso.test"}}}})
	legacy, err := cred.NewLegacy("Passw0rd", "X")
	must(t, err)
	digest, err := cred.NewDigest(legacy.NT, rand.Reader)
	must(t, err)
	at := h.clock.now()
	sealed, err := h.private.Public().Seal(cred.Binding{Tenant: h.founding.Settings.TenantID.String(), Subject: "ada", Version: at.UnixMicro()}, legacy, rand.Reader)
	must(t, err)
	item := map[string]any{"sourceAnchor": "ada", "changeDate": at.Format(time.RFC3339), "credentialData": digest.Expose(), "legacy": string(sealed)}
	for _, c := range []struct{ build, want string }{
		{"1.1.613.9", "agentTooOld"}, {"1.1", "agentTooOld"}, {"nonsense", "agentTooOld"},
		{"1.1.614.0", "stored"}, {"2.4.21.0", "unchanged"}, {"", "unchanged"},
	} {
		r := h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, map[string]any{"items": []any{item}}, "x-ms-aadmsods-dirsyncbuildnumber", c.build)
		if !strings.Contains(string(r.body), `"reason":"`+c.want+`"`) {
			t.Errorf("build %q: %s", c.build, r.body)
		}
	}
}

// The events are in the server's own log as well, in their order, with the
// names that an administrator looks for and no value that anybody could sign in with.
func TestEventsInTheLog(t *testing.T) {
	h := newHouse(t, nil)
	h.Tenant.Log, h.Tenant.LogItems = slog.New(slog.NewTextHandler(h.logs, nil)), 3
	agent := h.agent(t)
	digest, err := cred.NewDigest(cred.NTHashOf("Passw0rd"), rand.Reader)
	must(t, err)
	changed := h.clock.now().Add(-time.Minute).UTC().Format(time.RFC3339)
	hash := func(anchor string) map[string]any {
		return map[string]any{"sourceAnchor": anchor, "changeDate": changed, "credentialData": digest.Expose()}
	}
	post := func(path string, status int, items ...map[string]any) string {
		t.Helper()
		was := len(h.logs.String())
		if r := h.do(t, "POST", "/sync/v1/"+path, agent, map[string]any{"items": items}); r.status != status {
			t.Fatalf("%d %s", r.status, r.body)
		}
		return h.logs.String()[was:]
	}
	events := func(log string) string {
		var out []string
		for line := range strings.Lines(log) {
			if _, rest, ok := strings.Cut(line, "event="); ok {
				id, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
				out = append(out, id)
			}
		}
		return strings.Join(out, " ")
	}
	post("objects:batch", 200, map[string]any{"type": "user", "operation": "set", "sourceAnchor": "ada", "attributes": map[string]any{
		"userPrincipalName": "ada@contoso.test", "onPremisesDistinguishedName": "CN=Ada,DC=corp"}})
	log := post("passwordHashes:batch", 200, hash("ada"), hash("nobody"))
	if got := events(log); got != "650 656 656 657 657 651" {
		t.Error(got, log)
	}
	for _, want := range []string{
		"event=657 anchor=ada user=ada@contoso.test dn=\"CN=Ada,DC=corp\" changeDate=" + changed + " result=Success",
		"event=657 anchor=nobody changeDate=" + changed + " result=Failed extendedError=unknownAnchor",
		"event=651 count=2 results.stored=1 results.unknownAnchor=1", "agent=" + h.founding.App.ClientID.String(),
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
	// Of a batch that is larger than what is logged by items, only what was refused.
	if log := post("passwordHashes:batch", 200, hash("ada"), hash("nobody"), hash("ada"), hash("ada")); events(log) != "650 656 657 651" ||
		!strings.Contains(log, "extendedError=unknownAnchor") || !strings.Contains(log, "results.superseded=2") {
		t.Error(log)
	}
	if log := post("heartbeat", 204); events(log) != "653 654" {
		t.Error(log)
	}

	// A batch that is refused as a whole is on record, too, and is no sign of life.
	before, err := h.Tenant.Health(t.Context())
	must(t, err)
	h.clock.add(time.Minute)
	must(t, h.Tenant.SetFeatures(t.Context(), 0, tenant.PasswordHashSync))
	if log := post("passwordHashes:batch", 403, hash("ada")); events(log) != "650 652" || !strings.Contains(log, "error=passwordSyncOff") {
		t.Error(log)
	}
	after, err := h.Tenant.Health(t.Context())
	must(t, err)
	if !after.Activity.PasswordSync.Equal(before.Activity.PasswordSync) {
		t.Error("a refused batch counts as a sync")
	}
	r := h.do(t, "GET", "/sync/v1/events?id=652", h.admin(t), nil)
	if list := r.json(t)["value"].([]any); len(list) != 1 || list[0].(map[string]any)["extendedError"] != "passwordSyncOff" {
		t.Errorf("%s", r.body)
	}
	if strings.Contains(h.logs.String(), digest.Expose()) {
		t.Error("a digest is in the log")
	}

	// What is kept, and for how long, can be set.
	h.Tenant.Keep = time.Hour
	h.clock.add(2 * time.Hour)
	if _, n, err := h.Tenant.Tidy(t.Context()); err != nil || n != 5 {
		t.Error(n, err)
	}
}

// A stream is as large as all that came in it: its first users are in the log one by
// one, and after that what was refused.
func TestEventsOfAStream(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 4)
	h.Tenant.LogItems = 3
	token := h.agent(t)
	base, client, _ := h.serve(t)
	body, write := io.Pipe()
	was := len(h.logs.String())
	done := make(chan (<-chan answerLine), 1)
	go func() {
		_, answers := h.open(t, client, base, token, body)
		done <- answers
	}()
	send := func(lines ...string) {
		for _, l := range lines {
			_, err := io.WriteString(write, l)
			must(t, err)
		}
	}
	send(h.line(0, time.Minute, 1), h.line(1, time.Minute, 1))
	answers := <-done
	<-answers // a chunk of two
	send(h.line(2, time.Minute, 1), h.line(3, time.Minute, 1), h.line(9, time.Minute, 1))
	write.Close()
	for a := range answers {
		if a.Done && a.CommittedLines != 5 {
			t.Errorf("%+v", a)
		}
	}
	log := h.logs.String()[was:]
	if n := strings.Count(log, `"event":657`); n != 3 || strings.Count(log, `"anchor":"a9"`) != 2 || strings.Contains(log, `"anchor":"a2"`) {
		t.Errorf("%d results in\n%s", n, log)
	}
}

package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAgentReports: the rest of an agent's log (§D of the wire reference) becomes rows
// beside those that the tenant writes, with their fields, and lines of its log.
func TestAgentReports(t *testing.T) {
	h := newHouse(t, nil)
	h.users(t, 1)
	agent := h.agent(t)
	at := h.clock.now().Add(-time.Minute).UTC().Format(time.RFC3339)
	event := func(id int, more ...any) map[string]any {
		e := map[string]any{"id": id, "time": at, "text": "said"}
		for i := 0; i < len(more); i += 2 {
			e[more[i].(string)] = more[i+1]
		}
		return e
	}
	report := func(events ...map[string]any) reply {
		return h.do(t, "POST", "/sync/v1/events", agent, map[string]any{"events": events})
	}
	list := func(query string) []map[string]any {
		t.Helper()
		r := h.do(t, "GET", "/sync/v1/events?"+query, h.admin(t), nil)
		var out struct{ Value []map[string]any }
		must(t, json.Unmarshal(r.body, &out))
		return out.Value
	}
	was := len(h.logs.String())
	if r := report(event(618, "text", "Full sync started"), event(605, "sourceAnchor", "a0", "dn", "CN=A0,DC=corp", "result", "unknownAnchor"),
		event(611, "text", "away\r\nforged=1 "+strings.Repeat("ä", 2000)), event(605, "sourceAnchor", "nobody"), event(116), event(6900)); r.status != 204 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var ids []string
	for _, e := range list("") {
		ids = append(ids, fmt.Sprint(e["id"]))
	}
	if got := strings.Join(ids, " "); got != "6900 116 605 611 605 618" {
		t.Error(got)
	}
	for _, query := range []string{"user=a0@contoso.test", "user=a0&id=605"} {
		mine := list(query)
		if len(mine) != 1 || mine[0]["dn"] != "CN=A0,DC=corp" || mine[0]["result"] != "unknownAnchor" || mine[0]["userPrincipalName"] != "a0@contoso.test" || mine[0]["time"] != at {
			t.Errorf("%s: %v", query, mine)
		}
	}
	if nobody := list("user=nobody"); len(nobody) != 1 || nobody[0]["sourceAnchor"] != "nobody" {
		t.Error(nobody)
	}
	if text := list("id=611")[0]["text"].(string); len(text) > 1024 || strings.ContainsAny(text, "\r\n") || !strings.HasPrefix(text, "awayforged=1") {
		t.Errorf("%q", text)
	}
	if log := h.logs.String()[was:]; strings.Count(log, `"reported by an agent"`) != 6 || !strings.Contains(log, `"event":605`) {
		t.Error(log)
	}
	// It is no sign of life of the sync, and no step of a user's timeline.
	if health := h.do(t, "GET", "/sync/v1/health", h.admin(t), nil).text(t, "status"); health != "neverSynced" {
		t.Error(health)
	}
	many := make([]map[string]any, 1001)
	for i := range many {
		many[i] = event(605)
	}
	for name, r := range map[string]reply{
		"a number of ours": report(event(657)), "a number of nobody's": report(event(42)), "no time": report(map[string]any{"id": 605}),
		"no JSON": h.do(t, "POST", "/sync/v1/events", agent, `{"events":[`), "too many": report(many...),
	} {
		if r.status != 400 && r.status != 413 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	if r := report(); r.status != 204 {
		t.Error(r.status)
	}
	h.create(t, "eve", "Cloud-Passw0rd")
	if r := h.do(t, "POST", "/sync/v1/events", h.token(t, "eve@contoso.test", "Cloud-Passw0rd"), map[string]any{"events": []any{event(605)}}); r.status != 403 {
		t.Error(r.status)
	}
}

package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/tenant"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestErrorBodies holds every error body, byte for byte, to testdata/errors:
// clients match codes and sentences.
func TestErrorBodies(t *testing.T) {
	h := newHouse(t, nil)
	admin, agent := h.admin(t), h.agent(t)
	h.create(t, "ada", "Initial-Pa55")
	ada := h.token(t, "ada@contoso.test", "Initial-Pa55")
	r := h.do(t, "POST", "/sync/v1/objects:batch", agent, `{"items":[
		{"type":"user","operation":"set","sourceAnchor":"nohash","attributes":{"userPrincipalName":"nohash@contoso.test"}},
		{"type":"user","operation":"set","sourceAnchor":"off","attributes":{"userPrincipalName":"off@contoso.test","accountEnabled":false}},
		{"type":"user","operation":"set","sourceAnchor":"synced","attributes":{"userPrincipalName":"synced@contoso.test"}}]}`)
	if r.status != 200 || strings.Contains(string(r.body), `"error"`) {
		t.Fatalf("%s", r.body)
	}
	h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[{"sourceAnchor":"synced","changeDate":"2026-01-01T00:00:00Z","credentialData":"v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;"}]}`)
	synced := h.token(t, "synced@contoso.test", "Pa$$w0rd")
	h.do(t, "POST", "/v1.0/users", admin, newUser("must", "Initial-Pa55", true))

	const endpoint = "/contoso.test/oauth2/v2.0/token"
	form := func(pairs ...string) url.Values {
		v := url.Values{"grant_type": {"password"}, "client_id": {tool}, "scope": {graphAll}, "username": {"ada@contoso.test"}, "password": {"Initial-Pa55"}}
		for i := 0; i < len(pairs); i += 2 {
			v.Set(pairs[i], pairs[i+1])
			if pairs[i+1] == "" {
				v.Del(pairs[i])
			}
		}
		return v
	}
	client := h.founding.App.ClientID.String()
	tokens := []struct {
		name, path string
		form       url.Values
	}{
		{"wrong-password", endpoint, form("password", "wrong")},
		{"hash-as-password", endpoint, form("username", "synced@contoso.test", "password", "92937945B518814341DE3F726500D4FF")}, // A09
		{"digest-as-password", endpoint, form("username", "synced@contoso.test", "password", "b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a")},
		{"unknown-user", endpoint, form("username", "nobody@contoso.test")},
		{"no-password-stored", endpoint, form("username", "nohash@contoso.test")},
		{"disabled", endpoint, form("username", "off@contoso.test")},
		{"must-change", endpoint, form("username", "must@contoso.test")},
		{"unknown-tenant", "/fabrikam.test/oauth2/v2.0/token", form()},
		{"no-grant", endpoint, form("grant_type", "")},
		{"unsupported-grant", endpoint, form("grant_type", "magic")},
		{"no-client", endpoint, form("client_id", "")},
		{"no-scope", endpoint, form("scope", "")},
		{"no-username", endpoint, form("username", "")},
		{"no-password", endpoint, form("password", "")},
		{"bad-scope", endpoint, form("scope", "https://graph.microsoft.com/User.Read User.Read")},
		{"bad-resource", endpoint, form("scope", "https://vault.azure.net/.default")},
		{"client-is-no-guid", endpoint, form("client_id", "me")},
		{"client-is-graph", endpoint, form("client_id", "00000003-0000-0000-c000-000000000000")},
		{"secret-on-public-client", endpoint, form("client_secret", "x")},
		{"app-without-secret", endpoint, form("grant_type", "client_credentials", "client_id", "AGENT")},
		{"app-wrong-secret", endpoint, form("grant_type", "client_credentials", "client_id", "AGENT", "client_secret", "x")},
		{"unknown-app", endpoint, form("grant_type", "client_credentials")},
		{"no-refresh-token", endpoint, form("grant_type", "refresh_token")},
		{"bad-refresh-token", endpoint, form("grant_type", "refresh_token", "refresh_token", "0.AAAA")},
		{"device-no-code", endpoint, form("grant_type", "device_code")},
		{"device-bad-code", endpoint, form("grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", "x", "scope", "")},
		{"device-no-scope", "/contoso.test/oauth2/v2.0/devicecode", form("scope", "")},
		{"device-bad-resource", "/contoso.test/oauth2/devicecode", form("resource", "https://vault.azure.net")},
		{"v1-bad-resource", "/contoso.test/oauth2/token", form("resource", "https://graph.windows.net x")},
		{"app-scope", endpoint, form("grant_type", "client_credentials", "client_id", "AGENT", "client_secret", h.founding.AgentSecret, "scope", "User.Read")},
	}
	used := map[string]bool{}
	check := func(name string, r reply) {
		t.Helper()
		used[name+".golden"] = true
		// What differs from tenant to tenant.
		body := strings.NewReplacer(client, "AGENT", h.founding.Objects[0].Object.ID.String(), "ADMIN").Replace(string(r.body))
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(body), "", "  "); err != nil {
			t.Errorf("%s: %d %q", name, r.status, body)
			return
		}
		got := fmt.Sprintf("%d\n", r.status)
		for _, name := range []string{"Allow", "Retry-After", "Www-Authenticate"} {
			if v := r.header.Get(name); v != "" {
				got += name + ": " + v + "\n"
			}
		}
		got += "\n" + indented.String() + "\n"
		path := filepath.Join("testdata", "errors", name+".golden")
		if *update {
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(got), 0o644))
			return
		}
		want, err := os.ReadFile(path)
		must(t, err)
		if got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	for _, one := range tokens {
		if one.form.Get("client_id") == "AGENT" {
			one.form.Set("client_id", client)
		}
		check("token-"+one.name, h.do(t, "POST", one.path, "", one.form))
	}
	check("configuration-unknown-tenant", h.do(t, "GET", "/fabrikam.test/.well-known/openid-configuration", "", nil))
	check("token-malformed", h.do(t, "POST", endpoint, "", "grant_type=password&password=secret%zz", "Content-Type", "application/x-www-form-urlencoded"))
	check("token-get", h.do(t, "GET", endpoint+"?username=ada@contoso.test&password=Initial-Pa55", "", nil))
	check("token-in-the-query", h.do(t, "POST", endpoint+"?"+form().Encode(), "", url.Values{}))
	check("token-unknown-route", h.do(t, "POST", "/contoso.test/oauth2/v2.0/nothing", "", nil))
	check("token-no-gzip", h.do(t, "POST", endpoint, "", form(), "Content-Encoding", "gzip"))
	check("instance-foreign", h.do(t, "GET", "/common/discovery/instance?authorization_endpoint=https://evil.test/x", "", nil))

	user := func(change func(map[string]any)) map[string]any {
		u := newUser("eve", "Initial-Pa55", false)
		change(u)
		return u
	}
	for _, one := range []struct {
		name, method, path, token string
		body                      any
	}{
		{"no-token", "GET", "/v1.0/me", "", nil},
		{"bad-token", "GET", "/v1.0/me", "a.b.c", nil},
		{"forbidden", "POST", "/v1.0/users", ada, "{}"},
		{"app-has-no-me", "GET", "/v1.0/me", agent, nil},
		{"unknown-user", "GET", "/v1.0/users/nobody@contoso.test", ada, nil},
		{"unknown-property", "GET", "/v1.0/me?$select=shoeSize", ada, nil},
		{"unknown-route", "GET", "/v1.0/nothing", ada, nil},
		{"wrong-method", "PUT", "/v1.0/me", ada, nil},
		{"malformed", "POST", "/v1.0/users", admin, `{"passwordProfile":{"password":"canary`},
		{"malformed-type", "POST", "/v1.0/users", admin, `{"passwordProfile":{"password":123456}}`},
		{"create-not-enabled", "POST", "/v1.0/users", admin, user(func(u map[string]any) { u["accountEnabled"] = nil })},
		{"create-no-password", "POST", "/v1.0/users", admin, user(func(u map[string]any) { delete(u, "passwordProfile") })},
		{"create-no-name", "POST", "/v1.0/users", admin, user(func(u map[string]any) { delete(u, "DisplayName") })},
		{"create-weak-password", "POST", "/v1.0/users", admin, newUser("eve", "password", false)},
		{"create-foreign-domain", "POST", "/v1.0/users", admin, user(func(u map[string]any) { u["userPrincipalName"] = "eve@fabrikam.test" })},
		{"create-name-taken", "POST", "/v1.0/users", admin, newUser("ADA", "Initial-Pa55", false)},
		{"change-wrong-password", "POST", "/v1.0/me/changePassword", ada, map[string]string{"currentPassword": "wrong", "newPassword": "Second-Pa55"}},
		{"change-weak-password", "POST", "/v1.0/me/changePassword", ada, map[string]string{"currentPassword": "Initial-Pa55", "newPassword": "short"}},
		{"change-no-password", "POST", "/v1.0/me/changePassword", ada, "{}"},
		{"change-synced", "POST", "/v1.0/me/changePassword", synced, map[string]string{"currentPassword": "Pa$$w0rd", "newPassword": "Second-Pa55"}},
		{"patch-other", "PATCH", "/v1.0/users/ada@contoso.test", admin, `{"displayName":"x"}`},
		{"patch-unknown-user", "PATCH", "/v1.0/users/nobody@contoso.test", admin, `{"passwordProfile":{"password":"Second-Pa55"}}`},
		{"too-large", "POST", "/v1.0/users", admin, strings.Repeat(" ", 1<<20+1)},
	} {
		check("graph-"+one.name, h.do(t, one.method, one.path, one.token, one.body))
	}
	check("graph-encoding", h.do(t, "POST", "/v1.0/users", admin, "{}", "Content-Encoding", "br"))
	check("graph-no-gzip", h.do(t, "POST", "/v1.0/users", admin, "{}", "Content-Encoding", "gzip"))

	check("sync-forbidden", h.do(t, "GET", "/sync/v1/configuration", ada, nil))
	check("sync-malformed", h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[`))
	check("sync-too-many", h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[`+strings.Repeat("{},", tenant.MaxBatchItems)+`{}]}`))
	check("sync-too-large", h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, strings.Repeat(" ", 4<<20+1)))
	check("sync-no-domain", h.do(t, "GET", "/sync/v1/usn?reached=1", agent, nil))
	check("sync-items", h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[7,{"sourceAnchor":"none"},
		{"sourceAnchor":"synced","changeDate":"2026-01-01T00:00:00Z","credentialData":"x"},
		{"sourceAnchor":"synced","changeDate":"yesterday"},{"sourceAnchor":"a","sourceAnchor":"b"}]}`))
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.Features &^= tenant.PasswordHashSync; return nil }))
	check("sync-passwords-off", h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[]}`))
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.DirSync = false; return nil }))
	check("sync-off", h.do(t, "POST", "/sync/v1/objects:batch", agent, `{"items":[]}`))

	var last reply
	for range 100 {
		if last = h.signIn(t, "loud@contoso.test", "wrong"); last.status == 429 {
			break
		}
	}
	check("token-throttled", last)
	h.clock.add(time.Hour)
	check("graph-expired", h.do(t, "GET", "/v1.0/me", ada, nil))

	files, err := os.ReadDir(filepath.Join("testdata", "errors"))
	must(t, err)
	for _, f := range files {
		if !used[f.Name()] {
			t.Errorf("%s is of no case", f.Name())
		}
	}
	if len(used) < 50 || !slices.ContainsFunc(files, func(f os.DirEntry) bool { return !f.IsDir() }) {
		t.Errorf("%d cases", len(used))
	}
}

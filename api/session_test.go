package api_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/api"
	"skyrealm/tenant"
)

const (
	v2Token    = "/contoso.test/oauth2/v2.0/token"
	v1Token    = "/contoso.test/oauth2/token"
	aad        = "https://graph.windows.net"
	agentScope = aad + "/.default offline_access openid profile" // as MSAL in a sync agent asks
)

// chance gives a house real randomness, which tokens and codes that are to differ need.
func chance(s *api.Server) { s.Rand = rand.Reader }

// claimsOf reads a token without judging it.
func claimsOf(t testing.TB, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("no JWT: %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	must(t, err)
	var out map[string]any
	must(t, json.Unmarshal(raw, &out))
	return out
}

// refresh sends what MSAL sends.
func (h *house) refresh(t testing.TB, token, scope string, more ...string) reply {
	t.Helper()
	form := url.Values{"client_id": {tool}, "grant_type": {"refresh_token"}, "client_info": {"1"}, "refresh_token": {token}, "scope": {scope}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return h.do(t, "POST", v2Token, "", form)
}

// refused fails unless the answer is a refusal with a code.
func (r reply) refused(t testing.TB, what, kind string, code float64, sub string) {
	t.Helper()
	codes, _ := r.json(t)["error_codes"].([]any)
	if r.status != 400 || r.text(t, "error") != kind || len(codes) != 1 || codes[0] != code || r.text(t, "suberror") != sub {
		t.Errorf("%s: %d %s", what, r.status, r.body)
	}
}

func TestRefresh(t *testing.T) {
	h := newHouse(t, chance)
	h.create(t, "ada", "Initial-Pa55")
	token := h.signIn(t, "ada@contoso.test", "Initial-Pa55").text(t, "refresh_token")

	// A cache with nothing but a refresh token: any resource, and a new one each time.
	seen := map[string]bool{token: true}
	for _, test := range []struct{ scope, audience string }{{agentScope, aad}, {graphAll + " offline_access openid profile", "https://graph.microsoft.com"}, {"", "https://graph.microsoft.com"}, {graphAll, "https://graph.microsoft.com"}} {
		r := h.refresh(t, token, test.scope)
		if r.status != 200 {
			t.Fatalf("%q: %d %s", test.scope, r.status, r.body)
		}
		c := claimsOf(t, r.text(t, "access_token"))
		next := r.text(t, "refresh_token")
		if c["aud"] != test.audience || c["upn"] != "ada@contoso.test" || next == "" || seen[next] || r.text(t, "client_info") == "" ||
			r.json(t)["expires_in"] != 3599. || r.text(t, "token_type") != "Bearer" || r.text(t, "scope") == "" {
			t.Errorf("%q: %s", test.scope, r.body)
		}
		if r := h.do(t, "GET", "/v1.0/me", r.text(t, "access_token"), nil); r.status != 200 {
			t.Errorf("%q: /me %d", test.scope, r.status)
		}
		if r := h.do(t, "GET", "/v1.0/me", next, nil); r.status != 401 {
			t.Errorf("a refresh token as an access token: %d", r.status)
		}
		seen[next] = true
	}
	h.clock.add(89 * 24 * time.Hour)
	for one := range seen { // used or not, all of them are good, and for 90 days from their issue
		if r := h.refresh(t, one, graphAll); r.status != 200 {
			t.Errorf("an older token: %d %s", r.status, r.body)
		}
	}
	young := h.refresh(t, token, graphAll).text(t, "refresh_token")
	h.clock.add(24 * time.Hour)
	h.refresh(t, token, graphAll).refused(t, "after 90 days", "invalid_grant", 700082, "")
	if r := h.refresh(t, young, graphAll); r.status != 200 {
		t.Errorf("of yesterday: %d %s", r.status, r.body)
	}

	// Bound to the client.
	h.refresh(t, young, graphAll, "client_id", "1b730954-1685-4b74-9bfd-dac224a7b894").refused(t, "another client's", "invalid_grant", 70000, "")
	h.refresh(t, young+"A", graphAll).refused(t, "no token", "invalid_grant", 70000, "")
	h.refresh(t, h.token(t, "ada@contoso.test", "Initial-Pa55"), graphAll).refused(t, "an access token", "invalid_grant", 70000, "")
	h.refresh(t, young, "https://vault.azure.net/.default").refused(t, "a foreign resource", "invalid_resource", 500011, "")

	// None without offline_access, and none for an app itself.
	r := h.do(t, "POST", v2Token, "", url.Values{"grant_type": {"password"}, "client_id": {tool}, "scope": {graphAll}, "username": {"ada@contoso.test"}, "password": {"Initial-Pa55"}})
	if r.status != 200 || r.json(t)["refresh_token"] != nil {
		t.Errorf("not asked for: %s", r.body)
	}
	r = h.do(t, "POST", v2Token, "", url.Values{"grant_type": {"client_credentials"}, "scope": {agentAll + " offline_access"},
		"client_id": {h.founding.App.ClientID.String()}, "client_secret": {h.founding.AgentSecret}})
	if r.status != 200 || r.json(t)["refresh_token"] != nil {
		t.Errorf("an app's: %s", r.body)
	}

	// A confidential client has to prove itself at each use.
	app := []string{"client_id", h.founding.App.ClientID.String(), "client_secret", h.founding.AgentSecret}
	r = h.do(t, "POST", v2Token, "", url.Values{"grant_type": {"password"}, "client_id": {app[1]}, "client_secret": {app[3]}, "scope": {agentScope}, "username": {"ada@contoso.test"}, "password": {"Initial-Pa55"}})
	token = r.text(t, "refresh_token")
	if r := h.refresh(t, token, agentScope, app...); r.status != 200 {
		t.Errorf("a confidential client: %d %s", r.status, r.body)
	}
	if r := h.refresh(t, token, agentScope, app[:2]...); r.status != 401 || r.text(t, "error") != "invalid_client" {
		t.Errorf("a confidential client without its secret: %d %s", r.status, r.body)
	}
	if r := h.refresh(t, token, agentScope, "client_id", app[1], "client_secret", "x"); r.status != 401 {
		t.Errorf("a confidential client with a wrong secret: %d %s", r.status, r.body)
	}
}

// A03, as the real service has it: each of the hundred gets a token of its own, and
// none ends another.
func TestRefreshRace(t *testing.T) {
	h := newHouse(t, chance)
	token := h.signIn(t, h.founding.AdminUPN, h.founding.AdminPassword).text(t, "refresh_token")
	answers := make([]string, 100)
	var wg sync.WaitGroup
	server := h.handler
	for i := range answers {
		wg.Go(func() {
			one := house{handler: server} // answers are gathered by each
			r := one.refresh(t, token, agentScope)
			if r.status != 200 {
				t.Errorf("%d %s", r.status, r.body)
				return
			}
			answers[i] = r.text(t, "refresh_token")
		})
	}
	wg.Wait()
	seen := map[string]bool{token: true}
	for _, one := range answers {
		if one == "" || seen[one] {
			t.Fatalf("%q comes twice", one)
		}
		seen[one] = true
	}
	for one := range seen {
		if r := h.refresh(t, one, graphAll); r.status != 200 {
			t.Errorf("afterwards: %d %s", r.status, r.body)
		}
	}
}

func TestRefreshRevoked(t *testing.T) {
	h := newHouse(t, chance)
	admin := h.admin(t)
	ada := h.create(t, "ada", "Initial-Pa55")
	token := func(upn, password string) string {
		t.Helper()
		r := h.signIn(t, upn, password)
		if r.status != 200 {
			t.Fatalf("%s: %s", upn, r.body)
		}
		return r.text(t, "refresh_token")
	}
	post := func(path, token string, body any, want int) reply {
		t.Helper()
		r := h.do(t, "POST", path, token, body)
		if r.status != want {
			t.Fatalf("%s: %d %s", path, r.status, r.body)
		}
		return r
	}

	old := token("ada@contoso.test", "Initial-Pa55")
	derived := h.refresh(t, old, agentScope).text(t, "refresh_token")
	h.clock.add(time.Second)
	post("/v1.0/me/changePassword", h.token(t, "ada@contoso.test", "Initial-Pa55"), map[string]string{"currentPassword": "Initial-Pa55", "newPassword": "Second-Pa55"}, 204)
	h.refresh(t, old, agentScope).refused(t, "after a change", "invalid_grant", 50173, "bad_token")
	h.refresh(t, derived, agentScope).refused(t, "one that came by refresh, after a change", "invalid_grant", 50173, "bad_token")

	old = token("ada@contoso.test", "Second-Pa55")
	h.clock.add(time.Second)
	reset := func(password string, force bool) {
		t.Helper()
		r := h.do(t, "PATCH", "/v1.0/users/"+ada, admin, map[string]any{"passwordProfile": map[string]any{"password": password, "forceChangePasswordNextSignIn": force}})
		if r.status != 204 {
			t.Fatalf("reset: %d %s", r.status, r.body)
		}
	}
	reset("Third-Pa555", false)
	h.refresh(t, old, agentScope).refused(t, "after a reset", "invalid_grant", 50173, "bad_token")

	// revokeSignInSessions, by the user and by the administrator.
	old = token("ada@contoso.test", "Third-Pa555")
	h.clock.add(time.Second)
	if r := post("/v1.0/me/revokeSignInSessions", h.token(t, "ada@contoso.test", "Third-Pa555"), nil, 200); r.json(t)["value"] != true {
		t.Errorf("%s", r.body)
	}
	h.refresh(t, old, agentScope).refused(t, "after the user revoked", "invalid_grant", 50173, "bad_token")
	old = token("ada@contoso.test", "Third-Pa555")
	if r := h.refresh(t, old, agentScope); r.status != 200 {
		t.Errorf("signed in since: %s", r.body)
	}
	h.clock.add(time.Second)
	post("/beta/users('"+ada+"')/revokeSignInSessions", admin, nil, 200)
	h.refresh(t, old, agentScope).refused(t, "after the administrator revoked", "invalid_grant", 50173, "bad_token")
	user := h.token(t, "ada@contoso.test", "Third-Pa555")
	post("/v1.0/users/"+h.founding.AdminUPN+"/revokeSignInSessions", user, nil, 403)
	post("/v1.0/users/"+ada+"/revokeSignInSessions", h.agent(t), nil, 403)
	post("/v1.0/me/revokeSignInSessions", h.agent(t), nil, 400)
	post("/v1.0/users/nobody@contoso.test/revokeSignInSessions", admin, nil, 404)

	// A synced password leaves sessions alone; a temporary, a disabled and a deleted
	// user do not go on.
	agent := h.agent(t)
	object := func(attributes string) {
		t.Helper()
		post("/sync/v1/objects:batch", agent, `{"items":[{"type":"user","operation":"set","sourceAnchor":"bob","attributes":{"userPrincipalName":"bob@contoso.test"`+attributes+`}}]}`, 200)
	}
	hash := func(date, digest, more string) {
		t.Helper()
		r := post("/sync/v1/passwordHashes:batch", agent, `{"items":[{"sourceAnchor":"bob","changeDate":"`+date+`","credentialData":"`+digest+`"`+more+`}]}`, 200)
		if strings.Contains(string(r.body), `"error"`) {
			t.Fatalf("%s", r.body)
		}
	}
	const dollar = "v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;"
	object("")
	hash("2026-01-01T00:00:00Z", dollar, "")
	old = token("bob@contoso.test", "Pa$$w0rd")
	hash("2026-01-01T01:00:00Z", dollar, "")
	if r := h.refresh(t, old, agentScope); r.status != 200 {
		t.Errorf("after a synced password: %s", r.body)
	}
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.SyncRevokes = true; return nil }))
	h.refresh(t, old, agentScope).refused(t, "after a synced password, where it revokes", "invalid_grant", 50173, "bad_token")
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error { s.SyncRevokes = false; return nil }))
	object(`,"accountEnabled":false`)
	h.refresh(t, old, agentScope).refused(t, "a disabled user", "invalid_grant", 50057, "")
	object(`,"accountEnabled":true`)
	must(t, h.store.UpdateSettings(t.Context(), func(s *tenant.Settings) error {
		s.Features |= tenant.ForcePasswordChangeOnLogon
		return nil
	}))
	hash("2026-01-01T02:00:00Z", dollar, `,"forcePasswordChangeOnLogon":true`)
	h.refresh(t, old, agentScope).refused(t, "a temporary password", "invalid_grant", 50055, "user_password_expired")
	post("/sync/v1/objects:batch", agent, `{"items":[{"type":"user","operation":"delete","sourceAnchor":"bob"}]}`, 200)
	h.refresh(t, old, agentScope).refused(t, "a deleted user", "invalid_grant", 50034, "")

	for _, one := range []string{old, derived} {
		if strings.Contains(h.logs.String(), one) {
			t.Error("a refresh token is in the log")
		}
	}
}

// The v1.0 endpoint, as AINT and ADAL use it.
func TestTokenV1(t *testing.T) {
	h := newHouse(t, chance)
	form := url.Values{"grant_type": {"password"}, "resource": {aad}, "client_id": {"1b730954-1685-4b74-9bfd-dac224a7b894"},
		"username": {h.founding.AdminUPN}, "password": {h.founding.AdminPassword}, "scope": {"openid"}}
	r := h.do(t, "POST", "/common/oauth2/token", "", form)
	if r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	a := r.json(t)
	now := h.clock.now().Unix()
	for name, want := range map[string]any{"token_type": "Bearer", "expires_in": "3599", "ext_expires_in": "3599", "resource": aad, "scope": "user_impersonation"} {
		if a[name] != want {
			t.Errorf("%s is %v, want %v", name, a[name], want)
		}
	}
	c, id := claimsOf(t, r.text(t, "access_token")), claimsOf(t, r.text(t, "id_token"))
	if c["aud"] != aad || c["ver"] != "1.0" || c["scp"] != "Directory.AccessAsUser.All openid" || a["expires_on"] != decimal(now+3600) || a["not_before"] != decimal(now) {
		t.Errorf("%v, %v", a, c)
	}
	if id["ver"] != "1.0" || id["upn"] != h.founding.AdminUPN || id["unique_name"] != h.founding.AdminUPN || id["iss"] != c["iss"] || id["preferred_username"] != nil {
		t.Errorf("id_token %v", id)
	}
	if r := h.do(t, "GET", "/v1.0/me", r.text(t, "id_token"), nil); r.status != 401 {
		t.Errorf("the id_token is an access token: %d", r.status)
	}

	// Its refresh token is good for other resources, at both endpoints.
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.text(t, "refresh_token")}, "client_id": form["client_id"], "resource": {"https://graph.microsoft.com/"}}
	r = h.do(t, "POST", v1Token, "", refresh)
	if r.status != 200 || r.text(t, "expires_in") != "3599" || r.text(t, "resource") != "https://graph.microsoft.com/" || r.text(t, "refresh_token") == "" ||
		claimsOf(t, r.text(t, "access_token"))["aud"] != "https://graph.microsoft.com" {
		t.Errorf("refresh: %d %s", r.status, r.body)
	}
	if r := h.refresh(t, r.text(t, "refresh_token"), agentScope, "client_id", form.Get("client_id")); r.status != 200 || r.json(t)["expires_in"] != 3599. {
		t.Errorf("at v2.0: %d %s", r.status, r.body)
	}
	form.Del("resource") // the old directory API
	if r := h.do(t, "POST", v1Token, "", form); r.status != 200 || r.text(t, "resource") != aad {
		t.Errorf("without a resource: %d %s", r.status, r.body)
	}
	r = h.do(t, "POST", v1Token, "", url.Values{"grant_type": {"client_credentials"}, "resource": {"https://graph.microsoft.com"},
		"client_id": {h.founding.App.ClientID.String()}, "client_secret": {h.founding.AgentSecret}})
	if r.status != 200 || r.json(t)["refresh_token"] != nil || r.json(t)["scope"] != nil {
		t.Errorf("an app: %d %s", r.status, r.body)
	}
	form.Set("password", "wrong")
	h.do(t, "POST", v1Token, "", form).refused(t, "a wrong password", "invalid_grant", 50126, "")

	// The documents lead there, by the tenant's id whatever the name that was asked for.
	tid := h.founding.Settings.TenantID.String()
	for path, want := range map[string]string{
		"/contoso.test/.well-known/openid-configuration":       "/" + tid + "/oauth2",
		"/contoso.test/v2.0/.well-known/openid-configuration":  "/" + tid + "/oauth2/v2.0",
		"/common/.well-known/openid-configuration":             "/common/oauth2",
		"/organizations/v2.0/.well-known/openid-configuration": "/organizations/oauth2/v2.0",
	} {
		c := h.do(t, "GET", path, "", nil).json(t)
		if c["token_endpoint"] != "https://"+host+want+"/token" || c["device_authorization_endpoint"] != "https://"+host+want+"/devicecode" {
			t.Errorf("%s: %v", path, c)
		}
	}
	for _, path := range []string{"/common/userrealm?user=ada@contoso.test&api-version=2.1", "/common/userrealm/?user=ada%40contoso.test"} {
		if c := h.do(t, "GET", path, "", nil).json(t); c["account_type"] != "Managed" || c["domain_name"] != "contoso.test" {
			t.Errorf("%s: %v", path, c)
		}
	}
	c = h.do(t, "GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/common/oauth2/authorize", "", nil).json(t)
	if c["tenant_discovery_endpoint"] != "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration" || c["api-version"] != "1.1" ||
		!strings.Contains(jsonText(t, c["metadata"]), `"aliases":["login.microsoftonline.com"]`) {
		t.Errorf("instance discovery %v", c)
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func jsonText(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	must(t, err)
	return string(b)
}

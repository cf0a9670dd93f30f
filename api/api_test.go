package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/jackc/pgx/v5"

	"skyrealm/api"
	"skyrealm/cred"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

func TestSignIn(t *testing.T) {
	h := newHouse(t, nil)
	r := h.signIn(t, "ADMIN@contoso.test", h.founding.AdminPassword)
	if r.status != 200 || r.header.Get("Cache-Control") != "no-store, no-cache" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	answer := r.json(t)
	if answer["token_type"] != "Bearer" || answer["expires_in"] != 3599. || answer["scope"] != graphAll+" openid profile" || answer["refresh_token"] == nil {
		t.Errorf("answer %v", answer)
	}
	admin, tid := h.founding.Objects[0].Object, h.founding.Settings.TenantID.String()
	if info, _ := base64.RawURLEncoding.DecodeString(answer["client_info"].(string)); string(info) != `{"uid":"`+admin.ID.String()+`","utid":"`+tid+`"}` {
		t.Errorf("client_info %s", info)
	}

	// As a stranger verifies it: with the published keys.
	var keys jose.JSONWebKeySet
	must(t, json.Unmarshal(h.do(t, "GET", "/common/discovery/v2.0/keys", "", nil).body, &keys))
	claims := func(raw string) map[string]any {
		token, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256})
		must(t, err)
		var c map[string]any
		must(t, token.Claims(keys.Key(token.Headers[0].KeyID)[0], &c))
		return c
	}
	c := claims(answer["access_token"].(string))
	for name, want := range map[string]any{"aud": "https://graph.microsoft.com", "iss": "https://sts.contoso.test/" + tid + "/", "tid": tid,
		"oid": admin.ID.String(), "upn": admin.UPN, "unique_name": admin.UPN, "name": admin.Profile.DisplayName, "appid": tool, "ver": "1.0",
		"scp": "Directory.AccessAsUser.All openid profile", "idtyp": "user", "exp": float64(h.clock.now().Unix() + 3600), "nbf": float64(h.clock.now().Unix())} {
		if c[name] != want {
			t.Errorf("%s is %v, want %v", name, c[name], want)
		}
	}
	if fmt.Sprint(c["amr"]) != "[pwd]" || !strings.Contains(fmt.Sprint(c["wids"]), tenant.RoleGlobalAdministrator) || c["onprem_sid"] != nil || c["roles"] != nil || c["uti"] == "" {
		t.Errorf("claims %v", c)
	}
	id := claims(answer["id_token"].(string))
	var config map[string]any
	must(t, json.Unmarshal(h.do(t, "GET", "/contoso.test/v2.0/.well-known/openid-configuration", "", nil).body, &config))
	if id["iss"] != config["issuer"] || id["aud"] != tool || id["oid"] != admin.ID.String() || id["preferred_username"] != admin.UPN || id["sub"] == c["sub"] {
		t.Errorf("id_token %v, configuration %v", id, config)
	}

	// The agent's.
	app := claims(h.agent(t))
	client := h.founding.App.ClientID.String()
	if app["idtyp"] != "app" || app["appid"] != client || app["oid"] != app["sub"] || app["app_displayname"] != h.founding.App.DisplayName ||
		fmt.Sprint(app["roles"]) != "[Sync.ReadWrite.All]" || app["wids"] != nil || app["scp"] != nil || app["appidacr"] != "1" {
		t.Errorf("app token %v", app)
	}
	basic := h.do(t, "POST", "//"+tid+"//oauth2/V2.0/Token/", "", url.Values{"grant_type": {"client_credentials"},
		"scope": {"https://" + host + "/.default openid profile offline_access"}},
		"Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(client+":"+url.QueryEscape(h.founding.AgentSecret))))
	if basic.status != 200 {
		t.Errorf("Basic: %d %s", basic.status, basic.body)
	}
}

func TestDiscovery(t *testing.T) {
	h := newHouse(t, nil)
	tid := h.founding.Settings.TenantID.String()
	for _, test := range []struct{ path, issuer string }{
		{"/" + tid + "/v2.0/.well-known/openid-configuration?", "https://login.contoso.test/" + tid + "/v2.0"},
		{"/Contoso.TEST/v2.0/.well-known/openid-configuration", "https://login.contoso.test/" + tid + "/v2.0"},
		{"/common/v2.0/.well-known/openid-configuration", "https://login.contoso.test/{tenantid}/v2.0"},
		{"/organizations/v2.0/.well-known/openid-configuration", "https://login.contoso.test/{tenantid}/v2.0"},
		{"/" + tid + "/.well-known/openid-configuration", "https://sts.contoso.test/" + tid + "/"},
	} {
		r := h.do(t, "GET", test.path, "", nil)
		c := r.json(t)
		if r.status != 200 || c["issuer"] != test.issuer || r.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", test.path, r.status, c)
		}
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "jwks_uri"} {
			if s, _ := c[name].(string); !strings.HasPrefix(s, "https://login.contoso.test/") {
				t.Errorf("%s: %s is %v", test.path, name, c[name])
			}
		}
	}
	var keys struct{ Keys []map[string]string }
	must(t, json.Unmarshal(h.do(t, "GET", "/"+tid+"/discovery/keys", "", nil).body, &keys))
	n, _ := base64.RawURLEncoding.DecodeString(keys.Keys[0]["n"])
	if len(keys.Keys) != 1 || keys.Keys[0]["use"] != "sig" || keys.Keys[0]["d"] != "" ||
		new(big.Int).SetBytes(n).Cmp(h.Key.Public().(*rsa.PublicKey).N) != 0 {
		t.Errorf("keys %v", keys)
	}
	for _, path := range []string{"/common/userrealm/Ada@contoso.test?api-version=1.0", "/common/UserRealm/ada%40contoso.test?api-version=1.0"} {
		if c := h.do(t, "GET", path, "", nil).json(t); c["account_type"] != "Managed" || c["domain_name"] != "contoso.test" ||
			c["cloud_instance_name"] != host || c["cloud_audience_urn"] == "" {
			t.Errorf("%s: %v", path, c)
		}
	}
	instance := func(about string) reply {
		return h.do(t, "GET", "/common/discovery/instance?api-version=1.1&authorization_endpoint="+url.QueryEscape(about), "", nil)
	}
	if c := instance("https://login.microsoftonline.com/contoso.test/oauth2/v2.0/authorize").json(t); c["tenant_discovery_endpoint"] !=
		"https://login.microsoftonline.com/contoso.test/v2.0/.well-known/openid-configuration" {
		t.Errorf("instance %v", c)
	}
	if r := instance("https://evil.test/contoso.test/oauth2/v2.0/authorize"); r.status != 400 || r.text(t, "error") != "invalid_instance" {
		t.Errorf("foreign instance %s", r.body)
	}
	// A Host that is none gets into no URL.
	r := h.do(t, "GET", "/common/v2.0/.well-known/openid-configuration", "", nil, "X-Forwarded-Host", "evil.test")
	if bytes.Contains(r.body, []byte("evil")) {
		t.Errorf("%s", r.body)
	}
}

func TestGraph(t *testing.T) {
	h := newHouse(t, nil)
	admin := h.admin(t)
	r := h.do(t, "POST", "/v1.0/users", admin, newUser("ada", "Initial-Pa55", true))
	if r.status != 201 || r.header.Get("X-Skyrealm-Usn") == "" || r.header.Get("OData-Version") != "4.0" {
		t.Fatalf("create: %d %v %s", r.status, r.header, r.body)
	}
	id := r.text(t, "id")
	if r.header.Get("Location") != "https://"+host+"/v1.0/users/"+id {
		t.Errorf("Location %s", r.header.Get("Location"))
	}
	if len(r.json(t)) != 12 || r.text(t, "displayName") != "ada" || r.text(t, "@odata.context") != "https://"+host+"/v1.0/$metadata#users/$entity" {
		t.Errorf("default projection %s", r.body)
	}
	if got := h.signIn(t, "ada@contoso.test", "Initial-Pa55"); got.text(t, "suberror") != "user_password_expired" {
		t.Errorf("must change: %s", got.body)
	}
	h.clock.add(time.Second)
	if r := h.do(t, "PATCH", "/beta/users/ada@contoso.test", admin, map[string]any{"passwordProfile": map[string]any{"password": "Second-Pa55", "forceChangePasswordNextSignIn": false}}); r.status != 204 || len(r.body) != 0 {
		t.Fatalf("reset: %d %s", r.status, r.body)
	}
	token := h.token(t, "ada@contoso.test", "Second-Pa55")

	for _, path := range []string{"/v1.0/me", "/beta/me", "/v1.0/users/" + id, "/v1.0/users/ada@contoso.test", "/v1.0/Users/ADA%40contoso.test", "/v1.0/users('ada@contoso.test')", "/v1.0/users('" + id + "')"} {
		if r := h.do(t, "GET", path, token, nil); r.status != 200 || r.text(t, "id") != id {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	for _, query := range []string{"?$select=id,accountEnabled,onPremisesSyncEnabled", "?%24select=ID,+accountenabled,onPremisesSyncEnabled"} {
		r := h.do(t, "GET", "/v1.0/me"+query, token, nil)
		if c := r.json(t); len(c) != 4 || c["accountEnabled"] != true || c["onPremisesSyncEnabled"] != nil {
			t.Errorf("%s: %s", query, r.body)
		}
	}

	h.clock.add(time.Second)
	change := map[string]string{"CurrentPassword": "Second-Pa55", "newPassword": "Third-Pa55"}
	r = h.do(t, "POST", "/v1.0/me/changePassword", token, change)
	if r.status != 204 || len(r.body) != 0 || r.header.Get("X-Skyrealm-Usn") == "" {
		t.Fatalf("change: %d %s", r.status, r.body)
	}
	h.token(t, "ada@contoso.test", "Third-Pa55")
	if r := h.signIn(t, "ada@contoso.test", "Second-Pa55"); r.text(t, "error") != "invalid_grant" {
		t.Errorf("the old password: %s", r.body)
	}
	// The change made the legacy hashes, which only the domain can open.
	uid, _ := tenant.ParseID(id)
	set, err := h.store.Credential(t.Context(), uid)
	must(t, err)
	legacy, err := h.private.Open(cred.Binding{Tenant: h.founding.Settings.TenantID.String(), Subject: id, Version: set.Version}, set.Legacy)
	must(t, err)
	if !legacy.NT.Equal(cred.NTHashOf("Third-Pa55")) || len(legacy.Keys) != 2 {
		t.Error("the sealed hashes are not the password's")
	}

	// Who may what.
	for _, test := range []struct{ method, path, token string }{
		{"POST", "/v1.0/users", token},
		{"PATCH", "/v1.0/users/" + id, token},
		{"POST", "/v1.0/users", h.agent(t)},
		{"GET", "/v1.0/users/" + id, h.agent(t)},
		{"POST", "/v1.0/me/changePassword", h.agent(t)},
		{"GET", "/sync/v1/configuration", token},
		{"POST", "/sync/v1/objects:batch", token},
		{"POST", "/sync/v1/passwordHashes:batch", token},
		{"GET", "/sync/v1/usn?reached=0", token},
	} {
		if r := h.do(t, test.method, test.path, test.token, "{}"); r.status != 403 || r.text(t, "error", "code") != "Authorization_RequestDenied" {
			t.Errorf("%s %s: %d %s", test.method, test.path, r.status, r.body)
		}
	}
	// A token for less does less.
	less := h.do(t, "POST", "/common/oauth2/v2.0/token", "", url.Values{"grant_type": {"password"}, "client_id": {tool}, "scope": {"User.Read"},
		"username": {h.founding.AdminUPN}, "password": {h.founding.AdminPassword}}).text(t, "access_token")
	if r := h.do(t, "POST", "/v1.0/users", less, newUser("bob", "Initial-Pa55", false)); r.status != 403 {
		t.Errorf("User.Read creates a user: %d", r.status)
	}
}

func TestEdge(t *testing.T) {
	down := errors.New("no")
	h := newHouse(t, func(s *api.Server) { s.Ready = func(context.Context) error { return down } })
	admin := h.admin(t)

	// Every body may be compressed, and counts as what it becomes.
	squeeze := func(b []byte) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		z.Write(b)
		z.Close()
		return out.Bytes()
	}
	body, _ := json.Marshal(newUser("gzip", "Initial-Pa55", false))
	if r := h.do(t, "POST", "/v1.0/users", admin, squeeze(body), "Content-Encoding", "gzip"); r.status != 201 {
		t.Errorf("gzip: %d %s", r.status, r.body)
	}
	bomb := squeeze(bytes.Repeat([]byte(" "), 64<<20))
	for _, path := range []string{"/v1.0/users", "/sync/v1/objects:batch", "/sync/v1/passwordHashes:batch"} {
		if r := h.do(t, "POST", path, admin, bomb, "Content-Encoding", "gzip"); r.status != 413 || r.text(t, "error", "code") != "RequestEntityTooLarge" {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
	}
	if r := h.do(t, "POST", "/common/oauth2/v2.0/token", "", bomb, "Content-Encoding", "gzip", "Content-Type", "application/x-www-form-urlencoded"); r.status != 413 || r.text(t, "error") != "invalid_request" {
		t.Errorf("token: %d %s", r.status, r.body)
	}
	limit := []byte(`{"items":[]}`)
	limit = append(limit, bytes.Repeat([]byte(" "), 4<<20-len(limit))...)
	if r := h.do(t, "POST", "/sync/v1/objects:batch", admin, limit); r.status != 200 {
		t.Errorf("a batch at its limit: %d %s", r.status, r.body)
	}
	if r := h.do(t, "POST", "/sync/v1/objects:batch", admin, append(limit, ' ')); r.status != 413 {
		t.Errorf("one byte more: %d %s", r.status, r.body)
	}
	if r := h.do(t, "POST", "/sync/v1/objects:batch", admin, squeeze(append(limit, ' ')), "Content-Encoding", "gzip"); r.status != 413 {
		t.Errorf("one byte more, compressed: %d %s", r.status, r.body)
	}

	// Nothing answers in plain text.
	for _, test := range []struct {
		method, path, token string
		status              int
	}{
		{"GET", "/", "", 404}, {"GET", "/favicon.ico", "", 404}, {"GET", "/v1.0/nothing", "", 401}, {"GET", "/v1.0/nothing", admin, 404},
		{"DELETE", "/v1.0/me", admin, 405}, {"GET", "/sync/v1/nothing", admin, 404}, {"GET", "/sync/v2/x", "", 404}, {"BREW", "/healthz", "", 405},
		{"GET", "/common/oauth2/v2.0/token", "", 405}, {"GET", "/common/oauth2/nothing", "", 404}, {"GET", "/%2e%2e/%00", "", 404},
	} {
		r := h.do(t, test.method, test.path, test.token, nil)
		if r.json(t)["error"] == nil || r.status != test.status || !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
			t.Errorf("%s %s: %d %s", test.method, test.path, r.status, r.body)
		}
		if _, isText := r.json(t)["error"].(string); isText != strings.Contains(test.path, "oauth2") {
			t.Errorf("%s %s in the wrong shape: %s", test.method, test.path, r.body)
		}
	}

	// Identity of a request.
	const mine = "0B5A3C1E-8D3F-4E5A-9C1B-2D3E4F5A6B7C"
	r := h.do(t, "GET", "/v1.0/me", "", nil, "Client-Request-Id", mine)
	if r.header.Get("Client-Request-Id") != strings.ToLower(mine) || r.text(t, "error", "innerError", "client-request-id") != strings.ToLower(mine) ||
		r.header.Get("Request-Id") != r.text(t, "error", "innerError", "request-id") || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("%v %s", r.header, r.body)
	}
	if r := h.do(t, "GET", "/healthz", "", nil, "Client-Request-Id", "x\r\nSet-Cookie: a"); r.header.Get("Client-Request-Id") != "" {
		t.Errorf("repeats %v", r.header)
	}

	if r := h.do(t, "GET", "/healthz", "", nil); r.status != 200 {
		t.Errorf("healthz %d", r.status)
	}
	if r := h.do(t, "GET", "/readyz", "", nil); r.status != 503 {
		t.Errorf("readyz %d", r.status)
	}
	down = nil
	if r := h.do(t, "GET", "/readyz", "", nil); r.status != 200 {
		t.Errorf("readyz %d", r.status)
	}
	if r := h.do(t, "GET", "/metrics", "", nil); !bytes.Contains(r.body, []byte(`skyrealm_http_requests_total{method="POST",route="/{tenant}/oauth2/v2.0/token",status="200"} 1`)) {
		t.Errorf("metrics %s", r.body)
	}
}

// TestPanic: what a handler does not catch is answered in the surface's shape,
// logged once, and its text stays inside.
func TestPanic(t *testing.T) {
	h := newHouse(t, func(s *api.Server) {
		s.Reached = func(context.Context, tenant.USN) error { panic("canary of a panic") }
	})
	r := h.do(t, "GET", "/sync/v1/usn?reached=1", h.agent(t), nil)
	if r.status != 500 || r.text(t, "error", "code") != "InternalServerError" || bytes.Contains(r.body, []byte("canary")) {
		t.Errorf("%d %s", r.status, r.body)
	}
	if n := strings.Count(h.logs.String(), "canary of a panic"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

// TestUnavailable: a database that is away is the service's fault, said so that
// clients come again.
func TestUnavailable(t *testing.T) {
	h := newHouse(t, nil)
	agent := h.agent(t)
	h.db.Close()
	r := h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[]}`)
	if r.status < 500 || bytes.Contains(r.body, []byte("pool")) {
		t.Errorf("%d %s", r.status, r.body)
	}
	r = h.signIn(t, h.founding.AdminUPN, h.founding.AdminPassword)
	if r.status < 500 || bytes.Contains(r.body, []byte("pool")) || r.text(t, "error") == "" {
		t.Errorf("%d %s", r.status, r.body)
	}
}

// TestStalled: a database that does not answer holds no request for ever, and
// leaves nothing behind that could not go on with it.
func TestStalled(t *testing.T) {
	const work = 400 * time.Millisecond
	h := newHouse(t, func(s *api.Server) { s.WorkTime = work })
	agent, wire, admin := h.agent(t), h.wireAgent(t), h.admin(t)
	c, err := pgx.Connect(t.Context(), h.url)
	must(t, err)
	defer c.Close(t.Context())
	tx, err := c.Begin(t.Context())
	must(t, err)
	_, err = tx.Exec(t.Context(), "LOCK TABLE tenant.settings, tenant.object, tenant.feed, tenant.record, tenant.app IN ACCESS EXCLUSIVE MODE")
	must(t, err)
	requests := map[string]func() (int, string){
		"objects": func() (int, string) {
			r := h.do(t, "POST", "/sync/v1/objects:batch", agent, `{"items":[]}`)
			return r.status, r.header.Get("Retry-After")
		},
		"passwords": func() (int, string) {
			r := h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[]}`)
			return r.status, r.header.Get("Retry-After")
		},
		"stream": func() (int, string) {
			r := h.do(t, "POST", "/sync/v1/passwordHashes:stream", agent, "")
			return r.status, r.header.Get("Retry-After")
		},
		"heartbeat": func() (int, string) {
			r := h.do(t, "POST", "/sync/v1/heartbeat", agent, nil)
			return r.status, r.header.Get("Retry-After")
		},
		"configuration": func() (int, string) {
			r := h.do(t, "GET", "/sync/v1/configuration", agent, nil)
			return r.status, r.header.Get("Retry-After")
		},
		"graph": func() (int, string) {
			r := h.do(t, "GET", "/v1.0/me", admin, nil)
			return r.status, r.header.Get("Retry-After")
		},
		"sign-in": func() (int, string) { r := h.signIn(t, h.founding.AdminUPN, "x"); return r.status, "-" },
		"wire": func() (int, string) {
			if text := h.refused(t, wire, "GetCompanyConfiguration", ""); !strings.Contains(text, "currently busy") {
				return 0, text
			}
			return 503, "-"
		},
	}
	for name, request := range requests {
		for range 3 { // more in all than there are connections
			began := time.Now()
			status, after := request()
			if took := time.Since(began); status != 503 || after == "" || took < work || took > time.Minute {
				t.Errorf("%s: %d %q after %s", name, status, after, took)
			}
		}
	}
	must(t, tx.Rollback(t.Context()))
	// New connections may take longer than the short time that this test gives.
	harness.WaitFor(t, "reads to go on", func() error {
		if r := h.do(t, "GET", "/v1.0/me", admin, nil); r.status != 200 {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
	harness.WaitFor(t, "writes to go on", func() error {
		if r := h.do(t, "POST", "/sync/v1/heartbeat", agent, nil); r.status != 204 {
			return fmt.Errorf("%d %s", r.status, r.body)
		}
		return nil
	})
}

func TestWaitForUSN(t *testing.T) {
	const at = 7
	h := newHouse(t, func(s *api.Server) {
		s.Reached = func(ctx context.Context, usn tenant.USN) error {
			if usn <= at {
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
	})
	agent := h.agent(t)
	for _, test := range []struct {
		query, body string
		status      int
	}{
		{"reached=7", `{"usn":7,"reached":true}`, 200},
		{"reached=8&timeout=10ms", `{"usn":8,"reached":false}`, 200},
		{"reached=8&timeout=0s", `{"usn":8,"reached":false}`, 200},
		{"reached=x", "", 400}, {"", "", 400}, {"reached=-1", "", 400}, {"reached=8&timeout=2h", "", 400}, {"reached=8&timeout=-1s", "", 400},
	} {
		r := h.do(t, "GET", "/sync/v1/usn?"+test.query, agent, nil)
		if r.status != test.status || test.body != "" && string(r.body) != test.body {
			t.Errorf("%s: %d %s", test.query, r.status, r.body)
		}
	}
	none := newHouse(t, nil)
	if r := none.do(t, "GET", "/sync/v1/usn?reached=1", none.agent(t), nil); r.status != http.StatusNotImplemented {
		t.Errorf("without a domain: %d %s", r.status, r.body)
	}
}

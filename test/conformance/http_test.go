package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func testToken(t *testing.T, w *world) {
	a := w.signIn(t, "ada@contoso.test", adaPassword)
	if a.status != 200 || a.str("token_type") != "Bearer" || a.version != "2" || !strings.HasPrefix(a.kind, "application/json") {
		t.Fatalf("a sign-in: %d, HTTP/%s, %s\n%s", a.status, a.version, a.kind, a.text)
	}
	parts := strings.Split(a.str("access_token"), ".")
	if len(parts) != 3 {
		t.Fatalf("the access token has %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	me := w.curl(t, "/v1.0/me", "-H", "Authorization: Bearer "+a.str("access_token"))
	if claims["tid"] != w.TenantID || claims["upn"] != "ada@contoso.test" || claims["oid"] == nil || claims["oid"] != me.body["id"] {
		t.Errorf("the token has %v, Graph says %s", claims, me.text)
	}

	// Refusals are Entra's, word for word in what programs read.
	for _, test := range []struct {
		who, upn, password string
		code               int
	}{
		{"a wrong password", "ada@contoso.test", "wrong", 50126},
		{"no password", "ada@contoso.test", "", 900144},
		{"the NT hash for the password", "ada@contoso.test", strings.ToUpper(ntHash(adaPassword)), 50126},
		{"nobody", "nobody@contoso.test", adaPassword, 50034},
		{"a disabled user", "grace@contoso.test", gracePassword, 50057},
		{"a disabled user's wrong password", "grace@contoso.test", "wrong", 50057},
		{"a password that has to be changed", "temp@contoso.test", tempPassword, 50055},
	} {
		a := w.signIn(t, test.upn, test.password)
		codes, _ := a.body["error_codes"].([]any)
		if a.status != 400 || len(codes) != 1 || codes[0] != float64(test.code) {
			t.Errorf("%s: %d %s", test.who, a.status, a.text)
			continue
		}
		if !strings.HasPrefix(a.str("error_description"), fmt.Sprintf("AADSTS%d: ", test.code)) {
			t.Errorf("%s is described as %q", test.who, a.str("error_description"))
		}
		for _, name := range []string{"error", "timestamp", "trace_id", "correlation_id", "error_uri"} {
			if a.str(name) == "" {
				t.Errorf("%s: the answer lacks %s: %s", test.who, name, a.text)
			}
		}
	}
	for who, args := range map[string][]string{
		"a wrong secret":     {"-d", "grant_type=client_credentials", "-d", "client_id=" + w.AgentClientID, "-d", "client_secret=wrong"},
		"an unknown client":  {"-d", "grant_type=client_credentials", "-d", "client_id=" + w.TenantID, "-d", "client_secret=wrong"},
		"an unknown grant":   {"-d", "grant_type=magic", "-d", "client_id=" + publicClient},
		"a body that is not": {"-d", "%zz"},
	} {
		a := w.curl(t, "/"+w.TenantID+"/oauth2/v2.0/token", append(args, "-d", "scope=https://graph.microsoft.com/.default")...)
		if a.status != 400 && a.status != 401 || a.str("error") == "" || !strings.HasPrefix(a.str("error_description"), "AADSTS") {
			t.Errorf("%s: %d %s", who, a.status, a.text)
		}
	}
	if a := w.curl(t, "/"+w.TenantID+"/v2.0/.well-known/openid-configuration"); a.status != 200 || a.str("token_endpoint") == "" || a.str("jwks_uri") == "" {
		t.Errorf("OIDC configuration: %d %s", a.status, a.text)
	}
}

func testSync(t *testing.T, w *world) {
	token := w.agentToken(t)
	bearer := []string{"-H", "Authorization: Bearer " + token}
	c := w.curl(t, "/sync/v1/configuration", bearer...)
	if c.status != 200 || c.str("tenantId") != w.TenantID || c.str("legacyKey", "kid") == "" || c.body["passwordSync"] != true {
		t.Errorf("configuration: %d %s", c.status, c.text)
	}

	results := func(a *answer) (out []string) {
		t.Helper()
		var b struct {
			Results []struct{ SourceAnchor, Status, Reason string }
		}
		if err := json.Unmarshal([]byte(a.text), &b); err != nil || a.status != 200 {
			t.Fatalf("a batch: %d %s", a.status, a.text)
		}
		for _, r := range b.Results {
			out = append(out, r.Status+" "+r.Reason)
		}
		return out
	}
	user := `{"type":"user","operation":"set","sourceAnchor":"aGFuZA==","attributes":{"userPrincipalName":"hand@contoso.test","displayName":"By hand"}}`
	group := `{"type":"group","operation":"set","sourceAnchor":"Z3JvdXA=","attributes":{"displayName":"By hand, too","securityEnabled":true,"member":["aGFuZA=="]}}`
	bad := `{"type":"spaceship","operation":"set","sourceAnchor":"c2hpcA=="}`
	a := w.curl(t, "/sync/v1/objects:batch", asJSON(token, `{"items":[`+user+`,`+bad+`,`+group+`]}`)...)
	if got := results(a); len(got) != 3 || got[0] != "ok stored" || !strings.HasPrefix(got[1], "error ") || got[2] != "ok stored" {
		t.Errorf("one bad item among three: %q", got)
	}
	if a := w.curl(t, "/sync/v1/objects:batch", asJSON(token, `{"items":[`+user+`]}`)...); results(a)[0] != "ok unchanged" {
		t.Errorf("the same again: %s", a.text)
	}

	// As agents send it: compressed.
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	fmt.Fprintf(z, `{"items":[%s]}`, strings.Replace(user, "By hand", "Compressed", 1))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	a = w.curl(t, "/sync/v1/objects:batch", append(asJSON(token, "@"+file(t, "batch.gz", zipped.String())), "-H", "Content-Encoding: gzip")...)
	if results(a)[0] != "ok stored" {
		t.Errorf("a compressed batch: %s", a.text)
	}
	hash := func(anchor, date string) string {
		return fmt.Sprintf(`{"sourceAnchor":%q,"changeDate":%q,"credentialData":%q}`, anchor, date, digests[0].text)
	}
	a = w.curl(t, "/sync/v1/passwordHashes:batch", asJSON(token, `{"items":[`+hash("aGFuZA==", "2026-01-02T03:04:05Z")+`,`+hash("bm9ib2R5", "2026-01-02T03:04:05Z")+`,`+hash("Z3JvdXA=", "2026-01-02T03:04:05Z")+`]}`)...)
	if got := results(a); got[0] != "ok stored" || got[1] != "error unknownAnchor" || got[2] != "error notAUser" {
		t.Errorf("hashes of a user, of nobody and of a group: %q", got)
	}
	w.signsIn(t, "hand@contoso.test", vectorPassword)

	// An object that is deleted signs in no more.
	del := `{"items":[{"type":"user","operation":"delete","sourceAnchor":"aGFuZA=="}]}`
	if a := w.curl(t, "/sync/v1/objects:batch", asJSON(token, del)...); results(a)[0] != "ok deleted" {
		t.Errorf("delete: %s", a.text)
	}
	if a := w.signIn(t, "hand@contoso.test", vectorPassword); a.status == 200 {
		t.Error("a deleted user signs in")
	}

	// Not everybody may, and not everything is a batch.
	ada := w.signsIn(t, "ada@contoso.test", adaPassword)
	for what, test := range map[string]struct {
		args   []string
		status int
	}{
		"nobody":         {[]string{"-H", "Content-Type: application/json", "-d", "{}"}, 401},
		"a user":         {asJSON(ada, `{"items":[]}`), 403},
		"no batch":       {asJSON(token, `[]`), 400},
		"cut off":        {asJSON(token, `{"items":[{`), 400},
		"a false length": {append(asJSON(token, `{"items":[]}`), "-H", "Content-Encoding: gzip"), 400},
	} {
		a := w.curl(t, "/sync/v1/objects:batch", test.args...)
		if a.status != test.status || a.str("error", "code") == "" || a.str("error", "innerError", "request-id") == "" {
			t.Errorf("a batch, %s: %d %s", what, a.status, a.text)
		}
	}
}

func testGraph(t *testing.T, w *world) {
	admin := w.signsIn(t, w.AdminUPN, w.AdminPassword())
	const first, second = "First-Time-9", "Second-Thoughts-9"
	create := `{"accountEnabled":true,"displayName":"Cloud Only","mailNickname":"cloud","userPrincipalName":"cloud@contoso.test","passwordProfile":{"password":"` + first + `","forceChangePasswordNextSignIn":false}}`
	a := w.curl(t, "/v1.0/users", asJSON(admin, create)...)
	if a.status != 201 || a.str("id") == "" || a.str("userPrincipalName") != "cloud@contoso.test" || !strings.HasSuffix(a.str("@odata.context"), "/v1.0/$metadata#users/$entity") {
		t.Fatalf("create: %d %s", a.status, a.text)
	}
	if strings.Contains(a.text, first) {
		t.Error("the answer holds the password")
	}
	if a := w.curl(t, "/v1.0/users", asJSON(admin, create)...); a.status != 400 || a.str("error", "code") == "" {
		t.Errorf("the same again: %d %s", a.status, a.text)
	}

	// The domain refuses, since there are no hashes for it yet.
	k := w.mit(t)
	k.refused(first, "cloud")
	token := w.signsIn(t, "cloud@contoso.test", first)
	if me := w.curl(t, "/v1.0/me", "-H", "Authorization: Bearer "+token); me.str("displayName") != "Cloud Only" || me.str("id") != a.str("id") {
		t.Errorf("me: %s", me.text)
	}
	for _, bad := range []struct{ old, new string }{{"wrong", second}, {first, "short"}, {first, first}} {
		a := w.curl(t, "/v1.0/me/changePassword", asJSON(token, fmt.Sprintf(`{"currentPassword":%q,"newPassword":%q}`, bad.old, bad.new))...)
		if a.status != 400 || a.str("error", "code") == "" {
			t.Errorf("from %s to %s: %d %s", bad.old, bad.new, a.status, a.text)
		}
	}
	a = w.curl(t, "/v1.0/me/changePassword", append(asJSON(token, fmt.Sprintf(`{"currentPassword":%q,"newPassword":%q}`, first, second)), "-D", "/dev/stdout")...)
	if a.status != 204 {
		t.Fatalf("change: %d %s", a.status, a.text)
	}
	// The answer's USN is the one to wait for; then the new password works
	// everywhere and the old one nowhere.
	w.reached(t, a.text)
	k.kinit(second, "cloud")
	k.kinit(second, "-E", "cloud@contoso.test")
	w.heimdal(t).kinit(second, "cloud")
	w.ldap(t, "cloud@contoso.test", second).run("", "ldapwhoami")
	w.signsIn(t, "cloud@contoso.test", second)
	k.refused(first, "cloud")
	if a := w.signIn(t, "cloud@contoso.test", first); a.status != 400 {
		t.Errorf("the old password: %d", a.status)
	}
	if _, code := w.ldap(t, "cloud@contoso.test", first).try("", "ldapwhoami"); code != 49 {
		t.Errorf("the old password binds: %d", code)
	}

	// A synced user's password is kept on-premises, and users make no users.
	ada := w.signsIn(t, "ada@contoso.test", adaPassword)
	a = w.curl(t, "/v1.0/me/changePassword", asJSON(ada, fmt.Sprintf(`{"currentPassword":%q,"newPassword":%q}`, adaPassword, second))...)
	if a.status/100 != 4 {
		t.Errorf("a synced user's change: %d %s", a.status, a.text)
	}
	if a := w.curl(t, "/v1.0/users", asJSON(ada, create)...); a.status != 403 {
		t.Errorf("a user creates a user: %d %s", a.status, a.text)
	}
}

// reached waits until the domain has what an answer with these headers is about.
func (w *world) reached(t *testing.T, headers string) {
	t.Helper()
	_, after, ok := strings.Cut(headers, "x-skyrealm-usn: ")
	if !ok {
		t.Fatalf("no USN among the headers:\n%s", headers)
	}
	usn, _, _ := strings.Cut(after, "\r\n")
	a := w.curl(t, "/sync/v1/usn?reached="+usn, "-H", "Authorization: Bearer "+w.agentToken(t))
	if a.body["reached"] != true {
		t.Fatalf("USN %s: %d %s", usn, a.status, a.text)
	}
}

func testEdge(t *testing.T, w *world) {
	ada := w.signsIn(t, "ada@contoso.test", adaPassword)
	bearer := []string{"-H", "Authorization: Bearer " + ada}
	for _, path := range []string{"/", "/nowhere", "/v1.0/nowhere", "/beta/nowhere", "/sync/v1/nowhere", "/admin/nowhere"} {
		a := w.curl(t, path, bearer...)
		if a.status != 404 && a.status != 403 || a.str("error", "code") == "" || a.str("error", "message") == "" ||
			a.str("error", "innerError", "request-id") == "" || a.str("error", "innerError", "date") == "" || !strings.HasPrefix(a.kind, "application/json") {
			t.Errorf("%s: %d %s %s", path, a.status, a.kind, a.text)
		}
	}
	if a := w.curl(t, "/"+w.TenantID+"/oauth2/v2.0/nowhere"); a.status != 404 || a.str("error") == "" || a.str("error_description") == "" {
		t.Errorf("an unknown route of OAuth: %d %s", a.status, a.text)
	}
	if a := w.curl(t, "/v1.0/me", append(bearer, "-X", "DELETE")...); a.status != 405 || a.str("error", "code") == "" {
		t.Errorf("a method that is not: %d %s", a.status, a.text)
	}
	if a := w.curl(t, "/v1.0/me", "-H", "Authorization: Bearer x"+ada); a.status != 401 {
		t.Errorf("a broken token: %d", a.status)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if a := w.curl(t, path); a.status != 200 || a.version != "2" {
			t.Errorf("%s: %d over HTTP/%s", path, a.status, a.version)
		}
		if a := w.curl(t, path, "--http1.1"); a.status != 200 || a.version != "1.1" {
			t.Errorf("%s: %d over HTTP/%s", path, a.status, a.version)
		}
	}
	if a := w.curl(t, "/healthz", "--tlsv1.3"); a.status != 200 {
		t.Errorf("TLS 1.3: %d", a.status)
	}
	// The certificate is good for every name of the service.
	for _, name := range []string{"localhost", "dc1.aadds.contoso.test", "aadds.contoso.test"} {
		_, port, _ := strings.Cut(w.HTTPS, ":")
		w.Client(t).Run("", "curl", "-sS", "--cacert", w.CAFile, "--resolve", name+":"+port+":127.0.0.1", "https://"+name+":"+port+"/healthz")
	}
}

package api_test

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"skyrealm/api/oauth"
)

const (
	v2Device    = "/contoso.test/oauth2/v2.0/devicecode"
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
)

// device asks for a code as MSAL does, and returns the device's and the person's.
func (h *house) device(t testing.TB) (code, userCode string) {
	t.Helper()
	r := h.do(t, "POST", v2Device, "", url.Values{"client_id": {tool}, "scope": {agentScope}})
	if r.status != 200 {
		t.Fatalf("devicecode: %d %s", r.status, r.body)
	}
	return r.text(t, "device_code"), r.text(t, "user_code")
}

// poll sends what MSAL sends.
func (h *house) poll(t testing.TB, code string, more ...string) reply {
	t.Helper()
	form := url.Values{"client_id": {tool}, "grant_type": {deviceGrant}, "client_info": {"1"}, "code": {code}, "device_code": {code}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return h.do(t, "POST", v2Token, "", form)
}

// browser is one that runs no script: it keeps the cookie and fills in forms.
type browser struct {
	*house
	t      testing.TB
	cookie string
	last   reply
}

var (
	inputs  = regexp.MustCompile(`<input [^>]*>`)
	buttons = regexp.MustCompile(`<button [^>]*>`)
	part    = regexp.MustCompile(`([a-z-]+)="([^"]*)"`)
)

func attributes(tag string) map[string]string {
	out := map[string]string{}
	for _, m := range part.FindAllStringSubmatch(tag, -1) {
		out[m[1]] = html.UnescapeString(m[2])
	}
	return out
}

func (b *browser) open() *browser {
	b.t.Helper()
	b.take(b.do(b.t, "GET", "/devicelogin", "", nil, b.headers()...))
	return b
}

func (b *browser) headers() []string { return []string{"Cookie", b.cookie} }

func (b *browser) take(r reply) {
	b.t.Helper()
	b.last = r
	if set := r.header.Get("Set-Cookie"); set != "" {
		b.cookie, _, _ = strings.Cut(set, ";")
		for _, want := range []string{"__Host-canary=", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Strict"} {
			if !strings.Contains(set, want) {
				b.t.Errorf("the cookie lacks %q: %s", want, set)
			}
		}
	}
	csp := r.header.Get("Content-Security-Policy")
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/html") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") ||
		strings.Contains(csp, "unsafe") || !strings.Contains(r.header.Get("Cache-Control"), "no-store") || r.header.Get("X-Frame-Options") != "DENY" {
		b.t.Errorf("headers %v", r.header)
	}
	text := string(r.body)
	for _, bad := range []string{"<script", "style=", "<style", " onclick", "javascript:"} {
		if strings.Contains(text, bad) {
			b.t.Errorf("the page has %q", bad)
		}
	}
	for _, good := range []string{`<html lang="en">`, "<h1>", "<main>", `<link rel="stylesheet" href="` + oauth.StylePath + `">`} {
		if !strings.Contains(text, good) {
			b.t.Errorf("the page lacks %q", good)
		}
	}
	for _, tag := range inputs.FindAllString(text, -1) { // each has a label
		a := attributes(tag)
		if a["type"] != "hidden" && !strings.Contains(text, `<label for="`+a["id"]+`">`) {
			b.t.Errorf("no label for %s", tag)
		}
	}
}

// form is what the page's form sends with nothing filled in.
func (b *browser) form() url.Values {
	out := url.Values{}
	for _, tag := range inputs.FindAllString(string(b.last.body), -1) {
		a := attributes(tag)
		out.Set(a["name"], a["value"])
	}
	return out
}

// send fills in the field with an id and presses the button with an id, as the
// scripts do that drive the real service's page.
func (b *browser) send(field, value, button string) reply {
	b.t.Helper()
	form := b.form()
	found := field == ""
	for _, tag := range inputs.FindAllString(string(b.last.body), -1) {
		if a := attributes(tag); a["id"] == field && field != "" {
			form.Set(a["name"], value)
			found = true
		}
	}
	pressed := false
	for _, tag := range buttons.FindAllString(string(b.last.body), -1) {
		if a := attributes(tag); a["id"] == button {
			pressed = true
			if a["name"] != "" {
				form.Set(a["name"], a["value"])
			}
		}
	}
	if !found || !pressed {
		b.t.Fatalf("no field %q or no button %q: %s", field, button, b.last.body)
	}
	b.take(b.do(b.t, "POST", "/devicelogin", "", form, b.headers()...))
	return b.last
}

func (b *browser) says(what string, status int, all ...string) {
	b.t.Helper()
	if b.last.status != status {
		b.t.Errorf("%s: %d", what, b.last.status)
	}
	for _, one := range all {
		if !strings.Contains(string(b.last.body), one) {
			b.t.Errorf("%s: no %q in %s", what, one, b.last.body)
		}
	}
}

func TestDeviceFlow(t *testing.T) {
	h := newHouse(t, chance)
	h.create(t, "ada", "Initial-Pa55")
	r := h.do(t, "POST", v2Device, "", url.Values{"client_id": {tool}, "scope": {agentScope}})
	code, userCode := r.text(t, "device_code"), r.text(t, "user_code")
	if r.status != 200 || r.json(t)["expires_in"] != 900. || r.json(t)["interval"] != 5. || r.text(t, "verification_uri") != "https://"+host+"/devicelogin" ||
		!strings.Contains(r.text(t, "message"), "enter the code "+userCode+" to") || r.header.Get("Cache-Control") != "no-store, no-cache" {
		t.Errorf("%v %s", r.header, r.body)
	}
	h.poll(t, code).refused(t, "nobody has approved yet", "authorization_pending", 70016, "")

	b := (&browser{house: h, t: t}).open()
	b.says("the code's page", 200, `id="otc"`, `name="otc"`)
	b.send("otc", strings.ToLower(userCode), "idSIButton9")
	b.says("the name's page", 200, `id="i0116"`, `name="loginfmt"`, `autocomplete="username"`, "Azure CLI", "Go on only if you started this yourself")
	b.send("i0116", " ada@contoso.test ", "idSIButton9")
	b.says("the password's page", 200, `id="i0118"`, `name="passwd"`, `type="password"`, `autocomplete="current-password"`, "<strong>ada@contoso.test</strong>")
	b.send("i0118", "wrong", "idSIButton9")
	b.says("a wrong password", 422, `role="alert"`, "Your user name or password is incorrect.", `aria-invalid="true"`, `aria-describedby="who error"`, "<title>Error: ")
	if strings.Contains(string(b.last.body), `value="wrong"`) {
		t.Error("the password comes back")
	}
	h.poll(t, code).refused(t, "after a wrong password", "authorization_pending", 70016, "")
	b.send("i0118", "Initial-Pa55", "idSIButton9")
	b.says("the end", 200, `role="status"`, "You have signed in to")

	h.poll(t, code, "client_id", "1b730954-1685-4b74-9bfd-dac224a7b894").refused(t, "another client", "bad_verification_code", 70018, "")
	r = h.poll(t, code)
	if r.status != 200 || claimsOf(t, r.text(t, "access_token"))["aud"] != aad || claimsOf(t, r.text(t, "access_token"))["upn"] != "ada@contoso.test" ||
		r.text(t, "id_token") == "" || r.text(t, "client_info") == "" || r.text(t, "scope") != aad+"/.default openid profile" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := h.refresh(t, r.text(t, "refresh_token"), graphAll); r.status != 200 {
		t.Errorf("its refresh token: %s", r.body)
	}
	h.poll(t, code).refused(t, "a second time", "bad_verification_code", 70018, "")
	h.poll(t, "x").refused(t, "a false code", "bad_verification_code", 70018, "")

	// The v1.0 endpoint: bare grant name, code only, strings.
	r = h.do(t, "POST", "/common/oauth2/devicecode", "", url.Values{"client_id": {tool}, "resource": {aad}})
	if r.text(t, "expires_in") != "900" || r.text(t, "interval") != "5" || r.text(t, "verification_url") == "" || r.text(t, "message") == "" {
		t.Errorf("v1.0: %s", r.body)
	}
	form := url.Values{"grant_type": {"device_code"}, "client_id": {tool}, "resource": {aad}, "code": {r.text(t, "device_code")}}
	h.do(t, "POST", v1Token, "", form).refused(t, "v1.0, pending", "authorization_pending", 70016, "")
	b.approve(r.text(t, "user_code"), "ada@contoso.test", "Initial-Pa55")
	r = h.do(t, "POST", v1Token, "", form)
	if r.status != 200 || r.text(t, "resource") != aad || r.text(t, "expires_in") != "3599" || r.text(t, "refresh_token") == "" {
		t.Errorf("v1.0: %d %s", r.status, r.body)
	}

	// Declined; expired; approved by someone who may not sign in any more.
	code, userCode = h.device(t)
	b.open().send("otc", userCode, "idSIButton9")
	b.send("", "", "idBtn_Back")
	b.says("cancelled", 200, `role="status"`, "was not signed in")
	h.poll(t, code).refused(t, "declined", "authorization_declined", 65004, "")
	b.open().send("otc", userCode, "idSIButton9")
	b.says("a declined code", 422, "That code did not work")

	code, userCode = h.device(t)
	approved, other := h.device(t)
	b.approve(other, "ada@contoso.test", "Initial-Pa55")
	b.open().send("otc", userCode, "idSIButton9")
	b.send("i0116", "ada@contoso.test", "idSIButton9")
	h.clock.add(15 * time.Minute)
	b.send("i0118", "Initial-Pa55", "idSIButton9")
	b.says("expired between the pages", 422, "That code did not work", `id="otc"`)
	h.poll(t, code).refused(t, "expired", "expired_token", 70019, "")
	h.poll(t, approved).refused(t, "approved and expired", "expired_token", 70019, "")

	code, userCode = h.device(t)
	b.approve(userCode, "ada@contoso.test", "Initial-Pa55")
	h.clock.add(time.Second)
	if r := h.do(t, "POST", "/v1.0/me/changePassword", h.token(t, "ada@contoso.test", "Initial-Pa55"), map[string]string{"currentPassword": "Initial-Pa55", "newPassword": "Second-Pa55"}); r.status != 204 {
		t.Fatalf("%s", r.body)
	}
	h.poll(t, code).refused(t, "approved with a password that is none any more", "invalid_grant", 50173, "bad_token")

	for _, secret := range []string{code, "Initial-Pa55", userCode} {
		if strings.Contains(h.logs.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// approve walks through all pages.
func (b *browser) approve(userCode, upn, password string) {
	b.t.Helper()
	b.open().send("otc", userCode, "idSIButton9")
	b.send("i0116", upn, "idSIButton9")
	b.send("i0118", password, "idSIButton9")
	b.says("approval", 200, "You have signed in to")
}

func TestDevicePageRefuses(t *testing.T) {
	h := newHouse(t, chance)
	h.create(t, "ada", "Initial-Pa55")
	if r := h.do(t, "POST", "/v1.0/users", h.admin(t), newUser("must", "Initial-Pa55", true)); r.status != 201 {
		t.Fatalf("%s", r.body)
	}
	_, userCode := h.device(t)
	b := &browser{house: h, t: t}

	for _, wrong := range []string{"", "BBBBBBBBB", `"><script>alert(1)</script>`, "\x00", strings.Repeat("B", 10_000)} {
		b.open().send("otc", wrong, "idSIButton9")
		b.says("a wrong code", 422, "That code did not work", `role="alert"`, `aria-describedby="hint error"`)
	}
	b.open().send("otc", userCode, "idSIButton9")
	b.send("i0116", "", "idSIButton9")
	b.says("no name", 422, "Enter your user name", `id="i0116"`)
	b.send("i0116", `"><script>@contoso.test`, "idSIButton9")
	b.send("i0118", "", "idSIButton9")
	b.says("no password", 422, "Enter your password", `id="i0118"`)
	for upn, want := range map[string]string{"ada@contoso.test": "Your user name or password is incorrect.", "nobody@contoso.test": "Your user name or password is incorrect.",
		"a\x00b@contoso.test": "Your user name or password is incorrect.",
		"must@contoso.test":   "Your password has to be changed"} {
		password := "wrong"
		if upn[0] == 'm' {
			password = "Initial-Pa55"
		}
		b.open().send("otc", userCode, "idSIButton9")
		b.send("i0116", upn, "idSIButton9")
		b.send("i0118", password, "idSIButton9")
		b.says(upn, 422, want)
	}

	// A04: no token, another browser's token, a foreign origin, no cookie.
	b.open().send("otc", userCode, "idSIButton9")
	b.send("i0116", "ada@contoso.test", "idSIButton9")
	mine, cookie := b.form(), b.cookie
	mine.Set("passwd", "Initial-Pa55")
	stranger := (&browser{house: h, t: t}).open()
	without, theirs, empty := clone(mine), clone(mine), clone(mine)
	without.Del("canary")
	theirs.Set("canary", stranger.form().Get("canary"))
	empty.Set("canary", "")
	for name, test := range map[string]struct {
		form    url.Values
		headers []string
	}{
		"no token":                {without, []string{"Cookie", cookie}},
		"another browser's token": {theirs, []string{"Cookie", cookie}},
		"no cookie":               {mine, nil},
		"an empty cookie":         {empty, []string{"Cookie", "__Host-canary="}},
		"a foreign site":          {mine, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site"}},
		"a neighbour":             {mine, []string{"Cookie", cookie, "Sec-Fetch-Site", "same-site"}},
		"a foreign origin":        {mine, []string{"Cookie", cookie, "Origin", "https://evil.test"}},
	} {
		r := h.do(t, "POST", "/devicelogin", "", test.form, test.headers...)
		if r.status != 403 || !strings.Contains(string(r.body), "Start again") || r.header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d %s", name, r.status, r.body)
		}
	}
	b.says("the control", 200)
	b.take(h.do(t, "POST", "/devicelogin", "", mine, "Cookie", cookie, "Sec-Fetch-Site", "same-origin", "Origin", "https://"+host))
	b.says("the control", 200, "You have signed in to")

	if r := h.do(t, "POST", "/devicelogin", "", "a=%zz", "Content-Type", "application/x-www-form-urlencoded"); r.status != 400 || !strings.Contains(string(r.body), "<h1>") {
		t.Errorf("no form: %d %s", r.status, r.body)
	}
	if r := h.do(t, "POST", "/devicelogin", "", url.Values{"otc": {strings.Repeat("x", 1<<20)}}); r.status != 413 || !strings.Contains(string(r.body), "<h1>") {
		t.Errorf("a large form: %d %s", r.status, r.body)
	}
	r := h.do(t, "GET", oauth.StylePath, "", nil)
	if r.status != 200 || !strings.HasPrefix(r.header.Get("Content-Type"), "text/css") || !strings.Contains(r.header.Get("Cache-Control"), "immutable") {
		t.Errorf("style: %d %v", r.status, r.header)
	}

	// Guesses are counted, whatever name goes with them.
	b.open()
	limited := false
	for range 200 {
		b.open()
		if b.send("otc", "BBBBBBBBB", "idSIButton9").status == http.StatusTooManyRequests {
			limited = true
			break
		}
	}
	if !limited {
		t.Error("200 guesses pass")
	}
	limited = false
	for range 200 {
		if r := h.do(t, "POST", v2Device, "", url.Values{"client_id": {tool}, "scope": {agentScope}}); r.status == http.StatusTooManyRequests {
			limited = true
			break
		}
	}
	if !limited {
		t.Error("200 device codes in no time")
	}
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for name, values := range v {
		out[name] = append([]string{}, values...)
	}
	return out
}

func TestDeviceCodeRefuses(t *testing.T) {
	h := newHouse(t, chance)
	for name, test := range map[string]struct {
		form url.Values
		kind string
		code float64
	}{
		"no client":          {url.Values{"scope": {agentScope}}, "invalid_request", 900144},
		"no scope":           {url.Values{"client_id": {tool}}, "invalid_request", 900144},
		"a foreign resource": {url.Values{"client_id": {tool}, "scope": {"https://vault.azure.net/.default"}}, "invalid_resource", 500011},
		"two resources":      {url.Values{"client_id": {tool}, "scope": {graphAll + " " + agentScope}}, "invalid_scope", 70011},
		"a NUL":              {url.Values{"client_id": {tool}, "scope": {"a\x00b"}}, "invalid_scope", 70011},
		"no UTF-8":           {url.Values{"client_id": {tool}, "scope": {"\xff"}}, "invalid_scope", 70011},
		"a long scope":       {url.Values{"client_id": {tool}, "scope": {strings.Repeat("a ", 4096)}}, "invalid_scope", 70011},
		"no guid":            {url.Values{"client_id": {"me"}, "scope": {agentScope}}, "unauthorized_client", 700016},
	} {
		h.do(t, "POST", v2Device, "", test.form).refused(t, name, test.kind, test.code, "")
	}
	if r := h.do(t, "POST", v2Device, "", url.Values{"client_id": {h.founding.App.ClientID.String()}, "scope": {agentScope}}); r.status != 401 {
		t.Errorf("an app without its secret: %d %s", r.status, r.body)
	}
	if r := h.do(t, "GET", v2Device, "", nil); r.status != 405 || r.text(t, "error") != "invalid_request" {
		t.Errorf("GET: %d %s", r.status, r.body)
	}
}

package api_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"skyrealm/agent"
	"skyrealm/api"
	"skyrealm/cred"
	"skyrealm/tenant"
)

// serve starts the house's listener and returns its address, a client that trusts
// it, and a function that stops it and returns what Serve did. The listener may be
// had through others.
func (h *house) serve(t testing.TB, through ...func(net.Listener) net.Listener) (string, *http.Client, func() error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	leaf, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	for _, f := range through {
		ln = f(ln)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	// A second handler of one server would register its metrics twice.
	again := *h.Server
	again.Metrics = newRegistry()
	handler, err := again.Handler(ctx)
	must(t, err)
	go func() {
		done <- again.Serve(ctx, ln, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, handler)
	}()
	stop := func() error { cancel(); return <-done }
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	t.Cleanup(func() { cancel(); client.CloseIdleConnections() })
	return "https://" + ln.Addr().String(), client, stop
}

func (h *house) pusher(base string, client *http.Client) *agent.Client {
	return &agent.Client{BaseURL: base, HTTP: client, ClientID: h.founding.App.ClientID.String(), Secret: agent.Secret(h.founding.AgentSecret),
		Now: h.clock.now, Rand: rand.Reader}
}

// TestPush sends a file through the agent over TLS and looks at what arrived.
func TestPush(t *testing.T) {
	h := newHouse(t, func(s *api.Server) { s.Reached = func(context.Context, tenant.USN) error { return nil } })
	base, client, stop := h.serve(t)
	c := h.pusher(base, client)

	var file strings.Builder
	for i := range 1200 { // more than two batches
		fmt.Fprintf(&file, `{"userPrincipalName":"u%d@contoso.test","sAMAccountName":"u%d","displayName":"User %d","memberOf":["Everyone","CN=Odd\\, %d,OU=x,DC=contoso,DC=test"],"ntHash":"%s","pwdLastSet":"2025-06-01T00:00:00Z"}`+"\n",
			i, i, i, i%2, "92937945B518814341DE3F726500D4FF")
	}
	file.WriteString(`{"userPrincipalName":"plain@contoso.test","sAMAccountName":"Plain","password":"pässwörd-€","dnsDomainName":"corp.test","sourceAnchor":"plain-anchor","objectSid":"S-1-5-21-1-2-3-1104"}
{"userPrincipalName":"nopass@contoso.test"}

{"type":"group","sAMAccountName":"Everyone","description":"all of them","memberOf":"not a list"}
{"userPrincipalName":"u1@contoso.test"}
{"userPrincipalName":"empty@contoso.test","password":""}
{"userPrincipalName":"not a name","password":"x"}
not json, password hunter2
`)
	var last, total int
	sum, err := c.Push(t.Context(), strings.NewReader(file.String()), func(done, of int) { last, total = done, of })
	must(t, err)
	// Refused: the group's line, the double, the empty password, the bad name twice
	// (as an object and, being no object, as a password), the line that is none.
	if sum.Users != 1203 || sum.Groups != 3 || sum.Hashes != 1201 || sum.Failed != 6 || last != total || total != 2*1207 {
		t.Errorf("%d of %d: %+v", last, total, sum)
	}
	for reason, n := range map[string]int{"duplicateInFile": 1, "invalidLine": 3, "userPrincipalNameInvalid": 1, "unknownAnchor": 1, "stored": 1203 + 3 + 1201} {
		if sum.Reasons[reason] != n {
			t.Errorf("%s: %d, want %d (%v)", reason, sum.Reasons[reason], n, sum.Reasons)
		}
	}
	if text := fmt.Sprintf("%+v %#v", sum, sum); strings.Contains(text, "hunter2") {
		t.Error("a summary quotes a line")
	}
	must(t, c.WaitUSN(t.Context(), sum.USN))

	h.token(t, "u777@contoso.test", "Pa$$w0rd")
	h.token(t, "plain@contoso.test", "pässwörd-€")
	found, err := h.store.ObjectsByAnchor(t.Context(), []string{"plain-anchor"})
	must(t, err)
	set, err := h.store.Credential(t.Context(), found[0].ID)
	must(t, err)
	legacy, err := h.private.Open(cred.Binding{Tenant: h.founding.Settings.TenantID.String(), Subject: "plain-anchor", Version: set.Version}, set.Legacy)
	must(t, err)
	want, err := cred.NewLegacy("pässwörd-€", "CORP.TESTPlain")
	must(t, err)
	if !legacy.Equal(want) {
		t.Error("the sealed hashes are not those of the password under the on-premises salt")
	}

	// Again: what has a date is what it was.
	sum, err = c.Push(t.Context(), strings.NewReader(file.String()), nil)
	must(t, err)
	if sum.Reasons["unchanged"] < 1200 {
		t.Errorf("a second run: %+v", sum)
	}

	resp, err := client.Get(base + "/healthz")
	must(t, err)
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("served %s", resp.Proto)
	}
	old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}}}
	if resp, err := old.Get(base + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 is served")
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// TestNoSecretsInLogs is W08 and A10: canaries go through everything that takes
// them, good and bad, with the log at its lowest level.
func TestNoSecretsInLogs(t *testing.T) {
	h := newHouse(t, nil)
	base, client, _ := h.serve(t)
	password, synced := "Canary-Pa55-of-ada", "Canary-Pa55-of-eve"
	h.create(t, "ada", password)
	ada := h.token(t, "ada@contoso.test", password)
	h.clock.add(time.Second)
	next := "Canary-Pa55-of-now"
	admin, agentToken := h.admin(t), h.agent(t)

	hash := cred.NTHashOf(synced)
	legacy, err := cred.NewLegacy(synced, "CONTOSO.TESTeve")
	must(t, err)
	digest, err := cred.NewDigest(hash, rand.Reader)
	must(t, err)
	sum, err := h.pusher(base, client).Push(t.Context(), strings.NewReader(fmt.Sprintf(`{"userPrincipalName":"eve@contoso.test","ntHash":"%x","kerberosKeys":[{"etype":18,"salt":"s","iterations":4096,"key":"%x"}]}
{"userPrincipalName":"bad@contoso.test","ntHash":"%xzz"}
{"userPrincipalName":"bad2@contoso.test","password":%q
{"userPrincipalName":"bad3@contoso.test","password":[%q]}
{"userPrincipalName":"bad4@contoso.test","ntHash":"%x","kerberosKeys":[{"etype":17,"key":"%x"}]}
`, hash.Expose(), legacy.Keys[0].Key.Expose(), hash.Expose(), synced, synced, hash.Expose(), legacy.Keys[0].Key.Expose())), nil)
	must(t, err)
	if sum.Hashes != 1 || sum.Failed != 4 {
		t.Fatalf("%+v", sum)
	}

	for _, body := range []string{
		`{"items":[{"sourceAnchor":"nobody","changeDate":"2026-01-01T00:00:00Z","credentialData":"` + digest.Expose() + `"}]}`,
		`{"items":[{"sourceAnchor":7,"credentialData":"` + digest.Expose() + `"}]}`,
		`{"items":[{"credentialData":"` + digest.Expose() + `"`,
		`{"items":[{"sourceAnchor":"nobody","credentialData":["` + synced + `"]}]}`,
		`{"items":[{"sourceAnchor":"nobody","legacy":"` + hex.EncodeToString(hash.Expose()) + `"}]}`,
	} {
		h.do(t, "POST", "/sync/v1/passwordHashes:batch", agentToken, body)
		h.do(t, "POST", "/sync/v1/objects:batch", agentToken, body)
	}
	for _, wrong := range []string{password + "x", synced, next, hex.EncodeToString(hash.Expose()), digest.Expose()} {
		h.signIn(t, "ada@contoso.test", wrong)
		h.do(t, "POST", "/common/oauth2/v2.0/token", "", "grant_type=password&password="+wrong+"%zz", "Content-Type", "application/x-www-form-urlencoded")
		h.do(t, "POST", "/v1.0/me/changePassword", ada, map[string]string{"currentPassword": wrong, "newPassword": next})
		h.do(t, "POST", "/v1.0/me/changePassword", ada, `{"currentPassword":"`+wrong)
		h.do(t, "POST", "/v1.0/users", admin, newUser("ada", wrong, false))
		h.do(t, "POST", "/v1.0/users", admin, `{"passwordProfile":"`+wrong+`"}`)
		h.do(t, "GET", "/v1.0/me?password="+wrong, ada, nil)
		h.do(t, "GET", "/nowhere?password="+wrong, wrong, nil)
	}
	h.do(t, "POST", "/v1.0/me/changePassword", ada, map[string]string{"currentPassword": password, "newPassword": next})
	h.db.Close() // and now everything fails inside
	h.signIn(t, "ada@contoso.test", next)
	h.do(t, "POST", "/v1.0/me/changePassword", ada, map[string]string{"currentPassword": next, "newPassword": password})
	h.do(t, "POST", "/v1.0/users", admin, newUser("zoe", password, false))
	h.do(t, "POST", "/sync/v1/passwordHashes:batch", agentToken, `{"items":[{"sourceAnchor":"x","credentialData":"`+digest.Expose()+`"}]}`)

	fields := strings.Split(digest.Expose(), ",")
	secrets := map[string][]byte{"password": []byte(password), "synced": []byte(synced), "next": []byte(next), "NT hash": hash.Expose(),
		"AES key": legacy.Keys[0].Key.Expose(), "digest": []byte(strings.TrimSuffix(fields[3], ";")), "agent secret": []byte(h.founding.AgentSecret),
		"token": []byte(strings.Split(ada, ".")[2]), "admin password": []byte(h.founding.AdminPassword)}
	log := h.logs.String()
	if !strings.Contains(log, `"request"`) || strings.Count(log, "request failed") < 4 {
		t.Fatalf("the log has not seen it: %s", log)
	}
	for name, secret := range secrets {
		for way, text := range encodings(secret) {
			if strings.Contains(log, text) {
				t.Errorf("the log has the %s in %s", name, way)
			}
			// The one answer that holds a token is the token endpoint's.
			if name != "token" && bytes.Contains(h.answers.Bytes(), []byte(text)) {
				t.Errorf("an answer has the %s in %s", name, way)
			}
			if strings.Contains(fmt.Sprintf("%+v", sum), text) {
				t.Errorf("the summary has the %s in %s", name, way)
			}
		}
	}
}

// encodings are the seven of W08.
func encodings(secret []byte) map[string]string {
	reversed := slices.Clone(secret)
	slices.Reverse(reversed)
	var wide []byte
	for _, u := range utf16.Encode([]rune(string(secret))) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(secret)
	w.Close()
	out := map[string]string{
		"hex": hex.EncodeToString(secret), "HEX": strings.ToUpper(hex.EncodeToString(secret)),
		"base64": strings.TrimRight(base64.StdEncoding.EncodeToString(secret), "="), "UTF-16": string(wide),
		"reverse": string(reversed), "plain": string(secret), "gzip": z.String(),
		"numbers": strings.Trim(fmt.Sprint(secret), "[]"), // how %v prints bytes
	}
	return out
}

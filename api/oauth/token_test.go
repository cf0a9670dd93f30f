package oauth

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

var (
	testTenant = tenant.ID{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10}
	testNow    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	testKey    = sync.OnceValue(func() *rsa.PrivateKey {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return key
	})
)

func newVerifier(t testing.TB) *Verifier {
	t.Helper()
	s, err := NewSigner(testKey())
	if err != nil {
		t.Fatal(err)
	}
	return &Verifier{Signer: s, Issuer: Issuer{testTenant, "contoso.test"}, Now: func() time.Time { return testNow }}
}

func userClaims(t testing.TB, v *Verifier) accessClaims {
	t.Helper()
	c, err := v.Issuer.newAccess(testNow, rand.Reader, graphID)
	if err != nil {
		t.Fatal(err)
	}
	u := tenant.Object{ID: tenant.ID{9}, Kind: tenant.User, UPN: "ada@contoso.test", Roles: []string{tenant.RoleGlobalAdministrator}}
	c.user(&u, "04b07795-8ddb-461a-bbee-02f9e1bf7b46", false, []string{problem.FullScope})
	return c
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// signRaw makes a token of any header and payload, under a true signature.
func signRaw(t testing.TB, header, payload string) string {
	t.Helper()
	text := b64(header) + "." + b64(payload)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(nil, testKey(), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func TestVerifyAccepts(t *testing.T) {
	v := newVerifier(t)
	c := userClaims(t, v)
	raw, err := v.Signer.sign(&c)
	if err != nil {
		t.Fatal(err)
	}
	who, err := v.Verify(raw)
	if err != nil {
		t.Fatal(err)
	}
	if who.ID != (tenant.ID{9}) || who.IsApp || !who.Administers() || !who.HasScope("User.ReadWrite.All") || who.HasRole(tenant.RoleSync) {
		t.Errorf("caller %+v", who)
	}

	app, _ := v.Issuer.newAccess(testNow, rand.Reader, aadURI)
	app.app(&tenant.App{ClientID: tenant.ID{7}, DisplayName: "agent", Roles: []string{tenant.RoleSync}})
	if raw, err = v.Signer.sign(&app); err != nil {
		t.Fatal(err)
	}
	who, err = v.Verify(raw)
	if err != nil || !who.IsApp || !who.HasRole(tenant.RoleSync) || who.Administers() || who.HasScope(problem.FullScope) {
		t.Errorf("app %+v, %v", who, err)
	}
}

// TestVerifyRefuses is the matrix of A02 and A01.
func TestVerifyRefuses(t *testing.T) {
	v := newVerifier(t)
	claims := userClaims(t, v)
	good, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	kid := v.Signer.public.KeyID
	header := fmt.Sprintf(`{"alg":"RS256","typ":"JWT","kid":%q}`, kid)
	if _, err := v.Verify(signRaw(t, header, string(good))); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	with := func(change func(*accessClaims)) string {
		c := claims
		change(&c)
		b, _ := json.Marshal(c)
		return signRaw(t, header, string(b))
	}
	der, _ := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	mac := func(key []byte) string {
		text := b64(fmt.Sprintf(`{"alg":"HS256","typ":"JWT","kid":%q}`, kid)) + "." + b64(string(good))
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	other, _ := rsa.GenerateKey(rand.Reader, 2048)
	foreign, _ := NewSigner(other)
	foreign.public.KeyID = kid
	stranger, err := foreign.sign(&claims)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := v.Signer.sign(&idClaims{Audience: graphID, Issuer: "https://sts.contoso.test/" + testTenant.String() + "/v2.0",
		Expires: testNow.Add(time.Hour).Unix(), Object: tenant.ID{9}.String(), Tenant: testTenant.String(), Version: "2.0"})
	jwk, _ := json.Marshal(foreign.public)
	control := signRaw(t, header, string(good))
	parts := strings.Split(control, ".")

	for name, raw := range map[string]string{
		"empty":                     "",
		"alg none":                  b64(fmt.Sprintf(`{"alg":"none","kid":%q}`, kid)) + "." + b64(string(good)) + ".",
		"alg None":                  b64(fmt.Sprintf(`{"alg":"None","kid":%q}`, kid)) + "." + b64(string(good)) + "." + parts[2],
		"HS256 with the public DER": mac(der),
		"HS256 with the public PEM": mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"PS256 named":               signRaw(t, fmt.Sprintf(`{"alg":"PS256","kid":%q}`, kid), string(good)),
		"RS512 named":               signRaw(t, fmt.Sprintf(`{"alg":"RS512","kid":%q}`, kid), string(good)),
		"no kid":                    signRaw(t, `{"alg":"RS256"}`, string(good)),
		"kid is a path":             signRaw(t, `{"alg":"RS256","kid":"../../../dev/null"}`, string(good)),
		"kid is SQL":                signRaw(t, `{"alg":"RS256","kid":"' OR 1=1 --"}`, string(good)),
		"kid is a URL":              signRaw(t, `{"alg":"RS256","kid":"https://evil.test/jwks"}`, string(good)),
		"crit":                      signRaw(t, fmt.Sprintf(`{"alg":"RS256","kid":%q,"crit":["exp"],"exp":1}`, kid), string(good)),
		"two algs":                  signRaw(t, fmt.Sprintf(`{"alg":"none","alg":"RS256","kid":%q}`, kid), string(good)),
		"two subjects":              signRaw(t, header, strings.Replace(string(good), `{`, `{"oid":"`+(tenant.ID{8}).String()+`",`, 1)),
		"another key":               stranger,
		"another key, brought along as jwk": b64(fmt.Sprintf(`{"alg":"RS256","kid":%q,"jwk":%s}`, kid, jwk)) +
			"." + parts[1] + "." + strings.Split(stranger, ".")[2],
		"payload changed":     parts[0] + "." + b64(strings.Replace(string(good), `"appidacr":"0"`, `"appidacr":"1"`, 1)) + "." + parts[2],
		"signature cut":       control[:len(control)-4],
		"signature empty":     parts[0] + "." + parts[1] + ".",
		"five parts":          control + ".x.y",
		"100,000 dots":        strings.Repeat(".", 100_000),
		"1 MB":                parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2],
		"flattened JSON":      `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"payload is no JSON":  signRaw(t, header, "hello"),
		"payload is a list":   signRaw(t, header, "[]"),
		"another audience":    with(func(c *accessClaims) { c.Audience = "https://vault.azure.net" }),
		"no audience":         with(func(c *accessClaims) { c.Audience = "" }),
		"a client's audience": with(func(c *accessClaims) { c.Audience = c.ClientID }),
		"another issuer":      with(func(c *accessClaims) { c.Issuer = "https://sts.evil.test/" + testTenant.String() + "/" }),
		"another tenant":      with(func(c *accessClaims) { c.Tenant = tenant.ID{5}.String() }),
		"another tenant's issuer": with(func(c *accessClaims) {
			c.Issuer = strings.Replace(c.Issuer, testTenant.String(), tenant.ID{5}.String(), 1)
		}),
		"no object": with(func(c *accessClaims) { c.Object = "" }),
		"version 2": with(func(c *accessClaims) { c.Version = "2.0" }),
		"id_token":  id,
	} {
		best := time.Hour
		for range 5 { // a busy machine must not fail the bound
			start := time.Now()
			if _, err := v.Verify(raw); err != ErrToken {
				t.Errorf("%s: %v", name, err)
			}
			best = min(best, time.Since(start))
		}
		if best > time.Millisecond {
			t.Errorf("%s: %v to refuse", name, best)
		}
	}
	for name, raw := range map[string]string{
		"expires now":   with(func(c *accessClaims) { c.Expires = testNow.Unix() }),
		"expired":       with(func(c *accessClaims) { c.Expires = testNow.Unix() - 1 }),
		"never expires": with(func(c *accessClaims) { c.Expires = 0 }),
		"not yet":       with(func(c *accessClaims) { c.NotBefore = testNow.Unix() + 61 }),
	} {
		if _, err := v.Verify(raw); err != ErrExpired {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, raw := range map[string]string{
		"the last second":         with(func(c *accessClaims) { c.Expires = testNow.Unix() + 1 }),
		"a replica's clock ahead": with(func(c *accessClaims) { c.NotBefore = testNow.Unix() + 60 }),
	} {
		if _, err := v.Verify(raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignerRefusesSmallKeys(t *testing.T) {
	if _, err := NewSigner(nil); err == nil {
		t.Error("no key is taken")
	}
	block, _ := pem.Decode([]byte(smallKey))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewSigner(key); err == nil {
		t.Error("a key of 1024 bits is taken")
	}
}

func TestReadScopes(t *testing.T) {
	for _, test := range []struct {
		scope, audience, granted, echo string
		onlyApp                        bool
		code                           int
	}{
		{scope: "User.Read", audience: graphID, granted: "User.Read", echo: "User.Read"},
		{scope: "openid profile offline_access", audience: graphID, granted: "openid profile", echo: "openid profile"},
		{scope: "https://graph.microsoft.com/.default openid offline_access profile", audience: graphURI,
			granted: problem.FullScope + " openid profile", echo: "https://graph.microsoft.com/.default openid profile", onlyApp: true},
		{scope: "https://graph.windows.net//.default", audience: aadURI, granted: problem.FullScope, echo: "https://graph.windows.net//.default", onlyApp: true},
		{scope: graphID + "/.default", audience: graphID, granted: problem.FullScope, echo: graphID + "/.default", onlyApp: true},
		{scope: "https://host:10443/.default", audience: graphID, granted: problem.FullScope, echo: "https://host:10443/.default", onlyApp: true},
		{scope: "https://graph.host/User.Read openid", audience: graphID, granted: "User.Read openid", echo: "https://graph.host/User.Read openid"},
		{scope: "https://graph.microsoft.com/User.Read User.Read", code: 70011},
		{scope: "https://graph.microsoft.com/", code: 70011},
		{scope: "https://vault.azure.net/.default", code: 500011},
		{scope: "https://evil@host/.default", code: 500011},
		{scope: "http://host/.default", code: 500011},
	} {
		got, refused := readScopes(test.scope, "Host:10443")
		if test.code != 0 {
			if refused == nil || refused.Code != test.code {
				t.Errorf("%s: %v, want %d", test.scope, refused, test.code)
			}
			continue
		}
		if refused != nil || got.audience != test.audience || strings.Join(got.granted, " ") != test.granted ||
			strings.Join(got.echo, " ") != test.echo || got.onlyApp != test.onlyApp {
			t.Errorf("%s: %+v, %v", test.scope, got, refused)
		}
	}
}

func TestLimiter(t *testing.T) {
	l, now := NewLimiter(), testNow
	for i := range attemptBurst {
		if l.wait("10.0.0.1", "ada", now) != 0 {
			t.Fatalf("attempt %d is refused", i)
		}
	}
	if l.wait("10.0.0.1", "ada", now) == 0 {
		t.Error("one more than the burst passes")
	}
	free := 0
	for i := range 100 { // others are not touched, but for the odd shared slot
		if l.wait("10.0.0.1", fmt.Sprint("user", i), now) == 0 {
			free++
		}
	}
	if free < 98 {
		t.Errorf("only %d of 100 others pass", free)
	}
	if l.wait("10.0.0.1", "ada", now.Add(time.Second)) != 0 {
		t.Error("refused a second later")
	}
}

func FuzzVerify(f *testing.F) {
	v := newVerifier(f)
	c := userClaims(f, v)
	good, err := v.Signer.sign(&c)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Add([]byte("a.b.c"))
	f.Add([]byte(b64(`{"alg":"none"}`) + "." + b64(`{}`) + "."))
	f.Fuzz(func(t *testing.T, raw []byte) {
		who, err := v.Verify(string(raw))
		if err == nil && !bytes.Equal(raw, []byte(good)) {
			t.Fatalf("forged: %q as %+v", raw, who)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b)
	c := userClaims(b, v)
	raw, _ := v.Signer.sign(&c)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// smallKey has 1024 bits and no other use.
const smallKey = `-----BEGIN RSA PRIVATE KEY-----
MIICXAIBAAKBgQC8N2lbKhmpXLDd/nxNG15nIFHFcF/sJPp3Lkal+Jykx4cU4PhX
GQpzyhhZhDpmNTvy2cc3DghXPR9Qxu5SblGPCqUo71nOVr7nM68d+bhT+wp+z2pW
2xGtXun2cmJEzv5KU78h0LpThR5cWZZGd5MNEzOCWb42HOpZK6eqt0/4MwIDAQAB
AoGBAKDlXZMpMjatniSn3+qqctEFt+FoZxefpN0tGgfXt1DFoJwglSsfpOfG43ni
p2moKE86DCrsPAUXoyWSaTjeRajhMpinPtOVdkncVacs4yn+OnEi5+5UFWniOfkH
CRyuAifBJ06+jid4dvrXP7JXKdjHlY9OYoEMgDtm6Tq+mlGBAkEA8MK+QbXqQkMH
8DKJRik30LhJqJA1L9oh/jrWfH2hDqTRkEfL2y8R7CbY2dh232XD7N42R0VL0OJz
1FruliJXaQJBAMghP2NJxJ9ZxMkG7aqg9FAsMUn6L26XJaUGloGZdsqzOfIUO8uE
3jVuvlNHLiICcVFnSaQ2PXdFPKPc5zrH2zsCQFNJGuXCV2JKq+FUqhYiRhOm3Jw6
HpwKGn5GvlHcZ62YKIJ/w65z7wBBQ/zAHAcVvhwflqk6+Iou/CC2wBghkxkCQAKz
2DxKAbq5JpwkWM9GDyaKAjxigYN3zQ1Wcm/bl6wTEYRAW7Ja3/lOvok3W9sft1IH
GAp8pQXYTIJV+FVl34MCQA8uPwKA7WOXGm+eRzwZRlsJpvD4QvAACd+0OYURHcyY
qSNtFJnTR9VSuKv/IGHpluvJyoAh8v4AR4kcQ3Lj+Jw=
-----END RSA PRIVATE KEY-----`

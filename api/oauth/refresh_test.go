package oauth

import (
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"
	"time"

	"skyrealm/tenant"
)

func someRefresh() *refresh {
	return &refresh{client: tenant.ID{7}, issued: testNow,
		session: tenant.Session{User: tenant.ID{9}, SignedIn: testNow.Add(-time.Hour).Truncate(time.Microsecond), Version: 1767323045000001}}
}

func TestRefreshTokens(t *testing.T) {
	v := newVerifier(t)
	want := someRefresh()
	token, err := v.Signer.sealRefresh(want, testTenant, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.Signer.openRefresh(token, testTenant); err != nil || *got != *want {
		t.Fatalf("%+v, %v", got, err)
	}
	again, _ := v.Signer.sealRefresh(want, testTenant, rand.Reader)
	if again == token {
		t.Error("two tokens are one text")
	}

	// A replica with the same key reads it; nobody else does.
	replica, _ := NewSigner(testKey())
	if got, err := replica.openRefresh(token, testTenant); err != nil || *got != *want {
		t.Errorf("a replica: %v", err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := NewSigner(key)
	foreign, _ := stranger.sealRefresh(want, testTenant, rand.Reader)

	// Neither kind of token passes as the other.
	if _, err := v.Verify(token); err != ErrToken {
		t.Errorf("a refresh token as an access token: %v", err)
	}
	c := userClaims(t, v)
	access, _ := v.Signer.sign(&c)

	for name, bad := range map[string]string{
		"empty": "", "an access token": access, "an access token's payload": strings.Split(access, ".")[1],
		"foreign": foreign, "cut": token[:len(token)-1], "longer": token + "A", "padded": token[:len(token)-1] + "=",
		"zeros": strings.Repeat("A", len(token)), "a line break": token[:60] + "\n" + token[61:], "other base64": strings.Repeat("+", len(token)),
		"1 MB": strings.Repeat("A", 1<<20),
	} {
		if _, err := v.Signer.openRefresh(bad, testTenant); err != errRefresh {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := v.Signer.openRefresh(token, tenant.ID{5}); err != errRefresh {
		t.Errorf("of another tenant: %v", err)
	}
	raw, _ := refreshText.DecodeString(token)
	for i := range raw {
		raw[i] ^= 0x10
		if _, err := v.Signer.openRefresh(refreshText.EncodeToString(raw), testTenant); err != errRefresh {
			t.Errorf("byte %d changed: %v", i, err)
		}
		raw[i] ^= 0x10
	}
	// The text says nothing of whom it is about.
	for _, secret := range []string{string(want.session.User[:]), string(want.client[:])} {
		if strings.Contains(string(raw), secret) {
			t.Error("a field stands in the clear")
		}
	}
}

// An id_token of the v1.0 endpoint has issuer and version of an access token.
func TestVerifyRefusesIDTokensV1(t *testing.T) {
	v := newVerifier(t)
	for _, audience := range []string{"04b07795-8ddb-461a-bbee-02f9e1bf7b46", graphID, aadURI} {
		id, err := v.Signer.sign(&idClaims{Audience: audience, Issuer: v.Issuer.access(), Issued: testNow.Unix(), NotBefore: testNow.Unix(),
			Expires: testNow.Add(time.Hour).Unix(), Object: tenant.ID{9}.String(), Tenant: testTenant.String(), Version: "1.0"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(id); err != ErrToken {
			t.Errorf("for %s: %v", audience, err)
		}
	}
}

func TestCallerAudience(t *testing.T) {
	v := newVerifier(t)
	for audience, sync := range map[string]bool{aadURI: true, aadURI + "/": true, aadID: true, graphURI: false, graphID: false} {
		c := userClaims(t, v)
		c.Audience = audience
		raw, _ := v.Signer.sign(&c)
		who, err := v.Verify(raw)
		if err != nil || who.Audience != audience || who.ForSyncService() != sync {
			t.Errorf("%s: %+v, %v", audience, who, err)
		}
	}
}

func TestResourceScope(t *testing.T) {
	for _, test := range []struct{ resource, scope, want string }{
		{"https://graph.windows.net", "openid", "https://graph.windows.net/.default offline_access openid"},
		{"https://graph.windows.net/", "user_impersonation OpenID email", "https://graph.windows.net/.default offline_access OpenID email"},
		{graphID, "", graphID + "/.default offline_access"},
		{"", "", "https://graph.windows.net/.default offline_access"},
	} {
		got, refused := resourceScope(test.resource, test.scope)
		if refused != nil || got != test.want {
			t.Errorf("%q %q: %q, %v", test.resource, test.scope, got, refused)
		}
		scopes, refused := readScopes(got, "host")
		if refused != nil || !scopes.offline || !scopes.onlyApp {
			t.Errorf("%q: %+v, %v", got, scopes, refused)
		}
	}
	for _, space := range []string{" ", "\t", "\n", "\v", "\f", "\r"} { // whatever parts a scope parts a resource
		if _, refused := resourceScope(graphURI+space+"x", ""); refused == nil || refused.Code != 500011 {
			t.Errorf("with %q: %v", space, refused)
		}
	}
}

func FuzzOpenRefresh(f *testing.F) {
	v := newVerifier(f)
	good, err := v.Signer.sealRefresh(someRefresh(), testTenant, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("")
	f.Add("0.AAAA")
	f.Add(strings.Repeat("A", len(good)))
	f.Fuzz(func(t *testing.T, token string) {
		got, err := v.Signer.openRefresh(token, testTenant)
		if err == nil && token != good {
			t.Fatalf("forged: %q as %+v", token, got)
		}
		if err != nil && err != errRefresh {
			t.Fatal(err)
		}
	})
}

func BenchmarkRefresh(b *testing.B) {
	v := newVerifier(b)
	b.ReportAllocs()
	for b.Loop() {
		token, err := v.Signer.sealRefresh(someRefresh(), testTenant, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := v.Signer.openRefresh(token, testTenant); err != nil {
			b.Fatal(err)
		}
	}
}

func TestDeviceText(t *testing.T) {
	// A page says less than the token endpoint: these three look the same.
	if a, b, c := deviceText(tenant.CodeUnknownUser), deviceText(tenant.CodeWrongPassword), deviceText(tenant.CodeNoPassword); a != b || b != c {
		t.Errorf("%q, %q, %q", a, b, c)
	}
}

package cred

import (
	"crypto"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-jose/go-jose/v4"
)

func TestKeys(t *testing.T) {
	key := testKey(t)
	text, err := key.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParsePrivatePEM(text)
	if err != nil || back.Public().KeyID() != key.Public().KeyID() {
		t.Fatal(err)
	}
	s := mustSeal(t, key.Public(), testBinding, testLegacy(t))
	if _, err := back.Open(testBinding, s); err != nil {
		t.Error("the key from its PEM does not open:", err)
	}
	j, err := key.Public().JWK()
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePublicJWK(j)
	if err != nil || p.KeyID() != key.Public().KeyID() {
		t.Fatal(err)
	}
	if _, err := key.Open(testBinding, mustSeal(t, p, testBinding, testLegacy(t))); err != nil {
		t.Error("what the key from its JWK seals does not open:", err)
	}
	var oracle jose.JSONWebKey
	if err := oracle.UnmarshalJSON(j); err != nil {
		t.Fatal(err)
	}
	thumb, err := oracle.Thumbprint(crypto.SHA256)
	if err != nil || b64.EncodeToString(thumb) != key.Public().KeyID() {
		t.Errorf("go-jose's thumbprint is %x %v", thumb, err)
	}

	var m map[string]string
	json.Unmarshal(j, &m)
	for name, change := range map[string]func(){
		"private part": func() { m["d"] = m["x"] },
		"other curve":  func() { m["crv"] = "P-384" },
		"RSA":          func() { m["kty"] = "RSA" },
		"signing":      func() { m["use"] = "sig" },
		"other alg":    func() { m["alg"] = "ES256" },
		"other kid":    func() { m["kid"] = "x" },
		"short x":      func() { m["x"] = m["x"][1:] },
		"off curve":    func() { m["x"] = m["y"] },
		"not base64":   func() { m["x"] = m["x"][:42] + "=" },
		"long":         func() { m["note"] = strings.Repeat("x", maxJWK) },
	} {
		json.Unmarshal(j, &m)
		delete(m, "d")
		delete(m, "note")
		change()
		bad, _ := json.Marshal(m)
		if _, err := ParsePublicJWK(bad); !errors.Is(err, ErrPublicKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (PublicKey{}).JWK(); !errors.Is(err, ErrPublicKey) {
		t.Error(err)
	}
	if _, err := (PrivateKey{}).MarshalPEM(); !errors.Is(err, ErrPrivateKey) {
		t.Error(err)
	}
	for _, bad := range []string{"", "x", string(text) + "x", strings.Replace(string(text), "PRIVATE", "PUBLIC", 2),
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParsePrivatePEM([]byte(bad)); !errors.Is(err, ErrPrivateKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := NewPrivateKey(iotest.ErrReader(errNoLuck)); !errors.Is(err, errNoLuck) {
		t.Error(err)
	}
}

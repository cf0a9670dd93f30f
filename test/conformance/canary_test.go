package conformance

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

// forms are the ways in which a secret may get out (trust.md W08).
func forms(secret []byte) map[string]string {
	reversed := slices.Clone(secret)
	slices.Reverse(reversed)
	var wide []byte
	for _, u := range utf16.Encode([]rune(string(secret))) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	return map[string]string{
		"itself":        string(secret),
		"hex":           hex.EncodeToString(secret),
		"HEX":           strings.ToUpper(hex.EncodeToString(secret)),
		"base64":        strings.TrimRight(base64.StdEncoding.EncodeToString(secret), "="),
		"base64url":     base64.RawURLEncoding.EncodeToString(secret),
		"UTF-16":        string(wide),
		"UTF-16 hex":    hex.EncodeToString(wide),
		"reversed":      string(reversed),
		"reversed hex":  hex.EncodeToString(reversed),
		"Go's %v":       strings.Trim(fmt.Sprint(secret), "[]"),
		"escaped":       strings.Trim(strconv.QuoteToASCII(string(secret)), `"`),
		"UTF-16 base64": strings.TrimRight(base64.StdEncoding.EncodeToString(wide), "="),
	}
}

// leaks names the forms of secrets that a text holds.
func leaks(text string, secrets map[string][]byte) (found []string) {
	for name, secret := range secrets {
		for form, needle := range forms(secret) {
			if len(needle) >= 6 && strings.Contains(text, needle) {
				found = append(found, name+" as "+form)
			}
		}
	}
	slices.Sort(found)
	return found
}

// testLog: after all that has happened, with debugging on, the log has none of
// the secrets that went through the service.
func (w *world) testLog(t *testing.T) {
	secrets := map[string][]byte{
		"the administrator's password": []byte(w.AdminPassword()),
		"the agent's secret":           []byte(w.AgentSecret()),
	}
	for _, password := range []string{adaPassword, gracePassword, tempPassword, oldPassword, vectorPassword, zoePassword, rocketPassword,
		"Lab-Password-1", "Lab-Password-2", "First-Time-9", "Second-Thoughts-9"} {
		secrets["the password "+password] = []byte(password)
		hash, err := hex.DecodeString(ntHash(password))
		if err != nil {
			t.Fatal(err)
		}
		secrets["the NT hash of "+password] = hash
	}
	for _, d := range digests {
		hash, err := hex.DecodeString(strings.TrimSuffix(d.text[strings.LastIndexByte(d.text, ',')+1:], ";"))
		if err != nil {
			t.Fatal(err)
		}
		secrets["the digest "+d.text] = hash
	}
	for _, v := range kerberosVectors {
		for _, text := range []string{v.aes128, v.aes256} {
			key, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			secrets["the key "+text] = key
		}
	}
	for _, name := range []string{"tenant.ring", "domain.ring"} {
		text, err := os.ReadFile(filepath.Join(w.Dir, "keys", name))
		if err != nil {
			t.Fatal(err)
		}
		secrets["the ring "+name] = []byte(strings.TrimSpace(string(text)))
	}

	log := w.Log()
	for _, sign := range []string{"level=DEBUG", "part=kdc", "part=ldap", "part=api", "part=postgres"} {
		if !strings.Contains(log, sign) {
			t.Errorf("the log has no line with %s, so it says nothing that there is no secret in it", sign)
		}
	}
	for _, leak := range leaks(log, secrets) {
		t.Errorf("the log holds %s", leak)
	}
	for _, sign := range []string{"Bearer ey", "access_token", "eyJhbGciOi"} {
		if strings.Contains(log, sign) {
			t.Errorf("the log holds %s", sign)
		}
	}

	// The search finds what is there.
	for form, needle := range forms([]byte(adaPassword)) {
		if leaks("level=INFO msg="+needle+" x", secrets) == nil {
			t.Errorf("a password as %s would not be found", form)
		}
	}
}

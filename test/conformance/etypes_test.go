package conformance

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/krb5/etype"
	"skyrealm/test/harness"
)

const (
	sha256Name = "aes256-cts-hmac-sha384-192"
	sha128Name = "aes128-cts-hmac-sha256-128"
)

// TestKeys runs SPAKE, SHA-2 keys and the opt-in for RC4 against one small service.
func TestKeys(t *testing.T) {
	for _, client := range []string{"kinit", "klist", "kvno", "ldapmodify"} {
		harness.Need(t, client)
	}
	w := &world{Server: harness.Start(t, "--database", harness.Database(t))}
	w.push(t, file(t, "two.jsonl",
		`{"userPrincipalName":"ada@contoso.test","sAMAccountName":"ada","displayName":"Ada","password":"`+adaPassword+`"}
		 {"userPrincipalName":"vintage@contoso.test","sAMAccountName":"vintage","displayName":"Vintage","ntHash":"`+ntHash(oldPassword)+`"}`))
	t.Run("SPAKE", func(t *testing.T) { testSPAKE(t, w) })
	t.Run("SHA-2", func(t *testing.T) { testSHA2(t, w) })
	t.Run("RC4 opt-in", func(t *testing.T) { testOptIn(t, w) })
}

// testSHA2: a person whose keys of types 20 and 19 (RFC 8009) came sealed, and a
// service that asks for such keys, for a client that knows no others.
func testSHA2(t *testing.T, w *world) {
	const password, salt = "correct horse 8009", "CORP.CONTOSO.TESTnora"
	keys := ""
	for _, id := range []etype.ID{etype.AES256SHA2, etype.AES128SHA2} {
		k, err := etype.StringToKey(id, password, salt, 0)
		if err != nil {
			t.Fatal(err)
		}
		keys += fmt.Sprintf(`,{"etype":%d,"salt":%q,"key":%q}`, id, salt, hex.EncodeToString(k.Expose()))
	}
	w.push(t, file(t, "nora.jsonl", fmt.Sprintf(
		`{"userPrincipalName":"nora@contoso.test","sAMAccountName":"nora","displayName":"Nora","ntHash":%q,"kerberosKeys":[%s]}`,
		ntHash(password), keys[1:])))

	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	keytab := filepath.Join(t.TempDir(), "sha2.keytab")
	make := func(more ...string) {
		t.Helper()
		args := append([]string{"keytab", "--spn", "HTTP/sha2.aadds.contoso.test", "--out", keytab}, more...)
		if out, err := w.Skyrealm(t.Context(), nil, args...); err != nil {
			t.Fatalf("skyrealm keytab: %v\n%s", err, out)
		}
	}
	make("--etypes", "aes256-sha2,aes128-sha2")
	says(t, w.mit(t).Run("", klist, "-k", "-e", keytab), "HTTP/sha2.aadds.contoso.test", sha256Name, sha128Name)

	only := func(etype string) *kerberos {
		return w.mit(t, "[libdefaults]", "permitted_enctypes = "+etype, "default_tkt_enctypes = "+etype, "default_tgs_enctypes = "+etype)
	}
	for _, name := range []string{sha256Name, sha128Name} {
		k := only(name)
		says(t, k.traced(password, "nora"), `Selected etype info: etype `+short[name]+`, salt "`+salt+`"`)
		if name == sha256Name { // the ticket is under the stronger key for either
			says(t, k.Run("", kvno, "-k", keytab, "HTTP/sha2.aadds.contoso.test"), "keytab entry valid")
		} else {
			k.Run("", kvno, "HTTP/sha2.aadds.contoso.test")
		}
		says(t, k.Run("", klist, "-e"), "Etype (skey, tkt): "+name+", aes256-cts-hmac-sha1-96", "Etype (skey, tkt): "+name+", "+sha256Name)
		says(t, k.refused("wrong", "nora"), "Password incorrect")
	}
	// The service's own keys sign in, and MIT's client as it comes uses them.
	k := w.mit(t)
	k.Run("", k.program, "-k", "-t", keytab, "svc-http-sha2")
	k.kinit(adaPassword, "ada")
	k.Run("", kvno, "-k", keytab, "HTTP/sha2.aadds.contoso.test")
	says(t, k.Run("", klist, "-e"), "Etype (skey, tkt): "+sha256Name+", "+sha256Name)
	// A person with keys of SHA-1 alone, and a client without them.
	only(sha256Name).refused(adaPassword, "ada")

	// New keys are of what the account has said; and it can be told otherwise.
	make()
	says(t, k.Run("", klist, "-k", "-e", keytab), sha256Name)
	k.kinit(adaPassword, "ada")
	says(t, k.Run("", kvno, "-k", keytab, "HTTP/sha2.aadds.contoso.test"), "keytab entry valid")
	make("--etypes", "aes256-sha1")
	k.kinit(adaPassword, "ada")
	says(t, k.Run("", kvno, "-k", keytab, "HTTP/sha2.aadds.contoso.test"), "keytab entry valid")
	if list := k.Run("", klist, "-e"); strings.Count(list, "Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96") != 2 {
		t.Errorf("after --etypes aes256-sha1:\n%s", list)
	}
}

// short are the names that MIT's trace has.
var short = map[string]string{sha256Name: "aes256-sha2", sha128Name: "aes128-sha2"}

// testOptIn: RC4 for the one account whose attribute asks for it
// (msDS-SupportedEncryptionTypes), and for no other.
func testOptIn(t *testing.T, w *world) {
	kvno, klist := harness.Need(t, "kvno"), harness.Need(t, "klist")
	w.keytab(t, "HTTP/modern.aadds.contoso.test")
	w.keytab(t, "HTTP/legacy.aadds.contoso.test")
	admin := w.ldapAdmin(t)
	says(t, admin.run(`dn: `+admin.one("(sAMAccountName=svc-http-legacy)", "distinguishedName")+`
changetype: modify
replace: msDS-SupportedEncryptionTypes
msDS-SupportedEncryptionTypes: 28
`, "ldapmodify"), "modifying entry")

	// A TGT by AES, then a client that says it knows RC4 alone.
	k := w.mit(t, "[libdefaults]", "allow_rc4 = true", "allow_weak_crypto = true",
		"permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 arcfour-hmac")
	k.kinit(adaPassword, "ada")
	out, err := k.Try("", kvno, "-e", "arcfour-hmac", "HTTP/modern.aadds.contoso.test")
	if err == nil {
		t.Errorf("RC4 for a service that did not ask for it:\n%s", out)
	}
	says(t, out, "KDC has no support for encryption type")
	k.Run("", kvno, "-e", "arcfour-hmac", "HTTP/legacy.aadds.contoso.test")
	says(t, k.Run("", klist, "-e"), "arcfour-hmac, aes256-cts-hmac-sha1-96")
}

package conformance

import (
	"testing"

	"skyrealm/test/harness"
)

// testNonASCII: a password outside ASCII, and one outside the basic plane, is the
// same one to the digest, to both Kerberos clients and to LDAP.
func testNonASCII(t *testing.T, w *world) {
	for name, password := range map[string]string{"zoe": zoePassword, "rocket": rocketPassword} {
		t.Run(name, func(t *testing.T) {
			w.signsIn(t, name+"@contoso.test", password)
			w.mit(t).kinit(password, name)
			w.mit(t).kinit(password, "-E", name+"@contoso.test")
			w.heimdal(t).kinit(password, name)
			w.ldap(t, name+"@contoso.test", password).run("", "ldapwhoami")
			w.ldapAt(t, "ldap://"+w.LDAP, "-ZZ", "-D", `AADDS\`+name, "-w", password).run("", "ldapwhoami")
		})
	}
}

// TestAllowRC4: with --allow-rc4 a client that has nothing better is served, which
// also shows that the NT hash is the right one.
func TestAllowRC4(t *testing.T) {
	w := &world{Server: harness.Start(t, "--allow-rc4", "--database", harness.Database(t))}
	if out, err := w.Skyrealm(t.Context(), nil, "agent", "push", file(t, "two.jsonl",
		`{"userPrincipalName":"zoe@contoso.test","sAMAccountName":"zoe","displayName":"Zoë","password":"`+zoePassword+`"}
		 {"userPrincipalName":"rocket@contoso.test","sAMAccountName":"rocket","displayName":"Rocket","password":"`+rocketPassword+`"}`)); err != nil {
		t.Fatalf("agent push: %v\n%s", err, out)
	}
	k := w.mit(t, "[libdefaults]", "allow_rc4 = true", "allow_weak_crypto = true",
		"permitted_enctypes = arcfour-hmac", "default_tkt_enctypes = arcfour-hmac", "default_tgs_enctypes = arcfour-hmac")
	for name, password := range map[string]string{"zoe": zoePassword, "rocket": rocketPassword} {
		says(t, k.traced(password, name), "Selected etype info: etype rc4-hmac")
		says(t, k.refused(password+"x", name), "Password incorrect")
	}
}

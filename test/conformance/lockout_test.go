package conformance

import (
	"fmt"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// TestLockout is the life of a lockout and of the krbtgt's key, as clients see it:
// one count for Kerberos and LDAP, an answer that names it, an end by an
// administrator, and a log that tells it.
func TestLockout(t *testing.T) {
	for _, client := range []string{"kinit", "kvno", "ldapsearch"} {
		harness.Need(t, client)
	}
	w := &world{Server: harness.Start(t)}
	lines := `{"userPrincipalName":"ada@contoso.test","sAMAccountName":"ada","displayName":"Ada","password":"` + adaPassword + `"}
{"userPrincipalName":"eve@contoso.test","sAMAccountName":"eve","displayName":"Eve","password":"` + adaPassword + `"}
`
	w.push(t, file(t, "people.jsonl", lines))
	// As Windows' clients: with an encrypted timestamp. In SPAKE an earlier password
	// is like any other.
	k := w.mit(t, "[plugins]", "clpreauth = {", "disable = spake", "}")
	spake := w.mit(t)
	admin := w.ldap(t, w.AdminUPN, w.AdminPassword())
	bad := func(name string) string { return admin.one("(sAMAccountName="+name+")", "badPwdCount") }
	locked := func(name, password string) {
		t.Helper()
		says(t, k.refused(password, name), "revoked")
		out, code := w.ldap(t, name+"@contoso.test", password).try("", "ldapsearch", "-s", "base")
		if code != 49 {
			t.Error("a locked account has bound")
		}
		says(t, out, "data 775")
	}

	// 1. Three by Kerberos and two by LDAP.
	for _, k := range []*kerberos{k, spake, k} {
		says(t, k.refused("wrong", "ada"), "Password incorrect")
	}
	if n := bad("ada"); n != "3" {
		t.Errorf("badPwdCount is %s after three", n)
	}
	for range 2 {
		out, code := w.ldap(t, "ada@contoso.test", "wrong").try("", "ldapsearch", "-s", "base")
		if code != 49 {
			t.Error("a wrong password has bound")
		}
		says(t, out, "data 52e")
	}
	locked("ada", "wrong")
	locked("ada", adaPassword)
	k.kinit(adaPassword, "eve")
	w.signsIn(t, "ada@contoso.test", adaPassword) // the tenant knows nothing of it (W03)
	if v := admin.one("(sAMAccountName=ada)", "msDS-User-Account-Control-Computed"); v != "16" {
		t.Errorf("msDS-User-Account-Control-Computed is %s", v)
	}

	// 2. Its end.
	run := func(args ...string) string {
		t.Helper()
		out, err := w.Skyrealm(t.Context(), nil, append([]string{"domain"}, args...)...)
		if err != nil {
			t.Fatalf("skyrealm domain %v: %v\n%s", args, err, out)
		}
		return out
	}
	run("unlock", "ada")
	k.kinit(adaPassword, "ada")
	if n, at := bad("ada"), admin.one("(sAMAccountName=ada)", "lockoutTime"); n != "0" || at != "0" {
		t.Errorf("badPwdCount %s, lockoutTime %s after the end", n, at)
	}

	// 3. The last two passwords do not count, the third does.
	for _, password := range []string{"Second-Password-2", "Third-Password-3", "Fourth-Password-4"} {
		w.push(t, file(t, "again.jsonl", strings.ReplaceAll(lines, adaPassword, password)))
	}
	for range 4 {
		says(t, k.refused("Third-Password-3", "eve"), "Password incorrect")
		says(t, k.refused("Second-Password-2", "eve"), "Password incorrect")
		if out, code := w.ldap(t, "eve@contoso.test", "Second-Password-2").try("", "ldapsearch", "-s", "base"); code != 49 || !strings.Contains(out, "data 52e") {
			t.Error(code, out)
		}
	}
	if n := bad("eve"); n != "0" {
		t.Errorf("badPwdCount is %s after earlier passwords", n)
	}
	says(t, k.refused(adaPassword, "eve"), "Password incorrect")
	if n := bad("eve"); n != "1" {
		t.Errorf("badPwdCount is %s after the password before those", n)
	}
	k.kinit("Fourth-Password-4", "eve")

	// 4. A policy is kept, and a lock that was begun under another.
	says(t, run("policy"), "lockout threshold  5", "lockout window     2m0s", "lockout duration   30m0s", "max password age   2160h0m0s")
	says(t, run("policy", "--lockout-threshold", "2"), "lockout threshold  2")
	if v := admin.one("(objectClass=domainDNS)", "lockoutThreshold"); v != "2" {
		t.Errorf("lockoutThreshold is %s", v)
	}
	if out, err := w.Skyrealm(t.Context(), nil, "domain", "policy", "--lockout-duration", "1s"); err == nil {
		t.Errorf("a duration shorter than the window: %s", out)
	}
	for range 2 {
		says(t, k.refused("wrong", "eve"), "Password incorrect")
	}
	locked("eve", "Fourth-Password-4")
	run("policy", "--lockout-threshold", "0")
	locked("eve", "Fourth-Password-4")

	// 5. A TGT goes on across a rotation, and comes out under the new key.
	k.kinit("Fourth-Password-4", "-r", "1d", "ada")
	says(t, run("rotate-krbtgt"), "version 2")
	k.Run("", harness.Need(t, "kinit"), "-R")
	w.keytab(t, "HTTP/rotate.aadds.contoso.test")
	k.Run("", harness.Need(t, "kvno"), "HTTP/rotate.aadds.contoso.test")

	// 6. It is written down.
	var log string
	harness.WaitFor(t, "the security log", func() error {
		log = run("events", "--top", "1000")
		for _, want := range []string{" 4768 ", " 4769 ", " 4770 ", " 4771 ", " 4740 ", " 4776 ", "0xc0000234"} {
			if !strings.Contains(log, want) {
				return fmt.Errorf("no %s in\n%s", want, log)
			}
		}
		return nil
	})
	if n := strings.Count(run("events", "--account", "ADA", "--id", "4740"), " 4740 "); n != 1 {
		t.Errorf("ada was locked out %d times", n)
	}
	w.Stop()
	w.Run()
	if again := run("events", "--top", "1000", "--id", "4776"); strings.Count(again, " 4776 ") < strings.Count(log, " 4776 ") {
		t.Error("events are gone after a stop")
	}
	locked("eve", "Fourth-Password-4") // and the lock is not
	for _, secret := range []string{adaPassword, "Fourth-Password-4", w.AdminPassword()} {
		if strings.Contains(log, secret) {
			t.Error("a password stands in the security log")
		}
	}
}

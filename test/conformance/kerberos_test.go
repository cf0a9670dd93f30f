package conformance

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// web is the service that tickets are got for.
const web = "HTTP/web.aadds.contoso.test"

// keytab makes a service account, as an administrator does.
func (w *world) keytab(t *testing.T, spn string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "service.keytab")
	if out, err := w.Skyrealm(t.Context(), nil, "keytab", "--spn", spn, "--out", path); err != nil {
		t.Fatalf("skyrealm keytab: %v\n%s", err, out)
	}
	return path
}

func testMIT(t *testing.T, w *world) {
	k := w.mit(t)
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")

	// The salt is the on-premises one, not one of this realm.
	says(t, k.traced(adaPassword, "ada"), `salt "CORP.CONTOSO.TESTada"`)
	list := k.Run("", klist, "-e", "-f", "-C")
	says(t, list, "Default principal: ada@AADDS.CONTOSO.TEST", "krbtgt/AADDS.CONTOSO.TEST@AADDS.CONTOSO.TEST",
		"Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96")
	if flags := ticketFlags(t, list); strings.ContainsAny(flags, "Fi") || !strings.ContainsRune(flags, 'I') || !strings.ContainsRune(flags, 'A') {
		t.Errorf("a plain TGT has the flags %s", flags)
	}

	// Options.
	k.kinit(adaPassword, "-f", "-r", "1d", "-l", "2h", "ada")
	if flags := ticketFlags(t, k.Run("", klist, "-f")); !strings.ContainsRune(flags, 'F') || !strings.ContainsRune(flags, 'R') {
		t.Errorf("a forwardable and renewable TGT has the flags %s", flags)
	}
	k.Run("", k.program, "-R")
	says(t, k.Run("", klist, "-f"), "renew until")
	k.kinit(adaPassword, "-E", "ada@contoso.test")
	says(t, k.Run("", klist), "Default principal: ada@AADDS.CONTOSO.TEST")
	k.kinit(adaPassword, "-C", "ADA")
	says(t, k.Run("", klist), "Default principal: ada@AADDS.CONTOSO.TEST")
	k.kinit(adaPassword, "ADA") // names count without regard to case, also where none is asked for
	k.kinit(adaPassword, "-A", "ada")
	k.kinit(adaPassword, "--request-pac", "ada")

	// A service, whose key opens the ticket.
	keytab := w.keytab(t, web)
	k.kinit(adaPassword, "ada")
	says(t, k.Run("", kvno, "-k", keytab, web), web+"@AADDS.CONTOSO.TEST: kvno = ", "keytab entry valid")
	says(t, k.Run("", klist, "-e"), web)
	out, err := k.Try("", kvno, "HTTP/nowhere.aadds.contoso.test")
	if err == nil {
		t.Error("there is a ticket for a service that is not there")
	}
	says(t, out, "Server not found in Kerberos database")
	// The domain's own services.
	k.Run("", kvno, "ldap/dc1.aadds.contoso.test", "host/dc1.aadds.contoso.test")
}

// ticketFlags returns those of the first ticket that klist shows.
func ticketFlags(t *testing.T, list string) string {
	t.Helper()
	m := regexp.MustCompile(`Flags: (\w+)`).FindStringSubmatch(list)
	if m == nil {
		t.Fatalf("no flags in:\n%s", list)
	}
	return m[1]
}

func testRefusals(t *testing.T, w *world) {
	k := w.mit(t)
	for _, test := range []struct{ who, name, password, told string }{
		{"a wrong password", "ada", "wrong", "Password incorrect"},
		{"the NT hash for the password", "ada", ntHash(adaPassword), "Password incorrect"},
		{"nobody", "nobody", adaPassword, "not found in Kerberos database"},
		{"a disabled user", "grace", gracePassword, "revoked"},
		{"a password that has to be changed", "temp", tempPassword, "Password expired"},
		{"a wrong one that has to be changed", "temp", "wrong", "Password incorrect"},
		{"krbtgt", "krbtgt/AADDS.CONTOSO.TEST", "wrong", "not found in Kerberos database"},
		{"another realm", "ada@OTHER.TEST", adaPassword, "Cannot find KDC for realm"},
	} {
		t.Run(test.who, func(t *testing.T) { says(t, k.refused(test.password, test.name), test.told) })
	}
}

func testEncryptionTypes(t *testing.T, w *world) {
	only := func(etype string) []string {
		return []string{"[libdefaults]", "permitted_enctypes = " + etype, "default_tkt_enctypes = " + etype, "default_tgs_enctypes = " + etype,
			"allow_weak_crypto = true", "allow_rc4 = true"}
	}
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	w.keytab(t, "HTTP/etypes.aadds.contoso.test")

	aes128 := w.mit(t, only("aes128-cts-hmac-sha1-96")...)
	aes128.kinit(adaPassword, "ada")
	aes128.Run("", kvno, "HTTP/etypes.aadds.contoso.test")
	says(t, aes128.Run("", klist, "-e"), "Etype (skey, tkt): aes128-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96")

	// RC4 is for accounts that have nothing better.
	rc4 := w.mit(t, only("arcfour-hmac")...)
	says(t, rc4.refused(adaPassword, "ada"), "KDC has no support for encryption type")
	says(t, rc4.refused(oldPassword, "vintage"), "KDC has no support for encryption type") // krbtgt has something better

	old := w.mit(t, "[libdefaults]", "allow_rc4 = true", "allow_weak_crypto = true",
		"permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 arcfour-hmac")
	says(t, old.traced(oldPassword, "vintage"), "Selected etype info: etype rc4-hmac")
	old.Run("", kvno, "HTTP/etypes.aadds.contoso.test")
	says(t, old.Run("", klist, "-e"), "Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96")
	says(t, old.refused("wrong", "vintage"), "Password incorrect")
}

func testTransport(t *testing.T, w *world) {
	const udp, tcp, tooBig = "initial UDP request", "TCP connection", "too big for UDP"
	kvno := harness.Need(t, "kvno")
	w.keytab(t, "HTTP/transport.aadds.contoso.test")

	says(t, w.mit(t).traced(adaPassword, "ada"), udp)

	onlyTCP := w.mit(t, "[libdefaults]", "udp_preference_limit = 1")
	trace := onlyTCP.traced(adaPassword, "ada")
	says(t, trace, tcp)
	if strings.Contains(trace, udp) {
		t.Error("kinit used UDP, although told not to")
	}

	// So many groups that the answer does not fit: the KDC says so, and the
	// client comes back over TCP.
	big := w.mit(t)
	says(t, big.traced(vectorPassword, "crowd0000"), udp, tooBig, tcp)
	big.Run("", kvno, "HTTP/transport.aadds.contoso.test")
	heimdal := w.heimdal(t)
	heimdal.kinit(vectorPassword, "crowd0000@AADDS.CONTOSO.TEST")
}

func testHeimdal(t *testing.T, w *world) {
	k := w.heimdal(t)
	// klist.heimdal starts the tool of all tools, which knows itself by this name.
	tools, kgetcred := harness.Need(t, "heimtools"), harness.Need(t, "kgetcred")
	keytab := w.keytab(t, "HTTP/heimdal.aadds.contoso.test")

	k.kinit(adaPassword, "ada@AADDS.CONTOSO.TEST")
	k.Run("", kgetcred, "HTTP/heimdal.aadds.contoso.test@AADDS.CONTOSO.TEST")
	says(t, k.Run("", tools, "klist", "-v"), "Principal: ada@AADDS.CONTOSO.TEST", "Server: HTTP/heimdal.aadds.contoso.test@AADDS.CONTOSO.TEST",
		"Ticket etype: aes256-cts-hmac-sha1-96", "initial", "pre-authent")

	k.kinit(adaPassword, "--forwardable", "--renewable", "ada")
	says(t, k.Run("", tools, "klist", "-v"), "forwardable", "renewable", "Renew till")
	k.Run("", k.program, "--renew")
	k.kinit(adaPassword, "--enterprise", "ada@contoso.test")
	k.Run("", k.program, "--use-keytab", "--keytab="+keytab, "svc-http-heimdal@AADDS.CONTOSO.TEST")
	w.heimdal(t, "[realms]", "AADDS.CONTOSO.TEST = {", "kdc = tcp/"+w.KDC, "}").kinit(adaPassword, "ada")

	says(t, k.refused("wrong", "ada"), "Password incorrect")
	says(t, k.refused(adaPassword, "nobody"), "nobody@AADDS.CONTOSO.TEST")
	says(t, k.refused(gracePassword, "grace"), "revoked")
	k.refused(tempPassword, "temp")
	if out, err := k.Try("", kgetcred, "HTTP/nowhere.aadds.contoso.test@AADDS.CONTOSO.TEST"); err == nil {
		t.Errorf("there is a ticket for a service that is not there:\n%s", out)
	}
}

func testKeytab(t *testing.T, w *world) {
	k, klist, kvno := w.mit(t), harness.Need(t, "klist"), harness.Need(t, "kvno")
	const spn = "HTTP/keytab.aadds.contoso.test"
	first := w.keytab(t, spn)
	says(t, k.Run("", klist, "-k", "-e", first), "1 "+spn+"@AADDS.CONTOSO.TEST (aes256-cts-hmac-sha1-96)",
		"1 "+spn+"@AADDS.CONTOSO.TEST (aes128-cts-hmac-sha1-96)", "1 svc-http-keytab@AADDS.CONTOSO.TEST (aes256-cts-hmac-sha1-96)")
	k.Run("", k.program, "-k", "-t", first, "svc-http-keytab")
	says(t, k.Run("", klist), "Default principal: svc-http-keytab@AADDS.CONTOSO.TEST")

	// A second keytab is a new password: the first opens nothing any more.
	second := w.keytab(t, spn)
	says(t, k.Run("", klist, "-k", second), "2 "+spn)
	if out, err := k.Try("", k.program, "-k", "-t", first, "svc-http-keytab"); err == nil {
		t.Errorf("the old keytab still signs in:\n%s", out)
	}
	k.kinit(adaPassword, "ada")
	says(t, k.Run("", kvno, "-k", second, spn), "kvno = 2, keytab entry valid")
	if out, err := k.Try("", kvno, "-k", first, spn); err == nil {
		t.Errorf("the old keytab still opens tickets:\n%s", out)
	}

	// A principal of its own keys that no account has.
	if out, err := k.Try("", k.program, "-k", "-t", second, spn); err == nil {
		t.Errorf("a service signed in by its SPN, which AD does not take for a name:\n%s", out)
	}
}

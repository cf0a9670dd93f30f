package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// testJava: Java's own Kerberos, which shares no line with MIT's or Heimdal's, through
// JAAS and GSS-API. (Its kinit is for Windows alone.)
func testJava(t *testing.T, w *world) {
	java, admin := harness.Need(t, "java"), w.ldapAdmin(t)
	host, back := w.service(t, admin, "java"), w.service(t, admin, "javaback")
	stale := host.keytab
	host.keytab = w.keytab(t, host.spn) // new keys
	const modern = "HTTP/javasha2.aadds.contoso.test"
	sha2 := filepath.Join(t.TempDir(), "keytab")
	if out, err := w.Skyrealm(t.Context(), nil, "keytab", "--spn", modern, "--out", sha2, "--etypes", "aes256-sha2"); err != nil {
		t.Fatalf("skyrealm keytab: %v\n%s", err, out)
	}
	admin.set(host.dn, "msDS-AllowedToDelegateTo", back.spn)
	admin.set(host.dn, "userAccountControl", trustedAccount)

	conf, err := os.ReadFile(w.Krb5Conf)
	if err != nil {
		t.Fatal(err)
	}
	const section = "[libdefaults]\n"
	forwardable := file(t, "krb5.conf", strings.Replace(string(conf), section, section+"    forwardable = true\n", 1))
	const tgt = "@AADDS.CONTOSO.TEST has krbtgt/AADDS.CONTOSO.TEST@AADDS.CONTOSO.TEST etype 18 forwardable initial"
	expect := []struct{ command, answer string }{
		{"keytab " + host.sam + " " + stale, "LoginException: "},
		{"keytab " + host.sam + " " + host.keytab, host.sam + tgt},
		{"backend " + back.sam + " " + back.keytab, back.sam + tgt},
		{"password ada " + adaPassword, "ada" + tgt},
		{"connect " + host.spn, "ada@AADDS.CONTOSO.TEST is known to " + host.sam + "@AADDS.CONTOSO.TEST, etype 18, mutual, heard"},
		{"connect " + host.spn + " delegate", ", mutual, heard, delegated"},
		{"again " + host.spn, "ada@AADDS.CONTOSO.TEST is known to"},
		{"connect HTTP/nowhere.aadds.contoso.test", "Server not found in Kerberos database"},
		{"connect " + back.spn, "GSSException: "}, // which the service has no key of
		{"password zoe " + zoePassword, "zoe" + tgt},
		{"password ada wrong", "Pre-authentication information was invalid"},
		{"password nobody wrong", "Client not found in Kerberos database"},
		{"password grace " + gracePassword, "revoked"},
		{"password temp " + tempPassword, "expired"},
		{"impersonate ada " + back.spn, "ada@AADDS.CONTOSO.TEST is known to " + back.sam + "@AADDS.CONTOSO.TEST, etype 18, mutual, heard"},
		{"impersonate ada ldap/dc1.aadds.contoso.test", "(13)"}, // KDC_ERR_BADOPTION
		{"impersonate grace " + back.spn, "GSSException: "},
		// Keys of RFC 8009, with which the ticket and all that is said are encrypted.
		{"keytab svc-http-javasha2 " + sha2, "svc-http-javasha2@AADDS.CONTOSO.TEST has krbtgt/"},
		{"connect " + modern, "zoe@AADDS.CONTOSO.TEST is known to svc-http-javasha2@AADDS.CONTOSO.TEST, etype 20, mutual, heard"},
	}
	var commands strings.Builder
	for _, e := range expect {
		commands.WriteString(e.command + "\n")
	}
	out := w.Client(t).Run(commands.String(), java, "-XX:TieredStopAtLevel=1",
		"-Djava.security.krb5.conf="+forwardable, "testdata/java/Client.java")
	answers := strings.Split(strings.TrimSpace(out), "\n")
	if len(answers) != len(expect) {
		t.Fatalf("%d answers to %d commands:\n%s", len(answers), len(expect), out)
	}
	for i, answer := range answers {
		says(t, answer, expect[i].answer)
	}
}

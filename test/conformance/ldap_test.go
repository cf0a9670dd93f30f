package conformance

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"
)

func testBind(t *testing.T, w *world) {
	adaDN := "CN=Ada Lovelace,OU=AADDC Users," + w.BaseDN

	// Every name over every way to the port.
	for transport, at := range map[string]struct {
		url  string
		args []string
	}{
		"LDAP":     {"ldap://" + w.LDAP, nil},
		"StartTLS": {"ldap://" + w.LDAP, []string{"-ZZ"}},
		"LDAPS":    {"ldaps://" + w.LDAPS, nil},
	} {
		for _, name := range []string{adaDN, "ada@contoso.test", `AADDS\ada`, `aadds.contoso.test\ada`, "ADA@CONTOSO.TEST"} {
			l := w.ldapAt(t, at.url, append(at.args, "-D", name, "-w", adaPassword)...)
			if out := l.run("", "ldapwhoami"); !strings.Contains(out, `u:AADDS\ada`) {
				t.Errorf("%s: %s is %s", transport, name, out)
			}
		}
		wrong := w.ldapAt(t, at.url, append(at.args, "-D", adaDN, "-w", "wrong")...)
		if out, code := wrong.try("", "ldapwhoami"); code != 49 || !strings.Contains(out, "data 52e,") {
			t.Errorf("%s: a wrong password: status %d\n%s", transport, code, out)
		}
	}

	// Refusals, in AD's words (RFC 4511 §A.2 for the codes).
	for _, test := range []struct {
		who, name, password string
		code                int
		told                string
	}{
		{"nobody", "nobody@contoso.test", adaPassword, 49, "data 52e,"},
		{"a disabled user", "grace@contoso.test", gracePassword, 49, "data 533,"},
		{"a disabled user's wrong password", "grace@contoso.test", "wrong", 49, "data 52e,"},
		{"a password that has to be changed", "temp@contoso.test", tempPassword, 49, "data 773,"},
		{"a name without a password", "ada@contoso.test", "", 53, "unauthenticated"},
		{"the NT hash for the password", "ada@contoso.test", ntHash(adaPassword), 49, "data 52e,"},
		{"another domain", `OTHER\ada`, adaPassword, 49, "data 52e,"},
	} {
		out, code := w.ldap(t, test.name, test.password).try("", "ldapwhoami")
		if code != test.code || !strings.Contains(out, test.told) {
			t.Errorf("%s: status %d\n%s", test.who, code, out)
		}
	}

	// Nobody may read what every client reads first, and no more.
	nobody := w.ldapAt(t, "ldap://"+w.LDAP)
	root := nobody.run("", "ldapsearch", "-LLL", "-b", "", "-s", "base", "*", "+")
	says(t, root, "defaultNamingContext: "+w.BaseDN, "supportedExtension: 1.3.6.1.4.1.1466.20037", "dNSHostName: dc1.aadds.contoso.test",
		"supportedLDAPVersion: 3", "supportedControl: 1.2.840.113556.1.4.319")
	for _, scope := range []string{"base", "one", "sub"} {
		out, code := nobody.try("", "ldapsearch", "-LLL", "-b", w.BaseDN, "-s", scope)
		if code != 1 || !strings.Contains(out, "a successful bind must be completed") || strings.Contains(out, "dn:") {
			t.Errorf("an anonymous search, scope %s: status %d\n%s", scope, code, out)
		}
	}
	if out, _ := nobody.try("", "ldapwhoami"); !strings.Contains(out, "anonymous") {
		t.Errorf("who is nobody? %s", out)
	}
}

func testSearch(t *testing.T, w *world) {
	l := w.ldap(t, "ada@contoso.test", adaPassword)

	// A user as AD shows one, and a group with its members.
	ada := l.search("(sAMAccountName=ada)")
	says(t, ada, "dn: CN=Ada Lovelace,OU=AADDC Users,"+w.BaseDN, "objectClass: user", "userPrincipalName: ada@contoso.test", "objectSid:: ", "objectGUID:: ",
		"memberOf: CN=Flight Crew,OU=AADDC Users,"+w.BaseDN, "memberOf: CN=Night Shift,OU=AADDC Users,"+w.BaseDN, "primaryGroupID: 513")
	says(t, l.search("(&(objectClass=group)(cn=flight crew))", "member"), "member: CN=Ada Lovelace,OU=AADDC Users,"+w.BaseDN)
	says(t, l.search("(memberOf:1.2.840.113556.1.4.1941:=CN=Flight Crew,OU=AADDC Users,"+w.BaseDN+")", "sAMAccountName"), "sAMAccountName: ada\n")
	says(t, l.search("(userAccountControl:1.2.840.113556.1.4.803:=2)", "sAMAccountName"), "sAMAccountName: grace\n")
	if clubs := strings.Count(l.search("(sAMAccountName=crowd0000)", "memberOf"), "memberOf:"); clubs != 300 {
		t.Errorf("crowd0000 has %d values of memberOf", clubs)
	}
	for _, secret := range []string{"unicodePwd", "supplementalCredentials", "userPassword", "ntPwdHistory"} {
		if out := l.search("(sAMAccountName=ada)", secret); strings.Contains(strings.ToLower(out), strings.ToLower(secret)) {
			t.Errorf("the directory shows %s:\n%s", secret, out)
		}
	}
	containers := l.run("", "ldapsearch", "-LLL", "-b", w.BaseDN, "-s", "one", "(objectClass=*)", "1.1")
	says(t, containers, "dn: OU=AADDC Users,", "dn: OU=AADDC Computers,")
	for value, want := range map[string]int{"ADA": 6, "adam": 5} { // RFC 4511 §4.10: compareTrue, compareFalse
		if out, code := l.try("", "ldapcompare", "CN=Ada Lovelace,OU=AADDC Users,"+w.BaseDN, "sAMAccountName:"+value); code != want {
			t.Errorf("sAMAccountName compared with %s: status %d\n%s", value, code, out)
		}
	}

	// More than a search gives at once, page by page.
	count := func(out string) int { return strings.Count("\n"+out, "\ndn:") }
	if out := l.run("", "ldapsearch", "-LLL", "-b", w.BaseDN, "-E", "pr=100/noprompt", "(sAMAccountName=crowd*)", "1.1"); count(out) != crowd ||
		strings.Count(out, "# pagedresults: cookie=") != crowd/100 {
		t.Errorf("%d entries in %d pages", count(out), strings.Count(out, "# pagedresults: cookie="))
	}
	if out, code := l.try("", "ldapsearch", "-LLL", "-b", w.BaseDN, "(sAMAccountName=crowd*)", "1.1"); code != 4 || count(out) != 1000 {
		t.Errorf("without pages: status %d with %d entries", code, count(out))
	}
	if out, code := l.try("", "ldapsearch", "-LLL", "-z", "7", "-b", w.BaseDN, "(sAMAccountName=crowd*)", "1.1"); code != 4 || count(out) != 7 {
		t.Errorf("with a limit of 7: status %d with %d entries", code, count(out))
	}
	if out, code := l.try("", "ldapsearch", "-LLL", "-b", "OU=Nowhere,"+w.BaseDN); code != 32 || !strings.Contains(out, "Matched DN: "+w.BaseDN) {
		t.Errorf("below what is not there: status %d\n%s", code, out)
	}

	// Message IDs that take two bytes: one connection, 300 searches.
	var names strings.Builder
	for i := range 300 {
		fmt.Fprintf(&names, "crowd%04d\n", i)
	}
	if out := l.run("", "ldapsearch", "-LLL", "-b", w.BaseDN, "-f", file(t, "names", names.String()), "(sAMAccountName=%s)", "1.1"); count(out) != 300 {
		t.Errorf("300 searches found %d entries", count(out))
	}

	// A request that takes more than one segment: 250 names in one filter.
	var filter strings.Builder
	filter.WriteString("(|")
	for i := range 250 {
		fmt.Fprintf(&filter, "(sAMAccountName=crowd%04d)", 2*i)
	}
	filter.WriteString(")")
	if filter.Len() < 4096 {
		t.Fatalf("the filter has only %d bytes", filter.Len())
	}
	if out := l.run("", "ldapsearch", "-LLL", "-b", w.BaseDN, filter.String(), "1.1"); count(out) != 250 {
		t.Errorf("a filter of %d bytes found %d entries", filter.Len(), count(out))
	}

	// A name outside ASCII, found, bound as and searched under.
	zoe := "CN=Zoë Ünïcode,OU=AADDC Users," + w.BaseDN
	l = w.ldap(t, zoe, zoePassword)
	if got, want := l.one("(cn=zoË ünïcode)", "distinguishedName"), base64.StdEncoding.EncodeToString([]byte(zoe)); got != want {
		t.Errorf("distinguishedName is %s, not %s", got, want)
	}
	if out := l.run("", "ldapsearch", "-LLL", "-b", zoe, "-s", "base", "sAMAccountName"); !strings.Contains(out, "sAMAccountName: zoe") {
		t.Errorf("below a name outside ASCII:\n%s", out)
	}
}

func testWrite(t *testing.T, w *world) {
	admin, ada := w.ldapAdmin(t), w.ldap(t, "ada@contoso.test", adaPassword)
	ou, robot, adaDN := "OU=Lab,"+w.BaseDN, "CN=Röbot,OU=Lab,"+w.BaseDN, "CN=Ada Lovelace,OU=AADDC Users,"+w.BaseDN
	unit := fmt.Sprintf("dn: %s\nobjectClass: organizationalUnit\n", ou)
	account := func(password string) string {
		return fmt.Sprintf("dn: %s\nobjectClass: user\nsAMAccountName: robot\nuserPrincipalName: robot@aadds.contoso.test\nuserAccountControl: 512\nunicodePwd:: %s\n",
			robot, unicodePwd(password))
	}
	const first, second = "Lab-Password-1", "Lab-Password-2"

	// Who is no administrator writes nothing, nowhere.
	change := func(dn, attr, value string) string {
		return fmt.Sprintf("dn: %s\nchangetype: modify\nreplace: %s\n%s: %s\n", dn, attr, attr, value)
	}
	for what, do := range map[string]func() (string, int){
		"adds a unit":             func() (string, int) { return ada.try(unit, "ldapadd") },
		"changes herself":         func() (string, int) { return ada.try(change(adaDN, "description", "boss"), "ldapmodify") },
		"sets the admin's secret": func() (string, int) { return ada.try(change(adaDN, "servicePrincipalName", "HTTP/x"), "ldapmodify") },
		"deletes herself":         func() (string, int) { return ada.try("", "ldapdelete", adaDN) },
	} {
		if out, code := do(); code != 50 {
			t.Errorf("an ordinary user %s: status %d\n%s", what, code, out)
		}
	}

	// The administrator makes a unit and a user of the domain's own there.
	admin.run(unit, "ldapadd")
	if out, code := admin.try(unit, "ldapadd"); code != 68 {
		t.Errorf("the same unit again: status %d\n%s", code, out)
	}
	clear := w.ldapAt(t, "ldap://"+w.LDAP, "-D", w.AdminUPN, "-y", w.AdminPasswordFile)
	if out, code := clear.try(account(first), "ldapadd"); code != 13 && code != 53 {
		t.Errorf("a password without TLS: status %d\n%s", code, out)
	}
	admin.run(account(first), "ldapadd")
	w.ldap(t, "robot@aadds.contoso.test", first).run("", "ldapwhoami")
	w.ldap(t, robot, first).run("", "ldapwhoami")
	k := w.mit(t)
	k.kinit(first, "robot")

	// Changes are there when they are acknowledged.
	admin.run(change(robot, "description", "Walks and talks"), "ldapmodify")
	says(t, ada.search("(sAMAccountName=robot)", "description"), "description: Walks and talks")
	admin.run(fmt.Sprintf("dn: %s\nchangetype: modify\nreplace: unicodePwd\nunicodePwd:: %s\n", robot, unicodePwd(second)), "ldapmodify")
	k.kinit(second, "robot")
	k.refused(first, "robot")
	if out, code := w.ldap(t, robot, first).try("", "ldapwhoami"); code != 49 {
		t.Errorf("the old password still binds: status %d\n%s", code, out)
	}
	admin.run(change(robot, "userAccountControl", "514"), "ldapmodify")
	says(t, k.refused(second, "robot"), "revoked")

	// What the tenant masters is not to be written here.
	for _, dn := range []string{adaDN, "CN=Flight Crew,OU=AADDC Users," + w.BaseDN, "OU=AADDC Users," + w.BaseDN, "CN=krbtgt,CN=Users," + w.BaseDN} {
		if out, code := admin.try(change(dn, "description", "mine"), "ldapmodify"); code != 50 {
			t.Errorf("the administrator changes %s: status %d\n%s", dn, code, out)
		}
	}

	if out, code := admin.try("", "ldapdelete", ou); code != 66 {
		t.Errorf("a unit with somebody in it is deleted: status %d\n%s", code, out)
	}
	admin.run("", "ldapdelete", robot, ou)
	says(t, k.refused(second, "robot"), "not found in Kerberos database")
}

// unicodePwd is a password as an LDIF value of that attribute.
func unicodePwd(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return base64.StdEncoding.EncodeToString(b)
}

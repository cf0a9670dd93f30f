package conformance

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// testNames: names as people and programs write them, and what is said to who may
// not sign in.
func testNames(t *testing.T, w *world) {
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	const ada = "Default principal: ada@AADDS.CONTOSO.TEST"
	k := w.mit(t, "[realms]", "aadds.contoso.test = {", "kdc = "+w.KDC, "}", "AADDS = {", "kdc = "+w.KDC, "}", "CONTOSO.TEST = {", "kdc = "+w.KDC, "}")

	// UPNs of any suffix, the implicit ones, and DOMAIN\name.
	for _, name := range []string{"ada@contoso.test", "ADA@CONTOSO.TEST", "ada@aadds.contoso.test", "ada@AADDS", "ada"} {
		k.kinit(adaPassword, "-E", name)
		says(t, k.Run("", klist), ada)
	}
	says(t, k.refused(adaPassword, "-E", "ada@elsewhere.test"), "not found in Kerberos database")
	k.kinit(adaPassword, "-C", `AADDS\\ada`)
	says(t, k.Run("", klist), ada)

	// The realm in lower case, its NetBIOS name, and the tenant's domain as a realm,
	// from which the client is sent here (RFC 6806 §7).
	for _, realm := range []string{"aadds.contoso.test", "AADDS", "CONTOSO.TEST"} {
		k.kinit(adaPassword, "-C", "ada@"+realm)
		says(t, k.Run("", klist), ada)
	}
	says(t, k.refused(adaPassword, "ada@CONTOSO.TEST"), "Realm not local to KDC")

	// What a computer offers under HOST/, and what not.
	k.Run("", kvno, "cifs/dc1.aadds.contoso.test", "RPCSS/DC1", "host/dc1", "DC1$")
	out, err := k.Try("", kvno, "imap/dc1.aadds.contoso.test")
	if err == nil {
		t.Error("a computer offers IMAP by its HOST/ name")
	}
	says(t, out, "Server not found in Kerberos database")
	w.keytab(t, "HOST/alias.contoso.test")
	k.Run("", kvno, "http/alias.contoso.test", "cifs/ALIAS.contoso.test")

	// A ticket for a service at once, without a TGT.
	keytab := w.keytab(t, "HTTP/names.aadds.contoso.test")
	k.kinit(adaPassword, "-S", "HTTP/names.aadds.contoso.test", "ada")
	if list := k.Run("", klist); strings.Contains(list, "krbtgt/") {
		t.Errorf("a TGT came along:\n%s", list)
	}

	// Accounts that end, or are bound to workstations.
	admin := w.ldapAdmin(t)
	svc := admin.one("(servicePrincipalName=HTTP/names.aadds.contoso.test)", "distinguishedName")
	set := func(attr, value string) {
		t.Helper()
		admin.run(fmt.Sprintf("dn: %s\nchangetype: modify\nreplace: %s\n%s: %s\n", svc, attr, attr, value), "ldapmodify")
	}
	signIn := []string{"-k", "-t", keytab, "svc-http-names"}
	k.Run("", k.program, signIn...)
	set("accountExpires", "130000000000000000")
	says(t, k.refused("", signIn...), "revoked")
	set("accountExpires", "0")
	set("userWorkstations", "PC1")
	says(t, k.refused("", signIn...), "policy rejects")
}

// testStaleTGT: with a new password the old one's tickets end.
func testStaleTGT(t *testing.T, w *world) {
	kvno := harness.Need(t, "kvno")
	w.keytab(t, "HTTP/stale.aadds.contoso.test")
	line := func(password string) string {
		return file(t, "stale.jsonl", fmt.Sprintf(`{"userPrincipalName":"stale@contoso.test","sAMAccountName":"stale","displayName":"Stale","password":%q}`+"\n", password))
	}
	w.push(t, line("The-First-One-1"))
	k := w.mit(t)
	k.kinit("The-First-One-1", "-r", "1d", "stale")
	k.Run("", kvno, "HTTP/stale.aadds.contoso.test")
	w.push(t, line("The-Second-One-2"))
	out, err := k.Try("", kvno, "ldap/dc1.aadds.contoso.test")
	if err == nil {
		t.Errorf("a TGT of the old password gives tickets:\n%s", out)
	}
	says(t, out, "TGT has been revoked")
	if out, err = k.Try("", k.program, "-R"); err == nil {
		t.Errorf("a TGT of the old password is renewed:\n%s", out)
	}
	k.kinit("The-Second-One-2", "stale")
	k.Run("", kvno, "ldap/dc1.aadds.contoso.test")
}

// testPACDump: Samba's client signs somebody in, gets a ticket for a service, and
// reads its PAC with the service's key.
func testPACDump(t *testing.T, w *world) {
	net := harness.Need(t, "net")
	keytab := w.keytab(t, "HTTP/pac.aadds.contoso.test")
	dir := t.TempDir()
	conf := file(t, "smb.conf", fmt.Sprintf(`[global]
workgroup = AADDS
realm = AADDS.CONTOSO.TEST
security = ads
kerberos method = dedicated keytab
dedicated keytab file = FILE:%s
private dir = %[2]s
lock directory = %[2]s
state directory = %[2]s
cache directory = %[2]s
pid directory = %[2]s
`, keytab, dir))
	c := w.Client(t)
	c.Setenv("KRB5CCNAME", "FILE:"+filepath.Join(dir, "cc"))
	c.Setenv("PASSWD", adaPassword)
	out := c.Run("", net, "ads", "kerberos", "pac", "dump", "--configfile="+conf, "-U", "ada", "local_service=HTTP/pac.aadds.contoso.test@AADDS.CONTOSO.TEST")
	says(t, out, "account_name", "'ada'", "PAC_TYPE_LOGON_INFO", "PAC_TYPE_UPN_DNS_INFO", "'ada@contoso.test'", "S-1-18-1", "PAC_TYPE_TICKET_CHECKSUM")
}

package conformance

import (
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"skyrealm/test/harness"
)

// TestPasswordChange: people and machines change their passwords with the clients
// that they have, and what the tenant keeps is changed there. It has a service of
// its own, as it changes passwords that other tests sign in with.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	db := harness.Database(t)
	w := &world{Server: harness.Start(t, "--database", db)}
	sql(t, db, takeTemporary)
	w.push(t, "testdata/people.jsonl")
	w.labAccounts(t)
	for _, group := range []struct {
		name string
		run  func(*testing.T, *world)
	}{
		{"MIT kpasswd", testMITKpasswd},
		{"Heimdal kpasswd", testHeimdalKpasswd},
		{"password that has to be changed", testExpired},
		{"administrator", testSetPassword},
		{"HTTPS", testKDCProxy},
	} {
		t.Run(group.name, func(t *testing.T) { group.run(t, w) })
	}
	t.Run("metrics", func(t *testing.T) {
		says(t, w.curl(t, "/metrics").text, `skyrealm_kpasswd_requests_total{result="soft_error"}`, `skyrealm_kpasswd_requests_total{result="success"}`)
	})
	for _, secret := range []string{"Changed-By-MIT-1", "Changed-By-Heimdal-1", "Set-By-Admin-1"} {
		if strings.Contains(w.Log(), secret) {
			t.Errorf("the log holds the password %s", secret)
		}
	}
}

// cloudUser makes a cloud-only user with an account in the domain, which is there
// when the answer with these headers has reached it.
func (w *world) cloudUser(t *testing.T, name, password string) (headers string) {
	t.Helper()
	admin := w.signsIn(t, w.AdminUPN, w.AdminPassword())
	a := w.curl(t, "/v1.0/users", asJSON(admin, fmt.Sprintf(`{"accountEnabled":true,"displayName":%q,"mailNickname":%q,"userPrincipalName":%q,
		"passwordProfile":{"password":"Handed-Over-0","forceChangePasswordNextSignIn":false}}`, "Cloud "+name, name, name+"@contoso.test"))...)
	if a.status != 201 {
		t.Fatalf("create %s: %d %s", name, a.status, a.text)
	}
	token := w.signsIn(t, name+"@contoso.test", "Handed-Over-0")
	a = w.curl(t, "/v1.0/me/changePassword", append(asJSON(token, fmt.Sprintf(`{"currentPassword":"Handed-Over-0","newPassword":%q}`, password)), "-D", "/dev/stdout")...)
	if a.status != 204 {
		t.Fatalf("change of %s: %d %s", name, a.status, a.text)
	}
	return a.text
}

// labAccounts are a user and a computer that were made in the domain.
func (w *world) labAccounts(t *testing.T) {
	t.Helper()
	w.ldapAdmin(t).run(fmt.Sprintf(`dn: OU=Lab,%[1]s
objectClass: organizationalUnit

dn: CN=robot,OU=Lab,%[1]s
objectClass: user
sAMAccountName: robot
userAccountControl: 512
unicodePwd:: %[2]s

dn: CN=lab1,OU=AADDC Computers,%[1]s
objectClass: computer
sAMAccountName: LAB1$
userAccountControl: 4096
servicePrincipalName: HOST/lab1.%[3]s
unicodePwd:: %[2]s
`, w.BaseDN, unicodePwd("Lab-Password-1"), w.Domain), "ldapadd")
}

// changed checks that a new password works everywhere at once, and the old one
// nowhere: the reply to the change was all that there was to wait for.
func (w *world) changed(t *testing.T, name, old, new string) {
	t.Helper()
	w.mit(t).kinit(new, name)
	w.heimdal(t).kinit(new, name)
	w.signsIn(t, name+"@contoso.test", new)
	w.ldap(t, name+"@contoso.test", new).run("", "ldapwhoami")
	says(t, w.mit(t).refused(old, name), "Password incorrect")
	if a := w.signIn(t, name+"@contoso.test", old); a.status != 400 {
		t.Errorf("the old password signs in: %d", a.status)
	}
	if _, code := w.ldap(t, name+"@contoso.test", old).try("", "ldapwhoami"); code != 49 {
		t.Errorf("the old password binds: %d", code)
	}
}

// kpasswd runs MIT's program, and says how it ended.
func (k *kerberos) kpasswd(who, old, new string) (string, int) {
	k.t.Helper()
	out, err := k.Try(old+"\n"+new+"\n"+new+"\n", harness.Need(k.t, "kpasswd"), who)
	return out, status(err)
}

func testMITKpasswd(t *testing.T, w *world) {
	const first, second, third = "Before-MIT-0", "Changed-By-MIT-1", "Changed-By-MIT-2"
	w.reached(t, w.cloudUser(t, "mitchell", first))
	k, udp := w.mit(t), w.mit(t)
	conf, err := os.ReadFile(w.Krb5Conf)
	if err != nil {
		t.Fatal(err)
	}
	udp.Setenv("KRB5_CONFIG", file(t, "udp.conf", strings.ReplaceAll(string(conf), w.Kpasswd, udpAlone(t, w.Kpasswd))))
	for _, c := range []struct {
		k              *kerberos
		who, old, new  string
		code           int
		told           string
		changed, whose string
	}{
		{k, "mitchell", first, "short", 2, "Password change rejected: a password has 8 to 256 characters", "", ""},
		{k, "mitchell", first, "all-lower-case", 2, "three of", "", ""},
		{k, "mitchell", first, "I-Am-Mitchell-1", 2, "user name", "", ""},
		{k, "mitchell", first, first, 2, "differ", "", ""},
		{k, "mitchell", first, "Pässwörd-€-1", 2, "printable ASCII", "", ""},
		{k, "mitchell", "wrong", second, 1, "Preauthentication failed", "", ""},
		{k, "ada", adaPassword, second, 2, "Access denied: the password of this account is kept in your organization's on-premises directory", "", ""},
		{k, "nobody", adaPassword, second, 1, "not found", "", ""},
		{k, "mitchell", first, second, 0, "Password changed", second, first},
		{udp, "mitchell", second, third, 0, "Password changed", third, second},
		{k, "robot", "Lab-Password-1", "Pässwörd-€-1", 0, "Password changed", "", ""},
		{k, "robot", "Pässwörd-€-1", "Lab-Password-1", 0, "Password changed", "", ""},
		{k, "LAB1$", "Lab-Password-1", strings.Repeat("Machine-Password-", 14), 0, "Password changed", "", ""},
		{k, "LAB1$", strings.Repeat("Machine-Password-", 14), "Lab-Password-1", 0, "Password changed", "", ""},
	} {
		out, code := c.k.kpasswd(c.who, c.old, c.new)
		if code != c.code {
			t.Errorf("kpasswd %s to %.20q: status %d\n%s", c.who, c.new, code, out)
		}
		says(t, out, c.told)
		if c.changed != "" {
			w.changed(t, c.who, c.whose, c.changed)
		}
	}
	w.mit(t).kinit(adaPassword, "ada")
	// The machine's third version, and all of them opened with the password at hand.
	kvno := harness.Need(t, "kvno")
	k.kinit(third, "mitchell")
	says(t, k.Run("", kvno, "HOST/lab1."+w.Domain), "kvno = 3")
}

// udpAlone passes datagrams on, from a port where TCP is refused: MIT's kpasswd goes
// to UDP only then, and can't be told to.
func udpAlone(t *testing.T, to string) string {
	t.Helper()
	client, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	service, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	var last atomic.Pointer[net.UDPAddr] // one client at a time
	var running sync.WaitGroup
	pass := func(read func([]byte) (int, error), write func([]byte) (int, error)) {
		buf := make([]byte, 64<<10)
		for {
			n, err := read(buf)
			if err != nil {
				return
			}
			_, _ = write(buf[:n])
		}
	}
	running.Go(func() {
		pass(func(b []byte) (int, error) {
			n, from, err := client.ReadFromUDP(b)
			last.Store(from)
			return n, err
		}, service.Write)
	})
	running.Go(func() { pass(service.Read, func(b []byte) (int, error) { return client.WriteToUDP(b, last.Load()) }) })
	t.Cleanup(func() { client.Close(); service.Close(); running.Wait() })
	return client.LocalAddr().String()
}

// kpasswdHeimdal runs Heimdal's program, whose status tells nothing. It reads from a
// terminal where it has one.
func (k *kerberos) kpasswdHeimdal(stdin string, args ...string) string {
	k.t.Helper()
	out, _ := k.Try(stdin, "setsid", append([]string{"-w", harness.Need(k.t, "kpasswd.heimdal")}, args...)...)
	return out
}

func testHeimdalKpasswd(t *testing.T, w *world) {
	const first, second, third = "Before-Heimdal-0", "Changed-By-Heimdal-1", "Changed-By-Heimdal-2"
	w.reached(t, w.cloudUser(t, "heidi", first))
	k := w.heimdal(t)
	tcp := w.heimdal(t, "[realms]", "AADDS.CONTOSO.TEST = {", "kpasswd_server = tcp/"+w.Kpasswd, "}")
	for _, c := range []struct {
		k             *kerberos
		who, old, new string
		told          string
	}{
		{k, "heidi", first, "short", "Soft error : a password has 8 to 256 characters"},
		{k, "heidi", first, first, "Soft error : the new password has to differ"},
		{k, "heidi", first, "Pässwörd-€-1", "printable ASCII"},
		{k, "heidi", "wrong", second, "Preauthentication failed"},
		{k, "ada", adaPassword, second, "Access denied : the password of this account is kept in your organization's on-premises directory"},
		{k, "heidi", first, second, "Success"},
		{tcp, "heidi", second, third, "Success"},
		{k, "robot", "Lab-Password-1", "Pässwörd-€-1", "Success"},
		{k, "robot", "Pässwörd-€-1", "Lab-Password-1", "Success"},
	} {
		says(t, c.k.kpasswdHeimdal(c.old+"\n"+c.new+"\n"+c.new+"\n", c.who+"@AADDS.CONTOSO.TEST"), c.told)
	}
	w.changed(t, "heidi", first, third)
}

// testExpired: kinit of a user whose password has to be changed asks for a new one,
// asks again where that is refused, and signs in with it.
func testExpired(t *testing.T, w *world) {
	w.ldapAdmin(t).run(fmt.Sprintf("dn: CN=robot,OU=Lab,%s\nchangetype: modify\nreplace: pwdLastSet\npwdLastSet: 0\n", w.BaseDN), "ldapmodify")
	k := w.mit(t)
	out := k.Run("Lab-Password-1\nshort\nshort\nLab-Password-2\nLab-Password-2\n", k.program, "robot")
	says(t, out, "Password expired.  You must change it now.", "Password change rejected: a password has 7 to 256 characters.  Please try again.")
	says(t, k.Run("", harness.Need(t, "klist")), "Default principal: robot@AADDS.CONTOSO.TEST", "krbtgt/AADDS.CONTOSO.TEST")
	k.kinit("Lab-Password-2", "robot")

	// A synced temporary password is changed on-premises, and opens nothing here.
	if out, err := k.Try(tempPassword+"\nLab-Password-2\nLab-Password-2\n", k.program, "temp"); err == nil {
		t.Errorf("a synced temporary password was changed:\n%s", out)
	}
}

// testSetPassword: administrators of the domain set the passwords of its own
// accounts, and of no others.
func testSetPassword(t *testing.T, w *world) {
	admin := []string{"--admin-principal=" + strings.Split(w.AdminUPN, "@")[0]}
	k := w.heimdal(t)
	const new = "Set-By-Admin-1"
	set := func(who string) string {
		return k.kpasswdHeimdal(w.AdminPassword()+"\n"+new+"\n"+new+"\n", append(admin, who+"@AADDS.CONTOSO.TEST")...)
	}
	says(t, set("robot"), "Success")
	w.mit(t).kinit(new, "robot")
	says(t, set("host/lab1."+w.Domain), "Success")
	w.mit(t).kinit(new, "LAB1$")
	// After a refusal Heimdal tries the older protocol, which can't set another's
	// password, and shows what came of that.
	const refused = "Operation not permitted"
	for _, who := range []string{"ada", "heidi", "nowhere"} {
		says(t, set(who), refused)
	}
	says(t, k.kpasswdHeimdal(new+"\nOther-Pass-1\nOther-Pass-1\n", "--admin-principal=robot", "LAB1$@AADDS.CONTOSO.TEST"), refused)
	says(t, w.Log(), "the password of this account can't be set here", "no such target", "no administrator")
	w.mit(t).kinit(new, "LAB1$")
	w.mit(t).kinit(adaPassword, "ada")
}

// testKDCProxy: MIT's programs over HTTPS alone ([MS-KKDCP]).
func testKDCProxy(t *testing.T, w *world) {
	const first, second = "Before-HTTPS-0", "Changed-Over-HTTPS-1"
	w.reached(t, w.cloudUser(t, "proxima", first))
	k := w.mit(t)
	conf := func(realm string) string {
		return file(t, "https.conf", fmt.Sprintf(`[libdefaults]
default_realm = %[1]s
dns_lookup_kdc = false
dns_canonicalize_hostname = false
[realms]
%[1]s = {
  kdc = https://%[2]s/KdcProxy
  kpasswd_server = https://%[2]s/KdcProxy
  http_anchors = FILE:%[3]s
}
`, realm, w.HTTPS, w.CAFile))
	}
	k.Setenv("KRB5_CONFIG", conf(w.Realm))
	says(t, k.traced(first, "proxima"), "Resolving hostname 127.0.0.1", "HTTPS request to https 127.0.0.1")
	k.Run("", harness.Need(t, "kvno"), "HOST/lab1."+w.Domain)
	out, code := k.kpasswd("proxima", first, "short")
	if code != 2 {
		t.Errorf("status %d", code)
	}
	says(t, out, "Password change rejected: a password has 8 to 256 characters")
	if out, code := k.kpasswd("proxima", first, second); code != 0 {
		t.Errorf("status %d\n%s", code, out)
	}
	k.kinit(second, "proxima")
	w.changed(t, "proxima", first, second)
	says(t, k.refused("wrong", "proxima"), "Password incorrect")

	other := w.mit(t)
	other.Setenv("KRB5_CONFIG", conf("OTHER.TEST"))
	says(t, other.refused(second, "proxima@OTHER.TEST"), "Cannot contact any KDC for realm 'OTHER.TEST'")
	if a := w.curl(t, "/KdcProxy", "--data-binary", "no message"); a.status != 400 || a.str("error", "code") == "" {
		t.Errorf("what is no message: %d %s", a.status, a.text)
	}
}

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"skyrealm/test/harness"
)

// apacheModules is where Debian has them.
const apacheModules = "/usr/lib/apache2/modules"

// testApache: a browser's way in. curl signs in with Negotiate to an Apache whose
// mod_auth_gssapi has nothing but a keytab of ours.
func testApache(t *testing.T, w *world) {
	apache, curl, kvno, klist := harness.Need(t, "apache2"), harness.Need(t, "curl"), harness.Need(t, "kvno"), harness.Need(t, "klist")
	harness.NeedFile(t, filepath.Join(apacheModules, "mod_auth_gssapi.so"))
	const host = "intranet.aadds.contoso.test"
	d := w.NewDaemon(t)
	keytab := d.Copy("keytab", w.keytab(t, "HTTP/"+host))
	delegated := d.Mkdir("delegated")
	www := d.Mkdir("www")
	d.File("www/index.html", "come in\n")
	conf := ""
	for _, m := range []string{"mpm_prefork", "authn_core", "authz_core", "authz_user", "headers", "dir", "auth_gssapi"} {
		conf += fmt.Sprintf("LoadModule %s_module %s/mod_%[1]s.so\n", m, apacheModules)
	}
	conf += fmt.Sprintf(`ServerRoot %[1]s
ServerName %[2]s
DefaultRuntimeDir %[1]s
PidFile %[1]s/pid
Listen 127.0.0.1:%[3]s
StartServers 1
ErrorLog /dev/stderr
LogLevel warn auth_gssapi:debug
DocumentRoot %[4]s
DirectoryIndex index.html
Header always set X-Remote-User "expr=%%{REMOTE_USER}"
<Directory %[4]s>
	AuthType GSSAPI
	AuthName staff
	GssapiCredStore keytab:%[5]s
	GssapiAllowedMech krb5
	GssapiDelegCcacheDir %[6]s
	Require user ada@%[7]s
	AuthzSendForbiddenOnFailure On
</Directory>
`, d.Dir, host, d.Port, www, keytab, delegated, w.Realm)
	d.Start(apache, "-DFOREGROUND", "-f", d.File("httpd.conf", conf))

	// get returns the status, the name that Apache has for the client, and the page.
	get := func(k *kerberos, args ...string) string {
		t.Helper()
		args = append([]string{"-sS", "--negotiate", "-u", ":", "--noproxy", "*", "--resolve", host + ":" + d.Port + ":127.0.0.1",
			"-w", "%{http_code} %header{x-remote-user}"}, args...)
		return k.Run("", curl, append(args, "http://"+host+":"+d.Port+"/")...)
	}
	const open, notYou, notKnown = "come in\n200 ada@AADDS.CONTOSO.TEST", "403 rocket@AADDS.CONTOSO.TEST", "401 "
	ada, rocket, none := w.mit(t), w.mit(t), w.mit(t)
	says(t, get(none), notKnown)
	ada.kinit(adaPassword, "-f", "ada")
	says(t, get(ada), open)
	rocket.kinit(rocketPassword, "rocket")
	says(t, get(rocket), notYou) // signed in, but another

	// A TGT goes along where the client is told to hand it over, and works there.
	if left, _ := os.ReadDir(delegated); len(left) != 0 {
		t.Errorf("a TGT was handed over without being asked for: %v", left)
	}
	says(t, get(ada, "--delegation", "always"), open)
	there := w.mit(t)
	there.Setenv("KRB5CCNAME", "FILE:"+filepath.Join(delegated, "ada@"+w.Realm))
	says(t, there.Run("", klist, "-f"), "Default principal: ada@AADDS.CONTOSO.TEST", "Flags: Ff")
	there.Run("", kvno, "ldap/dc1.aadds.contoso.test")

	// New keys: the ticket that ada still has opens nothing any more.
	d.Copy("keytab", w.keytab(t, "HTTP/"+host))
	says(t, get(ada), notKnown)
	ada.kinit(adaPassword, "ada")
	says(t, get(ada), open)
}

package conformance

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// testSSH: OpenSSH on both sides. The server talks to the client's proxy command, so
// that no port is opened and no name is resolved; it lets people in as the one user
// that every machine surely has, which is the test's own.
func testSSH(t *testing.T, w *world) {
	ssh, sshd, keygen := harness.Need(t, "ssh"), harness.NeedFile(t, "/usr/sbin/sshd"), harness.Need(t, "ssh-keygen")
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	privilegeSeparation(t)
	const host = "shell.aadds.contoso.test"
	dir := t.TempDir()
	keytab := filepath.Join(dir, "keytab")
	newKeys := func() {
		t.Helper()
		text, err := os.ReadFile(w.keytab(t, "host/"+host))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(keytab, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newKeys()

	// ada may log in as this user, as a .k5login would say; zoe's name is translated to this user's.
	logins := t.TempDir()
	if err := os.WriteFile(filepath.Join(logins, me.Username), []byte("ada@"+w.Realm+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	byFile := file(t, "krb5.conf", "[libdefaults]\nk5login_directory = "+logins+"\n") + ":" + w.Krb5Conf
	byName := file(t, "krb5.conf", fmt.Sprintf("[libdefaults]\nk5login_directory = %s\n[realms]\n%s = {\nauth_to_local_names = {\nzoe = %s\n}\n}\n",
		t.TempDir(), w.Realm, me.Username)) + ":" + w.Krb5Conf

	key := filepath.Join(dir, "host")
	w.Client(t).Run("", keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key)
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	known := file(t, "known_hosts", host+" "+string(public))
	conf := file(t, "sshd_config", fmt.Sprintf(`HostKey %s
PidFile none
UsePAM no
UseDNS no
PermitRootLogin yes
PermitUserRC no
PasswordAuthentication no
PubkeyAuthentication no
KbdInteractiveAuthentication no
GSSAPIAuthentication yes
GSSAPIStrictAcceptorCheck no
GSSAPICleanupCredentials yes
SetEnv KRB5_CONFIG=%s
`, key, w.Krb5Conf))
	in := func(k *kerberos, mapping, command string, options ...string) (string, error) {
		t.Helper()
		// The shell takes the signal that the client ends its command with, so that the server ends by
		// itself and cleans up.
		proxy := "sh -c 'KRB5_CONFIG=" + mapping + " KRB5_KTNAME=" + keytab + " KRB5RCACHENAME=file2:" + filepath.Join(dir, "replays") +
			" " + sshd + " -i -e -f " + conf + "; exit'"
		args := append([]string{"-F", "/dev/null", "-o", "ProxyCommand=" + proxy, "-o", "BatchMode=yes", "-o", "PreferredAuthentications=gssapi-with-mic",
			"-o", "GSSAPIAuthentication=yes", "-o", "UserKnownHostsFile=" + known, "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
			"-l", me.Username}, options...)
		return k.Try("", ssh, append(args, host, command)...)
	}
	refused := func(why string, k *kerberos, mapping string) {
		t.Helper()
		out, err := in(k, mapping, "echo let in")
		if err == nil {
			t.Errorf("%s: let in:\n%s", why, out)
		}
		says(t, out, "Permission denied")
	}
	// With a TGT that went along, another ticket is got over there.
	look := klist + " -f; " + kvno + " ldap/dc1.aadds.contoso.test"
	const delegate = "GSSAPIDelegateCredentials=yes"

	ada, zoe, none := w.mit(t), w.mit(t), w.mit(t)
	ada.kinit(adaPassword, "-f", "ada")
	out, err := in(ada, byFile, "echo let in; echo \"cache <$KRB5CCNAME>\"")
	if err != nil {
		t.Errorf("ada: %v\n%s", err, out)
	}
	says(t, out, "let in\ncache <>\n")
	out, err = in(ada, byFile, look+"; echo cache $KRB5CCNAME", "-o", delegate)
	if err != nil {
		t.Errorf("ada, with her TGT: %v\n%s", err, out)
	}
	says(t, out, "Default principal: ada@AADDS.CONTOSO.TEST", "Flags: Ff", "ldap/dc1.aadds.contoso.test@AADDS.CONTOSO.TEST: kvno = ")
	_, cache, ok := strings.Cut(out, "cache FILE:")
	if !ok {
		t.Fatalf("no file with the TGT in:\n%s", out)
	}
	harness.WaitFor(t, "the server to remove the TGT", func() error { // the client ends a little earlier
		if _, err := os.Stat(strings.TrimSpace(cache)); !os.IsNotExist(err) {
			return fmt.Errorf("%s is there: %v", cache, err)
		}
		return nil
	})
	zoe.kinit(zoePassword, "zoe")
	if out, err = in(zoe, byName, "echo let in"); err != nil {
		t.Errorf("zoe: %v\n%s", err, out)
	}
	says(t, out, "let in")

	refused("zoe, whom the file does not name", zoe, byFile)
	refused("ada, whose name is translated to nobody's", ada, byName)
	refused("no ticket", none, byFile)
	newKeys()
	refused("a ticket from before the new keys", ada, byFile)
	ada.kinit(adaPassword, "ada")
	if out, err = in(ada, byFile, "echo let in"); err != nil {
		t.Errorf("ada, with a new ticket: %v\n%s", err, out)
	}
}

// privilegeSeparation makes the empty directory that a server of root's locks its
// outward half into. The service's start does that, and it need not have been started.
func privilegeSeparation(t *testing.T) {
	t.Helper()
	const empty = "/run/sshd"
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Mkdir(empty, 0o755); err == nil {
		t.Cleanup(func() { _ = os.Remove(empty) })
	} else if !os.IsExist(err) {
		t.Fatal(err)
	}
}

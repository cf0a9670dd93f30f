// Samba numbers the certificate that it makes for itself at random, in half of all
// cases below zero, which Go does not read.
//
//go:debug x509negativeserial=1
package onprem

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// TestOnPremises runs all on one domain controller, each part on OUs of its own.
func TestOnPremises(t *testing.T) {
	d := startDC(t)
	for _, part := range []struct {
		name string
		run  func(*testing.T, *dc)
	}{{"refusals", refusals}, {"story", story}, {"groups", groups}, {"wire", wire}, {"staging", staging}, {"deletions", deletions}, {"loop", loop}, {"kills", kills}} {
		t.Run(part.name, func(t *testing.T) {
			began := time.Now()
			d := *d
			d.t = t
			part.run(t, &d)
			t.Logf("%s", time.Since(began).Round(time.Millisecond))
		})
	}
}

// refusals: what an administrator who sets an agent up can get wrong is said in
// words, and without the password.
func refusals(t *testing.T, d *dc) {
	d.local("user", "create", "norights", "No-Rights-Passw0rd1")
	c := startCloud(t, d)
	for name, test := range map[string]struct {
		user, password string
		flags          []string
		status         int
		says           string
	}{
		"wrong password":      {syncUser, "Wrong-Passw0rd", nil, 1, "sign-in as " + syncUser},
		"no rights":           {`CORP\norights`, "No-Rights-Passw0rd1", nil, 1, "Replicating Directory Changes"},
		"no password":         {syncUser, "", nil, 2, "SKYREALM_AD_PASSWORD"},
		"no controller there": {syncUser, syncPass, []string{"--ad", "127.0.0.1"}, 1, "LDAP of 127.0.0.1"},
		"url without id":      {syncUser, syncPass, []string{"--url", "https://127.0.0.1:1"}, 2, "--client-id"},
	} {
		cmd := c.command(t.Context(), "once", append([]string{"--ad-user", test.user}, test.flags...)...)
		cmd.Env = append(cmd.Env, "SKYREALM_AD_PASSWORD="+test.password)
		out, _ := cmd.CombinedOutput() // the status says it
		if status := cmd.ProcessState.ExitCode(); status != test.status || !strings.Contains(string(out), test.says) {
			t.Errorf("%s: status %d\n%s", name, status, out)
		}
		if test.password != "" && strings.Contains(string(out), test.password) {
			t.Errorf("%s: the password is printed", name)
		}
	}

	// The same by a file of flags, a file with the password, and the address of
	// the tenant: an agent on another machine than the service.
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config, err := json.Marshal(map[string]any{"ad": d.address, "ad_user": "sync@corp.test", "ad_password_file": write("password", syncPass+"\n"),
		"url": "https://" + c.HTTPS, "client_id": c.AgentClientID, "client_secret_file": c.AgentSecretFile, "ca_file": c.CAFile,
		"state": c.state, "staging": true, "ou": []string{"OU=Nobody," + naming}})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Skyrealm(t.Context(), nil, "agent", "once", "--config", write("agent.json", string(config)))
	if err != nil || !strings.Contains(out, "0 objects would be sent") {
		t.Errorf("by files: %v\n%s", err, out)
	}
}

// story is what happens to people on premises, and what of it their machines in
// the cloud see one agent cycle later.
func story(t *testing.T, d *dc) {
	in, out := d.ou("Story"), d.ou("Elsewhere")
	d.local("user", "create", "ada", "pässwörd-€1A", "--userou=OU=Story", "--given-name=Ada", "--surname=Lovelace", "--mail-address=ada@corp.test")
	ada := "CN=Ada Lovelace," + in
	for _, name := range []string{"bob", "carl", "dave", "eve"} {
		d.add(in, name, "First-Passw0rd-"+name)
	}
	d.add(in, "ines", "First-Passw0rd-ines", "inetOrgPerson")
	d.group(in, "Sales", d.group(in, "Inner", ada), "CN=bob,"+in)
	c := startCloud(t, d, "--ou", in)

	// 1. The first cycle: all forms of everybody's password, on-premises salts,
	// and the groups, one in the other.
	log := c.cycle()
	contains(t, log, "7 objects sent", "5 passwords sent", "event=618", "event=622", "event=650", "event=651", "event=656", "event=657",
		`event=620 dn="CN=ines,`)
	trace := c.signsIn("ada", "pässwörd-€1A")
	contains(t, trace, `salt "CORP.TESTada"`, "Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96")
	c.signsIn("bob", "First-Passw0rd-bob")
	for _, name := range []string{"ines", "sync", "krbtgt@corp.test", "Administrator@corp.test"} { // not a person, out of scope, the system's
		if found := c.find("(|(userPrincipalName=" + name + ")(&(sAMAccountName=" + name + ")(objectClass=user)))"); len(found) > 0 {
			t.Errorf("%s was synced", name)
		}
	}
	if found := c.find("(&(sAMAccountName=ada)(memberOf:1.2.840.113556.1.4.1941:="+c.find("(sAMAccountName=Sales)")[0].DN+"))", "cn"); len(found) != 1 {
		t.Error("ada is not in Sales by way of Inner")
	}

	// 2. Nothing to do is said, and that the agent lives.
	contains(t, c.cycle(), "0 objects sent, 0 deleted, 0 passwords sent", "event=653", "event=654")

	// 3. A new password, by the tool of an administrator.
	d.local("user", "setpassword", "ada", "--newpassword=Sécond-Passw0rd-€")
	contains(t, c.cycle(), "0 objects sent, 0 deleted, 1 passwords sent")
	c.signsIn("ada", "Sécond-Passw0rd-€")
	c.refused("ada", "pässwörd-€1A")

	// 4. "Has to change at the next logon" is filtered (FilteredByTarget) and goes
	// out when the person has changed it.
	d.local("user", "setpassword", "bob", "--newpassword=Temporary-Passw0rd1", "--must-change-at-next-login")
	contains(t, c.cycle(), "0 passwords sent", "filtered=1")
	c.signsIn("bob", "First-Passw0rd-bob")
	d.password("CN=bob,"+in, "Third-Passw0rd-bob")
	d.set("CN=bob,"+in, "pwdLastSet", "-1")
	contains(t, c.cycle(), "1 passwords sent")
	c.signsIn("bob", "Third-Passw0rd-bob")
	c.refused("bob", "First-Passw0rd-bob")

	// 5. Disable, delete, rename, move out of scope, clear a value.
	d.local("user", "disable", "bob")
	d.delete("CN=carl," + in)
	d.move("CN=dave,"+in, "CN=Dave Renamed", in)
	renamed := "CN=Dave Renamed," + in
	d.set(renamed, "sAMAccountName", "david")
	d.set(renamed, "userPrincipalName", "david@corp.test")
	d.set(renamed, "displayName", "David")
	d.set(renamed, "department", "Käse")
	d.move("CN=eve,"+in, "CN=eve", out)
	d.set(ada, "mail")
	contains(t, c.cycle(), "2 deleted")
	c.becomes("(&(sAMAccountName=bob)(userAccountControl:1.2.840.113556.1.4.803:=2))", 1)
	c.becomes("(sAMAccountName=carl)", 0)
	c.becomes("(sAMAccountName=eve)", 0)
	c.becomes("(&(userPrincipalName=david@corp.test)(displayName=David)(department=Käse))", 1)
	c.becomes("(&(sAMAccountName=ada)(mail=*))", 0)
	c.refused("bob", "Third-Passw0rd-bob")
	if err := c.bind("david", "First-Passw0rd-dave"); err != nil {
		t.Errorf("a renamed user's password: %v", err)
	}

	// 6. The OU is renamed and takes its people along, one comes back into scope
	// with the password from before, and the other is enabled again.
	d.move("CN=eve,"+out, "CN=eve", in)
	d.local("user", "enable", "bob")
	contains(t, c.cycle(), "0 deleted")
	c.signsIn("eve", "First-Passw0rd-eve")
	c.signsIn("bob", "Third-Passw0rd-bob")
	d.move(in, "OU=Story 2", naming)
	contains(t, c.cycle("--delete-threshold=-1"), "6 deleted") // 4 users, 2 groups; --ou still has the old name
	c.flags = []string{"--ou", "OU=Story 2," + naming}
	contains(t, c.cycle(), "6 objects sent, 0 deleted, 4 passwords sent")
	c.signsIn("ada", "Sécond-Passw0rd-€")

	// 7. All of it again, on demand; and the report.
	contains(t, first(c.agent("full-sync")), "6 objects sent, 0 deleted, 4 passwords sent")
	report, err := c.Skyrealm(t.Context(), nil, "agent", "status", "--state", c.state)
	if err != nil {
		t.Fatal(err, report)
	}
	contains(t, report, "corp.test", "4 users, 2 groups", "pending retries")

	// 8. Nothing that signs anyone in is in the log or the state.
	secret := []string{"pässwörd-€1A", "Sécond-Passw0rd-€", "Third-Passw0rd-bob", "First-Passw0rd-eve", syncPass}
	texts := map[string][]byte{"the agent's log": c.log.Bytes()}
	err = filepath.WalkDir(c.state, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			info, err := e.Info()
			if err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("%s: mode %v", path, info.Mode())
			}
			texts[path], err = os.ReadFile(path)
			return err
		}
		return err
	})
	if err != nil || len(texts) < 3 {
		t.Fatal(err, len(texts))
	}
	for where, text := range texts {
		for _, s := range secret {
			nt := cred.NTHashOf(s).Expose()
			for _, form := range []string{s, hex.EncodeToString(nt), base64.StdEncoding.EncodeToString(nt)[:20]} {
				if bytes.Contains(bytes.ToLower(text), []byte(strings.ToLower(form))) {
					t.Errorf("%s has a secret", where)
				}
			}
		}
		if bytes.Contains(text, []byte("PPH1_MD4")) {
			t.Errorf("%s has a digest", where)
		}
	}
}

// groups: only some groups' members are synced, and memberships come and go.
func groups(t *testing.T, d *dc) {
	in := d.ou("Groups")
	for _, name := range []string{"gina", "gus", "gwen"} {
		d.add(in, name, "First-Passw0rd-"+name)
	}
	low := d.group(in, "Low", "CN=gus,"+in)
	top := d.group(in, "Top", "CN=gina,"+in, low)
	c := startCloud(t, d, "--group", top)
	contains(t, c.cycle(), "4 objects sent", "2 passwords sent")
	c.becomes("(sAMAccountName=gwen)", 0)
	d.set(low, "member", "CN=gwen,"+in)
	contains(t, c.cycle(), "2 objects sent, 1 deleted, 1 passwords sent")
	c.becomes("(sAMAccountName=gwen)", 1)
	c.becomes("(sAMAccountName=gus)", 0)
	d.set(low, "member")
	d.delete("CN=gina," + in)
	contains(t, c.cycle(), "2 deleted")
	c.becomes("(&(sAMAccountName=Low)(member=*))", 0)
}

// wire: the same agent by the real service's own protocol. Hashes go in envelopes
// for the published certificate, with the keys as the directory keeps them.
func wire(t *testing.T, d *dc) {
	in := d.ou("Wire")
	d.add(in, "wanda", "pässwörd-€1A")
	d.group(in, "Wired", "CN=wanda,"+in)
	c := startCloud(t, d, "--ou", in, "--protocol", "wire")
	contains(t, c.cycle(), "2 objects sent", "1 passwords sent", "event=657")
	contains(t, c.signsIn("wanda", "pässwörd-€1A"), `salt "CORP.TESTwanda"`, "Etype (skey, tkt): aes256-cts-hmac-sha1-96, aes256-cts-hmac-sha1-96")
	d.local("user", "setpassword", "wanda", "--newpassword=Second-Passw0rd-wanda")
	contains(t, c.cycle(), "0 objects sent", "1 passwords sent")
	c.signsIn("wanda", "Second-Passw0rd-wanda")
	contains(t, c.cycle(), "0 passwords sent", "event=654")
}

// staging: an agent that stands by reads all and sends nothing.
func staging(t *testing.T, d *dc) {
	in := d.ou("Staging")
	d.add(in, "stan", "First-Passw0rd-stan")
	c := startCloud(t, d, "--ou", in)
	contains(t, c.cycle("--staging"), "1 objects would be sent, 0 would be deleted, 1 passwords would be sent")
	contains(t, first(c.agent("full-sync", "--staging")), "1 objects would be sent")
	if n := len(c.find("(sAMAccountName=stan)")); n != 0 {
		t.Error("a staging agent sent an object")
	}
	contains(t, c.cycle(), "1 objects sent, 0 deleted, 1 passwords sent") // it takes over
	c.signsIn("stan", "First-Passw0rd-stan")
}

// deletions: too many at once stop the export, and passwords go on.
func deletions(t *testing.T, d *dc) {
	in := d.ou("Deletions")
	for i := range 6 {
		d.add(in, fmt.Sprintf("del%d", i), fmt.Sprintf("First-Passw0rd-%d", i))
	}
	c := startCloud(t, d, "--ou", in)
	contains(t, c.cycle(), "6 objects sent")
	for i := range 4 {
		d.delete(fmt.Sprintf("CN=del%d,%s", i, in))
	}
	d.password("CN=del5,"+in, "Second-Passw0rd-5")
	out, status := c.agent("once", "--delete-threshold=3")
	if status != 4 {
		t.Errorf("status %d", status)
	}
	contains(t, out, "event=116", "4 pending deletes", "threshold of 3 objects", "1 passwords sent")
	c.signsIn("del5", "Second-Passw0rd-5")
	c.becomes("(sAMAccountName=del*)", 6)
	report, err := c.Skyrealm(t.Context(), nil, "agent", "status", "--state", c.state)
	if err != nil {
		t.Fatal(err)
	}
	contains(t, report, "stopped-deletion-threshold-exceeded", "deletions stopped")
	contains(t, c.cycle("--delete-threshold=4"), "4 deleted")
	c.becomes("(sAMAccountName=del*)", 2)
}

// loop: the agent that stays up brings a change over by itself; a second one
// keeps off its state, and it ends cleanly.
func loop(t *testing.T, d *dc) {
	in := d.ou("Loop")
	d.add(in, "lou", "First-Passw0rd-lou")
	c := startCloud(t, d, "--ou", in)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := c.command(ctx, "run", "--passwords-every=100ms", "--objects-every=300ms")
	cmd.Stderr = &c.log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.signsIn("lou", "First-Passw0rd-lou")
	began := time.Now()
	d.local("user", "setpassword", "lou", "--newpassword=Second-Passw0rd-lou")
	c.signsIn("lou", "Second-Passw0rd-lou")
	t.Logf("from the change on premises to the ticket in the cloud: %s at 100 ms between cycles", time.Since(began).Round(time.Millisecond))
	c.refused("lou", "First-Passw0rd-lou")
	d.add(in, "liz", "First-Passw0rd-liz")
	c.signsIn("liz", "First-Passw0rd-liz")
	other := c.command(t.Context(), "once")
	text, err := other.CombinedOutput()
	if err == nil || !strings.Contains(string(text), "another agent") {
		t.Errorf("a second agent on the state: %v\n%s", err, text)
	}
	cancel()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the agent ended with %v", err)
	}
}

// kills: an agent that is killed at any moment, while the directory changes,
// goes on where it was: everything arrives, nothing twice.
func kills(t *testing.T, d *dc) {
	const users, times = 300, 20
	in := d.ou("Kills")
	passwords := map[string]string{}
	var members []string
	for i := range users {
		name := fmt.Sprintf("kim%03d", i)
		passwords[name] = fmt.Sprintf("First-Passw0rd-%d", i)
		d.add(in, name, passwords[name])
		members = append(members, "CN="+name+","+in)
	}
	d.group(in, "Kims", members...) // its links come in several replies
	c := startCloud(t, d, "--ou", in)
	random := rand.New(rand.NewPCG(1, 2))
	unfinished, typical := 0, 500*time.Millisecond // how long a run takes on this machine is found out
	for i := range times {
		name := fmt.Sprintf("kim%03d", random.IntN(users-times)+times)
		passwords[name] = fmt.Sprintf("Changed-Passw0rd-%d", i)
		d.password("CN="+name+","+in, passwords[name])
		gone := fmt.Sprintf("kim%03d", i)
		d.delete("CN=" + gone + "," + in)
		delete(passwords, gone)
		verb := "once"
		if i == times/2 {
			verb = "full-sync"
		}
		cmd := c.command(t.Context(), verb)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		timer := time.AfterFunc(time.Duration(random.Int64N(int64(2*typical))), func() { _ = cmd.Process.Kill() })
		if err := cmd.Wait(); err != nil {
			unfinished++
			typical += typical / 8
		} else {
			typical = time.Since(began)
		}
		timer.Stop()
	}
	t.Logf("%d of %d runs were killed before their end", unfinished, times)
	c.cycle()
	contains(t, c.cycle(), "0 objects sent, 0 deleted, 0 passwords sent; 0 refused")
	c.becomes("(&(objectClass=user)(sAMAccountName=kim*))", len(passwords))
	harness.WaitFor(t, "the members of Kims", func() error {
		if n := len(c.find("(sAMAccountName=Kims)", "member")[0].GetAttributeValues("member")); n != len(passwords) {
			return fmt.Errorf("%w: %d, want %d", errNotYet, n, len(passwords))
		}
		return nil
	})
	seen := map[string]bool{}
	for _, e := range c.find("(&(objectClass=user)(sAMAccountName=kim*))", "sAMAccountName") {
		name := e.GetAttributeValue("sAMAccountName")
		if passwords[name] == "" || seen[name] {
			t.Errorf("%s should not be there", name)
		}
		seen[name] = true
	}
	for name, password := range passwords {
		if strings.HasPrefix(password, "Changed") || random.IntN(10) == 0 {
			harness.WaitFor(t, name+" to sign in", func() error { return c.bind(name, password) })
		}
	}
}

func first(out string, _ int) string { return out }

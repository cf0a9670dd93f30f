package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"skyrealm/test/harness"
)

// freePorts are flags that no other program is in the way of.
var freePorts = []string{"--https", ":0", "--kdc", ":0", "--kpasswd", ":0", "--ldap", ":0", "--ldaps", ":0"}

// refusesToStart: the service ends with a status and one line that says why.
func refusesToStart(t *testing.T, want string, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, harness.Binary(t), append(append([]string{"serve"}, freePorts...), flags...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if status(err) != 1 {
		t.Errorf("%v: %v", flags, err)
	}
	if said := stderr.String(); strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "skyrealm: ") || !strings.Contains(said, want) {
		t.Errorf("%v: not one line with %q:\n%s", flags, want, said)
	}
	if strings.Contains(stderr.String(), "Hidden-Password") {
		t.Errorf("%v: the database's password is shown:\n%s", flags, stderr.String())
	}
	if stdout.Len() > 0 {
		t.Errorf("%v: on stdout:\n%s", flags, stdout.String())
	}
}

// TestRefusalsToStart goes through what an administrator may get wrong.
func TestRefusalsToStart(t *testing.T) {
	t.Parallel()
	db := harness.Database(t)
	s := harness.Start(t, "--database", db)
	here := []string{"--data", s.Dir, "--database", db}
	keys := filepath.Join(s.Dir, "keys")

	refusesToStart(t, "the data directory "+s.Dir+" is in use by another skyrealm", here...)
	if _, err := os.Stat(filepath.Join(s.Dir, "ready.json")); err != nil {
		t.Errorf("the refused start took the running server's ready.json: %v", err)
	}
	for flag, addr := range map[string]string{"--https": s.HTTPS, "--ldap": s.LDAP, "--ldaps": s.LDAPS, "--kdc": s.KDC, "--kpasswd": s.Kpasswd} {
		_, port, _ := net.SplitHostPort(addr)
		elsewhere := filepath.Join(t.TempDir(), "data")
		refusesToStart(t, addr+" is in use by another program ("+flag+" chooses another port", "--data", elsewhere, flag, ":"+port)
		if entries, err := os.ReadDir(elsewhere); err == nil && len(entries) > 1 {
			t.Errorf("the refused start left %v", entries)
		}
	}
	s.Stop()

	// Keys.
	others := harness.Start(t, "--database", harness.Database(t))
	others.Stop()
	theirs := filepath.Join(others.Dir, "keys")
	for _, name := range []string{"tenant.ring", "domain.ring", "domain.pem", "envelope.pem", "token.pem"} {
		path := filepath.Join(keys, name)
		right, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refusesToStart(t, "the key file "+path+" is missing", here...)
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("the refused start made a new %s", name)
		}
		for _, damaged := range []string{"", "nonsense\n", string(right[:len(right)/2])} {
			put(t, path, []byte(damaged))
			refusesToStart(t, "the key file "+path+" is damaged", here...)
		}
		if name != "token.pem" { // every key signs
			wrong, err := os.ReadFile(filepath.Join(theirs, name))
			if err != nil {
				t.Fatal(err)
			}
			put(t, path, wrong)
			refusesToStart(t, "keys/"+name, here...)
		}
		put(t, path, right)
	}

	// The schema of a later version, and names that are others now.
	sql(t, db, `INSERT INTO tenant.migration (step) VALUES (9999)`)
	refusesToStart(t, "it is at step 9999", here...)
	sql(t, db, `DELETE FROM tenant.migration WHERE step = 9999`)
	refusesToStart(t, "a name can't be changed", append(here, "--tenant-domain", "fabrikam.test")...)
	refusesToStart(t, "a name can't be changed", append(here, "--domain", "ds.contoso.test")...)

	// The database.
	refusesToStart(t, "database", "--data", s.Dir, "--database", "postgres://nobody:Hidden-Password@127.0.0.1:1/none")
	refusesToStart(t, "the URL is malformed", "--data", s.Dir, "--database", "no URL")
	refusesToStart(t, "the first start has to be in all roles", "--data", filepath.Join(t.TempDir(), "data"), "--database", harness.Database(t), "--roles", "tenant")
	refusesToStart(t, "/proc/skyrealm", "--data", "/proc/skyrealm")

	// After all of that it starts as ever.
	s.Run()
	w := &world{Server: s}
	w.signsIn(t, s.AdminUPN, s.AdminPassword())
}

func put(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRoles runs the three roles as three processes on one database, each with
// no more keys than it needs, and a second domain replica.
func TestRoles(t *testing.T) {
	t.Parallel()
	db := harness.Database(t)
	all := harness.Start(t, "--database", db)
	all.Stop()
	sql(t, db, takeTemporary)

	share := func(names ...string) string {
		dir := filepath.Join(t.TempDir(), "data")
		for _, name := range append(names, "tls/ca.pem", "tls/ca-key.pem") {
			text, err := os.ReadFile(filepath.Join(all.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, name), text)
		}
		return dir
	}
	tenant := &world{Server: harness.StartIn(t, share("keys/tenant.ring", "keys/token.pem", "admin-password", "agent-client-id", "agent-secret"), "--database", db, "--roles", "tenant")}
	harness.StartIn(t, share("keys/domain.ring", "keys/domain.pem", "keys/envelope.pem"), "--database", db, "--roles", "provision")
	replicas := []*world{
		{Server: harness.StartIn(t, share("keys/domain.ring"), "--database", db, "--roles", "domain")},
		{Server: harness.StartIn(t, share("keys/domain.ring", "keys/tenant.ring"), "--database", db, "--roles", "domain")},
	}
	if tenant.KDC != "" || tenant.LDAP != "" || replicas[0].HTTPS != "" {
		t.Errorf("the roles listen on too much: %+v and %+v", tenant.Ready, replicas[0].Ready)
	}

	tenant.push(t, "testdata/people.jsonl")
	tenant.signsIn(t, "ada@contoso.test", adaPassword)
	for _, domain := range replicas {
		k := domain.mit(t)
		harness.WaitFor(t, "the replica to know ada", func() error {
			_, err := k.Try(adaPassword+"\n", k.program, "ada")
			return err
		})
		domain.ldap(t, "ada@contoso.test", adaPassword).run("", "ldapwhoami")
	}

	// What the tenant keeps is changed by a replica that has the tenant's ring; one
	// that has not says where to go.
	const first, second = "Rolled-Out-0", "Rolled-Out-1"
	tenant.cloudUser(t, "roland", first)
	for i, domain := range replicas {
		k := domain.mit(t)
		harness.WaitFor(t, "the replica to know roland", func() error {
			_, err := k.Try(first+"\n", k.program, "roland")
			return err
		})
		out, code := k.kpasswd("roland", first, second)
		if told := []string{"Access denied: this server can't change passwords that the tenant keeps; change it in the tenant", "Password changed"}[i]; code != 2-2*i || !strings.Contains(out, told) {
			t.Errorf("kpasswd by replica %d: status %d\n%s", i, code, out)
		}
	}
	replicas[1].mit(t).kinit(second, "roland")
	tenant.signsIn(t, "roland@contoso.test", second)
}

// TestWithoutRoot runs the service as a user without any right, with a private
// PostgreSQL.
func TestWithoutRoot(t *testing.T) {
	t.Parallel()
	var w *world
	if os.Getuid() == 0 {
		const nobody = 65534
		dir, err := os.MkdirTemp("", "skyrealm-nobody-") // t.TempDir's parent is closed to others
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chown(dir, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		w = &world{Server: harness.StartAs(t, &syscall.Credential{Uid: nobody, Gid: nobody}, filepath.Join(dir, "data"))}
	} else {
		w = &world{Server: harness.Start(t)}
	}
	w.signsIn(t, w.AdminUPN, w.AdminPassword())
	w.mit(t).kinit(w.AdminPassword(), "admin")
	err := filepath.WalkDir(w.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // PostgreSQL removes files as it goes
		}
		if info, err := d.Info(); err == nil && info.Mode().Perm()&0o077 != 0 && info.Mode().IsRegular() && strings.HasSuffix(path, "-key.pem") {
			return fmt.Errorf("%s has the mode %v", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.Stop()
	w.Run()
	w.mit(t).kinit(w.AdminPassword(), "admin")
}

// TestInterrupted: a service that is told to stop while it starts ends as cleanly.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	var out bytes.Buffer
	cmd := exec.Command(harness.Binary(t), append([]string{"serve", "--data", dir}, freePorts...)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	harness.WaitFor(t, "the data directory", func() error {
		_, err := os.Stat(filepath.Join(dir, "pg"))
		return err
	})
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if err != nil || strings.Contains(out.String(), "skyrealm: ") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	// What the interrupted start left does no harm.
	s := harness.StartIn(t, dir)
	(&world{Server: s}).signsIn(t, s.AdminUPN, s.AdminPassword())
}

// TestDemo: the story holds from its first step to its last, also where another
// program has one of the usual ports, and leaves nothing behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "127.0.0.1:10443"); err == nil { // else another program has it, which is as good
		defer l.Close()
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), "demo", "--exit", "--users", "100")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("demo: %v", err)
	}
	for n := 1; n <= 9; n++ {
		says(t, string(out), fmt.Sprintf("ok   %2d  ", n))
	}
	if strings.Contains(string(out), "FAIL") || strings.Contains(string(out), "\x1b") || t.Failed() {
		t.Errorf("the story was:\n%s", out)
	}
	empty(t, dir)
}

// TestDemoStaysUp: what the demo prints for newcomers to paste works, and Ctrl-C
// ends it.
func TestDemoStaysUp(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"kinit", "kvno", "klist", "ldapsearch", "curl"} {
		harness.Need(t, client)
	}
	dir := t.TempDir()
	cmd := exec.Command(harness.Binary(t), "demo", "--users", "20")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stdout, cmd.Stderr = stdout, stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := sync.OnceValue(func() error { _ = cmd.Process.Signal(os.Interrupt); return cmd.Wait() })
	defer stop()
	var out []byte
	harness.WaitFor(t, "the end of the story", func() error {
		if out, err = os.ReadFile(stdout.Name()); err == nil && !bytes.Contains(out, []byte("Ctrl-C stops the demo")) {
			err = fmt.Errorf("so far:\n%s", out)
		}
		return err
	})
	told := pasted(t, string(out), "In another terminal:\n", "\nThese are throw-away accounts.")
	says(t, told, "HTTP/web.aadds.contoso.test@AADDS.CONTOSO.TEST: kvno = 1", "memberOf: CN=Flight Crew,", `"access_token":"`)
	if err := stop(); err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}
	empty(t, dir)
}

// empty: nothing was left behind.
func empty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

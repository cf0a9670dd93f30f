package harness

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Need finds a program that the test can't do without. On a bare machine the
// test is skipped and says so; under CONFORMANCE=require, as ./test/all runs
// it, it fails.
func Need(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("SKYREALM_HEIMDAL"); dir != "" {
		if path := filepath.Join(dir, name); executable(path) {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatalf("%s is not installed (./test/all installs it)", name)
		}
		t.Skipf("%s is not installed (./test/all installs it)", name)
	}
	return path
}

// NeedFile is [Need] for what no PATH leads to: it returns the newest file that a
// pattern matches.
func NeedFile(t testing.TB, pattern string) string {
	t.Helper()
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatalf("%s is not there (./test/all installs it)", pattern)
		}
		t.Skipf("%s is not there (./test/all installs it)", pattern)
	}
	return found[len(found)-1]
}

// NeedPKINIT is [Need] for the part of MIT's kinit that signs in with
// certificates.
func NeedPKINIT(t testing.TB) {
	t.Helper()
	for _, at := range []string{"/usr/lib/*/krb5/plugins/preauth/pkinit.so", "/usr/lib*/krb5/plugins/preauth/pkinit.so"} {
		if found, _ := filepath.Glob(at); len(found) > 0 {
			return
		}
	}
	if os.Getenv("CONFORMANCE") == "require" {
		t.Fatal("krb5-pkinit is not installed (./test/all installs it)")
	}
	t.Skip("krb5-pkinit is not installed (./test/all installs it)")
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&0o111 != 0
}

// Client is a place for client programs: their environment, and a credential
// cache that no other test shares.
type Client struct {
	t   testing.TB
	env []string
}

// Client returns the environment in which Kerberos and LDAP clients find the
// service.
func (s *Server) Client(t testing.TB) *Client {
	t.Helper()
	return &Client{t: t, env: append(os.Environ(),
		"KRB5_CONFIG="+s.Krb5Conf,
		"KRB5CCNAME=FILE:"+filepath.Join(t.TempDir(), "ccache"),
		"LDAPTLS_CACERT="+s.CAFile,
		"LDAPCONF=/dev/null", // not the ldap.conf of the machine
		"LC_ALL=C.UTF-8",
	)}
}

// Setenv sets a variable for the programs that are run from now on.
func (c *Client) Setenv(name, value string) { c.env = append(c.env, name+"="+value) }

// Try runs a program and returns all that it prints.
func (c *Client) Try(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = c.env
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Run is Try for a program that has to succeed.
func (c *Client) Run(stdin, name string, args ...string) string {
	c.t.Helper()
	out, err := c.Try(stdin, name, args...)
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return out
}

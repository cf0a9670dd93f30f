package onprem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/test/harness"
)

// cloud is a tenant with its managed domain, and an agent that feeds it.
type cloud struct {
	*harness.Server
	t     testing.TB
	dc    *dc
	state string
	log   bytes.Buffer // of all runs of the agent
	flags []string
	admin *ldap.Conn
}

func startCloud(t testing.TB, d *dc, flags ...string) *cloud {
	t.Helper()
	c := &cloud{Server: harness.Start(t, "--tenant-domain", "corp.test", "--domain", "aadds.corp.test"), t: t, dc: d,
		state: filepath.Join(t.TempDir(), "state"), flags: flags}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent's log:\n%s", c.log.String())
		}
	})
	return c
}

// command is the agent; the password of its account is in the environment.
func (c *cloud) command(ctx context.Context, verb string, more ...string) *exec.Cmd {
	args := slices.Concat([]string{"agent", verb, "--ad", c.dc.address, "--ad-user", syncUser, "--state", c.state}, c.flags, more)
	cmd := exec.CommandContext(ctx, harness.Binary(c.t), args...)
	cmd.Env = append(os.Environ(), "SKYREALM_DATA="+c.Dir, "SKYREALM_AD_PASSWORD="+syncPass)
	return cmd
}

// agent runs the agent to its end and returns what it printed, and its status.
func (c *cloud) agent(verb string, more ...string) (string, int) {
	c.t.Helper()
	cmd := c.command(c.t.Context(), verb, more...)
	var out bytes.Buffer
	from := c.log.Len()
	cmd.Stdout, cmd.Stderr = &out, &c.log
	err := cmd.Run()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	return out.String() + c.log.String()[from:], cmd.ProcessState.ExitCode()
}

// cycle is a run of the agent that has to do all.
func (c *cloud) cycle(more ...string) string {
	c.t.Helper()
	out, status := c.agent("once", more...)
	if status != 0 {
		c.t.Fatalf("agent once: status %d\n%s", status, out)
	}
	return out
}

// kinit tries to get a ticket in the managed domain, with AES-256 and nothing
// else, and returns what the client did.
func (c *cloud) kinit(user, password string) (string, error) {
	own := filepath.Join(c.t.TempDir(), "krb5.conf")
	if err := os.WriteFile(own, []byte("[libdefaults]\npermitted_enctypes = aes256-cts-hmac-sha1-96\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	client := c.Client(c.t)
	client.Setenv("KRB5_CONFIG", own+":"+c.Krb5Conf)
	client.Setenv("KRB5_TRACE", "/dev/stderr")
	out, err := client.Try(password+"\n", harness.Need(c.t, "kinit"), user+"@"+c.Realm)
	if err == nil {
		out += client.Run("", harness.Need(c.t, "klist"), "-e")
	}
	return out, err
}

// bind tries an LDAP bind with the sign-in name.
func (c *cloud) bind(user, password string) error {
	out, err := c.Client(c.t).Try("", harness.Need(c.t, "ldapwhoami"), "-x", "-H", "ldaps://"+c.LDAPS, "-D", user+"@corp.test", "-w", password)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// signsIn waits until a password is good for Kerberos and LDAP.
func (c *cloud) signsIn(user, password string) string {
	c.t.Helper()
	trace := ""
	harness.WaitFor(c.t, user+" to sign in", func() error {
		out, err := c.kinit(user, password)
		trace = out
		return err
	})
	if err := c.bind(user, password); err != nil {
		c.t.Errorf("%s has a ticket and can't bind: %v", user, err)
	}
	return trace
}

// refused checks that a password is not good any more.
func (c *cloud) refused(user, password string) {
	c.t.Helper()
	if out, err := c.kinit(user, password); err == nil {
		c.t.Errorf("%s gets a ticket\n%s", user, out)
	}
	if err := c.bind(user, password); err == nil {
		c.t.Errorf("%s can bind", user)
	}
}

// find searches the managed domain as its administrator.
func (c *cloud) find(filter string, attributes ...string) []*ldap.Entry {
	c.t.Helper()
	if c.admin == nil {
		conn, err := ldap.DialURL("ldaps://"+c.LDAPS, ldap.DialWithTLSConfig(c.TLS()))
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() { conn.Close() })
		if err := conn.Bind(c.AdminUPN, c.AdminPassword()); err != nil {
			c.t.Fatal(err)
		}
		c.admin = conn
	}
	found, err := c.admin.SearchWithPaging(ldap.NewSearchRequest(c.BaseDN, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter, attributes, nil), 500)
	if err != nil {
		c.t.Fatalf("%s: %v", filter, err)
	}
	return found.Entries
}

// becomes waits until a search finds as many.
func (c *cloud) becomes(filter string, want int) {
	c.t.Helper()
	harness.WaitFor(c.t, filter, func() error {
		if n := len(c.find(filter, "cn")); n != want {
			return fmt.Errorf("%w: %d found, want %d", errNotYet, n, want)
		}
		return nil
	})
}

func contains(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q is missing in:\n%s", p, text)
		}
	}
}

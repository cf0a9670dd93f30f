package network

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const adaPassword = "Analytical-Engine-1843"

// clubs make crowd's ticket longer than an answer over UDP may be.
const clubs = 300

// start is a service with two people: ada, and crowd, who is in many groups.
func start(t *testing.T, flags ...string) *harness.Server {
	t.Helper()
	for _, client := range []string{"kinit", "kvno", "kpasswd", "ldapwhoami"} {
		harness.Need(t, client)
	}
	s := harness.Start(t, flags...)
	var groups []string
	for i := range clubs {
		groups = append(groups, fmt.Sprintf(`"Club %03d"`, i))
	}
	people := filepath.Join(t.TempDir(), "people.jsonl")
	text := fmt.Sprintf(`{"userPrincipalName":"ada@contoso.test","sAMAccountName":"ada","password":%q}
{"userPrincipalName":"crowd@contoso.test","sAMAccountName":"crowd","password":%[1]q,"memberOf":[%s]}
`, adaPassword, strings.Join(groups, ","))
	if err := os.WriteFile(people, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Skyrealm(t.Context(), nil, "agent", "push", people); err != nil {
		t.Fatalf("agent push: %v\n%s", err, out)
	}
	return s
}

// through is a client that finds the service behind relays, of which kpasswd may
// be nil. Lines of krb5.conf go before the service's.
func through(t *testing.T, s *harness.Server, kdc, kpasswd *relay, lines ...string) *harness.Client {
	t.Helper()
	text, err := os.ReadFile(s.Krb5Conf)
	if err != nil {
		t.Fatal(err)
	}
	conf := strings.ReplaceAll(string(text), s.KDC, kdc.addr)
	if kpasswd != nil {
		conf = strings.ReplaceAll(conf, s.Kpasswd, kpasswd.addr)
	}
	path := filepath.Join(t.TempDir(), "krb5.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return configured(t, s, path, lines...)
}

// configured is a client with lines of its own before a krb5.conf.
func configured(t *testing.T, s *harness.Server, conf string, lines ...string) *harness.Client {
	t.Helper()
	own := filepath.Join(t.TempDir(), "krb5.conf")
	if err := os.WriteFile(own, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := s.Client(t)
	c.Setenv("KRB5_CONFIG", own+":"+conf)
	return c
}

// tracing is what MIT's clients say of themselves while do runs them.
func tracing(t *testing.T, c *harness.Client, do func()) string {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	c.Setenv("KRB5_TRACE", trace)
	do()
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func traced(t *testing.T, c *harness.Client, name string) string {
	t.Helper()
	return tracing(t, c, func() { c.Run(adaPassword+"\n", "kinit", name) })
}

// TestLoss: a fifth of all datagrams is lost, and everybody signs in, by trying
// again and by TCP (trust.md F29).
func TestLoss(t *testing.T) {
	s := start(t)
	r := newRelay(t, s.KDC, 0.2)
	const people = 12
	t.Run("people", func(t *testing.T) {
		for range people {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				c := through(t, s, r, nil)
				c.Run(adaPassword+"\n", "kinit", "ada")
				c.Run("", "kvno", "ldap/dc1.aadds.contoso.test")
			})
		}
	})
	through(t, s, r, nil).Run(adaPassword+"\n", "kinit", "crowd")
	if n := r.lost.Load(); n == 0 {
		t.Error("nothing was lost")
	}
	if r.streams.Load() == 0 {
		t.Error("nobody came by TCP")
	}
	t.Logf("%d sign-ins and tickets, %d datagrams lost, %d connections", people, r.lost.Load(), r.streams.Load())
}

// alone runs the test in a network namespace that has nothing but what setup
// makes, and reports whether this is the process that is in there.
func alone(t *testing.T, setup ...string) bool {
	t.Helper()
	const inside = "SKYREALM_TEST_NETWORK"
	if os.Getenv(inside) == t.Name() {
		for _, line := range setup {
			if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v\n%s", line, err, out)
			}
		}
		return true
	}
	if os.Getuid() != 0 {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal("a network namespace needs root")
		}
		t.Skip("a network namespace needs root")
	}
	harness.Need(t, "ip")
	harness.Need(t, "kinit")
	// The namespace goes with its last process.
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), inside+"="+t.Name(), harness.Program+"="+harness.Binary(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// TestIPv6Only: there is no other address than an IPv6 one.
func TestIPv6Only(t *testing.T) {
	t.Parallel()
	if !alone(t, "link set lo up", "addr flush dev lo scope host", "-6 addr add fd00:5::1/128 dev lo nodad") {
		return
	}
	if c, err := net.Dial("udp4", "127.0.0.1:88"); err == nil {
		c.Close()
		t.Fatal("there is an IPv4 address")
	}
	s := start(t, "--listen", "fd00:5::1")
	c := s.Client(t)
	if trace := traced(t, c, "ada"); !strings.Contains(trace, "UDP request to dgram fd00:5::1") {
		t.Errorf("not by IPv6:\n%s", trace)
	}
	if trace := traced(t, c, "crowd"); !strings.Contains(trace, "TCP connection") {
		t.Errorf("not by TCP:\n%s", trace)
	}
	c.Run("", "kvno", "ldap/dc1.aadds.contoso.test")
	out := c.Run("", "ldapwhoami", "-x", "-H", "ldaps://"+s.LDAPS, "-D", "ada@contoso.test", "-w", adaPassword)
	if !strings.Contains(strings.ToLower(out), "ada") {
		t.Errorf("whoami: %s", out)
	}
}

// TestShortFrames: frames of 576 octets. Answers that fit a datagram come in parts,
// others by TCP.
func TestShortFrames(t *testing.T) {
	t.Parallel()
	if !alone(t, "link set lo mtu 576 up") {
		return
	}
	s := start(t)
	traced(t, s.Client(t), "ada") // by either
	if trace := traced(t, s.Client(t), "crowd"); !strings.Contains(trace, "too big for UDP") || !strings.Contains(trace, "TCP connection") {
		t.Errorf("not by TCP:\n%s", trace)
	}
	s.Stop()
	s.Restart("--max-udp-reply", "4096")
	if trace := traced(t, s.Client(t), "crowd"); strings.Contains(trace, "TCP connection") {
		t.Errorf("not in parts:\n%s", trace)
	}
}

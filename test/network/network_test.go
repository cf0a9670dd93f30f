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
	"time"

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

func traced(t *testing.T, c *harness.Client, name string) string {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	c.Setenv("KRB5_TRACE", trace)
	c.Run(adaPassword+"\n", "kinit", name)
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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

// TestSlow: 2,000 connections that send an octet now and then hold nobody up, and
// are closed when the time for a request is over (trust.md F10).
func TestSlow(t *testing.T) {
	const slow = 2000
	s := start(t)
	before := metrics(t, s)
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range slow {
		c, err := net.Dial("tcp", s.KDC)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := c.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	harness.WaitFor(t, "all of them to be accepted", func() error {
		if n := metrics(t, s)["process_open_fds"] - before["process_open_fds"]; n < slow/2 || n > slow+50 {
			return fmt.Errorf("%v descriptors for %d connections", n, slow)
		}
		return nil
	})
	c := configured(t, s, s.Krb5Conf, "[libdefaults]", "udp_preference_limit = 1")
	const times = 5
	for i := range times {
		at := time.Now()
		if trace := traced(t, c, "ada"); !strings.Contains(trace, "TCP connection") || strings.Contains(trace, "UDP request") {
			t.Errorf("not by TCP:\n%s", trace)
		}
		// Behind the slow ones it would take until they are closed.
		if took := time.Since(at); took > 8*time.Second {
			t.Errorf("a sign-in took %v", took)
		}
		// Another octet does not make the time longer.
		for _, c := range conns[i*slow/times : (i+1)*slow/times] {
			_, _ = c.Write([]byte{0})
		}
	}
	for _, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(harness.Patience))
		if n, err := c.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
			t.Fatalf("a slow connection got %d octets, %v", n, err)
		}
	}
	if took := time.Since(began); took > harness.Patience {
		t.Errorf("the last slow connection was closed after %v", took)
	}
	harness.WaitFor(t, "the descriptors to be given back", func() error {
		if n := metrics(t, s)["process_open_fds"]; n > before["process_open_fds"]+20 {
			return fmt.Errorf("%v are open", n)
		}
		return nil
	})
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
	cmd.Env = append(os.Environ(), inside+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// TestIPv6Only: there is no other address than an IPv6 one.
func TestIPv6Only(t *testing.T) {
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

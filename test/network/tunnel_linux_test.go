package network

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"skyrealm/test/harness"
)

const (
	serverEnd = "10.4.0.1"
	clientEnd = "10.4.0.2"
)

// tunnel is one end of a link: what a machine sends on it is read, and what is
// written comes in. It is in the network namespace of the calling thread, and goes
// when it is closed.
func tunnel(t *testing.T, name, address string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	of, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	of.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, of); err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name) // not before: nothing can be waited for on no interface
	t.Cleanup(func() { f.Close() })
	for _, line := range []string{"link set lo up", "addr add " + address + "/24 dev " + name, "link set " + name + " up"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", line, err, out)
		}
	}
	return f
}

// lossy carries TCP's segments one way and loses some of them, but never more than two
// in a row: how long a client waits for a fourth attempt is its own matter. It carries
// nothing else, as clients who wait try UDP beside it.
type lossy struct {
	rand           *rand.Rand
	loss           float64
	carried, drops atomic.Int64
}

func (l *lossy) carry(from, to *os.File) {
	row := 0
	for buf := make([]byte, 64<<10); ; {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if n < 20 || buf[0]>>4 != 4 || buf[9] != unix.IPPROTO_TCP {
			continue
		}
		if row < 2 && l.rand.Float64() < l.loss {
			row++
			l.drops.Add(1)
			continue
		}
		row = 0
		l.carried.Add(1)
		_, _ = to.Write(buf[:n])
	}
}

// TestSegmentLoss: a fifth of all segments of either direction is lost, and everybody
// is served by TCP all the same: tickets, a password, an answer of many segments, and TLS
// (trust.md F29).
func TestSegmentLoss(t *testing.T) {
	t.Parallel()
	harness.NeedFile(t, "/dev/net/tun")
	if !alone(t) {
		return
	}
	for _, client := range []string{"kinit", "kvno", "kpasswd", "ldapsearch"} {
		harness.Need(t, client)
	}
	near := tunnel(t, "server0", serverEnd)
	s := start(t, "--listen", serverEnd)

	// The clients' namespace is this thread's, and so that of all that is started from
	// here on. It goes with the test.
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	far := tunnel(t, "client0", clientEnd)
	there, back := &lossy{rand: rand.New(rand.NewPCG(3, 1)), loss: 0.2}, &lossy{rand: rand.New(rand.NewPCG(3, 2)), loss: 0.2}
	go there.carry(far, near)
	go back.carry(near, far)

	c := configured(t, s, s.Krb5Conf, "[libdefaults]", "udp_preference_limit = 1", "[realms]", s.Realm+" = {", "kpasswd_server = tcp/"+s.Kpasswd, "}")
	for range 2 {
		c.Run(adaPassword+"\n", "kinit", "crowd")
		c.Run("", "kvno", "ldap/dc1.aadds.contoso.test")
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(adaPassword), 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.Run("", "ldapsearch", "-x", "-LLL", "-H", "ldap://"+s.LDAP, "-D", "ada@contoso.test", "-y", password, "-b", s.BaseDN, "(sAMAccountName=Club*)")
	if n := strings.Count(out, "\ndn: "); n < clubs-1 {
		t.Errorf("%d of %d groups are found", n, clubs)
	}
	c.Run("", "ldapwhoami", "-x", "-H", "ldaps://"+s.LDAPS, "-D", "ada@contoso.test", "-y", password)

	const changed = "Changed-On-A-Bad-Line-1"
	c.Run(s.AdminPassword()+"\n"+changed+"\n"+changed+"\n", "kpasswd", "admin")
	c.Run(changed+"\n", "kinit", "admin")
	for name, l := range map[string]*lossy{"requests": there, "answers": back} {
		carried, lost := l.carried.Load(), l.drops.Load()
		if lost*10 < carried {
			t.Errorf("%s: only %d segments were lost beside %d", name, lost, carried)
		}
		t.Logf("%s: %d segments came through, %d were lost", name, carried, lost)
	}
}

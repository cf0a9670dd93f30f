package onprem

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/test/harness"
)

const (
	realm      = "CORP.TEST"
	naming     = "DC=corp,DC=test"
	adminPass  = "Adm1n-Passw0rd!"
	syncPass   = "Sync-Passw0rd!"
	syncUser   = `CORP\sync`
	startLimit = 30 * time.Second
)

// dc is a domain controller.
type dc struct {
	t       testing.TB
	dir     string
	address string
	ldap    *ldap.Conn // as the administrator
}

// startDC provisions a domain and starts its controller. The test's end stops it.
func startDC(t testing.TB) *dc {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CONFORMANCE") == "require" {
			t.Fatal("a network namespace for the domain controller needs root")
		}
		t.Skip("a network namespace for the domain controller needs root")
	}
	samba := harness.Need(t, "samba")
	for _, name := range []string{"samba-tool", "ip", "nsenter", "mount"} {
		harness.Need(t, name)
	}
	d := &dc{t: t, dir: filepath.Join(t.TempDir(), "dc")}
	d.tool("domain", "provision", "--realm="+realm, "--domain=CORP", "--server-role=dc", "--dns-backend=NONE", "--adminpass="+adminPass,
		"--targetdir="+d.dir, "--host-name=dc1", "--host-ip=127.0.0.1")
	d.start(samba)
	harness.WaitFor(t, "the domain controller to answer", func() error {
		for _, port := range []string{"135", "389", "636"} {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(d.address, port), time.Second)
			if err != nil {
				return err
			}
			conn.Close()
		}
		return nil
	})
	conn, err := ldap.DialURL("ldaps://"+d.address, ldap.DialWithTLSConfig(&tls.Config{InsecureSkipVerify: true})) // made at the start, by itself
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.Bind("Administrator@"+realm, adminPass); err != nil {
		t.Fatal(err)
	}
	d.ldap = conn

	// The account of the agent has the two rights and no other.
	d.local("user", "create", "sync", syncPass)
	for _, right := range []string{"get-changes", "get-changes-all"} {
		d.local("dsacl", "set", "--action=allow", "--car="+right, "--objectdn="+naming, "--trusteedn=CN=sync,CN=Users,"+naming)
	}
	return d
}

// start runs samba as the first process of namespaces for processes and network,
// so that it ends with all its children and its network when it is killed, and
// is killed when the test is.
func (d *dc) start(samba string) {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.dir, "samba.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	pid := os.Getpid()
	at := [4]byte{10, byte(200 + pid>>14&31), byte(pid >> 6), byte(pid << 2)}
	host, device := fmt.Sprintf("%d.%d.%d.%d", at[0], at[1], at[2], at[3]|1), fmt.Sprintf("sky%d", pid)
	d.address = fmt.Sprintf("%d.%d.%d.%d", at[0], at[1], at[2], at[3]|2)

	cmd := exec.Command("sh", "-c", `read -r go && mount --make-rprivate / && mount -t proc proc /proc && exec "$@"`, "sh",
		samba, "--interactive", "--model=single", "--debug-stdout", "--debuglevel=1", "--configfile="+d.conf(),
		"--option=server services=rpc,ldap,kdc", "--option=bind interfaces only=yes", "--option=interfaces=lo "+d.address,
		"--option=drs:max object sync=100", "--option=drs:max link sync=20", // several replies to a read
		"--option=pid directory="+d.dir, "--option=ncalrpc dir="+filepath.Join(d.dir, "ncalrpc"))
	cmd.Env = append(os.Environ(), "TDB_NO_FSYNC=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // Pdeathsig counts from the thread that forked
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // the way it ends is ours
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		stdin.Close() // samba ends with its standard input
		select {
		case <-ended:
		case <-time.After(3 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if d.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			d.t.Logf("samba's last lines:\n%s", text[max(0, len(text)-4096):])
		}
		log.Close()
	})
	inside := []string{"nsenter", "-t", fmt.Sprint(cmd.Process.Pid), "-n"}
	for _, line := range [][]string{
		{"ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(cmd.Process.Pid)},
		{"ip", "address", "add", host + "/30", "dev", device},
		{"ip", "link", "set", device, "up"},
		append(inside, "ip", "address", "add", d.address+"/30", "dev", "eth0"),
		append(inside, "ip", "link", "set", "eth0", "up"),
		append(inside, "ip", "link", "set", "lo", "up"),
	} {
		if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
			d.t.Fatalf("%s: %v\n%s", strings.Join(line, " "), err, out)
		}
	}
	if _, err := io.WriteString(stdin, "go\n"); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dc) conf() string { return filepath.Join(d.dir, "etc", "smb.conf") }

func (d *dc) tool(args ...string) {
	d.t.Helper()
	cmd := exec.Command("samba-tool", args...)
	cmd.Env = append(os.Environ(), "TDB_NO_FSYNC=1", "LC_ALL=C.UTF-8") // the directory goes away with the test
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("samba-tool %s: %v\n%s", strings.Join(args[:2], " "), err, out)
	}
}

// local is samba-tool on the controller's own database.
func (d *dc) local(args ...string) {
	d.t.Helper()
	d.tool(append(args, "-H", filepath.Join(d.dir, "private", "sam.ldb"), "-s", d.conf())...)
}

// add makes a user over LDAP, with a password where there is one.
func (d *dc) add(ou, name, password string, classes ...string) {
	d.t.Helper()
	r := ldap.NewAddRequest("CN="+name+","+ou, nil)
	r.Attribute("objectClass", append([]string{"user"}, classes...))
	r.Attribute("sAMAccountName", []string{name})
	r.Attribute("userPrincipalName", []string{name + "@corp.test"})
	r.Attribute("displayName", []string{"The " + name})
	if password != "" {
		r.Attribute("unicodePwd", []string{quoted(password)})
		r.Attribute("userAccountControl", []string{"512"})
	}
	d.do("add "+name, d.ldap.Add(r))
}

func (d *dc) do(what string, err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("%s: %v", what, err)
	}
}

// set replaces an attribute; without values it is cleared.
func (d *dc) set(dn, name string, values ...string) {
	d.t.Helper()
	r := ldap.NewModifyRequest(dn, nil)
	r.Replace(name, values)
	d.do("set "+name, d.ldap.Modify(r))
}

// password changes a password as an administrator does.
func (d *dc) password(dn, password string) {
	d.t.Helper()
	d.set(dn, "unicodePwd", quoted(password))
}

func (d *dc) move(dn, rdn, to string) {
	d.t.Helper()
	d.do("move "+dn, d.ldap.ModifyDN(ldap.NewModifyDNRequest(dn, rdn, true, to)))
}

func (d *dc) delete(dn string) {
	d.t.Helper()
	d.do("delete "+dn, d.ldap.Del(ldap.NewDelRequest(dn, nil)))
}

func (d *dc) ou(name string) string {
	d.t.Helper()
	dn := "OU=" + name + "," + naming
	r := ldap.NewAddRequest(dn, nil)
	r.Attribute("objectClass", []string{"organizationalUnit"})
	d.do("add "+dn, d.ldap.Add(r))
	return dn
}

// group makes a security group.
func (d *dc) group(ou, name string, members ...string) string {
	d.t.Helper()
	dn := "CN=" + name + "," + ou
	r := ldap.NewAddRequest(dn, nil)
	r.Attribute("objectClass", []string{"group"})
	r.Attribute("sAMAccountName", []string{name})
	if len(members) > 0 {
		r.Attribute("member", members)
	}
	d.do("add "+dn, d.ldap.Add(r))
	return dn
}

// quoted is a password as unicodePwd takes it ([MS-ADTS] §3.1.1.3.1.5).
func quoted(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

var errNotYet = errors.New("not yet")

package ldapsrv

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/test/harness"
)

var update = flag.Bool("update", false, "record the conversations in testdata anew, with OpenLDAP's clients")

// conversations are what real clients say. Their recordings are replayed, and
// every byte of the answers is compared: the clock and all ids are the test's.
var conversations = []struct {
	name   string
	status int
	args   []string // URL goes in behind the program
}{
	{"rootdse", 0, []string{"ldapsearch", "-x", "-s", "base", "-b", "", "*", "+"}},
	{"users", 0, []string{"ldapsearch", "-x", "-D", "ada@contoso.test", "-w", adaPW, "-b", usersOU,
		"(&(objectClass=user)(|(cn=Ada*)(sAMAccountName=bjorn)))", "*", "memberOf", "tokenGroups", "unicodePwd"}},
	{"paged", 0, []string{"ldapsearch", "-x", "-D", adaDN, "-w", adaPW, "-b", base, "-E", "pr=3/noprompt", "(objectClass=group)", "member"}},
	{"refused", 49, []string{"ldapwhoami", "-x", "-D", `AADDS\ada`, "-w", "wrong"}},
	{"whoami", 0, []string{"ldapwhoami", "-x", "-D", "bjorn@contoso.test", "-w", bornPW}},
	{"anonymous", 1, []string{"ldapsearch", "-x", "-b", base, "(cn=ada*)"}},
	{"absent", 32, []string{"ldapsearch", "-x", "-D", adaDN, "-w", adaPW, "-b", "OU=none," + base}},
	{"compare", 6, []string{"ldapcompare", "-x", "-D", adaDN, "-w", adaPW, adaDN, "sAMAccountName:ADA"}},
	{"delete", 53, []string{"ldapdelete", "-x", "-D", adaDN, "-w", adaPW, adaDN}},
}

func TestConversations(t *testing.T) {
	r := people(t).replica()
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join("testdata", c.name+".txt")
			if *update {
				record(t, r, file, c.args, c.status)
			}
			replay(t, r, file)
		})
	}
}

// flow is what one side says before the other does.
type flow struct {
	server bool
	data   []byte
}

// recorder passes a connection on and keeps what goes through.
type recorder struct {
	net.Conn
	flows []flow
}

func (r *recorder) add(server bool, b []byte) {
	if n := len(r.flows); n == 0 || r.flows[n-1].server != server {
		r.flows = append(r.flows, flow{server: server})
	}
	last := &r.flows[len(r.flows)-1]
	last.data = append(last.data, b...)
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if n > 0 {
		r.add(false, b[:n])
	}
	return n, err
}

func (r *recorder) Write(b []byte) (int, error) {
	r.add(true, b)
	return r.Conn.Write(b)
}

func record(t *testing.T, replica *domain.Replica, file string, args []string, status int) {
	program := harness.Need(t, args[0])
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var rec recorder
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		rec.Conn = conn
		s := newServer(t, replica)
		s.serveConn(newSession(s, t.Context(), &rec), false)
	}()
	cmd := exec.CommandContext(t.Context(), program, append([]string{"-H", "ldap://" + ln.Addr().String()}, args[1:]...)...)
	cmd.Env = append(os.Environ(), "LDAPCONF=/dev/null")
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("%s: status %d, %v\n%s", args[0], got, err, out)
	}
	<-done
	var b strings.Builder
	// No password and no name in here is anyone's.
	fmt.Fprintf(&b, "%q\n", args)
	for _, f := range rec.flows {
		who := "client"
		if f.server {
			who = "server"
		}
		fmt.Fprintf(&b, ">>> %s\n%s", who, hex.Dump(f.data))
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

var dumpLine = regexp.MustCompile(`(?m)^[0-9a-f]{8}  ((?:[0-9a-f]{2} {1,2}){1,16})`)

func load(t testing.TB, file string) (flows []flow) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), ">>> ")[1:] {
		f := flow{server: strings.HasPrefix(part, "server")}
		for _, line := range dumpLine.FindAllStringSubmatch(part, -1) {
			b, err := hex.DecodeString(strings.ReplaceAll(line[1], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			f.data = append(f.data, b...)
		}
		flows = append(flows, f)
	}
	if len(flows) < 2 {
		t.Fatalf("%s holds no conversation", file)
	}
	return flows
}

func replay(t *testing.T, replica *domain.Replica, file string) {
	client, server := net.Pipe()
	s := newServer(t, replica)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serveConn(newSession(s, t.Context(), server), false)
	}()
	defer func() { client.Close(); <-done }()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	for i, f := range load(t, file) {
		if !f.server {
			if _, err := client.Write(f.data); err != nil {
				t.Fatalf("flow %d: %v", i, err)
			}
			continue
		}
		got := make([]byte, len(f.data))
		n, err := io.ReadFull(client, got)
		if err != nil || !bytes.Equal(got, f.data) {
			t.Fatalf("flow %d: %v; the server says\n%swant\n%s", i, err, hex.Dump(got[:n]), hex.Dump(f.data))
		}
	}
	// Nothing comes after it: the unbind was the last.
	if n, err := client.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		t.Errorf("after the last flow: %d bytes, %v", n, err)
	}
}

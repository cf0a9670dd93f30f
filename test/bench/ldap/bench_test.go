// Package ldap measures the directory server beside vjeantet/ldapserver, each in
// a process of its own with one core, under one generator in the same run.
//
//	go test -run - -bench . ./test/bench/ldap
//
// The generator writes requests that were encoded before and reads answers whose
// length it knows, so the other core is enough to keep a server busy. A load is
// given to both in turns, which keeps what else the machine does out of their
// ratio. CPU time is the server process's own (getrusage).
package ldap

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lor00x/goldap/message"
	"github.com/vjeantet/ldapserver"

	"skyrealm/cred"
	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/ldapsrv"
	"skyrealm/ldapsrv/ldapmsg"
	"skyrealm/sid"
)

// whichEnv names the server that this program is to be, instead of a test.
const whichEnv = "SKYREALM_BENCH_SERVER"

const (
	password = "Analytical-1843"
	objects  = 10000
	base     = "DC=aadds,DC=contoso,DC=test"
	dn       = "CN=Person 04711,OU=AADDC Users," + base
)

// values are the entry that is looked for, ten attributes.
var values = [][2]string{
	{"cn", "Person 04711"}, {"displayName", "Person 04711"}, {"givenName", "Person"}, {"sn", "04711"},
	{"mail", "person04711@contoso.test"}, {"sAMAccountName", "person04711"}, {"userPrincipalName", "person04711@contoso.test"},
	{"department", "Analytical Engines"}, {"telephoneNumber", "+1 555 0104711"}, {"title", "Engineer"},
}

func TestMain(m *testing.M) {
	serve := map[string]func(net.Listener){"skyrealm": serveOurs, "vjeantet": serveTheirs}[os.Getenv(whichEnv)]
	if serve == nil {
		os.Exit(m.Run())
	}
	runtime.GOMAXPROCS(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go serve(ln)
	fmt.Println(ln.Addr())
	// Each line asks for the CPU time so far, and the end of input for the end.
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(u.Utime.Nano() + u.Stime.Nano())
	}
	os.Exit(0)
}

// serveOurs serves a domain of many accounts, through all checks.
func serveOurs(ln net.Listener) {
	info := domain.Info{DNSName: "aadds.contoso.test", NetBIOS: "AADDS", SID: sid.New(5, 21, 1, 2, 3), GUID: domain.ID{1}, DC: "DC1", Created: time.Now()}
	r := domain.NewReplica(info)
	ou := domain.ID{2}
	records := []domain.Record{
		{GUID: info.GUID, USN: 1, Kind: domain.Container, Class: "domainDNS", RDN: "aadds"},
		{GUID: ou, USN: 2, Kind: domain.Container, Class: "organizationalUnit", Parent: info.GUID, RDN: "AADDC Users"},
	}
	nt := cred.NTHashOf(password)
	for i := range objects {
		name := fmt.Sprintf("%05d", i)
		text := func(s string) [][]byte { return [][]byte{[]byte(s)} }
		records = append(records, domain.Record{GUID: domain.ID{3, byte(i >> 8), byte(i)}, USN: domain.USN(i + 3), Kind: domain.User,
			Class: "user", RID: uint32(1100 + i), Parent: ou, RDN: "Person " + name, SAM: "person" + name, UPN: "person" + name + "@contoso.test",
			UAC: domain.UACNormal, Secrets: domain.Secrets{KVNO: 1, Set: info.Created, Current: cred.Legacy{NT: nt}},
			Attrs: map[string][][]byte{"displayName": text("Person " + name), "givenName": text("Person"), "sn": text(name),
				"mail": text("person" + name + "@contoso.test"), "department": text("Analytical Engines"),
				"telephoneNumber": text("+1 555 01" + name), "title": text("Engineer")}})
	}
	if err := r.Apply(records, 0); err != nil {
		panic(err)
	}
	s := &ldapsrv.Server{Replica: r, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	if err := s.Serve(context.Background(), ln, false); err != nil {
		panic(err)
	}
}

// serveTheirs has the handler of the library's own example: it takes the base out
// of the request and answers with one entry, the same every time.
func serveTheirs(ln net.Listener) {
	ldapserver.Logger = ldapserver.DiscardingLogger // it prints passwords
	routes := ldapserver.NewRouteMux()
	routes.Bind(func(w ldapserver.ResponseWriter, m *ldapserver.Message) {
		w.Write(ldapserver.NewBindResponse(ldapserver.LDAPResultSuccess))
	})
	routes.Search(func(w ldapserver.ResponseWriter, m *ldapserver.Message) {
		r := m.GetSearchRequest()
		entry := ldapserver.NewSearchResultEntry("CN=Person 04711,OU=AADDC Users," + string(r.BaseObject()))
		for _, v := range values {
			entry.AddAttribute(message.AttributeDescription(v[0]), message.AttributeValue(v[1]))
		}
		w.Write(entry)
		w.Write(ldapserver.NewSearchResultDoneResponse(ldapserver.LDAPResultSuccess))
	})
	s := ldapserver.NewServer()
	s.Handle(routes)
	err := s.ListenAndServe("127.0.0.1:0", func(s *ldapserver.Server) { s.Listener.Close(); s.Listener = ln })
	panic(err)
}

// child is a server in its process.
type child struct {
	b     testing.TB
	addr  string
	in    io.WriteCloser
	out   *bufio.Scanner
	conns []*conn
}

func spawn(b testing.TB, which string, conns int) *child {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), whichEnv+"="+which)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	c := &child{b: b, in: in, out: bufio.NewScanner(out)}
	b.Cleanup(func() {
		for _, conn := range c.conns {
			conn.Close()
		}
		in.Close()
		cmd.Wait()
	})
	if !c.out.Scan() {
		b.Fatalf("%s does not start", which)
	}
	c.addr = c.out.Text()
	for range conns {
		c.conns = append(c.conns, dial(b, c.addr))
	}
	return c
}

// cpu is what the server has used so far.
func (c *child) cpu() time.Duration {
	if _, err := io.WriteString(c.in, "\n"); err != nil || !c.out.Scan() {
		c.b.Fatal("the server is gone: ", err)
	}
	n, err := strconv.ParseInt(c.out.Text(), 10, 64)
	if err != nil {
		c.b.Fatal(err)
	}
	return time.Duration(n)
}

// conn is a client's connection and the length of what it gets.
type conn struct {
	net.Conn
	answer int
	buf    []byte
}

func dial(b testing.TB, addr string) *conn {
	tcp, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c := &conn{Conn: tcp}
	if _, err := c.Write(bind()); err != nil {
		b.Fatal(err)
	}
	in := bufio.NewReader(c)
	if op, msg := next(b, in); op != ldapmsg.OpBindResponse || !bytes.Contains(msg, []byte{0x0a, 1, 0}) {
		b.Fatalf("bind: %x", msg)
	}
	// Once, to look at it and to learn its length.
	if _, err := c.Write(search(1)); err != nil {
		b.Fatal(err)
	}
	op, entry := next(b, in)
	done, end := next(b, in)
	if op != ldapmsg.OpSearchEntry || done != ldapmsg.OpSearchDone || !bytes.Contains(end, []byte{0x0a, 1, 0}) {
		b.Fatalf("search: %x %x", entry, end)
	}
	for _, v := range values {
		if !bytes.Contains(entry, []byte(v[0])) || !bytes.Contains(entry, []byte(v[1])) {
			b.Fatalf("%s is not in the answer", v[0])
		}
	}
	c.answer = len(entry) + len(end)
	return c
}

func next(b testing.TB, in *bufio.Reader) (der.Tag, []byte) {
	msg, err := ldapmsg.ReadMessage(in, 1<<20, nil)
	if err != nil {
		b.Fatal(err)
	}
	r := der.NewReader(msg)
	body, _ := r.Enter(der.Sequence)
	body.Int32(der.Integer)
	op, _ := body.Peek()
	return op, bytes.Clone(msg)
}

func bind() []byte {
	var w der.Writer
	w.String(der.ContextPrimitive(0), password)
	w.String(der.OctetString, dn)
	w.Int(der.Integer, 3)
	w.Wrap(ldapmsg.OpBindRequest, 0)
	w.Int(der.Integer, 1)
	w.Wrap(der.Sequence, 0)
	return w.Bytes()
}

func search(id int) []byte {
	var w der.Writer
	for i := len(values) - 1; i >= 0; i-- {
		w.String(der.OctetString, values[i][0])
	}
	w.Wrap(der.Sequence, 0)
	end := w.Len()
	w.String(der.OctetString, "person04711")
	w.String(der.OctetString, "sAMAccountName")
	w.Wrap(0xa3, end)
	w.Bool(der.Boolean, false)
	w.Int(der.Integer, 0)
	w.Int(der.Integer, 0)
	w.Int(der.Enumerated, 0)
	w.Int(der.Enumerated, 2)
	w.String(der.OctetString, base)
	w.Wrap(ldapmsg.OpSearchRequest, 0)
	w.Int(der.Integer, int64(id))
	w.Wrap(der.Sequence, 0)
	return w.Bytes()
}

// run gives n searches to the server, shared among its connections, each with
// depth of them under way, and returns how long it took and what it cost.
func (c *child) run(n, depth int) (wall, cpu time.Duration) {
	cpu = c.cpu()
	begin := time.Now()
	var wg sync.WaitGroup
	for i, conn := range c.conns {
		share := n / len(c.conns)
		if i < n%len(c.conns) {
			share++
		}
		wg.Go(func() {
			if err := conn.run(share, depth); err != nil {
				c.b.Error(err)
			}
		})
	}
	wg.Wait()
	wall = time.Since(begin)
	return wall, c.cpu() - cpu
}

func (c *conn) run(n, depth int) error {
	// IDs from 1 to 96: the other server breaks at 128.
	var rounds [][]byte
	for id := 1; id <= 96; id += depth {
		var round []byte
		for i := range depth {
			round = append(round, search(id+i)...)
		}
		rounds = append(rounds, round)
	}
	if need := depth * c.answer; len(c.buf) < need {
		c.buf = make([]byte, need)
	}
	each := len(rounds[0]) / depth
	for i := 0; n > 0; i++ {
		now := min(n, depth)
		if _, err := c.Write(rounds[i%len(rounds)][:now*each]); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, c.buf[:now*c.answer]); err != nil {
			return err
		}
		n -= now
	}
	return nil
}

func BenchmarkSearchOne(b *testing.B) {
	for _, load := range []struct{ conns, depth int }{{1, 1}, {16, 1}, {16, 16}} {
		b.Run(fmt.Sprintf("conns=%d/pipelined=%d", load.conns, load.depth), func(b *testing.B) {
			ours, theirs := spawn(b, "skyrealm", load.conns), spawn(b, "vjeantet", load.conns)
			ours.run(1000, load.depth) // warm
			theirs.run(1000, load.depth)
			const turns = 8
			var wall, cpu [2]time.Duration
			b.ResetTimer()
			for turn := range turns {
				n := b.N / turns
				if turn < b.N%turns {
					n++
				}
				for i, c := range []*child{ours, theirs} {
					w, u := c.run(n, load.depth)
					wall[i] += w
					cpu[i] += u
				}
			}
			b.StopTimer()
			per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(b.N) }
			b.ReportMetric(0, "ns/op") // of both together: nobody's
			b.ReportMetric(per(wall[0]), "ns/search")
			b.ReportMetric(per(wall[1]), "vjeantet-ns/search")
			b.ReportMetric(per(cpu[0]), "cpu-ns/search")
			b.ReportMetric(per(cpu[1]), "vjeantet-cpu-ns/search")
			b.ReportMetric(per(wall[1])/per(wall[0]), "times-faster")
			if cpu[0] > 0 {
				b.ReportMetric(per(cpu[1])/per(cpu[0]), "times-less-cpu")
			}
		})
	}
}

// Both servers answer every load: a benchmark that fails is otherwise seen only
// by who runs it.
func TestLoads(t *testing.T) {
	for _, which := range []string{"skyrealm", "vjeantet"} {
		c := spawn(t, which, 2)
		if wall, _ := c.run(200, 16); wall <= 0 || c.conns[0].answer < 300 {
			t.Errorf("%s: %v for 200 searches with answers of %d bytes", which, wall, c.conns[0].answer)
		}
	}
}

package ldapsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/cred"
	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
	"skyrealm/sid"
	"skyrealm/tenant"
)

const (
	base     = "DC=aadds,DC=contoso,DC=test"
	usersOU  = "OU=AADDC Users," + base
	adaDN    = "CN=Ada Lovelace," + usersOU
	adaPW    = "Analytical-1843"
	bornPW   = "Bjørn-Ünïcödé-密码-🔑"
	adminPW  = "Administrate-1"
	manyPW   = "One of many 1"
	howMany  = 1200 // more than a page
	netbios  = "AADDS"
	fullName = "aadds.contoso.test"
)

var moment = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// fixed is randomness that is the same in every run.
type fixed byte

func (f *fixed) Read(b []byte) (int, error) {
	for i := range b {
		*f = *f*5 + 7
		b[i] = byte(*f)
	}
	return len(b), nil
}

// world is a domain's records, as a store would hand them out.
type world struct {
	t       testing.TB
	records []domain.Record
	users   domain.ID
	usn     domain.USN
	rid     uint32
}

func id(kind byte, n int) domain.ID { return domain.ID{kind, byte(n >> 8), byte(n), 0x40, 14: 1} }

func newInfo() domain.Info {
	return domain.Info{DNSName: fullName, NetBIOS: netbios, SID: sid.New(5, 21, 1, 2, 3), GUID: id(1, 0), DC: "DC1",
		Tenant: id(1, 1), Administrators: id(6, 2), Created: moment}
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, rid: 1100}
	info := newInfo()
	seed := fixed(1)
	records, err := domain.Found(info, &seed)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		records[i].GUID = id(2, i)
		if i == 0 {
			records[i].GUID = info.GUID
		}
	}
	// The ids above are for reading; parents go with them.
	byName := map[string]domain.ID{}
	for _, r := range records {
		byName[r.RDN] = r.GUID
	}
	for i := range records {
		switch r := &records[i]; {
		case i == 0:
		case r.Kind == domain.Container:
			r.Parent = info.GUID
		case r.Kind == domain.Computer:
			r.Parent = byName["Domain Controllers"]
		default:
			r.Parent = byName["Users"]
		}
		w.put(records[i])
	}
	w.users = byName[domain.OUUsers]
	return w
}

func (w *world) put(r domain.Record) domain.Record {
	w.usn++
	r.USN = w.usn
	if r.Kind != domain.Container && r.RID == 0 && !r.Deleted {
		w.rid++
		r.RID = w.rid
	}
	w.records = append(w.records, r)
	return r
}

// user adds a synced user; key derivation is left out where no test signs in.
func (w *world) user(n int, name, sam, password string) domain.Record {
	r := domain.Record{GUID: id(3, n), Source: id(4, n), Kind: domain.User, Class: "user", Parent: w.users, RDN: name, SAM: sam,
		UPN: sam + "@contoso.test", UAC: domain.UACNormal, Created: moment, Changed: moment,
		Attrs: map[string][][]byte{"displayName": {[]byte(name)}, "mail": {[]byte(sam + "@contoso.test")}},
		Secrets: domain.Secrets{KVNO: 1, Set: moment,
			Current: cred.Legacy{NT: cred.NTHashOf(password)}}}
	return w.put(r)
}

func (w *world) group(n int, name string, members ...domain.Record) {
	r := domain.Record{GUID: id(5, n), Source: id(6, n), Kind: domain.Group, Class: "group", Parent: w.users, RDN: name, SAM: name,
		Created: moment, Changed: moment, Attrs: map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}}
	for _, m := range members {
		r.Members = append(r.Members, m.Key())
	}
	w.put(r)
}

func (w *world) replica() *domain.Replica {
	r := domain.NewReplica(newInfo())
	if err := r.Apply(w.records, 1); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// people fills a world with those that the tests know.
func people(t testing.TB) *world {
	w := newWorld(t)
	ada := w.user(1, "Ada Lovelace", "ada", adaPW)
	born := w.user(2, "Bjørn Ærø", "bjorn", bornPW)
	admin := w.user(3, "Grace Hopper", "grace", adminPW)
	off := w.user(4, "Off Duty", "off", adaPW)
	off.UAC |= domain.UACDisabled
	w.put(off)
	change := w.user(5, "Must Change", "change", adaPW)
	change.Secrets.Set = time.Time{}
	w.put(change)
	none := w.user(6, "No Legacy", "none", "x")
	none.Secrets.Current = cred.Legacy{}
	w.put(none)
	w.group(1, "Engineers", ada, born)
	w.group(2, tenant.DCAdministrators, admin)
	return w
}

// crowd is people and many more.
func crowd(t testing.TB) *world {
	w := people(t)
	nt := cred.NTHashOf(manyPW)
	for i := range howMany {
		r := w.user(100+i, fmt.Sprintf("Many %04d", i), fmt.Sprintf("many%04d", i), "")
		r.Secrets.Current.NT = nt
		w.put(r)
	}
	return w
}

// logged is a log for tests to look at.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a running server.
type rig struct {
	*Server
	t     testing.TB
	ldap  string // host:port
	ldaps string
	log   *logged
	roots *x509.CertPool
	pem   string // file of the certificate
	stop  func()
}

var certificate = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, err
})

func newServer(t testing.TB, r *domain.Replica) *Server {
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	return &Server{Replica: r, TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		Now: func() time.Time { return moment }, Log: slog.New(slog.DiscardHandler), Limits: DefaultLimits, Version: "test"}
}

// start serves on free ports until the test ends, and fails it where a
// goroutine stays behind.
func start(t testing.TB, r *domain.Replica, change ...func(*Server)) *rig {
	t.Helper()
	s := newServer(t, r)
	g := &rig{Server: s, t: t, log: &logged{}}
	s.Log = slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(s)
	}
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	serve := func(implicit bool) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() { done <- s.Serve(ctx, ln, implicit) }()
		return ln.Addr().String()
	}
	g.ldap, g.ldaps = serve(false), serve(true)
	g.stop = sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() {
		g.stop()
		if n := s.Counters.Open.Load(); n != 0 {
			t.Errorf("%d connections are left open", n)
		}
		for wait := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
			// Clients of this test have goroutines too, that end soon.
			if time.Now().After(wait) {
				buf := make([]byte, 1<<16)
				buf = buf[:runtime.Stack(buf, true)]
				if strings.Contains(string(buf), "ldapsrv.(*session)") || strings.Contains(string(buf), "ldapsrv.(*Server)") {
					t.Errorf("goroutines are left:\n%s", buf)
				}
				break
			}
		}
		if n := s.Counters.Internal.Load(); n != 0 {
			t.Errorf("%d internal errors:\n%s", n, g.log)
		}
	})
	cert, err := certificate()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	g.roots = x509.NewCertPool()
	g.roots.AddCert(leaf)
	return g
}

func (g *rig) clientTLS() *tls.Config { return &tls.Config{RootCAs: g.roots, ServerName: "localhost"} }

// dial connects with go-ldap.
func (g *rig) dial(urls ...string) *ldap.Conn {
	g.t.Helper()
	url := "ldap://" + g.ldap
	if len(urls) > 0 {
		url = urls[0]
	}
	c, err := ldap.DialURL(url, ldap.DialWithTLSConfig(g.clientTLS()))
	if err != nil {
		g.t.Fatal(err)
	}
	c.SetTimeout(10 * time.Second)
	g.t.Cleanup(func() { c.Close() })
	return c
}

// bound connects and signs in.
func (g *rig) bound(name, password string) *ldap.Conn {
	g.t.Helper()
	c := g.dial()
	if err := c.Bind(name, password); err != nil {
		g.t.Fatal(err)
	}
	return c
}

func code(err error) int {
	var e *ldap.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return int(e.ResultCode)
	}
	return -1
}

// wire is a client that says what it likes, byte by byte.
type wire struct {
	t testing.TB
	net.Conn
}

func (g *rig) wire() *wire {
	g.t.Helper()
	c, err := net.Dial("tcp", g.ldap)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(60 * time.Second)) // 16 MiB take long under -race on a busy machine
	return &wire{g.t, c}
}

func (w *wire) send(parts ...[]byte) *wire {
	w.t.Helper()
	if _, err := w.Write(bytes.Join(parts, nil)); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// answer is a response, as far as tests look at it.
type answer struct {
	id   int32
	op   ldapmsg.Op
	code int64
	text string
	name string // of an extended response
	dn   string // of an entry
}

// read reads the next response; at the connection's end it is the zero answer.
func (w *wire) read() (a answer) {
	w.t.Helper()
	var head []byte
	for {
		var c [1]byte
		if _, err := io.ReadFull(w, c[:]); err != nil {
			if len(head) > 0 || !ended(err) {
				w.t.Fatal(err)
			}
			return a
		}
		head = append(head, c[0])
		if _, need, ok := der.Header(head); !ok {
			w.t.Fatalf("answer begins with %x", head)
		} else if need > 0 {
			msg := make([]byte, need)
			copy(msg, head)
			if _, err := io.ReadFull(w, msg[len(head):]); err != nil {
				w.t.Fatal(err)
			}
			return parse(w.t, msg)
		}
	}
}

func ended(err error) bool { return errors.Is(err, io.EOF) }

// closed fails the test unless the server has nothing more to say.
func (w *wire) closed() {
	w.t.Helper()
	if a := w.read(); a != (answer{}) {
		w.t.Errorf("got %+v, want the end", a)
	}
}

func parse(t testing.TB, msg []byte) (a answer) {
	t.Helper()
	r := der.NewReader(msg)
	in, ok := r.Enter(der.Sequence)
	a.id, _ = in.Int32(der.Integer)
	tag, _ := in.Peek()
	a.op = tag
	body, ok2 := in.Enter(tag)
	if !ok || !ok2 || !r.Empty() {
		t.Fatalf("malformed answer %x", msg)
	}
	if tag == ldapmsg.OpSearchEntry {
		dn, _ := body.Bytes(der.OctetString)
		a.dn = string(dn)
		return a
	}
	a.code, ok = body.Int64(der.Enumerated)
	if !ok {
		t.Fatalf("malformed result %x", msg)
	}
	body.Bytes(der.OctetString)
	text, _ := body.Bytes(der.OctetString)
	a.text = string(text)
	if name, ok := body.Bytes(der.ContextPrimitive(10)); ok {
		a.name = string(name)
	}
	return a
}

// request frames an operation.
func request(id int64, op func(*der.Writer), controls ...func(*der.Writer)) []byte {
	w := der.NewWriter(nil)
	if len(controls) > 0 {
		for _, c := range controls {
			c(w)
		}
		w.Wrap(der.Context(0), 0)
	}
	op(w)
	w.Int(der.Integer, id)
	w.Wrap(der.Sequence, 0)
	return w.Bytes()
}

func control(oid string, critical bool, value []byte) func(*der.Writer) {
	return func(w *der.Writer) {
		end := w.Len()
		if value != nil {
			w.Octets(der.OctetString, value)
		}
		if critical {
			w.Bool(der.Boolean, true)
		}
		w.String(der.OctetString, oid)
		w.Wrap(der.Sequence, end)
	}
}

func bindOp(name, password string) func(*der.Writer) {
	return func(w *der.Writer) {
		end := w.Len()
		w.String(der.ContextPrimitive(0), password)
		w.String(der.OctetString, name)
		w.Int(der.Integer, 3)
		w.Wrap(ldapmsg.OpBindRequest, end)
	}
}

// searchOp asks below base; filter writes the filter, presence of objectClass
// where it is nil.
func searchOp(base string, scope int64, filter func(*der.Writer), attrs ...string) func(*der.Writer) {
	return func(w *der.Writer) {
		end := w.Len()
		for i := len(attrs) - 1; i >= 0; i-- {
			w.String(der.OctetString, attrs[i])
		}
		w.Wrap(der.Sequence, end)
		if filter == nil {
			w.String(0x87, "objectClass")
		} else {
			filter(w)
		}
		w.Bool(der.Boolean, false)
		w.Int(der.Integer, 0)
		w.Int(der.Integer, 0)
		w.Int(der.Enumerated, 0)
		w.Int(der.Enumerated, scope)
		w.String(der.OctetString, base)
		w.Wrap(ldapmsg.OpSearchRequest, end)
	}
}

func extendedOp(name string) func(*der.Writer) {
	return func(w *der.Writer) {
		end := w.Len()
		w.String(der.ContextPrimitive(0), name)
		w.Wrap(ldapmsg.OpExtendedRequest, end)
	}
}

func unbindOp(w *der.Writer) { w.Raw([]byte{byte(ldapmsg.OpUnbindRequest), 0}) }

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func equal(attr, value string) func(*der.Writer) {
	return func(w *der.Writer) {
		end := w.Len()
		w.String(der.OctetString, value)
		w.String(der.OctetString, attr)
		w.Wrap(0xa3, end)
	}
}

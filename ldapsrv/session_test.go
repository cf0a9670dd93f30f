package ldapsrv

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

var (
	whoAmIRequest = request(77, extendedOp(ldapmsg.WhoAmI))
	notice        = answer{op: ldapmsg.OpExtendedResponse, code: int64(ldapmsg.ProtocolError), text: textProtocol, name: ldapmsg.NoticeOfDisconnection}
)

// Message IDs past 127 take two bytes; past 32767 three.
func TestMessageIDs(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound(adaDN, adaPW)
	for range 300 {
		if r, err := c.Search(ask(adaDN, 0, "(cn=ada*)", "cn")); err != nil || len(r.Entries) != 1 {
			t.Fatal(r, err)
		}
	}
	w := g.wire()
	for _, id := range []int64{1, 127, 128, 255, 256, 32767, 32768, 1<<31 - 1} {
		if a := w.send(request(id, extendedOp(ldapmsg.WhoAmI))).read(); int64(a.id) != id {
			t.Errorf("message %d is answered as %d", id, a.id)
		}
	}
}

// TCP cuts where it likes.
func TestSplitAndJoined(t *testing.T) {
	g := start(t, people(t).replica())
	w := g.wire()
	search := request(300, searchOp(adaDN, 0, nil, "cn"))
	for _, b := range append(request(1, bindOp(adaDN, adaPW)), search...) {
		w.send([]byte{b})
	}
	for _, want := range []ldapmsg.Op{ldapmsg.OpBindResponse, ldapmsg.OpSearchEntry, ldapmsg.OpSearchDone} {
		if a := w.read(); a.op != want || a.code != 0 {
			t.Errorf("%+v, want %x", a, want)
		}
	}
	// Many in one piece, and half of the next: the answers to the whole ones must
	// not wait for the rest.
	const many = 500
	w.send(bytes.Repeat(search, many), search[:10])
	for i := range 2 * many {
		if a := w.read(); a.id != 300 || a.code != 0 {
			t.Fatalf("answer %d: %+v", i, a)
		}
	}
	w.send(search[10:])
	if a := w.read(); a.dn != adaDN {
		t.Errorf("%+v", a)
	}
}

func TestLargeRequests(t *testing.T) {
	g := start(t, people(t).replica())
	for _, size := range []int{4 << 10, 8 << 10, 64 << 10, 255 << 10} {
		w := g.wire().send(request(1, bindOp(adaDN, strings.Repeat("p", size))))
		if a := w.read(); a.code != int64(ldapmsg.InvalidCredentials) {
			t.Errorf("bind of %d bytes: %+v", size, a)
		}
		filter := func(w *der.Writer) {
			end := w.Len()
			w.String(0x87, "objectClass")
			for range size / 40 {
				one := w.Len()
				w.String(der.OctetString, strings.Repeat("x", 24))
				w.String(der.OctetString, "cn")
				w.Wrap(0xa3, one)
			}
			w.Wrap(0xa1, end)
		}
		w.send(request(2, bindOp(adaDN, adaPW)), request(3, searchOp(adaDN, 0, filter, "1.1")))
		w.read()
		if a := w.read(); a.dn != adaDN {
			t.Errorf("search of %d bytes: %+v", size, a)
		}
	}
}

// framed makes a compare request of exactly size bytes.
func framed(size int) []byte {
	for pad := size - 60; ; pad++ {
		b := request(9, func(w *der.Writer) {
			end := w.Len()
			w.Octets(der.OctetString, make([]byte, pad))
			w.String(der.OctetString, "cn")
			w.Wrap(der.Sequence, end)
			w.String(der.OctetString, adaDN[:10])
			w.Wrap(ldapmsg.OpCompareRequest, end)
		})
		if len(b) >= size {
			return b
		}
	}
}

// L03: limits of a message, at the edge, before and after a bind; the length
// alone decides, before anything is read or kept.
func TestMessageLimits(t *testing.T) {
	g := start(t, people(t).replica())
	for _, bound := range []bool{false, true} {
		limit, ok := g.Limits.BeforeBind, ldapmsg.OperationsError
		if bound {
			limit, ok = g.Limits.Message, ldapmsg.NoSuchObject
		}
		for _, size := range []int{limit - 1, limit, limit + 1} {
			w := g.wire()
			if bound {
				w.send(request(1, bindOp(adaDN, adaPW))).read()
			}
			msg := framed(size)
			if size > limit {
				// The server hangs up while it comes, so send no more than the head.
				if a := w.send(msg[:6]).read(); a != notice {
					t.Errorf("%d bytes: %+v, want a notice", size, a)
				}
				w.closed()
			} else if a := w.send(msg).read(); len(msg) != size || a.code != int64(ok) {
				t.Errorf("%d bytes: %+v", size, a)
			}
		}
	}
	// A search is never that large, also after a bind.
	w := g.wire().send(request(1, bindOp(adaDN, adaPW)))
	w.read()
	large := func(w *der.Writer) {
		end := w.Len()
		w.Octets(der.OctetString, make([]byte, ldapmsg.MaxSearch))
		w.String(der.OctetString, "cn")
		w.Wrap(0xa3, end)
	}
	if a := w.send(request(2, searchOp(base, 2, large))).read(); a.code != int64(ldapmsg.AdminLimitExceeded) {
		t.Errorf("large search: %+v", a)
	}
	if a := w.send(whoAmIRequest).read(); a.id != 77 {
		t.Errorf("after the large search: %+v", a)
	}
}

// L03: a thousand connections that each declare 2 GiB cost next to nothing.
func TestDeclaredLengthCostsNothing(t *testing.T) {
	g := start(t, people(t).replica(), func(s *Server) { s.Limits.BeforeBind = 1<<31 - 1 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const many = 200
	for range many {
		// Were it not the stream's to refuse, the limit above would let it in.
		g.wire().send([]byte{0x30, 0x84, 0x7f, 0xff, 0xff, 0xf0}, make([]byte, 100))
	}
	for g.Counters.Connections.Load() < many {
		runtime.Gosched()
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > many<<20/10 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// L04: what is no LDAP is closed without a word.
func TestNotLDAP(t *testing.T) {
	g := start(t, people(t).replica())
	for _, hello := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"SSH-2.0-OpenSSH_9.6\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS
		"\x00", "\xff\xff\xff\xff", "EHLO x\r\n",
	} {
		w := g.wire().send([]byte(hello))
		b, err := io.ReadAll(w)
		if len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q is answered with %x, %v", hello, b, err)
		}
	}
	if n := g.Counters.Disconnected.Load(); n != 6 {
		t.Errorf("counted %d", n)
	}
}

// A message that breaks the protocol ends the session with a notice
// (RFC 4511 §4.1.1, §4.4.1).
func TestMalformed(t *testing.T) {
	g := start(t, people(t).replica())
	nest := func(n int, tag der.Tag) []byte {
		return request(1, func(w *der.Writer) {
			for range n {
				w.Wrap(tag, 0)
			}
		})
	}
	for name, msg := range map[string][]byte{
		"empty":              {0x30, 0x00},
		"no length":          {0x30, 0x80, 0x00, 0x00},
		"length of 5 octets": {0x30, 0x85, 1, 1, 1, 1, 1},
		"negative id":        request(-1, extendedOp(ldapmsg.WhoAmI)),
		"id 0":               request(0, extendedOp(ldapmsg.WhoAmI)),
		"id of 64 bits":      request(1<<40, extendedOp(ldapmsg.WhoAmI)),
		"a response":         request(1, func(w *der.Writer) { w.Wrap(ldapmsg.OpSearchDone, 0) }),
		"unknown operation":  request(1, func(w *der.Writer) { w.Wrap(0x7e, 0) }),
		"nested 100":         nest(100, der.Sequence),
		"nested 50000":       nest(50000, der.Sequence),
		"nested search":      nest(50000, ldapmsg.OpSearchRequest),
		"bind of nothing":    request(1, func(w *der.Writer) { w.Wrap(ldapmsg.OpBindRequest, 0) }),
		"inner length": {0x30, 0x0c, 0x02, 0x01, 0x01, 0x60, 0x84, 0xff, 0xff, 0xff, 0xff,
			0x02, 0x01, 0x03},
		"name is no UTF-8": request(1, searchOp("\xff\xfe", 2, nil)),
		"scope 7":          request(1, searchOp(base, 7, nil)),
	} {
		// A second request behind it is not performed.
		w := g.wire().send(msg, whoAmIRequest)
		if a := w.read(); a != notice {
			t.Errorf("%s: %+v, want the notice", name, a)
		}
		w.closed()
	}
}

// L05: odd operations are answered, or ignored where they have no answer.
func TestOddOperations(t *testing.T) {
	g := start(t, people(t).replica())
	w := g.wire()
	abandon := func(w *der.Writer) { w.Int(der.Tag(ldapmsg.OpAbandonRequest), 4711) }
	for _, oid := range []string{"1.3.6.1.1.8", "", "0", strings.Repeat("1.", 20000) + "1", "not an oid", "%s%n", ldapmsg.PasswordModify, ldapmsg.NoticeOfDisconnection} {
		for _, value := range []string{"", "\x30\x84\xff", strings.Repeat("\x30\x80", 1000)} {
			w.send(request(2, abandon), request(3, func(w *der.Writer) {
				end := w.Len()
				w.String(der.ContextPrimitive(1), value)
				w.String(der.ContextPrimitive(0), oid)
				w.Wrap(ldapmsg.OpExtendedRequest, end)
			}))
			if a := w.read(); a.id != 3 || a.code != int64(ldapmsg.ProtocolError) || a.text != textExtended {
				t.Errorf("%.20q: %+v", oid, a)
			}
		}
	}
	w.send(request(5, unbindOp), whoAmIRequest)
	w.closed()
}

// L07: what names can cost, over the wire.
func TestHostileNames(t *testing.T) {
	g := start(t, people(t).replica())
	w := g.wire().send(request(1, bindOp(adaDN, adaPW)))
	w.read()
	begin := time.Now()
	names := []string{
		strings.Repeat("CN=a,", 10000) + base, strings.Repeat("CN=a+", 10000) + base, "CN=" + strings.Repeat("\\2c", 60000),
		"CN=" + strings.Repeat(" ", 100000), strings.Repeat("\\", 8000), "CN=\\ff\\fe," + base, "CN=#04840000ffff," + base,
		"CN=" + strings.Repeat("x", 240<<10), strings.Repeat("=", 8000), strings.Repeat(",", 8000), "CN=\x00," + base,
		"<GUID=" + strings.Repeat("0", 100000), "<SID=S-1-" + strings.Repeat("5-", 4000) + ">", "<WKGUID=,>", "<", "<>", "<=>",
	}
	for i, name := range names {
		a := w.send(request(int64(i)+2, searchOp(name, 2, nil))).read()
		if a.code != int64(ldapmsg.InvalidDNSyntax) || a.id != int32(i)+2 {
			t.Errorf("%.30q: %+v", name, a)
		}
	}
	if d := time.Since(begin); d > time.Duration(len(names))*20*time.Millisecond {
		t.Errorf("%d names took %v", len(names), d)
	}
}

func TestStartTLSAndLDAPS(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.dial()
	if err := c.StartTLS(g.clientTLS()); err != nil {
		t.Fatal(err)
	}
	if err := c.Bind("bjorn@contoso.test", bornPW); err != nil || whoAmI(t, c) != `u:AADDS\bjorn` {
		t.Error(err)
	}
	s := g.dial("ldaps://" + g.ldaps)
	if err := s.Bind(adaDN, adaPW); err != nil || whoAmI(t, s) != `u:AADDS\ada` {
		t.Error(err)
	}
	// A bind before it stays: the layer is another's business than who one is.
	b := g.bound(adaDN, adaPW)
	if err := b.StartTLS(g.clientTLS()); err != nil || whoAmI(t, b) != `u:AADDS\ada` {
		t.Error(err)
	}
	// Twice (L14).
	for _, c := range []*ldap.Conn{c, s} {
		_, err := c.Extended(&ldap.ExtendedRequest{Name: ldapmsg.StartTLS})
		if code(err) != int(ldapmsg.OperationsError) {
			t.Errorf("a second StartTLS: %v", err)
		}
	}
	if got := whoAmI(t, c); got != `u:AADDS\bjorn` {
		t.Errorf("after it I am %q", got)
	}
}

// L14: what was sent in the clear behind StartTLS is neither performed in the
// clear nor inside TLS.
func TestStartTLSInjection(t *testing.T) {
	g := start(t, people(t).replica())
	startTLS := request(1, extendedOp(ldapmsg.StartTLS))
	// In one piece with the request: the session ends.
	w := g.wire().send(startTLS, whoAmIRequest)
	if a := w.read(); a.code != int64(ldapmsg.OperationsError) || a.name != ldapmsg.StartTLS {
		t.Errorf("%+v", a)
	}
	w.closed()
	// A part of one, too.
	w = g.wire().send(startTLS, whoAmIRequest[:3])
	if a := w.read(); a.code != int64(ldapmsg.OperationsError) {
		t.Errorf("%+v", a)
	}
	w.closed()
	// In a piece of its own, after the answer: it is no handshake, and so the end.
	w = g.wire().send(startTLS)
	if a := w.read(); a.code != 0 {
		t.Fatalf("%+v", a)
	}
	w.send(whoAmIRequest)
	b, err := io.ReadAll(w)
	if bytes.Contains(b, []byte(ldapmsg.WhoAmI)) || len(b) > 0 && b[0] == 0x30 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("an answer in the clear: %x, %v", b, err)
	}
	// Answers that are due go out before the layer comes.
	w = g.wire().send(whoAmIRequest, startTLS)
	if a := w.read(); a.id != 77 {
		t.Errorf("%+v", a)
	}
	if a := w.read(); a.code != 0 {
		t.Errorf("%+v", a)
	}
	c := tls.Client(w.Conn, g.clientTLS())
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if a := (&wire{t, c}).send(whoAmIRequest).read(); a.id != 77 {
		t.Errorf("inside TLS: %+v", a)
	}
}

func TestNoCertificate(t *testing.T) {
	s := newServer(t, people(t).replica())
	s.TLS = nil
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.serveConn(newSession(s, t.Context(), server), false)
	}()
	w := &wire{t, client}
	if a := w.send(request(1, extendedOp(ldapmsg.StartTLS))).read(); a.code != int64(ldapmsg.Unavailable) {
		t.Errorf("%+v", a)
	}
	if a := w.send(whoAmIRequest).read(); a.id != 77 {
		t.Errorf("then %+v", a)
	}
	if e := s.rootDSE(); strings.Contains(fmt.Sprintf("%s", e.Get(dit.Attr("supportedExtension"))), ldapmsg.StartTLS) {
		t.Error("the rootDSE offers StartTLS")
	}
	client.Close()
	<-done
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(t.Context(), ln, true); err == nil {
		t.Error("LDAPS without a certificate")
	}
}

// Clients that do nothing, or too little, are cut off.
func TestTimes(t *testing.T) {
	const short = 50 * time.Millisecond
	for name, c := range map[string]struct {
		change func(*Limits)
		do     func(*rig, *wire)
	}{
		"no first request":    {func(l *Limits) { l.FirstRequest = short }, func(g *rig, w *wire) {}},
		"half a request":      {func(l *Limits) { l.FirstRequest = short }, func(g *rig, w *wire) { w.send(whoAmIRequest[:5]) }},
		"idle":                {func(l *Limits) { l.Idle = short }, func(g *rig, w *wire) { w.send(whoAmIRequest).read() }},
		"half of the second":  {func(l *Limits) { l.Receive = short }, func(g *rig, w *wire) { w.send(whoAmIRequest, whoAmIRequest[:5]).read() }},
		"half after StartTLS": {func(l *Limits) { l.FirstRequest = short }, func(g *rig, w *wire) { w.send(request(1, extendedOp(ldapmsg.StartTLS))).read() }},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, people(t).replica(), func(s *Server) { c.change(&s.Limits) })
			w := g.wire()
			c.do(g, w)
			begin := time.Now()
			if b, err := io.ReadAll(w); len(b) > 0 && b[0] == 0x30 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%x, %v", b, err)
			}
			if d := time.Since(begin); d > 5*time.Second {
				t.Errorf("cut off after %v", d)
			}
		})
	}
	t.Run("slow handshake", func(t *testing.T) {
		g := start(t, people(t).replica(), func(s *Server) { s.Limits.FirstRequest = short })
		c, err := net.Dial("tcp", g.ldaps)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("not cut off")
		}
	})
	// A client that asks for much and reads nothing holds a buffer for Write's time.
	t.Run("not reading", func(t *testing.T) {
		g := start(t, crowd(t).replica(), func(s *Server) { s.Limits.Write = short })
		w := g.wire().send(request(1, bindOp(adaDN, adaPW)))
		w.read()
		search := request(2, searchOp(base, 2, nil))
		for range 200 { // some hundred megabytes of answers
			if _, err := w.Write(search); err != nil {
				break
			}
		}
		for g.Counters.Open.Load() > 0 {
			runtime.Gosched()
		}
	})
}

// A stop finishes what is under way and tells the clients.
func TestDrain(t *testing.T) {
	g := start(t, people(t).replica())
	idle := g.wire().send(whoAmIRequest)
	idle.read()
	half := g.wire().send(whoAmIRequest, whoAmIRequest[:5])
	half.read()
	silent := g.wire()
	for g.Counters.Open.Load() < 3 {
		runtime.Gosched()
	}
	begin := time.Now()
	g.stop()
	if d := time.Since(begin); d > 4*time.Second {
		t.Errorf("stopped after %v", d)
	}
	for name, w := range map[string]*wire{"idle": idle, "half": half, "silent": silent} {
		a := w.read()
		if a.name != ldapmsg.NoticeOfDisconnection || a.code != int64(ldapmsg.Unavailable) || a.id != 0 {
			t.Errorf("%s: %+v", name, a)
		}
		w.closed()
	}
	if _, err := net.Dial("tcp", g.ldap); err == nil {
		t.Error("still listening")
	}
}

// pipes is a listener whose connections hold no byte that the other side has
// not read.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	end   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.end:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.end) }); return nil }
func (p *pipes) Addr() net.Addr { return address{} }

// A client that does not take its answer keeps the server from stopping for
// Drain's time and no longer.
func TestDrainLeavesTheStuck(t *testing.T) {
	s := newServer(t, people(t).replica())
	s.Limits.Drain = 50 * time.Millisecond
	ln := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln, false) }()
	client, server := net.Pipe()
	ln.conns <- server
	client.Write(whoAmIRequest)
	client.Read(make([]byte, 1)) // the rest waits for ever
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("does not stop")
	}
}

// Requests that came but were not begun when the stop came are not performed.
func TestDrainDropsTheWaiting(t *testing.T) {
	conn := &script{in: bytes.NewReader(bytes.Repeat(whoAmIRequest, 3))}
	s := newSession(newServer(t, people(t).replica()), t.Context(), conn)
	s.in.Peek(1)
	s.interrupt()
	s.run()
	if a := parse(t, conn.out.Bytes()); a.name != ldapmsg.NoticeOfDisconnection || a.code != int64(ldapmsg.Unavailable) {
		t.Errorf("%+v", a)
	}
}

// What a request was read into does not keep its password, and what a large one
// took is given back while the client is idle.
func TestBuffers(t *testing.T) {
	srv := newServer(t, crowd(t).replica())
	bind := request(1, bindOp(adaDN, adaPW))
	conn := &script{in: bytes.NewReader(append(append(bytes.Clone(bind), framed(200<<10)...), request(3, searchOp(base, 2, nil, "cn"))...))}
	s := newSession(srv, t.Context(), conn)
	if s.handle(bind); s.who == nil || bytes.Contains(bind, []byte(adaPW)) {
		t.Errorf("after the bind there is %q", bind)
	}
	s.run()
	if conn.out.Len() < 50<<10 || cap(s.out) > keepBuffer || cap(s.message) > keepBuffer {
		t.Errorf("after %d bytes of answers it keeps %d and %d", conn.out.Len(), cap(s.out), cap(s.message))
	}
}

// A stop that waited long enough ends a search.
func TestAbort(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	conn := &script{in: bytes.NewReader(request(2, searchOp(base, 2, equal("description", "x"))))}
	s := newSession(newServer(t, crowd(t).replica()), ctx, conn)
	s.who = s.srv.Replica.BySAM("ada")
	s.run()
	if a := parse(t, conn.out.Bytes()); a.code != int64(ldapmsg.Unavailable) {
		t.Errorf("%+v", a)
	}
}

// deaf is a connection that takes nothing.
type deaf struct{ *script }

func (deaf) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// When an answer can't be sent, the requests behind it are not performed.
func TestNobodyListens(t *testing.T) {
	srv := newServer(t, crowd(t).replica())
	conn := &script{in: bytes.NewReader(bytes.Repeat(request(2, searchOp(base, 2, nil)), 50))}
	s := newSession(srv, t.Context(), deaf{conn})
	s.who = srv.Replica.BySAM("ada")
	s.run()
	if n := srv.Counters.Searches.Load(); n != 1 {
		t.Errorf("%d searches for nobody", n)
	}
}

// A fault of ours in one connection leaves the others alone.
func TestPanicEndsOneConnection(t *testing.T) {
	g := start(t, people(t).replica(), func(s *Server) { s.Now = func() time.Time { panic("fault") } })
	other := g.wire().send(whoAmIRequest)
	other.read()
	w := g.wire().send(request(1, searchOp("", 0, nil)))
	w.closed()
	if a := other.send(whoAmIRequest).read(); a.id != 77 {
		t.Errorf("the other: %+v", a)
	}
	if !strings.Contains(g.log.String(), "fault") || g.Counters.Internal.Swap(0) != 1 {
		t.Errorf("the log has %s", g.log)
	}
}

// What is not known stays inside.
func TestResults(t *testing.T) {
	s := newServer(t, people(t).replica())
	client, server := net.Pipe()
	defer client.Close()
	c := newSession(s, t.Context(), server)
	for _, e := range []struct {
		err  error
		code ldapmsg.ResultCode
		text string
	}{
		{nil, 0, ""},
		{domain.BadCredentials, 49, "data 52e"},
		{domain.ErrAccessDenied, 50, "INSUFF_ACCESS_RIGHTS"},
		{fmt.Errorf("x: %w", domain.ErrExists), 68, "ENTRY_EXISTS"},
		{domain.ErrNotLeaf, 66, "CANT_ON_NON_LEAF"},
		{domain.ErrNoSuchAttribute, 16, "NO_ATTRIBUTE_OR_VAL"},
		{&domain.ConstraintError{Attr: "cn", Why: "why"}, 19, "(cn): why"},
		{&domain.ConstraintError{Attr: "unicodePwd", Why: "short"}, 19, "0000052D"},
		{&domain.ConstraintError{Attr: "objectClass", Why: "x"}, 65, "OBJ_CLASS_VIOLATION"},
		{domain.ErrConflict, 51, "BUSY"},
		{domain.ErrUnavailable, 52, "UNAVAILABLE"},
		{context.DeadlineExceeded, 52, "UNAVAILABLE"},
		{domain.ErrNotFound, 32, "NO_OBJECT"},
		{dit.ErrDNSyntax, 34, "BAD_NAME"},
		{errors.New("password is hunter2"), 80, "internal"},
	} {
		r := c.result(e.err)
		if r.Code != e.code || !strings.Contains(r.Message, e.text) || strings.Contains(r.Message, "hunter2") {
			t.Errorf("%v: %+v", e.err, r)
		}
	}
}

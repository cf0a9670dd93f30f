package kdc

import (
	"bytes"
	"context"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// A wrong password that waits for the database, and a certificate, keep no other
// connection waiting, and get their answers.
func TestTCPBlocksNoReader(t *testing.T) {
	w := newWorld(t)
	db := &stuck{asked: make(chan struct{}, 1), release: make(chan struct{})}
	w.counting(db)
	certificate, _ := w.request(w.asReq("alice"), w.withPKINIT().card(person(w.anna())))
	s := w.listen()

	var guesses []net.Conn
	wrong, _ := legacy(t, "wrong", "").Key(etype.RC4)
	for i := range 8 { // more than there are readers
		c := dial(t, s)
		q := w.asReq("bob") // whose only key is the NT hash
		q.ETypes = []int32{23}
		q.PAData = krb5.MethodData{w.proof(wrong.Key, w.now.Add(time.Duration(i)))}
		if _, err := c.Write(frame(krb5.Encode(q))); err != nil {
			t.Fatal(err)
		}
		guesses = append(guesses, c)
	}
	<-db.asked
	issued := func(c net.Conn, request []byte) {
		t.Helper()
		if _, err := c.Write(frame(request)); err != nil {
			t.Fatal(err)
		}
		if reply := readFrame(t, c); reply[0] != byte(der.Application(krb5.MsgASRep)) {
			t.Fatalf("answer %x", reply)
		}
	}
	issued(dial(t, s), krb5.Encode(w.proven("WS1$", etype.AES256SHA1)))
	c := dial(t, s)
	issued(c, certificate)
	w.now = w.now.Add(time.Second)
	issued(c, krb5.Encode(w.proven("WS1$", etype.AES256SHA1))) // on a connection that has a goroutine now
	close(db.release)
	for _, c := range guesses {
		var e krb5.Error
		if err := e.Unmarshal(readFrame(t, c)); err != nil || e.Code != krb5.ErrPreauthFailed && e.Code != krb5.ErrClientRevoked {
			t.Errorf("%v, %v", e.Code, err)
		}
	}
}

// A client that asks on and on and reads nothing gets all of its answers in the end, whole
// and in order, and holds up nobody.
func TestTCPSlowTaker(t *testing.T) {
	w := newWorld(t)
	var asked atomic.Int64
	answer := func(b byte) []byte { return bytes.Repeat([]byte{b}, 3000) }
	s := w.listen(func(s *Server) {
		raw, err := s.tcp.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, 4096) })
		if err != nil {
			t.Fatal(err)
		}
		s.Handle = func(_ context.Context, b []byte, _ netip.AddrPort, _ bool) []byte {
			asked.Add(1)
			return answer(b[0])
		}
	})
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		_ = raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
		return err
	}}
	slow, err := d.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	const requests = 20
	for i := range requests {
		if _, err := slow.Write(frame([]byte{byte(i)})); err != nil {
			t.Fatal(err)
		}
		// One at a time, as long as it is served that way.
		for deadline := time.Now().Add(50 * time.Millisecond); asked.Load() == int64(i) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
	}
	if asked.Load() == requests {
		t.Fatal("all answers fit the sockets' buffers: nobody was slow")
	}
	c := dial(t, s)
	if _, err := c.Write(frame([]byte{'x'})); err != nil {
		t.Fatal(err)
	}
	if got := readFrame(t, c); !bytes.Equal(got, answer('x')) {
		t.Errorf("another client is told %.20x", got)
	}
	for i := range requests {
		if got := readFrame(t, slow); !bytes.Equal(got, answer(byte(i))) {
			t.Fatalf("answer %d is %.20x, %d bytes", i, got, len(got))
		}
	}
}

// TestTCPIdle: a connection that asks nothing is closed, one that asked before as well.
func TestTCPIdle(t *testing.T) {
	w := newWorld(t)
	s := w.listen(func(s *Server) { s.idleTime = 100 * time.Millisecond })
	// slow reports whether a goroutine serves a connection, as one that sends pieces.
	slow := func() (some bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.each(func(c connection) { _, is := c.(*tcpConn); some = some || is })
		return some
	}
	request := frame(krb5.Encode(w.asReq("alice")))
	for name, first := range map[string][][]byte{"new": nil, "used": {request}, "used in pieces": {request[:10], request[10:]}} {
		c := dial(t, s)
		for i, b := range first {
			for deadline := time.Now().Add(20 * time.Second); i > 0 && !slow(); time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: no goroutine has the first piece", name)
				}
			}
			if _, err := c.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if first != nil {
			readFrame(t, c)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTCPHammer: clients that come, ask well or badly, and go at any moment, more of them
// than there may be, leave nothing behind, and who stays gets the answer to its own request.
func TestTCPHammer(t *testing.T) {
	w := newWorld(t)
	s, err := w.kdc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.maxConns = 24
	s.Handle = func(_ context.Context, b []byte, _ netip.AddrPort, _ bool) []byte {
		if len(b) == 0 {
			return nil
		}
		return bytes.Clone(b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- s.Serve(ctx) }()
	var clients sync.WaitGroup
	var answered atomic.Int64
	for i := range 16 {
		r := mathrand.New(mathrand.NewPCG(uint64(i), 1))
		clients.Go(func() {
			for range 150 {
				c, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				if r.IntN(2) == 0 {
					_ = c.(*net.TCPConn).SetLinger(0) // it goes by a reset
				}
				for range r.IntN(4) {
					m := bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(2*quickTestRequest))
					f := frame(m)
					cut := r.IntN(len(f) + 1)
					if _, err := c.Write(f[:cut]); err != nil {
						break
					}
					if r.IntN(8) == 0 {
						break // it goes in the middle
					}
					if _, err := c.Write(f[cut:]); err != nil || len(m) == 0 {
						break
					}
					got := make([]byte, len(f))
					if _, err := io.ReadFull(c, got); err != nil {
						if os.IsTimeout(err) {
							t.Error("no answer, and no end")
						}
						break // crowded out
					}
					if !bytes.Equal(got, f) {
						t.Errorf("%d bytes came back as others", len(f))
					}
					answered.Add(1)
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if n := w.kdc.Count.TCPOpen.Load(); n != 0 || s.conns.Len() != 0 {
		t.Errorf("%d connections left, %d noted", n, s.conns.Len())
	}
	if n := answered.Load(); n < 500 {
		t.Errorf("only %d requests were answered", n)
	}
	t.Logf("%d answered, %d crowded out", answered.Load(), w.kdc.Count.TCPCrowdedOut.Load())
}

// quickTestRequest is about where requests are too long for the quick way.
const quickTestRequest = 8 << 10

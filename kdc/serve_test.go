package kdc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"skyrealm/krb5"
)

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func frame(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

func readFrame(t *testing.T, c net.Conn) []byte {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestTCPFraming: messages one after the other, in pieces, and together.
func TestTCPFraming(t *testing.T) {
	w := newWorld(t)
	s := w.listen()
	c := dial(t, s)
	request := frame(krb5.Encode(w.asReq("alice")))
	for _, b := range request {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	w.refused(readFrame(t, c), krb5.ErrPreauthRequired)
	if _, err := c.Write(append(request, request...)); err != nil {
		t.Fatal(err)
	}
	w.refused(readFrame(t, c), krb5.ErrPreauthRequired)
	w.refused(readFrame(t, c), krb5.ErrPreauthRequired)
}

// TestTCPLength: the limit itself is read, above it there is an error and the
// end (RFC 4120 §7.2.2).
func TestTCPLength(t *testing.T) {
	w := newWorld(t)
	s := w.listen()
	for _, n := range []uint32{MaxTCPMessage + 1, 1 << 31, 1<<32 - 1} {
		c := dial(t, s)
		if _, err := c.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
			t.Fatal(err)
		}
		w.refused(readFrame(t, c), krb5.ErrFieldTooLong)
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("length %d: the connection goes on: %v", n, err)
		}
	}
	// A request filled up to the limit by padata that nobody knows.
	q := w.asReq("alice")
	q.PAData = krb5.MethodData{{Type: 999, Value: []byte{}}}
	size := func() int { return len(krb5.Encode(q)) }
	for range 4 { // the lengths in front have lengths of their own
		q.PAData[0].Value = make([]byte, len(q.PAData[0].Value)+MaxTCPMessage-size())
	}
	if size() != MaxTCPMessage {
		t.Fatal(size())
	}
	c := dial(t, s)
	if _, err := c.Write(frame(krb5.Encode(q))); err != nil {
		t.Fatal(err)
	}
	w.refused(readFrame(t, c), krb5.ErrPreauthRequired)
	// What is no request ends the connection without a word.
	if _, err := c.Write(frame([]byte("no request"))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after junk: %v", err)
	}
}

// TestReadAll takes memory as bytes come, not as they are announced.
func TestReadAll(t *testing.T) {
	r, wr := io.Pipe()
	go func() { wr.Write(make([]byte, 100)); wr.Close() }()
	buf, err := readAll(r, nil, MaxTCPMessage)
	if err != io.EOF || len(buf) != 100 || cap(buf) > 4096 {
		t.Errorf("%d bytes in room for %d, %v", len(buf), cap(buf), err)
	}
}

func TestUDP(t *testing.T) {
	w := newWorld(t)
	handled := make(chan int, 3)
	s := w.listen(func(s *Server) {
		s.Handle = func(ctx context.Context, b []byte, from netip.AddrPort, tcp bool) []byte {
			reply := w.kdc.Handle(ctx, b, from, tcp)
			handled <- len(b)
			return reply
		}
	})
	c, err := net.Dial("udp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := krb5.Encode(w.asReq("alice"))
	seen := map[int]bool{}
	for _, b := range [][]byte{[]byte("junk"), make([]byte, MaxUDPRequest+1), request} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		seen[<-handled] = true
	}
	if !seen[4] || !seen[MaxUDPRequest] || !seen[len(request)] || w.kdc.Count.Dropped.Load() != 2 {
		t.Errorf("handled %v", seen)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 65536)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(buf[:n], krb5.ErrPreauthRequired)
}

// TestUDPBatches: of datagrams that come at once, over IPv4 and IPv6, some of which get no
// answer, each sender gets the answers to its own.
func TestUDPBatches(t *testing.T) {
	w := newWorld(t)
	s := w.listenOn("[::]:0", func(s *Server) {
		s.Handle = func(_ context.Context, b []byte, from netip.AddrPort, _ bool) []byte {
			if b[0] == 'x' {
				return nil
			}
			return []byte(from.String() + " " + string(b))
		}
	})
	port := strconv.Itoa(int(s.Addr().Port()))
	const clients, each = 8, 200
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c, err := net.Dial("udp", net.JoinHostPort([]string{"127.0.0.1", "::1"}[i%2], port))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			_ = c.SetReadDeadline(time.Now().Add(time.Minute))
			buf := make([]byte, 100)
			for n := 0; n < each; n += 10 { // few enough at a time for the socket's buffer
				for m := range 10 {
					if _, err := c.Write(fmt.Appendf(nil, "%c%d", "yx"[m%2], n+m)); err != nil {
						t.Error(err)
					}
				}
				seen := map[string]bool{}
				for range 5 {
					got, err := c.Read(buf)
					if err != nil {
						t.Error(err)
						return
					}
					seen[string(buf[:got])] = true
				}
				for m := 0; m < 10; m += 2 {
					if want := fmt.Sprintf("%s y%d", c.LocalAddr(), n+m); !seen[want] {
						t.Errorf("no %q in %v", want, seen)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestCrowd: one connection too many costs the one that was quiet longest.
func TestCrowd(t *testing.T) {
	w := newWorld(t)
	s := w.listen(func(s *Server) { s.maxConns = 3 })
	first, second := dial(t, s), dial(t, s)
	request := frame(krb5.Encode(w.asReq("alice")))
	ask := func(c net.Conn) {
		t.Helper()
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		w.refused(readFrame(t, c), krb5.ErrPreauthRequired)
	}
	ask(first)
	ask(second)
	ask(first) // now second is the oldest
	ask(dial(t, s))
	ask(dial(t, s))
	_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := second.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest connection lives: %v", err)
	}
	ask(first)
	if n := w.kdc.Count.TCPCrowdedOut.Load(); n != 1 {
		t.Errorf("%d crowded out", n)
	}
}

// TestSlow: a request that does not come to its end in time is given up.
func TestSlow(t *testing.T) {
	w := newWorld(t)
	s := w.listen(func(s *Server) { s.requestTime = 50 * time.Millisecond })
	c := dial(t, s)
	if _, err := c.Write([]byte{0, 0, 1, 0, 0x6a}); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("still waited for: %v", err)
	}
}

// TestDrain: a request that is being answered when the server stops is answered;
// idle connections end, and nothing stays behind.
func TestDrain(t *testing.T) {
	w := newWorld(t)
	s, err := w.kdc.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	entered, release := make(chan bool), make(chan bool)
	var once sync.Once
	s.Handle = func(ctx context.Context, b []byte, from netip.AddrPort, tcp bool) []byte {
		once.Do(func() { entered <- true; <-release })
		if ctx.Err() != nil {
			t.Error("the request's context ended with the server's")
		}
		return w.kdc.Handle(ctx, b, from, tcp)
	}
	done := make(chan error)
	go func() { done <- s.Serve(ctx) }()
	idle, busy := dial(t, s), dial(t, s)
	if _, err := busy.Write(frame(krb5.Encode(w.asReq("alice")))); err != nil {
		t.Fatal(err)
	}
	<-entered
	cancel()
	_ = idle.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("idle connection: %v", err)
	}
	close(release)
	released := time.Now()
	w.refused(readFrame(t, busy), krb5.ErrPreauthRequired)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(released); took > drainTime/2 {
		t.Errorf("a connection was waited for, %v, after its answer", took)
	}
	if n := w.kdc.Count.TCPOpen.Load(); n != 0 {
		t.Errorf("%d connections left", n)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestListenTwice(t *testing.T) {
	w := newWorld(t)
	s := w.listen()
	if _, err := w.kdc.Listen(s.Addr().String()); err == nil {
		t.Error("the port is taken, and nobody says so")
	}
}

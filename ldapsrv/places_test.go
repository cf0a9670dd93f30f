package ldapsrv

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// lives fails unless the connection is answered.
func (w *wire) lives(name string) {
	w.t.Helper()
	if a := w.send(whoAmIRequest).read(); a.id != 77 {
		w.t.Errorf("%s: %+v", name, a)
	}
}

// gone fails unless the other side has closed the connection without a word.
func (w *wire) gone(name string) {
	w.t.Helper()
	if b, err := io.ReadAll(w); len(b) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		w.t.Errorf("%s gets %x, %v", name, b, err)
	}
}

func (w *wire) bind() *wire {
	w.t.Helper()
	if a := w.send(request(1, bindOp(adaDN, adaPW))).read(); a.code != 0 {
		w.t.Fatalf("%+v", a)
	}
	return w
}

// One connection too many costs the stranger who has been quiet longest, and nobody
// who has signed in (trust.md F10).
func TestTooManyConnections(t *testing.T) {
	g := start(t, people(t).replica(), func(s *Server) { s.Limits.Connections = 4 })
	arrived := int64(0)
	next := func() *wire {
		w := g.wire()
		for arrived++; g.Counters.Connections.Load() < arrived; {
			runtime.Gosched()
		}
		return w
	}
	bound := next().bind()
	slow := next().send(whoAmIRequest[:1]) // an octet now and then moves nobody
	anonymous := next()
	slower := next().send(whoAmIRequest[:1])
	anonymous.lives("the anonymous one")
	anonymous.lives("the anonymous one") // so that what the first time led to is done
	slow.send(whoAmIRequest[1:2])

	fifth := next()
	slow.gone("the slow one")
	fifth.bind()
	sixth := next()
	slower.gone("the slower one") // the anonymous one has said something since
	for _, w := range []*wire{bound, fifth, sixth, anonymous} {
		w.lives("who is left")
	}
	if n := g.Counters.CrowdedOut.Load(); n != 2 {
		t.Errorf("%d crowded out", n)
	}

	// Who signs out, or fails to sign in again, is a stranger like any other.
	bound.send(request(2, bindOp(adaDN, "wrong"))).read()
	sixth.bind()
	anonymous.bind()
	seventh := next()
	bound.gone("who was bound")
	// All but the last one are bound now, and a password keeps nobody else from signing in.
	seventh.bind()
	next().lives("the newest")
	fifth.gone("who has been bound longest")
	if g.Counters.Rejected.Load() != 0 {
		t.Error("somebody was turned away")
	}
}

// stuck does not let go of its session before it may.
type stuck struct {
	net.Conn
	may *atomic.Bool
}

func (c stuck) Close() error {
	if c.may.Load() {
		return c.Conn.Close()
	}
	return nil
}

// Those who are crowded out and do not go are not more than have a place.
func TestCrowdedOutStay(t *testing.T) {
	s := newServer(t, people(t).replica())
	s.Limits.Connections = 2
	ln := &pipes{conns: make(chan net.Conn), end: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln, false) }()
	var may atomic.Bool
	var clients []net.Conn
	for range 5 {
		client, server := net.Pipe()
		clients = append(clients, client)
		ln.conns <- stuck{server, &may}
	}
	for s.Counters.Connections.Load() < 4 {
		runtime.Gosched()
	}
	may.Store(true)
	client, server := net.Pipe()
	ln.conns <- server
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the last one: %v", err)
	}
	if out, open := s.Counters.CrowdedOut.Load(), s.Counters.Open.Load(); out != 2 || open != 4 || s.Counters.Rejected.Load() != 2 {
		t.Errorf("%d crowded out, %d open, %d rejected", out, open, s.Counters.Rejected.Load())
	}
	for _, c := range clients {
		c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// full is a listener of a process that has no descriptor left, once it is told.
type full struct {
	*pipes
	now chan struct{}
}

func (f full) Accept() (net.Conn, error) {
	select {
	case <-f.now:
		return nil, syscall.EMFILE
	default:
	}
	select {
	case <-f.now:
		return nil, syscall.EMFILE
	case c := <-f.conns:
		return c, nil
	}
}

// Where descriptors have run out, a quiet connection gives one back.
func TestNoDescriptors(t *testing.T) {
	s := newServer(t, people(t).replica())
	ln := full{&pipes{conns: make(chan net.Conn), end: make(chan struct{})}, make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, ln, false) }()
	client, server := net.Pipe()
	ln.conns <- server
	close(ln.now)
	_ = client.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the quiet one: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

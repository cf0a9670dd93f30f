package ldapsrv

import (
	"context"
	"errors"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// Serve answers connections of a listener until ctx ends; with implicitTLS they
// begin with a handshake (LDAPS). It then finishes the requests under way,
// tells every client (RFC 4511 §4.4.1), and returns nil when all connections
// are closed. It closes ln. Several listeners can be served at once.
func (s *Server) Serve(ctx context.Context, ln net.Listener, implicitTLS bool) error {
	if implicitTLS && s.TLS == nil {
		ln.Close()
		return errors.New("ldapsrv: LDAPS needs a certificate")
	}
	// What is under way outlives ctx, and ends with work.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	var (
		mu   sync.Mutex
		open = map[*session]struct{}{}
		wg   sync.WaitGroup
	)
	stop := context.AfterFunc(ctx, func() {
		ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.interrupt()
		}
	})
	defer stop()
	var failed error
	for failed == nil && ctx.Err() == nil {
		conn, err := ln.Accept()
		if err != nil {
			failed = s.acceptFailed(ctx, err)
			continue
		}
		// Who is crowded out goes at once, unless a search of his is under way.
		if s.Counters.Open.Add(1) > 2*int64(s.limits().Connections) {
			s.Counters.Open.Add(-1)
			s.Counters.Rejected.Add(1)
			conn.Close()
			continue
		}
		s.Counters.Connections.Add(1)
		c := newSession(s, work, conn)
		if s.places.take(c, s.limits().Connections) {
			s.Counters.CrowdedOut.Add(1)
		}
		mu.Lock()
		open[c] = struct{}{}
		if ctx.Err() != nil {
			c.interrupt()
		}
		mu.Unlock()
		wg.Go(func() {
			s.serveConn(c, implicitTLS)
			s.places.leave(c)
			s.Counters.Open.Add(-1)
			mu.Lock()
			delete(open, c)
			mu.Unlock()
		})
	}
	ln.Close()

	late := time.AfterFunc(s.limits().Drain, func() {
		abort()
		mu.Lock()
		defer mu.Unlock()
		for c := range open {
			c.raw.Close()
		}
	})
	defer late.Stop()
	wg.Wait()
	return failed
}

// acceptFailed waits out what passes, such as too many open files, and returns
// nil for that and for the end of ctx.
func (s *Server) acceptFailed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	s.Log.Warn("LDAP connections can't be accepted", "error", err)
	if s.places.free() {
		s.Counters.CrowdedOut.Add(1)
	}
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
	}
	return nil
}

// serveConn serves one connection to its end and closes it. A fault of ours that
// one client can trigger must not end the sign-ins of all others, so a panic
// ends the connection alone.
func (s *Server) serveConn(c *session, implicitTLS bool) {
	defer c.raw.Close()
	defer func() {
		if p := recover(); p != nil {
			s.Counters.Internal.Add(1)
			s.Log.Error("LDAP connection ended by a panic", "remote", c.remote, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if implicitTLS && c.handshake() != nil {
		return
	}
	c.run()
}

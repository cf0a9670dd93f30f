package kdc

import (
	"bytes"
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// quick answers TCP connections as they are used: made for one request that comes whole, and
// closed by the client. It takes such a request with the first call, and lets connections
// wait in the kernel's hands, without a goroutine or a timer each. What comes in pieces, is
// too long, or has to wait for something goes to a goroutine of its own (see serveTCP).
type quick struct {
	*Server
	ctx      context.Context
	running  *sync.WaitGroup
	listener syscall.RawConn
	fd       int             // epoll(7), of the listener and of idle
	epoll    *os.File        // the same, which the runtime waits for
	events   syscall.RawConn // of epoll
	crowd    chan struct{}   // of readers of connections, as the Server's is of datagrams'
	idle     map[int32]*idleConn
}

// idleConn is a connection that waits for a request. It is in conns and in idle, and whoever
// takes it from there owns it.
type idleConn struct {
	q     *quick
	fd    int32
	from  netip.AddrPort
	place *list.Element
	since time.Time
	armed bool // the kernel knows it
}

const (
	quickBatch   = 16      // events, or new connections, that are taken at once
	quickRequest = 8 << 10 // longer ones are rare
)

// serveQuick serves connections until the Server stops.
func (s *Server) serveQuick(ctx context.Context, running *sync.WaitGroup) error {
	q := &quick{Server: s, ctx: ctx, running: running, crowd: make(chan struct{}, 1), idle: map[int32]*idleConn{}}
	if err := q.open(); err != nil {
		return fmt.Errorf("kdc: tcp: %w", err)
	}
	var helpers sync.WaitGroup
	helpers.Go(q.sweep)
	for range s.readers - 1 {
		helpers.Go(q.help)
	}
	led := make(chan struct{})
	defer close(led)
	running.Go(func() {
		<-q.stopping
		_ = q.epoll.SetReadDeadline(time.Unix(1, 0))
		<-led
		helpers.Wait()
		q.epoll.Close()
	})
	return q.lead()
}

func (q *quick) open() (err error) {
	if q.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err = unix.SetNonblock(q.fd, true); err != nil { // else the runtime does not wait for it
		return err
	}
	q.epoll = os.NewFile(uintptr(q.fd), "epoll")
	if q.events, err = q.epoll.SyscallConn(); err != nil {
		return err
	}
	if q.listener, err = q.tcp.SyscallConn(); err != nil {
		return err
	}
	var set error
	err = q.listener.Control(func(fd uintptr) {
		// Connections inherit it (tcp(7)).
		if set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); set == nil {
			set = unix.EpollCtl(q.fd, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1})
		}
	})
	return errors.Join(err, set)
}

// reader is one goroutine's room.
type reader struct {
	q      *quick
	ctx    context.Context // of requests: what has to wait becomes later
	later  func() []byte
	events [quickBatch]unix.EpollEvent
	n      int
	room   [4 + quickRequest]byte
	out    []byte
}

func (q *quick) reader() *reader {
	r := &reader{q: q}
	r.ctx = context.WithValue(q.ctx, laterKey{}, postpone(func(_ netip.AddrPort, answer func() []byte) bool {
		r.later = answer
		return true
	}))
	return r
}

// wait takes events without waiting for them.
func (r *reader) wait(fd uintptr) (some bool) {
	n, err := unix.EpollWait(int(fd), r.events[:], 0)
	r.n = max(n, 0)
	return r.n > 0 || err != nil && err != unix.EINTR
}

// lead is the first reader, who waits for events; see serveUDP for how the others help.
func (q *quick) lead() error {
	r := q.reader()
	for {
		switch err := q.events.Read(r.wait); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return fmt.Errorf("kdc: tcp: %w", err)
		}
		r.serve()
	}
}

func (q *quick) help() {
	r := q.reader()
	for {
		select {
		case <-q.crowd:
		case <-q.stopping:
			return
		}
		for r.n = quickBatch; r.n == quickBatch; {
			if q.events.Control(func(fd uintptr) { r.wait(fd) }) != nil {
				return
			}
			r.serve()
		}
	}
}

// serve answers what there are events for.
func (r *reader) serve() {
	if r.n == quickBatch {
		callHelp(r.q.crowd)
	}
	for i := range r.n {
		if fd := r.events[i].Fd; fd < 0 {
			r.accept()
		} else if c := r.q.take(fd); c != nil {
			r.answer(c)
		}
	}
}

// accept takes new connections and answers them: the request is there, most often.
func (r *reader) accept() {
	for i := range quickBatch {
		var fd int
		var from unix.Sockaddr
		var errno error
		err := r.q.listener.Control(func(l uintptr) {
			fd, from, errno = unix.Accept4(int(l), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		})
		switch {
		case err != nil || errno == unix.EAGAIN:
			return // closed, or no more of them
		case errno == unix.EMFILE || errno == unix.ENFILE || errno == unix.ENOBUFS || errno == unix.ENOMEM:
			r.q.Log.WarnContext(r.q.ctx, "kdc: tcp accept", "error", errno)
			r.q.closeOldest()
			time.Sleep(10 * time.Millisecond)
			return
		case errno != nil:
			continue // it was given up meanwhile (accept(2))
		}
		if i == quickBatch-1 {
			callHelp(r.q.crowd)
		}
		r.q.Count.TCPOpen.Add(1)
		r.answer(&idleConn{q: r.q, fd: int32(fd), from: addrPort(from)})
	}
}

func addrPort(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// answer takes a connection's next request, if there is one.
func (r *reader) answer(c *idleConn) {
	n, err := unix.Read(int(c.fd), r.room[:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		r.q.park(c)
		return
	case err != nil || n == 0:
		c.close()
		return
	case n < 4 || uint32(n)-4 != binary.BigEndian.Uint32(r.room[:]):
		r.q.aside(c, bytes.Clone(r.room[:n]), nil)
		return
	}
	reply := r.q.Handle(r.ctx, r.room[4:n], c.from, true)
	if later := r.later; later != nil {
		r.later = nil
		r.q.aside(c, nil, func() []byte {
			if reply := later(); reply != nil {
				return appendFrame(nil, reply)
			}
			return nil
		})
		return
	}
	if reply == nil {
		c.close()
		return
	}
	r.out = appendFrame(r.out[:0], reply)
	n, err = unix.Write(int(c.fd), r.out)
	switch {
	case err == nil && n == len(r.out):
		r.q.park(c)
	case err == nil || err == unix.EAGAIN: // the client is slow to take it
		rest := bytes.Clone(r.out[max(n, 0):])
		r.q.aside(c, nil, func() []byte { return rest })
	default:
		c.close()
	}
}

// park lets a connection wait for its next request.
func (q *quick) park(c *idleConn) {
	c.since = time.Now()
	q.mu.Lock()
	if q.done {
		q.mu.Unlock()
		c.close()
		return
	}
	if q.conns.Len() >= q.maxConns {
		q.endOldest()
	}
	c.place, q.idle[c.fd] = q.conns.PushBack(c), c
	op := unix.EPOLL_CTL_MOD
	if !c.armed {
		op, c.armed = unix.EPOLL_CTL_ADD, true
	}
	// Under the lock: whoever takes it from here on may close it.
	err := unix.EpollCtl(q.fd, op, int(c.fd), &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: c.fd})
	if err != nil {
		c.end()
	}
	q.mu.Unlock()
}

// take makes the caller a waiting connection's owner. An event may come late, when the
// connection is gone; then another that has its number now is merely looked at in vain.
func (q *quick) take(fd int32) *idleConn {
	q.mu.Lock()
	defer q.mu.Unlock()
	c := q.idle[fd]
	if c != nil {
		c.leave()
	}
	return c
}

// leave takes a waiting connection from among them; mu is held.
func (c *idleConn) leave() {
	c.q.conns.Remove(c.place)
	delete(c.q.idle, c.fd)
}

func (c *idleConn) stop() { c.end() }

func (c *idleConn) end() {
	c.leave()
	c.close()
}

func (c *idleConn) close() {
	_ = unix.Close(int(c.fd))
	c.q.Count.TCPOpen.Add(-1)
}

// sweep closes connections that have been idle for too long.
func (q *quick) sweep() {
	t := time.NewTicker(q.idleTime / 16)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-q.stopping:
			return
		}
		old := time.Now().Add(-q.idleTime)
		q.mu.Lock()
		q.each(func(c connection) {
			if c, ok := c.(*idleConn); ok && c.since.Before(old) {
				c.end()
			}
		})
		q.mu.Unlock()
	}
}

// aside gives a connection to a goroutine of its own: with what was read of a request, or
// with what it is sent first.
func (q *quick) aside(c *idleConn, early []byte, first func() []byte) {
	f := os.NewFile(uintptr(c.fd), "tcp")
	conn, err := net.FileConn(f) // another descriptor of the same
	f.Close()
	q.Count.TCPOpen.Add(-1)
	if err != nil {
		q.Log.WarnContext(q.ctx, "kdc: tcp", "error", err)
		return
	}
	tcp := &tcpConn{TCPConn: conn.(*net.TCPConn), from: c.from, early: early, first: first}
	if !q.enter(tcp) {
		conn.Close()
		return
	}
	q.start(q.ctx, q.running, tcp)
}

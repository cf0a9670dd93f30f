package kdc

import (
	"bufio"
	"container/list"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Limits of the sockets.
const (
	MaxUDPRequest = 16 << 10 // Windows goes to TCP above 1,465 B
	MaxTCPMessage = 64 << 10
	maxLate       = 1024 // datagrams whose answers wait for the database
	MaxTCPConns   = 4096 // one more closes the one that has been idle longest

	tcpRequestTime = 10 * time.Second // for a whole request, however slowly it comes
	tcpIdleTime    = 30 * time.Second // between requests
	drainTime      = 5 * time.Second  // for requests that are being answered
	workerIdleTime = time.Second      // of a goroutine without a connection
)

// Handler answers one message; nil means no answer. It has the shape of
// [KDC.Handle].
type Handler func(ctx context.Context, request []byte, from netip.AddrPort, tcp bool) (reply []byte)

// Server answers on one UDP and one TCP port of the same number (RFC 4120 §7.2).
type Server struct {
	Handle  Handler
	Log     *slog.Logger
	Count   *Counters
	tooLong func() []byte // answers a length that is none; nil: nothing does
	readers int           // how many datagrams are answered at a time
	batch   int           // datagrams that a reader takes at once, at most
	quick   bool          // the handler heeds [postpone], so that readers answer connections too

	udp *net.UDPConn
	tcp *net.TCPListener

	maxConns    int
	requestTime time.Duration
	idleTime    time.Duration

	late     chan struct{} // room for answers that wait for something
	crowd    chan struct{} // there are more datagrams than the reader who saw them can take
	stopping chan struct{} // closed by stop
	idle     chan *tcpConn // for goroutines that have none

	mu    sync.Mutex
	conns list.List // of connection, the one that was idle longest in front
	done  bool
}

// Listen opens both sockets. Port 0 takes one that is free for both.
func (k *KDC) Listen(addr string) (*Server, error) {
	log := k.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Handle: k.Handle, Log: log, Count: &k.Count, tooLong: k.fieldTooLong, readers: runtime.GOMAXPROCS(0), batch: udpBatch, quick: true}
	if err := s.bind(addr); err != nil {
		return nil, err
	}
	return s, nil
}

// Listen opens both sockets of the password change service. Its answers wait for a
// database, so more of them are under way at a time.
func (p *Kpasswd) Listen(addr string) (*Server, error) {
	log := p.KDC.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Handle: p.Handle, Log: log, Count: &p.Count.Sockets, readers: maxChanges, batch: 1}
	if err := s.bind(addr); err != nil {
		return nil, err
	}
	p.local = hostAddress(s.Addr().Addr())
	return s, nil
}

func (s *Server) bind(addr string) error {
	s.maxConns, s.requestTime, s.idleTime, s.late = MaxTCPConns, tcpRequestTime, tcpIdleTime, make(chan struct{}, maxLate)
	s.crowd, s.stopping, s.idle = make(chan struct{}, 1), make(chan struct{}), make(chan *tcpConn)
	at, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return fmt.Errorf("kdc: %w", err)
	}
	for try := 0; ; try++ {
		// Connections don't live long enough for keepalives, and to set them up for
		// each costs five calls.
		ln, err := (&net.ListenConfig{KeepAlive: -1}).Listen(context.Background(), "tcp", at.String())
		if err != nil {
			return fmt.Errorf("kdc: %w", err)
		}
		s.tcp = ln.(*net.TCPListener)
		got := s.tcp.Addr().(*net.TCPAddr)
		s.udp, err = net.ListenUDP("udp", &net.UDPAddr{IP: got.IP, Port: got.Port, Zone: got.Zone})
		if err == nil {
			return nil
		}
		s.tcp.Close()
		if at.Port != 0 || try == 10 {
			return fmt.Errorf("kdc: %w", err)
		}
	}
}

// Addr returns where the server listens.
func (s *Server) Addr() netip.AddrPort {
	a := s.tcp.Addr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Serve answers until ctx ends; then it closes the sockets, lets requests that
// are being answered finish, and returns nil.
func (s *Server) Serve(ctx context.Context) error {
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	// Requests outlive ctx by the time of the drain.
	work := context.WithoutCancel(ctx)
	var readers, conns sync.WaitGroup
	udp := context.WithValue(work, laterKey{}, s.postpone(&conns))
	for i := range s.readers {
		readers.Go(func() { fail(s.serveUDP(udp, i == 0)) })
	}
	if s.quick {
		readers.Go(func() { fail(s.serveQuick(work, &conns)) })
	} else {
		readers.Go(func() { fail(s.acceptTCP(work, &conns)) })
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.stop()
	readers.Wait()
	finished := make(chan struct{})
	go func() { conns.Wait(); close(finished) }()
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-finished:
	case <-t.C:
		s.closeAll()
		<-finished
	}
	s.udp.Close()
	return err
}

// postpone returns what answers datagrams beside their readers.
func (s *Server) postpone(running *sync.WaitGroup) postpone {
	return func(to netip.AddrPort, answer func() []byte) bool {
		select {
		case s.late <- struct{}{}:
		default:
			return false
		}
		running.Go(func() {
			defer func() { <-s.late }()
			if reply := answer(); reply != nil {
				_, _ = s.udp.WriteToUDPAddrPort(reply, to)
			}
		})
		return true
	}
}

// stop ends reading: readers see a deadline that has passed, writers go on.
func (s *Server) stop() {
	s.tcp.Close()
	_ = s.udp.SetReadDeadline(time.Unix(1, 0))
	close(s.stopping)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	s.each(connection.stop)
}

func (s *Server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.each(connection.end)
}

// each calls do with every connection; s.mu is held.
func (s *Server) each(do func(connection)) {
	for e := s.conns.Front(); e != nil; {
		next := e.Next() // it may leave
		do(e.Value.(connection))
		e = next
	}
}

// connection is one of a Server's conns; its methods are called with mu held.
type connection interface {
	stop() // wait for no more requests
	end()
}

// tcpConn is a connection with a goroutine that serves it.
type tcpConn struct {
	*net.TCPConn
	from  netip.AddrPort // the socket does not know once the client has reset it
	place *list.Element
	early []byte        // what was read of it before
	first func() []byte // makes what is sent before anything is read, in its frame; may be nil
}

func (c *tcpConn) stop() { _ = c.SetReadDeadline(time.Unix(1, 0)) }
func (c *tcpConn) end()  { c.Close() } // and its goroutine leaves

func (c *tcpConn) Read(b []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(b, c.early)
		c.early = c.early[n:]
		return n, nil
	}
	return c.TCPConn.Read(b)
}

func (s *Server) acceptTCP(ctx context.Context, conns *sync.WaitGroup) error {
	for {
		c, err := s.tcp.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			// Out of descriptors, most likely: some will be given back.
			s.Log.WarnContext(ctx, "kdc: tcp accept", "error", err)
			s.closeOldest()
			time.Sleep(10 * time.Millisecond)
			continue
		}
		conn := &tcpConn{TCPConn: c, from: c.RemoteAddr().(*net.TCPAddr).AddrPort()}
		if !s.enter(conn) {
			c.Close()
			return nil
		}
		s.start(ctx, conns, conn)
	}
}

// start has a goroutine serve the connection.
func (s *Server) start(ctx context.Context, running *sync.WaitGroup, c *tcpConn) {
	select {
	case s.idle <- c:
	default:
		running.Go(func() { s.serveConns(ctx, c) })
	}
}

// serveConns serves a connection, and then others for as long as they come: to grow a new
// goroutine's stack for each costs nearly what it takes to answer.
func (s *Server) serveConns(ctx context.Context, conn *tcpConn) {
	t := time.NewTimer(workerIdleTime)
	defer t.Stop()
	for {
		s.serveTCP(ctx, conn)
		s.leave(conn)
		t.Reset(workerIdleTime)
		select {
		case conn = <-s.idle:
		case <-t.C:
			return
		case <-s.stopping:
			return
		}
	}
}

// enter notes a connection, and makes room for it. Slow clients crowd out the
// slowest of them and nobody else.
func (s *Server) enter(c *tcpConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return false
	}
	if s.conns.Len() >= s.maxConns {
		s.endOldest()
	}
	c.place = s.conns.PushBack(c)
	s.Count.TCPOpen.Add(1)
	return true
}

// closeOldest ends the connection that has been quiet longest.
func (s *Server) closeOldest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endOldest()
}

func (s *Server) endOldest() {
	if e := s.conns.Front(); e != nil {
		s.Count.TCPCrowdedOut.Add(1)
		s.conns.MoveToBack(e) // not the same one twice, where it takes a while to leave
		e.Value.(connection).end()
	}
}

func (s *Server) leave(c *tcpConn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns.Remove(c.place)
	s.Count.TCPOpen.Add(-1)
}

// until sets the time by which the next read has to be done, unless the server
// is stopping: then there is none.
func (s *Server) until(c *tcpConn, d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return false
	}
	s.conns.MoveToBack(c.place)
	return c.SetReadDeadline(time.Now().Add(d)) == nil
}

// readers are what connections are read through: a whole request of a usual client comes
// with one call of the kernel.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4096) }}

// serveTCP answers the requests of a connection one after the other: four octets
// of length, big-endian, in front of each message (RFC 4120 §7.2.2).
func (s *Server) serveTCP(ctx context.Context, c *tcpConn) {
	r := readers.Get().(*bufio.Reader)
	r.Reset(c)
	defer func() { r.Reset(nil); readers.Put(r) }()
	if c.first != nil {
		if framed := c.first(); framed == nil || !s.write(c, framed) {
			return
		}
	}
	var head [4]byte
	var buf []byte
	for {
		if !s.until(c, s.idleTime) {
			return
		}
		if _, err := r.Peek(1); err != nil {
			return
		}
		if !whole(r) && !s.until(c, s.requestTime) {
			return
		}
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		// The high bit is reserved, and too long is too long: either way what
		// follows can't be told from the next request.
		n := binary.BigEndian.Uint32(head[:])
		if n > MaxTCPMessage {
			s.Count.Dropped.Add(1)
			if s.tooLong != nil {
				s.write(c, appendFrame(nil, s.tooLong()))
			}
			return
		}
		var err error
		if buf, err = readAll(r, buf[:0], int(n)); err != nil {
			return
		}
		reply := s.Handle(ctx, buf, c.from, true)
		if reply == nil || !s.write(c, appendFrame(nil, reply)) {
			return
		}
	}
}

// appendFrame appends a message with its length in front.
func appendFrame(to, message []byte) []byte {
	to = slices.Grow(to, 4+len(message))
	return append(binary.BigEndian.AppendUint32(to, uint32(len(message))), message...)
}

// whole reports whether all of a request is there.
func whole(r *bufio.Reader) bool {
	if r.Buffered() < 4 {
		return false
	}
	head, _ := r.Peek(4)
	return uint64(r.Buffered()) >= 4+uint64(binary.BigEndian.Uint32(head))
}

// readAll reads n bytes behind buf, and takes memory for them as they come: 4096
// connections that announce 64 kB each must not cost 256 MB.
func readAll(r io.Reader, buf []byte, n int) ([]byte, error) {
	for len(buf) < n {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, min(n-len(buf), max(2048, len(buf))))...)[:len(buf)]
		}
		m, err := r.Read(buf[len(buf):min(n, cap(buf))])
		buf = buf[:len(buf)+m]
		if err != nil && len(buf) < n {
			return buf, err
		}
	}
	return buf, nil
}

func (s *Server) write(c *tcpConn, framed []byte) bool {
	if err := c.SetWriteDeadline(time.Now().Add(tcpRequestTime)); err != nil {
		return false
	}
	_, err := c.Write(framed)
	return err == nil
}

// Close closes the sockets of a Server that will not serve. After Serve it does
// nothing.
func (s *Server) Close() {
	s.udp.Close()
	s.tcp.Close()
}

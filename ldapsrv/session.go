package ldapsrv

import (
	"bufio"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/ldapsrv/ldapmsg"
)

// Sizes of a session's buffers. An idle connection keeps no more than the read
// buffer and two of keepBuffer.
const (
	readBuffer = 8 << 10
	keepBuffer = 16 << 10
	flushAt    = 64 << 10 // answers gathered before they go out
)

// session is one connection. All but interrupt runs on its own goroutine.
type session struct {
	srv    *Server
	limits *Limits
	ctx    context.Context // of the work; it ends when draining takes too long
	log    *slog.Logger
	raw    net.Conn  // the socket: deadlines and the end
	readBy time.Time // the socket's deadlines, as they are set
	sendBy time.Time
	conn   net.Conn // what messages go through: raw, or TLS over it
	remote string

	in      *bufio.Reader
	message []byte // buffer of the request
	decoder ldapmsg.Decoder
	out     []byte    // answers that have not gone out
	first   time.Time // until then the first message must be whole
	greeted bool      // there was one
	gone    error     // why nothing more can be sent

	secure bool           // TLS is on
	who    *domain.Object // as it was at the bind; nil is anonymous. See actor.
	pages  pages

	place *list.Element // among the places, which keep both; nil: none
	line  *list.List

	// The last base, as it was written: searches of a client share theirs.
	lastBase string
	lastDN   dit.DN

	draining atomic.Bool
}

// errDraining ends a session whose server stops.
var errDraining = errors.New("ldapsrv: server stops")

func newSession(srv *Server, ctx context.Context, conn net.Conn) *session {
	s := &session{srv: srv, limits: srv.limits(), ctx: ctx, raw: conn, remote: conn.RemoteAddr().String()}
	s.log = srv.Log.With("remote", s.remote)
	s.restart()
	s.pages.most = s.limits.Pages
	s.through(conn)
	return s
}

// through makes conn what messages go through. What was read from the old one
// and not used yet is gone, so nothing that was sent in the clear passes for
// part of the protected stream (CVE-2011-0411 and its kin).
func (s *session) through(conn net.Conn) {
	s.conn = conn
	s.in = bufio.NewReaderSize(conn, readBuffer)
}

// handshake puts TLS on the connection.
func (s *session) handshake() error {
	conn := tls.Server(s.raw, s.srv.TLS)
	if err := s.readUntil(s.first); err != nil {
		return err
	}
	s.sendBy = s.first
	if err := s.raw.SetWriteDeadline(s.sendBy); err != nil {
		return err
	}
	if err := conn.HandshakeContext(s.ctx); err != nil {
		s.log.Debug("TLS handshake failed", "error", err)
		return err
	}
	s.through(conn)
	s.secure = true
	return nil
}

// restart gives the time to the first request once more.
func (s *session) restart() { s.first = time.Now().Add(s.limits.FirstRequest) }

// interrupt wakes a session that waits for a request, to end it. It is called
// from other goroutines.
func (s *session) interrupt() {
	s.draining.Store(true)
	s.raw.SetReadDeadline(time.Unix(1, 0))
}

// readUntil sets the deadline of reading. interrupt sets flag and deadline in
// the other order, so one of the two sees the other.
func (s *session) readUntil(t time.Time) error {
	s.readBy = t
	if err := s.raw.SetReadDeadline(t); err != nil {
		return err
	}
	if s.draining.Load() {
		return errDraining
	}
	return nil
}

// idle gives the client its time to the next message. A deadline costs as much
// as a tenth of a search, so it is moved once in a while, and then further: a
// client has its time and up to a sixteenth more.
func (s *session) idle(now time.Time) error {
	if !s.greeted {
		return s.readUntil(s.first)
	}
	if left := s.readBy.Sub(now); left >= s.limits.Idle && left < 2*s.limits.Idle {
		return nil
	}
	s.srv.places.stirred(s)
	return s.readUntil(now.Add(s.limits.Idle + s.limits.Idle/16))
}

// run performs requests until one side ends the session.
func (s *session) run() {
	for {
		msg, err := s.next()
		if err != nil {
			s.end(err)
			return
		}
		goOn := s.handle(msg)
		s.message = msg
		if !goOn || s.gone != nil {
			return
		}
	}
}

// next returns the next message. Before it waits for the network, all answers
// go out.
func (s *session) next() ([]byte, error) {
	if s.draining.Load() {
		return nil, errDraining
	}
	if s.in.Buffered() == 0 {
		if err := s.flush(); err != nil {
			return nil, err
		}
		if cap(s.out) > keepBuffer {
			s.out = nil
		}
		if cap(s.message) > keepBuffer {
			s.message = nil
		}
		if err := s.idle(time.Now()); err != nil {
			return nil, err
		}
		if _, err := s.in.Peek(1); err != nil {
			return nil, err
		}
	}
	if !s.whole() {
		// The client may be waiting for these before it sends the rest, and may
		// not take all day for that (slow-loris).
		if err := s.flush(); err != nil {
			return nil, err
		}
		until := s.first
		if s.greeted {
			until = time.Now().Add(s.limits.Receive)
		}
		if err := s.readUntil(until); err != nil {
			return nil, err
		}
	}
	limit := s.limits.BeforeBind
	if s.who != nil {
		limit = s.limits.Message
	}
	msg, err := ldapmsg.ReadMessage(s.in, limit, s.message)
	s.greeted = true
	return msg, err
}

// whole reports whether reading the next message will not wait.
func (s *session) whole() bool {
	have, _ := s.in.Peek(s.in.Buffered())
	_, need, ok := der.Header(have)
	return !ok || need > 0 && need <= len(have)
}

// flush sends what is gathered.
func (s *session) flush() error {
	if len(s.out) == 0 || s.gone != nil {
		return s.gone
	}
	// As with idle: the time to read an answer, and up to a half more.
	if now := time.Now(); s.sendBy.Sub(now) < s.limits.Write {
		s.sendBy = now.Add(s.limits.Write + s.limits.Write/2)
		s.gone = s.raw.SetWriteDeadline(s.sendBy)
	}
	if s.gone == nil {
		_, s.gone = s.conn.Write(s.out)
	}
	s.out = s.out[:0]
	return s.gone
}

// end closes a session whose next message could not be read: silently where
// the other side is no LDAP client or has gone, and with a notice where it can
// make use of one.
func (s *session) end(err error) {
	switch {
	case s.draining.Load():
		s.notice(ldapmsg.Unavailable, "the server is shutting down")
	case errors.Is(err, ldapmsg.ErrMalformed), errors.Is(err, ldapmsg.ErrTooLarge):
		s.disconnect(err)
	case errors.Is(err, ldapmsg.ErrNotLDAP):
		s.srv.Counters.Disconnected.Add(1)
		s.log.Debug("not an LDAP client")
	case errors.Is(err, io.EOF):
	default:
		s.log.Debug("LDAP connection ended", "error", err)
	}
}

// disconnect ends a session whose stream can't be understood any further.
func (s *session) disconnect(err error) {
	s.srv.Counters.Disconnected.Add(1)
	s.log.Debug("LDAP client disconnected", "error", err)
	s.notice(ldapmsg.ProtocolError, textProtocol)
}

// notice sends the notice of disconnection (RFC 4511 §4.4.1) and sees it off.
func (s *session) notice(code ldapmsg.ResultCode, text string) {
	s.out = ldapmsg.AppendExtended(s.out, 0, ldapmsg.Result{Code: code, Message: text}, ldapmsg.NoticeOfDisconnection, nil)
	s.farewell()
}

// farewell sends what is gathered before the socket is closed. A socket that is
// closed with bytes unread resets the connection, and the reset overtakes the
// last answer; so what the client still sends is read, for a second and a limit.
func (s *session) farewell() {
	if s.flush() != nil {
		return
	}
	if c, ok := s.raw.(interface{ CloseWrite() error }); ok && c.CloseWrite() == nil {
		s.raw.SetReadDeadline(time.Now().Add(time.Second))
		io.CopyN(io.Discard, s.raw, int64(s.limits.BeforeBind))
	}
}

// actor is who is bound, as the account is now: one that was deleted or
// disabled since is nobody. A new password does not end a session.
func (s *session) actor() *domain.Object {
	if s.who == nil {
		return nil
	}
	o := s.srv.Replica.ByGUID(s.who.GUID)
	if o == nil || o.Disabled() || o.Settings.Expired(s.srv.Now()) {
		return nil
	}
	return o
}

// handle performs one request; it returns false at the session's end.
func (s *session) handle(msg []byte) bool {
	m, err := s.decoder.Decode(msg)
	if err != nil || m.ID == 0 { // 0 is for notices (RFC 4511 §4.1.1.1)
		return s.undecodable(&m, err)
	}
	if r, ok := s.controls(&m); !ok {
		s.answer(&m, r)
		return true
	}
	switch op := m.Op.(type) {
	case *ldapmsg.SearchRequest:
		r, controls := s.search(&m, op)
		s.out = ldapmsg.AppendResult(s.out, m.ID, ldapmsg.OpSearchDone, r, controls...)
	case *ldapmsg.BindRequest:
		was := s.who
		s.answer(&m, s.bind(op))
		clear(msg) // the password
		// A stranger who remains one has done nothing for his place.
		if was != nil || s.who != nil {
			s.srv.places.stirred(s)
		}
	case *ldapmsg.CompareRequest:
		s.answer(&m, s.compare(op))
	case *ldapmsg.AddRequest:
		s.answer(&m, s.add(op))
	case *ldapmsg.ModifyRequest:
		s.answer(&m, s.modify(op))
		clear(msg)
	case *ldapmsg.DeleteRequest:
		s.answer(&m, s.delete(op))
	case *ldapmsg.ModifyDNRequest:
		s.answer(&m, s.modifyDN(op))
	case *ldapmsg.ExtendedRequest:
		return s.extended(&m, op)
	case *ldapmsg.AbandonRequest:
		// Requests are performed one after the other, so the one that is meant is
		// done; abandoning has no answer (RFC 4511 §4.11).
	case *ldapmsg.UnbindRequest:
		s.flush()
		return false
	}
	return true
}

// undecodable answers a message that Decode refused. Where it is only too much,
// the request is answered and the session goes on; where it breaks the
// protocol, the session ends (RFC 4511 §4.1.1).
func (s *session) undecodable(m *ldapmsg.Message, err error) bool {
	var r ldapmsg.Result
	switch {
	case m.ID == 0 || m.Response() == 0:
		s.disconnect(err)
		return false
	case errors.Is(err, dit.ErrFilterDepth):
		r = ldapmsg.Result{Code: ldapmsg.UnwillingToPerform, Message: textWillNot}
	case errors.Is(err, ldapmsg.ErrTooManyControls):
		r = ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textProtocol}
	case errors.Is(err, ldapmsg.ErrTooLarge):
		r = ldapmsg.Result{Code: ldapmsg.AdminLimitExceeded, Message: textTooLarge}
	default:
		s.disconnect(err)
		return false
	}
	s.answer(m, r)
	return true
}

// answer gathers a response that is only a result.
func (s *session) answer(m *ldapmsg.Message, r ldapmsg.Result) {
	switch op := m.Response(); op {
	case 0: // unbind and abandon have none
	case ldapmsg.OpBindResponse:
		s.out = ldapmsg.AppendBindResponse(s.out, m.ID, r, nil)
	case ldapmsg.OpExtendedResponse:
		s.out = ldapmsg.AppendExtended(s.out, m.ID, r, "", nil)
	default:
		s.out = ldapmsg.AppendResult(s.out, m.ID, op, r)
	}
}

// supportedControls are those that do what they say, for searches.
var supportedControls = []string{
	ldapmsg.PagedResults,
	// Searches never answer with continuation references, so a client that asks
	// for none has what it wants.
	ldapmsg.DomainScope,
}

// controls refuses a request with a control that is critical and unknown, or
// that stands twice (RFC 4511 §4.1.11). Unbind and abandon ignore criticality.
func (s *session) controls(m *ldapmsg.Message) (r ldapmsg.Result, ok bool) {
	for i := range m.Controls {
		c := &m.Controls[i]
		if m.Control(c.OID) != c {
			return ldapmsg.Result{Code: ldapmsg.ProtocolError, Message: textProtocol}, m.Response() == 0
		}
		known := m.Tag == ldapmsg.OpSearchRequest && slices.Contains(supportedControls, c.OID)
		if c.Critical && !known && m.Response() != 0 {
			return ldapmsg.Result{Code: ldapmsg.UnavailableCriticalExtension, Message: textControl}, false
		}
	}
	return r, true
}

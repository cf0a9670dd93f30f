package api

import (
	"container/list"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
)

// maxConns of the listener at once; one more closes one that is quiet. With those of
// the domain's ports they fit into 20,000 descriptors.
const maxConns = 5000

// places are the connections of a listener. Those with a request under way, whose
// header has come whole, wait in one line and all others in another; who has been in
// it longest is in front.
type places struct {
	net.Listener
	most int

	mu          sync.Mutex
	conns       map[net.Conn]place
	quiet, busy list.List // of net.Conn
}

type place struct {
	line *list.List
	*list.Element
}

func newPlaces(ln net.Listener, most int) *places {
	return &places{Listener: ln, most: most, conns: map[net.Conn]place{}}
}

// Accept gives a descriptor back where none is left, and lets net/http try again.
func (p *places) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.drop(0)
	}
	return c, err
}

// changed is [http.Server.ConnState].
func (p *places) changed(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, known := p.conns[c]
	if known {
		was.line.Remove(was.Element)
		delete(p.conns, c)
	}
	line := &p.quiet
	switch state {
	case http.StateNew:
	case http.StateIdle, http.StateActive:
		if !known { // it is going
			return
		}
		if state == http.StateActive {
			line = &p.busy
		}
	default:
		return
	}
	p.conns[c] = place{line, line.PushBack(c)}
	if len(p.conns) > p.most {
		// A sixteenth is kept for those that come, or slow requests could take all.
		p.drop(p.most / 16)
	}
}

// drop closes the quietest connection if there are more of those than kept, and
// whichever came last, or else the one whose request has taken longest.
func (p *places) drop(kept int) {
	e := p.busy.Front()
	if e == nil || p.quiet.Len() > max(1, kept) {
		e = p.quiet.Front()
	}
	if e == nil {
		return
	}
	c := e.Value.(net.Conn)
	p.conns[c].line.Remove(e)
	delete(p.conns, c)
	// Not as TLS ends: the other side may not take even that.
	if over, ok := c.(*tls.Conn); ok {
		c = over.NetConn()
	}
	c.Close()
}

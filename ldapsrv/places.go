package ldapsrv

import (
	"container/list"
	"sync"
)

// places are the connections of all listeners, Limits.Connections of them. Who is
// bound waits in one line and strangers in another; who has been quiet longest is in
// front, to a sixteenth of Limits.Idle.
type places struct {
	mu               sync.Mutex
	strangers, bound list.List // of *session
}

// take gives a session its place. One too many costs another its own: slow strangers
// crowd out the slowest of them and nobody who has signed in, but for the sixteenth
// that is kept for signing in. crowded is whether somebody had to go.
func (p *places) take(s *session, most int) (crowded bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.place, s.line = p.strangers.PushBack(s), &p.strangers
	return p.strangers.Len()+p.bound.Len() > most && p.drop(most/16)
}

// free closes a connection, whichever has the least right to be there, for the
// descriptor that comes free. It reports whether there was one.
func (p *places) free() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drop(0)
}

// drop closes the quietest stranger if there are more than kept, and whoever came
// last, or else the quietest who is bound.
func (p *places) drop(kept int) bool {
	e := p.bound.Front()
	if e == nil || p.strangers.Len() > max(1, kept) {
		e = p.strangers.Front()
	}
	if e == nil {
		return false
	}
	s := e.Value.(*session)
	s.line.Remove(e)
	s.place = nil
	s.raw.Close() // its goroutine sees that
	return true
}

// stirred moves a session behind all others of its kind, which may be another than
// before.
func (p *places) stirred(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.place == nil { // it is going
		return
	}
	s.line.Remove(s.place)
	if s.line = &p.strangers; s.who != nil {
		s.line = &p.bound
	}
	s.place = s.line.PushBack(s)
}

// leave ends a session's part in it.
func (p *places) leave(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.place != nil {
		s.line.Remove(s.place)
		s.place = nil
	}
}

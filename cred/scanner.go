package cred

// scanner reads the little JSON that a Sealed's header may hold: objects of
// strings without escapes. encoding/json would take most of the time that a
// batch of a thousand has for its sealed hashes, and would take the last of two
// members of one name, where another reader takes the first.
type scanner struct {
	b   []byte
	bad bool
}

func (s *scanner) space() {
	for len(s.b) > 0 && (s.b[0] == ' ' || s.b[0] == '\t' || s.b[0] == '\n' || s.b[0] == '\r') {
		s.b = s.b[1:]
	}
}

// next takes c after white space, if it is there.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.bad || len(s.b) == 0 || s.b[0] != c {
		return false
	}
	s.b = s.b[1:]
	return true
}

func (s *scanner) need(c byte) {
	if !s.next(c) {
		s.bad = true
	}
}

// string takes a string of printable ASCII.
func (s *scanner) string() []byte {
	s.need('"')
	if s.bad {
		return nil
	}
	for i, c := range s.b {
		if c == '"' {
			out := s.b[:i:i]
			s.b = s.b[i+1:]
			return out
		}
		if c < ' ' || c > '~' || c == '\\' {
			break
		}
	}
	s.bad = true
	return nil
}

// once takes a string for a member that has had no value before.
func (s *scanner) once(before []byte) []byte {
	if before != nil {
		s.bad = true
	}
	return s.string()
}

// first enters an object and takes the name of its first member; more goes on
// after the member's value. ok is false at the end of the object, and when
// something is wrong.
func (s *scanner) first() (name []byte, ok bool) {
	s.need('{')
	if s.next('}') {
		return nil, false
	}
	return s.name()
}

func (s *scanner) more() (name []byte, ok bool) {
	if s.next(',') {
		return s.name()
	}
	s.need('}')
	return nil, false
}

func (s *scanner) name() ([]byte, bool) {
	name := s.string()
	s.need(':')
	return name, !s.bad
}

// decodeInto is b64.Decode of a string that fits.
func decodeInto(dst []byte, text string) (int, error) {
	var src [maxHeader]byte
	return b64.Decode(dst, src[:copy(src[:], text)])
}

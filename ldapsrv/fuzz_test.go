package ldapsrv

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"skyrealm/der"
	"skyrealm/ldapsrv/ldapmsg"
)

// script is a connection whose client has said all it ever will.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

type address struct{}

func (address) Network() string { return "script" }
func (address) String() string  { return "script" }

func (s *script) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return address{} }
func (s *script) RemoteAddr() net.Addr             { return address{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// maxScript bounds what the answers take; a client that asks for more is gone.
const maxScript = 4 << 20

func (s *script) Write(b []byte) (int, error) {
	if s.out.Len() > maxScript {
		return 0, io.ErrClosedPipe
	}
	return s.out.Write(b)
}

// FuzzSession has a client say anything, behind a bind or without. The server
// must not panic (run has no recover), and what it answers must be messages.
func FuzzSession(f *testing.F) {
	for _, c := range conversations {
		var all []byte
		for _, fl := range load(f, filepath.Join("testdata", c.name+".txt")) {
			if !fl.server {
				all = append(all, fl.data...)
			}
		}
		f.Add(all, true)
	}
	f.Add(request(1, extendedOp(ldapmsg.StartTLS)), false)
	f.Add(append(request(2, searchOp(base, 2, nil), control(ldapmsg.PagedResults, true, []byte("\x30\x05\x02\x01\x02\x04\x00"))),
		request(3, searchOp(base, 2, nil), control(ldapmsg.PagedResults, true, []byte("\x30\x0d\x02\x01\x02\x04\x08\x00\x00\x00\x00\x00\x00\x00\x01")))...), true)
	f.Add(request(2, searchOp("<WKGUID=aa312825768811d1aded00c04fd8d5cd,"+base+">", 2, equal("member", adaDN))), true)
	srv := newServer(f, people(f).replica())
	bind := request(1, bindOp(adaDN, adaPW))
	f.Fuzz(func(t *testing.T, said []byte, bound bool) {
		if len(said) > 64<<10 {
			return
		}
		if bound {
			said = append(bytes.Clone(bind), said...)
		}
		conn := &script{in: bytes.NewReader(said)}
		s := newSession(srv, t.Context(), conn)
		s.run()
		for r := der.NewReader(conn.out.Bytes()); !r.Empty(); {
			_, _, raw, ok := r.Any()
			if !ok {
				if conn.out.Len() > maxScript || s.secure {
					return
				}
				t.Fatalf("answers end with %x", r.Rest())
			}
			if raw[0] == 0x30 {
				parse(t, raw)
			}
		}
		if n := srv.Counters.Internal.Load(); n != 0 {
			t.Fatalf("%d internal errors", n)
		}
	})
}

package api_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"skyrealm/api"
)

// ended fails unless the other side closes the connection, in less than any time
// that the listener gives.
func ended(t *testing.T, name string, c net.Conn) {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(5*time.Second)))
	if n, err := c.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%s lives: %d octets, %v", name, n, err)
	}
}

// One connection too many costs the one that has been quiet longest, whatever it
// leaves out: a handshake, a header, or the rest of a body (trust.md F10).
func TestTooManyConnections(t *testing.T) {
	h := newHouse(t, func(s *api.Server) { s.MaxConns = 4 })
	base, client, _ := h.serve(t)
	config := client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ServerName = "127.0.0.1"
	dial := func(say string) net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "https://"))
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, err = io.WriteString(c, say)
		must(t, err)
		return c
	}
	over := func(say, answer string) net.Conn {
		t.Helper()
		c := tls.Client(dial(""), config)
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		must(t, c.Handshake())
		_, err := io.WriteString(c, say)
		must(t, err)
		for in := bufio.NewScanner(c); answer != "" && in.Scan(); {
			if strings.HasPrefix(in.Text(), answer) {
				return c
			}
		}
		if answer != "" {
			t.Errorf("%.20q is not answered with %q", say, answer)
		}
		return c
	}
	honest := func() net.Conn {
		t.Helper()
		return over("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP/1.1 200")
	}
	// What is told to continue is being read.
	slow := func() net.Conn {
		t.Helper()
		return over("POST /contoso.test/oauth2/v2.0/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 100")
	}

	body := slow()
	silent, half := dial(""), dial("\x16\x03\x01")
	header := over("GET /healthz HTTP/1.1\r\nHost", "")
	first := honest()
	ended(t, "who says nothing", silent)
	_, err := header.Write([]byte(":")) // an octet now and then moves nobody
	must(t, err)
	second := honest()
	ended(t, "half a handshake", half)
	third := honest()
	ended(t, "half a header", header)

	bodies := []net.Conn{slow(), slow(), slow()}
	for _, c := range []net.Conn{first, second, third} {
		ended(t, "who has been answered", c)
	}
	// All have a request under way now: the one that takes longest goes.
	resp, err := client.Get(base + "/healthz")
	must(t, err)
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Errorf("by %s", resp.Proto)
	}
	ended(t, "the slowest body", body)
	for _, c := range bodies {
		_, err := c.Write([]byte(strings.Repeat("x", 100)))
		must(t, err)
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Errorf("a body that came to its end: %v", err)
		}
	}
}

// full is a listener of a process that has no descriptor left, once it is told.
type full struct {
	net.Listener
	now chan struct{}
}

func (f full) Accept() (net.Conn, error) {
	select {
	case <-f.now:
		return nil, syscall.EMFILE
	default:
		return f.Listener.Accept()
	}
}

// Where descriptors have run out, a quiet connection gives one back.
func TestNoDescriptors(t *testing.T) {
	h, now := newHouse(t, nil), make(chan struct{})
	base, _, _ := h.serve(t, func(ln net.Listener) net.Listener { return full{ln, now} })
	var conns []net.Conn
	for range 2 {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "https://"))
		must(t, err)
		defer c.Close()
		conns = append(conns, c)
		if len(conns) == 1 {
			close(now) // it is waited for already; the next one brings the news
		}
	}
	ended(t, "the quiet one", conns[0])
}

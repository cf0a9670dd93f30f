package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"skyrealm/api"
)

// TestKDCProxy: what goes in and out, and every refusal in HTTP's terms.
func TestKDCProxy(t *testing.T) {
	var got []byte
	var from netip.AddrPort
	answer := func() ([]byte, error) { return []byte("reply"), nil }
	h := newHouse(t, func(s *api.Server) {
		s.KDCProxy = func(_ context.Context, message []byte, client netip.AddrPort) ([]byte, error) {
			got, from = bytes.Clone(message), client
			return answer()
		}
	})
	post := func(path, method string, body io.Reader) *http.Response {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, body)
		r.RemoteAddr = "192.0.2.7:4242"
		h.handler.ServeHTTP(w, r)
		return w.Result()
	}
	for _, path := range []string{"/KdcProxy", "/kdcproxy", "/KdcProxy/"} {
		r := post(path, "POST", strings.NewReader("message"))
		reply, _ := io.ReadAll(r.Body)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != "application/kerberos" || string(reply) != "reply" || string(got) != "message" || from.String() != "192.0.2.7:4242" {
			t.Errorf("%s: %d %v %q, got %q from %v", path, r.StatusCode, r.Header, reply, got, from)
		}
	}
	for _, c := range []struct {
		what   string
		err    error
		method string
		size   int
		status int
	}{
		{"a message that is none", api.ErrProxyMessage, "POST", 1, 400},
		{"another realm", fmt.Errorf("x: %w", api.ErrProxyRealm), "POST", 1, 404},
		{"a failure", errors.New("secret"), "POST", 1, 500},
		{"the limit", nil, "POST", 128 << 10, 200},
		{"above the limit", nil, "POST", 128<<10 + 1, 413},
		{"another method", nil, "GET", 0, 405},
	} {
		answer = func() ([]byte, error) { return []byte("reply"), c.err }
		for _, announced := range []bool{true, false} {
			var body io.Reader = bytes.NewReader(make([]byte, c.size))
			if !announced {
				body = struct{ io.Reader }{body} // a length that is not known, as chunks have
			}
			r := post("/KdcProxy", c.method, body)
			text, _ := io.ReadAll(r.Body)
			if r.StatusCode != c.status || c.status != 200 && !strings.Contains(string(text), `"code"`) || strings.Contains(string(text), "secret") {
				t.Errorf("%s: %d %s", c.what, r.StatusCode, text)
			}
		}
	}
	without := newHouse(t, nil)
	w := httptest.NewRecorder()
	without.handler.ServeHTTP(w, httptest.NewRequest("POST", "/KdcProxy", strings.NewReader("message")))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "does not serve the managed domain") {
		t.Errorf("without a domain: %d %s", w.Code, w.Body)
	}
}

// deadlined remembers until when its body is waited for.
type deadlined struct {
	*httptest.ResponseRecorder
	until time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error { d.until = t; return nil }

// TestKDCProxyDrip: a body that comes byte by byte is waited for ten seconds and no
// longer (trust.md P08). What does not arrive whole is not answered.
func TestKDCProxyDrip(t *testing.T) {
	h := newHouse(t, func(s *api.Server) {
		s.KDCProxy = func(context.Context, []byte, netip.AddrPort) ([]byte, error) { return []byte("reply"), nil }
	})
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	began := time.Now()
	h.handler.ServeHTTP(w, httptest.NewRequest("POST", "/KdcProxy", io.MultiReader(strings.NewReader("half"), iotest.ErrReader(os.ErrDeadlineExceeded))))
	if left := w.until.Sub(began); left <= 0 || left > 10*time.Second+time.Since(began) {
		t.Errorf("it is waited for %s", left)
	}
	if w.Code != 400 {
		t.Errorf("half a message: %d %s", w.Code, w.Body)
	}
}

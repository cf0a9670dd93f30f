package network

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/krb5"
	"skyrealm/test/harness"
)

// crowd is many connections to a port, which all say the same and never come to the
// end of it.
type crowd struct {
	name, addr string
	first, say string      // at once, and then octet by octet
	tls        *tls.Config // what is said is said over TLS
	size       int
	time       time.Duration // that the port gives them

	conns []io.ReadWriteCloser
	ended []time.Duration
}

// TestSlow: 2,000 connections to each port, which send an octet every second, hold
// nobody up, and are closed when their time is over (trust.md F10).
func TestSlow(t *testing.T) {
	t.Parallel() // it waits for the most part
	const slow, few = 2000, 100
	s := start(t)
	before := metrics(t, s)
	config := s.TLS()
	config.ServerName = "localhost"
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("r", 500)
	message := string(framed(make([]byte, 500)))
	// The ones that are given the most time begin.
	crowds := []*crowd{
		{name: "LDAP", addr: s.LDAP, say: "\x30\x84\x00\x00\x01\x00" + strings.Repeat("\x02", 256), size: slow, time: 30 * time.Second},
		{name: "LDAPS", addr: s.LDAPS, say: hello, size: slow, time: 30 * time.Second},
		{name: "LDAP over TLS", addr: s.LDAPS, say: "\x30\x84\x00\x00\x01\x00" + strings.Repeat("\x02", 256), tls: config, size: few, time: 30 * time.Second},
		{name: "HTTPS, a header", addr: s.HTTPS, say: "GET /healthz HTTP/1.1\r\nHost: " + strings.Repeat("h", 500), tls: config, size: few, time: 10 * time.Second},
		{name: "KdcProxy, a body", addr: s.HTTPS, first: "POST /KdcProxy HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n", say: strings.Repeat("b", 500), tls: config, size: few, time: 10 * time.Second},
		{name: "HTTPS", addr: s.HTTPS, say: hello, size: slow, time: 10 * time.Second},
		{name: "kpasswd", addr: s.Kpasswd, say: message, size: slow, time: 10 * time.Second},
		{name: "KDC", addr: s.KDC, say: message, size: slow, time: 10 * time.Second},
	}
	honest := newHonest(t, s)
	idle := honest.round(t)

	total, stop := 0, make(chan struct{})
	var reading, dripping sync.WaitGroup
	defer func() {
		close(stop)
		for _, c := range crowds {
			for _, conn := range c.conns {
				conn.Close()
			}
		}
		reading.Wait()
		dripping.Wait()
	}()
	for _, c := range crowds {
		c.dial(t, &reading)
		dripping.Go(func() { c.drip(stop) })
		total += c.size
	}
	harness.WaitFor(t, "all of them to be accepted", func() error {
		// Those that came first may have had their time.
		if n := metrics(t, s)["process_open_fds"] - before["process_open_fds"]; n < float64(total)/2 {
			return fmt.Errorf("%v descriptors for %d connections", n, total)
		}
		return nil
	})
	for range 2 {
		for name, took := range honest.round(t) {
			// Behind the slow ones it would take until they are closed.
			if took > 8*time.Second {
				t.Errorf("%s took %v", name, took)
			}
			t.Logf("%s: %v, and %v beside %d slow connections", name, idle[name].Round(time.Millisecond), took.Round(time.Millisecond), total)
		}
	}
	reading.Wait()
	for _, c := range crowds {
		first, last := slices.Min(c.ended), slices.Max(c.ended)
		if last > c.time+harness.Patience/3 {
			t.Errorf("%s: a connection was closed after %v", c.name, last)
		}
		t.Logf("%s: %d connections, closed after %v to %v", c.name, c.size, first.Round(time.Millisecond), last.Round(time.Millisecond))
	}
	harness.WaitFor(t, "the descriptors to be given back", func() error {
		if n := metrics(t, s)["process_open_fds"]; n > before["process_open_fds"]+20 {
			return fmt.Errorf("%v are open", n)
		}
		return nil
	})
}

// dial opens the connections and notes when each is closed by the other side.
func (c *crowd) dial(t *testing.T, reading *sync.WaitGroup) {
	t.Helper()
	c.ended = make([]time.Duration, c.size)
	for i := range c.size {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			t.Fatalf("%s: connection %d: %v", c.name, i, err)
		}
		_ = conn.SetDeadline(time.Now().Add(2 * harness.Patience))
		began, over := time.Now(), io.ReadWriteCloser(conn)
		if c.tls != nil {
			over = tls.Client(conn, c.tls)
		}
		c.conns = append(c.conns, over)
		if _, err := io.WriteString(over, c.first+c.say[:1]); err != nil {
			t.Fatalf("%s: connection %d: %v", c.name, i, err)
		}
		reading.Go(func() {
			for b := make([]byte, 64); ; {
				if _, err := over.Read(b); err != nil {
					c.ended[i] = time.Since(began)
					return
				}
			}
		})
	}
}

// drip sends the next octet of all, every second.
func (c *crowd) drip(stop <-chan struct{}) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for n := 1; n < len(c.say); n++ {
		select {
		case <-stop:
			return
		case <-every.C:
		}
		for _, conn := range c.conns {
			_, _ = io.WriteString(conn, c.say[n:n+1]) // it may be closed
		}
	}
}

// honest are clients of every port, all by TCP.
type honest struct {
	s       *harness.Server
	c       *harness.Client
	message []byte // for the proxy
}

func newHonest(t *testing.T, s *harness.Server) *honest {
	t.Helper()
	c := configured(t, s, s.Krb5Conf, "[libdefaults]", "udp_preference_limit = 1", "[realms]", s.Realm+" = {", "kpasswd_server = tcp/"+s.Kpasswd, "}")
	q := &krb5.KDCReq{MsgType: krb5.MsgASReq, CName: krb5.Principal(1, "ada"), Realm: s.Realm,
		SName: krb5.Principal(2, "krbtgt", s.Realm), Till: time.Now().Add(time.Hour), Nonce: 1, ETypes: []int32{18}}
	return &honest{s, c, wrapped(framed(krb5.Encode(q)), s.Realm)}
}

// round has each of them do one thing, and returns how long it took.
func (h *honest) round(t *testing.T) map[string]time.Duration {
	t.Helper()
	took := map[string]time.Duration{}
	timed := func(name string, do func()) {
		at := time.Now()
		do()
		took[name] = time.Since(at)
	}
	timed("kinit", func() {
		if trace := traced(t, h.c, "ada"); !strings.Contains(trace, "TCP connection") || strings.Contains(trace, "UDP request") {
			t.Errorf("not by TCP:\n%s", trace)
		}
	})
	timed("kpasswd", func() {
		trace := tracing(t, h.c, func() {
			if out, _ := h.c.Try(adaPassword+"\nOther-Passw0rd-1\nOther-Passw0rd-1\n", "kpasswd", "ada"); !strings.Contains(out, "on-premises directory") {
				t.Errorf("kpasswd: %s", out)
			}
		})
		if !strings.Contains(trace, "TCP connection to stream "+h.s.Kpasswd) || strings.Contains(trace, "UDP request") {
			t.Errorf("not by TCP:\n%s", trace)
		}
	})
	for _, url := range []string{"ldap://" + h.s.LDAP, "ldaps://" + h.s.LDAPS} {
		timed(url[:strings.Index(url, ":")], func() {
			h.c.Run("", "ldapwhoami", "-x", "-H", url, "-D", "ada@contoso.test", "-w", adaPassword)
		})
	}
	timed("KdcProxy", func() {
		anew := &http.Client{Timeout: harness.Patience, Transport: &http.Transport{TLSClientConfig: h.s.TLS(), DisableKeepAlives: true}}
		resp, err := anew.Post("https://"+h.s.HTTPS+"/KdcProxy", "application/kerberos", bytes.NewReader(h.message))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("KdcProxy: %v, %v", resp.Status, err)
		}
	})
	return took
}

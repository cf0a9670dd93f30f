package network

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/krb5"
)

// halfDone leaves 50,000 sign-ins half done, from 1,000 addresses: of people who ask
// what pre-authentication is wanted, who never answer a SPAKE challenge, and who never
// come back with a cookie from inside FAST (K09, CVE-2025-27479). All that is left of
// them is with the clients, so memory stays as it was, and others sign in.
func (x *hostile) halfDone(t *testing.T) {
	const sources, rounds = 1000, 50
	const total = sources * rounds
	begin := make([]*opening, 8)
	begin[0], begin[1], begin[2] = x.opening(t, "plain"), x.opening(t, "SPAKE"), x.opening(t, "FAST")
	for i := 3; i < len(begin); i++ {
		begin[i] = begin[0] // the others cost much under the race detector
	}
	conns := make([]net.Conn, sources)
	for i := range conns {
		from := &net.UDPAddr{IP: net.IPv4(127, 7, byte(i>>8), byte(i))}
		c, err := (&net.Dialer{LocalAddr: from}).Dial("udp", x.s.KDC)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	var answered atomic.Int64
	flood := func(rounds int) {
		const workers = 16
		var running sync.WaitGroup
		for w := range workers {
			running.Go(func() {
				buf := make([]byte, 4096)
				for round := range rounds {
					for i := w; i < sources; i += workers {
						o := begin[(round+i)%len(begin)]
						if code, err := ask(conns[i], o.request(uint32(round*sources+i)), buf); err != nil || code != o.code {
							t.Errorf("%s from %v: %v, %v", o.kind, conns[i].LocalAddr(), code, err)
							return
						}
						answered.Add(1)
					}
				}
			})
		}
		running.Wait()
	}
	idle := x.latency(t, 300, nil)
	flood(rounds / 10) // the heap is as large as the load makes it
	answered.Store(0)

	before, began := metrics(t, x.s), time.Now()
	done := make(chan struct{})
	go func() { defer close(done); flood(rounds) }()
	type signIn struct {
		out  string
		err  error
		took time.Duration
	}
	beside := make(chan signIn, 1)
	c := x.s.Client(t)
	go func() {
		at := time.Now()
		out, err := c.Try(adaPassword+"\n", "kinit", "crowd")
		beside <- signIn{out, err, time.Since(at)}
	}()
	busy := x.latency(t, total, done)
	took, after := time.Since(began), metrics(t, x.s)
	kinit := <-beside
	if kinit.err != nil {
		t.Errorf("kinit: %v\n%s", kinit.err, kinit.out)
	}
	if n := answered.Load(); n != total {
		t.Errorf("%d of %d were answered", n, total)
	}
	// The collector's next goal is twice what was live at the last one, as GOGC is 100. A state is a
	// hundred octets at least, and every eighth is of SPAKE.
	const goal, resident = "go_memstats_next_gc_bytes", "process_resident_memory_bytes"
	if kept := (after[goal] - before[goal]) / 2; kept > 25*total {
		t.Errorf("%.0f octets are kept of each that is half done", kept/total)
	}
	if more := after[resident] - before[resident]; more > 32<<20 {
		t.Errorf("%.0f MB more are resident", more/1e6)
	}
	part := func(sorted []time.Duration, percent int) time.Duration { return sorted[len(sorted)*percent/100] }
	t.Logf("%d in %v (%.0f/s), kinit beside them in %v; an AS-REQ's p50 %v idle and %v then, p99 %v and %v (%.1f times)", total, took.Round(time.Millisecond),
		total/took.Seconds(), kinit.took.Round(time.Millisecond), part(idle, 50), part(busy, 50), part(idle, 99), part(busy, 99), float64(part(busy, 99))/float64(part(idle, 99)))
	t.Logf("live MB %.1f then %.1f, resident MB %.0f then %.0f", before[goal]/2e6, after[goal]/2e6, before[resident]/1e6, after[resident]/1e6)
}

// dial opens a socket to the KDC, for as long as the test runs.
func (x *hostile) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("udp", x.s.KDC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// opening is a request whose answer asks for another.
type opening struct {
	kind    string
	code    krb5.ErrorCode // the answer's
	message []byte
	nonce   int // where it is; 0 where it can't be changed
}

// opening finds the one of a kind among what has been said.
func (x *hostile) opening(t *testing.T, of string) *opening {
	t.Helper()
	conn, buf := x.dial(t), make([]byte, 4096)
	for _, b := range x.said {
		var q krb5.KDCReq
		if err := q.Unmarshal(b); err != nil {
			t.Fatal(err)
		}
		if kind(t, b) != of {
			continue
		}
		o := &opening{kind: of, message: b}
		// FAST's checksum covers the nonce.
		if nonce := []byte{0xa7, 6, 2, 4, 0x40, 0, 0, 0}; of != "FAST" {
			q.Nonce = 1 << 30
			o.message = krb5.Encode(&q)
			if o.nonce = bytes.Index(o.message, nonce) + 4; o.nonce < 4 || bytes.Count(o.message, nonce) != 1 {
				t.Fatalf("no nonce in %x", o.message)
			}
		}
		var err error
		if o.code, err = ask(conn, o.message, buf); err == nil && (o.code == krb5.ErrPreauthRequired || o.code == krb5.ErrMorePreauthRequired) {
			return o
		}
	}
	t.Fatalf("no request of the kind %s is the first of more", of)
	return nil
}

// request is the message as one that was not sent before.
func (o *opening) request(n uint32) []byte {
	b := slices.Clone(o.message)
	if o.nonce != 0 {
		binary.BigEndian.PutUint32(b[o.nonce:], 1<<30|n)
	}
	return b
}

// ask sends a request by UDP, as often as it takes, and returns the code of the error
// that is the answer; 0 for none.
func ask(c net.Conn, request, buf []byte) (krb5.ErrorCode, error) {
	for try := 0; ; try++ {
		if _, err := c.Write(request); err != nil {
			return 0, err
		}
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		n, err := c.Read(buf)
		if os.IsTimeout(err) && try < 5 {
			continue
		}
		if err != nil {
			return 0, err
		}
		var e krb5.Error
		if err := e.Unmarshal(buf[:n]); err != nil {
			return 0, err
		}
		return e.Code, nil
	}
}

// latency times sign-ins' first requests, one after the other, until there are n or
// done is closed. The shortest is the first of what it returns.
func (x *hostile) latency(t *testing.T, n int, done <-chan struct{}) (took []time.Duration) {
	t.Helper()
	conn, buf := x.dial(t), make([]byte, 4096)
	for range n {
		select {
		case <-done:
			n = 0
		case <-time.After(time.Millisecond):
		}
		if n == 0 {
			break
		}
		at := time.Now()
		if code, err := ask(conn, x.said[0], buf); err != nil || code != krb5.ErrPreauthRequired {
			t.Fatalf("%v, %v", code, err)
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return took
}

package network

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"skyrealm/test/harness"
)

// TestMutants sends broken copies of what real clients say to every way into the
// KDC and the password service (trust.md F14, K01, K02, K06). The same ones each time.
// SKYREALM_MUTANTS is how many go by UDP; ten million take half an hour:
//
//	SKYREALM_MUTANTS=10000000 go test -run Mutants -v -timeout 3h ./test/network
func TestMutants(t *testing.T) {
	count := 50_000
	if text := os.Getenv("SKYREALM_MUTANTS"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t)
	messages, changes := recordings(t)
	kdc, kpasswd := newRelay(t, s.KDC, 0), newRelay(t, s.Kpasswd, 0)
	c := through(t, s, kdc, kpasswd)
	c.Run(adaPassword+"\n", "kinit", "ada")
	c.Run("", "kvno", "ldap/dc1.aadds.contoso.test")
	_, _ = c.Try(adaPassword+"\nOther-Passw0rd-1\nOther-Passw0rd-1\n", "kpasswd", "ada") // of a synced user: refused
	if len(kpasswd.recorded()) == 0 || len(kdc.recorded()) < 3 {
		t.Fatalf("%d and %d requests were recorded", len(kdc.recorded()), len(kpasswd.recorded()))
	}
	messages, changes = append(messages, kdc.recorded()...), append(changes, kpasswd.recorded()...)
	probe := kdc.recorded()[0]

	r := rand.New(rand.NewPCG(4, 14))
	before, began := metrics(t, s), time.Now()
	sent, answers := datagrams(t, s.KDC, mutants(r, messages, count), probe)
	took, came := time.Since(began), metrics(t, s)
	streams(t, r, s.KDC, messages, count/100)
	proxied(t, r, s, messages, count/200)
	datagrams(t, s.Kpasswd, mutants(r, append(changes, messages[:3]...), count/20), nil)

	var after map[string]float64
	const spare = 20
	harness.WaitFor(t, "goroutines to end", func() error {
		after = metrics(t, s)
		if n := after["go_goroutines"] - before["go_goroutines"]; n > spare {
			return fmt.Errorf("%v more than before", n)
		}
		return nil
	})
	noPanics(t, after)
	// They have come in: the kernel dropped none but a few.
	seen := 0.0
	for _, name := range []string{`skyrealm_kdc_requests_total{exchange="as"}`, `skyrealm_kdc_requests_total{exchange="tgs"}`, "skyrealm_kdc_dropped_total"} {
		seen += came[name] - before[name]
	}
	if seen < 0.999*float64(sent) {
		t.Errorf("%d datagrams were sent, and %v came in", sent, seen)
	}
	through(t, s, newRelay(t, s.KDC, 0), nil).Run(adaPassword+"\n", "kinit", "crowd")
	t.Logf("%d datagrams in %v (%.0f/s), %d answers, %v came in; goroutines %v then %v, resident MB %.0f then %.0f", sent, took.Round(time.Millisecond),
		float64(sent)/took.Seconds(), answers, seen, before["go_goroutines"], after["go_goroutines"],
		before["process_resident_memory_bytes"]/1e6, after["process_resident_memory_bytes"]/1e6)
}

// recordings are the requests of kdc/testdata: AS and TGS, FAST, SPAKE, PKINIT; and
// those of the password service.
func recordings(t *testing.T) (messages, changes [][]byte) {
	t.Helper()
	files, err := filepath.Glob("../../kdc/testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		to := &messages
		for line := range strings.Lines(string(text)) {
			request, ok := strings.CutPrefix(strings.TrimSpace(line), "> ")
			switch {
			case ok:
				b, err := hex.DecodeString(request)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				*to = append(*to, b)
			case strings.HasSuffix(request, " kpasswd"): // above the request, as kdc notes it
				to = &changes
			case request != "" && request[0] != '<':
				to = &messages
			}
		}
	}
	if len(messages) < 50 || len(changes) < 10 {
		t.Fatalf("only %d and %d requests are recorded", len(messages), len(changes))
	}
	return messages, changes
}

// noPanics fails where the service says that a request has ended in one.
func noPanics(t *testing.T, said map[string]float64) {
	t.Helper()
	for _, name := range []string{"skyrealm_kdc_panics_total", "skyrealm_kpasswd_panics_total"} {
		if n, ok := said[name]; n != 0 || !ok {
			t.Errorf("%s: %v, %v", name, n, ok)
		}
	}
}

// mutants are count broken copies of messages.
func mutants(r *rand.Rand, messages [][]byte, count int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for range count {
			if !yield(mutant(r, messages)) {
				return
			}
		}
	}
}

// datagrams sends messages, and after each few waits for the answer to probe, of
// which it knows that there is one, so that none is dropped unseen.
func datagrams(t *testing.T, to string, messages iter.Seq[[]byte], probe []byte) (sent, answers int) {
	t.Helper()
	const few = 32
	conn, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ping, err := net.Dial("udp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer ping.Close()
	done := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 64<<10)
		for {
			_, err := conn.Read(buf)
			if err != nil {
				break
			}
			n++
		}
		done <- n
	}()
	buf := make([]byte, 64<<10)
	flush := func() {
		t.Helper()
		for try := 0; probe != nil; try++ {
			if _, err := ping.Write(probe); err != nil {
				t.Fatalf("after %d: %v", sent, err)
			}
			sent++
			_ = ping.SetReadDeadline(time.Now().Add(2 * time.Second))
			if _, err := ping.Read(buf); err == nil {
				break
			} else if try == 5 {
				t.Fatalf("after %d: no answer: %v", sent, err)
			}
		}
	}
	n := 0
	for b := range messages {
		if _, err := conn.Write(b); err != nil {
			t.Fatalf("after %d: %v", sent, err)
		}
		sent++
		if n++; n%few == 0 {
			flush()
		}
	}
	flush()
	conn.Close()
	return sent, <-done
}

func streams(t *testing.T, r *rand.Rand, to string, messages [][]byte, count int) {
	t.Helper()
	for i := range count {
		b := mutant(r, messages)
		n := uint32(len(b))
		if r.IntN(10) == 0 {
			n = r.Uint32() >> r.IntN(32)
		}
		stream(t, i, to, append(binary.BigEndian.AppendUint32(nil, n), b...))
	}
}

// stream says something on a connection and waits for its end.
func stream(t *testing.T, i int, to string, say []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatalf("connection %d: %v", i, err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(harness.Patience))
	_, _ = conn.Write(say)
	_ = conn.(*net.TCPConn).CloseWrite()
	if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
		t.Fatalf("connection %d stayed open", i)
	}
}

// proxied sends mutants within messages that the proxy takes, and mutants of those.
func proxied(t *testing.T, r *rand.Rand, s *harness.Server, messages [][]byte, count int) {
	t.Helper()
	status := map[int]int{}
	for i := range count {
		b := mutant(r, messages)
		body := wrapped(framed(b), s.Realm)
		if i%4 == 0 {
			body = mutant(r, [][]byte{body})
		}
		status[post(t, s, body)]++
	}
	if status[http.StatusOK] == 0 || status[http.StatusInternalServerError] != 0 {
		t.Errorf("KdcProxy: %v", status)
	}
}

// post sends a body to the proxy and returns the status.
func post(t *testing.T, s *harness.Server, body []byte) int {
	t.Helper()
	resp, err := s.HTTP.Post("https://"+s.HTTPS+"/KdcProxy", "application/kerberos", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// framed is a message as it goes over a connection, behind its length.
func framed(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)
}

// wrapped is a KDC-PROXY-MESSAGE ([MS-KKDCP] §2.2.2).
func wrapped(message []byte, realm string) []byte {
	within := func(tag byte, b ...byte) []byte { return append(header(tag, len(b)), b...) }
	return within(0x30, slices.Concat(within(0xa0, within(4, message...)...), within(0xa1, within(0x1b, []byte(realm)...)...))...)
}

// metrics is what the service says of itself.
func metrics(t *testing.T, s *harness.Server) map[string]float64 {
	t.Helper()
	resp, err := s.HTTP.Get("https://" + s.HTTPS + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	m := map[string]float64{}
	for in := bufio.NewScanner(resp.Body); in.Scan(); {
		if name, value, ok := strings.Cut(in.Text(), " "); ok && name != "#" {
			if m[name], err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(in.Text())
			}
		}
	}
	return m
}

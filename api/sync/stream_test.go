package sync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"skyrealm/tenant"
)

// chunksOf takes a body through the reading half of a stream. No time passes for it,
// however slow the machine is: a chunk ends where it is full.
func chunksOf(t *testing.T, body io.Reader) (all []*chunk) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { all = chunks(t, body) })
	return all
}

func chunks(t testing.TB, body io.Reader) []*chunk {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	parsed, out := make(chan chan block, 1), make(chan *chunk)
	go read(ctx, body, newConn(httptest.NewRecorder()), parsed)
	go gather(ctx, parsed, out, nil)
	var all []*chunk
	for {
		k := <-out
		if all = append(all, k); k.end != nil {
			return all
		}
	}
}

// TestStreamLines: where chunks begin and end, and which lines are bad.
func TestStreamLines(t *testing.T) {
	good := `{"sourceAnchor":"a"}`
	padded := func(n int) string { return `{"sourceAnchor":"` + strings.Repeat("x", n-19) + `"}` }
	for name, test := range map[string]struct {
		body  string
		lines int
		good  []int
		bad   []int
	}{
		"nothing":            {"", 0, nil, nil},
		"one":                {good, 1, []int{1}, nil},
		"one with an end":    {good + "\n", 1, []int{1}, nil},
		"as Windows does":    {good + "\r\n" + good + "\r\n", 2, []int{1, 2}, nil},
		"blank ones":         {"\n" + good + "\n \t\n\n" + good + "\n\n", 6, []int{2, 5}, nil},
		"not JSON":           {good + "\nhello\n" + good, 3, []int{1, 3}, []int{2}},
		"two in one":         {good + good + "\n" + good, 2, []int{2}, []int{1}},
		"a list":             {"[" + good + "]\n" + good, 2, []int{2}, []int{1}},
		"over two lines":     {"{\n\"sourceAnchor\":\"a\"}\n" + good, 3, []int{3}, []int{1, 2}},
		"invalid UTF-8":      {"{\"sourceAnchor\":\"\xff\"}\n" + good, 2, []int{2}, []int{1}},
		"NUL behind":         {good + "\x00\n" + good, 2, []int{2}, []int{1}},
		"wrong type":         {`{"sourceAnchor":7}` + "\n" + good, 2, []int{2}, []int{1}},
		"too deep":           {`{"x":[[[[[[[]]]]]]]}` + "\n" + good, 2, []int{2}, []int{1}},
		"longest":            {good + strings.Repeat(" ", maxLine-len(good)) + "\n" + good, 2, []int{1, 2}, nil},
		"longest, the last":  {`{"legacy":null` + strings.Repeat(" ", maxLine-15) + "}", 1, []int{1}, nil},
		"too long":           {good + "\n" + padded(maxLine+1) + "\n" + good, 3, []int{1, 3}, []int{2}},
		"far too long":       {good + "\n" + padded(10*maxLine) + "\n" + good, 3, []int{1, 3}, []int{2}},
		"too long, the last": {good + "\n" + padded(10*maxLine), 2, []int{1}, []int{2}},
		"only too long ones": {strings.Repeat(padded(3*maxLine)+"\n", 3), 3, nil, []int{1, 2, 3}},
	} {
		for how, body := range map[string]io.Reader{"": strings.NewReader(test.body),
			", halves": iotest.HalfReader(strings.NewReader(test.body)), ", end with data": iotest.DataErrReader(strings.NewReader(test.body))} {
			k := chunksOf(t, body)
			if len(k) != 1 || k[0].end != errEnd || k[0].to != test.lines || !equal(k[0].lines, test.good) || !equal(badOf(k[0]), test.bad) {
				t.Errorf("%s%s: %d chunks, %+v", name, how, len(k), k[0])
			}
		}
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func badOf(k *chunk) (n []int) {
	for _, b := range k.bad {
		n = append(n, b.line)
	}
	return n
}

// TestStreamChunks: no chunk has more lines or bytes than it may, and none is lost between two.
func TestStreamChunks(t *testing.T) {
	for _, test := range []struct {
		line   string
		n      int
		chunks int
	}{
		{"{}\n", tenant.MaxChunkItems, 2}, // the second is the end
		{"{}\n", tenant.MaxChunkItems + 1, 2},
		{"x\n", 3*tenant.MaxChunkItems - 1, 3},
		{"\n", 3 * tenant.MaxChunkItems, 1},
		{"{}" + strings.Repeat(" ", maxLine-10) + "\n", 4*maxChunkBytes/maxLine + 10, 5},
	} {
		all := chunksOf(t, strings.NewReader(strings.Repeat(test.line, test.n)))
		next, seen := 1, 0
		for _, k := range all {
			if k.from != next || k.seen > tenant.MaxChunkItems || k.size > maxChunkBytes+blockSize {
				t.Errorf("%.3q: chunk %d to %d, %d lines, %d bytes; want one from %d", test.line, k.from, k.to, k.seen, k.size, next)
			}
			next, seen = k.to+1, seen+k.seen
		}
		if len(all) != test.chunks || next != test.n+1 || test.line != "\n" && seen != test.n {
			t.Errorf("%.3q: %d chunks, %d lines, %d seen", test.line, len(all), next-1, seen)
		}
	}
}

// TestStreamTorn: half a line is none, unless the body ended as it should.
func TestStreamTorn(t *testing.T) {
	torn := io.MultiReader(strings.NewReader("{}\n{}\n{}"), iotest.ErrReader(io.ErrUnexpectedEOF))
	k := chunksOf(t, torn)
	if last := k[len(k)-1]; last.end != errTorn || last.to != 2 || last.seen != 2 {
		t.Errorf("%+v", last)
	}
}

// trickle brings one byte in a while.
type trickle struct {
	every time.Duration
	text  string
	i     int
}

func (r *trickle) Read(p []byte) (int, error) {
	time.Sleep(r.every)
	p[0] = r.text[r.i%len(r.text)]
	r.i++
	return 1, nil
}

// TestStreamTimes: a line has its time to come; who keeps to that has all the
// time in the world, and a chunk does not wait to be full.
func TestStreamTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k := chunks(t, &trickle{every: time.Second, text: strings.Repeat("x", 100)})
		if took := time.Since(began); len(k) != 1 || k[0].end != errTorn || took > lineTime+2*time.Second {
			t.Errorf("a byte a second: %d chunks, %v, after %s", len(k), k[0].end, took)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		k := chunks(t, io.LimitReader(&trickle{every: time.Second, text: "{}\n"}, 3*3600))
		if took := time.Since(began); k[len(k)-1].end != errEnd || took < 3*time.Hour || len(k) < 1000 {
			t.Errorf("a line in three seconds: %d chunks, %v, after %s", len(k), k[len(k)-1].end, took)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the wait is ours, not the client's
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		parsed := make(chan chan block)
		go read(ctx, strings.NewReader(strings.Repeat("{}\n", 1<<20)), newConn(httptest.NewRecorder()), parsed)
		for {
			time.Sleep(time.Hour)
			if b := <-<-parsed; b.end == errTorn {
				t.Fatal("a slow store is held against the client")
			} else if b.end != nil {
				return
			}
		}
	})
}

// TestStreamStops: what waits in a chunk is stored, and then the stream ends.
func TestStreamStops(t *testing.T) {
	parsed, out, stopping := make(chan chan block, 1), make(chan *chunk), make(chan struct{})
	go gather(t.Context(), parsed, out, stopping)
	close(stopping)
	if k := <-out; !errors.Is(k.end, errStopping) {
		t.Errorf("%+v", k)
	}
}

// FuzzStream: however a body comes in, its lines are the same, each is what it
// would be alone, and no chunk is too large.
func FuzzStream(f *testing.F) {
	f.Add([]byte("{\"sourceAnchor\":\"a\"}\n\n{\"sourceAnchor\":\"b\",\"changeDate\":\"2026-01-02T03:04:05Z\"}"), uint8(3))
	f.Add([]byte("{\r\n}\n\x00\n\xff\n[]"), uint8(1))
	f.Add(bytes.Repeat([]byte("x\n{}\n"), 3000), uint8(200))
	f.Fuzz(func(t *testing.T, body []byte, step uint8) {
		var items, bad, lines int
		for _, k := range chunksOf(t, &steps{body, int(step) + 1}) {
			if k.seen != len(k.items)+len(k.bad) || len(k.lines) != len(k.items) || k.seen > tenant.MaxChunkItems || k.from != lines+1 {
				t.Fatalf("%+v", k)
			}
			items, bad, lines = items+len(k.items), bad+len(k.bad), k.to
		}
		want := bytes.Split(body, []byte("\n"))
		if len(want[len(want)-1]) == 0 {
			want = want[:len(want)-1]
		}
		var wantItems, wantBad int
		for _, line := range want {
			if line = bytes.TrimRight(line, " \t\r\n"); len(line) == 0 {
				continue
			}
			var item tenant.HashItem
			if hashLine(string(line), &item).reason == "" {
				wantItems++
			} else {
				wantBad++
			}
		}
		if items != wantItems || bad != wantBad || lines != len(want) {
			t.Fatalf("%d items, %d bad, %d lines; want %d, %d, %d", items, bad, lines, wantItems, wantBad, len(want))
		}
	})
}

// steps reads a few bytes at a time.
type steps struct {
	b []byte
	n int
}

func (s *steps) Read(p []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.n)], s.b)
	s.b = s.b[n:]
	return n, nil
}

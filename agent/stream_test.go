package agent

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// streamer answers streams as a script has it, one step for each connection.
type streamer struct {
	steps []step
	seen  [][]string // lines, by connection
}

// step is what becomes of one connection.
type step struct {
	status  int      // instead of 200
	after   int      // answers when it has read that many lines; 0: all of them
	answers []string // lines; the connection breaks at their end unless the last one ends the stream
	deaf    bool     // says and reads nothing
}

func (s *streamer) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"t","expires_in":3599}`))}, nil
	}
	at := len(s.seen)
	s.seen = append(s.seen, nil)
	if at >= len(s.steps) {
		return nil, errors.New("one connection too many")
	}
	do := s.steps[at]
	if do.deaf {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if do.status != 0 {
		return &http.Response{StatusCode: do.status, Header: http.Header{"Retry-After": {"3"}}, Body: io.NopCloser(strings.NewReader(`{"error":{"code":"Busy"}}`))}, nil
	}
	lines := bufio.NewScanner(r.Body)
	for (do.after == 0 || len(s.seen[at]) < do.after) && lines.Scan() {
		s.seen[at] = append(s.seen[at], lines.Text())
	}
	r.Body.Close() // what is still under way finds nobody
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(strings.Join(do.answers, "\n")))}, nil
}

// TestStreamResumes: whatever becomes of connections, every line is sent until it
// is acknowledged, and none after it.
func TestStreamResumes(t *testing.T) {
	chunk := func(from, to int) string {
		return fmt.Sprintf(`{"chunk":1,"lines":[%d,%d],"usn":%[2]d,"stored":%d}`, from, to, to-from+1)
	}
	const done = `{"done":true,"committedLines":1,"usn":9}`
	for name, test := range map[string]struct {
		steps []step
		sent  string // lines that each connection saw
		took  int    // lines acknowledged
		waits time.Duration
		err   string
	}{
		"at once":         {[]step{{answers: []string{chunk(1, 5), done}}}, "12345", 5, 0, ""},
		"two chunks":      {[]step{{answers: []string{chunk(1, 3), chunk(4, 5), done}}}, "12345", 5, 0, ""},
		"breaks off":      {[]step{{answers: []string{chunk(1, 3)}}, {answers: []string{chunk(1, 2), done}}}, "12345 45", 5, 250 * time.Millisecond, ""},
		"breaks early":    {[]step{{after: 2}, {answers: []string{chunk(1, 5), done}}}, "12 12345", 5, 250 * time.Millisecond, ""},
		"has to give up":  {[]step{{answers: []string{chunk(1, 1), `{"error":{"code":"ServiceUnavailable"},"committedLines":1}`}}, {answers: []string{chunk(1, 4), done}}}, "12345 2345", 5, 250 * time.Millisecond, ""},
		"busy":            {[]step{{status: 503}, {answers: []string{chunk(1, 5), done}}}, " 12345", 5, 3 * time.Second, ""},
		"deaf":            {[]step{{deaf: true}, {answers: []string{chunk(1, 5), done}}}, " 12345", 5, silence + 250*time.Millisecond, ""},
		"refused":         {[]step{{status: 403}}, "", 0, 0, "403 Busy"},
		"forgets some":    {[]step{{answers: []string{chunk(1, 3), done}}, {answers: []string{chunk(1, 2), done}}}, "12345 45", 5, 250 * time.Millisecond, ""},
		"counts too many": {[]step{{answers: []string{chunk(1, 9), done}}, {answers: []string{chunk(1, 5), done}}}, "12345 12345", 5, 250 * time.Millisecond, ""},
		"leaves a gap":    {[]step{{answers: []string{chunk(2, 5), done}}, {answers: []string{chunk(1, 5), done}}}, "12345 12345", 5, 250 * time.Millisecond, ""},
		"talks nonsense":  {[]step{{answers: []string{"<html>"}}, {answers: []string{chunk(1, 5), done}}}, "12345 12345", 5, 250 * time.Millisecond, ""},
		"never gets on":   {slices.Repeat([]step{{}}, attempts), strings.TrimSpace(strings.Repeat("12345 ", attempts)), 0, 250*time.Millisecond*(1+2+4+8+16+32) + 15*time.Second, "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &streamer{steps: test.steps}
				c := (&service{}).client()
				c.HTTP = &http.Client{Transport: s, Timeout: time.Minute}
				in := make(chan streamLine, 5)
				for i := range 5 {
					in <- streamLine{&line{number: i + 1}, fmt.Appendf(nil, "%d\n", i+1)}
				}
				close(in)
				took, usn, began := 0, int64(0), time.Now()
				err := c.stream(t.Context(), in, func(a *streamAnswer, of []streamLine) {
					for _, l := range of {
						if took++; l.of.number != took {
							t.Errorf("line %d is acknowledged as number %d", l.of.number, took)
						}
					}
					usn = a.USN
				})
				if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
					t.Error(err)
				}
				var seen []string
				for _, lines := range s.seen {
					seen = append(seen, strings.Join(lines, ""))
				}
				if got := strings.Join(seen, " "); got != test.sent {
					t.Errorf("sent %q, want %q", got, test.sent)
				}
				if waited := time.Since(began); took != test.took || waited != test.waits || took > 0 && usn == 0 {
					t.Errorf("%d acknowledged after %v under USN %d", took, waited, usn)
				}
				if text := fmt.Sprintf("%v %+v", streamLine{text: []byte("canary")}, []streamLine{{text: []byte("canary")}}); strings.Contains(text, "canary") || strings.Contains(text, "99 97") {
					t.Error(text)
				}
			})
		})
	}
}

// A stream without a line asks for nothing; one whose caller gives up ends.
func TestStreamEnds(t *testing.T) {
	c := (&service{}).client()
	c.HTTP, c.Rand = &http.Client{Transport: &streamer{}}, rand.Reader
	in := make(chan streamLine)
	close(in)
	if err := c.stream(t.Context(), in, nil); err != nil {
		t.Error(err)
	}
}

package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Bounds of a stream of hash items.
const (
	// maxStreamLine is the service's for a line.
	maxStreamLine = 64 << 10
	// maxWaiting is how many lines may be sent beyond what is acknowledged: four
	// chunks of the service's, so that it never waits for us.
	maxWaiting = 40_000
	// silence is how long neither side may say anything.
	silence = 2 * time.Minute
	// maxAnswerLine bounds a line of the answer, which names up to 100 failures.
	maxAnswerLine = 1 << 20
)

// streamLine is one line of a stream: a hash item as JSON, and what it is of.
type streamLine struct {
	of   *line
	text []byte
}

func (streamLine) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }

// streamAnswer is a line of the answer: of a chunk that is on disk, of the end,
// or of a failure.
type streamAnswer struct {
	Lines                                 []int `json:"lines"` // the first and the last, from 1
	USN                                   int64 `json:"usn"`
	Stored, Unchanged, Superseded, Failed int
	Failures                              []struct {
		Line           int
		Reason, Detail string
	}
	Done  bool
	Error *struct{ Code, Message string }
}

// errBroken is a stream that ended otherwise than with the service's word.
var errBroken = errors.New("agent: the stream broke off")

// stream is a run of hash items through passwordHashes:stream. Lines stay in
// waiting until they are acknowledged: where a connection ends early, the next
// one begins with them. To be sent twice changes nothing.
type stream struct {
	*Client
	in   <-chan streamLine
	took func(*streamAnswer, []streamLine)

	mu      sync.Mutex
	waiting []streamLine
	room    chan struct{} // has an entry when waiting has become shorter
	settled int           // lines acknowledged, over all connections
}

// stream sends what comes over in until it is closed, and calls took for every chunk
// that is acknowledged, with its lines. Errors are those of [Client.call]. Without
// a line it asks for nothing: a tenant may take objects and no passwords.
func (c *Client) stream(ctx context.Context, in <-chan streamLine, took func(*streamAnswer, []streamLine)) error {
	s := &stream{Client: c, in: in, took: took, room: make(chan struct{}, 1)}
	select {
	case first, ok := <-in:
		if !ok {
			return nil
		}
		s.waiting = append(s.waiting, first)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	pause, renewed, settled := firstPause, false, 0
	for try := 1; ; try++ {
		token, err := c.authorize(ctx)
		wait := retryAfter(err)
		if err == nil {
			wait, err = s.once(ctx, token)
		}
		if err == nil {
			return nil
		}
		if refused := (*Error)(nil); errors.As(err, &refused) {
			if refused.Status == http.StatusUnauthorized && token != "" && !renewed {
				renewed = true
				c.forget(token)
				continue
			}
			if !refused.temporary() {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if s.settled > settled { // it gets on, so it is another failure than the one before
			pause, renewed, settled, try = firstPause, false, s.settled, 1
		}
		if try == attempts {
			return fmt.Errorf("after %d attempts: %w", attempts, err)
		}
		if wait == 0 {
			wait = c.jitter(pause)
			pause = min(2*pause, longPause)
		}
		if err := rest(ctx, min(wait, maxPause)); err != nil {
			return err
		}
	}
}

// once is one connection. The pause is the service's wish, 0 for none.
func (s *stream) once(ctx context.Context, token string) (time.Duration, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, out := io.Pipe()
	watch := time.AfterFunc(silence, cancel)
	sent := make(chan struct{})
	defer func() {
		cancel()
		watch.Stop()
		body.CloseWithError(errBroken) // nobody reads any more
		<-sent
	}()
	go func() {
		defer close(sent)
		out.CloseWithError(s.write(ctx, out, watch))
	}()

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(s.BaseURL, "/")+"/sync/v1/passwordHashes:stream", body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	if s.Machine != "" {
		req.Header.Set("x-ms-aadmsods-machineid", s.Machine)
	}
	patient := *s.HTTP
	patient.Timeout = 0 // it bounds a whole exchange; here the silence is bounded
	resp, err := patient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerLine))
		return pauseOf(resp), refusal(resp, answer)
	}
	return 0, s.read(resp.Body, watch)
}

// read takes the answers of one connection.
func (s *stream) read(body io.Reader, watch *time.Timer) error {
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 64<<10), maxAnswerLine)
	at := 0 // the last line of this connection that is acknowledged
	for lines.Scan() {
		watch.Reset(silence)
		var a streamAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			return fmt.Errorf("agent: the answer to a stream is no JSON of the sync API")
		}
		switch {
		case a.Error != nil:
			return &Error{Status: http.StatusServiceUnavailable, Code: a.Error.Code, Message: a.Error.Message}
		case a.Done:
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.waiting) > 0 {
				return errBroken
			}
			return nil
		case len(a.Lines) != 2 || a.Lines[0] != at+1:
			return errBroken
		}
		s.mu.Lock()
		n := a.Lines[1] - at
		if n < 0 || n > len(s.waiting) {
			s.mu.Unlock()
			return errBroken
		}
		of := s.waiting[:n:n]
		s.waiting = s.waiting[n:]
		s.settled += n
		s.mu.Unlock()
		select {
		case s.room <- struct{}{}:
		default:
		}
		for i := range a.Failures {
			a.Failures[i].Line -= at + 1 // index into of
		}
		at = a.Lines[1]
		s.took(&a, of)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errBroken
}

// write sends what waits, then what comes, and ends when all has come.
func (s *stream) write(ctx context.Context, out io.Writer, watch *time.Timer) error {
	w := bufio.NewWriterSize(out, 256<<10)
	put := func(l streamLine) error {
		_, err := w.Write(l.text)
		return err
	}
	s.mu.Lock()
	before := s.waiting[:len(s.waiting):len(s.waiting)]
	s.mu.Unlock()
	for _, l := range before {
		if err := put(l); err != nil {
			return err
		}
	}
	for {
		s.mu.Lock()
		full := len(s.waiting) >= maxWaiting
		s.mu.Unlock()
		var l streamLine
		more := true
		if full {
			if err := w.Flush(); err != nil {
				return err
			}
			select {
			case <-s.room:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		select {
		case l, more = <-s.in:
		default: // nothing is ready: what there is may go
			if err := w.Flush(); err != nil {
				return err
			}
			watch.Reset(silence)
			select {
			case l, more = <-s.in:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if !more {
			watch.Reset(silence)
			return w.Flush()
		}
		s.mu.Lock()
		s.waiting = append(s.waiting, l)
		s.mu.Unlock()
		if err := put(l); err != nil {
			return err
		}
	}
}

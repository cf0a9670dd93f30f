package sync

import (
	"context"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// Bounds of a stream. What one holds in memory follows from them: three chunks,
// one growing, one being checked, one on its way to disk, and a few blocks.
const (
	maxLine       = 64 << 10 // bytes of a line
	maxChunkBytes = 16 << 20
	maxStreams    = 4 // at once
	maxFailures   = 100
	// lineTime is how long a client may be waited for until its next line is
	// whole. A byte now and then does not keep a stream open.
	lineTime = 30 * time.Second
	// answerTime is how long an answer may be in the client's way.
	answerTime = 60 * time.Second
	// storeTime is how long a chunk may be in the database's hands: twice, to be
	// looked at and to be stored.
	storeTime = 25 * time.Second
	// gatherTime is how long a line waits for others to share a chunk with.
	gatherTime = 250 * time.Millisecond
)

var (
	errStreams = &problem.Error{Status: http.StatusTooManyRequests, Code: "TooManyRequests",
		Message: "As many streams as may be are open. Send the request again.", RetryAfter: 5 * time.Second}
	errTorn = &problem.Error{Status: http.StatusBadRequest, Code: "MalformedStream",
		Message: "The body could not be read to its end: it broke off, is no gzip, or its next line took too long."}
	errStopping = &problem.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable",
		Message: "The service is stopping. Send the lines that are not committed again."}
)

// Stream is POST passwordHashes:stream: JSON lines of any number, each of them
// an item of a batch. It answers while it reads, with a line for each chunk once
// that is on disk:
//
//	{"chunk":1,"lines":[1,10000],"usn":7,"stored":9998,"unchanged":0,"superseded":0,"failed":2,
//	 "failures":[{"line":17,"sourceAnchor":"…","reason":"unknownAnchor","detail":"…"},…],"more":0}
//
// and one at the end, {"done":true,"committedLines":100000,"usn":90}, or where it has to
// give up {"error":{"code","message"},"committedLines":10000}: all lines up to
// that one are settled, and the agent goes on behind it. Lines are counted from
// 1, blank ones too. A bad line fails alone; failures holds the first 100 of a
// chunk, and more counts the rest.
func (h *Handler) Stream(w http.ResponseWriter, r *http.Request) {
	if h.streams.Add(1) > maxStreams {
		h.streams.Add(-1)
		problem.Write(w, r, errStreams)
		return
	}
	defer h.streams.Add(-1)
	from := origin(r)
	// Before the first line: does the tenant take any? So far the answer can have a status.
	if _, err := h.checkHashes(r.Context(), from, nil); err != nil {
		problem.Write(w, r, err)
		return
	}

	ctx, cancel := context.WithCancel(r.Context())
	var running sync.WaitGroup
	c := newConn(w)
	defer func() { // nobody may touch the request after this function's end
		cancel()
		c.close()
		running.Wait()
	}()
	var (
		parsed  = make(chan chan block, runtime.GOMAXPROCS(0))
		chunks  = make(chan *chunk)
		checked = make(chan *chunk)
	)
	running.Go(func() { read(ctx, r.Body, c, parsed) })
	running.Go(func() { gather(ctx, parsed, chunks, h.Stopping) })
	running.Go(func() { h.check(ctx, from, chunks, checked) })
	h.put(ctx, r, c, checked)
}

// check brings chunks through the rules, each while the one before it is stored.
func (h *Handler) check(ctx context.Context, from tenant.Origin, in <-chan *chunk, out chan<- *chunk) {
	for {
		select {
		case k := <-in:
			if k.seen > 0 {
				var err error
				from := from
				from.Before = k.from - 1
				if k.hashes, err = h.checkHashes(ctx, from, k.items); err != nil {
					k.end = err // and none of its lines is committed
				}
			}
			if !send(ctx, out, k) || k.end != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (h *Handler) storeTime() time.Duration {
	if h.StoreTime != 0 {
		return h.StoreTime
	}
	return storeTime
}

func (h *Handler) checkHashes(ctx context.Context, from tenant.Origin, items []tenant.HashItem) (*tenant.HashChunk, error) {
	ctx, cancel := context.WithTimeout(ctx, h.storeTime())
	defer cancel()
	return h.Tenant.CheckHashes(ctx, from, items)
}

// put stores the chunks and answers to each, to the stream's end.
func (h *Handler) put(ctx context.Context, r *http.Request, c *conn, in <-chan *chunk) {
	var (
		n         int        // chunks stored
		committed int        // lines
		usn       tenant.USN // the highest
		out       []byte
	)
	failed := func(err error) {
		p := problem.Of(err)
		problem.Log(r, p.Status, err)
		out = quote(append(out[:0], `{"error":{"code":`...), p.Code)
		out = quote(append(out, `,"message":`...), p.Message)
		out = strconv.AppendInt(append(out, `},"committedLines":`...), int64(committed), 10)
		_ = c.answer(append(out, "}\n"...))
	}
	for {
		var k *chunk
		select {
		case k = <-in:
		case <-ctx.Done():
			return // the client has gone
		}
		if k.hashes != nil {
			within, cancel := context.WithTimeout(ctx, h.storeTime())
			done, err := k.hashes.Put(within)
			cancel()
			if err != nil {
				failed(err)
				return
			}
			n++
			usn, committed = max(usn, done.USN), k.to
			out = k.encode(out[:0], n, &done)
			if c.answer(out) != nil {
				return
			}
		}
		switch k.end {
		case nil:
		case errEnd:
			out = strconv.AppendInt(append(out[:0], `{"done":true,"committedLines":`...), int64(k.to), 10)
			out = strconv.AppendInt(append(out, `,"usn":`...), int64(usn), 10)
			_ = c.answer(append(out, "}\n"...))
			return
		default:
			failed(k.end)
			return
		}
	}
}

// encode writes the answer to a chunk.
func (k *chunk) encode(b []byte, n int, done *tenant.BatchResult) []byte {
	var stored, unchanged, superseded int
	failures, failed := slices.Clone(k.bad[:min(len(k.bad), maxFailures)]), len(k.bad)
	for i := range done.Items {
		one := &done.Items[i]
		switch one.Reason {
		case tenant.ReasonStored:
			stored++
		case tenant.ReasonUnchanged:
			unchanged++
		case tenant.ReasonSuperseded:
			superseded++
		default:
			if failed++; len(failures) < 2*maxFailures {
				failures = append(failures, badLine{k.lines[i], one.Anchor, fault{one.Reason, one.Detail}})
			}
		}
	}
	slices.SortFunc(failures, func(a, b badLine) int { return a.line - b.line })
	failures = failures[:min(len(failures), maxFailures)]

	number := func(name string, n int) { b = strconv.AppendInt(append(b, name...), int64(n), 10) }
	number(`{"chunk":`, n)
	number(`,"lines":[`, k.from)
	number(`,`, k.to)
	number(`],"usn":`, int(done.USN))
	number(`,"stored":`, stored)
	number(`,"unchanged":`, unchanged)
	number(`,"superseded":`, superseded)
	number(`,"failed":`, failed)
	b = append(b, `,"failures":[`...)
	for i, f := range failures {
		if i > 0 {
			b = append(b, ',')
		}
		number(`{"line":`, f.line)
		if f.anchor != "" {
			b = quote(append(b, `,"sourceAnchor":`...), f.anchor)
		}
		b = quote(append(b, `,"reason":`...), string(f.reason))
		if f.detail != "" {
			b = quote(append(b, `,"detail":`...), f.detail)
		}
		b = append(b, '}')
	}
	number(`],"more":`, failed-len(failures))
	return append(b, "}\n"...)
}

// conn is the connection under a stream: its deadlines follow what flows, in
// both directions.
type conn struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	header bool

	mu     sync.Mutex
	closed bool
	armed  time.Time // the reader's deadline
}

func newConn(w http.ResponseWriter) *conn {
	c := &conn{w: w, rc: http.NewResponseController(w)}
	_ = c.rc.EnableFullDuplex() // HTTP/1.1; others answer while they read anyway
	return c
}

// wait gives the client until then for what is read next. Those who get here
// often pay only for a new second.
func (c *conn) wait(until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := until.Sub(c.armed); c.closed || d < time.Second && d > -time.Second {
		return
	}
	c.armed = until
	_ = c.rc.SetReadDeadline(until)
	// The listener's deadline for answers counts from the request's begin.
	_ = c.rc.SetWriteDeadline(until.Add(answerTime))
}

// close wakes whoever reads.
func (c *conn) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	_ = c.rc.SetReadDeadline(time.Now())
}

func (c *conn) answer(line []byte) error {
	if !c.header {
		// Not earlier: a client that asked may still be waiting for "100 Continue".
		c.header = true
		c.w.Header().Set("Content-Type", "application/x-ndjson")
		c.w.Header().Set("Cache-Control", "no-store")
		c.w.WriteHeader(http.StatusOK)
	}
	_ = c.rc.SetWriteDeadline(time.Now().Add(answerTime))
	if _, err := c.w.Write(line); err != nil {
		return err
	}
	return c.rc.Flush()
}

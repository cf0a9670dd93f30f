package sync

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"skyrealm/tenant"
)

// blockSize is how much is read before it is parsed, so that several cores can
// do that. A line and a half have room.
const blockSize = 2 * maxLine

// errEnd is the good end of a stream.
var errEnd = errors.New("sync: end of the stream")

// block is a piece of a stream: some lines, or the end.
type block struct {
	first, last int // lines, from 1
	text        string
	long        bool // it is one line that was too long to be read
	end         error
	items       []numbered // of text, without blank lines
}

// numbered is what one line holds.
type numbered struct {
	line  int
	item  tenant.HashItem
	fault fault
}

// badLine is a line that could not be taken.
type badLine struct {
	line   int
	anchor string
	fault
}

// chunk is a list of lines that is stored as one.
type chunk struct {
	from, to int // lines
	seen     int // lines that are not blank
	size     int // bytes
	items    []tenant.HashItem
	lines    []int // of items
	bad      []badLine
	hashes   *tenant.HashChunk
	end      error // of the stream after this chunk; nil: there is more
}

// send hands v on, and reports whether it still could.
func send[T any](ctx context.Context, to chan<- T, v T) bool {
	select {
	case to <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// read cuts a body into blocks at the ends of lines and has them parsed, in an
// order that parsed keeps. What follows a block that has an end is not read.
func read(ctx context.Context, body io.Reader, c *conn, parsed chan<- chan block) {
	var (
		buf   = make([]byte, blockSize)
		n     int  // bytes of buf that are not given away
		next  = 1  // line
		long  bool // the line at hand is too long, and is passed over
		spent time.Duration
	)
	give := func(b block) bool {
		done := make(chan block, 1)
		if !send(ctx, parsed, done) {
			return false
		}
		go func() {
			b.parse()
			done <- b
		}()
		next = b.last + 1
		return true
	}
	for {
		// The time in which nobody read from the client is not held against it.
		began := time.Now()
		c.wait(began.Add(lineTime - spent))
		got, err := body.Read(buf[n:])
		spent += time.Since(began)
		n += got
		if long {
			end := bytes.IndexByte(buf[:n], '\n')
			if end < 0 {
				n = 0
			} else {
				n = copy(buf, buf[end+1:n])
				if long, spent = false, 0; !give(block{first: next, last: next, long: true}) {
					return
				}
			}
		}
		if end := bytes.LastIndexByte(buf[:n], '\n') + 1; end > 0 {
			spent = 0
			if !give(block{first: next, last: next - 1 + bytes.Count(buf[:end], []byte("\n")), text: string(buf[:end])}) {
				return
			}
			n = copy(buf, buf[end:n])
		}
		if n > maxLine {
			long, n = true, 0
		}
		switch {
		case err == io.EOF:
			// The last line may go without an end, but only where the body has
			// ended as it should.
			last := block{first: next, last: next, text: string(buf[:n]), long: long, end: errEnd}
			if n == 0 && !long {
				last.last--
			}
			give(last)
			return
		case err != nil || spent >= lineTime:
			give(block{first: next, last: next - 1, end: errTorn})
			return
		}
	}
}

// parse reads the lines of a block.
func (b *block) parse() {
	if b.long {
		b.items = []numbered{{line: b.first, fault: errLong}}
		return
	}
	b.items = make([]numbered, 0, len(b.text)/1024+1)
	n := b.first
	for text := range strings.Lines(b.text) {
		if text = strings.TrimRight(text, " \t\r\n"); text != "" {
			one := numbered{line: n}
			one.fault = hashLine(text, &one.item)
			b.items = append(b.items, one)
		}
		n++
	}
}

var (
	errLong = fault{tenant.ReasonMalformed, "a line has at most 65536 bytes"}
	errLine = fault{tenant.ReasonMalformed, "a line has to be a JSON object in UTF-8"}
)

// hashLine reads the one item of a line.
func hashLine(text string, item *tenant.HashItem) fault {
	if len(text) > maxLine {
		return errLong
	}
	if !utf8.ValidString(text) {
		return errLine
	}
	c := &scanner{s: text}
	f := hashItem(c, item)
	if c.next() != 0 || c.i != len(c.s) || c.bad {
		*item = tenant.HashItem{}
		return errLine
	}
	if f.reason != "" { // only the name goes on
		*item = tenant.HashItem{Anchor: item.Anchor}
	}
	return f
}

// gather makes chunks of blocks: full ones, or what there is when a line has
// waited for long enough, so that a client may wait for an answer before it goes on.
func gather(ctx context.Context, parsed <-chan chan block, out chan<- *chunk, stopping <-chan struct{}) {
	k := newChunk(1)
	due := time.NewTimer(gatherTime)
	due.Stop()
	defer due.Stop()
	flush := func(end error) bool {
		due.Stop()
		k.end = end
		if !send(ctx, out, k) || end != nil {
			return false
		}
		k = newChunk(k.to + 1)
		return true
	}
	for {
		var b block
		select {
		case next := <-parsed:
			b = <-next
		case <-due.C:
			if !flush(nil) {
				return
			}
			continue
		case <-stopping:
			flush(errStopping)
			return
		case <-ctx.Done():
			return
		}
		for i := range b.items {
			if k.seen == 0 {
				due.Reset(gatherTime)
			}
			k.add(&b.items[i])
			if k.seen == tenant.MaxChunkItems && !flush(nil) {
				return
			}
		}
		k.to = b.last
		if k.size += len(b.text); b.end == nil && k.size < maxChunkBytes {
			continue
		}
		if !flush(b.end) {
			return
		}
	}
}

func newChunk(from int) *chunk { return &chunk{from: from, to: from - 1} }

func (k *chunk) add(one *numbered) {
	k.seen++
	k.to = one.line
	if one.fault.reason != "" {
		k.bad = append(k.bad, badLine{one.line, one.item.Anchor, one.fault})
		return
	}
	k.items = append(k.items, one.item)
	k.lines = append(k.lines, one.line)
}

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
)

const (
	// chunkLines is how many lines one worker takes at a time.
	chunkLines = 500
	// envelope is what a batch has besides its items.
	envelope = 64
	// maxFailures is how many failures a Summary names.
	maxFailures = 20
)

// Summary is what came of a push.
type Summary struct {
	Users, Groups, Hashes int            // taken
	Failed                int            // lines and items refused, here or there
	Reasons               map[string]int // results by the service's reason, "refused" where it named none, and "invalidLine", "duplicateInFile"
	Failures              []Failure      // the first of them
	USN                   int64          // covers all that was taken
}

// Failure is one line or item that was not taken.
type Failure struct {
	Line   int // 0 for a group that only memberOf names
	Anchor string
	Reason string
	Detail string
}

// push is one run.
type push struct {
	*Client
	seal     *sealer
	items    int // most items in a batch
	bytes    int // most bytes in a batch
	progress func(done, total int)

	mu      sync.Mutex
	summary Summary
	done    int
	total   int
}

// Push sends the JSON lines that r has: users first, then groups with their
// members, then password hashes. A line that can't be used or is refused is a
// Failure in the Summary and stops nothing; an error means that the run ended
// early, and the Summary says how far it came. Running it again is safe.
//
// r is read more than once; one that is no io.ReadSeeker is held in memory.
// progress may be nil; it counts every line twice, as object and as password.
func (c *Client) Push(ctx context.Context, r io.Reader, progress func(done, total int)) (Summary, error) {
	config, err := c.Configuration(ctx)
	if err != nil {
		return Summary{}, err
	}
	p := &push{Client: c, progress: progress, summary: Summary{Reasons: map[string]int{}}}
	p.items, p.bytes = limits(&config)
	if p.seal, err = c.sealer(&config); err != nil {
		return Summary{}, err
	}
	file, ok := r.(io.ReadSeeker)
	if !ok {
		all, err := io.ReadAll(r)
		if err != nil {
			return Summary{}, err
		}
		file = bytes.NewReader(all)
	}
	err = p.run(ctx, file)
	return p.summary, err
}

func (p *push) run(ctx context.Context, file io.ReadSeeker) error {
	if err := lines(file, func(int, []byte) error { p.total += 2; return nil }); err != nil {
		return err
	}

	// 1. Users, and what is said of groups.
	groups := newGroups()
	seen := make(map[string]bool)
	err := p.each(ctx, file, func(l *line, err error) bool {
		switch {
		case err != nil:
			p.fail(Failure{l.number, l.SourceAnchor, "invalidLine", err.Error()})
		case seen[l.SourceAnchor]:
			p.fail(Failure{l.number, l.SourceAnchor, "duplicateInFile", "an earlier line has the same sourceAnchor"})
		default:
			seen[l.SourceAnchor] = true
			groups.note(l)
			if l.Type == "user" {
				return true
			}
		}
		p.advance(1)
		return false
	}, p.users)
	if err != nil {
		return err
	}

	// 2. Groups, when all their members are known.
	if err := p.groups(ctx, groups.resolve()); err != nil {
		return err
	}

	// 3. Passwords: made by all cores, sent as one stream.
	clear(seen)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := make(chan streamLine, chunkLines)
	ended := make(chan error, 1)
	go func() {
		err := p.stream(ctx, out, p.tookHashes)
		if err != nil {
			cancel(err)
		}
		ended <- err
	}()
	err = p.each(ctx, file, func(l *line, err error) bool {
		if err == nil && !seen[l.SourceAnchor] {
			seen[l.SourceAnchor] = true
			if l.hasPassword() {
				return true
			}
		}
		p.advance(1)
		return false
	}, func(ctx context.Context, chunk []*line) error { return p.hashes(ctx, chunk, out) })
	if err != nil {
		cancel(err)
	}
	close(out)
	if failed := <-ended; err == nil {
		err = failed
	}
	return err
}

// each reads the file from its start and gives the lines that take wants to as
// many workers as there are cores, and one more that may wait for the service.
func (p *push) each(ctx context.Context, file io.ReadSeeker, take func(*line, error) bool, work func(context.Context, []*line) error) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	chunks := make(chan []*line)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 {
		workers.Go(func() {
			for chunk := range chunks {
				if err := work(ctx, chunk); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	var chunk []*line
	hand := func() error {
		if len(chunk) == 0 {
			return nil
		}
		select {
		case chunks <- chunk:
			chunk = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := lines(file, func(number int, text []byte) error {
		l, err := decodeLine(text, number)
		if !take(l, err) {
			return nil
		}
		if chunk = append(chunk, l); len(chunk) < min(chunkLines, p.items) {
			return nil
		}
		return hand()
	})
	if err == nil {
		err = hand()
	}
	close(chunks)
	workers.Wait()
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

func (p *push) users(ctx context.Context, chunk []*line) error {
	return send(ctx, p, chunk, func(l *line) (Object, int, error) {
		o := l.object()
		return o, sizeOf(o), nil
	}, func(l *line) Failure { return Failure{Line: l.number, Anchor: l.SourceAnchor} }, &p.summary.Users)
}

func (p *push) groups(ctx context.Context, all []*group) error {
	return send(ctx, p, all, func(g *group) (Object, int, error) {
		o := g.object()
		return o, sizeOf(o), nil
	}, func(g *group) Failure { return Failure{Line: g.line, Anchor: g.anchor} }, &p.summary.Groups)
}

// hashes makes the hash items of some lines and hands them to the stream.
func (p *push) hashes(ctx context.Context, chunk []*line, out chan<- streamLine) error {
	for _, l := range chunk {
		h, err := p.seal.hash(l)
		var text []byte
		if err == nil {
			text, err = json.Marshal(h)
		}
		if err == nil && len(text) >= maxStreamLine {
			err = errors.New("its hashes are larger than a line of a stream may be")
		}
		if err != nil {
			p.fail(Failure{l.number, l.SourceAnchor, "invalidLine", err.Error()})
			p.advance(1)
			continue
		}
		select {
		case out <- streamLine{l, append(text, '\n')}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// tookHashes notes what became of a chunk of the stream.
func (p *push) tookHashes(a *streamAnswer, of []streamLine) {
	for _, f := range a.Failures {
		if f.Line >= 0 && f.Line < len(of) {
			l := of[f.Line].of
			p.fail(Failure{l.number, l.SourceAnchor, f.Reason, f.Detail})
		}
	}
	p.mu.Lock()
	for reason, n := range map[string]int{"stored": a.Stored, "unchanged": a.Unchanged, "superseded": a.Superseded, "refused": a.Failed - len(a.Failures)} {
		if n > 0 {
			p.summary.Reasons[reason] += n
		}
	}
	p.summary.Failed += max(0, a.Failed-len(a.Failures)) // the service names the first hundred
	p.summary.Hashes += a.Stored + a.Unchanged + a.Superseded
	p.summary.USN = max(p.summary.USN, a.USN)
	p.mu.Unlock()
	p.advance(len(of))
}

// send makes objects of all and sends them in batches within the limits. where
// says what a failure is about.
func send[T any](ctx context.Context, p *push, all []T, prepare func(T) (Object, int, error), where func(T) Failure, taken *int) error {
	var (
		items []Object
		of    []T
		size  int
	)
	_, isLine := any(all).([]*line) // groups are counted by nobody
	flush := func() error {
		if len(items) == 0 {
			return nil
		}
		answer, err := p.Objects(ctx, items)
		if err != nil {
			return err
		}
		ok := 0
		for i, r := range answer.Results {
			if r.OK() {
				ok++
				p.count(r.Reason)
				continue
			}
			f := where(of[i])
			f.Reason, f.Detail = r.Reason, r.Detail
			p.fail(f)
		}
		p.mu.Lock()
		*taken += ok
		p.summary.USN = max(p.summary.USN, answer.USN)
		p.mu.Unlock()
		if isLine {
			p.advance(len(items))
		}
		items, of, size = items[:0], of[:0], 0
		return nil
	}
	for _, one := range all {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		item, n, err := prepare(one)
		if err == nil && n > p.bytes-envelope {
			err = errors.New("it is larger than a whole batch may be")
		}
		if err != nil {
			f := where(one)
			f.Reason, f.Detail = "invalidLine", err.Error()
			p.fail(f)
			if isLine {
				p.advance(1)
			}
			continue
		}
		if len(items) == p.items || len(items) > 0 && size+n > p.bytes-envelope {
			if err := flush(); err != nil {
				return err
			}
		}
		items, of, size = append(items, item), append(of, one), size+n
	}
	return flush()
}

// sizeOf bounds what an object takes as JSON, where an escape has six bytes for one.
func sizeOf(o Object) int {
	text := func(s string) int {
		n := len(s) + 3
		for _, c := range []byte(s) {
			if c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= 0x80 {
				n += 5
			}
		}
		return n
	}
	n := 128 + len(o.Anchor)
	for name, value := range o.Attributes {
		n += len(name) + 10
		switch v := value.(type) {
		case string:
			n += text(v)
		case []string:
			for _, s := range v {
				n += text(s)
			}
		}
	}
	return n
}

func (p *push) fail(f Failure) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.summary.Failed++
	p.summary.Reasons[f.Reason]++
	if len(p.summary.Failures) < maxFailures {
		p.summary.Failures = append(p.summary.Failures, f)
	}
}

func (p *push) count(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.summary.Reasons[reason]++
}

func (p *push) advance(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.progress != nil {
		p.progress(p.done, p.total)
	}
}

// group is one to be sent: of a line of its own, or only named in memberOf.
type group struct {
	line    int
	anchor  string
	attrs   map[string]any
	members []string // anchors
}

func (g *group) object() Object {
	g.attrs["member"] = g.members
	return Object{"group", "set", g.anchor, g.attrs}
}

// groups gathers who is in which.
type groups struct {
	lines   []*group
	named   map[string]*group   // by name or DN in lower case, those with a line
	members map[string][]string // what memberOf says, as it stands, to anchors
	order   []string            // its keys
}

func newGroups() *groups {
	return &groups{named: map[string]*group{}, members: map[string][]string{}}
}

func (gs *groups) note(l *line) {
	if l.Type == "group" {
		o := l.object()
		g := &group{line: l.number, anchor: l.SourceAnchor, attrs: o.Attributes, members: []string{}}
		gs.lines = append(gs.lines, g)
		names := []string{l.SAMAccountName, l.CN, l.DistinguishedName}
		if l.DisplayName != nil {
			names = append(names, *l.DisplayName)
		}
		for _, name := range names {
			if key := strings.ToLower(name); key != "" && gs.named[key] == nil {
				gs.named[key] = g
			}
		}
	}
	for _, ref := range l.MemberOf {
		if gs.members[ref] == nil {
			gs.order = append(gs.order, ref)
		}
		gs.members[ref] = append(gs.members[ref], l.SourceAnchor)
	}
}

// resolve returns all groups: those with a line, and one for every other name.
func (gs *groups) resolve() []*group {
	out := gs.lines
	for _, ref := range gs.order {
		name := commonName(ref)
		g := gs.named[strings.ToLower(ref)]
		if g == nil {
			g = gs.named[strings.ToLower(name)]
		}
		if g == nil {
			if name == "" {
				continue
			}
			g = &group{anchor: anchorOf("group", name), attrs: map[string]any{"displayName": name, "securityEnabled": true}}
			if name != ref {
				g.attrs["onPremisesDistinguishedName"] = ref
			}
			gs.named[strings.ToLower(name)] = g
			out = append(out, g)
		}
		g.members = append(g.members, gs.members[ref]...)
	}
	for _, g := range out {
		slices.Sort(g.members)
		g.members = slices.Compact(g.members)
	}
	return out
}

// commonName returns the first value of a DN (RFC 4514 §2.4), or the text itself
// where it is none.
func commonName(ref string) string {
	kind, rest, ok := strings.Cut(ref, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(kind), "cn") {
		return strings.TrimSpace(ref)
	}
	var out []byte
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case c == ',' || c == '+':
			return strings.TrimSpace(string(out))
		case c == '\\' && i+2 < len(rest) && isHex(rest[i+1]) && isHex(rest[i+2]):
			out = append(out, unhex(rest[i+1])<<4|unhex(rest[i+2]))
			i += 2
		case c == '\\' && i+1 < len(rest):
			i++
			out = append(out, rest[i])
		default:
			out = append(out, c)
		}
	}
	return strings.TrimSpace(string(out))
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

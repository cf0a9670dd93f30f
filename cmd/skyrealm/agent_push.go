package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"skyrealm/agent"
)

type pushCmd struct {
	File string `arg:"" help:"JSON lines: userPrincipalName, sAMAccountName, displayName, memberOf, password or ntHash and kerberosKeys, … (- is standard input)."`
	Data string `help:"Data directory of the server on this machine." default:"skyrealm-data" env:"SKYREALM_DATA" placeholder:"DIR"`
}

func (c *pushCmd) Run(e *env) error {
	t, err := onThisMachine(c.Data)
	if err != nil {
		return err
	}
	client, err := t.agent()
	if err != nil {
		return err
	}
	in := os.Stdin
	if c.File != "-" {
		if in, err = os.Open(c.File); err != nil {
			return err
		}
		defer in.Close()
	}
	bar := newBar(e.stderr, "sync")
	set := bar.set
	if bar.w == nil {
		set = (&plainProgress{w: e.stderr, label: "sync", now: time.Now}).set
	}
	began := time.Now()
	sum, err := client.Push(e.ctx, seekable(in), set)
	bar.done()
	acknowledged := time.Now()
	printSummary(e.stdout, &sum, acknowledged.Sub(began))
	if err != nil {
		return err
	}
	if sum.Failed > 0 {
		return fmt.Errorf("%d lines or items were not taken", sum.Failed)
	}
	// What was acknowledged is usable when the domain has it.
	err = client.WaitUSN(e.ctx, sum.USN)
	if refused := (*agent.Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotImplemented {
		// A tenant process of its own does not know how far the domain is.
		_, err = fmt.Fprintln(e.stdout, "the managed domain is served by another process and follows by itself")
		return err
	}
	if err == nil {
		_, err = fmt.Fprintf(e.stdout, "usable in the managed domain %s later\n", time.Since(acknowledged).Round(time.Millisecond))
	}
	return err
}

// plainTime is how often a push tells how far it is where there is no terminal.
const plainTime = 5 * time.Second

// plainProgress tells a log, which keeps what a terminal would have painted over, how
// far a long push is: a line now and then, and none for a short one.
type plainProgress struct {
	w     io.Writer
	label string
	now   func() time.Time
	last  time.Time
}

func (p *plainProgress) set(done, total int) {
	now := p.now()
	switch {
	case p.last.IsZero():
		p.last = now
	case now.Sub(p.last) >= plainTime && total > 0:
		p.last = now
		fmt.Fprintf(p.w, "%s: %d%%, %d of %d\n", p.label, 100*done/total, done, total)
	}
}

// seekable hides the Seek of a pipe, which always fails.
func seekable(f *os.File) io.Reader {
	if _, err := f.Seek(0, io.SeekCurrent); err != nil {
		return struct{ io.Reader }{f}
	}
	return f
}

func printSummary(w io.Writer, s *agent.Summary, took time.Duration) {
	count := func(n int, what string) string {
		if n != 1 {
			what += "s"
		}
		return fmt.Sprintf("%d %s", n, what)
	}
	fmt.Fprintf(w, "%s, %s and %s taken in %s\n", count(s.Users, "user"), count(s.Groups, "group"), count(s.Hashes, "password"), took.Round(time.Millisecond))
	reasons := make([]string, 0, len(s.Reasons))
	for r, n := range s.Reasons {
		reasons = append(reasons, fmt.Sprintf("%s %d", r, n))
	}
	slices.Sort(reasons)
	if len(reasons) > 0 {
		fmt.Fprintf(w, "reasons: %s\n", strings.Join(reasons, ", "))
	}
	for _, f := range s.Failures {
		fmt.Fprintf(w, "line %d, %s: %s %s\n", f.Line, f.Anchor, f.Reason, f.Detail)
	}
}

package tenant

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a report.
const (
	MaxReport    = 1000 // events
	maxEventText = 1024 // bytes of a text or DN
)

// reported are the numbers that an agent may report: those of the real agent's log
// (§D of the wire reference) but the ones that the tenant writes by itself, 650 to 657.
func reported(id int) bool {
	return id == 0 || id == 115 || id == 116 || id == 6900 || id >= 601 && id <= 649 || id >= 658 && id <= 668
}

// Report keeps what an agent says of itself, as rows beside those of the batches, and
// writes it to the log. A text that is too long is cut. Errors: *InvalidError, and
// ErrBatchTooLarge.
func (s *Service) Report(ctx context.Context, from Origin, events []AgentEvent) error {
	if len(events) > MaxReport {
		return ErrBatchTooLarge
	}
	if len(events) == 0 {
		return nil
	}
	anchors := make([]string, 0, len(events))
	for i := range events {
		e := &events[i]
		if !reported(e.ID) || e.Time.IsZero() {
			return &InvalidError{"events", fmt.Sprintf("event %d is none that an agent reports, or has no time", i)}
		}
		e.Anchor = recorded(e.Anchor)
		e.Time = e.Time.UTC()
		for _, text := range []*string{&e.DN, &e.Result, &e.Text} {
			*text = strings.ToValidUTF8(strings.Map(printable, (*text)[:min(len(*text), maxEventText)]), "")
		}
		if e.Anchor != "" {
			anchors = append(anchors, e.Anchor)
		}
	}
	refs, _, err := s.Store.Refs(ctx, anchors)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	r := &Record{Kind: AgentReport, Origin: from, Began: now, Ended: now, Events: events, Items: make([]RecordItem, len(events))}
	for i := range events {
		r.Items[i] = RecordItem{Anchor: events[i].Anchor}
		if at := slices.IndexFunc(refs, func(ref Ref) bool { return ref.Anchor == events[i].Anchor }); at >= 0 {
			r.Items[i].Object = refs[at].ID
		}
	}
	if err := s.Store.PutRecord(ctx, r); err != nil {
		return err
	}
	s.tell(ctx, r)
	return nil
}

// printable drops what no line of a log and no text of a database holds.
func printable(c rune) rune {
	if c < ' ' || c == 0x7f {
		return -1
	}
	return c
}

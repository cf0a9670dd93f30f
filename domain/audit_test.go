package domain

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// shelf is an EventStore that can be away.
type shelf struct {
	mu     sync.Mutex
	away   bool
	events []Event
}

func (s *shelf) PutEvents(_ context.Context, e []Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return errors.New("away")
	}
	s.events = append(s.events, e...)
	return nil
}

func (s *shelf) Events(context.Context, EventQuery) ([]StoredEvent, error) { return nil, nil }
func (s *shelf) DropEvents(context.Context, time.Time) (int64, error)      { return 0, nil }

// Nothing is lost at a clean stop, whoever writes at the same time; when the ring
// is full the newest are, and are counted.
func TestAudit(t *testing.T) {
	s := &shelf{}
	a := NewAudit(s, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	const writers, each = 4, 5000
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for i := range each {
				a.Put(&Event{ID: EventTGT, RID: uint32(w*each + i)})
			}
		})
	}
	all.Wait()
	stop()
	<-done
	seen := map[uint32]bool{}
	for _, e := range s.events {
		seen[e.RID] = true
	}
	if len(s.events) != writers*each || len(seen) != len(s.events) || a.Dropped() != 0 || a.Written() != writers*each {
		t.Fatalf("%d events, %d of them different, %d dropped", len(s.events), len(seen), a.Dropped())
	}

	s.events, s.away = nil, true
	for i := range auditSlots + 100 {
		a.Put(&Event{RID: uint32(i)})
	}
	if a.Dropped() != 100 {
		t.Errorf("%d dropped", a.Dropped())
	}
	for range 2 {
		if a.flush(t.Context()) == nil {
			t.Error("written while away")
		}
	}
	s.away = false
	if err := a.flush(t.Context()); err != nil || len(s.events) != auditSlots {
		t.Fatal(len(s.events), err)
	}
	for i, e := range s.events {
		if e.RID != uint32(i) {
			t.Fatalf("event %d is %d", i, e.RID)
		}
	}
}

func TestAuditAllocatesNothing(t *testing.T) {
	a := NewAudit(&shelf{}, slog.New(slog.DiscardHandler))
	e := Event{Account: "ada"}
	if n := testing.AllocsPerRun(1000, func() { a.Put(&e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

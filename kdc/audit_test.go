package kdc

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// ledger is an EventStore in memory.
type ledger struct {
	mu     sync.Mutex
	events []domain.Event
}

func (s *ledger) PutEvents(_ context.Context, e []domain.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e...)
	return nil
}

func (s *ledger) Events(context.Context, domain.EventQuery) ([]domain.StoredEvent, error) {
	return nil, nil
}
func (s *ledger) DropEvents(context.Context, time.Time) (int64, error) { return 0, nil }

// What becomes of a request is written down as Windows does it; what only asks
// for more, or comes twice, is not.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.lockout(nil)
	s := &ledger{}
	w.rep.Audit = domain.NewAudit(s, slog.New(slog.DiscardHandler))

	w.refused(w.send(w.asReq("alice")), krb5.ErrPreauthRequired)
	w.refused(w.sendRaw(w.guess("alice", "wrong", 0)), krb5.ErrPreauthFailed)
	w.refused(w.send(w.asReq("Nobody"+strings.Repeat("y", 1000))), krb5.ErrCPrincipalUnknown)
	w.refused(w.send(w.proven("dave", etype.AES256SHA1)), krb5.ErrClientRevoked)
	raw := krb5.Encode(w.proven("alice", etype.AES256SHA1))
	g := w.open(w.sendRaw(raw), w.key("alice", etype.AES256SHA1), krb5.UsageASRepPart)
	w.sendRaw(raw)
	w.tgs(w.tgsReq(g, webSPN))
	w.refused(w.sendRaw(w.encode(w.tgsReq(g, "HTTP/none"))), krb5.ErrSPrincipalUnknown)
	w.tgs(w.renewal(g))

	ctx, stop := context.WithCancel(t.Context())
	stop()
	w.rep.Audit.Run(ctx)
	rid := w.rep.BySAM("alice").RID
	want := []domain.Event{
		{ID: 4771, Account: "alice", RID: rid, Service: "krbtgt", ServiceRID: 502, EType: -1, Status: 24, PreAuth: 2},
		{ID: 4768, EType: -1, Status: 6},
		{ID: 4768, EType: -1, Status: 18},
		{ID: 4768, Account: "alice", RID: rid, Service: "krbtgt", ServiceRID: 502, EType: 18, PreAuth: 2},
		{ID: 4769, Account: "alice", RID: rid, Service: "web", ServiceRID: w.rep.BySAM("web").RID, EType: 18},
		{ID: 4769, Account: "alice", RID: rid, Service: "HTTP/none", EType: -1, Status: 7},
		{ID: 4770, Account: "alice", RID: rid, Service: "krbtgt", ServiceRID: 502, EType: 18},
	}
	if len(s.events) != len(want) {
		t.Fatalf("%d events: %+v", len(s.events), s.events)
	}
	for i, e := range s.events {
		if e.From != client4 || !e.At.Equal(w.now) {
			t.Errorf("event %d: from %v at %v", i, e.From, e.At)
		}
		if w := want[i]; e.ID != w.ID || e.Status != w.Status || e.EType != w.EType || w.Account != "" &&
			(e.Account != w.Account || e.RID != w.RID || e.Service != w.Service || e.ServiceRID != w.ServiceRID || e.PreAuth != w.PreAuth) {
			t.Errorf("event %d is %+v, want %+v", i, e, w)
		}
		if len(e.Account) > 300 || len(e.Service) > 300 {
			t.Errorf("event %d has a name of %d bytes", i, len(e.Account))
		}
	}
}

// BenchmarkASWatched is BenchmarkAS with what a service adds to it: a lockout
// that has seen wrong passwords, and a security log.
func BenchmarkASWatched(b *testing.B) {
	w := benchWorld(b)
	l := w.lockout(nil)
	if err := l.Wrong(b.Context(), w.rep.BySAM("bob"), 0); err != nil {
		b.Fatal(err)
	}
	s := &ledger{}
	w.rep.Audit = domain.NewAudit(void{s}, slog.New(slog.DiscardHandler))
	go w.rep.Audit.Run(b.Context())
	in := asRequests(w)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		reply := w.kdc.Handle(b.Context(), in[i%len(in)], client4, true)
		if reply[0] != 0x6b {
			mustIssue(b, w, reply, krb5.MsgASRep)
		}
	}
}

// void keeps nothing.
type void struct{ *ledger }

func (void) PutEvents(context.Context, []domain.Event) error { return nil }

package domain

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"
)

// Event is one line of the domain's security log, with the numbers and fields of
// Windows' own (Microsoft Learn: Audit Kerberos Authentication Service, Audit
// Kerberos Service Ticket Operations, Audit Credential Validation).
type Event struct {
	ID         uint16
	At         time.Time
	Account    string // sAMAccountName, or the name that was asked for where nobody has it
	RID        uint32 // 0: no account
	Service    string
	ServiceRID uint32
	Options    uint32 // KDC options
	EType      int32  // of the ticket; -1: none
	Status     uint32 // a Kerberos error code, or of 4776 an NTSTATUS; 0: it went well
	PreAuth    int32
	From       netip.AddrPort // zero: nobody outside
}

// The events.
const (
	EventTGT           = 4768 // a TGT was asked for
	EventServiceTicket = 4769
	EventRenewed       = 4770
	EventPreAuthFailed = 4771
	EventLockedOut     = 4740
	EventValidation    = 4776 // LDAP's simple bind
)

// EventQuery selects events, the newest first.
type EventQuery struct {
	Account string // in any case; "": all
	ID      uint16 // 0: all
	Before  int64  // the number of an event; 0: the newest
	Limit   int
}

// StoredEvent is an event with its number.
type StoredEvent struct {
	Number int64
	Event
}

// EventStore keeps events.
type EventStore interface {
	// PutEvents stores all of them or none.
	PutEvents(ctx context.Context, events []Event) error
	Events(ctx context.Context, q EventQuery) ([]StoredEvent, error)
	DropEvents(ctx context.Context, before time.Time) (int64, error)
}

const (
	auditSlots = 1 << 15 // 4 MB; a second and more of a busy KDC
	auditBatch = 4096
	auditEvery = 200 * time.Millisecond
	auditTime  = 5 * time.Second // for one attempt to write
)

// Audit takes events from those who answer requests, who neither wait for it nor
// allocate, and writes them in batches. It holds a bounded number of them. When
// that is full, as after a long outage of the database, new ones are dropped and
// counted: what led to it is of more use than what went on after.
type Audit struct {
	Store EventStore
	Log   *slog.Logger

	slots   [auditSlots]auditSlot
	head    atomic.Uint64 // where the next goes
	tail    uint64        // of the one that Run takes next; Run's own
	dropped atomic.Uint64
	written atomic.Uint64
	pending []Event
}

// auditSlot is a place of the ring. Its turn says who may touch it: at n the
// writer of event n, at n+1 the reader.
type auditSlot struct {
	turn  atomic.Uint64
	event Event
}

// NewAudit returns one that Run has to serve.
func NewAudit(store EventStore, log *slog.Logger) *Audit {
	a := &Audit{Store: store, Log: log}
	for i := range a.slots {
		a.slots[i].turn.Store(uint64(i))
	}
	return a
}

// Put takes an event. A nil Audit takes none.
func (a *Audit) Put(e *Event) {
	if a == nil {
		return
	}
	for {
		n := a.head.Load()
		s := &a.slots[n%auditSlots]
		switch turn := s.turn.Load(); {
		case turn == n:
			if a.head.CompareAndSwap(n, n+1) {
				s.event = *e
				s.turn.Store(n + 1)
				return
			}
		case turn < n: // the reader has not come round
			a.dropped.Add(1)
			return
		}
	}
}

// Dropped returns how many events there was no room for, and Written how many
// are stored.
func (a *Audit) Dropped() uint64 { return a.dropped.Load() }

// Written returns how many events are stored.
func (a *Audit) Written() uint64 { return a.written.Load() }

// Run writes events until ctx ends, and what there is then.
func (a *Audit) Run(ctx context.Context) {
	work := context.WithoutCancel(ctx)
	tick := time.NewTicker(auditEvery)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := a.flush(work); err != nil {
				a.Log.Error("security events are lost: the database is away at the end", "events", len(a.pending), "error", err)
			}
			return
		}
		err := a.flush(work)
		if err != nil && !away {
			a.Log.Warn("security events are kept in memory", "error", err)
		}
		away = err != nil
	}
}

// flush writes all that has come.
func (a *Audit) flush(ctx context.Context) error {
	for {
		for len(a.pending) < auditBatch {
			s := &a.slots[a.tail%auditSlots]
			if s.turn.Load() != a.tail+1 {
				break
			}
			a.pending = append(a.pending, s.event)
			s.event = Event{}
			s.turn.Store(a.tail + auditSlots)
			a.tail++
		}
		if len(a.pending) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, auditTime)
		err := a.Store.PutEvents(ctx, a.pending)
		cancel()
		if err != nil {
			return err
		}
		a.written.Add(uint64(len(a.pending)))
		clear(a.pending)
		a.pending = a.pending[:0]
	}
}

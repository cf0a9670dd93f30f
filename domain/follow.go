package domain

import (
	"context"
	"log/slog"
	"time"

	"skyrealm/tenant"
)

// batch is how many records or changes are read at once.
const batch = 1000

// Follower carries records from the store into a replica.
type Follower struct {
	Store   Store
	Replica *Replica
	Log     *slog.Logger
	// Retry is how long to wait after the store could not be read. Sign-ins go
	// on meanwhile.
	Retry time.Duration
}

// CatchUp reads until the replica has all that was there when it began. While it
// takes one page in, the next is read and decrypted: that is half the work of a
// start with many accounts.
func (f *Follower) CatchUp(ctx context.Context) error {
	after, _ := f.Replica.USN()
	next := f.read(ctx, after)
	for {
		p := <-next
		if p.err != nil {
			return p.err
		}
		more := len(p.records) == batch
		if more {
			next = f.read(ctx, p.records[batch-1].USN)
		}
		if err := f.Replica.Apply(p.records, p.upTo); err != nil {
			f.Log.Error("records left out of the replica", "error", err)
		}
		if !more {
			return f.Replica.Lockout.CatchUp(ctx)
		}
	}
}

// page is what one reading gave.
type page struct {
	records []Record
	upTo    tenant.USN
	err     error
}

func (f *Follower) read(ctx context.Context, after USN) <-chan page {
	c := make(chan page, 1)
	go func() {
		var p page
		p.records, p.upTo, p.err = f.Store.Records(ctx, after, batch)
		c <- p
	}()
	return c
}

// Run follows the store until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	wake := f.Store.Watch(ctx)
	for ctx.Err() == nil {
		if err := f.CatchUp(ctx); err != nil && ctx.Err() == nil {
			f.Log.Warn("domain feed unreadable, signing in from memory", "error", err)
			pause(ctx, f.Retry)
			continue
		}
		select {
		case <-wake:
		case <-ctx.Done():
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

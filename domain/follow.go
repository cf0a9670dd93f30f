package domain

import (
	"context"
	"log/slog"
	"time"
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

// CatchUp reads until the replica has all that was there when it began.
func (f *Follower) CatchUp(ctx context.Context) error {
	for {
		after, _ := f.Replica.USN()
		records, upTo, err := f.Store.Records(ctx, after, batch)
		if err != nil {
			return err
		}
		if err := f.Replica.Apply(records, upTo); err != nil {
			f.Log.Error("records left out of the replica", "error", err)
		}
		if len(records) < batch {
			return f.Replica.Lockout.CatchUp(ctx)
		}
	}
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

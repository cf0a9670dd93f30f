package tenant

import (
	"context"
	"time"
)

// RecordsKept is how long records stay where nothing else is set (§D of the wire reference: results of
// password sync are kept for seven days).
const RecordsKept = 7 * 24 * time.Hour

// Form is one form of a user's password in the managed domain, without its value.
type Form struct {
	Name  string // nt, or the name of an etype
	Since time.Time
	KVNO  uint32
}

// StaleAfter is how long no agent may show a sign of life before the tenant's
// sync counts as stale: the real service's troubleshooter looks back three hours.
const StaleAfter = 3 * time.Hour

// Beat notes that an agent lives and has nothing to send.
func (s *Service) Beat(ctx context.Context, from Origin) error {
	now := s.Now().UTC()
	r := &Record{Kind: Heartbeat, Origin: from, Began: now, Ended: now}
	if err := s.Store.PutRecord(ctx, r); err != nil {
		return err
	}
	s.tell(ctx, r)
	return nil
}

// Ping is [Service.Beat] of an agent that wants to hear whether its passwords
// would be taken: ErrDirSyncOff, ErrPasswordSyncOff.
func (s *Service) Ping(ctx context.Context, from Origin) error {
	began := s.Now().UTC()
	c, err := s.Configuration(ctx)
	switch {
	case err != nil:
		return err
	case !c.DirSync:
		return s.refuse(ctx, Heartbeat, from, began, ErrDirSyncOff)
	case !c.PasswordSync:
		return s.refuse(ctx, Heartbeat, from, began, ErrPasswordSyncOff)
	}
	return s.Beat(ctx, from)
}

// Health is what an administrator asks first of a tenant's sync.
type Health struct {
	Activity
	DirSyncOn      bool
	PasswordSyncOn bool
	Stale          bool          // sync is on, and no agent has shown a sign of life for StaleAfter
	Silence        time.Duration // since the last sign; 0 where there never was one
}

// Health works out the state of the tenant's sync.
func (s *Service) Health(ctx context.Context) (Health, error) {
	c, err := s.Configuration(ctx)
	if err != nil {
		return Health{}, err
	}
	a, err := s.Store.Activity(ctx)
	if err != nil {
		return Health{}, err
	}
	h := Health{Activity: a, DirSyncOn: c.DirSync, PasswordSyncOn: c.PasswordSync}
	if last := a.Last(); !last.IsZero() {
		h.Silence = max(0, s.Now().Sub(last))
	}
	// A tenant that no agent ever wrote to has no sync to be stale.
	h.Stale = c.DirSync && !a.Last().IsZero() && h.Silence > StaleAfter
	return h, nil
}

// Tidy does what has to be done from time to time: names in quarantine that are
// free are given back, and old records go. It runs every hour.
func (s *Service) Tidy(ctx context.Context) (healed int, dropped int64, err error) {
	if healed, err = s.Heal(ctx); err != nil {
		return healed, 0, err
	}
	keep := s.Keep
	if keep == 0 {
		keep = RecordsKept
	}
	dropped, err = s.Store.DropRecords(ctx, s.Now().Add(-keep))
	return healed, dropped, err
}

package domain

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// Provisioner follows the tenant's change feed and writes the domain's records.
// It is the one place where legacy hashes are opened. All fields are required.
type Provisioner struct {
	Store Store
	Info  Info
	Key   cred.Opener // opens what agents and the tenant sealed
	Now   func() time.Time
	Rand  io.Reader
	Log   *slog.Logger
	Retry time.Duration // how long to wait after a failure
}

// Run leads, or waits to lead, until ctx ends.
func (p *Provisioner) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := p.lead(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrNotLeader):
			p.Log.Debug("another process provisions the domain")
		case err != nil:
			p.Log.Warn("provisioning interrupted", "error", err)
		}
		pause(ctx, p.Retry)
	}
}

// lead provisions for as long as this process holds the lock.
func (p *Provisioner) lead(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost, err := p.Store.Lead(ctx)
	if err != nil {
		return err
	}
	if err := ensureProtectedUsers(ctx, p.Store, &p.Info, p.Now().UTC()); err != nil {
		return err
	}
	wake := p.Store.Watch(ctx)
	after, err := p.Store.Provisioned(ctx)
	if err != nil {
		return err
	}
	var looked time.Time
	for {
		if now := p.Now(); now.Sub(looked).Abs() >= krbtgtLook {
			if err := p.Age(ctx); err != nil {
				return err
			}
			looked = now
		}
		next, more, err := p.Step(ctx, after)
		if err != nil {
			return err
		}
		after = next
		if more {
			continue
		}
		select {
		case <-wake:
		case <-lost:
			return ErrNotLeader
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Step takes the next changes of the tenant's feed into the domain, and returns
// how far that is and whether there may be more.
func (p *Provisioner) Step(ctx context.Context, after tenant.USN) (tenant.USN, bool, error) {
	for try := 0; ; try++ {
		changes, err := p.Store.TenantChanges(ctx, after, batch)
		if err != nil || len(changes) == 0 {
			return after, false, err
		}
		upTo := changes[len(changes)-1].USN
		writes, err := p.plan(ctx, changes)
		if err != nil {
			return after, false, err
		}
		_, err = p.Store.Provision(ctx, writes, after, upTo)
		// A name was taken through LDAP in between: plan again on what is now.
		if errors.Is(err, ErrConflict) && try < 3 {
			continue
		}
		if err != nil {
			return after, false, err
		}
		return upTo, len(changes) == batch, nil
	}
}

// opened is what a change's sealed hashes turned out to be.
type opened struct {
	legacy cred.Legacy
	err    error
}

// open opens the sealed hashes of all changes, on all cores: it is most of the
// work of a bulk sync.
func (p *Provisioner) open(changes []tenant.Change, existing map[ID]*Record) []opened {
	out := make([]opened, len(changes))
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), len(changes))
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(changes); i += workers {
				c := &changes[i]
				if c.Credential == nil || c.Credential.Legacy == "" || !c.Object.Deleted.IsZero() {
					continue
				}
				if rec := existing[c.Object.ID]; rec != nil && rec.Secrets.Version == c.Credential.Version && rec.Generation == c.Object.Generation {
					continue // this set is in already
				}
				bound := cred.Binding{Tenant: p.Info.Tenant.String(), Subject: c.Object.Subject(), Version: c.Credential.Version}
				out[i].legacy, out[i].err = p.Key.Open(bound, c.Credential.Legacy)
			}
		})
	}
	wg.Wait()
	return out
}

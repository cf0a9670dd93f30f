package agent

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"skyrealm/cred"
)

const (
	// passwordBatch is how many passwords go in one request.
	passwordBatch = 250
	// manyPasswords is from when on all of the directory is read rather than its
	// users one by one.
	manyPasswords = 2000
	// forcePasswordChange is the tenant's feature ForcePasswordChangeOnLogon (entra-wire §A9).
	forcePasswordChange = 1 << 14
)

func (s stamp) String() string { return fmt.Sprintf("%d,%t", s.Version, s.MustChange) }

// exportPasswords sends the passwords that the service does not have, oldest
// change first.
func (a *Agent) exportPasswords(ctx context.Context, config *Configuration, fresh map[GUID]password) error {
	if !config.PasswordSync {
		a.Log.Info("Password synchronization is paused: it is off in the tenant", "event", eventPaused)
		return nil
	}
	seal, err := a.Service.sealer(config)
	if err != nil {
		return err
	}
	a.allPasswords(config, seal.keyID())
	todo := a.waiting(config.Features&forcePasswordChange != 0)
	if a.Staging {
		a.run.Passwords = len(todo)
		return nil
	}
	if err := a.fetch(ctx, todo, fresh); err != nil {
		a.Log.Error("Password synchronization failed for domain", "event", eventDomainError, "domain", a.Store.Domain.DNS, "error", err)
		return err
	}
	slices.SortStableFunc(todo, func(x, y GUID) int {
		return a.Store.Directory[x].changed().Compare(a.Store.Directory[y].changed())
	})

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	items, _ := limits(config)
	chunks := make(chan []GUID)
	var workers sync.WaitGroup
	done := 0
	for range runtime.GOMAXPROCS(0) + 1 { // one more, as it waits for the service
		workers.Go(func() {
			for some := range chunks {
				if err := a.sendPasswords(ctx, seal, some, fresh); err != nil {
					cancel(err)
					return
				}
				a.mu.Lock()
				done += len(some)
				a.progress("passwords", done, len(todo))
				a.mu.Unlock()
			}
		})
	}
	for some := range slices.Chunk(todo, min(items, passwordBatch)) {
		select {
		case chunks <- some:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(chunks)
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if len(todo) > 0 {
		a.Store.report.PasswordSync = a.now()
	}
	return nil
}

// fetch gets the passwords that are to be sent and did not come with a change:
// those of an earlier run, which keeps none.
func (a *Agent) fetch(ctx context.Context, todo []GUID, fresh map[GUID]password) error {
	need := map[GUID]bool{}
	var missing []GUID
	for _, g := range todo {
		if _, ok := fresh[g]; !ok {
			need[g] = true
			missing = append(missing, g)
		}
	}
	if len(missing) <= manyPasswords {
		if len(missing) == 0 {
			return nil
		}
		a.dirty = true // what is read anew may be newer than what is known
		return a.whole(ctx, a.Store.Directory, missing, fresh)
	}
	read := 0
	_, err := a.Source.Read(ctx, Cookie{}, func(p page) error {
		for i := range p.changes {
			if c := &p.changes[i]; need[c.guid] && a.Store.Directory.apply(c) {
				a.took(c, fresh)
			}
		}
		read += len(p.changes)
		a.progress("read", read, max(p.total, read))
		return ctx.Err()
	})
	return err
}

// sendPasswords makes hash items of some users and sends them.
func (a *Agent) sendPasswords(ctx context.Context, seal *sealer, some []GUID, fresh map[GUID]password) error {
	type sent struct {
		guid  GUID
		dn    string
		stamp stamp
	}
	var (
		items []Hash
		of    []sent
	)
	for _, g := range some {
		p, ok := fresh[g]
		a.mu.Lock()
		e, r := a.Store.Directory[g], a.Store.Records[g]
		a.mu.Unlock()
		if !ok || e == nil {
			continue // gone in the meantime; the next run knows
		}
		if p.noKeys != nil {
			a.Log.Warn("no Kerberos keys: the user signs in to the managed domain by NTLM and LDAP only", "event", eventKeysMissing,
				"status", "MissingAttribute", "anchor", r.Anchor, "dn", e.DN, "error", p.noKeys)
		}
		h, err := seal.item(r.Anchor, p.legacy, e.changed(), e.stamp().MustChange, a.salt)
		if err != nil {
			a.refused(r, e.stamp(), "local", err.Error())
			continue
		}
		a.Log.Info("Password Change Request", "event", eventRequest, "anchor", r.Anchor, "dn", e.DN, "changeDate", h.Changed)
		items, of = append(items, h), append(of, sent{g, e.DN, e.stamp()})
	}
	if len(items) == 0 {
		return nil
	}
	a.Log.Info("Provision credentials batch start.", "event", eventBatchStart, "count", len(items))
	answer, err := a.Service.Hashes(ctx, items)
	if err != nil {
		a.Log.Error("Failed credential provisioning batch.", "event", eventBatchError, "count", len(items), "error", err)
		return err
	}
	a.Log.Info("Provision credentials batch end.", "event", eventBatchEnd, "count", len(items))
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, result := range answer.Results {
		r := a.Store.Records[of[i].guid]
		verdict := "Success"
		if !result.OK() {
			verdict = "Failed"
		}
		a.Log.Info("Password Change Result", "event", eventResult, "anchor", r.Anchor, "dn", of[i].dn, "changeDate", items[i].Changed,
			"pwdChangeOnLogon", of[i].stamp.MustChange, "result", verdict, "reason", result.Reason)
		if !result.OK() {
			if result.Reason == "unknownAnchor" {
				r.Sent = "" // the service has lost it, or never had it: it is sent again
			}
			a.refuse(r, of[i].stamp, result.Reason, result.Detail)
			continue
		}
		a.run.Passwords++
		if r.Secret != nil {
			a.Log.Info("removed from the retry queue", "event", eventRetryEnd, "anchor", r.Anchor, "dn", of[i].dn)
		}
		r.Password, r.Secret = of[i].stamp, nil
	}
	return a.acknowledged()
}

func (a *Agent) refused(r *record, of stamp, reason, detail string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refuse(r, of, reason, detail)
}

// refuse puts a user into the retry queue. It is called under the lock.
func (a *Agent) refuse(r *record, of stamp, reason, detail string) {
	a.run.Refused++
	a.dirty = true
	r.Secret = r.Secret.again(of.String(), reason, a.now())
	a.Log.Warn("The password change failed to synchronize and is added to the retry queue", "event", eventRetry, "anchor", r.Anchor,
		"reason", reason, "detail", detail, "attempts", r.Secret.Attempts, "next", r.Secret.Next)
}

// salt makes the salt of a digest ([saltOf]) under the state directory's key.
func (a *Agent) salt(anchor string, at time.Time, legacy cred.Legacy) []byte {
	return saltOf(a.Store.SaltKey, a.Store.Tenant, anchor, at, legacy.NT)
}

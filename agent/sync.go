package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"skyrealm/cred"
)

// Events of the real agent's log, by their numbers (entra-wire §D).
const (
	eventDeletions    = 116
	eventRetry        = 605
	eventRetryEnd     = 606
	eventDomainError  = 611
	eventPaused       = 613
	eventFullStart    = 618
	eventFullEnd      = 622
	eventBatchStart   = 650
	eventBatchEnd     = 651
	eventBatchError   = 652
	eventPingStart    = 653
	eventPingEnd      = 654
	eventPingError    = 655
	eventRequest      = 656
	eventResult       = 657
	eventKeysMissing  = 658 // of the Kerberos hashes for Domain Services
	eventExportError  = 6900
	eventInetOrg      = 620 // objects that are not retried
	defaultDeletions  = 500
	heartbeatInterval = 30 * time.Minute
	saveInterval      = 5 * time.Second
)

// Intervals of the real agent.
const (
	ObjectInterval   = 30 * time.Minute
	PasswordInterval = 2 * time.Minute
)

// ErrDeletions: a run would have deleted more than is allowed at once.
var ErrDeletions = errors.New("agent: stopped-deletion-threshold-exceeded")

// Agent keeps a tenant up to date with a directory. All fields are required but
// those that say otherwise.
type Agent struct {
	Service Service
	Source  Source
	Store   *Store
	Log     *slog.Logger
	Scope   Scope
	Staging bool // read, and send nothing
	// Deletions is the most in one run; 0: what the tenant says; negative: any number.
	Deletions int
	Progress  func(what string, done, total int) // may be nil

	mu    sync.Mutex // over Store and run while batches are under way
	run   Run
	said  Configuration // the last
	saved time.Time
	dirty bool

	reached bool // the service has answered in this run
	reports reports
}

// password is a user's as it came from the directory, on its way out.
type password struct {
	legacy cred.Legacy
	noKeys error
}

// Once does all there is to do and returns. full sends everything again. Errors:
// ErrDeletions, and whatever kept the run from its end; what could be done was.
func (a *Agent) Once(ctx context.Context, full bool) (Run, error) {
	if full {
		a.Store.forget()
		if err := a.Store.save(); err != nil { // a full sync that is killed goes on
			return Run{}, err
		}
	}
	return a.cycle(ctx, true, true)
}

// Run works until ctx ends. Intervals that are 0 are those that the tenant says.
func (a *Agent) Run(ctx context.Context, objects, passwords time.Duration) error {
	var next time.Time
	for {
		began := a.now()
		due := !began.Before(next)
		beat := began.Sub(a.lastSign()) >= heartbeatInterval
		_, err := a.cycle(ctx, due, beat)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			a.Log.Error("run failed", "error", err)
		}
		if due && (err == nil || errors.Is(err, ErrDeletions)) { // else objects are tried again with the passwords
			next = began.Add(firstSet(objects, seconds(a.said.ObjectSeconds), ObjectInterval))
		}
		pause := firstSet(passwords, seconds(a.said.HashSeconds), PasswordInterval) - a.now().Sub(began)
		if rest(ctx, max(pause, 0)) != nil {
			return nil
		}
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func firstSet(of ...time.Duration) time.Duration {
	for _, d := range of {
		if d > 0 {
			return d
		}
	}
	return 0
}

func (a *Agent) now() time.Time { return a.Service.clock().UTC() }

// lastSign is when the service last heard of us.
func (a *Agent) lastSign() time.Time {
	r := &a.Store.report
	return slices.MaxFunc([]time.Time{r.ObjectSync, r.PasswordSync, r.Heartbeat}, time.Time.Compare)
}

// cycle is one run. beat: a run that has nothing to send says that it lives.
func (a *Agent) cycle(ctx context.Context, objects, beat bool) (Run, error) {
	a.listen()
	a.run, a.reached = Run{Began: a.now(), Full: a.Store.Cookie.IsZero(), Staging: a.Staging}, false
	err := a.work(ctx, objects, beat)
	if a.reached && !a.Staging {
		a.report(ctx)
	}
	a.run.Ended = a.now()
	if ctx.Err() == nil {
		a.note(err)
	}
	return a.run, errors.Join(err, a.flush())
}

func (a *Agent) work(ctx context.Context, objects, beat bool) error {
	config, err := a.Service.Configuration(ctx)
	if err != nil {
		return err
	}
	a.said, a.reached = config, true
	fresh, err := a.read(ctx, config.TenantID)
	if err != nil {
		a.Log.Error("Password synchronization failed for domain", "event", eventDomainError, "domain", a.Store.Domain.DNS, "error", err)
		return err
	}
	full := a.run.Full
	if full {
		a.Log.Info("Full synchronization started for domain", "event", eventFullStart, "domain", a.Store.Domain.DNS, "objects", a.run.Read)
	}
	var failed error
	if objects {
		if failed = a.exportObjects(ctx, &config); failed != nil && !errors.Is(failed, ErrDeletions) {
			return failed
		}
	}
	if err := a.exportPasswords(ctx, &config, fresh); err != nil {
		return errors.Join(failed, err)
	}
	if full && failed == nil {
		a.Log.Info("Full password hash synchronization completed for domain", "event", eventFullEnd, "domain", a.Store.Domain.DNS,
			"objects", a.run.Sent, "passwords", a.run.Passwords)
	}
	if beat && !a.Staging && a.run.Sent+a.run.Deleted+a.run.Passwords == 0 {
		return errors.Join(failed, a.ping(ctx))
	}
	return failed
}

func (a *Agent) ping(ctx context.Context) error {
	a.Log.Info("Provision credentials ping start.", "event", eventPingStart)
	if err := a.Service.Heartbeat(ctx); err != nil {
		a.Log.Error("Failed credential provisioning ping.", "event", eventPingError, "error", err)
		return err
	}
	a.Store.report.Heartbeat = a.now()
	a.Log.Info("Provision credentials ping end.", "event", eventPingEnd)
	return nil
}

// note writes what is to be said of the run.
func (a *Agent) note(err error) {
	r := &a.Store.report
	r.Agent, r.Directory, r.Last = a.Store.Agent, a.Store.Domain.DNS, a.run
	r.Users, r.Groups, r.Retries = 0, 0, 0
	for _, one := range a.Store.Records {
		switch {
		case one.Exists && one.Class == classUser:
			r.Users++
		case one.Exists:
			r.Groups++
		}
		if one.Object != nil || one.Secret != nil {
			r.Retries++
		}
	}
	if err != nil {
		r.Error, r.ErrorAt = err.Error(), a.run.Ended
	}
	a.Log.Info("run", "full", a.run.Full, "staging", a.run.Staging, "read", a.run.Read, "sent", a.run.Sent, "deleted", a.run.Deleted,
		"passwords", a.run.Passwords, "filtered", a.run.Filtered, "refused", a.run.Refused, "retries", r.Retries, "took", a.run.Ended.Sub(a.run.Began))
}

// flush writes what is not yet written.
func (a *Agent) flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.dirty {
		if err := a.Store.save(); err != nil {
			return err
		}
		a.dirty, a.saved = false, a.now()
	}
	return a.Store.saveReport()
}

// acknowledged is called, under the lock, when the service has answered.
func (a *Agent) acknowledged() error {
	a.dirty = true
	if a.now().Sub(a.saved) < saveInterval {
		return nil
	}
	if err := a.Store.save(); err != nil {
		return err
	}
	a.dirty, a.saved = false, a.now()
	return nil
}

// read takes in what has changed in the directory, and returns the passwords
// that came along.
func (a *Agent) read(ctx context.Context, tenant string) (map[GUID]password, error) {
	s := a.Store
	domain, err := a.Source.Domain(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Tenant != "" && s.Tenant != tenant:
		return nil, fmt.Errorf("agent: the state directory belongs to tenant %s, this is %s", s.Tenant, tenant)
	case s.Domain.DN != "" && s.Domain.DN != domain.DN:
		return nil, fmt.Errorf("agent: the state directory belongs to %s, this is %s", s.Domain.DN, domain.DN)
	}
	if s.Tenant != tenant || s.Domain != domain {
		s.Tenant, s.Domain, a.dirty = tenant, domain, true
	}
	into := s.Directory
	if s.Cookie.IsZero() {
		into = replica{} // what is not there any more has to be missing
	}
	var (
		fresh   = map[GUID]password{}
		links   []link
		unknown []GUID
	)
	next, err := a.Source.Read(ctx, s.Cookie, func(p page) error {
		for i := range p.changes {
			c := &p.changes[i]
			if !into.apply(c) {
				unknown = append(unknown, c.guid)
			}
			a.took(c, fresh)
		}
		links = append(links, p.links...)
		a.run.Read += len(p.changes)
		a.progress("read", a.run.Read, max(p.total, a.run.Read))
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	for _, l := range links { // an object may come in a later reply than its links
		if e := into[l.from]; e != nil {
			e.link(l)
		} else {
			unknown = append(unknown, l.from)
		}
	}
	if len(unknown) > 0 {
		slices.SortFunc(unknown, GUID.compare)
		err := a.whole(ctx, into, slices.Compact(unknown), fresh)
		if errors.Is(err, errStalled) && !s.Cookie.IsZero() {
			// It can't be read by itself, so it is read with all the rest.
			s.Cookie, a.run.Full = Cookie{}, true
			return a.read(ctx, tenant)
		}
		if err != nil {
			return nil, err
		}
	}
	s.Directory, s.Cookie = into, next
	a.dirty = a.dirty || a.run.Read > 0 || len(links) > 0
	return fresh, nil
}

// took keeps a password that came with a change, and says what is not synced.
func (a *Agent) took(c *change, fresh map[GUID]password) {
	if c.class == classInetOrg {
		a.Log.Warn("inetOrgPerson is not synchronized: only object type user is", "event", eventInetOrg, "dn", c.dn)
	}
	switch {
	case c.deleted:
		delete(fresh, c.guid)
	case !c.legacy.NT.IsZero():
		fresh[c.guid] = password{c.legacy, c.noKeys}
	}
}

// whole reads all of some objects.
func (a *Agent) whole(ctx context.Context, into replica, which []GUID, fresh map[GUID]password) error {
	return a.Source.Objects(ctx, which, func(p page) error {
		for i := range p.changes {
			c := &p.changes[i]
			if e := into[c.guid]; e != nil && c.class != classUnsaid {
				*e = entry{Class: e.Class, DN: e.DN} // all that is comes now
			}
			if into.apply(c) {
				a.took(c, fresh)
			}
		}
		for _, l := range p.links {
			if e := into[l.from]; e != nil {
				e.link(l)
			}
		}
		return ctx.Err()
	})
}

func (a *Agent) progress(what string, done, total int) {
	if a.Progress != nil {
		a.Progress(what, done, total)
	}
}

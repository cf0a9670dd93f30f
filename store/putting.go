package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/tenant"
)

// putting is one call of PutCredentials. As the feed lets its writers commit one
// after the other, those that come while one is at work wait for it in any case; then
// the first of them stores the sets of all in one transaction, so that they share
// its lock, its look-ups and its way to the disk.
type putting struct {
	sets   []tenant.Credential
	rows   func() (*credentialRows, error) // waits until they are encrypted
	asOf   tenant.USN
	record func([]tenant.Outcome) *tenant.Record

	outcomes []tenant.Outcome
	usn      tenant.USN
	err      error

	done chan struct{}   // closed when the three above stand
	lead chan []*putting // a group, which begins with this one, to be stored by its caller
}

// puttings are those at work and in wait.
type puttings struct {
	mu      sync.Mutex
	busy    bool
	waiting []*putting
}

const (
	maxGroup  = 10_000           // sets of one transaction, but for a call that has more alone
	groupTime = 30 * time.Second // for a transaction that belongs to no single request
)

// PutCredentials implements tenant.Store. A set for what is not a live user
// refuses the batch with tenant.ErrConflict: it was one when the caller looked.
func (t *Tenant) PutCredentials(ctx context.Context, sets []tenant.Credential, asOf tenant.USN, record func([]tenant.Outcome) *tenant.Record) ([]tenant.Outcome, tenant.USN, error) {
	name, err := t.tenantID(ctx)
	if err != nil {
		return nil, 0, err
	}
	p := &putting{sets: sets, rows: t.encrypt(sets, name), asOf: asOf, record: record, done: make(chan struct{}), lead: make(chan []*putting, 1)}
	group := t.puttings.enter(p)
	if group == nil {
		select {
		case <-p.done:
		case group = <-p.lead:
		case <-ctx.Done():
			if t.puttings.leave(p) {
				return nil, 0, fail(ctx.Err(), tenant.ErrConflict)
			}
			// It is being stored, so what becomes of it will be known.
			select {
			case <-p.done:
			case group = <-p.lead:
			}
		}
	}
	if group != nil {
		t.putGroup(ctx, group, name)
		t.puttings.next()
	}
	if p.err != nil {
		return nil, 0, p.err
	}
	return p.outcomes, p.usn, nil
}

// encrypt makes rows of sets meanwhile: until the feed is this call's, and while the
// database looks up what it has.
func (t *Tenant) encrypt(sets []tenant.Credential, name string) func() (*credentialRows, error) {
	rows := sync.OnceValues(func() (*credentialRows, error) { return t.credentialRows(sets, name) })
	go rows()
	return rows
}

// enter returns the group to be stored now, nil where another is at work.
func (q *puttings) enter(p *putting) []*putting {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy {
		q.waiting = append(q.waiting, p)
		return nil
	}
	q.busy = true
	return []*putting{p}
}

// leave reports whether p was still in wait, and is so no more.
func (q *puttings) leave(p *putting) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, p)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// next hands those that wait, in order, to the first of them. A user has one set
// in a transaction, so who brings a second one waits for the next.
func (q *puttings) next() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	n, sets := 1, len(q.waiting[0].sets)
	if len(q.waiting) > 1 {
		users := make(map[tenant.ID]bool, sets)
		for n = 0; n < len(q.waiting); n++ {
			p := q.waiting[n]
			if n > 0 && (sets+len(p.sets) > maxGroup || slices.ContainsFunc(p.sets, func(c tenant.Credential) bool { return users[c.Object] })) {
				break
			}
			for i := range p.sets {
				users[p.sets[i].Object] = true
			}
			sets += len(p.sets)
		}
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	group[0].lead <- group
}

// putGroup stores a group whole, and where that is refused each for itself: what is
// wrong with one is no fault of the others. A group outlives the request that leads it.
func (t *Tenant) putGroup(ctx context.Context, group []*putting, name string) {
	defer func() {
		for _, p := range group {
			close(p.done)
		}
	}()
	if len(group) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), groupTime)
		defer cancel()
	}
	err := t.put(ctx, group, name)
	alone := len(group) > 1 && errors.Is(err, tenant.ErrConflict)
	for _, p := range group {
		if p.err = err; alone {
			p.err = t.put(ctx, []*putting{p}, name)
		}
	}
}

// put stores all of the group or nothing.
func (t *Tenant) put(ctx context.Context, group []*putting, name string) error {
	sets, asOf := group[0].sets, group[0].asOf
	if len(group) > 1 {
		sets = nil
		for _, p := range group {
			sets = append(sets, p.sets...)
			asOf = min(asOf, p.asOf)
		}
	}
	rows := func() (*credentialRows, error) { return rowsOf(group) }
	return t.db.write(ctx, tenant.ErrConflict, func(tx pgx.Tx) error {
		w, err := t.lock(ctx, tx)
		if err != nil {
			return err
		}
		outcomes, err := w.credentials(ctx, sets, rows, name, asOf)
		if err != nil {
			return err
		}
		usn := w.head
		for _, p := range group {
			p.outcomes, outcomes = outcomes[:len(p.sets)], outcomes[len(p.sets):]
			for _, o := range p.outcomes {
				if o == tenant.Stored {
					usn++ // as their rows were numbered
				}
			}
			p.usn = usn
			if p.record == nil {
				continue
			}
			if err := putRecord(ctx, tx, p.record(p.outcomes)); err != nil {
				return err
			}
		}
		return w.advance(ctx)
	})
}

// rowsOf are those of all, one behind the other.
func rowsOf(group []*putting) (*credentialRows, error) {
	if len(group) == 1 {
		return group[0].rows()
	}
	parts, size := make([]*credentialRows, len(group)), 0
	for i, p := range group {
		var err error
		if parts[i], err = p.rows(); err != nil {
			return nil, err
		}
		size += len(parts[i].rows)
	}
	all := &credentialRows{rows: make(copyRows, 0, size)}
	for _, part := range parts {
		all.append(part)
	}
	return all, nil
}

package kdc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
)

// changesDone makes sure that one request changes a password once, however often
// it comes: clients send again what is not answered at once, over another
// transport or, as Heimdal, with a new authenticator. The same password under the
// same ticket for the same account is the same request, and has the same outcome.
type changesDone struct {
	mu       sync.Mutex
	now, old map[fingerprint]*doing // two generations, as in replayCache
	since    time.Time
	busy     int

	replay replayCache
}

// doing is a change that is under way, or was a success.
type doing struct {
	finished chan struct{}
	outcome  outcome
}

const (
	maxChanges     = 32   // at a time; a change is hashing and a write to a database
	maxChangesDone = 8192 // of a generation
)

// errBusy is that more changes were asked for at once than the server takes.
var errBusy = errors.New("kdc: too many password changes at once")

func (c *change) key() fingerprint {
	b := c.identity()
	defer clear(b)
	return fingerprintOf(b)
}

// identity is what makes two requests one; the caller clears it.
func (c *change) identity() []byte {
	b := append([]byte(nil), c.target.GUID[:]...)
	b = append(b, c.ap.Ticket.EncPart.Cipher...) // of no choice of the sender's, so there is no doubt where it ends
	return append(b, c.password...)
}

// onceForAll is what other replicas, and this one after a restart, know the request
// by. The authenticator alone is not enough: the same change may have come with
// another one, which was answered from memory here or never arrived. The hash of the
// change is keyed with what the client and the domain know, or who reads the
// database could try passwords with it.
func (c *change) onceForAll() *domain.Once {
	b := c.identity()
	defer clear(b)
	same := hmac.New(sha256.New, c.tgt.Key.Expose())
	same.Write(b)
	proof := sha256.Sum256(c.proof)
	return &domain.Once{
		Hashes: [][]byte{same.Sum(nil), proof[:]},
		// As a generation, and by so much longer as another replica's clock may be behind.
		For: changePWLife + 3*c.k.Policy.skew(),
	}
}

// has reports whether the change is under way or done.
func (d *changesDone) has(c *change) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.find(c.key()) != nil
}

func (d *changesDone) find(key fingerprint) *doing {
	if one := d.now[key]; one != nil {
		return one
	}
	return d.old[key]
}

// do performs the change, or waits for the one who does and has the same outcome.
func (d *changesDone) do(ctx context.Context, c *change) outcome {
	key := c.key()
	d.mu.Lock()
	if other := d.find(key); other != nil {
		d.mu.Unlock()
		select {
		case <-other.finished:
			return other.outcome
		case <-ctx.Done():
			return outcomeOf(ctx.Err(), false)
		}
	}
	if d.busy >= maxChanges {
		d.mu.Unlock()
		return outcomeOf(errBusy, false)
	}
	mine := &doing{finished: make(chan struct{}), outcome: outcomeOf(errBusy, false)}
	// A generation lasts as long as a ticket can be shown, or until it is full.
	if d.now == nil || len(d.now) >= maxChangesDone || c.now.Sub(d.since) > changePWLife+2*c.k.Policy.skew() {
		d.old, d.now, d.since = d.now, map[fingerprint]*doing{}, c.now
	}
	d.now[key] = mine
	d.busy++
	d.mu.Unlock()

	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.busy--
		if mine.outcome.result != krb5.KpasswdSuccess {
			delete(d.now, key) // what failed may be tried again
			delete(d.old, key)
		}
		close(mine.finished)
	}()
	// An authenticator serves once: this one came with another password, or for
	// another account, or in a request that failed.
	if _, repeated := d.replay.remember(fingerprintOf(c.proof), answered{}, c.now, 2*c.k.Policy.skew()); repeated {
		mine.outcome = outcomeOf(domain.ErrRepeated, false)
		return mine.outcome
	}
	mine.outcome = c.perform(ctx)
	return mine.outcome
}

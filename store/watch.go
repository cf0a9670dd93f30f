package store

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/domain"
)

// The channels on which writers send notices. They carry nothing.
const (
	channelTenant = "tenant_feed"
	channelDomain = "domain_feed"
)

const (
	// pollEvery bounds how late a change is seen whose notice was lost.
	pollEvery = time.Second
	// aliveEvery and aliveWithin bound how long a leader believes in a lock
	// that the server no longer holds for it.
	aliveEvery  = time.Second
	aliveWithin = 3 * time.Second

	redialMin = 50 * time.Millisecond
	redialMax = 2 * time.Second
)

// Watch implements domain.Store.
func (d *Domain) Watch(ctx context.Context) <-chan struct{} {
	wake := make(chan struct{}, 1)
	send := func() {
		select {
		case wake <- struct{}{}:
		default: // one is waiting already
		}
	}
	var both sync.WaitGroup
	both.Go(func() { d.db.listen(ctx, send) })
	both.Go(func() {
		tick := time.NewTicker(pollEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				send()
			}
		}
	})
	go func() {
		both.Wait()
		close(wake)
	}()
	return wake
}

// listen calls send after each notice, and once it listens (again): what was notified
// before is gone for ever.
func (db *DB) listen(ctx context.Context, send func()) {
	pause := redialMin
	for ctx.Err() == nil {
		listening, err := db.listenOnce(ctx, send)
		if ctx.Err() != nil {
			return
		}
		if listening {
			pause = redialMin
		}
		db.log.Warn("no notices of changes: connecting again", "err", fail(err, domain.ErrConflict))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMax)
	}
}

func (db *DB) listenOnce(ctx context.Context, send func()) (listening bool, err error) {
	conn, err := db.dial(ctx)
	if err != nil {
		return false, err
	}
	defer hangUp(conn)
	for _, channel := range []string{channelTenant, channelDomain} {
		if _, err := conn.Exec(ctx, `LISTEN `+channel); err != nil {
			return false, err
		}
	}
	send()
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return true, err
		}
		send()
	}
}

// Lead implements domain.Store. The lock only keeps two provisioners from doing the
// same work: a leader that has lost it without knowing yet is still refused by Apply
// where another was faster.
func (d *Domain) Lead(ctx context.Context) (<-chan struct{}, error) {
	conn, err := d.db.dial(ctx)
	if err != nil {
		return nil, fail(err, domain.ErrConflict)
	}
	var got bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, int64(lockLead)).Scan(&got); err != nil {
		hangUp(conn)
		return nil, fail(err, domain.ErrConflict)
	}
	if !got {
		hangUp(conn)
		return nil, domain.ErrNotLeader
	}
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		defer hangUp(conn) // which gives the lock back, before lost is closed
		for ctx.Err() == nil {
			if !alive(ctx, conn) {
				return
			}
		}
	}()
	return lost, nil
}

// alive waits a while for the connection's end, and asks at the end of it.
func alive(ctx context.Context, conn *pgx.Conn) bool {
	rest, cancel := context.WithTimeout(ctx, aliveEvery)
	defer cancel()
	if _, err := conn.WaitForNotification(rest); err != nil && rest.Err() == nil {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, aliveWithin)
	defer cancel()
	return conn.Ping(ask) == nil
}

// hangUp closes a connection, waiting for the server no longer than a moment.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

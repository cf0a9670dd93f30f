package store

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/domain"
)

var _ domain.GuessStore = (*Domain)(nil)

// CountGuesses implements domain.GuessStore. Rows are taken in the order of their
// ids, so that two replicas never wait for each other.
func (d *Domain) CountGuesses(ctx context.Context, add []domain.Guesses, p *domain.Policy) ([]domain.Guessed, error) {
	order := make([]int, len(add))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return bytes.Compare(add[a].Account[:], add[b].Account[:]) })
	var b pgx.Batch
	for _, i := range order {
		g := &add[i]
		kvno := int64(g.KVNO)
		if g.IsDecoy() {
			kvno = -1
		}
		hold := g.Hold.Seconds()
		if g.Hold == domain.Forever {
			hold = -1
		}
		b.Queue(`SELECT guid, kvno, count, bad, since, locked, remaining, rev, counted
			FROM domain.count_guess($1, $2, $3, $4, $5, $6, $7, $8, $9)`, g.Account, kvno, int32(g.N), g.Age.Seconds(),
			hold, int32(g.Forget), int32(g.Threshold), p.Window.Seconds(), p.Duration.Seconds())
	}
	b.Queue(`SELECT pg_notify('` + channelDomain + `', '')`)
	out := make([]domain.Guessed, len(add))
	results := d.db.pool.SendBatch(ctx, &b) // one transaction, as it has no BEGIN of its own
	for _, i := range order {
		var err error
		if out[i], err = scanGuessed(results.QueryRow(), true); err != nil {
			results.Close()
			return nil, fail(err, domain.ErrConflict)
		}
	}
	if _, err := results.Exec(); err != nil {
		results.Close()
		return nil, fail(err, domain.ErrConflict)
	}
	return out, fail(results.Close(), domain.ErrConflict)
}

func scanGuessed(row pgx.Row, counted bool) (g domain.Guessed, err error) {
	var kvno int64
	var bad, locked *time.Time
	var since, left float64
	to := []any{(*[16]byte)(&g.Account), &kvno, &g.Count, &bad, &since, &locked, &left, &g.Rev}
	if counted {
		to = append(to, &g.Counted)
	}
	if err := row.Scan(to...); err != nil {
		return g, err
	}
	g.KVNO, g.Age = uint32(max(kvno, 0)), time.Duration(since*float64(time.Second))
	if bad != nil {
		g.Bad = bad.UTC()
	}
	if locked != nil {
		g.Locked = locked.UTC()
	}
	if g.Left = time.Duration(left * float64(time.Second)); left < 0 {
		g.Left = domain.Forever
	}
	return g, nil
}

// Guessed implements domain.GuessStore. The moment is the oldest transaction that
// ran when the rows were read: all that was not in sight then has a number from
// there on.
func (d *Domain) Guessed(ctx context.Context, after int64) (rows []domain.Guessed, next int64, err error) {
	var b pgx.Batch
	b.Queue(`SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint`) // first, so the rows are as new or newer
	b.Queue(`SELECT g.guid, g.kvno, g.count, g.bad, coalesce(extract(epoch FROM now() - g.bad), 0)::double precision, g.locked,
		domain.lock_left(g.until, now()), g.rev FROM domain.guess g WHERE g.xact >= $1 AND g.kvno >= 0`, after)
	results := d.db.pool.SendBatch(ctx, &b)
	defer results.Close()
	if err := results.QueryRow().Scan(&next); err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	found, err := results.Query()
	if err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (domain.Guessed, error) { return scanGuessed(row, false) })
	if err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	return rows, next, nil
}

package store

import (
	"context"

	"skyrealm/domain"
)

// once notes the requests that writes carry out, or returns domain.ErrRepeated. It
// is called under the feed's lock, so of two replicas one sees the other's rows. Times
// are the database's: it is the one clock that all replicas share.
func (w *domainWriter) once(ctx context.Context, writes []domain.Write) error {
	for i := range writes {
		o := writes[i].Once
		if o == nil {
			continue
		}
		if _, err := w.tx.Exec(ctx, `DELETE FROM domain.once WHERE hash IN (SELECT hash FROM domain.once
			WHERE until <= now() ORDER BY until LIMIT $1)`, forgetAtOnce); err != nil {
			return err
		}
		tag, err := w.tx.Exec(ctx, `INSERT INTO domain.once (hash, until)
			SELECT h, now() + $2 * interval '1 second' FROM unnest($1::bytea[]) h ON CONFLICT DO NOTHING`, o.Hashes, o.For.Seconds())
		if err != nil {
			return err
		}
		if tag.RowsAffected() != int64(len(o.Hashes)) {
			return decided{domain.ErrRepeated}
		}
	}
	return nil
}

package store

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"skyrealm/domain"
)

// claims are rows of domain.name, as columns.
type claims struct {
	names []string
	guids [][16]byte
}

func (c *claims) add(name string, guid domain.ID) {
	c.names = append(c.names, name)
	c.guids = append(c.guids, guid)
}

// claim brings domain.name up to what is written. What a record gives up is free
// before others claim it, so that within a batch names may be passed on in any
// order. It returns the domain's own records that have lost their name to a
// tenant's user, to be written as well.
//
// All of it happens under the feed's lock, so what is read here stays true.
func (w *domainWriter) claim(ctx context.Context, writes []domain.Write, old map[domain.ID]storedRecord) ([]domain.Write, error) {
	var gone, own, synced claims
	var checks []domain.Claims
	var checked [][16]byte
	for i := range writes {
		r := &writes[i].Record
		has, had := r.Claims(w.info), old[r.GUID].claims
		for _, name := range had.Names {
			if !slices.Contains(has.Names, name) {
				gone.add(name, r.GUID)
			}
		}
		into := &own
		if !r.Source.IsZero() {
			into = &synced
		} else if has.Implicit != had.Implicit || has.Account != had.Account {
			checks, checked = append(checks, has), append(checked, r.GUID)
		}
		for _, name := range has.Names {
			if !slices.Contains(had.Names, name) {
				into.add(name, r.GUID)
			}
		}
	}
	if len(gone.names) > 0 {
		if _, err := w.tx.Exec(ctx, `DELETE FROM domain.name n USING unnest($1::text[], $2::uuid[]) g (name, guid)
			WHERE n.name = g.name AND n.guid = g.guid`, gone.names, gone.guids); err != nil {
			return nil, err
		}
	}
	lost, err := w.claimFirst(ctx, synced)
	if err != nil {
		return nil, err
	}
	if len(own.names) > 0 { // a name that is taken is a unique_violation, and with that a conflict
		if _, err := w.tx.Exec(ctx, `INSERT INTO domain.name (name, guid) SELECT * FROM unnest($1::text[], $2::uuid[])`,
			own.names, own.guids); err != nil {
			return nil, err
		}
	}
	return lost, w.checkImplicit(ctx, checks, checked)
}

// claimFirst gives names to the tenant's users, whoever has them.
func (w *domainWriter) claimFirst(ctx context.Context, c claims) ([]domain.Write, error) {
	if len(c.names) == 0 {
		return nil, nil
	}
	const insert = `INSERT INTO domain.name (name, guid) SELECT * FROM unnest($1::text[], $2::uuid[]) ON CONFLICT `
	tag, err := w.tx.Exec(ctx, insert+`DO NOTHING`, c.names, c.guids)
	if err != nil || tag.RowsAffected() == int64(len(c.names)) {
		return nil, err
	}
	rows, err := w.tx.Query(ctx, `SELECT n.name, `+recordColumns+` FROM unnest($1::text[], $2::uuid[]) c (name, guid)
		JOIN domain.name n ON n.name = c.name AND n.guid <> c.guid
		JOIN domain.object o ON o.guid = n.guid WHERE o.source IS NULL`, c.names, c.guids)
	if err != nil {
		return nil, err
	}
	var lost []domain.Write
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		var name string
		r, err := w.d.scanRecord(behind{row, &name}, w.name)
		if err == nil && r.Yield(name) {
			lost = append(lost, domain.Write{Record: r})
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	// Of two of the tenant's users the later has it: the other's new name is on
	// its way (an object stands in the feed once, as it is now).
	_, err = w.tx.Exec(ctx, insert+`(name) DO UPDATE SET guid = excluded.guid`, c.names, c.guids)
	return lost, err
}

// behind scans a row that has one more column in front.
type behind struct {
	pgx.CollectableRow
	first any
}

func (b behind) Scan(targets ...any) error {
	return b.CollectableRow.Scan(append([]any{b.first}, targets...)...)
}

// checkImplicit refuses an account whose name would also be another's: by its
// sAMAccountName or by its UPN.
func (w *domainWriter) checkImplicit(ctx context.Context, checks []domain.Claims, guids [][16]byte) error {
	for i, c := range checks {
		var taken bool
		err := w.tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM domain.name n WHERE n.name = $1 AND n.guid <> $3)
			OR EXISTS (SELECT FROM domain.object o WHERE $2 <> '' AND o.sam_key = $2 AND o.guid <> $3 AND o.kind IN (1, 3))`,
			c.Implicit, c.Account, guids[i]).Scan(&taken)
		if err != nil {
			return err
		}
		if taken {
			return decided{domain.ErrConflict}
		}
	}
	return nil
}

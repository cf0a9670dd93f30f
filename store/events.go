package store

import (
	"bytes"
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"skyrealm/domain"
)

var _ domain.EventStore = (*Domain)(nil)

// PutEvents implements domain.EventStore.
func (d *Domain) PutEvents(ctx context.Context, events []domain.Event) error {
	const fields, usual = 12, 160 // bytes of a row
	rows := make(copyRows, 0, len(copyHeader)+usual*len(events)+len(copyTrailer))
	rows = append(rows, copyHeader...)
	for i := range events {
		e := &events[i]
		rows.row(fields)
		rows.int16(int16(e.ID))
		rows.int64(e.At.UnixMicro() - postgresEpoch)
		rows.text(plainText(e.Account))
		rows.int64(int64(e.RID))
		rows.text(plainText(e.Service))
		rows.int64(int64(e.ServiceRID))
		rows.int64(int64(e.Options))
		rows.int32(e.EType)
		rows.int64(int64(e.Status))
		rows.int32(e.PreAuth)
		address := ""
		if e.From.IsValid() {
			address = e.From.Addr().Unmap().String()
		}
		rows.text(address)
		rows.int32(int32(e.From.Port()))
	}
	rows = append(rows, copyTrailer...)
	err := d.db.pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		_, err := c.Conn().PgConn().CopyFrom(ctx, bytes.NewReader(rows), `COPY domain.event
			(event, at, account, rid, service, service_rid, options, etype, status, preauth, address, port) FROM STDIN BINARY`)
		return err
	})
	return fail(err, domain.ErrConflict)
}

// plainText makes a stranger's bytes text that a database takes: one name that
// it refuses would hold up all others.
func plainText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// Events implements domain.EventStore.
func (d *Domain) Events(ctx context.Context, q domain.EventQuery) ([]domain.StoredEvent, error) {
	rows, err := d.db.pool.Query(ctx, `SELECT e.id, e.event, e.at, e.account, e.rid, e.service, e.service_rid, e.options, e.etype, e.status,
			e.preauth, e.address, e.port FROM domain.event e
		WHERE ($1::bigint = 0 OR e.id < $1) AND ($2::smallint = 0 OR e.event = $2) AND ($3::text = '' OR lower(e.account) = lower($3))
		ORDER BY e.id DESC LIMIT $4`, q.Before, int16(q.ID), q.Account, q.Limit)
	if err != nil {
		return nil, fail(err, domain.ErrConflict)
	}
	out, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e domain.StoredEvent, err error) {
		var id int16
		var port int32
		var address string
		err = row.Scan(&e.Number, &id, &e.At, &e.Account, &e.RID, &e.Service, &e.ServiceRID, &e.Options, &e.EType, &e.Status,
			&e.PreAuth, &address, &port)
		e.ID, e.At = uint16(id), e.At.UTC()
		if a, err := netip.ParseAddr(address); err == nil {
			e.From = netip.AddrPortFrom(a, uint16(port))
		}
		return e, err
	})
	return out, fail(err, domain.ErrConflict)
}

// DropEvents implements domain.EventStore. With old events go the counts of wrong
// passwords that nobody added to since, but no lock that an administrator has to end.
func (d *Domain) DropEvents(ctx context.Context, before time.Time) (int64, error) {
	tag, err := d.db.pool.Exec(ctx, `DELETE FROM domain.event WHERE at < $1`, before)
	if err != nil {
		return 0, fail(err, domain.ErrConflict)
	}
	_, err = d.db.pool.Exec(ctx, `DELETE FROM domain.guess WHERE bad < $1 AND (until IS NULL OR until < $1)`, before)
	return tag.RowsAffected(), fail(err, domain.ErrConflict)
}

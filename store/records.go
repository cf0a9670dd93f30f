package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"skyrealm/domain"
	"skyrealm/tenant"
)

// recordColumns are what scanRecord takes.
const recordColumns = `o.guid, o.usn, o.kind, o.class, o.source, o.generation, o.rid, o.parent, o.rdn, o.sam, o.upn,
	o.spns, o.attrs, o.uac, o.members, o.secrets, o.created, o.changed, o.deleted`

// scanRecord takes one row. Secrets that don't decrypt are left out: the account has
// then no password that could match, and everybody else's feed goes on. The next
// credential that is stored for it heals it.
func (d *Domain) scanRecord(row pgx.CollectableRow, name string) (r domain.Record, err error) {
	var source *[16]byte
	var attrs, sealed []byte
	var members [][16]byte
	err = row.Scan((*[16]byte)(&r.GUID), (*int64)(&r.USN), (*uint8)(&r.Kind), &r.Class, &source, &r.Generation, &r.RID,
		(*[16]byte)(&r.Parent), &r.RDN, &r.SAM, &r.UPN, &r.SPNs, &attrs, &r.UAC, &members, &sealed,
		&r.Created, &r.Changed, &r.Deleted)
	if err != nil {
		return r, err
	}
	r.Created, r.Changed = r.Created.UTC(), r.Changed.UTC()
	if len(r.SPNs) == 0 {
		r.SPNs = nil // as it was written
	}
	if source != nil {
		r.Source = *source
	}
	if len(members) > 0 {
		r.Members = make([]domain.ID, len(members))
		for i, m := range members {
			r.Members[i] = m
		}
	}
	if err := json.Unmarshal(attrs, &r.Attrs); err != nil {
		return r, decided{fmt.Errorf("store: attributes of %s: %w", r.GUID, err)}
	}
	if sealed != nil {
		if r.Secrets, err = openSecrets(d.ring, name, &r, sealed); err != nil {
			d.corrupt.Add(1)
			d.db.log.Error("secrets of a record do not decrypt: nobody can sign in as it until its password is set anew",
				"guid", r.GUID.String(), "usn", int64(r.USN), "err", err)
		}
	}
	return r, nil
}

// Corrupt returns how often secrets were read that do not decrypt.
func (d *Domain) Corrupt() int64 { return d.corrupt.Load() }

func (d *Domain) collect(rows pgx.Rows, name string) ([]domain.Record, error) {
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (domain.Record, error) {
		return d.scanRecord(row, name)
	})
}

// Records implements domain.Store. With a full page the tenant's USN is 0, no
// news: the rest of what it stands for may be on the next.
func (d *Domain) Records(ctx context.Context, after domain.USN, limit int) ([]domain.Record, tenant.USN, error) {
	name, err := d.tenantID(ctx)
	if err != nil {
		return nil, 0, err
	}
	// The state is read first, so the records are as new or newer.
	var b pgx.Batch
	b.Queue(`SELECT tenant_usn FROM domain.state`)
	b.Queue(`SELECT `+recordColumns+` FROM domain.object o WHERE o.usn > $1 ORDER BY o.usn LIMIT $2`, int64(after), limit)
	results := d.db.pool.SendBatch(ctx, &b)
	defer results.Close()
	var upTo tenant.USN
	if err := results.QueryRow().Scan((*int64)(&upTo)); err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	rows, err := results.Query()
	if err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	records, err := d.collect(rows, name)
	if err != nil {
		return nil, 0, fail(err, domain.ErrConflict)
	}
	if len(records) >= limit {
		upTo = 0
	}
	return records, upTo, nil
}

// BySource implements domain.Store.
func (d *Domain) BySource(ctx context.Context, ids []domain.ID) ([]domain.Record, error) {
	name, err := d.tenantID(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := d.db.pool.Query(ctx, `SELECT `+recordColumns+` FROM domain.object o
		WHERE o.source = ANY($1) AND NOT o.deleted`, uuids(ids))
	if err != nil {
		return nil, fail(err, domain.ErrConflict)
	}
	records, err := d.collect(rows, name)
	return records, fail(err, domain.ErrConflict)
}

// Record implements domain.Store.
func (d *Domain) Record(ctx context.Context, guid domain.ID) (domain.Record, error) {
	name, err := d.tenantID(ctx)
	if err != nil {
		return domain.Record{}, err
	}
	rows, err := d.db.pool.Query(ctx, `SELECT `+recordColumns+` FROM domain.object o
		WHERE o.guid = $1 AND NOT o.deleted`, guid)
	if err != nil {
		return domain.Record{}, fail(err, domain.ErrConflict)
	}
	records, err := d.collect(rows, name)
	if err != nil {
		return domain.Record{}, fail(err, domain.ErrConflict)
	}
	if len(records) == 0 {
		return domain.Record{}, domain.ErrNotFound
	}
	return records[0], nil
}

// Apply implements domain.Store. A record's RID, once given, stays what it is.
func (d *Domain) Apply(ctx context.Context, writes []domain.Write) (domain.USN, error) {
	return d.apply(ctx, writes, func(w *domainWriter) (tenant.USN, error) { return w.tenant, nil })
}

// Provision implements domain.Store. The condition fences a leader that was deposed
// without knowing: a record may not show that its successor was faster, where the
// two began with the same one.
func (d *Domain) Provision(ctx context.Context, writes []domain.Write, from, upTo tenant.USN) (domain.USN, error) {
	return d.apply(ctx, writes, func(w *domainWriter) (tenant.USN, error) {
		if w.tenant != from {
			return 0, decided{domain.ErrNotLeader}
		}
		return upTo, nil
	})
}

// apply stores writes; upTo says how much of the tenant's feed is in with them.
func (d *Domain) apply(ctx context.Context, writes []domain.Write, upTo func(*domainWriter) (tenant.USN, error)) (usn domain.USN, err error) {
	info, err := d.named(ctx)
	if err != nil {
		return 0, err
	}
	err = d.db.write(ctx, domain.ErrConflict, func(tx pgx.Tx) error {
		w, err := d.lock(ctx, tx, info)
		if err != nil {
			return err
		}
		in, err := upTo(w)
		if err != nil {
			return err
		}
		if err := w.once(ctx, writes); err != nil {
			return err
		}
		if err := w.records(ctx, writes); err != nil {
			return err
		}
		usn = w.usn
		return w.advance(ctx, in)
	})
	return usn, err
}

// domainWriter is a transaction that holds the domain's feed.
type domainWriter struct {
	d      *Domain
	tx     pgx.Tx
	info   *domain.Info
	name   string
	head   domain.USN
	usn    domain.USN // the last number given out
	rid    uint32     // the next to be given out
	tenant tenant.USN
}

// lock takes the feed, before any other row.
func (d *Domain) lock(ctx context.Context, tx pgx.Tx, info *domain.Info) (*domainWriter, error) {
	w := &domainWriter{d: d, tx: tx, info: info, name: info.Tenant.String()}
	err := tx.QueryRow(ctx, `SELECT usn, next_rid, tenant_usn FROM domain.state FOR UPDATE`).
		Scan((*int64)(&w.head), &w.rid, (*int64)(&w.tenant))
	w.usn = w.head
	return w, err
}

// advance puts what was written on the feed. The notice leaves with the commit.
func (w *domainWriter) advance(ctx context.Context, upTo tenant.USN) error {
	if w.usn == w.head && upTo == w.tenant {
		return nil
	}
	_, err := w.tx.Exec(ctx, `WITH state AS (UPDATE domain.state SET usn = $1, next_rid = $2, tenant_usn = $3)
		SELECT pg_notify('`+channelDomain+`', '')`, int64(w.usn), int64(w.rid), int64(upTo))
	return err
}

// storedRecord is what a write needs to know of the row that it replaces.
type storedRecord struct {
	rid            uint32
	samKey, rdnKey *string
	parent         [16]byte
	claims         domain.Claims
}

// records stores writes.
func (w *domainWriter) records(ctx context.Context, writes []domain.Write) error {
	old, err := w.replaced(ctx, writes)
	if err != nil {
		return err
	}
	if err := w.freeNames(ctx, writes, old); err != nil {
		return err
	}
	lost, err := w.claim(ctx, writes, old)
	if err != nil {
		return err
	}
	for i := range lost {
		r := &lost[i].Record
		old[r.GUID] = storedRecord{rid: r.RID}
	}
	writes = append(writes[:len(writes):len(writes)], lost...)
	var b pgx.Batch
	for _, replace := range []bool{true, false} { // an update may give up a name that an insert takes
		for i := range writes {
			if r := &writes[i].Record; (r.USN != 0) == replace {
				if err := w.queue(&b, r, old[r.GUID].rid); err != nil {
					return decided{err}
				}
			}
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return each(w.tx.SendBatch(ctx, &b), b.Len(), domain.ErrConflict)
}

// replaced reads the rows that writes replace, and refuses stale writes.
func (w *domainWriter) replaced(ctx context.Context, writes []domain.Write) (map[domain.ID]storedRecord, error) {
	usns := make(map[domain.ID]domain.USN)
	var ids [][16]byte
	for i := range writes {
		if r := &writes[i].Record; r.USN != 0 {
			usns[r.GUID] = r.USN
			ids = append(ids, r.GUID)
		}
	}
	old := make(map[domain.ID]storedRecord, len(ids))
	if ids == nil {
		return old, nil
	}
	rows, err := w.tx.Query(ctx, `SELECT o.guid, o.usn, o.rid, o.parent, o.rdn_key, o.sam_key, o.kind, o.sam, o.upn, o.spns, o.deleted
		FROM domain.object o WHERE o.guid = ANY($1)`, ids)
	if err != nil {
		return nil, err
	}
	var guid [16]byte
	var usn int64
	var s storedRecord
	var was domain.Record
	_, err = pgx.ForEachRow(rows, []any{&guid, &usn, &s.rid, &s.parent, &s.rdnKey, &s.samKey,
		(*uint8)(&was.Kind), &was.SAM, &was.UPN, &was.SPNs, &was.Deleted}, func() error {
		if usns[guid] != domain.USN(usn) {
			return decided{domain.ErrConflict}
		}
		s.claims = was.Claims(w.info)
		old[guid] = s
		return nil
	})
	if err == nil && len(old) != len(ids) { // one is unknown, or stands twice in writes
		err = decided{domain.ErrConflict}
	}
	return old, err
}

// freeNames takes the names away that are about to change, so that within a batch names
// may be passed on or exchanged in any order.
func (w *domainWriter) freeNames(ctx context.Context, writes []domain.Write, old map[domain.ID]storedRecord) error {
	var ids [][16]byte
	for i := range writes {
		r := &writes[i].Record
		was, ok := old[r.GUID]
		if ok && (was.parent != r.Parent || !same(was.rdnKey, rdnKey(r)) || !same(was.samKey, samKey(r))) {
			ids = append(ids, r.GUID)
		}
	}
	if ids == nil {
		return nil
	}
	_, err := w.tx.Exec(ctx, `UPDATE domain.object SET rdn_key = NULL, sam_key = NULL WHERE guid = ANY($1)`, ids)
	return err
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// rdnKey and samKey are NULL for what holds no name: index entries that are NULL
// never collide.
func rdnKey(r *domain.Record) *string {
	if r.Deleted {
		return nil
	}
	k := domain.Fold(r.RDN)
	return &k
}

func samKey(r *domain.Record) *string {
	if r.Deleted || r.SAM == "" {
		return nil
	}
	k := domain.Fold(r.SAM)
	return &k
}

// queue adds the statement that stores r under the next number.
func (w *domainWriter) queue(b *pgx.Batch, record *domain.Record, rid uint32) error {
	r := *record
	if r.Deleted { // a tombstone; Kind and Class tell what it is one of
		r = domain.Record{GUID: r.GUID, USN: r.USN, Kind: r.Kind, Class: r.Class, Source: r.Source, Generation: r.Generation,
			RID: r.RID, Created: r.Created, Changed: r.Changed, Deleted: true}
	}
	if rid != 0 {
		r.RID = rid
	}
	switch {
	case r.RID >= w.rid:
		w.rid = r.RID + 1
	case r.RID == 0 && r.Kind != domain.Container && !r.Deleted:
		if w.rid > maxRID {
			return errors.New("store: no RID is left")
		}
		r.RID = w.rid
		w.rid++
	}
	w.usn++
	was := int64(r.USN)
	r.USN = w.usn
	sealed, err := sealSecrets(w.d.ring, w.name, &r, w.d.db.rand)
	if err != nil {
		return err
	}
	if r.Attrs == nil {
		r.Attrs = map[string][][]byte{}
	}
	attrs, err := json.Marshal(r.Attrs)
	if err != nil {
		return err
	}
	var source *[16]byte
	if !r.Source.IsZero() {
		source = (*[16]byte)(&r.Source)
	}
	args := []any{r.GUID, int64(r.USN), int16(r.Kind), r.Class, source, r.Generation, int64(r.RID), r.Parent, r.RDN, rdnKey(&r),
		r.SAM, samKey(&r), r.UPN, list(r.SPNs), attrs, int64(r.UAC), uuids(r.Members), sealed, r.Created, r.Changed, r.Deleted}
	if was == 0 {
		b.Queue(`INSERT INTO domain.object (guid, usn, kind, class, source, generation, rid, parent, rdn, rdn_key,
			sam, sam_key, upn, spns, attrs, uac, members, secrets, created, changed, deleted)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`, args...)
		return nil
	}
	b.Queue(`UPDATE domain.object SET usn = $2, kind = $3, class = $4, source = $5, generation = $6, rid = $7, parent = $8,
		rdn = $9, rdn_key = $10, sam = $11, sam_key = $12, upn = $13, spns = $14, attrs = $15, uac = $16, members = $17,
		secrets = $18, created = $19, changed = $20, deleted = $21 WHERE guid = $1 AND usn = $22`, append(args, was)...)
	return nil
}

// maxRID is the last of a domain ([MS-SAMR] §3.1.1.9.2: 2³⁰−1).
const maxRID = 1<<30 - 1

func uuids(ids []domain.ID) [][16]byte {
	out := make([][16]byte, len(ids))
	for i, id := range ids {
		out[i] = id
	}
	return out
}

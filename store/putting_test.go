package store

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"skyrealm/migrations"
	"skyrealm/tenant"
)

// While one writer holds the feed, calls gather behind another; what becomes of each is
// its own: one user's second set waits for the next transaction, a batch with somebody who
// is no user is refused alone, and who goes away before its turn leaves nothing.
func TestPuttingsGather(t *testing.T) {
	h := newHouse(t)
	var us []tenant.Object
	for _, name := range []string{"a", "b", "c", "d"} {
		us = append(us, user(t, name))
	}
	_, err := h.tenant.PutObjects(t.Context(), writes(us...), nil)
	check(t, err)
	nobody := user(t, "nobody")

	tx, err := h.admin.Begin(t.Context())
	check(t, err)
	if _, err := tx.Exec(t.Context(), `SELECT usn FROM tenant.feed FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		outcomes []tenant.Outcome
		usn      tenant.USN
		err      error
	}
	var wg sync.WaitGroup
	put := func(ctx context.Context, sets ...tenant.Credential) *answer {
		a := new(answer)
		wg.Go(func() { a.outcomes, a.usn, a.err = h.tenant.PutCredentials(ctx, sets, 0, nil) })
		return a
	}
	waiting := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; {
			h.tenant.puttings.mu.Lock()
			busy, is := h.tenant.puttings.busy, len(h.tenant.puttings.waiting)
			h.tenant.puttings.mu.Unlock()
			if busy && is == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("busy %v, %d wait", busy, is)
			}
		}
	}
	first := put(t.Context(), set(t, us[0], 1))
	waiting(0)
	newer := put(t.Context(), set(t, us[1], 5), set(t, us[2], 5))
	waiting(1)
	refused := put(t.Context(), set(t, us[3], 9), set(t, nobody, 1))
	waiting(2)
	gone, leave := context.WithCancel(t.Context())
	left := put(gone, set(t, us[3], 7))
	waiting(3)
	older := put(t.Context(), set(t, us[1], 4), set(t, us[3], 4)) // us[1] twice: not in one transaction
	waiting(4)
	leave()
	waiting(3)
	check(t, tx.Rollback(t.Context()))
	wg.Wait()

	for _, c := range []struct {
		name string
		got  *answer
		want []tenant.Outcome
		err  error
	}{
		{"first", first, []tenant.Outcome{tenant.Stored}, nil},
		{"newer", newer, []tenant.Outcome{tenant.Stored, tenant.Stored}, nil},
		{"refused", refused, nil, tenant.ErrConflict},
		{"left", left, nil, context.Canceled},
		{"older", older, []tenant.Outcome{tenant.Superseded, tenant.Stored}, nil},
	} {
		if !slices.Equal(c.got.outcomes, c.want) || !errors.Is(c.got.err, c.err) {
			t.Errorf("%s: %v, %v; want %v, %v", c.name, c.got.outcomes, c.got.err, c.want, c.err)
		}
	}
	// Each is told of its own changes, also where several were stored together.
	if !(first.usn < newer.usn && newer.usn < older.usn) {
		t.Errorf("USNs %d, %d, %d", first.usn, newer.usn, older.usn)
	}
	for i, version := range []int64{1, 5, 5, 4} {
		c, err := h.tenant.Credential(t.Context(), us[i].ID)
		if err != nil || c == nil || c.Version != version {
			t.Errorf("user %d has %+v, %v; want version %d", i, c, err, version)
		}
	}
}

// Records of before 0006 are what they were.
func TestRecordItemsMigrated(t *testing.T) {
	h := newHouse(t)
	o := user(t, "a")
	when := time.Date(2026, 11, 28, 1, 2, 3, 4000, time.UTC)
	mustExec(t, h.admin, `ALTER TABLE tenant.record DROP COLUMN items, ADD COLUMN objects uuid[], ADD COLUMN anchors text[],
		ADD COLUMN changed bigint[], ADD COLUMN reasons smallint[]`)
	for _, anchors := range []string{`{"","größe"}`, `{}`} {
		objects, changed, reasons := [][16]byte{o.ID, {}}, []int64{when.UnixMicro(), 0}, []int16{tenant.ReasonStored.Number(), tenant.ReasonUnknownAnchor.Number()}
		if anchors == `{}` {
			objects, changed, reasons = [][16]byte{}, []int64{}, []int16{}
		}
		_, err := h.admin.Exec(t.Context(), `INSERT INTO tenant.record (kind, began, ended, name, build, machine, error, objects, anchors, changed, reasons)
			VALUES (2, now(), now(), '', '', '', '', $1, $2::text::text[], $3, $4)`, objects, anchors, changed, reasons)
		check(t, err)
	}
	text, err := migrations.FS.ReadFile("0006_record_items.up.sql")
	check(t, err)
	mustExec(t, h.admin, string(text))

	got, err := h.tenant.Records(t.Context(), tenant.RecordQuery{Limit: 10})
	check(t, err)
	want := []tenant.RecordItem{
		{Object: o.ID, Changed: when, Reason: tenant.ReasonStored},
		{Anchor: "größe", Reason: tenant.ReasonUnknownAnchor},
	}
	if len(got) != 2 || len(got[0].Items) != 0 || !slices.Equal(got[1].Items, want) {
		t.Errorf("%+v", got)
	}
	for _, q := range []tenant.RecordQuery{{Object: o.ID, Limit: 9}, {Anchor: "größe", Limit: 9}} {
		if got, err := h.tenant.Records(t.Context(), q); err != nil || len(got) != 1 || len(got[0].Items) != 1 {
			t.Errorf("%+v: %+v, %v", q, got, err)
		}
	}
	if got, err := h.tenant.Records(t.Context(), tenant.RecordQuery{Anchor: "größ", Limit: 9}); err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := unpackItems(packItems(want)[:packedItem+packedItem+1]); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

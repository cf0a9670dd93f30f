package store

import (
	"fmt"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/tenant"
)

// scans returns how often the tables were read as a whole, once the program's
// connections have gone and left their figures.
func (h *house) scans(t *testing.T) (whole, byKey int64) {
	t.Helper()
	h.pool.Reset()
	for n := 1; n != 0; {
		check(t, h.admin.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE application_name = 'skyrealm' AND datname = current_database()`).Scan(&n))
	}
	check(t, h.admin.QueryRow(t.Context(), `SELECT sum(seq_scan), sum(idx_scan) FROM pg_stat_user_tables
		WHERE relname IN ('object', 'credential', 'member')`).Scan(&whole, &byKey))
	return whole, byKey
}

// A first sync into tables that the planner takes for empty reads none of them as a
// whole: with the plans that it prefers, a batch costs what is stored and not
// what is in it.
func TestPlans(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	before, keyBefore := h.scans(t)
	var us []tenant.Object
	for i := range 20 {
		us = append(us, user(t, fmt.Sprint("u", i)))
	}
	g := group(t, "g")
	for range 12 { // the server settles on a plan after some executions
		batch := writes(us...)
		members := []tenant.Member{{Anchor: "u1"}, {ID: us[2].ID}, {Anchor: fmt.Sprint("later", g.Revision)}}
		batch = append(batch, tenant.ObjectWrite{Object: g, Members: &members})
		_, err := h.tenant.PutObjects(ctx, batch, nil)
		check(t, err)
		var sets []tenant.Credential
		for i := range us {
			us[i].Revision++
			sets = append(sets, set(t, us[i], us[i].Revision))
		}
		g.Revision++
		us[1].Deleted = time.Time{}
		if g.Revision%2 == 1 { // it was live, and goes
			_, _, err = h.tenant.PutCredentials(ctx, sets, 0, nil)
			check(t, err)
			us[1].Deleted = moment
		}
		h.changes(t, 0, 7)
		_, _ = h.tenant.ObjectsByAnchor(ctx, []string{"u1"})
		_, _ = h.tenant.ObjectsByUPN(ctx, []string{us[3].UPN})
		_, _, err = h.tenant.UserByUPN(ctx, us[3].UPN)
		check(t, err)
		r := account(t, fmt.Sprint("r", g.Revision))
		r.Source = us[3].ID
		r.Generation = int32(g.Revision)
		h.apply(t, r)
		h.apply(t, h.record(t, r.GUID))
		_, _, err = h.domain.Records(ctx, 0, 5)
		check(t, err)
		_, err = h.domain.BySource(ctx, []domain.ID{us[3].ID})
		check(t, err)
		_, err = h.domain.NamesTaken(ctx, []string{"r1"})
		check(t, err)
		_, err = h.domain.RDNsTaken(ctx, domain.ID{}, []string{"r1"})
		check(t, err)
	}
	after, keyAfter := h.scans(t)
	if keyAfter == keyBefore {
		t.Error("no reads were counted")
	}
	if after != before {
		t.Errorf("%d reads of a whole table", after-before)
	}
}

// Whether names are taken is looked up for each, whatever else has a name there.
func TestPlanOfNames(t *testing.T) {
	h := newHouse(t)
	parent := newID(t)
	var all []domain.Record
	for i := range 2000 {
		r := account(t, fmt.Sprint("r", i))
		r.Parent = parent
		all = append(all, r)
	}
	h.apply(t, all...)
	for range 12 { // the server settles on a plan after some executions
		got, err := h.domain.RDNsTaken(t.Context(), parent, []string{"r1", "r1999", "free"})
		check(t, err)
		if len(got) != 2 || got["r1"] != all[1].GUID || got["r1999"] != all[1999].GUID {
			t.Fatal(got)
		}
	}
	h.scans(t)
	var read int64
	check(t, h.admin.QueryRow(t.Context(), `SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'object_rdn'`).Scan(&read))
	if read == 0 || read > 12*3 {
		t.Errorf("%d entries of the index were read for 36 names", read)
	}
}

// A database or server that acknowledges before it has written is put right; one that
// waits for a standby stays so.
func TestDurable(t *testing.T) {
	for set, want := range map[string]string{"off": "on", "local": "local", "remote_apply": "remote_apply"} {
		h := newHouse(t)
		mustExec(t, h.admin, `ALTER DATABASE `+h.pool.Config().ConnConfig.Database+` SET synchronous_commit = `+set)
		h.pool.Reset()
		var got string
		check(t, h.pool.QueryRow(t.Context(), `SHOW synchronous_commit`).Scan(&got))
		if got != want {
			t.Errorf("%s became %s, want %s", set, got, want)
		}
	}
}

// An address is looked up in the index alone. What GIN keeps aside, to sort it in
// later, is read as a whole for each address of each batch: a first sync gets
// slower with every one.
func TestAddressesAreLookedUpByKey(t *testing.T) {
	h := newHouse(t)
	for b := range 5 {
		us := make([]tenant.Object, 1000)
		for i := range us {
			us[i] = user(t, fmt.Sprint("u", b, "-", i))
			us[i].Profile.Mail = us[i].UPN
		}
		_, err := h.tenant.PutObjects(t.Context(), writes(us...), nil)
		check(t, err)
	}
	var plan []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	check(t, h.pool.QueryRow(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
		SELECT o.id FROM tenant.object o WHERE o.addresses && '{u3-500@contoso.test}'`).Scan(&plan))
	if blocks := plan[0].Plan.Hit + plan[0].Plan.Read; blocks > 12 {
		t.Errorf("one address costs %d blocks", blocks)
	}
}

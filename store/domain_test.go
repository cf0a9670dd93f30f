package store

import (
	"crypto/rand"
	"reflect"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
)

// account is a user record of the domain, named after its sAMAccountName.
func account(t testing.TB, sam string) domain.Record {
	t.Helper()
	return domain.Record{GUID: newID(t), Kind: domain.User, Class: "user", RDN: sam, SAM: sam, UPN: sam + "@contoso.test",
		Attrs: map[string][][]byte{"displayName": {[]byte(sam)}, "thumbnailPhoto": {{0, 0xff}}}, UAC: 512, SPNs: []string{"HTTP/" + sam},
		Created: moment, Changed: moment}
}

func legacy(t testing.TB, password string) cred.Legacy {
	t.Helper()
	l, err := cred.NewLegacy(password, "AADDS.CONTOSO.TEST"+password)
	check(t, err)
	l.Keys[0].KVNO = 7
	return l
}

func (h *house) apply(t testing.TB, records ...domain.Record) domain.USN {
	t.Helper()
	w := make([]domain.Write, len(records))
	for i := range records {
		w[i].Record = records[i]
	}
	usn, err := h.domain.Apply(t.Context(), w)
	check(t, err)
	return usn
}

func (h *house) record(t testing.TB, id domain.ID) domain.Record {
	t.Helper()
	r, err := h.domain.Record(t.Context(), id)
	check(t, err)
	return r
}

func TestDomainInfo(t *testing.T) {
	url, _ := newDatabase(t)
	db, err := Open(t.Context(), url, Options{Rand: rand.Reader})
	check(t, err)
	defer db.Close()
	d := db.Domain(newRing(t))
	_, err = d.Info(t.Context())
	wantErr(t, err, domain.ErrNoDomain)
	_, _, err = d.Records(t.Context(), 0, 10)
	wantErr(t, err, domain.ErrNoDomain)
	h := newHouse(t)
	if got, err := h.domain.Info(t.Context()); err != nil || !reflect.DeepEqual(got, h.info) {
		t.Fatalf("info is %+v, %v", got, err)
	}
	wantErr(t, h.domain.Create(t.Context(), h.info, nil), domain.ErrConflict)
	check(t, h.domain.CheckRing(t.Context()))
}

func TestRecords(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	a, b := account(t, "a"), account(t, "b")
	a.Source, a.Generation, a.Members, a.Parent = newID(t), 2, []domain.ID{b.GUID, newID(t)}, newID(t)
	a.Secrets = domain.Secrets{Current: legacy(t, "now"), Previous: legacy(t, "before"), KVNO: 3, Version: 99, Set: moment}
	b.RID, b.Secrets.KVNO = 500, 1
	box := domain.Record{GUID: newID(t), Kind: domain.Container, Class: "container", RDN: "Users",
		Attrs: map[string][][]byte{}, Created: moment, Changed: moment}
	usn := h.apply(t, a, b, box)

	got, _, err := h.domain.Records(ctx, 0, 10)
	check(t, err)
	if len(got) != 3 || got[2].USN != usn {
		t.Fatalf("%d records, the last at %d of %d", len(got), got[len(got)-1].USN, usn)
	}
	a.USN, b.USN, box.USN, a.RID = usn-2, usn-1, usn, 1103
	for i, want := range []domain.Record{a, b, box} {
		if !got[i].Secrets.Current.Equal(want.Secrets.Current) || !got[i].Secrets.Previous.Equal(want.Secrets.Previous) {
			t.Errorf("record %d: other keys", i)
		}
		if !reflect.DeepEqual(got[i], want) {
			t.Errorf("record %d is\n%+v, want\n%+v", i, got[i], want)
		}
	}
	if page, upTo, err := h.domain.Records(ctx, 0, 2); err != nil || len(page) != 2 || upTo != 0 {
		t.Errorf("a full page says %d: %v", upTo, err)
	}
	_, err = h.domain.Provision(ctx, nil, 0, 17)
	check(t, err)
	if _, upTo, err := h.domain.Records(ctx, usn, 2); err != nil || upTo != 17 {
		t.Errorf("at the head it says %d: %v", upTo, err)
	}
	if got, err := h.domain.BySource(ctx, []domain.ID{a.Source, newID(t)}); err != nil || len(got) != 1 || got[0].GUID != a.GUID {
		t.Errorf("by source: %v, %v", got, err)
	}
	held, err := h.domain.NamesTaken(ctx, []string{"a", "x"})
	if err != nil || len(held) != 1 || held["a"] != a.GUID {
		t.Errorf("names: %v, %v", held, err)
	}
	held, err = h.domain.RDNsTaken(ctx, domain.ID{}, []string{"a", "users"})
	if err != nil || len(held) != 1 || held["users"] != box.GUID {
		t.Errorf("RDNs: %v, %v", held, err)
	}

	// A tombstone keeps what makes it one; its name is free, its RID is not.
	a.Deleted = true
	usn = h.apply(t, a)
	_, err = h.domain.Record(ctx, a.GUID)
	wantErr(t, err, domain.ErrNotFound)
	got, _, err = h.domain.Records(ctx, usn-1, 10)
	check(t, err)
	want := domain.Record{GUID: a.GUID, USN: usn, Kind: domain.User, Class: "user", Source: a.Source, Generation: 2, RID: 1103,
		Attrs: map[string][][]byte{}, Created: moment, Changed: moment, Deleted: true}
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("tombstone is\n%+v, want\n%+v", got, want)
	}
	if got, _ := h.domain.BySource(ctx, []domain.ID{a.Source}); len(got) != 0 {
		t.Error("a tombstone follows nobody")
	}
	heir := account(t, "A")
	heir.Source, heir.Generation = a.Source, 3
	h.apply(t, heir)
	if r := h.record(t, heir.GUID); r.RID != 1104 {
		t.Errorf("RID of the heir is %d", r.RID)
	}
}

func TestApplyConflicts(t *testing.T) {
	h := newHouse(t)
	a := account(t, "a")
	a.Source = newID(t)
	a.USN = h.apply(t, a)
	for name, change := range map[string]func(*domain.Record){
		"guid":   func(r *domain.Record) { r.GUID = a.GUID },
		"sam":    func(r *domain.Record) { r.SAM = "A" },
		"rdn":    func(r *domain.Record) { r.RDN = "A" },
		"source": func(r *domain.Record) { r.Source = a.Source },
		"stale":  func(r *domain.Record) { *r = a; r.USN-- },
		"twice":  func(r *domain.Record) { r.RID = 1103 },
		"gone":   func(r *domain.Record) { r.USN = 1 },
	} {
		r, beside := account(t, name), account(t, "beside")
		change(&r)
		_, err := h.domain.Apply(t.Context(), []domain.Write{{Record: beside}, {Record: r}})
		wantErr(t, err, domain.ErrConflict)
	}
	if held, _ := h.domain.NamesTaken(t.Context(), []string{"beside"}); len(held) != 0 {
		t.Error("half of a batch was stored")
	}
	// RIDs of what was refused are not lost, and a record keeps its own.
	b := account(t, "b")
	h.apply(t, b)
	if r := h.record(t, b.GUID); r.RID != 1104 {
		t.Errorf("RID is %d", r.RID)
	}
	a.RID = 0
	a.USN = h.apply(t, a)
	if r := h.record(t, a.GUID); r.RID != 1103 {
		t.Errorf("RID became %d", r.RID)
	}
	// Names exchanged.
	b = h.record(t, b.GUID)
	a.SAM, b.SAM, a.RDN, b.RDN = b.SAM, a.SAM, b.RDN, a.RDN
	h.apply(t, a, b)
	if r := h.record(t, a.GUID); r.SAM != "b" || r.RDN != "b" {
		t.Errorf("names are %q, %q", r.SAM, r.RDN)
	}
}

// Many writers at once: RIDs and USNs come once each.
func TestRIDsOnce(t *testing.T) {
	h := newHouse(t)
	done := make(chan error)
	const writers, each = 8, 20
	for w := range writers {
		go func() {
			for i := range each {
				r := account(t, string(rune('a'+w))+string(rune('a'+i)))
				if _, err := h.domain.Apply(t.Context(), []domain.Write{{Record: r}}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		check(t, <-done)
	}
	got, upTo, err := h.domain.Records(t.Context(), 0, 1000)
	check(t, err)
	rids := make(map[uint32]bool)
	for i, r := range got {
		rids[r.RID] = true
		if r.USN != domain.USN(i+1) {
			t.Fatalf("record %d has USN %d", i, r.USN)
		}
	}
	if len(rids) != writers*each || upTo != 0 || rids[1102] || !rids[1103] || !rids[1103+writers*each-1] {
		t.Errorf("%d RIDs, up to %d", len(rids), upTo)
	}
}

func TestZeroSet(t *testing.T) {
	h := newHouse(t)
	a := account(t, "a")
	a.Secrets = domain.Secrets{Current: legacy(t, "x"), KVNO: 1} // has to be changed first
	h.apply(t, a)
	if s := h.record(t, a.GUID).Secrets; !s.Set.Equal(time.Time{}) || s.KVNO != 1 {
		t.Errorf("secrets are of %v", s.Set)
	}
}

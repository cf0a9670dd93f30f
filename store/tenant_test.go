package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/tenant"
)

func TestTenantSettings(t *testing.T) {
	url, _ := newDatabase(t)
	db, err := Open(t.Context(), url, Options{Rand: rand.Reader})
	check(t, err)
	defer db.Close()
	s := db.Tenant(newRing(t))
	_, err = s.Settings(t.Context())
	wantErr(t, err, tenant.ErrNoTenant)
	wantErr(t, s.CheckRing(t.Context()), tenant.ErrNoTenant)
	_, err = s.PutObjects(t.Context(), nil, nil)
	wantErr(t, err, tenant.ErrNoTenant)

	want := tenant.Settings{TenantID: newID(t), DisplayName: "Contoso", InitialDomain: "contoso.test",
		VerifiedDomains: []string{"a.test"}, DirSync: true, Features: tenant.PasswordHashSync, DomainKey: []byte(`{"kty":"EC"}`)}
	admin := user(t, "")
	admin.UPN, admin.Roles = "admin@contoso.test", []string{tenant.RoleGlobalAdministrator}
	first := set(t, admin, 1)
	app := tenant.App{ClientID: newID(t), DisplayName: "agent", SecretHash: [32]byte{1, 31: 2}, Roles: []string{tenant.RoleSync}}
	create := func() error {
		return s.Create(t.Context(), want, []tenant.ObjectWrite{{Object: admin, Credential: &first}}, []tenant.App{app})
	}
	check(t, create())
	wantErr(t, create(), tenant.ErrConflict)
	check(t, s.CheckRing(t.Context()))

	if got, err := s.Settings(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("settings are %+v, %v", got, err)
	}
	if got, err := s.App(t.Context(), app.ClientID); err != nil || !reflect.DeepEqual(got, app) {
		t.Fatalf("app is %+v, %v", got, err)
	}
	_, err = s.App(t.Context(), newID(t))
	wantErr(t, err, tenant.ErrNotFound)
	admin.Revision = 1
	o, c, err := s.UserByUPN(t.Context(), "ADMIN@contoso.test")
	if err != nil || !reflect.DeepEqual(o, admin) || !c.Digest.Verify("1") {
		t.Fatalf("administrator is %+v, %v", o, err)
	}

	refusal := errors.New("no")
	if err := s.UpdateSettings(t.Context(), func(set *tenant.Settings) error { set.DirSync = false; return refusal }); err != refusal {
		t.Fatal(err)
	}
	check(t, s.UpdateSettings(t.Context(), func(set *tenant.Settings) error { set.DisplayName = "Fabrikam"; return nil }))
	want.DisplayName = "Fabrikam"
	if got, _ := s.Settings(t.Context()); !reflect.DeepEqual(got, want) {
		t.Fatalf("settings are %+v", got)
	}
}

func TestObjects(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	a, b := user(t, "Anchor1"), user(t, "anchor1") // an anchor is base64: its case counts
	b.UPN = "b@contoso.test"
	a.Profile.ProxyAddresses = []string{"SMTP:a@contoso.test"}
	h.put(t, a, b)
	a.Revision, b.Revision = 1, 1

	got, err := h.tenant.ObjectsByAnchor(ctx, []string{"Anchor1", "", "none"})
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], a) {
		t.Fatalf("by anchor: %+v, %v", got, err)
	}
	got, err = h.tenant.ObjectsByUPN(ctx, []string{"B@CONTOSO.test", "none"})
	if err != nil || len(got) != 1 || got[0].ID != b.ID {
		t.Fatalf("by UPN: %+v, %v", got, err)
	}
	if o, err := h.tenant.Object(ctx, a.ID); err != nil || !reflect.DeepEqual(o, a) {
		t.Fatalf("by id: %+v, %v", o, err)
	}

	t.Run("stale", func(t *testing.T) {
		x := user(t, "stale")
		h.put(t, x)
		x.Revision = 1
		h.put(t, x)
		_, err := h.tenant.PutObjects(ctx, writes(x, user(t, "beside")), nil)
		wantErr(t, err, tenant.ErrConflict)
		if got, _ := h.tenant.ObjectsByAnchor(ctx, []string{"beside"}); len(got) != 0 {
			t.Fatal("half of a batch was stored")
		}
		unknown := user(t, "unknown")
		unknown.Revision = 1
		_, err = h.tenant.PutObjects(ctx, writes(unknown), nil)
		wantErr(t, err, tenant.ErrConflict)
		x.Revision = 2
		_, err = h.tenant.PutObjects(ctx, writes(x, x), nil)
		wantErr(t, err, tenant.ErrConflict)
	})
	t.Run("taken", func(t *testing.T) {
		for name, change := range map[string]func(*tenant.Object){
			"anchor": func(o *tenant.Object) { o.Anchor = a.Anchor },
			"upn":    func(o *tenant.Object) { o.UPN = strings.ToUpper(a.UPN) },
			"id":     func(o *tenant.Object) { o.ID = a.ID },
		} {
			o := user(t, "taken"+name)
			change(&o)
			_, err := h.tenant.PutObjects(ctx, writes(o), nil)
			wantErr(t, err, tenant.ErrConflict)
			if strings.Contains(err.Error(), o.UPN) {
				t.Errorf("the error repeats a value: %v", err)
			}
		}
		twin := group(t, "g")
		twin.UPN = a.UPN // means nothing for a group
		h.put(t, twin)
	})
	t.Run("deleted", func(t *testing.T) {
		x := user(t, "gone")
		h.put(t, x)
		x.Revision, x.Deleted = 1, moment
		h.put(t, x)
		_, err := h.tenant.Object(ctx, x.ID)
		wantErr(t, err, tenant.ErrNotFound)
		_, _, err = h.tenant.UserByUPN(ctx, x.UPN)
		wantErr(t, err, tenant.ErrNotFound)
		if got, _ := h.tenant.ObjectsByAnchor(ctx, []string{"gone"}); len(got) != 1 || !got[0].Deleted.Equal(moment) {
			t.Fatalf("by anchor: %+v", got)
		}
		heir := user(t, "heir")
		heir.UPN = x.UPN
		h.put(t, heir)
		x.Revision, x.Deleted = 2, time.Time{}
		_, err = h.tenant.PutObjects(ctx, writes(x), nil)
		wantErr(t, err, tenant.ErrConflict) // the name has an heir
	})
	t.Run("names exchanged", func(t *testing.T) {
		x, y := user(t, "x"), user(t, "y")
		h.put(t, x, y)
		x.Revision, y.Revision, x.UPN, y.UPN = 1, 1, y.UPN, x.UPN
		z := user(t, "z")
		h.put(t, y, x)
		y.Revision, y.Deleted, z.UPN = 2, moment, y.UPN
		h.put(t, z, y) // an heir before the departure
		if o, _, err := h.tenant.UserByUPN(ctx, "x@contoso.test"); err != nil || o.ID != z.ID {
			t.Fatal(o.ID, err)
		}
	})
}

func TestMembers(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	byID, later := user(t, "byid"), user(t, "later")
	g, other := group(t, "g"), group(t, "other")
	h.put(t, byID)
	_, err := h.tenant.PutObjects(ctx, []tenant.ObjectWrite{
		{Object: g, Members: &[]tenant.Member{{ID: byID.ID}, {Anchor: "byid"}, {Anchor: "later"}, {Anchor: "later"}}},
		{Object: other, Members: &[]tenant.Member{{Anchor: "nobody"}}},
	}, nil)
	check(t, err)
	head := tenant.USN(0)
	// members expects g to stand on the feed above head exactly if moved, with members.
	members := func(what string, moved bool, want ...tenant.ID) {
		t.Helper()
		var found bool
		for _, c := range h.changes(t, 0, 100) {
			if c.Object.ID == other.ID && c.USN > head && head != 0 {
				t.Errorf("%s: a group without a part in it moved", what)
			}
			if c.Object.ID != g.ID {
				continue
			}
			found = true
			if (c.USN > head) != moved {
				t.Errorf("%s: group at %d, head was %d", what, c.USN, head)
			}
			slices.SortFunc(want, compareIDs)
			slices.SortFunc(c.Members, compareIDs)
			if !slices.Equal(c.Members, want) {
				t.Errorf("%s: members %v, want %v", what, c.Members, want)
			}
		}
		if !found {
			t.Errorf("%s: no group on the feed", what)
		}
		all := h.changes(t, 0, 100)
		head = all[len(all)-1].USN
	}
	members("by id and by anchor are one", true, byID.ID)
	h.put(t, later)
	members("a pending one comes", true, byID.ID, later.ID)
	later.Revision = 1
	later.Profile.JobTitle = "x"
	h.put(t, later)
	members("a member changes", false, byID.ID, later.ID)
	later.Revision, later.Deleted = 2, moment
	h.put(t, later)
	members("one goes", true, byID.ID)
	later.Revision, later.Deleted = 3, time.Time{}
	h.put(t, later)
	members("and comes back", true, byID.ID, later.ID)
	later.Revision, later.Anchor = 4, "anew"
	h.put(t, later)
	members("is anchored anew", true, byID.ID)
	g.Revision = 1
	_, err = h.tenant.PutObjects(ctx, []tenant.ObjectWrite{{Object: g, Members: &[]tenant.Member{{ID: later.ID}}}}, nil)
	check(t, err)
	members("a new list", true, later.ID)
	g.Revision = 2
	h.put(t, g)
	members("no list leaves it", true, later.ID)
	g.Revision = 3
	_, err = h.tenant.PutObjects(ctx, []tenant.ObjectWrite{{Object: g, Members: &[]tenant.Member{}}}, nil)
	check(t, err)
	members("an empty list", true)
}

func compareIDs(a, b tenant.ID) int { return strings.Compare(string(a[:]), string(b[:])) }

// A group and a member of it that come at the same time find each other.
func TestMembersComeTogether(t *testing.T) {
	h := newHouse(t)
	for i := range 50 {
		u, g := user(t, fmt.Sprint("u", i)), group(t, fmt.Sprint("g", i))
		start, done := make(chan struct{}), make(chan error)
		for _, w := range []tenant.ObjectWrite{{Object: u}, {Object: g, Members: &[]tenant.Member{{Anchor: u.Anchor}}}} {
			go func() {
				<-start
				_, err := h.tenant.PutObjects(t.Context(), []tenant.ObjectWrite{w}, nil)
				done <- err
			}()
		}
		close(start)
		check(t, errors.Join(<-done, <-done))
		last := tenant.Change{}
		for _, c := range h.changes(t, 0, 1000) {
			if c.Object.ID == g.ID {
				last = c
			}
		}
		if len(last.Members) != 1 || last.Members[0] != u.ID {
			t.Fatalf("members are %v", last.Members)
		}
	}
}

// TestRefsGrowOld: what a check found out about its users holds until an object
// changes, whoever wrote credentials in between.
func TestRefsGrowOld(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	us := h.put(t, user(t, "a"), user(t, "b"), user(t, "c"))
	look := func() tenant.USN {
		t.Helper()
		refs, asOf, err := h.tenant.Refs(ctx, []string{"a", "b", "c", "nobody"})
		check(t, err)
		if len(refs) != 3 {
			t.Fatal(refs)
		}
		return asOf
	}
	asOf := look()
	for version := range int64(3) {
		_, _, err := h.tenant.PutCredentials(ctx, []tenant.Credential{set(t, us[0], version+1), set(t, us[1], version+1)}, asOf, nil)
		check(t, err)
	}
	asOf = look()
	us[1].Deleted = moment
	us[1] = h.put(t, us[1])[0]
	both := []tenant.Credential{set(t, us[0], 9), set(t, us[1], 9)}
	if _, _, err := h.tenant.PutCredentials(ctx, both, asOf, nil); !errors.Is(err, tenant.ErrConflict) {
		t.Fatalf("a set for a user who was deleted after the look: %v", err)
	}
	if c, err := h.tenant.Credential(ctx, us[0].ID); err != nil || c.Version != 3 {
		t.Errorf("a part of it is stored: %+v %v", c, err)
	}
	// Another object's change is none of theirs.
	_, _, err := h.tenant.PutCredentials(ctx, both[:1], asOf, nil)
	check(t, err)
}

func TestPutCredentials(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	us := h.put(t, user(t, "a"), user(t, "b"), user(t, "c"))
	a, b, c := us[0], us[1], us[2]
	put := func(sets ...tenant.Credential) ([]tenant.Outcome, tenant.USN) {
		t.Helper()
		got, usn, err := h.tenant.PutCredentials(ctx, sets, 0, nil)
		check(t, err)
		return got, usn
	}
	want := func(got []tenant.Outcome, want ...tenant.Outcome) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Fatalf("outcomes %v, want %v", got, want)
		}
	}
	first := []tenant.Credential{set(t, a, 10), set(t, b, 10)}
	got, usn1 := put(first...)
	want(got, tenant.Stored, tenant.Stored)
	got, usn2 := put(first...)
	want(got, tenant.Unchanged, tenant.Unchanged)
	if usn2 != usn1 {
		t.Fatalf("a re-send moved the feed from %d to %d", usn1, usn2)
	}
	got, usn3 := put(set(t, c, 5), set(t, a, 9), set(t, b, 11))
	want(got, tenant.Stored, tenant.Superseded, tenant.Stored)
	if usn3 != usn1+2 {
		t.Fatalf("USN is %d after %d and two sets", usn3, usn1)
	}
	same := set(t, a, 10) // the same date, another salt
	got, _ = put(same)
	want(got, tenant.Stored)
	cur, err := h.tenant.Credential(ctx, a.ID)
	check(t, err)
	if !reflect.DeepEqual(*cur, same) {
		t.Fatalf("stored is another set: %+v", cur)
	}
	// Domain Services were enabled: the same set comes with legacy hashes.
	bare := set(t, c, 6)
	bare.Legacy = ""
	put(bare)
	bare.Legacy = "now.there"
	got, _ = put(bare)
	want(got, tenant.Stored)
	bare.MustChange = true
	got, _ = put(bare)
	want(got, tenant.Stored)
	bare.Legacy = "sealed.again" // random: never the same twice
	got, _ = put(bare)
	want(got, tenant.Unchanged)

	if none, err := h.tenant.Credential(ctx, newID(t)); err != nil || none != nil {
		t.Fatal(none, err)
	}
	for name, sets := range map[string][]tenant.Credential{
		"group":   {set(t, h.put(t, group(t, "g"))[0], 1)},
		"unknown": {set(t, b, 99), set(t, user(t, "nobody"), 1)},
	} {
		if _, _, err := h.tenant.PutCredentials(ctx, sets, 0, nil); !errors.Is(err, tenant.ErrConflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if cur, _ := h.tenant.Credential(ctx, b.ID); cur.Version != 11 {
		t.Error("half of a batch was stored")
	}
	if _, _, err := h.tenant.PutCredentials(ctx, []tenant.Credential{{Object: a.ID, Version: 99}}, 0, nil); err == nil {
		t.Error("a set without a digest was taken")
	}
	if got, usn, err := h.tenant.PutCredentials(ctx, nil, 0, nil); err != nil || len(got) != 0 || usn == 0 {
		t.Error(got, usn, err)
	}
}

func TestReplaceCredential(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	u := h.put(t, user(t, "u"))[0]
	replace := func(version, was int64) error {
		_, err := h.tenant.ReplaceCredential(ctx, set(t, u, version), was, nil)
		return err
	}
	wantErr(t, replace(5, 1), tenant.ErrConflict)
	check(t, replace(5, 0))
	wantErr(t, replace(6, 0), tenant.ErrConflict)
	wantErr(t, replace(4, 5), tenant.ErrConflict)
	check(t, replace(6, 5))
	_, err := h.tenant.ReplaceCredential(ctx, set(t, user(t, "nobody"), 1), 0, nil)
	wantErr(t, err, tenant.ErrConflict)

	// Of many at the same time one wins.
	done := make(chan error)
	for range 8 {
		go func() { done <- replace(7, 6) }()
	}
	won := 0
	for range 8 {
		if err := <-done; err == nil {
			won++
		} else if !errors.Is(err, tenant.ErrConflict) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d replaced the same set", won)
	}
}

// Whatever the order in which the sets of a user arrive, alone or in
// parallel, the newest is what stays.
func TestCredentialOrder(t *testing.T) {
	h := newHouse(t)
	const users, versions = 100, 5
	us := make([]tenant.Object, users)
	for i := range us {
		us[i] = user(t, fmt.Sprint("u", i))
	}
	h.put(t, us...)
	done := make(chan error)
	for w := range 2 * versions { // each version twice
		go func() {
			r := mathrand.New(mathrand.NewPCG(1, uint64(w)))
			for _, half := range [][]int{r.Perm(users), r.Perm(users)} {
				var sets []tenant.Credential
				for _, i := range half {
					sets = append(sets, tenant.Credential{Object: us[i].ID, Version: 1 + r.Int64N(versions), Source: tenant.FromSync,
						Digest: digest(t, "x")})
				}
				if _, _, err := h.tenant.PutCredentials(t.Context(), sets, 0, nil); err != nil {
					done <- err
					return
				}
			}
			var last []tenant.Credential
			for _, i := range r.Perm(users) {
				last = append(last, set(t, us[i], int64(w/2+1)))
			}
			_, _, err := h.tenant.PutCredentials(t.Context(), last, 0, nil)
			done <- err
		}()
	}
	for range 2 * versions {
		check(t, <-done)
	}
	for _, u := range us {
		if c, err := h.tenant.Credential(t.Context(), u.ID); err != nil || c.Version != versions {
			t.Fatalf("%s has version %d, %v", u.Anchor, c.Version, err)
		}
	}
}

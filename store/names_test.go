package store

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"skyrealm/domain"
)

// One name, one account, whatever two writers have read before (CVE-2020-25722):
// of eight that write it at once one is let in.
func TestOneNameOneAccount(t *testing.T) {
	h := newHouse(t)
	for round, c := range []struct {
		name  string
		claim func(r *domain.Record, spelled string)
	}{
		{"HTTP/web.aadds.contoso.test", func(r *domain.Record, s string) { r.SPNs = []string{s} }},
		{"svc@contoso.test", func(r *domain.Record, s string) { r.UPN = s }},
	} {
		var all sync.WaitGroup
		errs := make(chan error, 8)
		for i := range cap(errs) {
			r := account(t, fmt.Sprintf("r%d-%d", round, i))
			if c.claim(&r, c.name); i%2 == 1 {
				c.claim(&r, strings.ToUpper(c.name))
			}
			all.Go(func() {
				_, err := h.domain.Apply(t.Context(), []domain.Write{{Record: r}})
				errs <- err
			})
		}
		all.Wait()
		close(errs)
		in := 0
		for err := range errs {
			if err == nil {
				in++
			} else if !errors.Is(err, domain.ErrConflict) {
				t.Error(err)
			}
		}
		if in != 1 {
			t.Errorf("%s: %d of 8 were let in", c.name, in)
		}
	}
}

// The implicit name, sAMAccountName@domain, is a name as well, from both sides.
func TestImplicitNames(t *testing.T) {
	h := newHouse(t)
	a := account(t, "ada")
	a.USN = h.apply(t, a)
	taken := func(sam, upn string) {
		t.Helper()
		r := account(t, sam)
		r.UPN = upn
		_, err := h.domain.Apply(t.Context(), []domain.Write{{Record: r}})
		wantErr(t, err, domain.ErrConflict)
	}
	taken("other", "ADA@aadds.contoso.test")
	b := account(t, "bob")
	b.UPN = "Carol@AADDS.contoso.test"
	b.USN = h.apply(t, b)
	taken("carol", "")
	// A group has no such name, and no account loses one to itself.
	g := account(t, "carol")
	g.Kind, g.Class, g.UPN, g.SPNs = domain.Group, "group", "", nil
	h.apply(t, g)
	a.UPN = "ada@aadds.contoso.test"
	h.apply(t, a)
}

// What an account gives up is free, with the account as well.
func TestNamesGivenUp(t *testing.T) {
	h := newHouse(t)
	a, b := account(t, "a"), account(t, "b")
	a.USN = h.apply(t, a)
	b.SPNs, b.UPN = a.SPNs, a.UPN
	_, err := h.domain.Apply(t.Context(), []domain.Write{{Record: b}})
	wantErr(t, err, domain.ErrConflict)
	a.SPNs, a.UPN = []string{"HTTP/new"}, "new@contoso.test"
	a.USN = h.apply(t, a)
	b.USN = h.apply(t, b)
	b.SPNs, b.UPN, a.SPNs, a.UPN = a.SPNs, a.UPN, b.SPNs, b.UPN // exchanged in one batch
	last := h.apply(t, a, b)
	a.USN, b.USN, b.Deleted = last-1, last, true
	h.apply(t, b)
	c := account(t, "c")
	c.SPNs, c.UPN = []string{"HTTP/new"}, "new@contoso.test"
	h.apply(t, c)
}

// A tenant's user has its name whoever has it: the domain's own account gives it
// up, in the same commit, and of two of the tenant's the later has it.
func TestTenantNamesFirst(t *testing.T) {
	h := newHouse(t)
	svc := account(t, "svc")
	svc.UPN = "ada@contoso.test"
	svc.Secrets = domain.Secrets{Current: legacy(t, "x"), KVNO: 1, Set: moment}
	svc.USN = h.apply(t, svc)
	ada := account(t, "ada")
	ada.Source, ada.Generation, ada.SPNs = newID(t), 1, nil
	usn, err := h.domain.Provision(t.Context(), []domain.Write{{Record: ada}}, 0, 1)
	check(t, err)
	if got := h.record(t, svc.GUID); got.UPN != "" || got.USN != usn-1 || !got.Secrets.Current.Equal(svc.Secrets.Current) || len(got.SPNs) != 1 {
		t.Errorf("the domain's own account is %+v", got)
	}
	if got := h.record(t, ada.GUID); got.UPN != "ada@contoso.test" {
		t.Errorf("the tenant's is %+v", got)
	}
	heir := account(t, "heir")
	heir.Source, heir.Generation, heir.SPNs, heir.UPN = newID(t), 1, nil, "ada@contoso.test"
	_, err = h.domain.Provision(t.Context(), []domain.Write{{Record: heir}}, 1, 2)
	check(t, err)
	ada = h.record(t, ada.GUID)
	ada.UPN = "lovelace@contoso.test"
	_, err = h.domain.Provision(t.Context(), []domain.Write{{Record: ada}}, 2, 3)
	check(t, err)
	r := account(t, "r")
	r.UPN = "ADA@contoso.test" // the heir's, although ada gave it up later
	_, err = h.domain.Apply(t.Context(), []domain.Write{{Record: r}})
	wantErr(t, err, domain.ErrConflict)
}

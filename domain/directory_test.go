package domain_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"skyrealm/domain"
	"skyrealm/domain/dit"
)

func mods(pairs ...string) []domain.Mod {
	var out []domain.Mod
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, domain.Mod{Op: domain.ModReplace, Attr: pairs[i], Values: [][]byte{[]byte(pairs[i+1])}})
	}
	return out
}

// Administrators who change one object at once, each another attribute: all of
// the changes are in, and none is refused with a name that is taken.
func TestModificationsAtOnce(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	ou, svc := dit.MustParseDN("OU=Labs,"+base), dit.MustParseDN("CN=svc,OU=Labs,"+base)
	if err := errors.Join(h.dir.Add(h.ctx, admin, ou, mods("objectClass", "organizationalUnit")),
		h.dir.Add(h.ctx, admin, svc, mods("objectClass", "user"))); err != nil {
		t.Fatal(err)
	}
	attrs := []string{"description", "title", "department", "company", "telephoneNumber", "info", "mail", "sn"}
	var all sync.WaitGroup
	for _, a := range attrs {
		all.Go(func() {
			for i := range 5 {
				err := h.dir.Modify(h.ctx, admin, svc, mods(a, fmt.Sprint("value ", i)))
				for errors.Is(err, domain.ErrConflict) { // LDAP says busy, and the client tries again
					err = h.dir.Modify(h.ctx, admin, svc, mods(a, fmt.Sprint("value ", i)))
				}
				if err != nil {
					t.Errorf("%s: %v", a, err)
				}
			}
		})
	}
	all.Wait()
	o := h.rep.ByDN(svc)
	for _, a := range attrs {
		if got := string(o.Entry.First(dit.Attr(a))); got != "value 4" {
			t.Errorf("%s is %q", a, got)
		}
	}
	// A name that is taken is one all the same, where only the store knows it.
	if err := h.dir.Add(h.ctx, admin, dit.MustParseDN("CN=other,OU=Labs,"+base), mods("objectClass", "user")); err != nil {
		t.Fatal(err)
	}
	behind := *h.dir
	behind.Replica = domain.NewReplica(h.rep.Info)
	records, _, err := h.store.Records(h.ctx, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if records[i].SAM != "other" {
			if err := behind.Replica.Apply(records[i:i+1], 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := behind.Modify(h.ctx, admin, svc, mods("sAMAccountName", "other")); !errors.Is(err, domain.ErrExists) {
		t.Error("a name that is taken:", err)
	}
}

// What is an account's attribute is no group's, and the other way round.
func TestAttributesOfTheirKind(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	if err := h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ class, attr, value string }{
		{"group", "userPrincipalName", "group@contoso.test"},
		{"group", "userAccountControl", "512"},
		{"user", "groupType", domain.GroupGlobalSecurity},
		{"computer", "groupType", domain.GroupGlobalSecurity},
	} {
		err := h.dir.Add(h.ctx, admin, dit.MustParseDN(fmt.Sprintf("CN=x%d,OU=Labs,%s", i, base)), mods("objectClass", c.class, c.attr, c.value))
		if !errors.Is(err, domain.ErrAccessDenied) {
			t.Errorf("%s of a %s: %v", c.attr, c.class, err)
		}
	}
	err := h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=x,OU=Labs,"+base), mods("objectClass", "organizationalUnit", "sAMAccountName", "x"))
	if !errors.Is(err, domain.ErrAccessDenied) {
		t.Error("sAMAccountName of an OU:", err)
	}
}

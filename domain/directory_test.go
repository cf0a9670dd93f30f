package domain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/tenant"
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

// Accounts that were made in the domain change their own passwords, and
// administrators set them; for a tenant's user the tenant does, by its rules.
func TestChangePassword(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	const first, second, third = "First-Passw0rd", "Sécond-Passw0rd", "Third-Passw0rd"
	if err := errors.Join(h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")),
		h.dir.Add(h.ctx, admin, dit.MustParseDN("CN=svc,OU=Labs,"+base), mods("objectClass", "user")),
		h.dir.Add(h.ctx, admin, dit.MustParseDN("CN=ws1,OU=AADDC Computers,"+base), mods("objectClass", "computer"))); err != nil {
		t.Fatal(err)
	}
	knows := func(name, password string) {
		t.Helper()
		if _, err := h.rep.Authenticate(h.ctx, h.now, name, password); err != nil {
			t.Errorf("%s with %q: %v", name, password, err)
		}
	}
	var policy *domain.PolicyError
	for _, name := range []string{"svc", "ws1$"} {
		if err := h.dir.SetPassword(h.ctx, admin, h.rep.BySAM(name), first, nil); err != nil {
			t.Fatal(name, err)
		}
		knows(name, first)
		was := h.rep.BySAM(name)
		if err := h.dir.ChangePassword(h.ctx, was, second); err != nil {
			t.Fatal(name, err)
		}
		knows(name, second)
		is := h.rep.BySAM(name)
		if is.Secrets.KVNO != was.Secrets.KVNO+1 || !is.Secrets.Previous.Equal(was.Secrets.Current) {
			t.Errorf("%s: kvno %d after %d, or the previous keys are lost", name, is.Secrets.KVNO, was.Secrets.KVNO)
		}
		// What was known a change ago is no proof, and short or the same is no change.
		if err := h.dir.ChangePassword(h.ctx, was, third); !errors.Is(err, domain.ErrConflict) {
			t.Error("with an old password:", err)
		}
		for _, bad := range []string{"", "short1", second, strings.Repeat("x", 257)} {
			if err := h.dir.ChangePassword(h.ctx, is, bad); !errors.As(err, &policy) {
				t.Errorf("to %d characters: %v", len(bad), err)
			}
		}
		// Nobody sets another's but an administrator (P05).
		if err := h.dir.SetPassword(h.ctx, is, is, third, nil); !errors.Is(err, domain.ErrAccessDenied) {
			t.Error("not an administrator:", err)
		}
		knows(name, second)
	}

	// A request is carried out once, whoever else is asked, and its repetition is a
	// success as long as there was no other.
	h.now = h.now.Add(time.Second)
	other := *h.dir
	once := &domain.Once{Hashes: [][]byte{bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}, For: time.Hour}
	set := func(password string, once *domain.Once, want error) {
		t.Helper()
		was := h.rep.BySAM("svc").Secrets.KVNO
		if err := other.SetPassword(h.ctx, admin, h.rep.BySAM("svc"), password, once); !errors.Is(err, want) {
			t.Error(err)
		}
		if is := h.rep.BySAM("svc").Secrets.KVNO; want != nil && is != was {
			t.Errorf("refused, and written: kvno %d after %d", is, was)
		}
	}
	set(third, once, nil)
	kvno := h.rep.BySAM("svc").Secrets.KVNO
	set(third, once, nil)
	if is := h.rep.BySAM("svc").Secrets.KVNO; is != kvno {
		t.Errorf("written twice: kvno %d after %d", is, kvno)
	}
	set(second, nil, nil)
	set(third, once, domain.ErrRepeated)
	knows("svc", second)

	// A password that has to be changed first, and one that no longer has.
	svc := dit.MustParseDN("CN=svc,OU=Labs," + base)
	for value, must := range map[string]bool{"0": true, "-1": false} {
		if err := h.dir.Modify(h.ctx, admin, svc, mods("pwdLastSet", value)); err != nil || h.rep.ByDN(svc).MustChange() != must {
			t.Errorf("pwdLastSet %s: %v", value, err)
		}
	}
	var constraint *domain.ConstraintError
	if err := h.dir.Modify(h.ctx, admin, svc, mods("pwdLastSet", "133000000000000000")); !errors.As(err, &constraint) {
		t.Error("pwdLastSet in the past:", err)
	}
	if err := h.dir.Modify(h.ctx, admin, svc, mods("pwdLastSet", "0", "unicodePwd", "\"\x00A\x00-\x00n\x00e\x00w\x00-\x001\x00\"\x00")); err != nil || !h.rep.ByDN(svc).MustChange() {
		t.Error("a new password that has to be changed:", err)
	}
	if err := h.dir.ChangePassword(h.ctx, h.rep.ByDN(svc), first); err != nil || h.rep.ByDN(svc).MustChange() {
		t.Error("the change that it is for:", err)
	}

	// A tenant's user, first where the process can't write to the tenant.
	user, usn, err := h.tenant.CreateUser(h.ctx, tenant.NewUser{UPN: "ada@contoso.test", Password: first, Enabled: true,
		Profile: tenant.Profile{DisplayName: "Ada", MailNickname: "ada"}})
	if err != nil {
		t.Fatal(usn, err)
	}
	if _, err := h.tenant.ChangePassword(h.ctx, user.ID, first, third); err != nil {
		t.Fatal(err)
	}
	h.sync()
	ada := h.rep.BySAM("ada")
	if err := h.dir.ChangePassword(h.ctx, ada, "Fourth-Passw0rd"); !errors.Is(err, domain.ErrTenantPassword) {
		t.Error("without the tenant:", err)
	}
	h.dir.ChangeUser = func(ctx context.Context, user tenant.ID, proven int64, password string) (tenant.USN, error) {
		usn, err := h.tenant.ChangeProvenPassword(ctx, user, proven, password)
		if err == nil {
			h.sync() // as the provisioner does
		}
		return usn, err
	}
	for _, bad := range []string{"short", second, third, "alllowercase"} {
		if err := h.dir.ChangePassword(h.ctx, ada, bad); !errors.As(err, &policy) {
			t.Errorf("to %q: %v", bad, err)
		}
	}
	if err := h.dir.ChangePassword(h.ctx, ada, "Fourth-Passw0rd"); err != nil {
		t.Fatal(err)
	}
	knows("ada", "Fourth-Passw0rd")
	if _, _, err := h.tenant.SignIn(h.ctx, "ada@contoso.test", "Fourth-Passw0rd"); err != nil {
		t.Error("in the tenant:", err)
	}
	if err := h.dir.ChangePassword(h.ctx, ada, "Fifth-Passw0rd"); !errors.Is(err, domain.ErrConflict) {
		t.Error("with an old password:", err)
	}
	if err := h.dir.SetPassword(h.ctx, admin, ada, "Fifth-Passw0rd", nil); !errors.Is(err, domain.ErrAccessDenied) {
		t.Error("an administrator of the domain, for a tenant's user:", err)
	}
	knows("ada", "Fourth-Passw0rd")

	// A synced one.
	h.user("eve", nil)
	h.password("eve", "eve", "On-Premises-1")
	h.sync()
	if err := h.dir.ChangePassword(h.ctx, h.rep.BySAM("eve"), "Fifth-Passw0rd"); !errors.Is(err, domain.ErrSyncedPassword) {
		t.Error("synced:", err)
	}
	for _, sam := range []string{"krbtgt", "DC1$"} {
		if err := h.dir.ChangePassword(h.ctx, h.rep.BySAM(sam), "Fifth-Passw0rd"); !errors.Is(err, domain.ErrAccessDenied) {
			t.Error(sam, err)
		}
		if err := h.dir.SetPassword(h.ctx, admin, h.rep.BySAM(sam), "Fifth-Passw0rd", nil); !errors.Is(err, domain.ErrAccessDenied) {
			t.Error(sam, err)
		}
	}
}

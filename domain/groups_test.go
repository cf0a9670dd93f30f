package domain_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// The six kinds of groups, who may be in which, and what the directory and a
// token say of it ([MS-ADTS] §2.2.12, §3.1.1.5.2.2).
func TestGroupScopes(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	dn := func(name string) dit.DN { return dit.MustParseDN("CN=" + name + ",OU=Labs," + base) }
	add := func(name, groupType string, more ...string) error {
		return h.dir.Add(h.ctx, admin, dn(name), mods(append([]string{"objectClass", "group", "groupType", groupType}, more...)...))
	}
	if err := h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")); err != nil {
		t.Fatal(err)
	}
	kinds := []struct {
		groupType, samType string
		scope              domain.Scope
	}{
		{domain.GroupGlobalSecurity, "268435456", domain.ScopeGlobal}, {domain.GroupGlobalDistribution, "268435457", domain.ScopeGlobal},
		{domain.GroupUniversalSecurity, "268435456", domain.ScopeUniversal}, {domain.GroupUniversalDistribution, "268435457", domain.ScopeUniversal},
		{domain.GroupLocalSecurity, "536870912", domain.ScopeLocal}, {domain.GroupLocalDistribution, "536870913", domain.ScopeLocal},
	}
	for i, k := range kinds {
		name := fmt.Sprint("g", i)
		if err := add(name, k.groupType); err != nil {
			t.Fatal(err)
		}
		o := h.rep.BySAM(name)
		if got := string(o.Entry.First(dit.Attr("sAMAccountType"))); got != k.samType || o.Scope != k.scope || o.Security != (i%2 == 0) {
			t.Errorf("%s: type %s, scope %d, security %v", k.groupType, got, o.Scope, o.Security)
		}
	}
	var c *domain.ConstraintError
	for _, bad := range []string{"-2147483643", "5", "0", "-2147483630", "x", "14"} {
		if err := add("bad", bad); !errors.As(err, &c) {
			t.Errorf("groupType %s: %v", bad, err)
		}
	}
	if err := h.dir.Modify(h.ctx, admin, dn("g0"), mods("groupType", domain.GroupGlobalDistribution)); err != nil {
		t.Error("from access to mail:", err)
	}
	if err := h.dir.Modify(h.ctx, admin, dn("g0"), mods("groupType", domain.GroupUniversalSecurity)); !errors.As(err, &c) {
		t.Error("to another scope:", err)
	}
	if err := h.dir.Modify(h.ctx, admin, dn("g0"), mods("groupType", domain.GroupGlobalSecurity)); err != nil {
		t.Error("and back:", err)
	}
	for group, may := range map[int][]int{0: {1}, 2: {0, 3}, 4: {0, 2, 5}} {
		for member := range kinds {
			if member == group {
				continue
			}
			err := h.dir.Modify(h.ctx, admin, dn(fmt.Sprint("g", group)), []domain.Mod{{Op: domain.ModReplace, Attr: "member", Values: [][]byte{[]byte(dn(fmt.Sprint("g", member)).String())}}})
			if ok := slices.Contains(may, member) || kinds[member].scope == domain.ScopeGlobal || kinds[group].scope == domain.ScopeLocal ||
				kinds[group].scope == domain.ScopeUniversal && kinds[member].scope == domain.ScopeUniversal; ok != (err == nil) {
				t.Errorf("group %d in group %d: %v", member, group, err)
			}
		}
	}
}

// TestHistory: SIDs on premises become sIDHistory of users and groups alike
// (EDS/synchronization), and no one's rights here.
func TestHistory(t *testing.T) {
	h := newHouse(t)
	prem := sid.New(5, 21, 100, 200, 300)
	id := h.user("ada", map[string]any{"onPremisesSamAccountName": "ada", "onPremiseSecurityIdentifier": prem.Append(1105).String()})
	h.object(tenant.Group, "crew", map[string]any{"displayName": "Crew", "securityEnabled": true,
		"onPremiseSecurityIdentifier": prem.Append(1200).String(), "member": []string{"ada"}})
	h.user("eve", map[string]any{"onPremisesSamAccountName": "eve",
		"onPremiseSecurityIdentifier": h.rep.Info.SID.Append(domain.RIDDomainAdmins).String()})
	h.sync()
	ada := h.rep.Membership(h.rep.BySAM("ada"))
	if len(ada.History) != 2 || ada.History[0] != prem.Append(1105) || ada.History[1] != prem.Append(1200) {
		t.Errorf("%s: %v", id, ada.History)
	}
	if eve := h.rep.Membership(h.rep.BySAM("eve")); len(eve.History) != 0 {
		t.Errorf("a SID of our own domain by history: %v", eve.History)
	}
}

// TestSettings: the attributes that restrict an account hold what means something.
func TestSettings(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	svc := dit.MustParseDN("CN=svc,OU=Labs," + base)
	if err := errors.Join(h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+base), mods("objectClass", "organizationalUnit")),
		h.dir.Add(h.ctx, admin, svc, mods("objectClass", "user"))); err != nil {
		t.Fatal(err)
	}
	if o := h.rep.BySAM("svc"); o.Settings != nil || string(o.Entry.First(dit.Attr("accountExpires"))) != "9223372036854775807" {
		t.Errorf("%+v", o.Settings)
	}
	var c *domain.ConstraintError
	for _, bad := range [][2]string{{"accountExpires", "-1"}, {"accountExpires", "tomorrow"}, {"logonHours", "short"}, {"accountExpires", "9223372036854775808"}} {
		if err := h.dir.Modify(h.ctx, admin, svc, mods(bad[0], bad[1])); !errors.As(err, &c) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	hours := string(make([]byte, 21))
	if err := h.dir.Modify(h.ctx, admin, svc, mods("accountExpires", "134000000000000000", "logonHours", hours, "userWorkstations", "PC1, PC2", "homeDrive", "H:")); err != nil {
		t.Fatal(err)
	}
	o := h.rep.BySAM("svc")
	if s := o.Settings; s == nil || s.Expires.Year() != 2025 || len(s.Hours) != 21 || !slices.Equal(s.Workstations, []string{"PC1", "PC2"}) || s.HomeDrive != "H:" ||
		string(o.Entry.First(dit.Attr("accountExpires"))) != "134000000000000000" {
		t.Errorf("%+v", s)
	}
}

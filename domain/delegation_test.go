package domain_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/secdesc"
	"skyrealm/sid"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

const (
	attrDelegateTo = "msDS-AllowedToDelegateTo"
	attrActFor     = "msDS-AllowedToActOnBehalfOfOtherIdentity"
)

// lets is a descriptor that lets the SIDs act, as Windows writes it.
func lets(t *testing.T, sids ...sid.SID) string {
	t.Helper()
	d := &secdesc.Descriptor{Owner: sid.New(5, 32, 544), DACL: &secdesc.ACL{Revision: 2}}
	for _, s := range sids {
		d.DACL.Entries = append(d.DACL.Entries, secdesc.ACE{Mask: secdesc.FullControl, SID: s})
	}
	b, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// labs is a house with an OU of its own and accounts in it.
func labs(t *testing.T) (h *house, admin *domain.Object, dn func(string) dit.DN) {
	t.Helper()
	h = newHouse(t)
	h.user("ada", nil)
	h.sync()
	admin = h.rep.BySAM("admin")
	dn = func(name string) dit.DN { return dit.MustParseDN(name + ",OU=Labs," + h.rep.Info.BaseDN().String()) }
	err := errors.Join(
		h.dir.Add(h.ctx, admin, dit.MustParseDN("OU=Labs,"+h.rep.Info.BaseDN().String()), mods("objectClass", "organizationalUnit")),
		h.dir.Add(h.ctx, admin, dn("CN=front"), mods("objectClass", "user", "servicePrincipalName", "HTTP/front")),
		h.dir.Add(h.ctx, admin, dn("CN=files"), mods("objectClass", "computer", "servicePrincipalName", "cifs/files")),
		h.dir.Add(h.ctx, admin, dn("CN=fronts"), mods("objectClass", "group")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return h, admin, dn
}

// TestDelegationWrites (trust.md T09): who may say that a service acts for
// people, and what can be said.
func TestDelegationWrites(t *testing.T) {
	h, admin, dn := labs(t)
	front, files := dn("CN=front"), dn("CN=files")
	frontSID := h.rep.ByDN(front).SID()
	for name, actor := range map[string]*domain.Object{
		"nobody": nil, "an ordinary user": h.rep.BySAM("ada"), "the computer itself": h.rep.ByDN(files), "another service": h.rep.ByDN(front),
	} {
		if actor == nil && name != "nobody" {
			t.Fatal("there is no", name)
		}
		for _, m := range [][]domain.Mod{mods(attrActFor, lets(t, frontSID)), mods(attrDelegateTo, "cifs/files"), mods("userAccountControl", "16781312")} {
			if err := h.dir.Modify(h.ctx, actor, files, m); !errors.Is(err, domain.ErrAccessDenied) {
				t.Errorf("%s writes %s: %v", name, m[0].Attr, err)
			}
		}
	}
	if h.rep.ActsFor(h.rep.ByDN(front), h.rep.ByDN(files)) || h.rep.ByDN(files).Delegates() || h.rep.ByDN(files).TrustedToAuth() {
		t.Fatal("what was refused is in")
	}

	// The administrator may.
	var constraint *domain.ConstraintError
	for _, bad := range [][]domain.Mod{
		mods(attrActFor, "no descriptor"),
		mods(attrActFor, "\x01\x00\x04\x80"+string(make([]byte, 16))), // a NULL list
		mods(attrDelegateTo, "files"), mods(attrDelegateTo, "cifs/fi les"),
		mods("userAccountControl", "528384"),  // for any service
		mods("userAccountControl", "4198400"), // without pre-authentication (K10)
	} {
		if err := h.dir.Modify(h.ctx, admin, files, bad); !errors.As(err, &constraint) {
			t.Errorf("%s: %v", bad[0].Attr, err)
		}
	}
	if err := h.dir.Modify(h.ctx, admin, dn("CN=fronts"), mods(attrActFor, lets(t, frontSID))); !errors.Is(err, domain.ErrAccessDenied) {
		t.Error("of a group:", err)
	}
	err := errors.Join(
		h.dir.Modify(h.ctx, admin, files, mods(attrActFor, lets(t, frontSID))),
		h.dir.Modify(h.ctx, admin, front, mods(attrDelegateTo, "cifs/Files", "userAccountControl", "16777728")),
	)
	if err != nil {
		t.Fatal(err)
	}
	o := h.rep.ByDN(front)
	if !h.rep.ActsFor(o, h.rep.ByDN(files)) || h.rep.ActsFor(h.rep.BySAM("ada"), h.rep.ByDN(files)) {
		t.Error("the descriptor lets whom it does not name, or not whom it names")
	}
	if !o.DelegatesTo("CIFS/files") || o.DelegatesTo("cifs/fil") || o.DelegatesTo("") || !o.TrustedToAuth() {
		t.Error("what the service may do:", o.UAC)
	}
	// By a group that the service is in.
	if err := errors.Join(
		h.dir.Modify(h.ctx, admin, files, mods(attrActFor, lets(t, h.rep.ByDN(dn("CN=fronts")).SID()))),
		h.dir.Modify(h.ctx, admin, dn("CN=fronts"), mods("member", front.String())),
	); err != nil {
		t.Fatal(err)
	}
	if !h.rep.ActsFor(h.rep.ByDN(front), h.rep.ByDN(files)) {
		t.Error("a group's member may not")
	}
	if err := h.dir.Modify(h.ctx, admin, files, []domain.Mod{{Op: domain.ModDelete, Attr: attrActFor}}); err != nil {
		t.Fatal(err)
	}
	if h.rep.ActsFor(h.rep.ByDN(front), h.rep.ByDN(files)) {
		t.Error("after the descriptor is gone")
	}
}

// TestProtectedUsersOfOldDomains: a domain that was founded without the group
// gets it, with its RID, whether or not a synced group has the name.
func TestProtectedUsersOfOldDomains(t *testing.T) {
	for _, taken := range []bool{false, true} {
		h := newHouseOf(t, func(r *domain.Record) bool { return r.RID != domain.RIDProtectedUsers })
		name := "Protected Users"
		if taken {
			h.object(tenant.Group, "g", map[string]any{"displayName": name, "securityEnabled": true})
			h.sync()
			if o := h.rep.BySAM(name); o == nil || o.RID == domain.RIDProtectedUsers {
				t.Fatal("no synced group of that name")
			}
			name += " 525"
		}
		// Twice: a restart adds no second one.
		for run := range 2 {
			user := fmt.Sprint("user", run)
			h.user(user, nil)
			ctx, cancel := context.WithCancel(h.ctx)
			done := make(chan struct{})
			go func() { defer close(done); h.prov.Run(ctx) }()
			harness.WaitFor(t, "the group", func() error {
				if h.rep.BySAM(user) == nil {
					return errors.New("the provisioner has not come past its start")
				}
				if o := h.rep.ByRID(domain.RIDProtectedUsers); o == nil || o.SAM != name || !o.Security {
					return fmt.Errorf("RID 525 is %+v", o)
				}
				return nil
			})
			cancel()
			<-done
		}
	}
}

// TestProtectedUsers: administrators say who is in the group, and no more than
// that.
func TestProtectedUsers(t *testing.T) {
	h, admin, dn := labs(t)
	group := h.rep.ByRID(domain.RIDProtectedUsers)
	if group == nil {
		t.Fatal("there is none")
	}
	ada := h.rep.BySAM("ada")
	if ada == nil || !h.rep.Delegable(ada) {
		t.Fatal("ada can't be delegated from the start")
	}
	gdn := group.Entry.DN
	if err := h.dir.Modify(h.ctx, admin, gdn, mods("member", ada.Entry.DN.String())); err != nil {
		t.Fatal(err)
	}
	if h.rep.Delegable(h.rep.BySAM("ada")) {
		t.Error("a member can be delegated")
	}
	for name, err := range map[string]error{
		"a description":    h.dir.Modify(h.ctx, admin, gdn, mods("description", "x")),
		"both":             h.dir.Modify(h.ctx, admin, gdn, mods("member", ada.Entry.DN.String(), "description", "x")),
		"a deletion":       h.dir.Delete(h.ctx, admin, gdn),
		"by a user":        h.dir.Modify(h.ctx, ada, gdn, []domain.Mod{{Op: domain.ModDelete, Attr: "member"}}),
		"of Domain Admins": h.dir.Modify(h.ctx, admin, h.rep.ByRID(domain.RIDDomainAdmins).Entry.DN, mods("member", ada.Entry.DN.String())),
	} {
		if !errors.Is(err, domain.ErrAccessDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	front := dn("CN=front")
	if err := h.dir.Modify(h.ctx, admin, front, mods("userAccountControl", "1049088")); err != nil {
		t.Fatal(err)
	}
	if h.rep.Delegable(h.rep.ByDN(front)) {
		t.Error("an account marked as sensitive can be delegated")
	}
}

// TestPreauthCantBeLeftOut (trust.md K10): no account is one that signs in without
// pre-authentication, whatever way it was made.
func TestPreauthCantBeLeftOut(t *testing.T) {
	const dontRequirePreauth = 0x400000
	h, admin, dn := labs(t)
	var constraint *domain.ConstraintError
	for class, uac := range map[string]uint32{"user": domain.UACNormal, "computer": domain.UACWorkstation} {
		value := fmt.Sprint(uac | dontRequirePreauth)
		if err := h.dir.Add(h.ctx, admin, dn("CN=new"), mods("objectClass", class, "userAccountControl", value)); !errors.As(err, &constraint) {
			t.Errorf("a new %s: %v", class, err)
		}
	}
	for name, uac := range map[string]uint32{"CN=front": domain.UACNormal, "CN=files": domain.UACWorkstation} {
		for _, op := range []domain.ModOp{domain.ModAdd, domain.ModReplace} {
			m := []domain.Mod{{Op: op, Attr: "userAccountControl", Values: [][]byte{[]byte(fmt.Sprint(uac | dontRequirePreauth))}}}
			if err := h.dir.Modify(h.ctx, admin, dn(name), m); !errors.As(err, &constraint) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	h.user("eve", map[string]any{"userAccountControl": 512 | dontRequirePreauth, "onPremisesUserAccountControl": 512 | dontRequirePreauth})
	h.sync()
	if h.rep.BySAM("eve") == nil {
		t.Error("the synced user is not there")
	}
	n := 0
	if err := h.rep.Search(h.rep.Info.BaseDN(), dit.Sub, dit.Present("objectClass"), "", func(o *domain.Object) bool {
		if n++; o.UAC&dontRequirePreauth != 0 {
			t.Errorf("%s needs none", o.SAM)
		}
		return true
	}); err != nil || n < 10 {
		t.Errorf("%d objects, %v", n, err)
	}
}

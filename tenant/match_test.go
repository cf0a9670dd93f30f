package tenant_test

import (
	"strings"
	"testing"

	"skyrealm/tenant"
)

// cloud creates a cloud-only user, with a mail address where one is given.
func (w *world) cloud(upn, mail string) tenant.Object {
	w.t.Helper()
	nick, _, _ := strings.Cut(upn, "@")
	o, _, err := w.CreateUser(w.ctx, tenant.NewUser{UPN: upn, Password: "Cloud-Passw0rd", Enabled: true,
		Profile: tenant.Profile{DisplayName: nick, MailNickname: nick, Mail: mail}})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func (w *world) get(id tenant.ID) tenant.Object {
	w.t.Helper()
	o, err := w.Store.Object(w.ctx, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func with(item tenant.ObjectItem, name string, value any) tenant.ObjectItem {
	attributes := map[string]any{name: value}
	for k, v := range item.Attributes {
		if _, ok := attributes[k]; !ok {
			attributes[k] = v
		}
	}
	item.Attributes = attributes
	return item
}

func TestSoftMatchOnUPN(t *testing.T) {
	w := newWorld(t)
	ada := w.cloud("ada@contoso.test", "")
	res := w.objects(user("anchor", "ADA@contoso.test"))
	if got := reasons(res); got != "stored" || res.Items[0].ID != ada.ID {
		t.Fatal(res)
	}
	if o := w.get(ada.ID); !o.Synced() || o.Anchor != "anchor" {
		t.Error("the matched object is not stamped", o)
	}
	// A synced password goes to it, over the cloud's.
	w.hashes(w.hash("anchor", "On-Premises-1", w.now.Add(1)))
	w.signIn("ada@contoso.test", "On-Premises-1", 0)

	// Blocked, it is a second object, whose name is taken.
	eve := w.cloud("eve@contoso.test", "")
	w.set(func(s *tenant.Settings) { s.Features |= tenant.BlockSoftMatch })
	res = w.objects(user("other", "eve@contoso.test"))
	if got := reasons(res); got != "quarantined" || res.Items[0].ID == eve.ID {
		t.Error(res)
	}
	w.set(func(s *tenant.Settings) { s.Features &^= tenant.BlockSoftMatch | tenant.SoftMatchOnUPN })
	w.cloud("bob@contoso.test", "")
	if got := reasons(w.objects(user("third", "bob@contoso.test"))); got != "quarantined" {
		t.Error("matched on UPN without the feature", got)
	}
}

func TestSoftMatchOnPrimaryAddress(t *testing.T) {
	w := newWorld(t)
	ada := w.cloud("ada@contoso.test", "Ada@mail.test")
	secondary := with(user("no", "x1@contoso.test"), "proxyAddresses", []string{"SMTP:x1@mail.test", "smtp:ada@mail.test"})
	if res := w.objects(secondary); res.Items[0].ID == ada.ID {
		t.Error("matched on a secondary address")
	}
	res := w.objects(with(user("yes", "x2@contoso.test"), "proxyAddresses", []string{"SMTP:ADA@mail.test"}))
	if res.Items[0].ID != ada.ID {
		t.Error("not matched on the primary address", res)
	}
	if got := reasons(w.objects(tenant.ObjectItem{Kind: tenant.Group, Operation: tenant.Set, Anchor: "g", Attributes: map[string]any{"mail": "x1@mail.test"}})); got != "stored" {
		t.Error("a group that meets a synced user's address", got)
	}
	w.cloud("eve@contoso.test", "eve@mail.test")
	if got := reasons(w.objects(tenant.ObjectItem{Kind: tenant.Group, Operation: tenant.Set, Anchor: "h", Attributes: map[string]any{"mail": "eve@mail.test"}})); got != "typeMismatch" {
		t.Error("a group matched a user", got)
	}
}

func TestNoMatchOntoAnAdministrator(t *testing.T) {
	w := newWorld(t)
	if got := reasons(w.objects(user("evil", w.found.AdminUPN))); got != "existingAdminRoleConflict" {
		t.Error("soft match", got)
	}
	admin, err := w.User(w.ctx, w.found.AdminUPN)
	if err != nil {
		t.Fatal(err)
	}
	admin.Anchor = "evil"
	if _, err := w.Store.PutObjects(w.ctx, []tenant.ObjectWrite{{Object: admin}}, nil); err != nil {
		t.Fatal(err)
	}
	if got := reasons(w.objects(user("evil", "x@contoso.test"))); got != "existingAdminRoleConflict" {
		t.Error("hard match", got)
	}
	if got := reasons(w.hashes(w.hash("evil", "Passw0rd", w.now.Add(1)))); got == "stored" {
		t.Error("an agent set the administrator's password")
	}
	w.signIn(w.found.AdminUPN, w.found.AdminPassword, 0)
}

func TestHardMatch(t *testing.T) {
	w := newWorld(t)
	for _, blocked := range []bool{false, true} {
		w.set(func(s *tenant.Settings) {
			s.Features &^= tenant.BlockCloudObjectTakeoverHMF
			if blocked {
				s.Features |= tenant.BlockCloudObjectTakeoverHMF
			}
		})
		name := map[bool]string{false: "open", true: "shut"}[blocked]
		o := w.cloud(name+"@contoso.test", "")
		o.Anchor = name // as an administrator sets onPremisesImmutableId
		if _, err := w.Store.PutObjects(w.ctx, []tenant.ObjectWrite{{Object: o}}, nil); err != nil {
			t.Fatal(err)
		}
		if got := reasons(w.hashes(w.hash(name, "Passw0rd", w.now))); got != "cloudMastered" {
			t.Error("a password for what the cloud masters", got)
		}
		want := map[bool]string{false: "stored", true: "hardMatchBlocked"}[blocked]
		if got := reasons(w.objects(user(name, "renamed-"+name+"@contoso.test"))); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if got := reasons(w.objects(tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: name})); blocked && got != "cloudMastered" {
			t.Error("an agent deleted what the cloud masters", got)
		}
	}
}

func TestQuarantineOfNames(t *testing.T) {
	w := newWorld(t)
	first := w.objects(with(user("a", "same@contoso.test"), "proxyAddresses", []string{"SMTP:same@mail.test"})).Items[0].ID
	res := w.objects(with(user("b", "SAME@contoso.test"), "proxyAddresses", []string{"SMTP:b@mail.test", "smtp:SAME@mail.test", "x500:/o=same"}))
	if got := reasons(res); got != "quarantined" || !strings.Contains(res.Items[0].Detail, "UserPrincipalName SAME@contoso.test") {
		t.Fatal(res)
	}
	second := res.Items[0].ID
	o := w.get(second)
	if !strings.HasPrefix(o.UPN, "SAME+") || len(o.UPN) != len("SAME+1234@contoso.test") || len(o.Profile.ProxyAddresses) != 2 || len(o.Profile.Errors) != 2 {
		t.Fatalf("%s %q %v", o.UPN, o.Profile.ProxyAddresses, o.Profile.Errors)
	}
	since := o.Profile.Errors[0].Occurred

	// The conflict is one, however often it is met, and the name stays.
	w.now = w.now.Add(1e9)
	w.objects(with(user("b", "SAME@contoso.test"), "title", "x"))
	if n, err := w.Heal(w.ctx); n != 0 || err != nil {
		t.Error("healed what is still taken", n, err)
	}
	if o = w.get(second); len(o.Profile.Errors) != 2 || !o.Profile.Errors[0].Occurred.Equal(since) {
		t.Errorf("%s %v", o.UPN, o.Profile.Errors)
	}

	// The holder goes: the names are free, and the hourly task gives them.
	w.objects(tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: "a"})
	if n, err := w.Heal(w.ctx); n != 1 || err != nil {
		t.Error(n, err)
	}
	if o = w.get(second); o.UPN != "SAME@contoso.test" || len(o.Profile.Errors) != 0 || len(o.Profile.ProxyAddresses) != 3 {
		t.Errorf("%s %q %v", o.UPN, o.Profile.ProxyAddresses, o.Profile.Errors)
	}
	// And the first, coming back, is in conflict now.
	res = w.objects(user("a", "same@contoso.test"))
	if got := reasons(res); got != "quarantined" || res.Items[0].ID != first {
		t.Error(res)
	}

	// Without the features both are refusals.
	w.set(func(s *tenant.Settings) {
		s.Features &^= tenant.DuplicateUPNResiliency | tenant.DuplicateProxyResiliency
	})
	if got := reasons(w.objects(user("c", "same@contoso.test"), with(user("d", "d@contoso.test"), "proxyAddresses", []string{"smtp:b@mail.test"}))); got != "userPrincipalNameTaken proxyAddressTaken" {
		t.Error(got)
	}
}

func TestKindsOfObjects(t *testing.T) {
	w := newWorld(t)
	set := func(kind tenant.Kind, anchor string, attributes map[string]any) tenant.ObjectItem {
		return tenant.ObjectItem{Kind: kind, Operation: tenant.Set, Anchor: anchor, Attributes: attributes}
	}
	res := w.objects(
		set(tenant.Contact, "contact", map[string]any{"displayName": "Partner", "mail": "p@partner.test"}),
		set(tenant.Device, "device", map[string]any{"displayName": "PC1"}),
		set(tenant.InetOrgPerson, "inet", map[string]any{"userPrincipalName": "inet@contoso.test"}),
	)
	if got := reasons(res); got != "stored stored stored" {
		t.Fatal(got)
	}
	hash := reasons(w.hashes(w.hash("inet", "Passw0rd", w.now), w.hash("contact", "Passw0rd", w.now)))
	if hash != "notAUser notAUser" {
		t.Error(hash)
	}
	w.signIn("inet@contoso.test", "Passw0rd", tenant.CodeNoPassword)
}

package tenant_test

import (
	"testing"

	"skyrealm/tenant"
)

// A name or an address that an item of a batch gives up, by another name or by
// deletion, is free for the items after it.
func TestNamesArePassedOnWithinABatch(t *testing.T) {
	w := newWorld(t)
	mail := func(item tenant.ObjectItem, address string) tenant.ObjectItem {
		return with(item, "proxyAddresses", []string{"SMTP:" + address})
	}
	w.objects(mail(user("ada", "ada@contoso.test"), "ada@mail.test"), mail(user("eve", "eve@contoso.test"), "eve@mail.test"))
	res := w.objects(
		mail(user("ada", "lovelace@contoso.test"), "lovelace@mail.test"),
		tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: "eve"},
		mail(user("ada2", "ada@contoso.test"), "ada@mail.test"),
		mail(user("eve2", "EVE@contoso.test"), "EVE@mail.test"),
	)
	if got := reasons(res); got != "stored deleted stored stored" {
		t.Fatal(got, res)
	}
	for i, upn := range []string{"lovelace@contoso.test", "", "ada@contoso.test", "EVE@contoso.test"} {
		if upn != "" && w.get(res.Items[i].ID).UPN != upn {
			t.Error(w.get(res.Items[i].ID).UPN)
		}
	}
	// What was refused has given nothing up.
	w.set(func(s *tenant.Settings) { s.Features &^= tenant.DuplicateProxyResiliency })
	res = w.objects(mail(user("ada", "free@contoso.test"), "ada@mail.test"), user("third", "lovelace@contoso.test"))
	if got := reasons(res); got != "proxyAddressTaken quarantined" {
		t.Error(got, res)
	}
}

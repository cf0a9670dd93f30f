package domain_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/tenant"
)

// Names are compared alike by the plan and by the store: one that only the
// store takes for taken would stop the feed for everybody.
func TestNamesBeyondASCII(t *testing.T) {
	h := newHouse(t)
	h.user("a", map[string]any{"displayName": "Jürgen Müller", "mailNickname": "müller"})
	h.sync()
	h.user("b", map[string]any{"displayName": "JÜRGEN MÜLLER", "mailNickname": "Müller"})
	h.sync()
	// Kelvin sign and long s are k and s to every look-up, and so to the store.
	h.user("c", map[string]any{"displayName": "Kasse", "mailNickname": "kasse"})
	h.sync()
	h.user("d", map[string]any{"displayName": "\u212aa\u017f\u017fe", "mailNickname": "\u212aa\u017f\u017fe"})
	h.sync()
	for _, anchor := range []string{"a", "b", "c", "d"} {
		o := h.rep.ByUPN(anchor + "@contoso.test")
		if o == nil {
			t.Fatalf("%s is not in the domain", anchor)
		}
		if got := h.rep.BySAM(o.SAM); got != o {
			t.Errorf("%s: %q finds %v", anchor, o.SAM, got)
		}
		if got := h.rep.ByDN(o.Entry.DN); got != o {
			t.Errorf("%s: %q finds %v", anchor, o.Entry.DN, got)
		}
	}
}

// A name once given stays, also where a better one has become free: others know
// the account by it.
func TestAGivenNameStays(t *testing.T) {
	h := newHouse(t)
	for _, anchor := range []string{"a", "b"} {
		h.user(anchor, map[string]any{"mailNickname": "same", "displayName": "Same Name"})
		h.sync()
	}
	was := h.rep.ByUPN("b@contoso.test")
	if _, err := h.tenant.SyncObjects(h.ctx, tenant.Origin{}, []tenant.ObjectItem{{Kind: tenant.User, Operation: tenant.Delete, Anchor: "a"}}); err != nil {
		t.Fatal(err)
	}
	h.user("b", map[string]any{"title": "x", "displayName": "Same Name"})
	h.sync()
	now := h.rep.ByUPN("b@contoso.test")
	if now.SAM != was.SAM || !now.Entry.DN.Equal(was.Entry.DN) || string(now.Entry.First(dit.Attr("title"))) != "x" {
		t.Errorf("%s, %s became %s, %s", was.SAM, was.Entry.DN, now.SAM, now.Entry.DN)
	}
	// Who asks for another name gets it.
	h.user("b", map[string]any{"mailNickname": "other", "displayName": "Other Name"})
	h.sync()
	if now = h.rep.ByUPN("b@contoso.test"); now.SAM != "other" || now.Entry.DN.RDNText() != "CN=Other Name" {
		t.Error(now.SAM, now.Entry.DN)
	}
}

// Whoever knows an object's id can take all the names that are made of it. The
// object gets another, and nobody else's feed stops.
func TestNamesAreNeverExhausted(t *testing.T) {
	h := newHouse(t)
	ada, _, err := h.tenant.CreateUser(h.ctx, tenant.NewUser{UPN: "ada@contoso.test", Password: "First-Passw0rd", Enabled: true,
		Profile: tenant.Profile{DisplayName: "Ada", MailNickname: "ada"}})
	if err != nil {
		t.Fatal(err)
	}
	id := hex.EncodeToString(ada.ID[:])
	for i, name := range []string{"ada", "ada-" + id[:6], "ada-" + id[:12]} {
		anchor := "squatter" + string(rune('0'+i))
		h.user(anchor, map[string]any{"mailNickname": name, "displayName": []string{"Ada", "Ada (" + id[:12] + ")", "x"}[i]})
	}
	h.sync()
	h.tick()
	if _, err := h.tenant.ChangePassword(h.ctx, ada.ID, "First-Passw0rd", "Second-Passw0rd"); err != nil {
		t.Fatal(err)
	}
	h.sync()
	o := h.rep.ByUPN("ada@contoso.test")
	if o == nil || !h.signs(o.SAM, "Second-Passw0rd") || len(o.SAM) > 20 {
		t.Fatal(o)
	}
	h.tick()
	if _, err := h.tenant.ChangePassword(h.ctx, ada.ID, "Second-Passw0rd", "Third-Passw0rd"); err != nil {
		t.Fatal(err)
	}
	h.sync()
	if now := h.rep.ByUPN("ada@contoso.test"); now.SAM != o.SAM || !now.Entry.DN.Equal(o.Entry.DN) {
		t.Error(o.SAM, "became", now.SAM)
	}
}

// Long and odd names give names all the same, within AD's bounds.
func TestOddNames(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("Gruppe ", 36) // 252 characters
	h.object(tenant.Group, "g1", map[string]any{"displayName": long})
	h.object(tenant.Group, "g2", map[string]any{"displayName": long})
	h.object(tenant.Group, "g3", map[string]any{"displayName": "???"})
	h.object(tenant.Group, "g4", map[string]any{"displayName": "Admins\u200b"}) // looks like another
	h.sync()
	f, _ := dit.ParseFilter("(&(objectClass=group)(msDS-AzureADObjectId=*))")
	n := 0
	if err := h.rep.Search(h.rep.Info.BaseDN(), dit.Sub, f, "", func(o *domain.Object) bool {
		n++
		_, rdn := o.Entry.DN.RDN()
		if len([]rune(rdn)) > 64 || rdn != strings.TrimSpace(rdn) || len(o.SAM) > 256 || strings.Contains(o.SAM, "\u200b") {
			t.Errorf("%q, %q", rdn, o.SAM)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if n != 5 { // and AAD DC Administrators
		t.Errorf("%d groups", n)
	}
}

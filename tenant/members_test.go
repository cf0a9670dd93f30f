package tenant_test

import (
	"slices"
	"strings"
	"testing"

	"skyrealm/tenant"
)

// A group that is sent again as it is changes nothing, whatever the order of its
// list; of a list that is said as changes, what comes and what goes is worked out.
func TestGroupMembers(t *testing.T) {
	w := newWorld(t)
	group := func(value any, more ...any) tenant.ObjectItem {
		a := map[string]any{"displayName": "Crew", "member": value}
		for i := 0; i < len(more); i += 2 {
			a[more[i].(string)] = more[i+1]
		}
		return tenant.ObjectItem{Kind: tenant.Group, Operation: tenant.Set, Anchor: "crew", Attributes: a}
	}
	var id tenant.ID
	head := func() (usn tenant.USN) {
		_, usn, err := w.Store.Refs(w.ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		return usn
	}
	list := func() string {
		t.Helper()
		m, err := w.Store.Members(w.ctx, []tenant.ID{id})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, one := range m[id] {
			out = append(out, one.Anchor)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	send := func(want string, item tenant.ObjectItem) {
		t.Helper()
		before := head()
		r := w.objects(item)
		if got := reasons(r); got != want {
			t.Errorf("%v: %s, want %s %+v", item.Attributes["member"], got, want, r)
		}
		if moved := head() != before; moved != (want == "stored") {
			t.Errorf("%v: %s, and the feed moves: %t", item.Attributes["member"], want, moved)
		}
		if id.IsZero() {
			id = r.Items[0].ID
		}
	}
	ada := w.objects(tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Set, Anchor: "ada", Attributes: map[string]any{"userPrincipalName": "ada@contoso.test"}}).Items[0].ID

	send("stored", group([]string{"ada", "bob", "eve"}))
	send("unchanged", group([]string{"ada", "bob", "eve"}))
	send("unchanged", group([]string{"eve", "ada", "bob", "ada"}))
	send("stored", group([]string{"ada", "bob", "eve"}, "description", "the same people"))
	send("stored", group([]string{"ada", "bob"}))
	send("stored", group(nil))
	send("unchanged", group([]string{}))
	send("stored", group([]string{"ada", "bob"}))

	by := func(anchors ...string) (out []tenant.Member) {
		for _, a := range anchors {
			out = append(out, tenant.Member{Anchor: a})
		}
		return out
	}
	send("stored", group(tenant.MemberChanges{Add: by("eve"), Remove: by("bob", "nobody")}))
	if got := list(); got != "ada eve" {
		t.Error(got)
	}
	send("unchanged", group(tenant.MemberChanges{Add: by("eve"), Remove: by("bob")}))
	send("unchanged", group(tenant.MemberChanges{}))
	send("stored", group(tenant.MemberChanges{Remove: []tenant.Member{{ID: ada}}})) // by the other anchor
	send("stored", group(tenant.MemberChanges{Add: []tenant.Member{{ID: ada}, {Anchor: "ada"}}}))
	if got := list(); got != "ada eve" {
		t.Error(got)
	}
	many := make([]tenant.Member, tenant.MaxGroupMembers)
	for i := range many {
		many[i].Anchor = "m" + strings.Repeat("x", i%40) + string(rune('a'+i%26)) + strings.Repeat("y", i/26%13)
	}
	send("tooManyMembers", group(tenant.MemberChanges{Add: many}))
	send("attributeInvalid", group(true))
	send("malformed", group(tenant.MemberChanges{Add: by("\x00")}))
}

package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"skyrealm/tenant"
)

// TestLists: users, groups and devices are listed page by page as the agent of
// Samba reads them (100 a page, nextLink as it stands), with the properties and
// comparisons that are asked for.
func TestLists(t *testing.T) {
	h := newHouse(t, nil)
	var items []tenant.ObjectItem
	set := func(kind tenant.Kind, anchor string, attributes ...any) {
		a := map[string]any{}
		for i := 0; i < len(attributes); i += 2 {
			a[attributes[i].(string)] = attributes[i+1]
		}
		items = append(items, tenant.ObjectItem{Kind: kind, Operation: tenant.Set, Anchor: anchor, Attributes: a})
	}
	for i := range 249 {
		set(tenant.User, fmt.Sprint("u", i), "userPrincipalName", fmt.Sprintf("u%d@contoso.test", i), "department", fmt.Sprint("D'", i%5), "accountEnabled", i%2 == 0)
	}
	set(tenant.User, "gone", "userPrincipalName", "gone@contoso.test")
	set(tenant.InetOrgPerson, "inet", "userPrincipalName", "inet@contoso.test")
	set(tenant.Group, "crew", "displayName", "Crew", "member", []string{"u1"}, "securityEnabled", true, "onPremisesSamAccountName", "crew")
	set(tenant.Device, "box", "displayName", "BOX1")
	set(tenant.Contact, "contact", "displayName", "Contact", "mail", "c@elsewhere.test")
	_, err := h.Tenant.SyncObjects(t.Context(), tenant.Origin{}, items)
	must(t, err)
	_, err = h.Tenant.SyncObjects(t.Context(), tenant.Origin{}, []tenant.ObjectItem{{Kind: tenant.User, Operation: tenant.Delete, Anchor: "gone"}})
	must(t, err)
	admin := h.admin(t)

	pages := 0
	all := func(target string) (out []map[string]any) {
		t.Helper()
		for pages = 0; target != ""; pages++ {
			r := h.do(t, "GET", target, admin, nil)
			if r.status != 200 {
				t.Fatalf("%s: %d %s", target, r.status, r.body)
			}
			body := r.json(t)
			for _, v := range body["value"].([]any) {
				out = append(out, v.(map[string]any))
			}
			next, _ := body["@odata.nextLink"].(string)
			u, err := url.Parse(next)
			must(t, err)
			if next != "" && (u.Scheme != "https" || u.Host == "") {
				t.Fatalf("nextLink %q is not absolute", next)
			}
			target = ""
			if next != "" {
				target = u.RequestURI()
			}
		}
		return out
	}
	names := func(list []map[string]any, property string) []string {
		var out []string
		for _, v := range list {
			out = append(out, fmt.Sprint(v[property]))
		}
		slices.Sort(out)
		return out
	}

	users := all("/v1.0/users?$top=100")
	if n := names(users, "userPrincipalName"); len(n) != 251 || len(slices.Compact(n)) != 251 || pages != 3 || slices.Contains(n, "gone@contoso.test") {
		t.Errorf("%d users on %d pages", len(n), pages)
	}
	if _, asked := users[0]["onPremisesImmutableId"]; asked || users[0]["id"] == nil {
		t.Errorf("not the default properties: %v", users[0])
	}
	// What tells an agent which of its own to delete.
	synced := 0
	for _, u := range all("/v1.0/users?$select=id,onPremisesImmutableId,onPremisesSyncEnabled") {
		if len(u) != 3 {
			t.Fatalf("selected: %v", u)
		}
		if u["onPremisesSyncEnabled"] == true && u["onPremisesImmutableId"] != nil {
			synced++
		}
	}
	if synced != 250 {
		t.Errorf("%d are synced", synced)
	}
	if g := names(all("/v1.0/groups?$top=100"), "displayName"); !slices.Equal(g, []string{tenant.DCAdministrators, "Crew"}) {
		t.Error(g)
	}
	if g := all("/beta/groups?$filter=" + url.QueryEscape("onPremisesSamAccountName eq 'CREW'")); len(g) != 1 || g[0]["securityEnabled"] != true || g[0]["onPremisesSyncEnabled"] != true {
		t.Error(g)
	}
	if d := names(all("/v1.0/devices"), "displayName"); !slices.Equal(d, []string{"BOX1"}) {
		t.Error(d)
	}
	for filter, want := range map[string]int{
		"userPrincipalName eq 'u7@contoso.test'":                             1,
		"userprincipalname EQ 'U7@contoso.test' and accountEnabled eq false": 1,
		"userPrincipalName eq 'u7@contoso.test' and accountEnabled eq true":  0,
		"department eq 'D''3'":          50,
		"onPremisesSyncEnabled eq true": 250,
		"onPremisesSyncEnabled eq null": 1,
		"proxyAddresses eq null":        0,
		"displayName eq ''":             0,
	} {
		if got := all("/v1.0/users?$top=7&$filter=" + url.QueryEscape(filter)); len(got) != want {
			t.Errorf("%s: %d, want %d", filter, len(got), want)
		}
	}

	for target, want := range map[string]string{
		"/v1.0/users?$top=0": "page size", "/v1.0/users?$top=1000": "page size", "/v1.0/users?$top=x": "page size",
		"/v1.0/users?$skiptoken=x": "page token", "/v1.0/users?$orderby=displayName": "$orderby", "/v1.0/groups?$expand=members": "$expand",
		"/v1.0/users?$select=nothing": "'nothing' on type 'microsoft.graph.user'", "/v1.0/groups?$select=userPrincipalName": "microsoft.graph.group",
		"/v1.0/users?$filter=" + url.QueryEscape("startswith(displayName,'x')"):                               "filter clause",
		"/v1.0/users?$filter=" + url.QueryEscape("displayName eq 'x"):                                         "filter clause",
		"/v1.0/users?$filter=" + url.QueryEscape("displayName eq 'x' or displayName eq 'y'"):                  "filter clause",
		"/v1.0/users?$filter=" + url.QueryEscape("displayName ne 'x'"):                                        "filter clause",
		"/v1.0/users?$filter=" + url.QueryEscape("password eq 'x'"):                                           "'password'",
		"/v1.0/users?$filter=" + url.QueryEscape(strings.Repeat("displayName eq 'x' and ", 30)+"mail eq 'x'"): "filter clause",
		"/v1.0/users?$filter=eq": "filter clause",
	} {
		if r := h.do(t, "GET", target, admin, nil); r.status != 400 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", target, r.status, r.body)
		}
	}
	// A member may read; the agent's own app has no role of Graph's.
	h.create(t, "eve", "Cloud-Passw0rd")
	if r := h.do(t, "GET", "/v1.0/groups", h.token(t, "eve@contoso.test", "Cloud-Passw0rd"), nil); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := h.do(t, "GET", "/v1.0/users", h.agent(t), nil); r.status != 403 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := h.do(t, "GET", "/v1.0/users", "", nil); r.status != 401 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

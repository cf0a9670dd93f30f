package graph

import (
	"strings"
	"testing"

	"skyrealm/tenant"
)

// FuzzFilter: whatever comes as a filter is read or refused, within its bounds, and
// what was read says the same of an object however often it is asked.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{"displayName eq 'x'", "displayName eq 'it''s' and accountEnabled eq true", "onPremisesSyncEnabled eq null", "proxyAddresses eq false",
		"", "eq", "displayName", "displayName eq", "displayName eq '", "displayName eq ''", "displayName eq 'x' and", "displayName eq 'x' or mail eq 'y'",
		"displayName  eq  'x'  and  mail  eq  'y'", strings.Repeat("mail eq 'x' and ", 25) + "mail eq 'x'", "id eq '\x00'"} {
		f.Add(seed)
	}
	yes := true
	o := &tenant.Object{Kind: tenant.User, UPN: "ada@contoso.test", Enabled: true, Profile: tenant.Profile{DisplayName: "Ada", SyncEnabled: &yes, ProxyAddresses: []string{"SMTP:a@b"}}}
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range []*collection{&users, &groups, &devices} {
			conditions, err := c.parse(text)
			if err != nil {
				continue
			}
			if n := len(conditions); n == 0 || n > maxConditions {
				t.Fatalf("%q: %d conditions", text, n)
			}
			q := &listing{filter: conditions}
			if first := q.matches(o); q.matches(o) != first {
				t.Fatalf("%q", text)
			}
		}
	})
}

package graph

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// A property of a user is what Graph calls it and what it is worth. nil is null.
type property struct {
	name string
	of   func(*tenant.Object) any
}

func text(field func(*tenant.Object) string) func(*tenant.Object) any {
	return func(o *tenant.Object) any {
		if s := field(o); s != "" {
			return s
		}
		return nil
	}
}

func list(field func(*tenant.Object) []string) func(*tenant.Object) any {
	return func(o *tenant.Object) any {
		if l := field(o); l != nil {
			return l
		}
		return []string{} // Graph has no null lists
	}
}

// synced gives a property that only an on-premises directory has.
func synced(field func(*tenant.Object) string) func(*tenant.Object) any {
	return func(o *tenant.Object) any {
		if s := field(o); o.Synced() && s != "" {
			return s
		}
		return nil
	}
}

func date(at time.Time) any {
	if at.IsZero() {
		return nil
	}
	return at.UTC().Format(time.RFC3339)
}

// defaults is how many of properties an answer has without $select.
const defaults = 11

// properties are those that are served, the default projection first.
var properties = []property{
	{"businessPhones", list(func(o *tenant.Object) []string { return o.Profile.BusinessPhones })},
	{"displayName", text(func(o *tenant.Object) string { return o.Profile.DisplayName })},
	{"givenName", text(func(o *tenant.Object) string { return o.Profile.GivenName })},
	{"jobTitle", text(func(o *tenant.Object) string { return o.Profile.JobTitle })},
	{"mail", text(func(o *tenant.Object) string { return o.Profile.Mail })},
	{"mobilePhone", text(func(o *tenant.Object) string { return o.Profile.MobilePhone })},
	{"officeLocation", text(func(o *tenant.Object) string { return o.Profile.OfficeLocation })},
	{"preferredLanguage", text(func(o *tenant.Object) string { return o.Profile.PreferredLanguage })},
	{"surname", text(func(o *tenant.Object) string { return o.Profile.Surname })},
	{"userPrincipalName", text(func(o *tenant.Object) string { return o.UPN })},
	{"id", text(func(o *tenant.Object) string { return o.ID.String() })},

	{"accountEnabled", func(o *tenant.Object) any { return o.Enabled }},
	{"city", text(func(o *tenant.Object) string { return o.Profile.City })},
	{"companyName", text(func(o *tenant.Object) string { return o.Profile.CompanyName })},
	{"country", text(func(o *tenant.Object) string { return o.Profile.Country })},
	{"createdDateTime", func(o *tenant.Object) any { return date(o.Created) }},
	{"deletedDateTime", func(o *tenant.Object) any { return date(o.Deleted) }},
	{"department", text(func(o *tenant.Object) string { return o.Profile.Department })},
	{"employeeId", text(func(o *tenant.Object) string { return o.Profile.EmployeeID })},
	{"employeeType", text(func(o *tenant.Object) string { return o.Profile.EmployeeType })},
	{"faxNumber", text(func(o *tenant.Object) string { return o.Profile.FaxNumber })},
	{"mailNickname", text(func(o *tenant.Object) string { return o.Profile.MailNickname })},
	{"onPremisesDistinguishedName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesDistinguishedName })},
	{"onPremisesDomainName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesDomainName })},
	{"onPremisesImmutableId", synced(func(o *tenant.Object) string { return o.Anchor })},
	{"onPremisesSamAccountName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesSAMAccountName })},
	{"onPremisesSecurityIdentifier", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesSecurityIdentifier })},
	{"onPremisesSyncEnabled", func(o *tenant.Object) any {
		if o.Synced() {
			return true
		}
		return nil // never synced; false would be: once
	}},
	{"onPremisesUserPrincipalName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesUserPrincipalName })},
	{"passwordPolicies", text(func(o *tenant.Object) string { return o.Profile.PasswordPolicies })},
	{"passwordProfile", func(*tenant.Object) any { return nil }}, // can only be written
	{"postalCode", text(func(o *tenant.Object) string { return o.Profile.PostalCode })},
	{"proxyAddresses", list(func(o *tenant.Object) []string { return o.Profile.ProxyAddresses })},
	{"state", text(func(o *tenant.Object) string { return o.Profile.State })},
	{"streetAddress", text(func(o *tenant.Object) string { return o.Profile.StreetAddress })},
	{"usageLocation", text(func(o *tenant.Object) string { return o.Profile.UsageLocation })},
	{"userType", func(o *tenant.Object) any {
		if o.Profile.UserType == "" {
			return "Member"
		}
		return o.Profile.UserType
	}},
}

// selected reads $select. Both spellings come: "$select" and "%24select".
func selected(r *http.Request) ([]property, error) {
	names := r.URL.Query().Get("$select")
	if names == "" {
		return properties[:defaults], nil
	}
	var out []property
	for _, name := range strings.Split(names, ",") {
		name = strings.TrimSpace(name)
		at := slices.IndexFunc(properties, func(p property) bool { return strings.EqualFold(p.name, name) })
		if at < 0 {
			if len(name) > 100 {
				name = name[:100]
			}
			return nil, problem.BadRequest("Could not find a property named '" + name + "' on type 'microsoft.graph.user'.")
		}
		out = append(out, properties[at])
	}
	return out, nil
}

// write answers a user.
func write(w http.ResponseWriter, r *http.Request, status int, user *tenant.Object, show []property) {
	body := make(map[string]any, len(show)+1)
	for _, p := range show {
		body[p.name] = p.of(user)
	}
	body["@odata.context"] = root(r) + "/$metadata#users/$entity"
	h := w.Header()
	h.Set("OData-Version", "4.0")
	h.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	h.Set("Cache-Control", "no-store")
	problem.JSON(w, status, body)
}

// root is the address of this version of the API, under the name that the
// client uses: clients follow what they find in answers.
func root(r *http.Request) string {
	version := "v1.0"
	if len(r.URL.Path) >= 6 && strings.EqualFold(strings.TrimLeft(r.URL.Path, "/")[:4], "beta") {
		version = "beta"
	}
	return "https://" + r.Host + "/" + version
}

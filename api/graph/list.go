package graph

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// Sizes of a page (tenant-api §3), and how many objects are looked at for one: who
// filters for little gets a short page and a place to go on.
const (
	defaultTop = 100
	maxTop     = 999
	maxLooked  = 10_000
	lookSize   = 1000
)

// The app roles of Graph's permissions reference that may list.
var (
	readGroups  = []string{"Group.Read.All", "Group.ReadWrite.All", "GroupMember.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
	readDevices = []string{"Device.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"}
)

// collection is one of Graph's entity sets.
type collection struct {
	name       string // users
	entity     string // user
	kinds      []tenant.Kind
	properties []property
	defaults   int // how many of properties an answer has without $select
	roles      []string
}

var (
	users = collection{"users", "user", []tenant.Kind{tenant.User, tenant.InetOrgPerson}, properties, defaults, readUsers}

	groups = collection{"groups", "group", []tenant.Kind{tenant.Group}, groupProperties, len(groupProperties), readGroups}

	devices = collection{"devices", "device", []tenant.Kind{tenant.Device}, deviceProperties, len(deviceProperties), readDevices}
)

var syncEnabled = property{"onPremisesSyncEnabled", func(o *tenant.Object) any {
	if o.Synced() {
		return true
	}
	return nil
}}

var groupProperties = []property{
	{"id", text(func(o *tenant.Object) string { return o.ID.String() })},
	{"createdDateTime", func(o *tenant.Object) any { return date(o.Created) }},
	{"deletedDateTime", func(o *tenant.Object) any { return date(o.Deleted) }},
	{"description", text(func(o *tenant.Object) string { return o.Profile.Description })},
	{"displayName", text(func(o *tenant.Object) string { return o.Profile.DisplayName })},
	{"groupTypes", func(*tenant.Object) any { return []string{} }}, // there are no Microsoft 365 groups here
	{"mail", text(func(o *tenant.Object) string { return o.Profile.Mail })},
	{"mailEnabled", func(o *tenant.Object) any { return o.Profile.MailEnabled }},
	{"mailNickname", text(func(o *tenant.Object) string { return o.Profile.MailNickname })},
	{"onPremisesDomainName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesDomainName })},
	{"onPremisesLastSyncDateTime", func(o *tenant.Object) any { return date(o.Profile.LastSync) }},
	{"onPremisesNetBiosName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesNetBIOSName })},
	{"onPremisesSamAccountName", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesSAMAccountName })},
	{"onPremisesSecurityIdentifier", synced(func(o *tenant.Object) string { return o.Profile.OnPremisesSecurityIdentifier })},
	syncEnabled,
	{"proxyAddresses", list(func(o *tenant.Object) []string { return o.Profile.ProxyAddresses })},
	{"securityEnabled", func(o *tenant.Object) any { return o.Profile.SecurityEnabled }},
}

var deviceProperties = []property{
	{"id", text(func(o *tenant.Object) string { return o.ID.String() })},
	{"accountEnabled", func(o *tenant.Object) any { return o.Enabled }},
	{"createdDateTime", func(o *tenant.Object) any { return date(o.Created) }},
	{"deletedDateTime", func(o *tenant.Object) any { return date(o.Deleted) }},
	{"deviceId", text(func(o *tenant.Object) string { return o.Profile.DeviceID })},
	{"displayName", text(func(o *tenant.Object) string { return o.Profile.DisplayName })},
	{"onPremisesLastSyncDateTime", func(o *tenant.Object) any { return date(o.Profile.LastSync) }},
	syncEnabled,
	{"operatingSystem", text(func(o *tenant.Object) string { return o.Profile.OS })},
	{"operatingSystemVersion", text(func(o *tenant.Object) string { return o.Profile.OSVersion })},
	{"trustType", text(func(o *tenant.Object) string { return o.Profile.TrustType })},
}

// Users is GET /users, Groups is GET /groups, Devices is GET /devices: agents of the
// real service find by them what is there and has to be deleted.
func (h *Handler) Users(w http.ResponseWriter, r *http.Request)   { h.list(w, r, &users) }
func (h *Handler) Groups(w http.ResponseWriter, r *http.Request)  { h.list(w, r, &groups) }
func (h *Handler) Devices(w http.ResponseWriter, r *http.Request) { h.list(w, r, &devices) }

// listing is a query of a collection.
type listing struct {
	show   []property
	filter []condition
	top    int
	after  tenant.ID
}

func (h *Handler) list(w http.ResponseWriter, r *http.Request, c *collection) {
	if caller := problem.CallerOf(r.Context()); caller.IsApp && !caller.HasRole(c.roles...) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	q, err := c.query(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	values := make([]map[string]any, 0, q.top)
	looked, more := 0, true
	for more && len(values) < q.top && looked < maxLooked {
		size := q.top - len(values)
		if q.filter != nil {
			size = lookSize
		}
		page, err := h.Tenant.Store.List(r.Context(), c.kinds, q.after, size)
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		more = len(page) == size
		for i := range page {
			q.after = page[i].ID
			looked++
			if !q.matches(&page[i]) {
				continue
			}
			one := make(map[string]any, len(q.show))
			for _, p := range q.show {
				one[p.name] = p.of(&page[i])
			}
			if values = append(values, one); len(values) == q.top {
				more = more || i < len(page)-1
				break
			}
		}
	}
	body := map[string]any{"@odata.context": root(r) + "/$metadata#" + c.name + q.projection(r), "value": values}
	if more {
		body["@odata.nextLink"] = q.next(r, c)
	}
	head := w.Header()
	head.Set("OData-Version", "4.0")
	head.Set("Content-Type", "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8")
	head.Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, body)
}

// projection is how the context names what $select left.
func (q *listing) projection(r *http.Request) string {
	if r.URL.Query().Get("$select") == "" {
		return ""
	}
	names := make([]string, len(q.show))
	for i, p := range q.show {
		names[i] = p.name
	}
	return "(" + strings.Join(names, ",") + ")"
}

// next is where the next page is: absolute, on the host that the client used, which
// follows it as it stands.
func (q *listing) next(r *http.Request, c *collection) string {
	v := r.URL.Query()
	out := url.Values{"$skiptoken": {base64.RawURLEncoding.EncodeToString(q.after[:])}}
	for _, name := range []string{"$select", "$filter", "$top", "$count"} {
		if s := v.Get(name); s != "" {
			out.Set(name, s)
		}
	}
	return root(r) + "/" + c.name + "?" + out.Encode()
}

// query reads the options. One that would be left out would be a wrong answer, so it
// is refused.
func (c *collection) query(r *http.Request) (*listing, error) {
	q := &listing{show: c.properties[:c.defaults], top: defaultTop}
	for name, values := range r.URL.Query() {
		value := values[0]
		var err error
		switch name {
		case "$select":
			q.show, err = c.selected(value)
		case "$top":
			if q.top, err = strconv.Atoi(value); err != nil || q.top < 1 || q.top > maxTop {
				return nil, problem.BadRequest("Invalid page size specified: '" + short(value) + "'. Must be between 1 and 999 inclusive.")
			}
		case "$skiptoken":
			raw, e := base64.RawURLEncoding.DecodeString(value)
			if e != nil || len(raw) != len(q.after) {
				return nil, &problem.Error{Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery", Message: "Unable to execute query; invalid page token specified."}
			}
			copy(q.after[:], raw)
		case "$filter":
			q.filter, err = c.parse(value)
		case "$count": // counts with ConsistencyLevel only, which nothing here needs
		default:
			if strings.HasPrefix(name, "$") {
				return nil, &problem.Error{Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery", Message: "The query option '" + short(name) + "' is not supported here."}
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return q, nil
}

func (c *collection) find(name string) (property, error) {
	at := slices.IndexFunc(c.properties, func(p property) bool { return strings.EqualFold(p.name, name) })
	if at < 0 {
		return property{}, problem.BadRequest("Could not find a property named '" + short(name) + "' on type 'microsoft.graph." + c.entity + "'.")
	}
	return c.properties[at], nil
}

func (c *collection) selected(names string) ([]property, error) {
	var out []property
	for name := range strings.SplitSeq(names, ",") {
		p, err := c.find(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func short(s string) string { return s[:min(len(s), 100)] }

// condition is one comparison of a filter; all of them have to hold.
type condition struct {
	of   func(*tenant.Object) any
	text string // compared without regard to case, as the directory does
	is   any    // true, false or nil, where the value is no text
}

const maxConditions = 20

// parse reads the subset of $filter that is served: comparisons with eq, joined by
// and. The rest of the language is refused by name.
func (c *collection) parse(text string) ([]condition, error) {
	unsupported := &problem.Error{Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery",
		Message: "Unsupported or invalid query filter clause: only 'property eq value', joined by 'and', is supported here."}
	var out []condition
	for rest := strings.TrimSpace(text); ; {
		name, after, ok := strings.Cut(rest, " ")
		operator, value, ok2 := strings.Cut(strings.TrimLeft(after, " "), " ")
		if !ok || !ok2 || !strings.EqualFold(operator, "eq") || len(out) == maxConditions {
			return nil, unsupported
		}
		p, err := c.find(name)
		if err != nil {
			return nil, err
		}
		one := condition{of: p.of}
		value = strings.TrimLeft(value, " ")
		if strings.HasPrefix(value, "'") {
			if one.text, rest, ok = quoted(value); !ok {
				return nil, unsupported
			}
		} else {
			var word string
			word, rest, _ = strings.Cut(value, " ")
			switch strings.ToLower(word) {
			case "true":
				one.is = true
			case "false":
				one.is = false
			case "null":
			default:
				return nil, unsupported
			}
			one.text = noText
		}
		out = append(out, one)
		if rest = strings.TrimSpace(rest); rest == "" {
			return out, nil
		}
		and, next, ok := strings.Cut(rest, " ")
		if !ok || !strings.EqualFold(and, "and") {
			return nil, unsupported
		}
		rest = strings.TrimSpace(next)
	}
}

// noText marks a condition that compares with no text; no property can be it.
const noText = "\x00"

// quoted reads a text in apostrophes, in which two are one.
func quoted(s string) (text, rest string, ok bool) {
	var out strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			out.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			out.WriteByte('\'')
			i++
			continue
		}
		return out.String(), s[i+1:], true
	}
	return "", "", false
}

func (q *listing) matches(o *tenant.Object) bool {
	for _, c := range q.filter {
		v := c.of(o)
		s, isText := v.(string)
		switch {
		case c.text == noText && !same(v, c.is):
			return false
		case c.text != noText && (!isText || !strings.EqualFold(s, c.text)):
			return false
		}
	}
	return true
}

// same compares with true, false and null; a list is none of them.
func same(v, is any) bool {
	if _, list := v.([]string); list {
		return false
	}
	return v == is
}

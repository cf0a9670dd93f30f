package ldapsrv

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

func ask(base string, scope int, filter string, attrs ...string) *ldap.SearchRequest {
	return ldap.NewSearchRequest(base, scope, 0, 0, 0, false, filter, attrs, nil)
}

// names are the sAMAccountNames, or else the DNs, in order.
func names(r *ldap.SearchResult) string {
	var out []string
	for _, e := range r.Entries {
		name := e.GetAttributeValue("sAMAccountName")
		if name == "" {
			name, _, _ = strings.Cut(e.DN, ",")
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestRootDSE(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.dial() // anonymous
	r, err := c.Search(ask("", 0, "(objectClass=*)"))
	if err != nil || len(r.Entries) != 1 || r.Entries[0].DN != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	config := "CN=Configuration," + base
	for name, want := range map[string]string{
		"namingContexts": base, "defaultNamingContext": base, "rootDomainNamingContext": base,
		"configurationNamingContext": config, "schemaNamingContext": "CN=Schema," + config,
		"supportedLDAPVersion": "3", "supportedSASLMechanisms": "",
		"supportedControl":   "1.2.840.113556.1.4.319 1.2.840.113556.1.4.1339",
		"supportedExtension": "1.3.6.1.4.1.4203.1.11.3 1.3.6.1.4.1.1466.20037",
		"dnsHostName":        "dc1.aadds.contoso.test", "ldapServiceName": "aadds.contoso.test:dc1$@AADDS.CONTOSO.TEST",
		"serverName":    "CN=DC1,CN=Servers,CN=Default-First-Site-Name,CN=Sites," + config,
		"dsServiceName": "CN=NTDS Settings,CN=DC1,CN=Servers,CN=Default-First-Site-Name,CN=Sites," + config,
		"currentTime":   "20260304050607.0Z", "domainFunctionality": "7", "forestFunctionality": "7",
		"domainControllerFunctionality": "7", "isSynchronized": "TRUE", "isGlobalCatalogReady": "FALSE", "vendorName": "Skyrealm",
	} {
		if got := strings.Join(r.Entries[0].GetEqualFoldAttributeValues(name), " "); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	usn, _ := g.Replica.USN()
	if got := r.Entries[0].GetAttributeValue("highestCommittedUSN"); got != fmt.Sprint(usn) {
		t.Errorf("highestCommittedUSN %s, want %d", got, usn)
	}
	if !slices.Contains(r.Entries[0].GetAttributeValues("supportedCapabilities"), "1.2.840.113556.1.4.800") {
		t.Error("does not say that it is an Active Directory")
	}
	for filter, want := range map[string]int{"(supportedLDAPVersion=3)": 1, "(supportedLDAPVersion=2)": 0, "(cn=*)": 0, "(defaultNamingContext=" + base + ")": 1} {
		if r, err := c.Search(ask("", 0, filter)); err != nil || len(r.Entries) != want {
			t.Errorf("%s finds %v, %v", filter, r, err)
		}
	}
	r, err = c.Search(ask("", 0, "(objectClass=*)", "subschemaSubentry", "currentTime"))
	if err != nil || len(r.Entries[0].Attributes) != 2 {
		t.Errorf("two attributes: %+v, %v", r, err)
	}
}

// L11: without a bind there is nothing below the rootDSE, by any operation.
func TestAnonymousSeesNothing(t *testing.T) {
	g := start(t, people(t).replica())
	for _, base := range []string{"", base, adaDN, "CN=nobody," + base, "DC=other,DC=test", "not a name", "<GUID=00>"} {
		for scope := range int64(3) {
			if base == "" && scope == 0 {
				continue
			}
			a := g.wire().send(request(5, searchOp(base, scope, nil))).read()
			if a.op != ldapmsg.OpSearchDone || a.code != int64(ldapmsg.OperationsError) || a.text != textNeedBind {
				t.Errorf("base %q scope %d: %+v", base, scope, a)
			}
		}
	}
	c := g.dial()
	_, err := c.Compare(adaDN, "cn", "Ada Lovelace")
	if code(err) != 1 {
		t.Errorf("compare: %v", err)
	}
	mod := ldap.NewModifyRequest(adaDN, nil)
	mod.Replace("description", []string{"x"})
	add := ldap.NewAddRequest("OU=new,"+base, nil)
	add.Attribute("objectClass", []string{"organizationalUnit"})
	for what, err := range map[string]error{
		"modify": c.Modify(mod), "add": c.Add(add), "delete": c.Del(ldap.NewDelRequest(adaDN, nil)),
		"rename": c.ModifyDN(ldap.NewModifyDNRequest(adaDN, "CN=x", true, "")),
	} {
		if code(err) != 1 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSearchFilters(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound(adaDN, adaPW)
	for _, q := range []struct {
		base   string
		scope  int
		filter string
		want   string
	}{
		{usersOU, 1, "(objectClass=user)", "ada bjorn change grace none off"},
		{usersOU, 1, "(&(objectCategory=person)(objectClass=user)(!(userAccountControl:1.2.840.113556.1.4.803:=2)))", "ada bjorn change grace none"},
		{base, 2, "(sAMAccountName=ADA)", "ada"},
		{base, 2, "(|(sAMAccountName=ada)(cn=bjørn*))", "ada bjorn"},
		{base, 2, "(cn=BJØRN ærø)", "bjorn"},
		{base, 2, "(cn=*love*)", "ada"},
		{base, 2, "(mail=ada@contoso.test)", "ada"},
		{base, 2, "(memberOf=CN=Engineers," + usersOU + ")", "ada bjorn"},
		{base, 2, "(memberOf:1.2.840.113556.1.4.1941:=CN=Engineers," + usersOU + ")", "ada bjorn"},
		{base, 2, "(member=" + adaDN + ")", "Engineers"},
		{base, 2, "(&(objectClass=group)(cn=Domain*))", "Domain Admins Domain Computers Domain Controllers Domain Users"},
		{base, 1, "(objectClass=organizationalUnit)", "OU=AADDC Computers OU=AADDC Users OU=Domain Controllers"},
		{base, 0, "(objectClass=domainDNS)", "DC=aadds"},
		{base, 0, "(cn=*)", ""},
		{base, 2, "(servicePrincipalName=ldap/dc1.aadds.contoso.test)", "DC1$"},
		{base, 2, "(noSuchAttribute=x)", ""},
		{base, 2, "(!(noSuchAttribute=x))", ""},
		{adaDN, 2, "(objectClass=*)", "ada"},
		{adaDN, 1, "(objectClass=*)", ""},
		{strings.ToLower(adaDN), 0, "(objectClass=*)", "ada"},
		{"<WKGUID=aa312825768811d1aded00c04fd8d5cd," + base + ">", 0, "(objectClass=*)", "OU=AADDC Computers"},
		{"<SID=S-1-5-21-1-2-3-513>", 0, "(objectClass=*)", "Domain Users"},
		{"<GUID=03000140-0000-0000-0000-000000000100>", 0, "(objectClass=*)", "ada"},
		{"<GUID=40010003000000000000000000000100>", 0, "(objectClass=*)", "ada"},
	} {
		r, err := c.Search(ask(q.base, q.scope, q.filter, "sAMAccountName"))
		if err != nil {
			t.Errorf("%s %s: %v", q.base, q.filter, err)
		} else if got := names(r); got != q.want {
			t.Errorf("%s %d %s finds %q, want %q", q.base, q.scope, q.filter, got, q.want)
		}
	}
}

func TestSelection(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound(adaDN, adaPW)
	entry := func(typesOnly bool, attrs ...string) *ldap.Entry {
		t.Helper()
		q := ask(adaDN, 0, "(objectClass=*)", attrs...)
		q.TypesOnly = typesOnly
		r, err := c.Search(q)
		if err != nil || len(r.Entries) != 1 {
			t.Fatalf("%v: %v, %v", attrs, r, err)
		}
		return r.Entries[0]
	}
	list := func(e *ldap.Entry) string {
		var out []string
		for _, a := range e.Attributes {
			out = append(out, a.Name)
		}
		slices.Sort(out)
		return strings.Join(out, " ")
	}
	all := list(entry(false))
	if all != list(entry(false, "*")) || !strings.Contains(all, "memberOf") || !strings.Contains(all, "displayName") {
		t.Errorf("all is %s", all)
	}
	for _, never := range []string{"tokenGroups", "unicodePwd", "supplementalCredentials", "msDS-KeyVersionNumber"} {
		if strings.Contains(all, never) {
			t.Errorf("%s comes without being asked for", never)
		}
	}
	for _, q := range []struct {
		want  string
		attrs []string
	}{
		{"", []string{"1.1"}},
		{"cn", []string{"1.1", "CN"}},
		{"cn sn", []string{"cn", "commonName", "sn", "no-such", "cn"}},
		{"tokenGroups", []string{"tokengroups"}},
		{"memberOf", []string{"1.2.840.113556.1.2.102"}},
		{"", []string{"unicodePwd", "userPassword", "supplementalCredentials", "dBCSPwd", "ntPwdHistory", "msDS-ManagedPassword"}},
		{"", []string{"+"}},
	} {
		if got := list(entry(false, q.attrs...)); got != strings.ReplaceAll(q.want, " sn", "") {
			t.Errorf("%v gives %q, want %q", q.attrs, got, q.want)
		}
	}
	for _, one := range []string{"cn", "ou", "cn", "dc", "sAMAccountName", "samaccountname", "sAMAccountType"} {
		// The last list is kept; one that only looks like it is another.
		want := map[string]string{"ou": "", "dc": "", "samaccountname": "sAMAccountName"}
		w, ok := want[one]
		if !ok {
			w = one
		}
		if got := list(entry(false, one)); got != w {
			t.Errorf("%s gives %q", one, got)
		}
	}
	if e := entry(true, "cn", "memberOf"); list(e) != "cn memberOf" || len(e.GetAttributeValues("cn")) != 0 {
		t.Errorf("types only: %+v", e.Attributes)
	}
	if e := entry(false, "*", "tokenGroups"); list(e) == all || len(e.GetRawAttributeValues("tokenGroups")) != 2 {
		t.Errorf("with tokenGroups: %s", list(e))
	}
}

// L09: no question about a secret has another answer than for its absence.
func TestSecretsAreAbsent(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound("grace@contoso.test", adminPW)
	for _, attr := range []string{"unicodePwd", "supplementalCredentials", "userPassword", "ntPwdHistory"} {
		for _, filter := range []string{"(%s=*)", "(%s>=\\00)", "(%s<=\\ff)", "(%s=a*)", "(%s:1.2.840.113556.1.4.803:=1)"} {
			if r, err := c.Search(ask(base, 2, fmt.Sprintf(filter, attr))); err != nil || len(r.Entries) != 0 {
				t.Errorf(filter+" finds %v, %v", attr, r, err)
			}
		}
		if _, err := c.Compare(adaDN, attr, adaPW); code(err) != 16 {
			t.Errorf("compare %s: %v", attr, err)
		}
	}
}

func TestCompare(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound(adaDN, adaPW)
	for _, q := range []struct {
		dn, attr, value string
		yes             bool
		code            int
	}{
		{adaDN, "cn", "ADA lovelace", true, 0},
		{adaDN, "cn", "Ada", false, 0},
		{adaDN, "memberOf", "cn=engineers," + usersOU, true, 0},
		{adaDN, "memberOf", "cn=others," + usersOU, false, 0},
		{adaDN, "objectClass", "person", true, 0},
		{adaDN, "msDS-PrincipalName", `aadds\ada`, true, 0},
		{adaDN, "department", "x", false, 16},
		{adaDN, "noSuchAttribute", "x", false, 16},
		{"CN=nobody," + usersOU, "cn", "x", false, 32},
		{"DC=other,DC=test", "cn", "x", false, 10},
		{"no name", "cn", "x", false, 34},
	} {
		yes, err := c.Compare(q.dn, q.attr, q.value)
		if yes != q.yes || code(err) != q.code {
			t.Errorf("%s %s=%s: %v, %v, want %v, %d", q.dn, q.attr, q.value, yes, err, q.yes, q.code)
		}
	}
}

func TestAbsentBase(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound(adaDN, adaPW)
	for _, q := range []struct {
		base string
		code int
		want string // in the text or the matched name
	}{
		{"CN=nobody," + usersOU, 32, usersOU},
		{"CN=a,CN=b,CN=c," + base, 32, base},
		{"CN=Configuration," + base, 32, base},
		{"O=elsewhere", 32, ""},
		{"", 32, ""},
		{"<GUID=ffffffffffffffffffffffffffffffff>", 32, ""},
		{"<SID=S-1-5-21-9-9-9-513>", 32, ""},
		{"<SID=S-1-5-32-544>", 32, ""},
		{"CN=x,DC=contoso,DC=test", 10, "ldap://contoso.test/CN=x,DC=contoso,DC=test"},
		{"DC=fabrikam,DC=test", 10, "ldap://fabrikam.test/DC=fabrikam,DC=test"},
		{"CN=ä?b,DC=fabrikam", 10, "ldap://fabrikam/CN=%C3%A4%3Fb,DC=fabrikam"},
		{"DC=a/b,DC=test", 32, ""}, // no host
		{"no name", 34, "BAD_NAME"},
		{"CN=x,,DC=test", 34, "BAD_NAME"},
		{"<GUID=1>", 34, "BAD_NAME"},
		{"CN=" + strings.Repeat("x", 9000), 34, "BAD_NAME"},
	} {
		_, err := c.Search(ask(q.base, 2, "(objectClass=*)"))
		var e *ldap.Error
		if code(err) != q.code || !errors.As(err, &e) {
			t.Errorf("%.60q: %v, want %d", q.base, err, q.code)
			continue
		}
		if q.code == 32 && e.MatchedDN != q.want || !strings.Contains(err.Error()+e.MatchedDN+referral(e), q.want) {
			t.Errorf("%.60q: %v, matched %q, want %q", q.base, err, e.MatchedDN, q.want)
		}
	}
}

func referral(e *ldap.Error) (urls string) {
	if e.Packet == nil || len(e.Packet.Children) < 2 {
		return ""
	}
	for _, c := range e.Packet.Children[1].Children {
		for _, u := range c.Children {
			urls += u.Data.String()
		}
	}
	return urls
}

func TestSizeLimits(t *testing.T) {
	g := start(t, crowd(t).replica())
	c := g.bound(adaDN, adaPW)
	for _, q := range []struct{ limit, entries, code int }{
		{0, 1000, 4}, // AD's MaxPageSize
		{1, 1, 4}, {999, 999, 4}, {1000, 1000, 4}, {5000, 1000, 4},
	} {
		r := ask(base, 2, "(objectClass=user)", "1.1")
		r.SizeLimit = q.limit
		got, err := c.Search(r)
		if code(err) != q.code || len(got.Entries) != q.entries {
			t.Errorf("limit %d: %d entries, %v", q.limit, len(got.Entries), err)
		}
	}
	r := ask(base, 2, "(sAMAccountName=ada)")
	r.SizeLimit = 1
	if got, err := c.Search(r); err != nil || len(got.Entries) != 1 {
		t.Errorf("exactly the limit: %v, %v", got, err)
	}
}

func TestPaging(t *testing.T) {
	g := start(t, crowd(t).replica())
	c := g.bound(adaDN, adaPW)
	for _, size := range []uint32{1, 7, 500, 999, 1000, 5000} {
		filter, want := "(objectClass=user)", howMany+7+1 // with krbtgt and the controller, a computer being a user
		if size == 1 {
			filter, want = "(|(sAMAccountName=many000*)(cn=ada*))", 11
		}
		r, err := c.SearchWithPaging(ask(base, 2, filter, "1.1"), size)
		if err != nil {
			t.Errorf("pages of %d: %v", size, err)
			continue
		}
		seen := map[string]bool{}
		for _, e := range r.Entries {
			if seen[e.DN] {
				t.Errorf("pages of %d: %s comes twice", size, e.DN)
			}
			seen[e.DN] = true
		}
		if len(seen) != want {
			t.Errorf("pages of %d: %d entries, want %d", size, len(seen), want)
		}
	}
}

// Values that an index finds come in the order of the tree too, whatever the
// order was in which they were learnt.
func TestPagingOverIndex(t *testing.T) {
	w := people(t)
	for i, name := range []string{"Zoe", "Yan", "Mia", "Bob"} {
		r := w.user(50+i, name, name, "")
		r.Attrs["mail"] = [][]byte{[]byte("shared@contoso.test")}
		w.put(r)
	}
	g := start(t, w.replica())
	r, err := g.bound(adaDN, adaPW).SearchWithPaging(ask(base, 2, "(mail=shared@contoso.test)", "sAMAccountName"), 1)
	if err != nil || names(r) != "Bob Mia Yan Zoe" {
		t.Errorf("%v, %v", names(r), err)
	}
}

// page asks for one page and returns its entries and cookie.
func pageOf(c *ldap.Conn, q *ldap.SearchRequest, size uint32, cookie []byte) (int, []byte, error) {
	p := ldap.NewControlPaging(size)
	p.SetCookie(cookie)
	q.Controls = []ldap.Control{p}
	r, err := c.Search(q)
	n := 0
	var next []byte
	if r != nil {
		n = len(r.Entries)
		if p, ok := ldap.FindControl(r.Controls, ldap.ControlTypePaging).(*ldap.ControlPaging); ok {
			next = p.Cookie
		}
	}
	return n, next, err
}

// L16: a cookie is worth something to the search and the connection it was
// given to, once.
func TestForeignCookies(t *testing.T) {
	g := start(t, crowd(t).replica(), func(s *Server) { s.Limits.Pages = 3 })
	c := g.bound(adaDN, adaPW)
	q := func() *ldap.SearchRequest { return ask(base, 2, "(objectClass=user)", "1.1") }
	first := func() []byte {
		t.Helper()
		n, cookie, err := pageOf(c, q(), 5, nil)
		if n != 5 || len(cookie) == 0 || err != nil {
			t.Fatal(n, cookie, err)
		}
		return cookie
	}
	refused := func(what string, c *ldap.Conn, q *ldap.SearchRequest, cookie []byte) {
		t.Helper()
		if n, _, err := pageOf(c, q, 5, cookie); n != 0 || code(err) != 53 {
			t.Errorf("%s: %d entries, %v", what, n, err)
		}
	}
	cookie := first()
	refused("another connection", g.bound(adaDN, adaPW), q(), cookie)
	refused("another filter", c, ask(base, 2, "(objectClass=group)"), cookie)
	refused("a used one", c, q(), cookie)
	refused("another base", c, ask(usersOU, 2, "(objectClass=user)"), first())
	refused("another scope", c, ask(base, 1, "(objectClass=user)"), first())
	refused("made up", c, q(), []byte("cookie"))
	refused("long", c, q(), make([]byte, 1000))
	for _, who := range []struct{ name, password string }{{"bjorn@contoso.test", bornPW}, {adaDN, adaPW}, {adaDN, adaPW}} {
		cookie = first()
		if err := c.Bind(who.name, who.password); err != nil {
			t.Fatal(err)
		}
		refused("from before a bind", c, q(), cookie)
	}

	// The oldest makes room, so nobody can pile them up.
	cookies := [][]byte{first(), first(), first(), first()}
	refused("pushed out", c, q(), cookies[0])
	for _, cookie := range cookies[1:] {
		if n, _, err := pageOf(c, q(), 5, cookie); n != 5 || err != nil {
			t.Errorf("%d entries, %v", n, err)
		}
	}
	// Size 0 with a cookie gives the search up (RFC 2696 §3).
	cookie = first()
	if n, next, err := pageOf(c, q(), 0, cookie); n != 0 || len(next) != 0 || err != nil {
		t.Errorf("giving up: %d entries, %x, %v", n, next, err)
	}
	refused("given up", c, q(), cookie)
	// Without one it is no paging (CVE-2017-9287).
	if n, next, err := pageOf(c, q(), 0, nil); n != 1000 || len(next) != 0 || code(err) != 4 {
		t.Errorf("size 0: %d entries, %x, %v", n, next, err)
	}
	// The size limit is that of the search, not of the page.
	limited := q()
	limited.SizeLimit = 8
	n, next, err := pageOf(c, limited, 5, nil)
	if n != 5 || err != nil {
		t.Fatal(n, err)
	}
	if n, next, err = pageOf(c, limited, 5, next); n != 3 || len(next) != 0 || code(err) != 4 {
		t.Errorf("end of a limited search: %d entries, %x, %v", n, next, err)
	}
	// Nonsense in the control's value.
	for _, value := range []string{"", "\x30\x00", "\x30\x05\x02\x01\xff\x04\x00", "\x30\x80", "\x30\x07\x02\x01\x05\x04\x02\x00"} {
		w := g.wire().send(request(1, bindOp(adaDN, adaPW)),
			request(2, searchOp(base, 2, nil, "1.1"), control(ldapmsg.PagedResults, true, []byte(value))))
		w.read()
		if a := w.read(); a.code != int64(ldapmsg.ProtocolError) {
			t.Errorf("control %x: %+v", value, a)
		}
	}
}

// L17: a search ends when its time is over, also where it finds nothing.
func TestTimeLimit(t *testing.T) {
	var ticks atomic.Int64
	g := start(t, crowd(t).replica(), func(s *Server) {
		s.Now = func() time.Time { return moment.Add(time.Duration(ticks.Add(1)) * 40 * time.Second) }
	})
	c := g.bound(adaDN, adaPW)
	for _, filter := range []string{"(description=nothing*)", "(objectClass=user)"} {
		ticks.Store(0)
		if _, err := c.Search(ask(base, 2, filter, "1.1")); code(err) != 3 {
			t.Errorf("%s: %v, want timeLimitExceeded", filter, err)
		}
		if n := ticks.Load(); n != 6 { // whether the account has ended, the first, and 160 s later
			t.Errorf("%s: looked at the clock %d times", filter, n)
		}
		q := ask(base, 2, filter, "1.1")
		q.TimeLimit = 10
		ticks.Store(0)
		if _, err := c.Search(q); code(err) != 3 || ticks.Load() != 3 {
			t.Errorf("%s in 10 s: %v, %d looks", filter, err, ticks.Load())
		}
	}
}

func TestControls(t *testing.T) {
	g := start(t, people(t).replica())
	unknown := control("1.2.3.4", false, nil)
	critical := control("1.2.3.4", true, nil)
	paged := control(ldapmsg.PagedResults, true, []byte("\x30\x05\x02\x01\x05\x04\x00"))
	several := func(n int) (out []func(*der.Writer)) {
		for i := range n {
			out = append(out, control(fmt.Sprintf("1.2.3.%d", i), false, nil))
		}
		return out
	}
	compare := func(w *der.Writer) {
		end := w.Len()
		w.String(der.OctetString, "Ada Lovelace")
		w.String(der.OctetString, "cn")
		w.Wrap(der.Sequence, end)
		w.String(der.OctetString, adaDN)
		w.Wrap(ldapmsg.OpCompareRequest, end)
	}
	for name, c := range map[string]struct {
		op       func(*der.Writer)
		controls []func(*der.Writer)
		code     ldapmsg.ResultCode
	}{
		"unknown":                {compare, []func(*der.Writer){unknown}, ldapmsg.CompareTrue},
		"unknown and critical":   {compare, []func(*der.Writer){critical}, ldapmsg.UnavailableCriticalExtension},
		"of another operation":   {compare, []func(*der.Writer){paged}, ldapmsg.UnavailableCriticalExtension},
		"critical in a bind":     {bindOp(adaDN, adaPW), []func(*der.Writer){critical}, ldapmsg.UnavailableCriticalExtension},
		"critical in a search":   {searchOp(base, 2, nil), []func(*der.Writer){critical}, ldapmsg.UnavailableCriticalExtension},
		"sort, critical":         {searchOp(base, 2, nil), []func(*der.Writer){control("1.2.840.113556.1.4.473", true, nil)}, ldapmsg.UnavailableCriticalExtension},
		"DirSync, critical":      {searchOp(base, 2, nil), []func(*der.Writer){control("1.2.840.113556.1.4.841", true, nil)}, ldapmsg.UnavailableCriticalExtension},
		"domain scope, critical": {searchOp("CN=x,"+base, 2, nil), []func(*der.Writer){control(ldapmsg.DomainScope, true, nil)}, ldapmsg.NoSuchObject},
		"twice":                  {compare, []func(*der.Writer){unknown, unknown}, ldapmsg.ProtocolError},
		"twice and critical":     {searchOp(base, 2, nil), []func(*der.Writer){paged, paged}, ldapmsg.ProtocolError},
		"ten":                    {compare, several(10), ldapmsg.CompareTrue},
		"eleven":                 {compare, several(11), ldapmsg.ProtocolError},
		"a thousand":             {compare, several(1000), ldapmsg.ProtocolError},
	} {
		w := g.wire().send(request(1, bindOp(adaDN, adaPW)), request(2, c.op, c.controls...))
		w.read()
		if a := w.read(); a.code != int64(c.code) || a.id != 2 {
			t.Errorf("%s: %+v, want %d", name, a, c.code)
		}
		if a := w.send(request(3, extendedOp(ldapmsg.WhoAmI))).read(); a.id != 3 {
			t.Errorf("%s: the session is gone", name)
		}
	}
}

// L01: depth 40 is searched, more is refused and the session goes on.
func TestFilterDepth(t *testing.T) {
	g := start(t, people(t).replica())
	nested := func(n int) func(*der.Writer) {
		return func(w *der.Writer) {
			end := w.Len()
			w.String(0x87, "cn")
			for range n {
				w.Wrap(0xa2, end)
			}
		}
	}
	for n, want := range map[int]ldapmsg.ResultCode{40: 0, 41: ldapmsg.UnwillingToPerform, 1000: ldapmsg.UnwillingToPerform} {
		w := g.wire().send(request(1, bindOp(adaDN, adaPW)), request(2, searchOp(adaDN, 0, nested(n), "1.1")))
		w.read()
		a := w.read()
		if a.op == ldapmsg.OpSearchEntry {
			a = w.read()
		}
		if a.code != int64(want) || a.id != 2 {
			t.Errorf("depth %d: %+v, want %d", n, a, want)
		}
		if a := w.send(request(3, extendedOp(ldapmsg.WhoAmI))).read(); a.id != 3 {
			t.Errorf("depth %d: the session is gone", n)
		}
	}
}

// A replica whose object changes while its entries are on the way: what a
// client gets is one moment of the tree.
func TestSearchWhileChanging(t *testing.T) {
	w := crowd(t)
	r := w.replica()
	g := start(t, r)
	c := g.bound(adaDN, adaPW)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		usn := w.usn
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			rec := w.records[len(w.records)-1-i%500]
			usn++
			rec.USN = usn
			if err := r.Apply([]domain.Record{rec}, 0); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 20 {
		got, err := c.SearchWithPaging(ask(usersOU, 2, "(cn=Many*)", "cn"), 400)
		if err != nil || len(got.Entries) != howMany {
			t.Errorf("%d entries, %v", len(got.Entries), err)
		}
	}
	close(stop)
	<-done
}

package dit

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestSchema(t *testing.T) {
	seen := map[string]bool{}
	for i, row := range attrRows {
		a := Attr(row.name)
		if a == nil || a.Index != i || a.Name != row.name {
			t.Fatalf("%s is found as %+v", row.name, a)
		}
		if Attr(strings.ToUpper(row.name)) != a || AttrBytes([]byte(strings.ToLower(row.name))) != a || row.oid != "" && Attr(row.oid) != a {
			t.Errorf("%s: not found by all of its names", row.name)
		}
		if seen[a.Name] || a.OID != "" && seen[a.OID] || len(a.Name) > maxName || len(a.OID) > maxName {
			t.Errorf("%s is there twice, or too long", a.Name)
		}
		seen[a.Name], seen[a.OID] = true, true
	}
	for _, bad := range []string{"", "x", strings.Repeat("a", 1000), "cn ", "c\x00n"} {
		if Attr(bad) != nil {
			t.Errorf("%q found", bad)
		}
	}
	// What the agents and clients of the domain cannot do without.
	for _, name := range strings.Fields(`objectClass sAMAccountName userPrincipalName servicePrincipalName userAccountControl
		msDS-User-Account-Control-Computed pwdLastSet objectSid objectGUID objectCategory sIDHistory memberOf member groupType tokenGroups
		uSNChanged nTSecurityDescriptor dNSHostName operatingSystem operatingSystemVersion operatingSystemServicePack
		msDS-SupportedEncryptionTypes msDS-KeyVersionNumber msDS-aadObjectId msDS-AzureADObjectId msDS-AzureADMailNickname
		msDS-AllowedToActOnBehalfOfOtherIdentity wellKnownObjects otherWellKnownObjects uidNumber gidNumber loginShell unixHomeDirectory
		namingContexts defaultNamingContext supportedLDAPVersion dnsHostName ldapServiceName serverName currentTime highestCommittedUSN
		domainFunctionality maxPwdAge minPwdLength lockoutDuration ms-DS-MachineAccountQuota fSMORoleOwner gPLink nETBIOSName dnsRoot nCName employeeId`) {
		if Attr(name) == nil {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range strings.Fields("unicodePwd userPassword dBCSPwd ntPwdHistory lmPwdHistory supplementalCredentials") {
		if !Attr(name).Secret {
			t.Errorf("%s is not secret", name)
		}
	}
	if a := Attr("tokenGroups"); !a.Constructed || !a.Operational || !a.Computed {
		t.Error("tokenGroups")
	}
	if a := Attr("memberOf"); a.Constructed || a.Operational || !a.Computed {
		t.Error("memberOf")
	}
	if n := testing.AllocsPerRun(100, func() { Attr("sAMACCOUNTname"); Attr("unheardOf") }); n != 0 {
		t.Errorf("looking up costs %v allocations", n)
	}
}

func TestClasses(t *testing.T) {
	if got := ClassByName("Computer").Chain(); !slices.Equal(got, []string{"top", "person", "organizationalPerson", "user", "computer"}) {
		t.Error(got)
	}
	for i := range classRows {
		c := &classRows[i]
		if ClassByName(c.OID) != c || ClassByName(c.Super) == nil || Attr(c.RDN) == nil || c.chain[0] != "top" || c.chain[len(c.chain)-1] != c.Name {
			t.Errorf("%+v", c)
		}
	}
	for class, category := range map[string]string{"user": "Person", "inetOrgPerson": "Person", "computer": "Computer", "group": "Group", "organizationalUnit": "Organizational-Unit", "domainDNS": "Domain-DNS"} {
		if got := ClassByName(class).Category; got != category {
			t.Errorf("%s: %s", class, got)
		}
	}
}

func TestEntry(t *testing.T) {
	var b Builder
	long := strings.Repeat("long ", 1000)
	b.Set(Attr("thumbnailPhoto"), []byte(long), []byte{0, 0xff})
	b.SetString(Attr("cn"), "Ada")
	b.SetString(Attr("name"), "Ada")
	b.SetString(Attr("mail"), "", "ada@x", "")
	b.SetString(Attr("description"), "gone")
	b.SetString(Attr("description"))
	b.SetString(Attr("distinguishedName"), "CN=Ada,DC=x")
	b.SetString(Attr("title"), strings.Repeat("t", 127), strings.Repeat("t", 128))
	b.SetCommon(Attr("objectClass"), "top", "person")
	b.SetCommon(Attr("instanceType"), "4")
	want := map[string][]string{"thumbnailPhoto": {long, "\x00\xff"}, "cn": {"Ada"}, "name": {"Ada"}, "mail": {"ada@x"}, "distinguishedName": {"CN=Ada,DC=x"},
		"title": {strings.Repeat("t", 127), strings.Repeat("t", 128)}, "objectClass": {"top", "person"}, "instanceType": {"4"}}
	var shared Shared
	for _, shared := range []*Shared{nil, &shared, &shared} {
		c := Builder{slices.Clone(b.attrs)}
		e := c.Entry(MustParseDN("CN=Ada,DC=x"), shared)
		if e.DN.String() != "CN=Ada,DC=x" || e.DN.Key() != "cn=ada,dc=x" {
			t.Errorf("DN %q, %q", e.DN, e.DN.Key())
		}
		got := map[string][]string{}
		var order []int
		attrs := e.Attributes()
		for a, v := attrs.Next(nil); a != nil; a, v = attrs.Next(nil) {
			order = append(order, a.Index)
			if got[a.Name] = v; !slices.Equal(e.Get(a), v) || e.First(a) != v[0] {
				t.Errorf("%s: %q, %q, first %q", a.Name, v, e.Get(a), e.First(a))
			}
		}
		if !slices.IsSorted(order) {
			t.Error("attributes are not in the order of the schema")
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("holds %q", got)
		}
		if e.Get(nil) != nil || e.Get(Attr("description")) != nil || e.First(nil)+e.First(Attr("description")) != "" {
			t.Error("holds what it was not given")
		}
	}
	if len(shared.parts) != 1 {
		t.Errorf("equal common parts are there %d times", len(shared.parts))
	}
}

func TestSharedPartsDiffer(t *testing.T) {
	var shared Shared
	for _, attrs := range [][2]string{{"cn", "sn"}, {"cn", "ou"}, {"ou", "sn"}} {
		var b Builder
		b.SetCommon(Attr(attrs[0]), "x")
		b.SetCommon(Attr(attrs[1]), "x")
		if e := b.Entry(DN{}, &shared); e.First(Attr(attrs[0]))+e.First(Attr(attrs[1])) != "xx" {
			t.Errorf("%s: it has another's", attrs)
		}
	}
	for i := range 2 * maxShared {
		var b Builder
		b.SetCommon(Attr("cn"), strconv.Itoa(i))
		b.Entry(DN{}, &shared)
	}
	if len(shared.parts) > maxShared {
		t.Errorf("%d parts are remembered", len(shared.parts))
	}
}

func TestAppendValues(t *testing.T) {
	e := ada()
	if v := AppendValues([]string{"before"}, e, Attr("memberOf"), links{}); len(v) != 2 || v[1] != direct {
		t.Errorf("computed: %q", v)
	}
	if v := AppendValues(nil, e, Attr("tokenGroups"), links{}); len(v) != 1 {
		t.Errorf("stored behind computed: %q", v)
	}
}

package dit

import (
	"slices"
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
	e := ada()
	if !slices.IsSortedFunc(e.Attrs, func(a, b Attribute) int { return a.Type.Index - b.Type.Index }) {
		t.Error("not sorted")
	}
	for _, a := range e.Attrs {
		if got := e.Get(a.Type); len(got) != len(a.Values) {
			t.Errorf("%s: %q", a.Type.Name, got)
		}
	}
	if e.Get(nil) != nil || e.Get(Attr("mail")) != nil || e.First(Attr("mail")) != nil || string(e.First(Attr("cn"))) != "Ada Lovelace" {
		t.Error("Get")
	}
	changed := Edit(e).SetString(Attr("mail"), "ada@x", "").SetString(Attr("cn"), "New").Set(Attr("description")).Entry(e.DN)
	if string(changed.First(Attr("mail"))) != "ada@x" || len(changed.Get(Attr("mail"))) != 1 || changed.Get(Attr("description")) != nil || string(changed.First(Attr("cn"))) != "New" {
		t.Error("Edit")
	}
	if string(e.First(Attr("cn"))) != "Ada Lovelace" || e.Get(Attr("mail")) != nil || len(e.Get(Attr("description"))) != 2 {
		t.Error("Edit changed the original")
	}
	if v := Values(e, Attr("memberOf"), links{}); len(v) != 1 {
		t.Errorf("computed: %q", v)
	}
	if v := Values(e, Attr("tokenGroups"), links{}); len(v) != 1 {
		t.Errorf("stored behind computed: %q", v)
	}
}

package domain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/domain/dit"
)

var mustDN = dit.MustParseDN

func TestLookups(t *testing.T) {
	w := newWorld(t)
	ada := w.user("Ada Lovelace", "Passw0rd")
	ada.SAM, ada.UPN, ada.SPNs = "ada", "Ada@contoso.test", []string{"HTTP/ada.contoso.test"}
	w.put(ada)
	r := w.rep
	for name, got := range map[string]*Object{
		"SAM":          r.BySAM("ADA"),
		"UPN":          r.ByUPN("ada@CONTOSO.test"),
		"implicit UPN": r.ByUPN("ada@aadds.contoso.test"),
		"SPN":          r.BySPN("http/ADA.contoso.test"),
		"RID":          r.ByRID(ada.RID),
		"DN":           r.ByDN(mustDN("cn=ada lovelace, ou=aaddc users,dc=AADDS,dc=contoso,dc=test")),
	} {
		if got == nil || got.GUID != ada.GUID {
			t.Errorf("%s finds %v", name, got)
		}
	}

	// Renamed: under the new name only.
	ada.SAM, ada.RDN, ada.SPNs = "countess", "Countess", nil
	w.put(ada)
	if r.BySAM("ada") != nil || r.BySPN("HTTP/ada.contoso.test") != nil || r.ByDN(mustDN("CN=Ada Lovelace,OU=AADDC Users,DC=aadds,DC=contoso,DC=test")) != nil {
		t.Error("an old name still finds the object")
	}
	if r.BySAM("countess") == nil {
		t.Error("the new name finds nothing")
	}

	// A name that another took first is not lost with the one who had it before.
	bob := w.user("bob", "")
	bob.UPN = ada.UPN
	w.put(bob)
	ada.Deleted = true
	w.put(ada)
	if o := r.ByUPN("ada@contoso.test"); o == nil || o.GUID != bob.GUID {
		t.Error("the deletion of one object took another's name away")
	}
	if r.ByRID(ada.RID) != nil || r.ByGUID(ada.GUID) != nil {
		t.Error("the tombstone is still found")
	}
}

func TestMembershipIsClosed(t *testing.T) {
	w := newWorld(t)
	ada, eve := w.user("ada", ""), w.user("eve", "")
	inner := w.group("inner", ada.Source)
	outer := w.group("outer", inner.Source)
	circle := w.group("circle", outer.Source)
	inner.Members = append(inner.Members, circle.Source) // a ring of groups ends all the same
	mail := w.group("mail", ada.Source)
	mail.Attrs = map[string][][]byte{"groupType": {[]byte(GroupGlobalDistribution)}}
	w.put(ada, eve, inner, outer, circle, mail)

	rids := func(name string) []uint32 { return w.rep.Membership(w.rep.BySAM(name)).RIDs }
	if got, want := rids("ada"), []uint32{RIDDomainUsers, inner.RID, outer.RID, circle.RID}; !slices.Equal(got, want) {
		t.Errorf("ada is in %v, want %v", got, want)
	}
	if got := rids("eve"); !slices.Equal(got, []uint32{RIDDomainUsers}) {
		t.Errorf("eve is in %v", got)
	}

	// The cache of a closure ends with any change of membership.
	inner.Members = []ID{eve.Source}
	w.put(inner)
	if got := rids("ada"); !slices.Equal(got, []uint32{RIDDomainUsers}) {
		t.Errorf("ada is still in %v", got)
	}
	if got := rids("eve"); !slices.Equal(got, []uint32{RIDDomainUsers, inner.RID, outer.RID, circle.RID}) {
		t.Errorf("eve is in %v", got)
	}

	// A member that comes after its group, and one that goes.
	late := w.user("late", "")
	inner.Members = []ID{late.Source}
	w.put(inner)
	w.put(late)
	if got := rids("late"); !slices.Contains(got, outer.RID) {
		t.Errorf("late is in %v", got)
	}
	inner.Deleted = true
	w.put(inner)
	if got := rids("late"); !slices.Equal(got, []uint32{RIDDomainUsers}) {
		t.Errorf("late is still in %v", got)
	}
}

func TestLinks(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "Passw0rd")
	inner := w.group("inner", ada.Source)
	outer := w.group("outer", inner.Source)
	w.put(ada, inner, outer)
	base := w.rep.Info.BaseDN().String()
	search := func(filter string) (names []string) {
		t.Helper()
		f, err := dit.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.rep.Search(w.rep.Info.BaseDN(), dit.Sub, f, "", func(o *Object) bool { names = append(names, o.SAM); return true }); err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	for filter, want := range map[string]string{
		"(memberOf=CN=inner,OU=AADDC Users," + base + ")":                          "ada",
		"(memberOf:1.2.840.113556.1.4.1941:=CN=outer,OU=AADDC Users," + base + ")": "ada inner",
		"(member=CN=ada,OU=AADDC Users," + base + ")":                              "inner",
		"(&(objectClass=user)(mail=ADA@mail.test))":                                "ada",
		"(&(objectCategory=person)(sAMAccountName=ada))":                           "ada",
		"(|(cn=ada)(cn=inner))":                                                    "ada inner",
		"(userAccountControl:1.2.840.113556.1.4.803:=2)":                           "krbtgt",
		"(&(objectClass=group)(!(cn=Domain*)))":                                    "Protected Users inner outer",
		"(objectSid=" + w.rep.Info.SID.Append(ada.RID).String() + ")":              "ada",
		"(objectSid=S-1-5-32-544)":                                                 "",
		"(unicodePwd=*)":                                                           "",
		"(&(memberOf=*)(objectClass=user))":                                        "ada",
		"(servicePrincipalName=LDAP/dc1.aadds.contoso.test)":                       "DC1$",
	} {
		if got := strings.Join(search(filter), " "); got != want {
			t.Errorf("%s finds %q, want %q", filter, got, want)
		}
	}
	o := w.rep.BySAM("ada")
	if got := w.rep.Links(o.Entry, dit.Attr("msDS-KeyVersionNumber")); len(got) != 1 || string(got[0]) != "1" {
		t.Errorf("msDS-KeyVersionNumber %q", got)
	}
	if got := w.rep.Links(o.Entry, dit.Attr("tokenGroups")); len(got) != 3 {
		t.Errorf("%d tokenGroups", len(got))
	}
}

func TestSearchScopes(t *testing.T) {
	w := newWorld(t)
	w.put(w.user("ada", ""), w.user("eve", ""))
	all := dit.Present("objectClass")
	names := func(base string, scope dit.Scope, after string) (out []string, places []string) {
		t.Helper()
		if err := w.rep.Search(mustDN(base), scope, all, after, func(o *Object) bool {
			_, v := o.Entry.DN.RDN()
			out, places = append(out, v), append(places, o.Place())
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return out, places
	}
	base := w.rep.Info.BaseDN().String()
	ou := "OU=AADDC Users," + base
	if got, _ := names(ou, dit.Base, ""); !slices.Equal(got, []string{"AADDC Users"}) {
		t.Error("base", got)
	}
	if got, _ := names(ou, dit.One, ""); !slices.Equal(got, []string{"ada", "eve"}) {
		t.Error("one", got)
	}
	if got, _ := names(ou, dit.Sub, ""); !slices.Equal(got, []string{"AADDC Users", "ada", "eve"}) {
		t.Error("sub", got)
	}
	if got, _ := names(base, dit.One, ""); !slices.Equal(got, []string{"Builtin", "Computers", "System", "Users", "AADDC Computers", "AADDC Users", "Domain Controllers"}) {
		t.Error("one below the head", got)
	}
	sub, places := names(base, dit.Sub, "")
	if len(sub) != w.rep.Len() {
		t.Errorf("%d of %d objects below the head", len(sub), w.rep.Len())
	}
	// A search goes on behind any place, as paging does.
	for i := range places {
		if rest, _ := names(base, dit.Sub, places[i]); !slices.Equal(rest, sub[i+1:]) {
			t.Fatalf("behind %s: %v", sub[i], rest)
		}
	}
	var missing *NoSuchObjectError
	err := w.rep.Search(mustDN("CN=x,CN=y,"+ou), dit.Sub, all, "", func(*Object) bool { return true })
	if !errors.As(err, &missing) || !missing.Matched.Equal(mustDN(ou)) {
		t.Error(err)
	}
}

func TestChildrenBeforeParents(t *testing.T) {
	w := newWorld(t)
	ou := Record{GUID: w.id(), Kind: Container, Class: "organizationalUnit", Parent: w.rep.Info.GUID, RDN: "Labs", Created: testNow}
	sub := Record{GUID: w.id(), Kind: Container, Class: "organizationalUnit", Parent: ou.GUID, RDN: "Inner", Created: testNow}
	svc := w.user("svc", "")
	svc.Parent = sub.GUID
	w.put(svc, sub, ou)
	if w.rep.ByDN(mustDN("CN=svc,OU=Inner,OU=Labs,"+w.rep.Info.BaseDN().String())) == nil {
		t.Error("a child that came before its parent is lost")
	}
}

func TestOneBadRecordCostsOneObject(t *testing.T) {
	w := newWorld(t)
	good, bad := w.user("good", ""), w.user("bad", "")
	bad.RDN = "\xff"
	w.usn += 2
	bad.USN, good.USN = w.usn-1, w.usn
	if err := w.rep.Apply([]Record{bad, good}, 7); err == nil {
		t.Error("the bad record is not named")
	}
	if w.rep.BySAM("good") == nil || w.rep.BySAM("bad") != nil {
		t.Error("the wrong objects are in")
	}
	if usn, upTo := w.rep.USN(); usn != w.usn || upTo != 7 {
		t.Error("the feed stands still")
	}
}

func TestAuthenticate(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "pässwörd-€")
	off := w.user("off", "Passw0rd")
	off.UAC |= UACDisabled
	must := w.user("must", "Passw0rd")
	must.Secrets.Set = must.Secrets.Set.AddDate(-3000, 0, 0).Truncate(0)
	must.Secrets.Set = Secrets{}.Set
	none := w.user("none", "")
	w.put(ada, off, must, none)
	base := w.rep.Info.BaseDN().String()
	for _, c := range []struct {
		name, password string
		want           error
	}{
		{"ada", "pässwörd-€", nil},
		{"ADA@contoso.TEST", "pässwörd-€", nil},
		{`aadds\ada`, "pässwörd-€", nil},
		{"CN=ada,OU=AADDC Users," + base, "pässwörd-€", nil},
		{"ada@aadds.contoso.test", "pässwörd-€", nil},
		{`OTHER\ada`, "pässwörd-€", BadCredentials},
		{"ada", "passwörd-€", BadCredentials},
		{"ada", "", BadCredentials},
		{"nobody", "x", BadCredentials},
		{"none", "x", BadCredentials},
		{"none", "", BadCredentials},
		{"inner", "x", BadCredentials},
		{"off", "wrong", BadCredentials},
		{"off", "Passw0rd", AccountOff},
		{"must", "wrong", BadCredentials},
		{"must", "Passw0rd", MustChangePW},
		{"ada", strings.Repeat("x", 100_000), BadCredentials},
	} {
		if _, err := w.rep.Authenticate(t.Context(), testNow, c.name, c.password); !errors.Is(err, c.want) || (c.want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestCreated: the directory tells whole seconds.
func TestCreated(t *testing.T) {
	w := newWorld(t)
	ada := w.user("ada", "")
	ada.Created = testNow.Add(987654 * time.Microsecond)
	w.put(ada)
	if o := w.rep.BySAM("ada"); o.Entry.First(aWhenCreated) != "20261121120000.0Z" || !o.Created().Equal(testNow) {
		t.Errorf("created %s, %v", o.Entry.First(aWhenCreated), o.Created())
	}
}

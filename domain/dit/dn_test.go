package dit

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	goldap "github.com/go-ldap/ldap/v3"
)

func TestParseDNExamples(t *testing.T) {
	for _, c := range []struct{ in, key string }{
		// RFC 4514 §4, each with the normal form it must have.
		{"UID=jsmith,DC=example,DC=net", "uid=jsmith,dc=example,dc=net"},
		{"OU=Sales+CN=J.  Smith,DC=example,DC=net", "cn=j.  smith+ou=sales,dc=example,dc=net"},
		{`CN=James \"Jim\" Smith\, III,DC=example,DC=net`, `cn=james "jim" smith\2c iii,dc=example,dc=net`},
		{`CN=Before\0dAfter,DC=example,DC=net`, "cn=before\rafter,dc=example,dc=net"},
		{"1.3.6.1.4.1.1466.0=#04024869", "1.3.6.1.4.1.1466.0=hi"},
		{`CN=Lu\C4\8Di\C4\87`, "cn=lučić"},
		// AD's own habits.
		{" cn = Domain Admins , CN=Users,DC=x ", "cn=domain admins,cn=users,dc=x"},
		{"2.5.4.3=a,0.9.2342.19200300.100.1.25=B", "cn=a,dc=b"},
		{`CN=\ a\ ,DC=x`, "cn= a ,dc=x"},
		{`CN=a=b,DC=x`, "cn=a=b,dc=x"},
		{`CN=a\\b\+c,DC=x`, `cn=a\5cb\2bc,dc=x`},
		{"CN=STRASSE ΣΊΣΥΦΟΣ,DC=x", "cn=strasse σίσυφοσ,dc=x"},
		{`CN=S-1-5-21\0ACNF:12,DC=x`, "cn=s-1-5-21\ncnf:12,dc=x"},
		{"", ""},
	} {
		dn, err := ParseDN(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		// The folding picks the least rune of an orbit; compare by it.
		if want := string(appendFold(nil, c.key)); dn.Key() != want {
			t.Errorf("%q: key %q, want %q", c.in, dn.Key(), want)
		}
		if dn.String() != c.in {
			t.Errorf("%q: spelling became %q", c.in, dn)
		}
	}
}

func TestParseDNRefuses(t *testing.T) {
	for _, in := range []string{
		"cn", "cn=", "=x", ",", "cn=a,", ",cn=a", "cn=a,,dc=b", "cn=a+", "+cn=a", "cn=a;dc=b",
		`cn=a"b`, "cn=<a>", "cn=a\x00", `cn=a\`, `cn=a\1`, `cn=a\zz`, "cn=#", "cn=#0", "cn=#04", "cn=#zz",
		"cn=#040568", "cn=#3003020101", "c n=a", "cn=\xff", `cn=\ff\fe`, "cn=a,dc=\xc3", `cn="a"`, "é=a",
		"cn=#04024869x",
		strings.Repeat("a=b+", 8) + "a=b",
		strings.Repeat("dc=a,", MaxRDNs) + "dc=a",
		"cn=" + strings.Repeat("a", MaxDN),
	} {
		if dn, err := ParseDN(in); err == nil {
			t.Errorf("%.40q read as %q", in, dn.Key())
		}
	}
	for _, in := range []string{
		strings.Repeat("a=b+", 7) + "a=b",
		strings.Repeat("dc=a,", MaxRDNs-1) + "dc=a",
		"cn=" + strings.Repeat("a", MaxDN-3),
	} {
		if _, err := ParseDN(in); err != nil {
			t.Errorf("%.40q: at the limit: %v", in, err)
		}
	}
}

// TestParseDNHostile gives the parser what broke others (trust.md L07). The
// bound is work, not time: a refused name must not cost an allocation.
func TestParseDNHostile(t *testing.T) {
	for name, in := range map[string]string{
		"10k attributes in one RDN": strings.Repeat("a=b+", 10_000) + "a=b",
		"1 MiB RDN":                 "cn=" + strings.Repeat("x", 1<<20),
		"escapes":                   "cn=" + strings.Repeat(`\2c`, MaxDN),
		"backslashes":               "cn=" + strings.Repeat(`\`, MaxDN+1),
		"leading spaces":            strings.Repeat(" ", 1<<20) + "cn=a",
		"10k RDNs":                  strings.Repeat("a=b,", 10_000) + "a=b",
		"invalid UTF-8":             "cn=" + strings.Repeat("\xf0\x9f", 300),
	} {
		if n := testing.AllocsPerRun(10, func() {
			if _, err := ParseDN(in); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}); n > 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDNParts(t *testing.T) {
	dn := MustParseDN(`CN=Smith\, J , OU=AADDC Users,DC=aadds,DC=test`)
	if a, v := dn.RDN(); a != "CN" || v != "Smith, J" {
		t.Errorf("RDN %q %q", a, v)
	}
	if dn.RDNText() != `CN=Smith\, J` {
		t.Errorf("%q", dn.RDNText())
	}
	parent := dn.Parent()
	if parent.String() != "OU=AADDC Users,DC=aadds,DC=test" || parent.Key() != "ou=aaddc users,dc=aadds,dc=test" {
		t.Errorf("parent %q %q", parent, parent.Key())
	}
	root := MustParseDN("dc=AADDS,dc=Test")
	if !dn.IsDescendantOf(root) || !dn.IsDescendantOf(parent) || dn.IsDescendantOf(dn) || root.IsDescendantOf(dn) || !root.IsDescendantOf(DN{}) || (DN{}).IsDescendantOf(DN{}) {
		t.Error("descendants")
	}
	// A suffix of the text that is no suffix of RDNs.
	if MustParseDN(`CN=a\,dc=aadds,DC=test`).IsDescendantOf(MustParseDN("DC=aadds,DC=test")) {
		t.Error("an escaped comma made a descendant")
	}
	if MustParseDN("DC=xaadds,DC=test").IsDescendantOf(MustParseDN("DC=aadds,DC=test")) {
		t.Error("half an RDN made a descendant")
	}
	if dn.Depth() != 4 || !root.Parent().Parent().IsRoot() || !(DN{}).Parent().IsRoot() {
		t.Error("depth")
	}
	for _, value := range []string{`a,b+c="d"<e>;\f#`, "#x", " x ", "\x00\n", "ü", "=", `\2c`} {
		child, err := root.Child("CN", value)
		if err != nil {
			t.Fatalf("%q: %v", value, err)
		}
		if _, v := child.RDN(); v != value || !child.Parent().Equal(root) || child.Depth() != 3 {
			t.Errorf("%q became %q in %q", value, v, child)
		}
	}
	for _, bad := range [][2]string{{"CN", ""}, {"", "a"}, {"C,N=a,", "b"}, {"CN", "\xff"}} {
		if dn, err := root.Child(bad[0], bad[1]); err == nil && dn.Depth() != 3 || err == nil && bad[1] != "b" {
			t.Errorf("%q made %q", bad, dn)
		}
	}
}

func TestScope(t *testing.T) {
	base, one, two := MustParseDN("DC=x"), MustParseDN("OU=a,dc=X"), MustParseDN("CN=b,ou=A,DC=x")
	for _, c := range []struct {
		s    Scope
		want [3]bool
	}{{Base, [3]bool{true, false, false}}, {One, [3]bool{false, true, false}}, {Sub, [3]bool{true, true, true}}} {
		if got := [3]bool{c.s.Contains(base, base), c.s.Contains(base, one), c.s.Contains(base, two)}; got != c.want {
			t.Errorf("scope %d: %v", c.s, got)
		}
	}
	if !One.Contains(DN{}, base) || One.Contains(DN{}, DN{}) || Sub.Contains(one, base) {
		t.Error("scope at the root")
	}
}

func TestParseReference(t *testing.T) {
	guid := "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
	for _, text := range []string{"<GUID=0102030405060708090a0b0c0d0e0f10>", "<guid=04030201-0605-0807-090a-0b0c0d0e0f10>", "<GUID={04030201-0605-0807-090A-0B0C0D0E0F10}>"} {
		if r, err := ParseReference(text); err != nil || string(r.GUID) != guid {
			t.Errorf("%s: %x %v", text, r.GUID, err)
		}
	}
	for _, text := range []string{"<SID=S-1-5-32-544>", "<sid=01020000000000052000000020020000>"} {
		if r, err := ParseReference(text); err != nil || r.SID.String() != "S-1-5-32-544" {
			t.Errorf("%s: %v %v", text, r.SID, err)
		}
	}
	// As adcli writes it.
	r, err := ParseReference("<WKGUID=AA312825768811D1ADED00C04FD8D5CD,DC=aadds,DC=test>")
	if err != nil || len(r.WellKnown) != 16 || r.WellKnown[0] != 0xaa || r.DN.Key() != "dc=aadds,dc=test" {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := ParseReference("dc=x"); err != nil || r.DN.Key() != "dc=x" {
		t.Errorf("%+v %v", r, err)
	}
	for _, bad := range []string{"<", "<GUID=>", "<GUID=01", "<GUID=01>", "<SID=x>", "<SID=01>", "<WKGUID=AA,DC=x>", "<WKGUID=AA312825768811D1ADED00C04FD8D5CD,y>", "<FOO=1>", "<GUID=0403020-10605-0807-090a-0b0c0d0e0f10>"} {
		if r, err := ParseReference(bad); err == nil {
			t.Errorf("%s read as %+v", bad, r)
		}
	}
}

// FuzzParseDN holds the parser to its own words, and to go-ldap's: what both
// accept must have the same values in the same RDNs.
func FuzzParseDN(f *testing.F) {
	for _, s := range []string{"", "cn=a,dc=b", `CN=a\,b+OU=\C4\8D, DC=\ x\ `, "1.3.6=#04024869", "cn=a\\", `cn=\0a`, "cn=K+ou=ſ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		dn, err := ParseDN(text)
		if err != nil {
			return
		}
		if !utf8.ValidString(dn.Key()) {
			t.Fatalf("%q: key %q", text, dn.Key())
		}
		if again, ok := appendDNKey(nil, dn.Key()); dn.Key() != "" && (!ok || string(again) != dn.Key()) && len(dn.Key()) <= MaxDN && !strings.ContainsAny(dn.Key(), "\"<>;#\x00 ") {
			t.Fatalf("%q: the key of key %q is %q", text, dn.Key(), again)
		}
		n := 0
		for d := dn; !d.IsRoot(); d = d.Parent() {
			if again, err := ParseDN(d.String()); err != nil || !again.Equal(d) {
				t.Fatalf("%q: parent %q has key %q, parsed %q, %v", text, d, d.Key(), again.Key(), err)
			}
			if !dn.Equal(d) && !dn.IsDescendantOf(d) {
				t.Fatalf("%q is not below %q", text, d)
			}
			attr, value := d.RDN()
			if attr == "" || value == "" {
				t.Fatalf("%q: empty RDN", d)
			}
			if child, err := d.Parent().Child(attr, value); err != nil && len(text) < MaxDN/3 {
				t.Fatalf("%q: %q=%q: %v", text, attr, value, err)
			} else if err == nil && !strings.Contains(d.RDNText(), "+") && !child.Equal(d) {
				t.Fatalf("%q rebuilt as %q", d, child)
			}
			n++
		}
		if n != dn.Depth() {
			t.Fatalf("%q: depth %d, %d parents", text, dn.Depth(), n)
		}
		other, err := goldap.ParseDN(text)
		if err != nil || strings.Contains(text, "#") {
			return
		}
		if len(other.RDNs) != n {
			t.Fatalf("%q: go-ldap sees %d RDNs, we %d", text, len(other.RDNs), n)
		}
		d := dn
		for _, rdn := range other.RDNs {
			attr, value := d.RDN()
			if !strings.EqualFold(rdn.Attributes[0].Type, attr) || rdn.Attributes[0].Value != value {
				t.Fatalf("%q: go-ldap sees %q, we %q=%q", text, rdn.Attributes[0], attr, value)
			}
			d = d.Parent()
		}
	})
}

func BenchmarkParseDN(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseDN("CN=Ada Lovelace,OU=AADDC Users,DC=aadds,DC=contoso,DC=test"); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCompare sets the order of names against that of their parts, from the root.
func TestCompare(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rdns := []string{"cn=a", "cn=ab", "cn=b", "cn=ba", "cn=a+sn=b", `cn=a\,b`, "dc=a", "ou=a", "cn=a b", "cn=ü"}
	name := func() DN {
		parts := make([]string, r.IntN(5))
		for i := range parts {
			parts[i] = rdns[r.IntN(len(rdns))]
		}
		return MustParseDN(strings.Join(parts, ","))
	}
	fromRoot := func(d DN) []string {
		if d.IsRoot() {
			return nil
		}
		parts := strings.Split(d.Key(), ",")
		slices.Reverse(parts)
		return parts
	}
	for range 20_000 {
		a, b := name(), name()
		if got, want := a.Compare(b), slices.Compare(fromRoot(a), fromRoot(b)); got != want {
			t.Fatalf("%q and %q compare %d, want %d", a.Key(), b.Key(), got, want)
		}
		if a.IsRoot() {
			continue
		}
		// Past a is past what is below it, and before what else is past it.
		if want := b.Equal(a) || b.IsDescendantOf(a) || b.Compare(a) < 0; (b.Compare(a.Past()) < 0) != want {
			t.Fatalf("%q is on the wrong side of %q", b.Key(), a.Past().Key())
		}
		if !KeyDN(a.Key()).Equal(a) {
			t.Fatalf("KeyDN(%q) is another name", a.Key())
		}
	}
}

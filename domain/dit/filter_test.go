package dit

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"skyrealm/sid"
)

func values(s ...string) []string { return s }

var adaSID = sid.New(5, 21, 1, 2, 3, 1103)

func ada() *Entry { return adaWith("secret") }

// adaWith takes the password, none where it is "".
func adaWith(password string) *Entry {
	var b Builder
	for name, v := range map[string][]string{
		"cn":                values("Ada Lovelace"),
		"sAMAccountName":    values("ada"),
		"description":       values("ÜBER straße", "second one"),
		"groupType":         values("-2147483646"),
		"accountExpires":    values("9223372036854775807"),
		"objectSid":         values(string(adaSID)),
		"objectGUID":        values("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"),
		"objectCategory":    values("CN=Person,CN=Schema,CN=Configuration,DC=aadds,DC=test"),
		"manager":           values("CN=Boss\\, Big,OU=AADDC Users,DC=aadds,DC=test"),
		"whenCreated":       values("20260131120000.0Z"),
		"isDeleted":         values("FALSE"),
		"unixHomeDirectory": values("/home/Ada"),
		"thumbnailPhoto":    values("\x00\xff*("),
		"unicodePwd":        values(password),
		"wellKnownObjects":  values("B:32:AA312825768811D1ADED00C04FD8D5CD:CN=Computers,DC=aadds,DC=test"),
		"tokenGroups":       values(string(adaSID)),
	} {
		b.SetString(Attr(name), v...)
	}
	b.SetCommon(Attr("objectClass"), ClassByName("user").Chain()...)
	b.SetCommon(Attr("userAccountControl"), "66048")
	return b.Entry(MustParseDN("CN=Ada Lovelace,OU=AADDC Users,DC=aadds,DC=test"), new(Shared))
}

// links gives ada one group directly and another through it.
type links struct{}

const direct, above = "CN=Staff,DC=aadds,DC=test", "CN=All,DC=aadds,DC=test"

func (links) Links(e *Entry, t *AttrType) []string {
	if t == Attr("memberOf") {
		return values(direct)
	}
	return nil
}

func (links) InChain(e *Entry, t *AttrType, target DN) bool {
	return t == Attr("memberOf") && (target.Equal(MustParseDN(direct)) || target.Equal(MustParseDN(above)))
}

func TestMatch(t *testing.T) {
	e := ada()
	const T, F, U = yes, no, undefined
	for _, c := range []struct {
		filter string
		want   truth
	}{
		{"(objectClass=*)", T}, {"(objectClass=USER)", T}, {"(objectClass=1.2.840.113556.1.5.9)", T}, {"(objectClass=group)", F},
		{"(objectcategory=person)", T}, {"(objectCategory=user)", T}, {"(objectCategory=computer)", F},
		{"(objectCategory=cn=person,CN=Schema,CN=Configuration,DC=aadds,DC=test)", T},
		{"(objectCategory=CN=Person,CN=Schema,CN=Configuration,DC=other)", F},
		{"(cn=ada lovelace)", T}, {"(cn=ADA LOVELACE)", T}, {"(cn=ada  lovelace)", F}, {"(2.5.4.3=ada lovelace)", T}, {"(cn~=ADA lovelace)", T},
		{"(cn=ada*)", T}, {"(cn=*LACE)", T}, {"(cn=*a l*)", T}, {"(cn=a*a*a*e)", T}, {"(cn=ada*ada)", F}, {"(cn=*lovelace*e)", F}, {"(cn=b*)", F},
		{"(description=über STRASSE)", F}, {"(description=über STRAßE)", T}, {"(description=ü*ß*)", T}, {"(description=*ECOND*)", T}, {"(description=*É*)", F},
		{"(mail=*)", F}, {"(!(mail=x))", T}, {"(mail=x)", F},
		{"(unheardOf=x)", U}, {"(!(unheardOf=x))", U}, {"(unheardOf=*)", U},
		{"(&(cn=ada lovelace)(unheardOf=x))", U}, {"(|(cn=ada lovelace)(unheardOf=x))", T}, {"(|(cn=b)(unheardOf=x))", U}, {"(&(cn=b)(unheardOf=x))", F},
		{"(&)", T}, {"(|)", F}, {"(!(&))", F},
		{"(userAccountControl=66048)", T}, {"(userAccountControl=066048)", T}, {"(userAccountControl=x)", U},
		{"(userAccountControl>=66048)", T}, {"(userAccountControl>=66049)", F}, {"(userAccountControl<=7)", F}, {"(userAccountControl=66*)", U},
		{"(userAccountControl:1.2.840.113556.1.4.803:=512)", T}, {"(userAccountControl:1.2.840.113556.1.4.803:=514)", F}, {"(userAccountControl:1.2.840.113556.1.4.804:=514)", T},
		{"(userAccountControl:1.2.840.113556.1.4.804:=2)", F}, {"(!(userAccountControl:1.2.840.113556.1.4.803:=2))", T},
		{"(groupType:1.2.840.113556.1.4.803:=2147483648)", T}, {"(groupType=2147483650)", T}, {"(groupType=4294967296)", U},
		{"(cn:1.2.840.113556.1.4.803:=1)", U}, {"(cn:2.5.13.2:=ada lovelace)", U}, {"(cn:=ada lovelace)", T}, {"(cn:dn:=ADA lovelace)", T}, {"(:2.5.13.2:=ada)", U},
		{"(accountExpires=9223372036854775807)", T}, {"(accountExpires>=9223372036854775808)", U}, {"(accountExpires>=-9223372036854775808)", T},
		{"(objectSid=S-1-5-21-1-2-3-1103)", T}, {"(objectSid=s-1-5-21-1-2-3-1104)", F}, {"(objectSid=rubbish)", U}, {`(objectSid=\01\05\00\00\00\00\00\05\15\00\00\00\01\00\00\00\02\00\00\00\03\00\00\00\4f\04\00\00)`, T},
		{`(objectGUID=\01\02\03\04\05\06\07\08\09\0a\0b\0c\0d\0e\0f\10)`, T}, {"(objectGUID=04030201-0605-0807-090a-0b0c0d0e0f10)", T}, {`(objectGUID=\01)`, U},
		{`(manager=cn=boss\5c, big,ou=aaddc users,dc=AADDS,dc=test)`, T}, {`(manager=cn=boss\5c2c big , ou=aaddc users,dc=AADDS,dc=test)`, T}, {"(manager=cn=boss*)", U}, {"(manager=no name)", U}, {"(manager>=CN=x)", U},
		{"(whenCreated>=20260131120000.0Z)", T}, {"(whenCreated<=20260131115959Z)", F}, {"(whenCreated=20260131130000+0100)", T}, {"(whenCreated=260131120000Z)", T}, {"(whenCreated>=20260231000000Z)", U}, {"(whenCreated>=20260131120000)", U},
		{"(isDeleted=FALSE)", T}, {"(isDeleted=true)", F}, {"(isDeleted=0)", U}, {"(isDeleted>=FALSE)", U},
		{"(unixHomeDirectory=/home/Ada)", T}, {"(unixHomeDirectory=/home/ada)", F}, {"(unixHomeDirectory=/home/*)", T},
		{`(thumbnailPhoto=\00\ff\2a\28)`, T}, {`(thumbnailPhoto=*\ff*)`, T}, {`(cn=\ff)`, U}, {"(thumbnailPhoto;binary=*)", T}, {"(cn;lang-de=x)", U},
		{"(wellKnownObjects=B:32:aa312825768811d1aded00c04fd8d5cd:cn=computers,dc=AADDS,dc=test)", T}, {"(wellKnownObjects=CN=Computers)", U},
		{"(memberOf=cn=staff,dc=aadds,DC=test)", T}, {"(memberOf=cn=all,dc=aadds,DC=test)", F}, {"(memberOf=*)", T}, {"(memberOf:1.2.840.113556.1.4.1941:=cn=all,dc=aadds,dc=test)", T},
		{"(memberOf:1.2.840.113556.1.4.1941:=cn=none,dc=aadds,dc=test)", F},
		{"(tokenGroups=S-1-5-21-1-2-3-1103)", U}, // constructed
		{"(sAMAccountName>=ad)", T}, {"(sAMAccountName<=AD)", F}, {"(sAMAccountName>=B)", F},
		{"(nTSecurityDescriptor=x)", U},
	} {
		f, err := ParseFilter(c.filter)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		if got := f.eval(e, links{}); got != c.want {
			t.Errorf("%s is %d, want %d", c.filter, got, c.want)
		}
		if f.Match(e, links{}) != (c.want == T) {
			t.Errorf("%s: Match disagrees", c.filter)
		}
	}
}

// TestSecretIsAbsent asks for a secret in all ways there are, of an entry with
// the secret and one without: the answers must be the same (trust.md L09).
func TestSecretIsAbsent(t *testing.T) {
	with := ada()
	without := adaWith("")
	if without.Get(Attr("unicodePwd")) != nil || with.Get(Attr("unicodePwd")) == nil {
		t.Fatal("the entries are not as needed")
	}
	for _, item := range []string{"=secret", "=SECRET", "=*", "=s*", "=*e*", ">=a", "<=z", "~=secret", ":=secret", ":1.2.840.113556.1.4.803:=1", ":1.2.840.113556.1.4.1941:=cn=x", ":dn:=secret"} {
		for _, form := range []string{"(unicodePwd%s)", "(!(unicodePwd%s))", "(1.2.840.113556.1.4.90%s)"} {
			f, err := ParseFilter(fmt.Sprintf(form, item))
			if err != nil {
				t.Fatal(err)
			}
			if a, b := f.eval(with, nil), f.eval(without, nil); a != b {
				t.Errorf("%s tells them apart: %d, %d", f, a, b)
			}
			if _, _, ok := f.Equality(func(*AttrType) bool { return true }); ok {
				t.Errorf("%s would go to an index", f)
			}
		}
	}
	if AppendValues(nil, with, Attr("unicodePwd"), nil) != nil {
		t.Error("AppendValues gives the secret")
	}
}

// TestHasLink shows that a LinkTester is asked in place of all the values.
func TestHasLink(t *testing.T) {
	f, _ := ParseFilter("(memberOf=cn=STAFF,dc=aadds,dc=test)")
	if !f.Match(ada(), tester{}) {
		t.Error("not asked")
	}
}

type tester struct{}

func (tester) Links(*Entry, *AttrType) []string { panic("built the values") }
func (tester) HasLink(e *Entry, t *AttrType, target DN) bool {
	return target.Equal(MustParseDN(direct))
}

func TestFilterText(t *testing.T) {
	for in, want := range map[string]string{
		// RFC 4515 §4.
		"(cn=Babs Jensen)":        "",
		"(!(cn=Tim Howes))":       "",
		"(o=univ*of*mich*)":       "",
		"(seeAlso=)":              "",
		"(cn:2.4.6.8.10:=Barney)": "",
		"(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))":      "",
		"(cn:caseExactMatch:=Fred Flintstone)":                   "",
		"(cn:=Betty Rubble)":                                     "",
		"(sn:dn:2.4.6.8.10:=Barney Rubble)":                      "",
		"(o:dn:=Ace Industry)":                                   "",
		"(:1.2.3:=Wilma Flintstone)":                             "",
		"(:DN:2.4.6.8.10:=Dino)":                                 "(:dn:2.4.6.8.10:=Dino)",
		`(o=Parens R Us \28for all your parenthetical needs\29)`: "",
		`(cn=*\2A*)`:                        `(cn=*\2a*)`,
		`(filename=C:\5cMyFile)`:            "",
		`(bin=\00\00\00\04)`:                "",
		`(sn=Lu\c4\8di\c4\87)`:              "(sn=Lučić)",
		`(1.3.6.1.4.1.1466.0=\04\02\48\69)`: `(1.3.6.1.4.1.1466.0=\04\02Hi)`,
		"(&)":                               "", "(|)": "", "(cn=*)": "", "(a>=1)": "", "(a<=1)": "", "(a~=1)": "", `(a=\ff\fe)`: "", "(a=b=c)": "", "(a=b:=c)": "", "(a=>b)": "",
	} {
		f, err := ParseFilter(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if want == "" {
			want = in
		}
		if f.String() != want {
			t.Errorf("%s is written %s", in, f)
		}
	}
	for _, in := range []string{"", "()", "(", ")", "cn=a", "(cn=a", "(cn=a))", "(cn=a)(b=c)", "(=a)", "(&(cn=a)", "(!)", "(!(a=b)(c=d))", "(cn=a(b)", `(cn=\)`, `(cn=\4)`, `(cn=\zz)`,
		"(cn=a\x00)", "(cn=a**b)", "(cn=**)", "(cn>=a*)", "(c n=a)", "(:=a)", "(:dn:=a)", "(a:b:c:=d)", "(a::=d)", "(&cn=a)", "( cn=a)", "(;x=a)", "(cn)", "(a:dn:b:c:=d)"} {
		if f, err := ParseFilter(in); !errors.Is(err, ErrFilterSyntax) {
			t.Errorf("%q read as %v, %v", in, f, err)
		}
	}
}

func nested(op string, depth int) string {
	return strings.Repeat("("+op, depth) + "(cn=a)" + strings.Repeat(")", depth)
}

func TestFilterDepth(t *testing.T) {
	for _, op := range []string{"&", "|", "!"} {
		for _, depth := range []int{0, 1, MaxFilterDepth - 1, MaxFilterDepth} {
			if _, err := ParseFilter(nested(op, depth)); err != nil {
				t.Errorf("%s %d: %v", op, depth, err)
			}
		}
		for _, depth := range []int{MaxFilterDepth + 1, 1000, 1_000_000} {
			if _, err := ParseFilter(nested(op, depth)); !errors.Is(err, ErrFilterDepth) {
				t.Errorf("%s %d: %v", op, depth, err)
			}
		}
	}
}

// TestEscapingOracle builds filters around random values with go-ldap's
// EscapeFilter, the foreign opinion on what is special, and asks that exactly
// the value comes out (trust.md L08).
func TestEscapingOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	nasty := []string{"*", "(", ")", "\\", "\x00", "%s", "%n", "'", "\"", ";--", "_", "%", ".*", "[", "^$", "ü", "\xff", "=", ":=", "&", "|", "!", ",", "+", "#", " ", "a", "A"}
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	photo := Attr("thumbnailPhoto") // compares byte by byte
	for i := 0; i < n; i++ {
		var raw []byte
		for j := r.IntN(12); j >= 0; j-- {
			if r.IntN(3) == 0 {
				raw = append(raw, byte(r.IntN(256)))
			} else {
				raw = append(raw, nasty[r.IntN(len(nasty))]...)
			}
		}
		f, err := ParseFilter("(thumbnailPhoto=" + goldap.EscapeFilter(string(raw)) + ")")
		if err != nil || f.Op != OpEqual || !bytes.Equal(f.Value, raw) {
			t.Fatalf("%q: %v, %v", raw, f, err)
		}
		of := func(value []byte) *Entry {
			var b Builder
			b.Set(photo, value)
			return b.Entry(DN{}, nil)
		}
		if !f.Match(of(raw), nil) {
			t.Fatalf("%q does not match itself", raw)
		}
		other := append(bytes.Clone(raw), 'x')
		if f.Match(of(other), nil) {
			t.Fatalf("%q matches %q", raw, other)
		}
		if again, err := ParseFilter(f.String()); err != nil || !reflect.DeepEqual(again, f) {
			t.Fatalf("%s read back as %v, %v", f, again, err)
		}
		if _, err := goldap.CompileFilter(f.String()); err != nil {
			t.Fatalf("go-ldap refuses %s: %v", f, err)
		}
	}
}

func TestEquality(t *testing.T) {
	indexed := func(t *AttrType) bool {
		return !t.Single || t.Name == "sAMAccountName" || t.Name == "objectSid" || t == objectCategory
	}
	for _, c := range []struct{ filter, attr, normal string }{
		{"(sAMAccountName=ADA)", "sAMAccountName", "ada"},
		{"(&(cn=x)(&(mail=y)(sAMAccountName=Ada)))", "sAMAccountName", "ada"},
		{"(|(sAMAccountName=ada)(sAMAccountName=b))", "", ""},
		{"(!(sAMAccountName=ada))", "", ""},
		{"(sAMAccountName=a*)", "", ""},
		{"(objectSid=S-1-5-21-1-2-3-1103)", "objectSid", string(adaSID)},
		{"(objectSid=rubbish)", "", ""},
		{"(objectCategory=user)", "objectCategory", "cn=person,cn=schema,cn=configuration"},
		{"(objectCategory=CN=Person,CN=Schema,CN=Configuration,DC=aadds,DC=test)", "objectCategory", "cn=person,cn=schema,cn=configuration"},
	} {
		f, err := ParseFilter(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		a, normal, ok := f.Equality(indexed)
		if ok != (c.attr != "") || ok && (a.Name != c.attr || normal != c.normal) {
			t.Errorf("%s: %v %q %v", c.filter, a, normal, ok)
		}
	}
	// The index finds whatever the filter matches.
	e := ada()
	attrs := e.Attributes()
	for at, values := attrs.Next(nil); at != nil; at, values = attrs.Next(nil) {
		for _, v := range values {
			f := Equal(at.Name, []byte(v))
			if _, normal, ok := f.Equality(func(*AttrType) bool { return true }); ok && normal != Normalise(at, v) {
				t.Errorf("%s: filter %q, index %q", at.Name, normal, Normalise(at, v))
			} else if !at.Secret && !at.Constructed && (!ok || !f.Match(e, nil)) {
				t.Errorf("%s does not match its own value", at.Name)
			}
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	e := ada()
	f, err := ParseFilter(`(&(objectCategory=person)(objectClass=user)(!(userAccountControl:1.2.840.113556.1.4.803:=2))(description=*traß*)(whenCreated>=20200101000000Z)` +
		`(manager=cn=boss\5c2c big,ou=aaddc users,dc=aadds,dc=test)(objectSid=S-1-5-21-1-2-3-1103)(sAMAccountName>=a)(|(sAMAccountName=x)(cn=ada*)))`)
	if err != nil || !f.Match(e, nil) {
		t.Fatal(err, "no match")
	}
	if n := testing.AllocsPerRun(100, func() { f.Match(e, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParseFilter: what parses is written so that it parses to the same, does
// not panic against an entry, and go-ldap reads the written form too.
func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{"(cn=a)", "(&(a=b)(!(c>=d))(|(e~=f)))", "(cn=a*b*c)", `(cn:dn:1.2.3:=\00)`, "(objectSid=S-1-5-32)", "(whenCreated=20260101000000+01)", "(manager=cn=a)",
		"(objectGUID=04030201-0605-0807-090a-0b0c0d0e0f10)", "(wellKnownObjects=B:2:ab:cn=x)", "(memberOf:1.2.840.113556.1.4.1941:=cn=a)", nested("!", 41)} {
		f.Add(s)
	}
	e := ada()
	f.Fuzz(func(t *testing.T, text string) {
		f, err := ParseFilter(text)
		if err != nil {
			return
		}
		again, err := ParseFilter(f.String())
		if err != nil || !reflect.DeepEqual(f, again) {
			t.Fatalf("%q is written %q and reads back as %v, %v", text, f, again, err)
		}
		if got := f.eval(e, links{}); got != again.eval(e, links{}) {
			t.Fatalf("%q evaluates differently read back", text)
		}
		if f.Op == OpNot && f.eval(e, links{}) != -f.Subs[0].eval(e, links{}) {
			t.Fatalf("%q: not is no negation", text)
		}
		if a, normal, ok := f.Equality(func(*AttrType) bool { return true }); ok && f.Match(e, nil) {
			held := false
			for _, v := range e.Get(a) {
				held = held || Normalise(a, v) == normal
			}
			if !held {
				t.Fatalf("%q matches and the index of %s would not find it by %q", text, a.Name, normal)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	e := ada()
	for _, text := range []string{"(sAMAccountName=bob)", "(&(objectCategory=person)(objectClass=user)(cn=*xyz*))", "(manager=cn=other,ou=aaddc users,dc=aadds,dc=test)"} {
		f, err := ParseFilter(text)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(text, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(e, nil)
			}
		})
	}
}

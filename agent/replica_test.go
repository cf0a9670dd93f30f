package agent

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oiweiwei/go-msrpc/msrpc/drsr/drsuapi/v4"
	"github.com/oiweiwei/go-msrpc/ndr"
)

func TestApply(t *testing.T) {
	r := replica{}
	set := func(c change) {
		t.Helper()
		if !r.apply(&c) {
			t.Fatalf("%s is not known", c.dn)
		}
	}
	set(change{guid: id(1), class: classContainer, dn: "OU=A,DC=x"})
	set(change{guid: id(2), class: classUser, dn: "CN=u,OU=B,OU=A,DC=x", attrs: map[string][]string{"mail": {"m"}, "sn": {"s"}}, version: 3})
	set(change{guid: id(3), class: classOther, dn: "CN=pc,DC=x", attrs: map[string][]string{"sAMAccountName": {"pc$"}}})
	set(change{guid: id(4), class: classUser, dn: "CN=v,OU=AA,DC=x"})

	// An OU takes what is in it along, and nothing else.
	set(change{guid: id(1), dn: "OU=New,DC=x"})
	if r[id(2)].DN != "CN=u,OU=B,OU=New,DC=x" || r[id(4)].DN != "CN=v,OU=AA,DC=x" {
		t.Errorf("%s, %s", r[id(2)].DN, r[id(4)].DN)
	}
	// What is not said stays, what is empty goes; of a machine nothing is kept, and
	// its changes are no news.
	set(change{guid: id(2), attrs: map[string][]string{"mail": {}}})
	if e := r[id(2)]; e.one("mail") != "" || e.one("sn") != "s" || e.Version != 3 {
		t.Errorf("%+v", e)
	}
	set(change{guid: id(3), dn: "CN=pc,DC=x", attrs: map[string][]string{"sAMAccountName": {"pd$"}}})
	if r[id(3)].Attrs != nil {
		t.Error("a computer is kept")
	}
	// One that is not known, of which only a change is said, has to be read.
	if r.apply(&change{guid: id(9), dn: "CN=back,DC=x"}) {
		t.Error("half an object is taken for a whole one")
	}
	set(change{guid: id(2), deleted: true})
	if r[id(2)] != nil {
		t.Error("still there")
	}
}

func TestLinks(t *testing.T) {
	e := &entry{}
	for _, n := range []int{5, 3, 9, 3} {
		e.link(link{to: id(n), attr: "member", present: true})
	}
	e.link(link{to: id(5), attr: "member"})
	e.link(link{to: id(6), attr: "member"})
	if !slices.Equal(e.Members, []GUID{id(3), id(9)}) {
		t.Errorf("%v", e.Members)
	}
	e.link(link{to: id(1), attr: "manager", present: true})
	e.link(link{to: id(2), attr: "manager", present: true})
	e.link(link{to: id(1), attr: "manager"}) // the old value goes after the new one came
	if e.Manager != id(2) {
		t.Errorf("%v", e.Manager)
	}
}

// TestWithin: what is synced at all, and what of it is in scope.
func TestWithin(t *testing.T) {
	r := replica{}
	add := func(n int, c class, dn string, attrs ...string) {
		e := &entry{Class: c, DN: dn, Attrs: map[string][]string{"sAMAccountName": {fmt.Sprint("a", n)}}}
		for i := 0; i < len(attrs); i += 2 {
			e.Attrs[attrs[i]] = []string{attrs[i+1]}
		}
		r[id(n)] = e
	}
	add(1, classUser, "CN=a,OU=P,DC=x", "userAccountControl", "512")
	add(2, classUser, "CN=b,OU=Deep,OU=p,DC=X", "userAccountControl", "514")
	add(3, classUser, "CN=c,OU=Q,DC=x", "userAccountControl", "66048")
	add(4, classUser, "CN=krbtgt,DC=x", "userAccountControl", "514", "isCriticalSystemObject", "1")
	add(5, classUser, "CN=trust,DC=x", "userAccountControl", "2080")
	add(6, classGroup, "CN=g,OU=Q,DC=x", "groupType", "-2147483646")
	add(7, classGroup, "CN=mail,OU=P,DC=x", "groupType", "2", "mail", "m")
	add(8, classGroup, "CN=list,OU=P,DC=x", "groupType", "2")
	add(9, classGroup, "CN=builtin,DC=x", "groupType", "-2147483643")
	add(10, classInetOrg, "CN=i,OU=P,DC=x", "userAccountControl", "512")
	add(11, classUser, "CN=OU\\=P,OU=PP,DC=x", "userAccountControl", "512")
	r[id(6)].Members = []GUID{id(1), id(7), id(99)}
	r[id(7)].Members = []GUID{id(3), id(6)} // and round again
	for name, test := range map[string]struct {
		scope Scope
		want  []int
	}{
		"all":     {Scope{}, []int{1, 2, 3, 6, 7, 11}},
		"OU":      {Scope{OUs: []string{"ou=P,DC=x"}}, []int{1, 2, 7}},
		"two OUs": {Scope{OUs: []string{"OU=P,DC=x", "OU=Q,DC=x"}}, []int{1, 2, 3, 6, 7}},
		"group":   {Scope{Groups: []string{"cn=G,OU=Q,DC=x"}}, []int{1, 3, 6, 7}},
		"both":    {Scope{OUs: []string{"OU=P,DC=x"}, Groups: []string{"CN=g,OU=Q,DC=x"}}, []int{1, 7}},
		"none":    {Scope{Groups: []string{"CN=nobody,DC=x"}}, nil},
	} {
		var got []int
		in := r.within(test.scope)
		for n := 1; n < 12; n++ {
			if in[id(n)] {
				got = append(got, n)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestEntryObject(t *testing.T) {
	domain := &Domain{DN: "DC=corp,DC=test", DNS: "corp.test", NetBIOS: "CORP"}
	e := &entry{Class: classUser, DN: "CN=a,DC=corp,DC=test", Manager: id(2), Attrs: map[string][]string{"sAMAccountName": {"ada"},
		"userAccountControl": {"514"}, "sn": {"L"}, "proxyAddresses": {"SMTP:a@x", "smtp:b@x"}, "objectSid": {"S-1-5-21-1-2-3-1104"}, "pwdLastSet": {"1"}}}
	o := e.object(id(1), domain, map[GUID]string{id(1): "A", id(2): "B"})
	for name, want := range map[string]any{"userPrincipalName": "ada@corp.test", "onPremisesSamAccountName": "ada", "accountEnabled": false, "surname": "L",
		"proxyAddresses": []string{"SMTP:a@x", "smtp:b@x"}, "onPremiseSecurityIdentifier": "S-1-5-21-1-2-3-1104", "onPremisesDistinguishedName": "CN=a,DC=corp,DC=test",
		"dnsDomainName": "corp.test", "netBiosName": "CORP", "manager": "B", "mail": nil, "title": nil} {
		got, there := o.Attributes[name]
		if !there || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, name := range []string{"pwdLastSet", "unicodePwd", "supplementalCredentials", "member"} {
		if _, there := o.Attributes[name]; there {
			t.Errorf("a user has %s", name)
		}
	}
	if o.Type != "user" || o.Operation != "set" || o.Anchor != "A" {
		t.Errorf("%+v", o)
	}
	if fingerprint(o) == fingerprint(e.object(id(1), domain, map[GUID]string{id(1): "A"})) {
		t.Error("another manager is no difference")
	}
}

func TestPasswordDate(t *testing.T) {
	e := &entry{Version: 2, Changed: testNow, Attrs: map[string][]string{"pwdLastSet": {"133932096001234567"}}}
	if at := e.changed().Format(time.RFC3339Nano); at != "2025-06-01T00:00:00.1234567Z" || e.stamp().MustChange {
		t.Error(at)
	}
	e.Attrs["pwdLastSet"] = []string{"0"}
	if e.changed() != testNow || !e.stamp().MustChange {
		t.Error("a password that has to be changed has no date of its own")
	}
	if at := dsTime(13256102400).Format(time.RFC3339); at != "2021-01-26T02:40:00Z" {
		t.Error(at)
	}
}

func TestClassOf(t *testing.T) {
	const top, person, orgPerson, user, computer, inetOrg = "2.5.6.0", "2.5.6.6", "2.5.6.7", "1.2.840.113556.1.5.9", "1.2.840.113556.1.3.30", "2.16.840.1.113730.3.2.2"
	for _, test := range []struct {
		oids []string
		want class
	}{
		{[]string{top, person, orgPerson, user}, classUser},
		{[]string{user, orgPerson, person, top}, classUser},
		{[]string{top, person, orgPerson, user, computer}, classOther},
		{[]string{top, person, orgPerson, user, inetOrg}, classInetOrg},
		{[]string{inetOrg, user, orgPerson, person, top}, classInetOrg},
		{[]string{top, "1.2.840.113556.1.5.8"}, classGroup},
		{[]string{top, "2.5.6.5"}, classContainer},
		{[]string{top}, classOther},
		{nil, classOther},
	} {
		if got := classOf(test.oids); got != test.want {
			t.Errorf("%v: %d", test.oids, got)
		}
	}
}

func TestDecodeValue(t *testing.T) {
	for name, test := range map[string]struct {
		s    syntax
		raw  string
		want string
	}{
		"text":          {text, "K\x00\xe4\x00\xac\x20", "Kä€"},
		"pair":          {text, "\x3d\xd8\x00\xde", "😀"},
		"integer":       {integer, "\x02\x00\x00\x80", "-2147483646"},
		"large":         {large, "\x00\x80\x3e\xd5\xde\xb1\x9d\x01", "116444736000000000"},
		"bytes":         {binaries, "\x00\xff", "AP8="},
		"SID":           {identifier, "\x01\x02\x00\x00\x00\x00\x00\x05\x20\x00\x00\x00\x20\x02\x00\x00", "S-1-5-32-544"},
		"odd text":      {text, "K", ""},
		"short integer": {integer, "\x01\x02", ""},
		"short large":   {large, "\x01\x02\x03\x04", ""},
		"short SID":     {identifier, "\x01\x05", ""},
		"a secret":      {secret, "abcd", ""},
	} {
		got, err := decodeValue(test.s, []byte(test.raw))
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestGUID(t *testing.T) {
	g := GUID{0xaa, 0xf6, 0x31, 0x11, 0x07, 0x9c, 0xd1, 0x11, 0xf7, 0x9f, 0x00, 0xc0, 0x4f, 0xc2, 0xdc, 0xd2}
	if g.String() != "1131f6aa-9c07-11d1-f79f-00c04fc2dcd2" || g.base64() != "qvYxEQec0RH3nwDAT8Lc0g==" {
		t.Errorf("%s %s", g, g.base64())
	}
	var back GUID
	if err := back.UnmarshalText([]byte(g.base64())); err != nil || back != g || back.UnmarshalText([]byte("AA==")) == nil {
		t.Error(back, err)
	}
	if n := nameOf(g); guidOf(n) != g || !strings.EqualFold(n.String(), g.String()) {
		t.Errorf("the library has %s", n)
	}
}

func FuzzDecodeValue(f *testing.F) {
	f.Add(uint8(text), []byte("a\x00"))
	f.Add(uint8(identifier), []byte("\x01\x01\x00\x00\x00\x00\x00\x05\x12\x00\x00\x00"))
	f.Add(uint8(linked), make([]byte, 60))
	f.Fuzz(func(t *testing.T, s uint8, b []byte) {
		_, _ = decodeValue(syntax(s), b)
		if g, err := linkTarget(b); err == nil && g.IsZero() {
			t.Fatal("a link to nothing")
		}
	})
}

// TestPlaces: the reserved part of a place goes out and comes back, as the
// library leaves it out.
func TestPlaces(t *testing.T) {
	call := &getNCChanges{handle: &drsuapi.Handle{}, reserved: 0x1122334455667788,
		request: &drsuapi.MessageGetNCChangesRequestV8{NC: &drsuapi.DSName{}, From: &drsuapi.Vector{HighObjectUpdate: 1, HighPropertyUpdate: 2}}}
	w := ndr.NDR20(nil)
	if err := call.MarshalNDRRequest(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	from := []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x88\x77\x66\x55\x44\x33\x22\x11\x02\x00\x00\x00\x00\x00\x00\x00")
	if !bytes.Contains(w.Bytes(), from) {
		t.Errorf("the request has %x", w.Bytes())
	}

	w = ndr.NDR20(nil)
	reply := drsuapi.MessageGetNCChangesReply{Value: &drsuapi.MessageGetNCChangesReply_V6{V6: &drsuapi.MessageGetNCChangesReplyV6{
		From: &drsuapi.Vector{HighObjectUpdate: 3, HighPropertyUpdate: 4}, To: &drsuapi.Vector{HighObjectUpdate: 1, HighPropertyUpdate: 2}}}}
	for _, err := range []error{w.WriteData(uint32(6)), reply.MarshalUnionNDR(t.Context(), w, 6), w.WriteDeferred(), w.WriteData(uint32(7))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b := w.Bytes()
	at := bytes.Index(b, []byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"))
	copy(b[at:], from)
	back := &getNCChanges{}
	if err := back.UnmarshalNDRResponse(t.Context(), ndr.NDR20(b)); err != nil || back.reservedTo != call.reserved || back.code != 7 {
		t.Errorf("%x, %d, %v", back.reservedTo, back.code, err)
	}
}

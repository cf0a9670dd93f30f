package ldapmsg

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	lor "github.com/lor00x/goldap/message"

	"skyrealm/der"
	"skyrealm/domain/dit"
)

func entry() *dit.Entry {
	var b dit.Builder
	for _, kv := range [][2]string{{"objectClass", "top user"}, {"cn", "Ada"}, {"sn", "Lovelace"}, {"givenName", "Ada"}, {"displayName", "Lovelace,Ada"}, {"mail", "ada@contoso.test"},
		{"sAMAccountName", "ada"}, {"userPrincipalName", "ada@contoso.test"}, {"userAccountControl", "512"}, {"uidNumber", "100"}, {"unicodePwd", "secret"}, {"nTSecurityDescriptor", "sd"}, {"badPwdCount", "3"}} {
		b.SetString(dit.Attr(kv[0]), strings.Fields(kv[1])...)
	}
	return b.Entry(dit.MustParseDN("CN=Ada,OU=AADDC Users,DC=aadds,DC=test"), nil)
}

type groups struct{ n int }

func (g groups) Links(e *dit.Entry, t *dit.AttrType) (v []string) {
	if t == dit.Attr("memberOf") {
		for i := range g.n {
			v = append(v, fmt.Sprintf("CN=g%d", i))
		}
	}
	return v
}

// serve answers a go-ldap client over a pipe with what answer returns, so that
// both directions of the codec stand against a foreign implementation.
func serve(t *testing.T, answer func(m Message) []byte) *goldap.Conn {
	a, b := net.Pipe()
	go func() {
		defer b.Close()
		r := bufio.NewReader(b)
		for {
			msg, err := ReadMessage(r, 1<<20, nil)
			if err != nil {
				return
			}
			m, err := Decode(msg)
			if err != nil {
				t.Errorf("go-ldap sent %x: %v", msg, err)
				return
			}
			if out := answer(m); out != nil {
				if _, err := b.Write(out); err != nil {
					return
				}
			}
		}
	}()
	c := goldap.NewConn(a, false)
	c.SetTimeout(10 * time.Second)
	c.Start()
	t.Cleanup(func() { c.Close() })
	return c
}

func TestAgainstGoLDAP(t *testing.T) {
	var got Message
	e, links := entry(), groups{2}
	c := serve(t, func(m Message) []byte {
		got = m
		switch op := m.Op.(type) {
		case *BindRequest:
			return AppendBindResponse(nil, m.ID, Result{Code: InvalidCredentials, Message: "80090308: data 52e"}, nil)
		case *SearchRequest:
			out := AppendEntry(nil, m.ID, e, &op.Attrs, op.TypesOnly, links)
			out = AppendReference(out, m.ID, "ldap://a/", "ldap://b/")
			return AppendResult(out, m.ID, OpSearchDone, Result{Code: SizeLimitExceeded * ResultCode(op.SizeLimit), MatchedDN: "DC=x"}, PagedControl(0, []byte("next")))
		case *ExtendedRequest:
			return AppendExtended(nil, m.ID, Result{}, "", []byte("u:AADDS\\ada"))
		case *CompareRequest:
			return AppendResult(nil, m.ID, OpCompareResponse, Result{Code: CompareTrue})
		case *UnbindRequest:
			return nil
		}
		return AppendResult(nil, m.ID, m.Response(), Result{})
	})
	err := c.Bind("CN=a", "pw")
	if b := got.Op.(*BindRequest); !goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials) || !strings.Contains(err.Error(), "data 52e") || b.Name != "CN=a" || string(b.Credentials.Expose()) != "pw" || b.Version != 3 {
		t.Errorf("%+v, %v", b, err)
	}
	for _, f := range []string{"(cn=a)", "(&(cn=a*b*c*)(|(cn>=d)(cn<=e))(!(cn~=f))(cn=*))", "(uac:dn:1.2.840.113556.1.4.803:=2)", `(objectGUID=\00\ff\2a)`, "(cn:=x)", "(:1.2.3:=x)"} {
		req := goldap.NewSearchRequest("DC=x", goldap.ScopeWholeSubtree, goldap.NeverDerefAliases, 0, 30, false, f, nil, []goldap.Control{goldap.NewControlPaging(77)})
		res, err := c.Search(req)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		s := got.Op.(*SearchRequest)
		if s.Filter.String() != f || s.Base != "DC=x" || s.Scope != dit.Sub || s.TimeLimit != 30 || !s.Attrs.All {
			t.Errorf("%s: %+v, filter %s", f, s, s.Filter)
		}
		if size, _, ok := got.Control(PagedResults).Paged(); !ok || size != 77 {
			t.Error("the page was lost")
		}
		if len(res.Entries) != 1 || len(res.Referrals) != 1 || res.Referrals[0] != "ldap://a/" || string(goldap.FindControl(res.Controls, PagedResults).(*goldap.ControlPaging).Cookie) != "next" {
			t.Fatalf("%+v", res)
		}
		x := res.Entries[0]
		if x.DN != e.DN.String() || len(x.Attributes) != 12 || len(x.GetAttributeValues("objectClass")) != 2 || x.GetAttributeValue("displayName") != "Lovelace,Ada" || len(x.GetAttributeValues("memberOf")) != 2 ||
			x.GetAttributeValue("badPwdCount") != "3" || x.GetAttributeValue("unicodePwd")+x.GetAttributeValue("nTSecurityDescriptor") != "" {
			t.Errorf("%+v", x)
		}
	}
	res, err := c.Search(goldap.NewSearchRequest("", 0, 0, 1, 0, true, "(cn=*)", []string{"CN", "ntsecuritydescriptor", "unicodePwd", "nope"}, nil))
	if !goldap.IsErrorWithCode(err, goldap.LDAPResultSizeLimitExceeded) || len(res.Entries[0].Attributes) != 2 || len(res.Entries[0].Attributes[0].Values) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	mod := goldap.NewModifyRequest("CN=a", nil)
	mod.Add("cn", []string{"x", "y"})
	mod.Delete("mail", nil)
	mod.Replace("sn", []string{""})
	mod.Increment("uidNumber", "1")
	if err := c.Modify(mod); err != nil {
		t.Error(err)
	}
	if m := got.Op.(*ModifyRequest); len(m.Changes) != 4 || m.Changes[0].Op != ChangeAdd || string(m.Changes[0].Values[1]) != "y" || m.Changes[1].Values != nil || m.Changes[2].Type != dit.Attr("sn") || m.Changes[3].Op != ChangeIncrement {
		t.Errorf("%+v", m)
	}
	add := goldap.NewAddRequest("CN=a", nil)
	add.Attribute("objectClass", []string{"user"})
	if err := c.Add(add); err != nil || string(got.Op.(*AddRequest).Attrs[0].Values[0]) != "user" {
		t.Error(err, got)
	}
	if err := c.Del(goldap.NewDelRequest("CN=a", nil)); err != nil || got.Op.(*DeleteRequest).DN != "CN=a" {
		t.Error(err, got)
	}
	if err := c.ModifyDN(goldap.NewModifyDNRequest("CN=a", "CN=b", true, "OU=c")); err != nil || *got.Op.(*ModifyDNRequest) != (ModifyDNRequest{"CN=a", "CN=b", true, "OU=c", true}) {
		t.Error(err, got)
	}
	if ok, err := c.Compare("CN=a", "cn", "x"); err != nil || !ok || string(got.Op.(*CompareRequest).Value.Expose()) != "x" {
		t.Error(ok, err, got)
	}
	if who, err := c.WhoAmI(nil); err != nil || who.AuthzID != "u:AADDS\\ada" || got.Op.(*ExtendedRequest).Name != WhoAmI {
		t.Error(who, err)
	}
	// Past the 127th message go-ldap hung on other codecs.
	for range 400 {
		if err := c.Del(goldap.NewDelRequest("CN=a", nil)); err != nil {
			t.Fatal(err)
		}
	}
	if got.ID < 300 {
		t.Errorf("only %d messages", got.ID)
	}
}

// TestResponsesAgainstGoldap has the other library read what the first can't
// show.
func TestResponsesAgainstGoldap(t *testing.T) {
	long := strings.Repeat("m", 70_000)
	for _, wire := range [][]byte{
		AppendBindResponse(nil, 5, Result{Code: SASLBindInProgress}, []byte{}),
		AppendBindResponse(nil, 5, Result{Code: SASLBindInProgress}, bytes.Repeat([]byte{1}, 300)),
		AppendExtended(nil, 0, Result{Code: Unavailable, Message: long}, NoticeOfDisconnection, nil),
		AppendResult(nil, 5, OpDeleteResponse, Result{Code: Referral, MatchedDN: "DC=x", Referrals: []string{"ldap://a/", "ldap://b/"}}, Control{OID: "1.2", Critical: true}),
		AppendEntry(nil, 5, entry(), &Selection{All: true}, false, groups{3}),
		AppendEntry(nil, 5, entry(), &Selection{All: true}, false, groups{30_000}),
		AppendEntry(nil, 5, entry(), &Selection{}, false, nil),
	} {
		msg, err := lor.ReadLDAPMessage(lor.NewBytes(0, wire))
		if err != nil {
			t.Errorf("%.60x: %v", wire, err)
			continue
		}
		if again, err := msg.Write(); err != nil || !bytes.Equal(again.Bytes(), wire) {
			t.Errorf("goldap writes\n%.80x, we\n%.80x", again.Bytes(), wire)
		}
	}
}

func TestEntrySelection(t *testing.T) {
	attrs := func(links dit.Links, names ...string) (out []string) {
		sel := NewSelection(names...)
		wire := AppendEntry([]byte("before"), 1, entry(), &sel, false, links)
		msg, err := lor.ReadLDAPMessage(lor.NewBytes(0, wire[6:]))
		if err != nil {
			t.Fatal(err)
		}
		r := der.NewReader(wire[6:])
		m, _ := r.Enter(der.Sequence)
		m.Any()
		op, _ := m.Enter(OpSearchEntry)
		op.Any()
		list, _ := op.Enter(der.Sequence)
		for !list.Empty() {
			a, _ := list.Enter(der.Sequence)
			name, _ := a.Bytes(der.OctetString)
			set, _ := a.Enter(der.Set)
			n := 0
			for ; !set.Empty(); n++ {
				set.Any()
			}
			out = append(out, fmt.Sprintf("%s:%d", name, n))
		}
		_ = msg
		return out
	}
	for _, c := range []struct {
		names, want string
		groups      int
	}{
		{"1.1", "", 1}, {"+", "", 1}, {"nope", "", 1}, {"CN cn 2.5.4.3", "cn:1", 1}, {"unicodePwd", "", 1}, {"nTSecurityDescriptor", "nTSecurityDescriptor:1", 1},
		{"memberof", "memberOf:3", 3}, {"memberOf", "", 0}, {"memberOf;range=0-1", "memberOf;range=0-1:2", 5}, {"memberOf;Range=2-*", "memberOf;range=2-*:3", 5}, {"memberOf;range=3-9", "memberOf;range=3-*:2", 5},
		{"memberOf;range=5-*", "", 5}, {"memberOf;range=4-3", "", 5}, {"memberOf;range=-1-3", "", 5}, {"memberOf;range=0-99999999999", "", 5}, {"memberOf;lang-de", "", 5}, {"cn;binary", "cn;binary:1", 0},
		{"badPwdCount", "badPwdCount:1", 0},
	} {
		if got := strings.Join(attrs(groups{c.groups}, strings.Fields(c.names)...), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.names, got, c.want)
		}
	}
	if got := attrs(nil, "*", "cn", "nTSecurityDescriptor"); len(got) != 12 || got[11] != "nTSecurityDescriptor:1" {
		t.Error(got)
	}
	if got := attrs(groups{1}); len(got) != 12 {
		t.Error(got)
	}
	sel := NewSelection("cn")
	if all := NewSelection("*"); !sel.Has(cn) || sel.Has(mail) || !all.Has(mail) || all.Has(dit.Attr("tokenGroups")) {
		t.Error("Has")
	}
}

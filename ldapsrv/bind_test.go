package ldapsrv

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/ldapsrv/ldapmsg"
)

func whoAmI(t *testing.T, c *ldap.Conn) string {
	t.Helper()
	r, err := c.WhoAmI(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.AuthzID
}

func TestBindForms(t *testing.T) {
	g := start(t, people(t).replica())
	for _, c := range []struct{ name, password, who string }{
		{adaDN, adaPW, `u:AADDS\ada`},
		{"cn=ada  lovelace , ou=aaddc users," + strings.ToLower(base), adaPW, ""}, // two spaces are another name
		{"cn=ada lovelace , ou=aaddc users," + strings.ToLower(base), adaPW, `u:AADDS\ada`},
		{"ada@contoso.test", adaPW, `u:AADDS\ada`},
		{"ADA@CONTOSO.TEST", adaPW, `u:AADDS\ada`},
		{"ada@aadds.contoso.test", adaPW, `u:AADDS\ada`},
		{`AADDS\ada`, adaPW, `u:AADDS\ada`},
		{`aadds.contoso.test\Ada`, adaPW, `u:AADDS\ada`},
		{`OTHER\ada`, adaPW, ""},
		{"bjorn@contoso.test", bornPW, `u:AADDS\bjorn`},
		{"CN=Bjørn Ærø," + usersOU, bornPW, `u:AADDS\bjorn`},
		{"CN=Bj\\c3\\b8rn Ærø," + usersOU, bornPW, `u:AADDS\bjorn`},
		{"bjorn@contoso.test", bornPW + "x", ""},
		{"", adaPW, ""},
		{"CN=Engineers," + usersOU, adaPW, ""},
	} {
		conn := g.dial()
		err := conn.Bind(c.name, c.password)
		if got := whoAmI(t, conn); got != c.who {
			t.Errorf("bind as %q: then I am %q, want %q (%v)", c.name, got, c.who, err)
		}
		if ok := c.who != ""; ok != (err == nil) || !ok && code(err) != 49 {
			t.Errorf("bind as %q: %v", c.name, err)
		}
	}
}

// The refusals carry AD's codes, by which applications tell a person what to do.
func TestBindDiagnostics(t *testing.T) {
	g := start(t, people(t).replica())
	for _, c := range []struct{ name, password, want string }{
		{adaDN, "wrong", "80090308: LdapErr: DSID-0C090446, comment: AcceptSecurityContext error, data 52e, v4563"},
		{"nobody@contoso.test", "wrong", ", data 52e, v4563"},
		{"none@contoso.test", "x", ", data 52e, v4563"},
		{"off@contoso.test", adaPW, ", data 533, v4563"},
		{"off@contoso.test", "wrong", ", data 52e, v4563"}, // who does not know the password learns nothing
		{"change@contoso.test", adaPW, ", data 773, v4563"},
		{"change@contoso.test", "wrong", ", data 52e, v4563"},
		{"krbtgt@aadds.contoso.test", "wrong", ", data 52e, v4563"},
		{adaDN, strings.Repeat("x", 5000), ", data 52e, v4563"},
		{adaDN, "\xff\xfe", ", data 52e, v4563"},
	} {
		err := g.dial().Bind(c.name, c.password)
		if code(err) != 49 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("bind as %s: %v, want 49 with %q", c.name, err, c.want)
		}
		if c.password != "x" && strings.Contains(g.log.String(), c.password) && c.password != "wrong" {
			t.Errorf("the log has the password of %s", c.name)
		}
	}
	if g.Counters.BindsRefused.Load() != 10 || g.Counters.Binds.Load() != 0 {
		t.Errorf("counted %d refused, %d binds", g.Counters.BindsRefused.Load(), g.Counters.Binds.Load())
	}
}

// L12: a name without a password signs nobody in and does not look as if.
func TestUnauthenticatedBind(t *testing.T) {
	g := start(t, people(t).replica())
	for _, name := range []string{adaDN, "ada@contoso.test", `AADDS\ada`, "nobody"} {
		w := g.wire().send(request(1, bindOp(name, "")), request(2, extendedOp(ldapmsg.WhoAmI)))
		if a := w.read(); a.code != int64(ldapmsg.UnwillingToPerform) {
			t.Errorf("bind as %q without a password: %+v", name, a)
		}
		if a := w.read(); a.code != 0 {
			t.Errorf("who am I: %+v", a)
		}
	}
	if a := g.wire().send(request(1, bindOp("", ""))).read(); a.code != 0 || a.op != ldapmsg.OpBindResponse {
		t.Errorf("anonymous bind: %+v", a)
	}
}

// L13: after a bind that failed the connection is anonymous.
func TestFailedRebindForgets(t *testing.T) {
	g := start(t, people(t).replica())
	version2 := func(w *der.Writer) {
		end := w.Len()
		w.String(der.ContextPrimitive(0), adaPW)
		w.String(der.OctetString, adaDN)
		w.Int(der.Integer, 2)
		w.Wrap(ldapmsg.OpBindRequest, end)
	}
	sasl := func(w *der.Writer) {
		end := w.Len()
		w.String(der.OctetString, "PLAIN")
		w.Wrap(der.Context(3), end)
		w.String(der.OctetString, "")
		w.Int(der.Integer, 3)
		w.Wrap(ldapmsg.OpBindRequest, end)
	}
	sicily := func(w *der.Writer) {
		end := w.Len()
		w.String(der.ContextPrimitive(9), "")
		w.String(der.OctetString, "")
		w.Int(der.Integer, 3)
		w.Wrap(ldapmsg.OpBindRequest, end)
	}
	for name, c := range map[string]struct {
		op   func(*der.Writer)
		code ldapmsg.ResultCode
	}{
		"wrong password":    {bindOp(adaDN, "wrong"), ldapmsg.InvalidCredentials},
		"no password":       {bindOp(adaDN, ""), ldapmsg.UnwillingToPerform},
		"anonymous":         {bindOp("", ""), ldapmsg.Success},
		"version 2":         {version2, ldapmsg.ProtocolError},
		"unknown mechanism": {sasl, ldapmsg.AuthMethodNotSupported},
		"sicily":            {sicily, ldapmsg.AuthMethodNotSupported},
	} {
		search := request(3, searchOp(adaDN, 0, nil, "cn"))
		w := g.wire().send(request(1, bindOp(adaDN, adaPW)), search)
		if a := w.read(); a.code != 0 {
			t.Fatalf("bind: %+v", a)
		}
		if a := w.read(); a.dn != adaDN {
			t.Fatalf("search: %+v", a)
		}
		w.read()
		w.send(request(2, c.op), search)
		if a := w.read(); a.code != int64(c.code) {
			t.Errorf("%s: %+v, want %d", name, a, c.code)
		}
		if a := w.read(); a.code != int64(ldapmsg.OperationsError) {
			t.Errorf("%s: then the search gives %+v", name, a)
		}
	}
}

// An account that is disabled or deleted while it is bound has no rights left.
func TestBoundAccountGoes(t *testing.T) {
	w := people(t)
	r := w.replica()
	g := start(t, r)
	c := g.bound(adaDN, adaPW)
	look := func() int {
		_, err := c.Search(ldap.NewSearchRequest(base, 0, 0, 0, 0, false, "(objectClass=*)", []string{"dc"}, nil))
		return code(err)
	}
	if got := look(); got != 0 {
		t.Fatal(got)
	}
	ada := w.records[0]
	for _, rec := range w.records {
		if rec.SAM == "ada" {
			ada = rec
		}
	}
	for i, change := range []func(*domain.Record){
		func(r *domain.Record) { r.UAC |= domain.UACDisabled },
		func(r *domain.Record) { r.UAC &^= domain.UACDisabled },
		func(r *domain.Record) { r.Deleted = true },
	} {
		change(&ada)
		if err := r.Apply([]domain.Record{w.put(ada)}, 0); err != nil {
			t.Fatal(err)
		}
		if got, want := look(), []int{1, 0, 1}[i]; got != want {
			t.Errorf("step %d: %d, want %d", i, got, want)
		}
	}
}

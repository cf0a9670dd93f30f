package kdc

import (
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// TestNameForms: the forms that Windows and its friends sign in with.
func TestNameForms(t *testing.T) {
	for _, c := range []struct {
		kind   int32
		name   string
		canon  bool
		expect string // "" for unknown
	}{
		{krb5.NTEnterprise, "alice@AADDS", true, "alice"},
		{krb5.NTEnterprise, "ALICE@aadds.contoso.test", false, "alice"},
		{krb5.NTMSPrincipal, `AADDS\alice`, false, "alice"},
		{krb5.NTMSPrincipal, `aadds.contoso.test\Alice`, false, "alice"},
		{krb5.NTPrincipal, `aadds\alice`, true, "alice"},
		{krb5.NTPrincipal, `AADDS\WS1$`, true, "WS1$"},
		// The UPN of an account whose sAMAccountName is another.
		{krb5.NTPrincipal, "the-web", true, "web"},
		{krb5.NTEnterprise, "the-web@aadds.contoso.test", true, "web"},

		{krb5.NTMSPrincipal, `OTHER\alice`, true, ""},
		{krb5.NTMSPrincipal, `\alice`, true, ""},
		{krb5.NTMSPrincipal, `AADDS\`, true, ""},
		{krb5.NTMSPrincipal, `AADDS\AADDS\alice`, true, ""},
		{krb5.NTMSPrincipal, `AADDS\alice@contoso.test`, true, ""},
		{krb5.NTEnterprise, "alice@OTHER", true, ""},
		{krb5.NTEnterprise, "@AADDS", true, ""},
		{krb5.NTEnterprise, "Alice.Liddell@contoso.test@AADDS", true, ""},
		{krb5.NTEnterprise, "WS1@AADDS", true, ""},      // CVE-2021-42287
		{krb5.NTMSPrincipal, `AADDS\WS1`, true, ""},     // the same
		{krb5.NTMSPrincipal, `AADDS\krbtgt`, true, "-"}, // known and refused
	} {
		w := newWorld(t)
		w.change("web", func(r *domain.Record) { r.UPN = "the-web@" + w.rep.Info.DNSName })
		q := w.asReq("")
		q.CName = krb5.Principal(c.kind, c.name)
		if c.canon {
			q.Options |= krb5.OptCanonicalize
		}
		switch c.expect {
		case "":
			w.refused(w.send(q), krb5.ErrCPrincipalUnknown)
			continue
		case "-":
			w.refused(w.send(q), krb5.ErrClientRevoked)
			continue
		}
		key := w.key(c.expect, 18)
		q.PAData = krb5.MethodData{w.proof(key, w.now)}
		if g := w.open(w.send(q), key, krb5.UsageASRepPart); g.rep.CName.String() != c.expect || g.rep.CName.Type != krb5.NTPrincipal {
			t.Errorf("%s: ticket for %v, expect %s", c.name, g.rep.CName, c.expect)
		}
	}
}

// TestHostAliases: what a computer offers under HOST/, and what it does not.
func TestHostAliases(t *testing.T) {
	w := newWorld(t)
	svc := w.user("svc", testPassword)
	svc.SPNs = []string{"HTTP/ws1.aadds.contoso.test"}
	host := w.user("hosted", testPassword)
	host.SPNs = []string{"host/app.contoso.test", "HOST/app.contoso.test/aadds.contoso.test"}
	w.put(svc, host)
	g := w.login("alice")
	for _, c := range []struct {
		service []string
		account string // "" for unknown
	}{
		{[]string{"cifs", "ws1.aadds.contoso.test"}, "WS1$"},
		{[]string{"CIFS", "WS1"}, "WS1$"},
		{[]string{"RpcSs", "ws1"}, "WS1$"},
		{[]string{"host", "ws1"}, "WS1$"},
		{[]string{"HTTP", "ws1"}, "WS1$"},
		{[]string{"http", "ws1.aadds.contoso.test"}, "svc"}, // the name that is written out wins
		{[]string{"cifs", "app.contoso.test"}, "hosted"},    // a host outside of the domain's own name: no referral is needed
		{[]string{"cifs", "app.contoso.test", "aadds.contoso.test"}, "hosted"},
		{[]string{"cifs", "dc1.aadds.contoso.test"}, "DC1$"},

		{[]string{"ldap", "ws1.aadds.contoso.test"}, ""}, // not among them: only a domain controller has it
		{[]string{"imap", "ws1"}, ""},
		{[]string{"cifs", "web.aadds.contoso.test"}, ""}, // HTTP/ of it is no HOST/
		{[]string{"cifs", "host/ws1"}, ""},
		{[]string{"cifs", "host", "ws1"}, ""},
		{[]string{"cifs", ""}, ""},
		{[]string{"cifs/ws1"}, ""},
	} {
		q := w.tgsReq(g, "x")
		q.body.SName = krb5.Principal(krb5.NTSrvInst, c.service...)
		w.now = w.now.Add(time.Millisecond)
		q.auth.CTime = w.now
		if c.account == "" {
			w.refused(w.sendRaw(w.encode(q)), krb5.ErrSPrincipalUnknown)
			continue
		}
		r := w.tgs(q)
		w.ticket(&r.rep.Ticket, w.key(c.account, 18))
		if !r.part.SName.Equal(q.body.SName) {
			t.Errorf("%v: ticket for %v", c.service, r.part.SName)
		}
	}
	// As a client, a computer is HOST/ and no alias of it.
	q := w.proven("WS1$", etype.AES256SHA1)
	q.CName = krb5.Principal(krb5.NTSrvHst, "cifs", "ws1.aadds.contoso.test")
	w.refused(w.send(q), krb5.ErrCPrincipalUnknown)
}

// TestServiceByAccountName: [MS-KILE] clients name machines so.
func TestServiceByAccountName(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice")
	for _, name := range []string{"WS1$", `AADDS\ws1$`, "WS1$@aadds.contoso.test", "ws1$@AADDS"} {
		q := w.tgsReq(g, name)
		w.now = w.now.Add(time.Millisecond)
		q.auth.CTime = w.now
		w.ticket(&w.tgs(q).rep.Ticket, w.key("WS1$", 18))
	}
	for _, name := range []string{`AADDS\krbtgt`, "krbtgt@AADDS"} {
		w.refused(w.sendRaw(w.encode(w.tgsReq(g, name))), krb5.ErrSPrincipalUnknown)
	}
}

// TestClientReferral (RFC 6806 §7): who asks the wrong realm by the UPN of an
// account of ours is sent here, and nobody else.
func TestClientReferral(t *testing.T) {
	for _, c := range []struct {
		kind  int32
		name  string
		realm string
		canon bool
		here  bool
	}{
		{krb5.NTPrincipal, "Alice.Liddell", "CONTOSO.TEST", true, true},
		{krb5.NTEnterprise, "alice.liddell@contoso.test", "CONTOSO.TEST", true, true},
		{krb5.NTEnterprise, "alice.liddell@contoso.test", "ELSEWHERE.TEST", false, true},
		{krb5.NTPrincipal, "Alice.Liddell", "CONTOSO.TEST", false, false}, // can't be sent elsewhere
		{krb5.NTPrincipal, "alice", "CONTOSO.TEST", true, false},
		{krb5.NTPrincipal, "alice", "ELSEWHERE.TEST", true, false},
		{krb5.NTPrincipal, "Staff", "AADDS.CONTOSO.TESTS", true, false},
		{krb5.NTEnterprise, "nobody@contoso.test", "CONTOSO.TEST", true, false},
	} {
		w := newWorld(t)
		q := w.asReq("")
		q.CName, q.Realm = krb5.Principal(c.kind, c.name), c.realm
		q.SName = krb5.Principal(krb5.NTSrvInst, "krbtgt", c.realm)
		if c.canon {
			q.Options |= krb5.OptCanonicalize
		}
		e := w.refused(w.send(q), krb5.ErrWrongRealm)
		if here := e.CRealm == testRealm && e.CName.Equal(q.CName); here != c.here || !here && e.CRealm != "" {
			t.Errorf("%s@%s: sent to %q", c.name, c.realm, e.CRealm)
		}
	}
	// A TGS has nobody to send.
	w := newWorld(t)
	q := w.tgsReq(w.login("alice"), webSPN)
	q.body.Realm, q.body.CName = "CONTOSO.TEST", krb5.Principal(krb5.NTEnterprise, "alice.liddell@contoso.test")
	if e := w.refused(w.sendRaw(w.encode(q)), krb5.ErrWrongRealm); e.CRealm != "" {
		t.Errorf("sent to %q", e.CRealm)
	}
}

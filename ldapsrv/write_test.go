package ldapsrv

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/store"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

// kept puts a domain into a real store and follows it.
func kept(t *testing.T) (*domain.Replica, *domain.Directory, *store.DB) {
	t.Helper()
	ctx := t.Context()
	db, err := store.Open(ctx, harness.Database(t), store.Options{Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	ring, err := cred.NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	info := newInfo()
	if err := db.Tenant(ring).Create(ctx, tenant.Settings{TenantID: info.Tenant, DisplayName: "Contoso"}, nil, nil); err != nil {
		t.Fatal(err)
	}
	st := db.Domain(ring)
	w := people(t)
	var records []domain.Record
	last := map[domain.ID]int{}
	for _, r := range w.records {
		if i, ok := last[r.GUID]; ok {
			records[i] = r
			continue
		}
		last[r.GUID] = len(records)
		records = append(records, r)
	}
	for i := range records {
		records[i].USN = 0
	}
	if err := st.Create(ctx, info, records); err != nil {
		t.Fatal(err)
	}
	r := domain.NewReplica(info)
	f := &domain.Follower{Store: st, Replica: r, Log: slog.New(slog.DiscardHandler), Retry: 10 * time.Millisecond}
	if err := f.CatchUp(ctx); err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(running) }()
	t.Cleanup(func() { stop(); <-done })
	return r, &domain.Directory{Replica: r, Store: st, Now: func() time.Time { return moment.Add(time.Hour) }, Rand: rand.Reader}, db
}

// quoted is a value of unicodePwd.
func quoted(password string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(`"` + password + `"`)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return string(b)
}

func adding(dn string, attrs ...string) *ldap.AddRequest {
	q := ldap.NewAddRequest(dn, nil)
	for _, a := range attrs {
		name, value, _ := strings.Cut(a, "=")
		q.Attribute(name, strings.Split(value, "|"))
	}
	return q
}

// changing makes a modification of "+attr=value", "-attr=value" and "=attr=value".
func changing(dn string, changes ...string) *ldap.ModifyRequest {
	q := ldap.NewModifyRequest(dn, nil)
	for _, c := range changes {
		name, value, has := strings.Cut(c[1:], "=")
		var values []string
		if has {
			values = strings.Split(value, "|")
		}
		switch c[0] {
		case '+':
			q.Add(name, values)
		case '-':
			q.Delete(name, values)
		default:
			q.Replace(name, values)
		}
	}
	return q
}

func TestWrites(t *testing.T) {
	replica, directory, db := kept(t)
	g := start(t, replica, func(s *Server) { s.Directory = directory })
	c := g.dial("ldaps://" + g.ldaps)
	if err := c.Bind("grace@contoso.test", adminPW); err != nil {
		t.Fatal(err)
	}
	ada := g.dial("ldaps://" + g.ldaps)
	if err := ada.Bind(adaDN, adaPW); err != nil {
		t.Fatal(err)
	}
	const ou = "OU=Servers," + base
	const svc = "CN=web service," + ou
	const newPW = "Sérvice-Pässword-1"
	step := func(what string, err error, want int) {
		t.Helper()
		if code(err) != want {
			t.Errorf("%s: %v, want %d", what, err, want)
		}
	}
	step("an OU by an ordinary account", ada.Add(adding(ou, "objectClass=organizationalUnit")), 50)
	step("an OU", c.Add(adding(ou, "objectClass=top|organizationalUnit", "description=machines")), 0)
	step("the OU again", c.Add(adding(ou, "objectClass=organizationalUnit")), 68)
	step("below nothing", c.Add(adding("OU=x,OU=none,"+base, "objectClass=organizationalUnit")), 32)
	step("a broken name", c.Add(adding("x", "objectClass=organizationalUnit")), 34)
	step("no class", c.Add(adding("CN=x,"+ou, "description=x")), 65)
	step("an unknown attribute", c.Add(adding("CN=x,"+ou, "objectClass=user", "noSuchAttribute=x")), 16)
	step("an unknown class", c.Add(adding("CN=x,"+ou, "objectClass=noSuchClass")), 65)
	step("a service account", c.Add(adding(svc, "objectClass=user", "sAMAccountName=svc-web", "servicePrincipalName=HTTP/web."+fullName,
		"unicodePwd="+quoted(newPW))), 0)
	step("its sign-in", g.dial().Bind(`AADDS\svc-web`, newPW), 0)
	step("a taken account name", c.Add(adding("CN=other,"+ou, "objectClass=user", "sAMAccountName=SVC-web")), 68)
	step("an attribute", c.Modify(changing(svc, "=description=first")), 0)
	step("by its GUID", c.Modify(changing(guidOf(t, c, svc), "=description=second")), 0)
	step("an ordinary account's change", ada.Modify(changing(svc, "=description=third")), 50)
	step("a value twice", c.Modify(changing(svc, "+description=second")), 20)
	step("the removal of what is not there", c.Modify(changing(svc, "-description=other")), 16)
	step("one step of two is refused", c.Modify(changing(svc, "=description=half", "=objectSid=x")), 50)
	step("an unknown attribute", c.Modify(changing(svc, "=noSuch=x")), 16)
	step("an increment", c.Modify(&ldap.ModifyRequest{DN: svc, Changes: []ldap.Change{{Operation: 3, Modification: ldap.PartialAttribute{Type: "uidNumber", Vals: []string{"1"}}}}}), 2)
	step("a synced user", c.Modify(changing(adaDN, "=description=x")), 50)
	step("a short password", c.Modify(changing(svc, "=unicodePwd="+quoted("short"))), 19)
	step("what is no password", c.Modify(changing(svc, "=unicodePwd=plain")), 19)
	// P05: no password is set but by an administrator's replace.
	own := g.dial("ldaps://" + g.ldaps)
	step("its sign-in to change things", own.Bind(`AADDS\svc-web`, newPW), 0)
	before := replica.BySAM("svc-web").Secrets.KVNO
	step("another's password", ada.Modify(changing(svc, "=unicodePwd="+quoted("Sérvice-Pässword-2"))), 50)
	step("its own without the old one", own.Modify(changing(svc, "=unicodePwd="+quoted("Sérvice-Pässword-2"))), 50)
	step("another's with a made-up old one", ada.Modify(changing(svc, "-unicodePwd="+quoted("x"), "+unicodePwd="+quoted("Sérvice-Pässword-2"))), 50)
	for what, change := range map[string][]string{"a removal": {"-unicodePwd"}, "an empty value": {"=unicodePwd="}, "the removal of an empty value": {"-unicodePwd="},
		"no value": {"=unicodePwd"}, "a removal and a new one": {"-unicodePwd", "+unicodePwd=" + quoted("Sérvice-Pässword-2")}, "an empty password": {"=unicodePwd=" + quoted("")}} {
		step(what+" for a password", c.Modify(changing(svc, change...)), 19)
	}
	if after := replica.BySAM("svc-web").Secrets.KVNO; after != before {
		t.Errorf("kvno %d, was %d", after, before)
	}
	step("its sign-in still", g.dial().Bind(`AADDS\svc-web`, newPW), 0)
	if r, err := c.Search(ask(svc, 0, "(objectClass=*)", "description", "servicePrincipalName")); err != nil ||
		r.Entries[0].GetAttributeValue("description") != "second" || r.Entries[0].GetAttributeValue("servicePrincipalName") != "HTTP/web."+fullName {
		t.Errorf("then there is %+v, %v", r, err)
	}
	step("an OU with children", c.Del(ldap.NewDelRequest(ou, nil)), 66)
	step("a rename", c.ModifyDN(ldap.NewModifyDNRequest(svc, "CN=x", true, "")), 53)
	step("what is not there", c.Del(ldap.NewDelRequest("CN=none,"+ou, nil)), 32)
	step("a deletion", c.Del(ldap.NewDelRequest(svc, nil)), 0)
	step("a sign-in after it", g.dial().Bind(`AADDS\svc-web`, newPW), 49)
	step("the empty OU", c.Del(ldap.NewDelRequest(ou, nil)), 0)
	if n := g.Counters.Writes.Load(); n != 6 {
		t.Errorf("counted %d writes", n)
	}

	// L18: passwords don't come in the clear, whoever sends them.
	clear := g.bound("grace@contoso.test", adminPW)
	for what, err := range map[string]error{
		"modify":             clear.Modify(changing(adaDN, "=unicodePwd="+quoted(newPW))),
		"modify of nothing":  clear.Modify(changing("CN=none,"+base, "=unicodePwd="+quoted(newPW))),
		"among others":       clear.Modify(changing(adaDN, "=description=x", "=userPassword="+newPW)),
		"add":                clear.Add(adding("CN=x,"+base, "objectClass=user", "unicodePwd="+quoted(newPW))),
		"an ordinary client": g.bound(adaDN, adaPW).Modify(changing(adaDN, "=unicodePwd="+quoted(newPW))),
	} {
		step(what+" of a password in the clear", err, 13)
	}
	if err := clear.StartTLS(g.clientTLS()); err != nil {
		t.Fatal(err)
	}
	step("a password inside StartTLS, of a synced user", clear.Modify(changing(adaDN, "=unicodePwd="+quoted(newPW))), 50)
	if strings.Contains(g.log.String(), newPW) {
		t.Error("the log has a password")
	}

	// The database goes away: reads go on, writes say so, and nothing is told.
	db.Close()
	err := c.Add(adding(ou, "objectClass=organizationalUnit"))
	if got := code(err); got != 52 && got != 80 || strings.Contains(fmt.Sprint(err), "SQL") || strings.Contains(fmt.Sprint(err), "pool") {
		t.Errorf("without a database: %v", err)
	}
	g.Counters.Internal.Store(0)
	step("a sign-in without a database", g.dial().Bind(adaDN, adaPW), 0)
}

func guidOf(t *testing.T, c *ldap.Conn, dn string) string {
	t.Helper()
	r, err := c.Search(ask(dn, 0, "(objectClass=*)", "objectGUID"))
	if err != nil || len(r.Entries) != 1 {
		t.Fatal(r, err)
	}
	return fmt.Sprintf("<GUID=%x>", r.Entries[0].GetRawAttributeValue("objectGUID"))
}

// A server without a Directory takes no writes, whoever asks.
func TestReadOnly(t *testing.T) {
	g := start(t, people(t).replica())
	c := g.bound("grace@contoso.test", adminPW)
	err := c.Modify(changing(adaDN, "=description=x"))
	var e *ldap.Error
	if !errors.As(err, &e) || e.ResultCode != 53 {
		t.Errorf("%v", err)
	}
}

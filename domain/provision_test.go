package domain_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/domain/dit"
	"skyrealm/krb5/etype"
	"skyrealm/store"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// house is a tenant and its domain in one database.
type house struct {
	t      *testing.T
	ctx    context.Context
	now    time.Time
	tenant *tenant.Service
	store  *store.Domain
	key    cred.PrivateKey
	prov   *domain.Provisioner
	follow *domain.Follower
	rep    *domain.Replica
	dir    *domain.Directory
	after  tenant.USN
}

func newHouse(t *testing.T) *house {
	t.Helper()
	return newHouseOf(t, func(*domain.Record) bool { return true })
}

// newHouseOf is a house in whose domain is what keep leaves of a new one.
func newHouseOf(t *testing.T, keep func(*domain.Record) bool) *house {
	t.Helper()
	h := &house{t: t, now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	var cancel context.CancelFunc
	h.ctx, cancel = context.WithTimeout(t.Context(), 2*harness.Patience)
	t.Cleanup(cancel)
	log := slog.New(slog.DiscardHandler)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.Open(h.ctx, harness.Database(t), store.Options{Rand: rand.Reader, Log: log})
	must(err)
	t.Cleanup(db.Close)
	tenantRing, err := cred.NewRing(rand.Reader)
	must(err)
	domainRing, err := cred.NewRing(rand.Reader)
	must(err)
	h.key, err = cred.NewPrivateKey(rand.Reader)
	must(err)
	jwk, err := h.key.Public().JWK()
	must(err)
	f, err := tenant.Found("contoso.test", "AADDS.CONTOSO.TEST", jwk, nil, h.now, rand.Reader)
	must(err)
	must(db.Tenant(tenantRing).Create(h.ctx, f.Settings, f.Objects, []tenant.App{f.App}))
	info, err := domain.NewInfo("aadds.contoso.test", f.Settings.TenantID, h.now, rand.Reader)
	must(err)
	info.Administrators = f.Settings.Administrators
	records, err := domain.Found(info, rand.Reader)
	must(err)
	records = slices.DeleteFunc(records, func(r domain.Record) bool { return !keep(&r) })
	h.store = db.Domain(domainRing)
	must(h.store.Create(h.ctx, info, records))
	now := func() time.Time { return h.now }
	h.tenant = &tenant.Service{Store: db.Tenant(tenantRing), Now: now, Rand: rand.Reader}
	h.prov = &domain.Provisioner{Store: h.store, Info: info, Key: cred.Opener{Private: h.key}, Now: now, Rand: rand.Reader, Log: log, Retry: time.Second}
	h.rep = domain.NewReplica(info)
	h.follow = &domain.Follower{Store: h.store, Replica: h.rep, Log: log, Retry: time.Second}
	h.dir = &domain.Directory{Replica: h.rep, Store: h.store, Now: now, Rand: rand.Reader}
	running, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); h.follow.Run(running) }()
	t.Cleanup(func() { stop(); <-done })
	h.sync()
	return h
}

// sync brings the replica up to the tenant.
func (h *house) sync() {
	h.t.Helper()
	for more := true; more; {
		var err error
		if h.after, more, err = h.prov.Step(h.ctx, h.after); err != nil {
			h.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, harness.Patience)
	defer cancel()
	if err := h.rep.WaitTenant(ctx, h.after); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) object(kind tenant.Kind, anchor string, attributes map[string]any) tenant.ID {
	h.t.Helper()
	res, err := h.tenant.SyncObjects(h.ctx, tenant.Origin{}, []tenant.ObjectItem{{Kind: kind, Operation: tenant.Set, Anchor: anchor, Attributes: attributes}})
	if err != nil || !res.Items[0].Reason.OK() {
		h.t.Fatal(res, err)
	}
	return res.Items[0].ID
}

func (h *house) user(anchor string, more map[string]any) tenant.ID {
	h.t.Helper()
	attributes := map[string]any{"userPrincipalName": anchor + "@contoso.test", "displayName": "User " + anchor}
	for k, v := range more {
		attributes[k] = v
	}
	return h.object(tenant.User, anchor, attributes)
}

// password syncs a password with its legacy hashes bound to subject.
func (h *house) password(anchor, subject, password string) {
	h.t.Helper()
	legacy, err := cred.NewLegacy(password, "CORP.TEST"+anchor)
	if err != nil {
		h.t.Fatal(err)
	}
	sealed, err := h.key.Public().Seal(cred.Binding{Tenant: h.prov.Info.Tenant.String(), Subject: subject, Version: h.now.UnixMicro()}, legacy, rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	digest, err := cred.NewDigest(cred.NTHashOf(password), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	res, err := h.tenant.SyncHashes(h.ctx, tenant.Origin{}, []tenant.HashItem{{Anchor: anchor, Changed: h.now, Digest: digest.Expose(), Legacy: sealed}})
	if err != nil || !res.Items[0].Reason.OK() {
		h.t.Fatal(res, err)
	}
}

func (h *house) tick() { h.now = h.now.Add(time.Minute) }

// signs reports whether a password signs in, with LDAP's NT hash and with the
// Kerberos key alike.
func (h *house) signs(name, password string) bool {
	h.t.Helper()
	_, err := h.rep.Authenticate(context.Background(), h.now, name, password)
	o := h.rep.BySAM(name)
	kerberos := false
	if o != nil {
		if k, ok := o.Secrets.Current.Key(etype.AES256SHA1); ok {
			made, err := etype.StringToKey(etype.AES256SHA1, password, k.Salt, k.Iterations)
			kerberos = err == nil && made.Equal(k.Key)
		}
	}
	if (err == nil) != kerberos {
		h.t.Errorf("%s: NT hash and Kerberos keys disagree: %v, %v", name, err, kerberos)
	}
	return err == nil
}

func TestProvisionUser(t *testing.T) {
	h := newHouse(t)
	id := h.user("ada", map[string]any{"mail": "ada@mail.test", "title": "Countess", "onPremiseSecurityIdentifier": "S-1-5-21-1-2-3-1234", "accountEnabled": true})
	h.sync()
	// A synced user is there before the first password, and can't sign in.
	o := h.rep.BySAM("ada")
	if o == nil || o.Key != id || h.signs("ada", "Passw0rd") {
		t.Fatal(o)
	}
	h.password("ada", "ada", "Passw0rd")
	h.sync()
	if !h.signs("ada", "Passw0rd") {
		t.Fatal("the synced password does not sign in")
	}
	o = h.rep.BySAM("ada")
	for name, want := range map[string]string{"mail": "ada@mail.test", "title": "Countess", "userPrincipalName": "ada@contoso.test",
		"userAccountControl": "66048", "msDS-aadObjectId": id.String(), "cn": "User ada"} {
		if got := string(o.Entry.First(dit.Attr(name))); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if o.Secrets.KVNO != 1 || o.Secrets.Current.Keys[0].Salt != "CORP.TESTada" || o.Secrets.Current.Keys[0].KVNO != 1 {
		t.Error("kvno or salt", o.Secrets.KVNO)
	}

	// The same password again, sealed anew: no new key version. Another: one.
	h.tick()
	h.password("ada", "ada", "Passw0rd")
	h.sync()
	if o = h.rep.BySAM("ada"); o.Secrets.KVNO != 1 || !o.Secrets.Set.Equal(h.now) {
		t.Error("a re-send of the password", o.Secrets.KVNO, o.Secrets.Set)
	}
	h.tick()
	h.password("ada", "ada", "Second1")
	h.sync()
	if o = h.rep.BySAM("ada"); o.Secrets.KVNO != 2 || h.signs("ada", "Passw0rd") || !h.signs("ada", "Second1") {
		t.Error("a change of the password", o.Secrets.KVNO)
	}

	// Hashes that do not open: the account fails closed.
	h.tick()
	h.password("ada", "somebody else", "Third1")
	h.sync()
	if h.signs("ada", "Second1") || h.signs("ada", "Third1") {
		t.Error("a set that can't be opened leaves a password that works")
	}

	// Disabled, deleted, and back with another SID.
	h.tick()
	h.password("ada", "ada", "Fourth1")
	h.user("ada", map[string]any{"accountEnabled": false})
	h.sync()
	if _, err := h.rep.Authenticate(t.Context(), h.now, "ada", "Fourth1"); !errors.Is(err, domain.AccountOff) {
		t.Error(err)
	}
	sid := h.rep.BySAM("ada").SID()
	if _, err := h.tenant.SyncObjects(h.ctx, tenant.Origin{}, []tenant.ObjectItem{{Kind: tenant.User, Operation: tenant.Delete, Anchor: "ada"}}); err != nil {
		t.Fatal(err)
	}
	h.sync()
	if h.rep.BySAM("ada") != nil {
		t.Error("a deleted user is still there")
	}
	h.user("ada", map[string]any{"accountEnabled": true})
	h.sync()
	if o = h.rep.BySAM("ada"); o == nil || o.SID() == sid || !h.signs("ada", "Fourth1") {
		t.Error("a restored user has the old SID, or no password", o)
	}

	// Deletion and restoration that the provisioner sees as one.
	sid = o.SID()
	if _, err := h.tenant.SyncObjects(h.ctx, tenant.Origin{}, []tenant.ObjectItem{{Kind: tenant.User, Operation: tenant.Delete, Anchor: "ada"}}); err != nil {
		t.Fatal(err)
	}
	h.user("ada", nil)
	h.sync()
	if o = h.rep.BySAM("ada"); o == nil || o.SID() == sid || !h.signs("ada", "Fourth1") {
		t.Error("a restored user has the old SID, or no password", o)
	}
}

// NTLM hash sync switched off: LDAP simple bind stops with the next password,
// and Kerberos AES goes on (§6 of the design).
func TestNTLMOff(t *testing.T) {
	h := newHouse(t)
	h.user("ada", nil)
	h.password("ada", "ada", "First1")
	h.sync()
	if err := h.tenant.SetNTLM(h.ctx, false); err != nil {
		t.Fatal(err)
	}
	if !h.signs("ada", "First1") {
		t.Error("what was synced before stops")
	}
	h.tick()
	h.password("ada", "ada", "Second1")
	h.sync()
	o := h.rep.BySAM("ada")
	k, ok := o.Secrets.Current.Key(etype.AES256SHA1)
	if made, err := etype.StringToKey(etype.AES256SHA1, "Second1", k.Salt, k.Iterations); !ok || err != nil || !made.Equal(k.Key) {
		t.Error("no Kerberos key of the new password")
	}
	if _, err := h.rep.Authenticate(t.Context(), h.now, "ada", "Second1"); err == nil || !o.Secrets.Current.NT.IsZero() {
		t.Error("an NT hash came into the domain")
	}
}

func TestProvisionCloudUser(t *testing.T) {
	h := newHouse(t)
	if o := h.rep.BySAM("admin"); o == nil || !h.rep.Administers(o) {
		t.Fatal("the first administrator does not administer the domain")
	}
	ada, _, err := h.tenant.CreateUser(h.ctx, tenant.NewUser{UPN: "ada@contoso.test", Password: "First-Passw0rd", Enabled: true,
		Profile: tenant.Profile{DisplayName: "Ada", MailNickname: "ada"}})
	if err != nil {
		t.Fatal(err)
	}
	h.sync()
	if h.rep.BySAM("ada") != nil {
		t.Fatal("a cloud-only user is in the domain before the first password change")
	}
	h.tick()
	if _, err := h.tenant.ChangePassword(h.ctx, ada.ID, "First-Passw0rd", "Second-Passw0rd"); err != nil {
		t.Fatal(err)
	}
	h.sync()
	if !h.signs("ada", "Second-Passw0rd") || h.signs("ada", "First-Passw0rd") {
		t.Fatal("the changed password does not sign in, or the old one does")
	}
	// A reset ends the old password here as well, and makes no new one.
	h.tick()
	if _, err := h.tenant.ResetPassword(h.ctx, ada.ID, "Third-Passw0rd", true); err != nil {
		t.Fatal(err)
	}
	h.sync()
	if h.signs("ada", "Second-Passw0rd") || h.signs("ada", "Third-Passw0rd") || h.rep.BySAM("ada") == nil {
		t.Fatal("after a reset")
	}
}

// Who administers the domain goes by the id of the group that the tenant was made
// with. That its name is free, and another group has it now, changes nothing.
func TestAdministratorsByID(t *testing.T) {
	h := newHouse(t)
	admin := func() *domain.Object { return h.rep.BySAM("admin") }
	group := h.rep.BySAM(tenant.DCAdministrators)
	h.user("eve", nil)
	h.object(tenant.Group, "imposter", map[string]any{"displayName": tenant.DCAdministrators, "onPremisesSamAccountName": tenant.DCAdministrators, "member": []string{"eve"}})
	h.sync()
	eve := h.rep.ByUPN("eve@contoso.test")
	if eve == nil || h.rep.Administers(eve) || !h.rep.Administers(admin()) {
		t.Fatal("beside the true group")
	}
	// The true one is called otherwise, and an imposter gets the name.
	objects, err := h.tenant.Store.Objects(h.ctx, []tenant.ID{group.Key})
	if err != nil {
		t.Fatal(err)
	}
	objects[0].Profile.DisplayName = "Operators"
	if _, err := h.tenant.Store.PutObjects(h.ctx, []tenant.ObjectWrite{{Object: objects[0]}}, nil); err != nil {
		t.Fatal(err)
	}
	h.sync()
	h.object(tenant.Group, "second", map[string]any{"displayName": tenant.DCAdministrators, "onPremisesSamAccountName": tenant.DCAdministrators, "member": []string{"eve"}})
	h.sync()
	if o := h.rep.BySAM(tenant.DCAdministrators); o == nil || o.Key == group.Key {
		t.Fatal("no imposter got the name")
	}
	if h.rep.Administers(h.rep.ByUPN("eve@contoso.test")) {
		t.Error("a group has the rights of its name")
	}
	if !h.rep.Administers(admin()) {
		t.Error("the group lost its rights with its name")
	}
	// The domain's own record of it outlives a restart.
	if info, err := h.store.Info(h.ctx); err != nil || info.Administrators != group.Key {
		t.Error(info.Administrators, err)
	}
}

func TestAccountNames(t *testing.T) {
	h := newHouse(t)
	h.user("a", map[string]any{"mailNickname": "same", "displayName": "Same Name"})
	h.user("b", map[string]any{"mailNickname": "SAME", "displayName": "same name"})
	h.user("c", map[string]any{"onPremisesSamAccountName": "averyveryverylongname1", "displayName": ""})
	h.user("d", map[string]any{"onPremisesSamAccountName": "averyveryverylongname2"})
	h.user("e", map[string]any{"onPremisesSamAccountName": `bad/\[]:;|=,+*?<>@"name.`, "displayName": `Doe, "J" = x; <y> #z\`})
	h.user("f", map[string]any{"onPremisesSamAccountName": "dc1$"})
	h.user("g", map[string]any{"onPremisesSamAccountName": "krbtgt"})
	h.object(tenant.Group, "h", map[string]any{"displayName": "Domain Admins"})
	h.object(tenant.Group, "i", map[string]any{"displayName": "AAD DC Administrators"})
	h.sync()
	seen := map[string]bool{}
	count := 0
	err := h.rep.Search(h.rep.Info.BaseDN(), dit.Sub, dit.Present("msDS-AzureADMailNickname"), "", func(*domain.Object) bool { count++; return true })
	if err != nil || count == 0 {
		t.Fatal(count, err)
	}
	for _, anchor := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		o := h.rep.ByUPN(anchor + "@contoso.test")
		if o == nil {
			t.Fatalf("%s is not in the domain", anchor)
		}
		sam := strings.ToLower(o.SAM)
		if seen[sam] || len(sam) > 20 || sam == "krbtgt" || strings.HasSuffix(sam, "$") || strings.ContainsAny(sam, `"/\[]:;|=,+*?<>@`) {
			t.Errorf("%s is called %q", anchor, o.SAM)
		}
		seen[sam] = true
	}
	if o := h.rep.ByUPN("a@contoso.test"); o.SAM != "same" {
		t.Error("the first to ask for a name got", o.SAM)
	}
	if o := h.rep.ByUPN("e@contoso.test"); o.SAM != "badname" || !strings.Contains(o.Entry.DN.String(), `\,`) {
		t.Error(o.SAM, o.Entry.DN)
	}
	// A synced group can't take the place of one that grants rights.
	for _, name := range []string{"Domain Admins", "AAD DC Administrators"} {
		if o := h.rep.BySAM(name); o == nil || o.Key == (tenant.ID{}) {
			t.Error(name, o)
		}
	}
	if o := h.rep.BySAM("Domain Admins"); o.RID != domain.RIDDomainAdmins {
		t.Error("a synced group became Domain Admins")
	}
	// Names stay when something else about the user changes.
	was := h.rep.ByUPN("b@contoso.test").SAM
	h.user("b", map[string]any{"title": "x"})
	h.sync()
	if now := h.rep.ByUPN("b@contoso.test").SAM; now != was {
		t.Errorf("%s became %s", was, now)
	}
}

func TestGroupsAcrossTheFeed(t *testing.T) {
	h := newHouse(t)
	// The group comes first, and names members that do not exist yet.
	h.object(tenant.Group, "crew", map[string]any{"displayName": "Crew", "member": []string{"ada", "inner"}})
	h.sync()
	h.user("ada", nil)
	h.user("eve", nil)
	h.object(tenant.Group, "inner", map[string]any{"displayName": "Inner", "member": []string{"eve"}})
	h.sync()
	in := func(name string) string {
		var names []string
		for _, g := range h.rep.Membership(h.rep.ByUPN(name + "@contoso.test")).Groups {
			names = append(names, g.SAM)
		}
		return strings.Join(names, ", ")
	}
	if got := in("ada"); got != "Domain Users, Crew" {
		t.Error("ada is in", got)
	}
	if got := in("eve"); !strings.Contains(got, "Crew") || !strings.Contains(got, "Inner") {
		t.Error("eve is in", got)
	}
	h.object(tenant.Group, "crew", map[string]any{"member": []string{}})
	h.sync()
	if got := in("ada"); got != "Domain Users" {
		t.Error("ada is in", got)
	}
}

func TestDirectoryWrites(t *testing.T) {
	h := newHouse(t)
	base := h.rep.Info.BaseDN().String()
	admin := h.rep.BySAM("admin")
	h.user("eve", nil)
	h.sync()
	eve := h.rep.BySAM("eve")
	dn := func(rest string) dit.DN { return dit.MustParseDN(rest + base) }
	mod := func(op domain.ModOp, name string, values ...string) domain.Mod {
		m := domain.Mod{Op: op, Attr: name}
		for _, v := range values {
			m.Values = append(m.Values, []byte(v))
		}
		return m
	}
	class := func(c string) domain.Mod { return mod(domain.ModAdd, "objectClass", "top", c) }
	var constraint *domain.ConstraintError
	var missing *domain.NoSuchObjectError
	check := func(what string, err error, want any) {
		t.Helper()
		switch w := want.(type) {
		case nil:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case error:
			if !errors.Is(err, w) {
				t.Errorf("%s: %v, want %v", what, err, w)
			}
		default:
			if !errors.As(err, want) {
				t.Errorf("%s: %v, want %T", what, err, want)
			}
		}
	}
	add := func(actor *domain.Object, name string, attrs ...domain.Mod) error {
		return h.dir.Add(h.ctx, actor, dn(name), attrs)
	}
	secret := "\"\x00" + "P\x00a\x00s\x00s\x00w\x000\x00r\x00d\x00" + "\"\x00"

	// Who may write where.
	check("nobody", add(nil, "OU=Labs,", class("organizationalUnit")), domain.ErrAccessDenied)
	check("an ordinary user", add(eve, "OU=Labs,", class("organizationalUnit")), domain.ErrAccessDenied)
	check("an OU at the top", add(admin, "OU=Labs,", class("organizationalUnit")), nil)
	check("again", add(admin, "ou=labs,", class("organizationalUnit")), domain.ErrExists)
	check("a user at the top", add(admin, "CN=x,", class("user")), domain.ErrAccessDenied)
	check("a user among the synced", add(admin, "CN=x,OU=AADDC Users,", class("user")), domain.ErrAccessDenied)
	check("below nothing", add(admin, "CN=x,OU=Nowhere,", class("user")), &missing)
	check("a wrong naming attribute", add(admin, "CN=Labs2,", class("organizationalUnit")), &constraint)
	check("no class", add(admin, "CN=x,OU=Labs,"), &constraint)
	check("the domain's own class", add(admin, "CN=x,OU=Labs,", class("domainDNS")), &constraint)

	// What may be written.
	check("a service", add(admin, "CN=web,OU=Labs,", class("user"), mod(domain.ModAdd, "servicePrincipalName", "HTTP/web.test"), mod(domain.ModAdd, "unicodePwd", secret)), nil)
	if !h.signs("web", "Passw0rd") || h.rep.BySPN("http/WEB.test") == nil {
		t.Error("the service account does not sign in, or has no SPN")
	}
	check("an SPN twice", add(admin, "CN=web2,OU=Labs,", class("user"), mod(domain.ModAdd, "servicePrincipalName", "http/web.TEST")), &constraint)
	check("the KDC's own SPN", add(admin, "CN=web2,OU=Labs,", class("user"), mod(domain.ModAdd, "servicePrincipalName", "krbtgt/OTHER")), &constraint)
	check("a user that looks like a computer", add(admin, "CN=pc,OU=Labs,", class("user"), mod(domain.ModAdd, "sAMAccountName", "pc$")), &constraint)
	check("a computer that looks like a user", add(admin, "CN=pc,OU=Labs,", class("computer"), mod(domain.ModAdd, "sAMAccountName", "pc")), &constraint)
	check("a computer", add(admin, "CN=pc,OU=AADDC Computers,", class("computer"), mod(domain.ModAdd, "unicodePwd", secret)), nil)
	if o := h.rep.BySAM("pc$"); o == nil || o.Secrets.Current.Keys[0].Salt != "AADDS.CONTOSO.TESThostpc.aadds.contoso.test" {
		t.Error("the computer's name or salt", o)
	}
	check("krbtgt", add(admin, "CN=k,OU=Labs,", class("user"), mod(domain.ModAdd, "sAMAccountName", "KRBTGT")), &constraint)
	check("a taken name", add(admin, "CN=k,OU=Labs,", class("user"), mod(domain.ModAdd, "sAMAccountName", "EVE")), domain.ErrExists)
	web := dn("CN=web,OU=Labs,")
	modify := func(actor *domain.Object, name dit.DN, mods ...domain.Mod) error {
		return h.dir.Modify(h.ctx, actor, name, mods)
	}
	for _, name := range []string{"objectSid", "objectGUID", "sIDHistory", "primaryGroupID", "msDS-aadObjectId", "memberOf", "nTSecurityDescriptor", "ntPwdHistory", "msDS-KeyCredentialLink"} {
		check(name, modify(admin, web, mod(domain.ModReplace, name, "1")), domain.ErrAccessDenied)
	}
	check("pwdLastSet in the past", modify(admin, web, mod(domain.ModReplace, "pwdLastSet", "1")), &constraint)
	check("a DC's bit", modify(admin, web, mod(domain.ModReplace, "userAccountControl", fmt.Sprint(domain.UACServer))), &constraint)
	check("a bad password", modify(admin, web, mod(domain.ModReplace, "unicodePwd", "plain")), &constraint)
	check("no such attribute", modify(admin, web, mod(domain.ModReplace, "nonsense", "1")), &constraint)
	check("what is not there", modify(admin, web, mod(domain.ModDelete, "description", "x")), domain.ErrNoSuchAttribute)
	check("a description", modify(admin, web, mod(domain.ModAdd, "description", "web server")), nil)
	check("a new password", modify(admin, web, mod(domain.ModReplace, "unicodePwd", strings.Replace(secret, "0", "1", 1))), nil)
	if o := h.rep.BySAM("web"); o.Secrets.KVNO != 2 || o.Secrets.Previous.NT.IsZero() || !h.signs("web", "Passw1rd") || h.signs("web", "Passw0rd") {
		t.Error("after a new password", o.Secrets.KVNO)
	}
	check("an ordinary user", modify(eve, web, mod(domain.ModReplace, "description", "x")), domain.ErrAccessDenied)
	check("a synced user", modify(admin, eve.Entry.DN, mod(domain.ModReplace, "description", "x")), domain.ErrAccessDenied)
	check("krbtgt's password", modify(admin, dn("CN=krbtgt,CN=Users,"), mod(domain.ModReplace, "unicodePwd", secret)), domain.ErrAccessDenied)
	check("Domain Admins", modify(admin, dn("CN=Domain Admins,CN=Users,"), mod(domain.ModAdd, "member", eve.Entry.DN.String())), domain.ErrAccessDenied)

	// Deletion, from the leaves.
	check("an OU with children", h.dir.Delete(h.ctx, admin, dn("OU=Labs,")), domain.ErrNotLeaf)
	check("a leaf", h.dir.Delete(h.ctx, admin, web), nil)
	check("the OU", h.dir.Delete(h.ctx, admin, dn("OU=Labs,")), nil)
	check("a built-in OU", h.dir.Delete(h.ctx, admin, dn("OU=AADDC Computers,")), domain.ErrAccessDenied)
	if h.rep.BySPN("HTTP/web.test") != nil || h.rep.ByDN(web) != nil {
		t.Error("what was deleted is still found")
	}
}

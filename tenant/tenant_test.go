package tenant_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/store"
	"skyrealm/tenant"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// world is a tenant in a database of its own, with the domain's private key
// beside it to look into what the tenant sealed.
type world struct {
	*tenant.Service
	t        *testing.T
	ctx      context.Context
	settings tenant.Settings
	key      cred.PrivateKey
	found    *tenant.Founding
	now      time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	db, err := store.Open(w.ctx, harness.Database(t), store.Options{Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	ring, err := cred.NewRing(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if w.key, err = cred.NewPrivateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	jwk, err := w.key.Public().JWK()
	if err != nil {
		t.Fatal(err)
	}
	if w.found, err = tenant.Found("contoso.test", "AADDS.CONTOSO.TEST", jwk, nil, w.now, rand.Reader); err != nil {
		t.Fatal(err)
	}
	w.settings = w.found.Settings
	st := db.Tenant(ring)
	if err := st.Create(w.ctx, w.settings, w.found.Objects, []tenant.App{w.found.App}); err != nil {
		t.Fatal(err)
	}
	w.Service = &tenant.Service{Store: st, Now: func() time.Time { return w.now }, Rand: rand.Reader}
	return w
}

func (w *world) set(change func(*tenant.Settings)) {
	w.t.Helper()
	if err := w.Store.UpdateSettings(w.ctx, func(s *tenant.Settings) error { change(s); return nil }); err != nil {
		w.t.Fatal(err)
	}
}

func user(anchor, upn string) tenant.ObjectItem {
	return tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Set, Anchor: anchor, Attributes: map[string]any{"userPrincipalName": upn, "DisplayName": upn}}
}

func (w *world) objects(items ...tenant.ObjectItem) tenant.BatchResult {
	w.t.Helper()
	res, err := w.SyncObjects(w.ctx, tenant.Origin{}, items)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) hash(anchor, password string, changed time.Time) tenant.HashItem {
	w.t.Helper()
	d, err := cred.NewDigest(cred.NTHashOf(password), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	legacy, err := cred.NewLegacy(password, "CORP.TESTx")
	if err != nil {
		w.t.Fatal(err)
	}
	sealed, err := w.key.Public().Seal(cred.Binding{Tenant: w.settings.TenantID.String(), Subject: anchor, Version: changed.UnixMicro()}, legacy, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return tenant.HashItem{Anchor: anchor, Changed: changed, Digest: d.Expose(), Legacy: sealed}
}

func (w *world) hashes(items ...tenant.HashItem) tenant.BatchResult {
	w.t.Helper()
	res, err := w.SyncHashes(w.ctx, tenant.Origin{}, items)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) signIn(upn, password string, want int) {
	w.t.Helper()
	_, _, err := w.SignIn(w.ctx, upn, password)
	var refused *tenant.SignInError
	switch {
	case want == 0 && err != nil:
		w.t.Errorf("%s is refused: %v", upn, err)
	case want != 0 && (!errors.As(err, &refused) || refused.Code != want):
		w.t.Errorf("%s: %v, want AADSTS%d", upn, err, want)
	}
}

func reasons(r tenant.BatchResult) string {
	out := make([]string, len(r.Items))
	for i := range r.Items {
		out[i] = string(r.Items[i].Reason)
	}
	return strings.Join(out, " ")
}

func TestSyncAndSignIn(t *testing.T) {
	w := newWorld(t)
	res := w.objects(user("ada", "ada@contoso.test"), user("eve", "eve@contoso.test"),
		tenant.ObjectItem{Kind: tenant.Group, Operation: tenant.Set, Anchor: "crew", Attributes: map[string]any{"displayName": "Crew", "member": []string{"ada", "later"}}})
	if got := reasons(res); got != "stored stored stored" {
		t.Fatal(got)
	}
	// A full sync sends all again; nobody is written a second time.
	if again := w.objects(user("ada", "ada@contoso.test")); reasons(again) != "unchanged" || again.Items[0].ID != res.Items[0].ID {
		t.Fatal(again)
	}
	w.signIn("ada@contoso.test", "pässwörd-€", tenant.CodeNoPassword)
	if got := reasons(w.hashes(w.hash("ada", "pässwörd-€", w.now))); got != "stored" {
		t.Fatal(got)
	}
	w.signIn("ADA@contoso.test", "pässwörd-€", 0)
	w.signIn("ada@contoso.test", "pässwörd-", tenant.CodeWrongPassword)
	w.signIn("ada@contoso.test", "", tenant.CodeWrongPassword)
	w.signIn("nobody@contoso.test", "x", tenant.CodeUnknownUser)
	w.signIn("ada@contoso.test", strings.Repeat("x", 1<<20), tenant.CodeWrongPassword)

	// A digest of the empty password opens nothing (L12).
	w.hashes(w.hash("eve", "", w.now))
	w.signIn("eve@contoso.test", "", tenant.CodeWrongPassword)

	off := user("ada", "ada@contoso.test")
	off.Attributes["accountEnabled"] = false
	w.objects(off)
	w.signIn("ada@contoso.test", "pässwörd-€", tenant.CodeDisabled)
	w.objects(tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: "ada"})
	w.signIn("ada@contoso.test", "pässwörd-€", tenant.CodeUnknownUser)

	// Back again: the same object, of a new generation.
	before := res.Items[0].ID
	res = w.objects(user("ada", "ada@contoso.test"))
	if res.Items[0].ID != before {
		t.Error("a restored user is another object")
	}
	o, err := w.Store.Object(w.ctx, before)
	if err != nil || o.Generation != 1 || !o.Deleted.IsZero() {
		t.Error(o, err)
	}
}

func TestBadItemsHurtNobodyElse(t *testing.T) {
	w := newWorld(t)
	bad := user("bad", "bad@contoso.test")
	bad.Attributes["accountEnabled"] = "perhaps"
	long := user("long", "long@contoso.test")
	long.Attributes["displayName"] = strings.Repeat("x", 1<<20)
	got := reasons(w.objects(
		user("good", "good@contoso.test"),
		user("good", "again@contoso.test"),
		bad, long,
		user("", "noanchor@contoso.test"),
		user(strings.Repeat("a", 61), "long@contoso.test"),
		user("spaced anchor", "x@contoso.test"),
		user("taken", "GOOD@contoso.test"),
		user("admin", "admin@contoso.test"),
		user("odd", "two@signs@contoso.test"),
		tenant.ObjectItem{Kind: 9, Operation: tenant.Set, Anchor: "device"},
		tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: "never-there"},
		user("other", "other@contoso.test"),
	))
	want := "stored duplicateInBatch attributeInvalid attributeTooLong malformed malformed malformed quarantined existingAdminRoleConflict userPrincipalNameInvalid unsupported unchanged stored"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := reasons(w.objects(tenant.ObjectItem{Kind: tenant.Group, Operation: tenant.Set, Anchor: "good"})); got != "typeMismatch" {
		t.Error(got)
	}

	good := w.hash("good", "Passw0rd", w.now)
	digest := good
	digest.Digest = "v1;PPH1_MD4,00,1000,00;"
	slow := good
	slow.Digest = strings.Replace(good.Digest, ",1000,", ",1000000000,", 1)
	noDate := good
	noDate.Changed = time.Time{}
	legacy := good
	legacy.Legacy = "not.a.jwe"
	other, _ := cred.NewPrivateKey(rand.Reader)
	elsewhere := good
	l, _ := cred.NewLegacy("Passw0rd", "x")
	elsewhere.Legacy, _ = other.Public().Seal(cred.Binding{Tenant: "t", Subject: "good", Version: 1}, l, rand.Reader)
	temporary := good
	temporary.MustChange = true
	got = reasons(w.hashes(w.hash("nobody", "x", w.now), digest, slow, noDate, legacy, elsewhere, temporary, good))
	want = "unknownAnchor digestMalformed digestIterationsOutOfBounds changeDateMalformed legacyMalformed legacyUnknownKey temporaryPasswordFiltered stored"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	w.signIn("good@contoso.test", "Passw0rd", 0)
}

func TestPasswordsInOrder(t *testing.T) {
	w := newWorld(t)
	w.objects(user("ada", "ada@contoso.test"))
	at := func(minutes int) time.Time { return w.now.Add(time.Duration(minutes) * time.Minute) }
	first, second := w.hash("ada", "first", at(-20)), w.hash("ada", "second", at(-10))

	// The newest date wins whatever the order of arrival, in a batch and over
	// batches; a re-send changes nothing.
	if got := reasons(w.hashes(second, first)); got != "stored superseded" {
		t.Error(got)
	}
	if got := reasons(w.hashes(first)); got != "superseded" {
		t.Error(got)
	}
	if got := reasons(w.hashes(second)); got != "unchanged" {
		t.Error(got)
	}
	w.signIn("ada@contoso.test", "second", 0)
	w.signIn("ada@contoso.test", "first", tenant.CodeWrongPassword)

	// A date in the future counts as now: the next real change is not lost.
	w.hashes(w.hash("ada", "future", at(60*24*365)))
	w.signIn("ada@contoso.test", "future", 0)
	w.now = at(1)
	w.hashes(w.hash("ada", "present", w.now))
	w.signIn("ada@contoso.test", "present", 0)

	// An administrator's reset overrides it, and is overridden.
	o, _ := w.User(w.ctx, "ada@contoso.test")
	w.now = at(1)
	if _, err := w.ResetPassword(w.ctx, o.ID, "Reset-By-4dmin", false); err != nil {
		t.Fatal(err)
	}
	w.signIn("ada@contoso.test", "Reset-By-4dmin", 0)
	if got := reasons(w.hashes(w.hash("ada", "older", at(-5)))); got != "superseded" {
		t.Error(got)
	}
	w.now = at(2)
	w.hashes(w.hash("ada", "newer", w.now))
	w.signIn("ada@contoso.test", "newer", 0)
}

// Whatever the order in which the changes of one user arrive, and in whatever
// batches, the last by date stands in the end.
func TestPasswordsConverge(t *testing.T) {
	w := newWorld(t)
	w.objects(user("ada", "ada@contoso.test"))
	var items []tenant.HashItem
	for i := range 6 {
		items = append(items, w.hash("ada", fmt.Sprint("password", i), w.now.Add(time.Duration(i-10)*time.Hour)))
	}
	random := make([]byte, 64)
	for round := range 50 {
		_, _ = rand.Read(random)
		shuffled := append([]tenant.HashItem(nil), items...)
		for i := range shuffled {
			j := int(random[i]) % len(shuffled)
			shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
		}
		anchor := fmt.Sprint("user", round)
		w.objects(user(anchor, anchor+"@contoso.test"))
		for i := range shuffled {
			shuffled[i].Anchor = anchor
			shuffled[i].Legacy = ""
		}
		cut := int(random[40]) % len(shuffled)
		w.hashes(shuffled[:cut]...)
		w.hashes(shuffled[cut:]...)
		w.signIn(anchor+"@contoso.test", "password5", 0)
	}
}

func TestSyncSwitches(t *testing.T) {
	w := newWorld(t)
	w.objects(user("ada", "ada@contoso.test"))
	w.hashes(w.hash("ada", "before", w.now))

	// Password sync off: passwords freeze and sign-in goes on.
	w.set(func(s *tenant.Settings) { s.Features &^= tenant.PasswordHashSync })
	w.now = w.now.Add(time.Minute)
	if _, err := w.SyncHashes(w.ctx, tenant.Origin{}, []tenant.HashItem{w.hash("ada", "after", w.now)}); !errors.Is(err, tenant.ErrPasswordSyncOff) {
		t.Error(err)
	}
	w.signIn("ada@contoso.test", "before", 0)

	// Directory sync off: neither objects nor passwords.
	w.set(func(s *tenant.Settings) { s.Features |= tenant.PasswordHashSync; s.DirSync = false })
	if _, err := w.SyncObjects(w.ctx, tenant.Origin{}, nil); !errors.Is(err, tenant.ErrDirSyncOff) {
		t.Error(err)
	}
	if _, err := w.SyncHashes(w.ctx, tenant.Origin{}, nil); !errors.Is(err, tenant.ErrDirSyncOff) {
		t.Error(err)
	}
	w.signIn("ada@contoso.test", "before", 0)

	// Legacy hashes are not taken before Domain Services is there.
	w.set(func(s *tenant.Settings) { s.DirSync, s.DomainServices = true, false })
	item := w.hash("ada", "after", w.now)
	if got := reasons(w.hashes(item)); got != "domainServicesOff" {
		t.Error(got)
	}
	item.Legacy = ""
	if got := reasons(w.hashes(item)); got != "stored" {
		t.Error(got)
	}

	// A temporary password is taken with the feature, and has to be changed.
	w.set(func(s *tenant.Settings) { s.Features |= tenant.ForcePasswordChangeOnLogon })
	w.now = w.now.Add(time.Minute)
	item = w.hash("ada", "temporary", w.now)
	item.Legacy, item.MustChange = "", true
	if got := reasons(w.hashes(item)); got != "stored" {
		t.Error(got)
	}
	w.signIn("ada@contoso.test", "temporary", tenant.CodeMustChangePassword)
	w.signIn("ada@contoso.test", "wrong", tenant.CodeWrongPassword)

	if _, err := w.SyncHashes(w.ctx, tenant.Origin{}, make([]tenant.HashItem, tenant.MaxBatchItems+1)); !errors.Is(err, tenant.ErrBatchTooLarge) {
		t.Error(err)
	}
}

func TestSignInNames(t *testing.T) {
	w := newWorld(t)
	nick := user("c", "c@corp.local")
	nick.Attributes["mailNickname"] = "chosen"
	smtp := user("d", "d@corp.local")
	smtp.Attributes["proxyAddresses"] = []string{"smtp:second@x.test", "SMTP:primary@x.test"}
	res := w.objects(user("a", "a@contoso.test"), user("b", "b@corp.local"), nick, smtp)
	if got := reasons(res); got != "stored stored stored stored" {
		t.Fatal(got)
	}
	// An unverified suffix gives way to the initial domain.
	for i, want := range []string{"a@contoso.test", "b@contoso.test", "chosen@contoso.test", "primary@contoso.test"} {
		o, err := w.Store.Object(w.ctx, res.Items[i].ID)
		if err != nil || o.UPN != want {
			t.Errorf("%s, want %s: %v", o.UPN, want, err)
		}
	}
}

func TestCloudUsers(t *testing.T) {
	w := newWorld(t)
	create := func(upn, password string) (tenant.Object, error) {
		o, _, err := w.CreateUser(w.ctx, tenant.NewUser{UPN: upn, Password: password, Enabled: true,
			Profile: tenant.Profile{DisplayName: "Ada", MailNickname: "ada"}})
		return o, err
	}
	ada, err := create("ada@contoso.test", "First-Passw0rd")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := create("ADA@contoso.test", "First-Passw0rd"); !errors.Is(err, tenant.ErrUPNTaken) {
		t.Error(err)
	}
	var invalid *tenant.InvalidError
	if _, err := create("ada@elsewhere.test", "First-Passw0rd"); !errors.As(err, &invalid) {
		t.Error(err)
	}
	if _, _, err := w.CreateUser(w.ctx, tenant.NewUser{UPN: "nul@contoso.test", Password: "First-Passw0rd",
		Profile: tenant.Profile{DisplayName: "A\x00B", MailNickname: "nul"}}); !errors.As(err, &invalid) {
		t.Error(err)
	}
	var policy *tenant.PolicyError
	for _, weak := range []string{"", "Sh0rt!", "onlylowercase", "Passwörd-1234", "x-Ada12345 with spaces"[:0] + strings.Repeat("Aa1!", 65)} {
		if _, err := create("weak@contoso.test", weak); !errors.As(err, &policy) {
			t.Errorf("%d characters: %v", len(weak), err)
		}
	}
	w.signIn("ada@contoso.test", "First-Passw0rd", 0)

	// No legacy hashes before the first change, and the right ones after.
	set, err := w.Store.Credential(w.ctx, ada.ID)
	if err != nil || set.Legacy != "" {
		t.Fatal("a new user has legacy hashes", err)
	}
	if _, err := w.ChangePassword(w.ctx, ada.ID, "wrong", "Second-Passw0rd"); !errors.Is(err, tenant.ErrWrongPassword) {
		t.Error(err)
	}
	if _, err := w.ChangePassword(w.ctx, ada.ID, "First-Passw0rd", "weak"); !errors.As(err, &policy) {
		t.Error(err)
	}
	if _, err := w.ChangePassword(w.ctx, ada.ID, "First-Passw0rd", "First-Passw0rd"); !errors.As(err, &policy) {
		t.Error(err)
	}
	if _, err := w.ChangePassword(w.ctx, ada.ID, "First-Passw0rd", "Second-Passw0rd"); err != nil {
		t.Fatal(err)
	}
	w.signIn("ada@contoso.test", "Second-Passw0rd", 0)
	w.signIn("ada@contoso.test", "First-Passw0rd", tenant.CodeWrongPassword)
	set, err = w.Store.Credential(w.ctx, ada.ID)
	if err != nil {
		t.Fatal(err)
	}
	legacy, err := w.key.Open(cred.Binding{Tenant: w.settings.TenantID.String(), Subject: ada.ID.String(), Version: set.Version}, set.Legacy)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := cred.NewLegacy("Second-Passw0rd", "AADDS.CONTOSO.TESTada")
	if !legacy.SamePassword(want) {
		t.Error("the sealed hashes are of another password or salt")
	}

	// A synced user's password is kept on-premises.
	w.objects(user("eve", "eve@contoso.test"))
	w.hashes(w.hash("eve", "On-Premises-1", w.now))
	eve, _ := w.User(w.ctx, "eve@contoso.test")
	if _, err := w.ChangePassword(w.ctx, eve.ID, "On-Premises-1", "Second-Passw0rd"); !errors.Is(err, tenant.ErrSyncedPassword) {
		t.Error(err)
	}
}

func TestApps(t *testing.T) {
	w := newWorld(t)
	app, err := w.App(w.ctx, w.found.App.ClientID, w.found.AgentSecret)
	if err != nil || len(app.Roles) != 1 || app.Roles[0] != tenant.RoleSync {
		t.Error(app, err)
	}
	if _, err := w.App(w.ctx, w.found.App.ClientID, w.found.AgentSecret+"x"); !errors.Is(err, tenant.ErrBadSecret) {
		t.Error(err)
	}
	if _, err := w.App(w.ctx, tenant.ID{1}, w.found.AgentSecret); !errors.Is(err, tenant.ErrNotFound) {
		t.Error(err)
	}
	// The founder can sign in, and has the domain's forms of the password.
	w.signIn(w.found.AdminUPN, w.found.AdminPassword, 0)
}

package tenant_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skyrealm/tenant"
)

// session signs in and returns what a refresh token carries.
func (w *world) session(upn, password string) tenant.Session {
	w.t.Helper()
	_, s, err := w.SignIn(w.ctx, upn, password)
	if err != nil {
		w.t.Fatalf("sign-in of %s: %v", upn, err)
	}
	return s
}

// resumes goes on with a session, which is to end in a code, 0 for none.
func (w *world) resumes(what string, s tenant.Session, want int) {
	w.t.Helper()
	user, err := w.Resume(w.ctx, s)
	var refused *tenant.SignInError
	switch {
	case want == 0 && (err != nil || user.ID != s.User):
		w.t.Errorf("%s: %v", what, err)
	case want != 0 && (!errors.As(err, &refused) || refused.Code != want):
		w.t.Errorf("%s: %v, want AADSTS%d", what, err, want)
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cloudUser(name string) tenant.Object {
	w.t.Helper()
	user, _, err := w.CreateUser(w.ctx, tenant.NewUser{UPN: name + "@contoso.test", Password: "Initial-Pa55", Enabled: true,
		Profile: tenant.Profile{DisplayName: name, MailNickname: name}})
	w.must(err)
	return user
}

// What a password event does to a session (tenant-api §4.5).
func TestSessionsAndPasswords(t *testing.T) {
	w := newWorld(t)
	ada := w.cloudUser("ada")
	first := w.session(ada.UPN, "Initial-Pa55")
	w.resumes("a new session", first, 0)

	w.now = w.now.Add(time.Minute)
	_, err := w.ChangePassword(w.ctx, ada.ID, "Initial-Pa55", "Second-Pa55")
	w.must(err)
	w.resumes("after the user's change", first, tenant.CodeRevoked)
	second := w.session(ada.UPN, "Second-Pa55")
	w.resumes("signed in after it", second, 0)
	w.now = w.now.Add(time.Minute)
	_, err = w.ResetPassword(w.ctx, ada.ID, "Third-Pa555", false)
	w.must(err)
	w.resumes("after a reset", second, tenant.CodeRevoked)
	third := w.session(ada.UPN, "Third-Pa555")
	w.now = w.now.Add(time.Minute)
	_, err = w.ResetPassword(w.ctx, ada.ID, "Fourth-Pa55", true)
	w.must(err)
	w.resumes("after a reset to a temporary password", third, tenant.CodeRevoked)

	// Synced.
	w.objects(user("bob", "bob@contoso.test"))
	w.hashes(w.hash("bob", "Pa$$w0rd", w.now.Add(-time.Hour)))
	early := w.session("bob@contoso.test", "Pa$$w0rd")
	w.hashes(w.hash("bob", "Pa$$w1rd", w.now.Add(-time.Minute)))
	w.signIn("bob@contoso.test", "Pa$$w0rd", tenant.CodeWrongPassword)
	w.resumes("a running session of a synced user", early, 0)
	w.set(func(s *tenant.Settings) { s.SyncRevokes = true })
	w.resumes("where the tenant says that a synced password revokes", early, tenant.CodeRevoked)
	w.resumes("one that was signed in with the synced password", w.session("bob@contoso.test", "Pa$$w1rd"), 0)
	w.set(func(s *tenant.Settings) { s.SyncRevokes = false })
	w.resumes("and where it does not say so any more", early, 0)

	// A reset overrides the synced password, the next synced one overrides the
	// reset, and what the reset has ended stays ended.
	w.now = w.now.Add(time.Minute)
	_, err = w.ResetPassword(w.ctx, early.User, "Reset-Pa55", false)
	w.must(err)
	w.resumes("after an administrator's reset", early, tenant.CodeRevoked)
	between := w.session("bob@contoso.test", "Reset-Pa55")
	w.now = w.now.Add(time.Minute)
	w.hashes(w.hash("bob", "Pa$$w2rd", w.now))
	w.signIn("bob@contoso.test", "Reset-Pa55", tenant.CodeWrongPassword)
	w.resumes("from before the reset, when a synced password has overridden it", early, tenant.CodeRevoked)
	w.resumes("from after the reset, when a synced password has overridden it", between, 0)

	// A synced temporary password.
	w.set(func(s *tenant.Settings) { s.Features |= tenant.ForcePasswordChangeOnLogon })
	w.now = w.now.Add(time.Minute)
	item := w.hash("bob", "Temp-Pa55", w.now)
	item.MustChange = true
	w.hashes(item)
	w.resumes("with a synced temporary password", between, tenant.CodeMustChangePassword)
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	ada := w.cloudUser("ada")
	before := w.session(ada.UPN, "Initial-Pa55")
	w.now = w.now.Add(time.Second)
	w.must(w.EndSessions(w.ctx, ada.ID))
	w.resumes("a revoked session", before, tenant.CodeRevoked)
	w.now = w.now.Add(time.Second)
	after := w.session(ada.UPN, "Initial-Pa55")
	w.resumes("signed in since", after, 0)
	w.now = w.now.Add(-time.Hour) // another replica's clock
	w.must(w.EndSessions(w.ctx, ada.ID))
	w.resumes("a revoked session, revoked again under an earlier clock", before, tenant.CodeRevoked)
	w.now = w.now.Add(time.Hour)

	// A clock that stood still between the reads of a sign-in and a revocation
	// must not cut who signs in after it.
	w.must(w.EndSessions(w.ctx, ada.ID))
	w.resumes("signed in at the moment of the revocation", w.session(ada.UPN, "Initial-Pa55"), 0)

	group := w.found.Objects[1].Object
	if err := w.EndSessions(w.ctx, group.ID); !errors.Is(err, tenant.ErrNotFound) {
		t.Errorf("sessions of a group: %v", err)
	}
	w.resumes("of nobody", tenant.Session{User: tenant.ID{9}, SignedIn: w.now, Version: 1 << 60}, tenant.CodeUnknownUser)
	w.resumes("of a group", tenant.Session{User: group.ID, SignedIn: w.now, Version: 1 << 60}, tenant.CodeUnknownUser)

	w.objects(user("bob", "bob@contoso.test"), user("cid", "cid@contoso.test"))
	refs, _, err := w.Store.Refs(w.ctx, []string{"cid"})
	w.must(err)
	w.resumes("of a user who has no password", tenant.Session{User: refs[0].ID, SignedIn: w.now}, tenant.CodeRevoked)
	w.hashes(w.hash("bob", "Pa$$w0rd", w.now.Add(-time.Hour)))
	s := w.session("bob@contoso.test", "Pa$$w0rd")
	off := user("bob", "bob@contoso.test")
	off.Attributes["accountEnabled"] = false
	w.objects(off)
	w.resumes("of a disabled user", s, tenant.CodeDisabled)
	w.objects(user("bob", "bob@contoso.test")) // absent leaves it as it is
	on := user("bob", "bob@contoso.test")
	on.Attributes["accountEnabled"] = true
	w.objects(on)
	w.resumes("of a user who is enabled again", s, 0)
	w.objects(tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Delete, Anchor: "bob"})
	w.resumes("of a deleted user", s, tenant.CodeUnknownUser)
}

func TestDeviceCodes(t *testing.T) {
	w := newWorld(t)
	ada := w.cloudUser("ada")
	session := w.session(ada.UPN, "Initial-Pa55")
	client, other := tenant.ID{4}, tenant.ID{5}
	ask := func() (string, tenant.DeviceCode) {
		t.Helper()
		code, d, err := w.NewDevice(w.ctx, client, "openid")
		w.must(err)
		return code, d
	}
	is := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	redeem := func(code string, by tenant.ID) error { _, err := w.RedeemDevice(w.ctx, code, by); return err }

	code, d := ask()
	if len(d.UserCode) != 9 || len(code) != 43 || !d.Expires.Equal(w.now.Add(15*time.Minute)) {
		t.Errorf("%q %+v", code, d)
	}
	is("pending", redeem(code, client), tenant.ErrDevicePending)
	is("another's", redeem(code, other), tenant.ErrNotFound)
	is("a false one", redeem(code+"x", client), tenant.ErrNotFound)
	is("the user code for the device's", redeem(d.UserCode, client), tenant.ErrNotFound)
	for _, typed := range []string{d.UserCode, " " + strings.ToLower(d.UserCode) + " ", d.UserCode[:4] + "-" + d.UserCode[4:]} {
		got, err := w.PendingDevice(w.ctx, typed)
		if err != nil || got.Client != client || got.Scope != "openid" || got.Hash != d.Hash {
			t.Errorf("%q: %+v, %v", typed, got, err)
		}
	}
	for _, typed := range []string{"", "x", d.UserCode[:8], d.UserCode + "B", "AEIOUAEIO", "\x00", "BBBBBBBBB", "ｂｃｄ"} {
		_, err := w.PendingDevice(w.ctx, typed)
		is(typed, err, tenant.ErrNotFound)
	}
	w.must(w.DecideDevice(w.ctx, d, &session))
	is("decided twice", w.DecideDevice(w.ctx, d, nil), tenant.ErrNotFound)
	_, err := w.PendingDevice(w.ctx, d.UserCode)
	is("looked up after the decision", err, tenant.ErrNotFound)
	is("another's, approved", redeem(code, other), tenant.ErrNotFound)

	// One of many gets it.
	var won atomic.Int64
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			got, err := w.RedeemDevice(w.ctx, code, client)
			switch {
			case err == nil && got.Session == session:
				won.Add(1)
			case !errors.Is(err, tenant.ErrNotFound):
				t.Errorf("%+v, %v", got.Session, err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("redeemed %d times", won.Load())
	}

	code, d = ask()
	w.must(w.DecideDevice(w.ctx, d, nil))
	is("declined", redeem(code, client), tenant.ErrDeviceDeclined)

	code, d = ask()
	ready, approved := ask()
	w.must(w.DecideDevice(w.ctx, approved, &session))
	w.now = w.now.Add(15*time.Minute - time.Microsecond)
	is("the last moment", redeem(code, client), tenant.ErrDevicePending)
	w.now = w.now.Add(time.Microsecond)
	is("expired", redeem(code, client), tenant.ErrDeviceExpired)
	is("approved, and expired", redeem(ready, client), tenant.ErrDeviceExpired)
	is("approved too late", w.DecideDevice(w.ctx, d, &session), tenant.ErrNotFound)
	_, err = w.PendingDevice(w.ctx, d.UserCode)
	is("looked up too late", err, tenant.ErrNotFound)
	w.now = w.now.Add(16 * time.Minute)
	ask() // clears away
	is("forgotten", redeem(code, client), tenant.ErrNotFound)
}

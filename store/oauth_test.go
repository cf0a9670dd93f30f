package store

import (
	"crypto/sha256"
	"testing"
	"time"

	"skyrealm/tenant"
)

func TestStanding(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	u := h.put(t, user(t, "a"))[0]
	standing := func() tenant.Standing {
		t.Helper()
		s, err := h.tenant.Standing(ctx, u.ID)
		check(t, err)
		if s.User.UPN != u.UPN {
			t.Errorf("the user is %+v", s.User)
		}
		return s
	}
	if s := standing(); s.Version != 0 || s.CloudVersion != 0 || !s.ValidFrom.IsZero() || s.MustChange {
		t.Errorf("without a credential: %+v", s)
	}
	put := func(version int64, from tenant.Source) {
		t.Helper()
		one := set(t, u, version)
		one.Source, one.MustChange = from, from == tenant.FromReset
		was := standing().Version
		if from == tenant.FromSync {
			_, _, err := h.tenant.PutCredentials(ctx, []tenant.Credential{one}, 0, nil)
			check(t, err)
			return
		}
		_, err := h.tenant.ReplaceCredential(ctx, one, was, nil)
		check(t, err)
	}
	put(10, tenant.FromSync)
	if s := standing(); s.Version != 10 || s.CloudVersion != 0 {
		t.Errorf("synced: %+v", s)
	}
	put(20, tenant.FromReset)
	if s := standing(); s.Version != 20 || s.CloudVersion != 20 || !s.MustChange {
		t.Errorf("reset: %+v", s)
	}
	put(30, tenant.FromSync)
	if s := standing(); s.Version != 30 || s.CloudVersion != 20 || s.MustChange {
		t.Errorf("synced again: %+v", s)
	}
	put(40, tenant.FromChange)
	check(t, h.tenant.EndSessions(ctx, u.ID, moment))
	check(t, h.tenant.EndSessions(ctx, u.ID, moment.Add(-time.Hour)))
	if s := standing(); s.CloudVersion != 40 || !s.ValidFrom.Equal(moment) {
		t.Errorf("changed, and ended: %+v", s)
	}

	// A refused write leaves nothing.
	_, err := h.tenant.ReplaceCredential(ctx, set(t, u, 50), 1, nil)
	wantErr(t, err, tenant.ErrConflict)
	if s := standing(); s.CloudVersion != 40 {
		t.Errorf("a refused change: %+v", s)
	}
	u.Deleted = moment
	h.put(t, u)
	_, err = h.tenant.Standing(ctx, u.ID)
	wantErr(t, err, tenant.ErrNotFound)
}

func TestDevices(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	device := func(name string, expires time.Time) tenant.DeviceCode {
		return tenant.DeviceCode{Hash: sha256.Sum256([]byte(name)), UserCode: name, Client: tenant.ID{3}, Scope: "openid",
			Expires: expires, State: tenant.DevicePending}
	}
	a := device("A", moment.Add(time.Minute))
	check(t, h.tenant.PutDevice(ctx, a, moment))
	for what, get := range map[string]func() (tenant.DeviceCode, error){
		"hash":      func() (tenant.DeviceCode, error) { return h.tenant.Device(ctx, a.Hash) },
		"user code": func() (tenant.DeviceCode, error) { return h.tenant.DeviceByUserCode(ctx, "A") },
	} {
		if got, err := get(); err != nil || got != a {
			t.Errorf("by %s: %+v, %v", what, got, err)
		}
	}
	taken := device("B", a.Expires)
	taken.UserCode = "A"
	wantErr(t, h.tenant.PutDevice(ctx, taken, moment), tenant.ErrConflict)
	wantErr(t, h.tenant.TakeDevice(ctx, a.Hash), tenant.ErrNotFound) // not approved

	late := a
	late.State = tenant.DeviceDeclined
	wantErr(t, h.tenant.DecideDevice(ctx, late, a.Expires), tenant.ErrNotFound)
	a.State, a.Session = tenant.DeviceApproved, tenant.Session{User: newID(t), SignedIn: moment, Version: 7}
	check(t, h.tenant.DecideDevice(ctx, a, moment))
	wantErr(t, h.tenant.DecideDevice(ctx, late, moment), tenant.ErrNotFound)
	if got, err := h.tenant.Device(ctx, a.Hash); err != nil || got != a {
		t.Errorf("approved: %+v, %v", got, err)
	}
	check(t, h.tenant.TakeDevice(ctx, a.Hash))
	wantErr(t, h.tenant.TakeDevice(ctx, a.Hash), tenant.ErrNotFound)
	_, err := h.tenant.Device(ctx, a.Hash)
	wantErr(t, err, tenant.ErrNotFound)

	// Those that expired long ago go, and the others stay.
	old, young := device("OLD", moment.Add(-time.Second)), device("YOUNG", moment)
	check(t, h.tenant.PutDevice(ctx, old, time.Time{}))
	check(t, h.tenant.PutDevice(ctx, young, time.Time{}))
	check(t, h.tenant.PutDevice(ctx, device("NEW", moment.Add(time.Hour)), moment))
	_, err = h.tenant.Device(ctx, old.Hash)
	wantErr(t, err, tenant.ErrNotFound)
	_, err = h.tenant.Device(ctx, young.Hash)
	check(t, err)

	// None of it reads a table as a whole.
	whole := func() (n int64) {
		h.pool.Reset()
		for busy := 1; busy != 0; {
			check(t, h.admin.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity
				WHERE application_name = 'skyrealm' AND datname = current_database()`).Scan(&busy))
		}
		check(t, h.admin.QueryRow(ctx, `SELECT sum(seq_scan) FROM pg_stat_user_tables WHERE relname IN ('device_code', 'session')`).Scan(&n))
		return n
	}
	before := whole()
	for i := range 8 {
		d := device(string(rune('a'+i)), moment.Add(time.Hour))
		check(t, h.tenant.PutDevice(ctx, d, moment))
		_, err = h.tenant.DeviceByUserCode(ctx, d.UserCode)
		check(t, err)
		check(t, h.tenant.DecideDevice(ctx, d, moment))
		_, _ = h.tenant.Standing(ctx, newID(t))
		check(t, h.tenant.EndSessions(ctx, newID(t), moment))
	}
	if after := whole(); after != before {
		t.Errorf("%d reads of a whole table", after-before)
	}
}

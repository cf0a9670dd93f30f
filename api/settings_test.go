package api_test

import (
	"testing"
)

// TestSettings: the switches of password sync that Graph has no name for.
func TestSettings(t *testing.T) {
	h := newHouse(t, nil)
	admin, agent := h.admin(t), h.agent(t)
	const path = "/sync/v1/settings"
	read := func() string { t.Helper(); return string(h.do(t, "GET", path, agent, nil).body) }
	if got := read(); got != `{"domainServices":true,"syncNtlmPasswords":true,"passwordSyncRevokesRefreshTokens":false}` {
		t.Error(got)
	}
	if r := h.do(t, "PATCH", path, admin, `{"syncNtlmPasswords":false,"passwordSyncRevokesRefreshTokens":true}`); r.status != 204 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if got := read(); got != `{"domainServices":true,"syncNtlmPasswords":false,"passwordSyncRevokesRefreshTokens":true}` {
		t.Error(got)
	}
	// Off and on again asks agents for everything.
	for _, on := range []string{"false", "true"} {
		if r := h.do(t, "PATCH", path, admin, `{"domainServices":`+on+`}`); r.status != 204 {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	if c, err := h.Tenant.Configuration(t.Context()); err != nil || !c.FullPasswordSync.Equal(h.clock.now().UTC()) {
		t.Error(c.FullPasswordSync, err)
	}
	for _, bad := range []string{``, `[]`, `{"domainservices":"x"}`, `{"unknown":true}`, `{} {}`, `{"domainServices":false,"unknown":1}`} {
		if r := h.do(t, "PATCH", path, admin, bad); r.status != 400 {
			t.Errorf("%s: %d", bad, r.status)
		}
	}
	if r := h.do(t, "PATCH", path, agent, `{"domainServices":false}`); r.status != 403 {
		t.Error("an agent turns Domain Services off", r.status)
	}
	h.create(t, "eve", "Cloud-Passw0rd")
	if r := h.do(t, "PATCH", path, h.token(t, "eve@contoso.test", "Cloud-Passw0rd"), `{"domainServices":false}`); r.status != 403 {
		t.Error(r.status)
	}
	if got := read(); got != `{"domainServices":true,"syncNtlmPasswords":false,"passwordSyncRevokesRefreshTokens":true}` {
		t.Error(got)
	}
}

package api_test

import (
	"testing"

	"skyrealm/tenant"
)

// The switches of directory synchronization, as Graph has them, and what they
// do to agents.
func TestSwitchesOfSync(t *testing.T) {
	h := newHouse(t, nil)
	admin, agent := h.admin(t), h.agent(t)
	id := h.founding.Settings.TenantID.String()
	org, sync := "/v1.0/organization/"+id, "/v1.0/directory/onPremisesSynchronization/"+id
	patch := func(path, token, body string, want int) {
		t.Helper()
		if r := h.do(t, "PATCH", path, token, body); r.status != want {
			t.Errorf("PATCH %s %s: %d %s, want %d", path, body, r.status, r.body, want)
		}
	}
	feature := func(name string) any {
		t.Helper()
		return h.do(t, "GET", sync, admin, nil).json(t)["features"].(map[string]any)[name]
	}
	full := func() any {
		t.Helper()
		return h.do(t, "GET", "/sync/v1/configuration", agent, nil).json(t)["fullPasswordSync"]
	}
	batch := func() int {
		t.Helper()
		return h.do(t, "POST", "/sync/v1/passwordHashes:batch", agent, `{"items":[]}`).status
	}

	if full() != nil || batch() != 200 {
		t.Error("a new tenant asks for a full sync, or takes no passwords")
	}
	// Off: no change syncs any more. On again: agents are asked for all.
	patch(org, admin, `{"OnPremisesSyncEnabled":false}`, 204)
	if batch() != 403 || full() != nil {
		t.Error("directory sync is off", batch(), full())
	}
	patch(org, admin, `{"onPremisesSyncEnabled":true}`, 204)
	first := full()
	if batch() != 200 || first == nil {
		t.Error("directory sync is on again", batch(), first)
	}
	h.clock.add(1e9)
	patch(org, admin, `{"onPremisesSyncEnabled":true}`, 204)
	if full() != first {
		t.Error("what was on already asks for another full sync")
	}
	patch(sync, admin, `{"features":{"passwordSyncEnabled":false}}`, 204)
	if batch() != 403 || feature("passwordSyncEnabled") != false || feature("softMatchOnUpnEnabled") != true {
		t.Error("password sync is off", batch())
	}
	patch(sync, admin, `{"features":{"passwordSyncEnabled":true,"BLOCKSOFTMATCHENABLED":true,"bypassDirSyncOverridesEnabled":true}}`, 204)
	if second := full(); batch() != 200 || second == first || feature("blockSoftMatchEnabled") != true || feature("bypassDirSyncOverridesEnabled") != true {
		t.Error("password sync is on again", batch(), second)
	}
	// Unknown bits survive, as agents write the whole mask.
	if err := h.Tenant.SetFeatures(t.Context(), 1<<15|1<<18, tenant.WireFeatures); err != nil {
		t.Fatal(err)
	}
	patch(sync, admin, `{"features":{"passwordSyncEnabled":true}}`, 204)
	if c, err := h.Tenant.Configuration(t.Context()); err != nil || c.Features&tenant.WireFeatures != 1<<15|1<<18|tenant.PasswordHashSync || !c.Features.Has(tenant.BypassDirSyncOverrides) {
		t.Errorf("%b %v", c.Features, err)
	}

	// Deletion threshold.
	patch(sync, admin, `{"configuration":{"accidentalDeletionPrevention":{"alertThreshold":42}}}`, 204)
	patch(sync, admin, `{"configuration":{"accidentalDeletionPrevention":{"synchronizationPreventionType":"enabledForPercentage","alertThreshold":101}}}`, 400)
	d := h.do(t, "GET", "/sync/v1/configuration", agent, nil).json(t)["accidentalDeletionPrevention"].(map[string]any)
	if d["alertThreshold"] != 42.0 || d["synchronizationPreventionType"] != "enabledForCount" {
		t.Error(d)
	}

	// Refusals.
	patch(sync, admin, `{"features":{"passwordWritebackEnabled":true}}`, 400)
	patch(sync, admin, `{"features":{"nonsense":true}}`, 400)
	patch(org, admin, `{"displayName":"x"}`, 400)
	patch("/v1.0/organization/00000000-0000-4000-8000-000000000000", admin, `{"onPremisesSyncEnabled":true}`, 404)
	patch(org, agent, `{"onPremisesSyncEnabled":false}`, 403)
	patch(sync, agent, `{"features":{}}`, 403)
	if n := len(h.do(t, "GET", "/v1.0/organization", admin, nil).json(t)["value"].([]any)); n != 1 {
		t.Error(n)
	}
}

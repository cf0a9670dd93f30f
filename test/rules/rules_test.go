// Package rules holds §6 of the design to its word: every rule of password hash
// synchronization is a test named after it, run over every way by which an
// agent can reach the tenant.
package rules

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"skyrealm/tenant"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// each runs a rule over every way, on a tenant of its own.
func each(t *testing.T, rule func(*testing.T, *world)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { rule(t, newWorld(t, way)) })
	}
}

func TestPasswordSyncNeedsDirectorySync(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.must(w.SetDirSync(w.ctx, false))
		w.refused(w.send(w.hash("ada", "Passw0rd", 0)))
		w.must(w.SetDirSync(w.ctx, true))
		w.want("stored", w.hash("ada", "Passw0rd", 0))
		// Off again, and people go on signing in with what was synced last.
		w.must(w.SetDirSync(w.ctx, false))
		w.refused(w.send(w.hash("ada", "Later", 1)))
		w.signsIn("ada", "Passw0rd")
	})
}

func TestRunningSessionsSurviveAndASettingDecidesOnRefreshTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.user("ada")
		w.want("stored", w.hash("ada", "First", -2))
		session := tenant.Session{User: id, SignedIn: w.clock, Version: w.credential("ada").Version}
		w.want("stored", w.hash("ada", "Second", -1))
		w.refusedSignIn("ada", "First")
		if _, err := w.Resume(w.ctx, session); err != nil {
			t.Error("a synced password cuts a running session:", err)
		}
		yes := true
		w.must(w.Switch(w.ctx, tenant.Switches{SyncRevokes: &yes}))
		var refused *tenant.SignInError
		if _, err := w.Resume(w.ctx, session); !errors.As(err, &refused) || refused.Code != tenant.CodeRevoked {
			t.Error("where the tenant says that it does:", err)
		}
		w.signsIn("ada", "Second")
	})
}

// With NTLM hash sync off, agents go on sending and the tenant goes on taking; what
// the domain leaves out of it is domain.TestNTLMOff.
func TestNTLMHashSyncOffTakesTheRest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		no := false
		w.must(w.Switch(w.ctx, tenant.Switches{NTLM: &no}))
		w.want("stored", w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd"))
		w.signsIn("ada", "Passw0rd")
	})
}

func TestPasswordSyncOffFreezesPasswordsAndSignInGoesOn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.want("stored", w.hash("ada", "Before", -1))
		w.must(w.SetFeatures(w.ctx, 0, tenant.PasswordHashSync))
		w.refused(w.send(w.hash("ada", "After", 0)))
		w.signsIn("ada", "Before")
		w.refusedSignIn("ada", "After")
	})
}

func TestEnablingAsksForAFullSync(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		full := func() time.Time {
			c, err := w.Configuration(w.ctx)
			w.must(err)
			return c.FullPasswordSync
		}
		if !full().IsZero() {
			t.Fatal("a new tenant asks for a full sync")
		}
		for name, flip := range map[string]func(on bool) error{
			"directory sync":  func(on bool) error { return w.SetDirSync(w.ctx, on) },
			"domain services": func(on bool) error { return w.SetDomainServices(w.ctx, on) },
			"password sync": func(on bool) error {
				v := tenant.Features(0)
				if on {
					v = tenant.PasswordHashSync
				}
				return w.SetFeatures(w.ctx, v, tenant.PasswordHashSync)
			},
		} {
			was := full()
			w.tick(1)
			w.must(flip(false))
			if !full().Equal(was) {
				t.Error(name, "off asks for a full sync")
			}
			w.must(flip(true))
			if !full().Equal(w.clock) {
				t.Error(name, "on asks for none")
			}
		}
	})
}

// Ten thousand users, each with five changes that arrive in an order of their
// own, spread over batches: all end with the newest. What speaks for the rules
// has to pass orders on and gets fewer.
func TestChronologicalOrderWhateverTheArrival(t *testing.T) {
	const changes = 5
	each(t, func(t *testing.T, w *world) {
		users := 2000
		if w.way.itself {
			users = 10_000
		}
		anchors := make([]string, users)
		for i := range anchors {
			anchors[i] = fmt.Sprint("u", i)
		}
		w.users(anchors...)
		var digests [changes]string
		for i := range digests {
			digests[i] = w.digest(fmt.Sprint("Passw0rd", i))
		}
		r := rand.New(rand.NewPCG(1, 2))
		orders := make([][]int, users)
		for i := range orders {
			orders[i] = r.Perm(changes)
		}
		for step := range changes {
			for from := 0; from < users; from += 1000 {
				items := make([]tenant.HashItem, 0, 1000)
				for u := from; u < from+1000; u++ {
					c := orders[u][step]
					items = append(items, tenant.HashItem{Anchor: anchors[u], Changed: w.at(c - changes), Digest: digests[c]})
				}
				for i, reason := range w.send(items...) {
					if !tenant.Reason(reason).OK() {
						t.Fatal(items[i].Anchor, reason)
					}
				}
			}
		}
		objects, err := w.Store.ObjectsByAnchor(w.ctx, anchors)
		w.must(err)
		if len(objects) != users {
			t.Fatal(len(objects))
		}
		for _, o := range objects {
			set, err := w.Store.Credential(w.ctx, o.ID)
			w.must(err)
			if set == nil || set.Digest.Expose() != digests[changes-1] || set.Version != w.at(-1).UnixMicro() {
				t.Fatalf("%s ended with another change", o.Anchor)
			}
		}
	})
}

func TestASentAgainPasswordChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		h := w.hash("ada", "Passw0rd", 0)
		w.want("stored", h)
		before := w.credential("ada")
		w.want("unchanged", h)
		if after := w.credential("ada"); after.Version != before.Version {
			t.Error("a re-send is another version")
		}
	})
}

func TestAnOlderChangeIsASuccessThatChangesNothingAndIsAudited(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.user("ada")
		w.want("stored", w.hash("ada", "Newer", 0))
		w.want("superseded", w.hash("ada", "Older", -5))
		w.signsIn("ada", "Newer")
		records, err := w.Store.Records(w.ctx, tenant.RecordQuery{Object: id, Kind: tenant.HashBatch, Limit: 10})
		w.must(err)
		if len(records) != 2 || records[0].Items[0].Reason != tenant.ReasonSuperseded || !records[0].Items[0].Changed.Equal(w.at(-5)) {
			t.Errorf("%+v", records)
		}
	})
}

func TestFutureDatesAreClampedToReceipt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.want("stored", w.hash("ada", "Future", 60*24*365*100))
		if v := w.credential("ada").Version; v != w.clock.UnixMicro() {
			t.Error("stored under", time.UnixMicro(v).UTC())
		}
		w.tick(1)
		w.want("stored", w.hash("ada", "Present", 0))
		w.signsIn("ada", "Present")
	})
}

func TestAnInetOrgPersonIsRefusedByName(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if !w.way.inetOrgPerson {
			t.Log("this way has no such type of object")
			return
		}
		w.objects(tenant.ObjectItem{Kind: tenant.InetOrgPerson, Operation: tenant.Set, Anchor: "inet", Attributes: map[string]any{"userPrincipalName": "inet@contoso.test"}})
		w.want("notAUser", w.hash("inet", "Passw0rd", 0))
	})
}

func TestASyncedPasswordNeverExpiresUnlessTheCloudPolicyHolds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.want("stored", w.hash("ada", "First", -2))
		if !w.credential("ada").NeverExpires {
			t.Error("it expires")
		}
		w.must(w.SetFeatures(w.ctx, tenant.EnforceCloudPasswordPolicy, tenant.EnforceCloudPasswordPolicy))
		if !w.credential("ada").NeverExpires {
			t.Error("the feature changes what is there; only the next hash sync may")
		}
		w.want("stored", w.hash("ada", "Second", -1))
		if w.credential("ada").NeverExpires {
			t.Error("the next hash sync did not remove it")
		}
	})
}

func TestOnPremisesComplexityAppliesAndTheCloudsDoesNot(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.want("stored", w.hash("ada", "a", 0)) // no cloud rule would take it
		w.signsIn("ada", "a")
	})
}

func TestAnAdministratorsResetOverridesAndIsOverridden(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		id := w.user("ada")
		w.want("stored", w.hash("ada", "OnPremises1", -1))
		var policy *tenant.PolicyError
		if _, err := w.ResetPassword(w.ctx, id, "weak", false); !errors.As(err, &policy) {
			t.Error("the cloud's policy does not apply to a reset", err)
		}
		_, err := w.ResetPassword(w.ctx, id, "Cloud-Reset1", false)
		w.must(err)
		w.signsIn("ada", "Cloud-Reset1")
		w.refusedSignIn("ada", "OnPremises1")
		w.tick(1)
		w.want("stored", w.hash("ada", "OnPremises2", 0))
		w.signsIn("ada", "OnPremises2")
		w.refusedSignIn("ada", "Cloud-Reset1")
	})
}

func TestTemporaryPasswordsNeedTheFeature(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		h := w.hash("ada", "Temp0rary", 0)
		h.MustChange = true
		w.want("temporaryPasswordFiltered", h)
		w.must(w.SetFeatures(w.ctx, tenant.ForcePasswordChangeOnLogon, tenant.ForcePasswordChangeOnLogon))
		w.want("stored", h)
		var refused *tenant.SignInError
		if _, _, err := w.SignIn(w.ctx, "ada@contoso.test", "Temp0rary"); !errors.As(err, &refused) || refused.Code != tenant.CodeMustChangePassword {
			t.Error(err)
		}
	})
}

func TestLegacyHashesAreRefusedBeforeDomainServices(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.must(w.SetDomainServices(w.ctx, false))
		w.want("domainServicesOff", w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd"))
		w.want("stored", w.hash("ada", "Passw0rd", 0))
		w.must(w.SetDomainServices(w.ctx, true))
		w.want("stored", w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd"))
	})
}

func TestLegacyHashesAreRefusedFromOldBuilds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.user("ada")
		w.build = "1.1.613.0"
		if w.way.envelopes { // builds so old are sent away whole, as the real service does
			w.refused(w.send(w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd")))
			return
		}
		w.want("agentTooOld", w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd"))
		w.want("stored", w.hash("ada", "Passw0rd", 0))
		w.build = "1.1.614.0"
		w.want("stored", w.withLegacy(w.hash("ada", "Passw0rd", 0), "Passw0rd"))
	})
}

func TestASyncedPasswordOverwritesTheClouds(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, _, err := w.CreateUser(w.ctx, tenant.NewUser{UPN: "ada@contoso.test", Password: "Cloud-Passw0rd", Enabled: true,
			Profile: tenant.Profile{DisplayName: "Ada", MailNickname: "ada"}})
		w.must(err)
		w.user("ada") // soft match on the sign-in name
		w.tick(1)
		w.want("stored", w.hash("ada", "OnPremises1", 0))
		w.signsIn("ada", "OnPremises1")
		w.refusedSignIn("ada", "Cloud-Passw0rd")
	})
}

package rules

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// What a batch holds that can't be taken is named, hurts nobody else, and leaves
// nothing in the log that anybody could sign in with.
func TestBadItems(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.users("good", "bad", "ada", "bob")
		const password = "Passw0rd"
		secrets := map[string]string{"password": password, "NT hash": hex.EncodeToString(cred.NTHashOf(password).Expose())}
		keep := func(h tenant.HashItem) tenant.HashItem { // it is not to be found in the log
			_, digest, _ := strings.Cut(h.Digest, ",")
			secrets["digest of "+digest[:min(8, len(digest))]] = digest
			if h.Legacy != "" {
				parts := strings.Split(string(h.Legacy), ".")
				secrets["legacy "+digest[:min(8, len(digest))]] = parts[len(parts)-1]
			}
			return h
		}
		item := func(anchor string) tenant.HashItem {
			return w.withLegacy(w.hash(anchor, password, 0), password)
		}
		bad := func(change func(*tenant.HashItem)) tenant.HashItem {
			h := item("bad")
			change(&h)
			return h
		}
		cut := func(n int) func(*tenant.HashItem) {
			return func(h *tenant.HashItem) {
				if w.way.envelopes {
					h.WindowsLegacy = h.WindowsLegacy[:n]
					return
				}
				h.Legacy = h.Legacy[:n]
			}
		}
		// Sealed for somebody else's key: another certificate, another key id.
		stranger := *w
		other, err := cred.NewPrivateKey(rand.Reader)
		w.must(err)
		stranger.settings.DomainKey, err = other.Public().JWK()
		w.must(err)
		envelope, err := cred.NewEnvelopeKey("contoso.test", w.clock, rand.Reader)
		w.must(err)
		stranger.settings.EnvelopeCertificate = envelope.CertificateDER()

		long := strings.Repeat("a", 1<<20)
		cases := []struct {
			name string
			item tenant.HashItem
			want string
		}{
			{"10⁹ iterations", bad(func(h *tenant.HashItem) { h.Digest = strings.Replace(h.Digest, ",1000,", ",1000000000,", 1) }), "digestIterationsOutOfBounds"},
			{"no digest", bad(func(h *tenant.HashItem) { h.Digest = "v1;PPH1_MD4,zz,1000,00;" }), "digestMalformed"},
			{"digest of 1 MB", bad(func(h *tenant.HashItem) { h.Digest = "v1;PPH1_MD4," + long }), "digestMalformed|malformed"},
			{"anchor of 1 MB", bad(func(h *tenant.HashItem) { h.Anchor = long }), "unknownAnchor|malformed"},
			{"nobody's anchor", item("nobody"), "unknownAnchor"},
			{"of the year 1601", bad(func(h *tenant.HashItem) { h.Changed = time.Date(1601, 1, 1, 0, 0, 0, 0, time.UTC) }), "changeDateMalformed"},
			{"truncated at its end", bad(cut(300)), "legacyMalformed"},
			{"truncated at its beginning", bad(cut(20)), "legacyMalformed"},
			{"for another key", stranger.withLegacy(w.hash("bad", password, 0), password), "legacyUnknownKey"},
			{"twice in the batch, the older one", bad(func(h *tenant.HashItem) { h.Anchor, h.Changed = "good", w.at(-9) }), "superseded"},
			{"good", item("good"), "stored"},
		}
		batch := make([]tenant.HashItem, len(cases))
		for i, c := range cases {
			batch[i] = keep(c.item)
		}
		for i, got := range w.send(batch...) {
			if !strings.Contains("|"+cases[i].want+"|", "|"+got+"|") {
				t.Errorf("%s: %s, want %s", cases[i].name, got, cases[i].want)
			}
		}
		w.signsIn("good", password)
		w.refusedSignIn("bad", password)
		w.opens("good", password)

		// Swapped: ada's sealed hashes under bob's anchor. Ours say whose they are, and
		// the domain opens none of another's. An envelope of the real service says
		// nothing (§C2 of the wire reference); it is bound to whom it came for on
		// receipt, so that at least nobody can move it later.
		ada, bob := keep(item("ada")), keep(item("bob"))
		ada.Legacy, bob.Legacy = bob.Legacy, ada.Legacy
		for i, reason := range w.send(ada, bob) {
			if reason != "stored" {
				t.Errorf("swapped, %d: %s", i, reason)
			}
		}
		if w.way.envelopes {
			w.opens("ada", password)
			set, other := w.credential("ada"), w.credential("bob")
			set.Legacy = other.Legacy
			w.mayNotOpen("ada", set)
		} else {
			w.mayNotOpen("ada", w.credential("ada"))
			w.mayNotOpen("bob", w.credential("bob"))
		}

		// With the right key's name and made for another: nobody can tell before
		// the domain tries, and nobody signs in with what comes out.
		forged := keep(w.hash("bad", password, 1))
		if w.way.envelopes {
			theirs := stranger.withLegacy(w.hash("bad", password, 1), password).WindowsLegacy
			mine := item("bad").WindowsLegacy
			forged.WindowsLegacy = append(append([]byte{}, mine[:52]...), theirs[52:]...) // up to the thumbprint
		} else {
			theirs := strings.Split(string(stranger.withLegacy(w.hash("bad", password, 1), password).Legacy), ".")
			theirs[0] = strings.Split(string(item("bad").Legacy), ".")[0]
			forged.Legacy = cred.Sealed(strings.Join(theirs, "."))
		}
		w.tick(1)
		w.want("stored", forged)
		w.mayNotOpen("bad", w.credential("bad"))

		// A digest made over lower-case hex never verifies: the negative control
		// of the wire reference.
		w.user("lower")
		control := w.hash("lower", "Pa$$w0rd", 0)
		control.Digest = "v1;PPH1_MD4,181a3024085fcee2f70e,1000,dfd0a0d6369b0879eae38f961546a10c9b58cf8cd9c5b0613b9c4c8757e4b00e;"
		w.want("stored", keep(control))
		w.refusedSignIn("lower", "Pa$$w0rd")
		control.Digest = "v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;"
		w.want("stored", keep(control))
		w.signsIn("lower", "Pa$$w0rd")

		log := w.log.String()
		if !strings.Contains(log, "event=657") || !strings.Contains(log, "extendedError=digestIterationsOutOfBounds") {
			t.Fatalf("the log has not seen it: %.2000s", log)
		}
		for name, secret := range secrets {
			for _, form := range []string{secret, strings.ToUpper(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(log, form) {
					t.Errorf("the log has the %s", name)
				}
			}
		}
		for _, h := range batch {
			if text := base64.StdEncoding.EncodeToString(h.WindowsLegacy); text != "" && strings.Contains(log, strings.TrimRight(text, "=")) {
				t.Error("the log has an envelope")
			}
		}
	})
}

// The same of objects.
func TestBadObjects(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		long := strings.Repeat("n", 1<<20)
		user := func(anchor, upn, name string) tenant.ObjectItem {
			return tenant.ObjectItem{Kind: tenant.User, Operation: tenant.Set, Anchor: anchor,
				Attributes: map[string]any{"userPrincipalName": upn, "displayName": name}}
		}
		got := w.way.objects(w, []tenant.ObjectItem{
			user("first", "first@contoso.test", "First"), user("first", "again@contoso.test", "Again"),
			user("longname", "longname@contoso.test", long), user("longupn", long+"@contoso.test", "Long"), user("none", "", "None"),
			user("last", "last@contoso.test", "Last"),
		})
		for i, want := range []string{"stored", "duplicateInBatch", "attributeTooLong", "userPrincipalNameInvalid|attributeTooLong", "userPrincipalNameInvalid", "stored"} {
			named := false
			for reason := range strings.SplitSeq(want, "|") {
				named = named || strings.Contains(got[i], reason)
			}
			if !named {
				t.Errorf("item %d: %.200s, want %s", i, got[i], want)
			}
		}
		for _, anchor := range []string{"first", "last"} {
			w.want("stored", w.hash(anchor, "Passw0rd", 0))
			w.signsIn(anchor, "Passw0rd")
		}
		if strings.Contains(w.log.String(), long[:1000]) {
			t.Error("the log repeats a name of a megabyte")
		}
	})
}

// opens says that the managed domain gets the hashes of a password out of a user's set.
func (w *world) opens(anchor, password string) {
	w.t.Helper()
	set := w.credential(anchor)
	l, err := w.opener.Open(cred.Binding{Tenant: w.settings.TenantID.String(), Subject: anchor, Version: set.Version}, set.Legacy)
	if err != nil || !l.NT.Equal(cred.NTHashOf(password)) {
		w.t.Errorf("the domain does not get %s's hashes: %v", anchor, err)
	}
}

func (w *world) mayNotOpen(anchor string, set *tenant.Credential) {
	w.t.Helper()
	if _, err := w.opener.Open(cred.Binding{Tenant: w.settings.TenantID.String(), Subject: anchor, Version: set.Version}, set.Legacy); err == nil {
		w.t.Errorf("the domain opens for %s what is not %s's", anchor, anchor)
	}
}

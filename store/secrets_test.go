package store

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/tenant"
)

func containsAny(s string, parts ...string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// Ciphertext that is moved to another user, or put back after a newer one, opens nothing.
func TestRowSwap(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	us := h.put(t, user(t, "a"), user(t, "b"), user(t, "c"))
	a, b, c := us[0], us[1], us[2]
	put := func(version int64) {
		_, _, err := h.tenant.PutCredentials(ctx, []tenant.Credential{set(t, a, version), set(t, b, version), set(t, c, version)}, 0, nil)
		check(t, err)
	}
	bad := func(o tenant.Object) {
		t.Helper()
		_, err := h.tenant.Credential(ctx, o.ID)
		wantErr(t, err, ErrCorrupt)
		_, got, err := h.tenant.UserByUPN(ctx, o.UPN)
		wantErr(t, err, ErrCorrupt)
		if got != nil {
			t.Error("a credential beside the error")
		}
	}
	put(1)
	mustExec(t, h.admin, `UPDATE tenant.credential x SET digest = y.digest FROM tenant.credential y
		WHERE (x.object_id, y.object_id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))`, a.ID, b.ID)
	bad(a)
	bad(b)
	if cur, err := h.tenant.Credential(ctx, c.ID); err != nil || !cur.Digest.Verify("1") {
		t.Fatal("others suffer: ", err)
	}
	var old []byte
	check(t, h.admin.QueryRow(ctx, `SELECT digest FROM tenant.credential WHERE object_id = $1`, c.ID).Scan(&old))
	put(2)
	if cur, err := h.tenant.Credential(ctx, a.ID); err != nil || !cur.Digest.Verify("2") {
		t.Fatal("a new password does not heal: ", err)
	}
	mustExec(t, h.admin, `UPDATE tenant.credential SET digest = $1 WHERE object_id = $2`, old, c.ID)
	bad(c)
	// Even a re-send heals.
	got, _, err := h.tenant.PutCredentials(ctx, []tenant.Credential{set(t, c, 2)}, 0, nil)
	if err != nil || got[0] != tenant.Stored {
		t.Fatal(got, err)
	}
}

// One record's broken secrets close that account and no other.
func TestCorruptRecord(t *testing.T) {
	h := newHouse(t)
	recs := []domain.Record{account(t, "a"), account(t, "b"), account(t, "c"), account(t, "d")}
	for i := range recs {
		recs[i].Secrets = domain.Secrets{Current: legacy(t, recs[i].SAM), KVNO: 1}
	}
	h.apply(t, recs...)
	mustExec(t, h.admin, `UPDATE domain.object x SET secrets = y.secrets FROM domain.object y
		WHERE (x.sam_key, y.sam_key) IN (('a', 'b'), ('b', 'a'))`)
	mustExec(t, h.admin, `UPDATE domain.object SET secrets = set_byte(secrets, 40, get_byte(secrets, 40) # 1) WHERE sam_key = 'c'`)
	got, _, err := h.domain.Records(t.Context(), 0, 10)
	check(t, err)
	if len(got) != len(recs) {
		t.Fatalf("%d records", len(got))
	}
	for i, r := range got {
		if ok := i == 3; r.Secrets.Current.Equal(recs[i].Secrets.Current) != ok || (r.Secrets.KVNO == 1) != ok || r.SAM != recs[i].SAM {
			t.Errorf("record %s: secrets open: %v", r.SAM, !ok)
		}
	}
	if h.domain.Corrupt() != 3 || strings.Count(h.log.String(), "do not decrypt") != 3 {
		t.Errorf("%d counted, log:\n%s", h.domain.Corrupt(), h.log)
	}
	// What stood in a row before does not open in it later.
	d := got[3]
	var old []byte
	check(t, h.admin.QueryRow(t.Context(), `SELECT secrets FROM domain.object WHERE guid = $1`, d.GUID).Scan(&old))
	h.apply(t, d)
	if !h.record(t, d.GUID).Secrets.Current.Equal(recs[3].Secrets.Current) {
		t.Error("a write loses the secrets")
	}
	mustExec(t, h.admin, `UPDATE domain.object SET secrets = $1 WHERE guid = $2`, old, d.GUID)
	if h.record(t, d.GUID).Secrets.KVNO != 0 {
		t.Error("an older state's secrets open")
	}
}

func TestWrongRing(t *testing.T) {
	h := newHouse(t)
	u := h.put(t, user(t, "u"))[0]
	_, _, err := h.tenant.PutCredentials(t.Context(), []tenant.Credential{set(t, u, 1)}, 0, nil)
	check(t, err)
	check(t, h.tenant.CheckRing(t.Context()))
	for _, err := range []error{h.Tenant(h.rings[1]).CheckRing(t.Context()), h.Domain(h.rings[0]).CheckRing(t.Context())} {
		wantErr(t, err, ErrWrongKey)
		if !strings.Contains(err.Error(), h.rings[0].KeyID()) || !strings.Contains(err.Error(), h.rings[1].KeyID()) {
			t.Errorf("the keys are not named: %v", err)
		}
	}
	_, err = h.Tenant(h.rings[1]).Credential(t.Context(), u.ID)
	wantErr(t, err, ErrCorrupt)
	// A ring with a newer key in front still opens.
	both, err := cred.ParseRing(append(h.rings[0].Marshal(), newRing(t).Marshal()...))
	check(t, err)
	check(t, h.Tenant(both).CheckRing(t.Context()))
	if c, err := h.Tenant(both).Credential(t.Context(), u.ID); err != nil || !c.Digest.Verify("1") {
		t.Error(err)
	}
}

// None of what the program protects stands in the server's files: tables, indexes,
// the write-ahead log, temporary files.
func TestCanaries(t *testing.T) {
	h := newHouse(t)
	const password = "Canary-Passw0rd-4711"
	u := user(t, "canary-marker")
	l := legacy(t, password)
	c := tenant.Credential{Object: u.ID, Version: 1, Source: tenant.FromReset, Digest: digest(t, password), Legacy: "sealed"}
	_, err := h.tenant.PutObjects(t.Context(), []tenant.ObjectWrite{{Object: u, Credential: &c}}, nil)
	check(t, err)
	r := account(t, "canary-record")
	r.Secrets = domain.Secrets{Current: l, Previous: legacy(t, password+"2"), KVNO: 2}
	h.apply(t, r)
	h.apply(t, h.record(t, r.GUID))

	var secrets [][]byte
	for _, l := range []cred.Legacy{r.Secrets.Current, r.Secrets.Previous} {
		secrets = append(secrets, l.NT.Expose())
		for _, k := range l.Keys {
			secrets = append(secrets, k.Key.Expose())
		}
	}
	fields := strings.Split(strings.TrimSuffix(c.Digest.Expose(), ";"), ",")
	for _, f := range []string{fields[1], fields[3]} {
		raw, err := hex.DecodeString(f)
		check(t, err)
		secrets = append(secrets, raw)
	}
	needles := map[string]string{password: "password"}
	for _, s := range secrets {
		h := hex.EncodeToString(s)
		for _, n := range []string{string(s), h, strings.ToUpper(h)} {
			needles[n] = h
		}
		for shift := range 3 { // base64 of it at any place in a longer text
			text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), s...))
			text = text[4 : len(text)-3]
			needles[text] = h
			needles[strings.NewReplacer("+", "-", "/", "_").Replace(text)] = h
		}
	}
	mustExec(t, h.admin, `CHECKPOINT`)
	marker, hits := false, 0
	err = filepath.WalkDir(serverDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			if os.IsNotExist(err) { // the server removes files as it goes
				return nil
			}
			return err
		}
		marker = marker || bytes.Contains(text, []byte("canary-marker"))
		for n, what := range needles {
			if bytes.Contains(text, []byte(n)) {
				hits++
				t.Errorf("%s holds %s", path, what)
			}
		}
		return nil
	})
	check(t, err)
	if !marker {
		t.Error("the search finds nothing at all")
	}
	if out := h.log.String(); out != "" {
		t.Errorf("logged: %s", out)
	}
}

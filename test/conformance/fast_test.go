package conformance

import (
	"path/filepath"
	"testing"

	"skyrealm/test/harness"
)

// TestFAST: with --require-armor people sign in inside FAST, whose armor comes
// from a keytab, and in no other way.
func TestFAST(t *testing.T) {
	w := &world{Server: harness.Start(t, "--require-armor", "--database", harness.Database(t))}
	if out, err := w.Skyrealm(t.Context(), nil, "agent", "push", file(t, "two.jsonl",
		`{"userPrincipalName":"zoe@contoso.test","sAMAccountName":"zoe","displayName":"Zoë","password":"`+zoePassword+`"}
		 {"userPrincipalName":"old@contoso.test","sAMAccountName":"old","displayName":"Old","ntHash":"`+ntHash(oldPassword)+`"}`)); err != nil {
		t.Fatalf("agent push: %v\n%s", err, out)
	}
	keytab := w.keytab(t, "host/web.aadds.contoso.test")
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	k := w.mit(t)
	says(t, k.refused(zoePassword, "zoe"), "while getting initial credentials")
	says(t, w.heimdal(t).refused(zoePassword, "zoe"), "kinit")

	armor := "FILE:" + filepath.Join(t.TempDir(), "armor")
	k.Run("", k.program, "-k", "-t", keytab, "-c", armor, "svc-host-web")
	// From the KDC's first answer to that keytab the client knows that there is FAST.
	says(t, k.Run("", klist, "-C", "-c", armor), "fast_avail")
	says(t, k.traced(zoePassword, "-T", armor, "-f", "zoe"), "Using FAST due to armor ccache negotiation result",
		"module encrypted_challenge (138) (real) returned: 0/Success", "FAST reply key", "FAST negotiation: available")
	says(t, k.Run("", klist, "-f"), "Default principal: zoe@AADDS.CONTOSO.TEST")
	says(t, k.refused("wrong", "-T", armor, "zoe"), "Password incorrect")
	says(t, k.refused(zoePassword, "-T", armor, "nobody"), "not found in Kerberos database")
	k.kinit(zoePassword, "-T", armor, "-E", "zoe@contoso.test")

	// The TGS exchange is armored by the new TGT.
	k.Setenv("KRB5_TRACE", "/dev/stderr")
	says(t, k.Run("", kvno, "-k", keytab, "host/web.aadds.contoso.test"), "Decoding FAST response", "FAST reply key", "keytab entry valid")
	k.Setenv("KRB5_TRACE", "/dev/null")

	// An account with an NT hash alone: the challenge is made with it.
	old := w.mit(t, "[libdefaults]", "allow_rc4 = true", "allow_weak_crypto = true",
		"permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 arcfour-hmac")
	says(t, old.traced(oldPassword, "-T", armor, "old"), "Selected etype info: etype rc4-hmac", "FAST reply key")

	// A client that does not know yet learns it from the refusal, and begins anew.
	blank := w.mit(t)
	plain := "FILE:" + filepath.Join(t.TempDir(), "plain")
	blank.Run("", blank.program, "-k", "-t", keytab, "-c", plain, "svc-host-web")
	blank.Run("", kvno, "-c", plain, "--out-cache", plain+"2", "krbtgt/AADDS.CONTOSO.TEST")
	says(t, blank.traced(zoePassword, "-T", plain+"2", "zoe"), "Upgrading to FAST due to presence of PA_FX_FAST in reply", "FAST reply key")
}

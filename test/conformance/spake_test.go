package conformance

import (
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// testSPAKE: MIT's clients prove a password by SPAKE unasked, and with P-256
// where they are told to; none of them sends a timestamp then.
func testSPAKE(t *testing.T, w *world) {
	kvno := harness.Need(t, "kvno")
	w.keytab(t, "HTTP/spake.aadds.contoso.test")
	for group, conf := range map[string][]string{
		"1": nil,
		"2": {"[libdefaults]", "spake_preauth_groups = P-256"},
	} {
		k := w.mit(t, conf...)
		trace := k.traced(adaPassword, "ada")
		says(t, trace, "SPAKE challenge received with group "+group, "module spake (151) (real) returned: 0/Success")
		if strings.Contains(trace, "Encrypted timestamp") {
			t.Errorf("group %s: a timestamp beside SPAKE:\n%s", group, trace)
		}
		k.Run("", kvno, "HTTP/spake.aadds.contoso.test")
		says(t, k.refused("wrong", "ada"), "Password incorrect")
	}
	// Groups that the service does not have: back to the timestamp.
	says(t, w.mit(t, "[libdefaults]", "spake_preauth_groups = P-384").traced(adaPassword, "ada"), "Encrypted timestamp")
	// An account that has an NT hash and no more.
	old := w.mit(t, "[libdefaults]", "allow_rc4 = true", "allow_weak_crypto = true",
		"permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96 arcfour-hmac")
	says(t, old.traced(oldPassword, "vintage"), "SPAKE challenge received", "Selected etype info: etype rc4-hmac")
	says(t, old.refused("wrong", "vintage"), "Password incorrect")
}

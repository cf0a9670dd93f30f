package conformance

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"skyrealm/test/harness"
)

// certificate has one issued, as an administrator does, and returns what kinit
// calls an identity.
func (w *world) certificate(t *testing.T, upn string, args ...string) (identity, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "card.pem")
	if out, err := w.Skyrealm(t.Context(), nil, append([]string{"user", "certificate", "--out", path, upn}, args...)...); err != nil {
		t.Fatalf("skyrealm user certificate: %v\n%s", err, out)
	}
	return "FILE:" + path + "," + strings.TrimSuffix(path, ".pem") + "-key.pem", path
}

func testCertificates(t *testing.T, w *world) {
	harness.NeedPKINIT(t)
	klist, kvno, openssl := harness.Need(t, "klist"), harness.Need(t, "kvno"), harness.Need(t, "openssl")
	ada, card := w.certificate(t, "ada@contoso.test")
	k := w.mit(t)

	says(t, k.Run("", openssl, "x509", "-in", card, "-noout", "-text"), "PKINIT Client Auth", "Microsoft Smartcard Login",
		"UPN::ada@contoso.test", "URI:urn:uuid:", "S-1-5-21-")

	// With a freshness token, group 14 and a key derived with SHA-512.
	with := func(identity string, args ...string) []string {
		return append([]string{"-X", "X509_user_identity=" + identity}, args...)
	}
	says(t, k.traced("", with(ada, "ada")...), "PKINIT client received freshness token from KDC", "PKINIT client verified DH reply",
		"against id-pkinit-san", "used KDF 2B06010502030603", "AS key determined by preauth")
	says(t, k.Run("", klist), "Default principal: ada@AADDS.CONTOSO.TEST")
	k.Run("", kvno, "ldap/dc1.aadds.contoso.test")
	k.kinit("", with(ada, "-E", "ada@contoso.test")...)
	k.kinit("", with(ada, "-C", "ADA")...)
	says(t, w.mit(t, "[libdefaults]", "udp_preference_limit = 1").traced("", with(ada, "ada")...), "AS key determined by preauth")
	// A password still does.
	k.kinit(adaPassword, "ada")

	w.mit(t, "[libdefaults]", "pkinit_dh_min_bits = 4096").kinit("", with(ada, "ada")...)

	// Somebody without hashes.
	w.push(t, file(t, "hashless.jsonl", `{"userPrincipalName":"hashless@contoso.test","sAMAccountName":"hashless"}`+"\n"))
	young, _ := w.certificate(t, "hashless@contoso.test")
	k.kinit("", with(young, "hashless")...)
	says(t, k.Run("", klist), "Default principal: hashless@AADDS.CONTOSO.TEST")

	// What has to fail.
	says(t, k.refused("", with(ada, "zoe")...), "name mismatch") // K07
	grace, _ := w.certificate(t, "grace@contoso.test")
	says(t, k.refused("", with(grace, "grace")...), "revoked")
	// A KDC that is not vouched for: only who signs people in is trusted here.
	conf := func(more string) string {
		return file(t, "krb5.conf", "[libdefaults]\ndefault_realm = "+w.Realm+"\ndns_lookup_kdc = false\n[realms]\n"+w.Realm+" = {\nkdc = "+w.KDC+"\n"+more)
	}
	signIn := filepath.Join(filepath.Dir(w.CAFile), "..", "keys", "signin-ca.pem")
	stranger := w.mit(t)
	stranger.Setenv("KRB5_CONFIG", conf("pkinit_anchors = FILE:"+signIn+"\n}\n"))
	stranger.Setenv("KRB5_TRACE", "/dev/stderr")
	says(t, stranger.refused("", with(ada, "ada")...), "PKINIT client could not verify DH reply")

	// A key that stays where it is.
	csr := filepath.Join(t.TempDir(), "card.csr")
	k.Run("", openssl, "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", os.DevNull, "-subj", "/CN=x", "-out", csr)
	_, path := w.certificate(t, "ada@contoso.test", "--csr", csr, "--days", "2")
	says(t, k.Run("", openssl, "x509", "-in", path, "-noout", "-text"), "NIST CURVE: P-256", "CN = ada@contoso.test")

	h := w.heimdal(t)
	tools := harness.Need(t, "heimtools")
	h.Run("", h.program, "-C", ada, "ada")
	says(t, h.Run("", tools, "klist", "-v"), "Principal: ada@AADDS.CONTOSO.TEST", "pre-authent")
	h.Run("", h.program, "-C", ada, "--pk-enterprise")
	says(t, h.Run("", tools, "klist", "-v"), "Principal: ada@AADDS.CONTOSO.TEST")
	// What Heimdal does where nobody tells it of larger groups.
	small := w.heimdal(t)
	small.Setenv("KRB5_CONFIG", conf("}\n[appdefaults]\npkinit_anchors = FILE:"+w.KDCCAFile+"\n"))
	if out, err := small.Try("", h.program, "-C", ada, "ada"); err == nil || !strings.Contains(out, "DH parameters not accepted") {
		t.Errorf("1,024 bits: %v\n%s", err, out)
	}
	// Of another authority, with the very same names.
	key := strings.TrimSuffix(card, ".pem") + "-key.pem"
	self := filepath.Join(t.TempDir(), "self.pem")
	k.Run("", openssl, "x509", "-in", card, "-signkey", key, "-out", self)
	if out, err := h.Try("", h.program, "-C", "FILE:"+self+","+key, "ada"); err == nil {
		t.Errorf("a certificate that ada made herself signs in:\n%s", out)
	}
	if out, err := h.Try("", h.program, "-C", ada, "zoe"); err == nil {
		t.Errorf("ada's certificate signs zoe in:\n%s", out)
	}
}

func testAnonymous(t *testing.T, w *world) {
	harness.NeedPKINIT(t)
	klist, kvno := harness.Need(t, "klist"), harness.Need(t, "kvno")
	k := w.mit(t)
	armor := "FILE:" + filepath.Join(t.TempDir(), "armor")
	k.kinit("", "-n", "-c", armor)
	list := k.Run("", klist, "-f", "-c", armor)
	says(t, list, "Default principal: WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", "krbtgt/AADDS.CONTOSO.TEST@AADDS.CONTOSO.TEST")
	if flags := ticketFlags(t, list); flags != "IAa" {
		t.Errorf("an anonymous TGT has the flags %s", flags)
	}
	// It is armor, for a password and for a certificate, and nothing else.
	says(t, k.traced(adaPassword, "-T", armor, "ada"), "FAST armor key", "FAST reply key")
	says(t, k.Run("", klist), "Default principal: ada@AADDS.CONTOSO.TEST")
	says(t, k.refused("wrong", "-T", armor, "ada"), "Password incorrect")
	ada, _ := w.certificate(t, "ada@contoso.test")
	says(t, k.traced("", "-T", armor, "-X", "X509_user_identity="+ada, "ada"), "FAST reply key", "PKINIT client verified DH reply")
	if out, err := k.Try("", kvno, "-c", armor, "ldap/dc1.aadds.contoso.test"); err == nil {
		t.Errorf("nobody has a ticket for LDAP:\n%s", out)
	}
	if out, err := k.Try("", k.program, "-n", "-S", "ldap/dc1.aadds.contoso.test"); err == nil {
		t.Errorf("nobody has a ticket for LDAP:\n%s", out)
	}

	// Heimdal gets one too, but looks in it for a TGT of the realm that nobody is
	// of, and so has no use for it.
	h := w.heimdal(t)
	h.Run("", h.program, "--anonymous", "@AADDS.CONTOSO.TEST")
	says(t, h.Run("", harness.Need(t, "heimtools"), "klist", "-v"), "WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS", "anonymous")
}

// testCertificateOrders: an administrator may have certificates issued, and
// nobody else.
func testCertificateOrders(t *testing.T, w *world) {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, ecKey(t))
	if err != nil {
		t.Fatal(err)
	}
	order := func(token string, body map[string]any) *answer {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		return w.curl(t, "/v1.0/users/ada@contoso.test/certificates", asJSON(token, string(text))...)
	}
	admin := w.signsIn(t, w.AdminUPN, w.AdminPassword())
	for name, c := range map[string]struct {
		token  string
		body   map[string]any
		status int
	}{
		"an administrator":   {admin, map[string]any{"certificateRequest": csr}, 201},
		"ada herself":        {w.signsIn(t, "ada@contoso.test", adaPassword), map[string]any{"certificateRequest": csr}, 403},
		"an app":             {w.agentToken(t), map[string]any{"certificateRequest": csr}, 403},
		"without a request":  {admin, map[string]any{}, 400},
		"a damaged request":  {admin, map[string]any{"certificateRequest": csr[:len(csr)-1]}, 400},
		"for ten years":      {admin, map[string]any{"certificateRequest": csr, "days": 3650}, 400},
		"with a SID of none": {admin, map[string]any{"certificateRequest": csr, "securityIdentifier": "S-1"}, 400},
	} {
		if a := order(c.token, c.body); a.status != c.status {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

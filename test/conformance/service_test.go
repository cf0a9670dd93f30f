package conformance

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// Passwords of testdata/people.jsonl.
const (
	adaPassword    = "Analytical-Engine-1843"
	gracePassword  = "Nanosecond-Of-Wire-30cm" // disabled
	tempPassword   = "Hand-It-Over-Once-7"     // has to be changed first
	oldPassword    = "Windows-NT-4.0-Era"      // of vintage, who has the NT hash alone
	vectorPassword = "Pa$$w0rd"
	zoePassword    = "pässwörd-€"
	rocketPassword = "to-the-🌕-and-back"
)

// crowd is how many users there are beside those with a story: more than a
// search gives without paging (1,000).
const crowd = 1500

// clubs is how many groups the first of them is in: at 8 bytes a RID, the ticket
// is more than an answer over UDP may have (1,400 bytes).
const clubs = 300

// world is the service with everybody in it.
type world struct {
	*harness.Server
	sids map[string]string // by sAMAccountName
}

// TestService runs all clients against one service, then stops it under open
// connections, starts it again, and reads its log.
func TestService(t *testing.T) {
	for _, client := range []string{"kinit", "klist", "kvno", "ldapsearch", "curl"} { // Heimdal's are asked for where they are used
		harness.Need(t, client)
	}
	w := &world{Server: harness.Start(t), sids: map[string]string{}}
	// Here many guess at the same accounts at once; TestLockout has its own service.
	if out, err := w.Skyrealm(t.Context(), nil, "domain", "policy", "--lockout-threshold", "0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Run("printed commands", func(t *testing.T) { testNextSteps(t, w) })
	w.populate(t)
	t.Run("clients", func(t *testing.T) {
		for _, group := range []struct {
			name string
			run  func(*testing.T, *world)
		}{
			{"MIT", testMIT},
			{"MIT refusals", testRefusals},
			{"MIT encryption types", testEncryptionTypes},
			{"MIT transport", testTransport},
			{"Heimdal", testHeimdal},
			{"certificates", testCertificates},
			{"certificate orders", testCertificateOrders},
			{"anonymous armor", testAnonymous},
			{"MIT delegation", testDelegation},
			{"MIT user-to-user", testUserToUser},
			{"Heimdal delegation", testHeimdalDelegation},
			{"keytab", testKeytab},
			{"names", testNames},
			{"stale TGT", testStaleTGT},
			{"PAC by Samba", testPACDump},
			{"Java", testJava},
			{"OpenSSH", testSSH},
			{"Apache", testApache},
			{"PostgreSQL", testPostgres},
			{"LDAP bind", testBind},
			{"LDAP search", testSearch},
			{"LDAP write", testWrite},
			{"curl token", testToken},
			{"curl sync", testSync},
			{"curl Graph", testGraph},
			{"curl edge", testEdge},
			{"digest vectors", testDigestVectors},
			{"Kerberos vectors", testKerberosVectors},
			{"non-ASCII passwords", testNonASCII},
			{"command line", testCommandLine},
		} {
			t.Run(group.name, func(t *testing.T) {
				t.Parallel()
				group.run(t, w)
			})
		}
	})
	t.Run("files are the service's own", w.testModes)
	t.Run("stop with open connections", w.testStop)
	t.Run("start again", w.testRestart)
	t.Run("no secret in the log", w.testLog)
}

// takeTemporary turns on the feature without which a tenant takes no temporary
// password (ForcePasswordChangeOnLogon); one of testdata/people.jsonl is one.
const takeTemporary = `UPDATE tenant.settings SET settings = jsonb_set(settings, '{features}', to_jsonb((settings->>'features')::bigint | 16384))`

// populate syncs everybody as a person would: with files.
func (w *world) populate(t *testing.T) {
	t.Helper()
	sql(t, w.DatabaseURL(), takeTemporary)
	w.push(t, "testdata/people.jsonl")
	var lines bytes.Buffer
	for i := range crowd {
		line := map[string]any{"userPrincipalName": fmt.Sprintf("crowd%04d@contoso.test", i), "sAMAccountName": fmt.Sprintf("crowd%04d", i),
			"displayName": fmt.Sprintf("Crowd %04d", i), "ntHash": ntHash(vectorPassword)}
		if i == 0 {
			names := make([]string, clubs)
			for g := range names {
				names[g] = fmt.Sprintf("Club %03d", g)
			}
			line["memberOf"] = names
		}
		if err := json.NewEncoder(&lines).Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	w.push(t, file(t, "crowd.jsonl", lines.String()))
}

// push sends a file of users. Whom it has sent can sign in when it returns.
func (w *world) push(t *testing.T, path string) {
	t.Helper()
	if out, err := w.Skyrealm(t.Context(), nil, "agent", "push", path); err != nil {
		t.Fatalf("agent push: %v\n%s", err, out)
	}
}

// file writes a file of the test's own.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// sql changes what no client can.
func sql(t *testing.T, url, statement string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	if _, err := c.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// testStop: clients that hold connections open and say nothing keep no server
// from stopping. That it ends in time and with status 0, [harness.Server.Stop]
// checks.
func (w *world) testStop(t *testing.T) {
	l := w.ldap(t, "ada@contoso.test", adaPassword)
	for _, sam := range []string{"ada", "zoe", "crowd1499", "admin"} {
		w.sids[sam] = l.one("(sAMAccountName="+sam+")", "objectSid")
	}
	for _, addr := range []string{w.HTTPS, w.KDC, w.LDAP, w.LDAPS, w.LDAP, w.KDC} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if addr == w.LDAP || addr == w.KDC { // half a message
			if _, err := c.Write([]byte{0, 0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.Stop()
	if _, err := os.Stat(filepath.Join(w.Dir, "ready.json")); !os.IsNotExist(err) {
		t.Errorf("ready.json after the stop: %v", err)
	}
	if pid, err := w.PostgresPID(); err == nil {
		t.Errorf("the private PostgreSQL left its pid file, %d", pid)
	}
}

// testRestart: a second start on the same directory has lost nothing.
func (w *world) testRestart(t *testing.T) {
	tenantID := w.TenantID
	w.Run()
	if w.TenantID != tenantID {
		t.Errorf("the tenant is %s after a restart, and was %s", w.TenantID, tenantID)
	}
	w.signsIn(t, "ada@contoso.test", adaPassword)
	l := w.ldap(t, "ada@contoso.test", adaPassword)
	for sam, before := range w.sids {
		if now := l.one("(sAMAccountName="+sam+")", "objectSid"); now != before || now == "" {
			t.Errorf("%s has the SID %s after a restart, and had %s", sam, now, before)
		}
	}
	w.mit(t).kinit(adaPassword, "ada")
}

// testModes: what is secret is the service's alone.
func (w *world) testModes(t *testing.T) {
	for name, want := range map[string]os.FileMode{
		"admin-password": 0o600, "agent-secret": 0o600, "ready.json": 0o600,
		"keys/domain.pem": 0o600, "keys/envelope.pem": 0o600, "keys/domain.ring": 0o600, "keys/tenant.ring": 0o600, "keys/token.pem": 0o600,
		"keys/signin-ca-key.pem": 0o600, "tls/kdc-ca-key.pem": 0o600, "tls/kdc-key.pem": 0o600,
		"tls/ca-key.pem": 0o600, "tls/server-key.pem": 0o600,
		".": 0o700, "keys": 0o700, "pg": 0o700,
	} {
		info, err := os.Stat(filepath.Join(w.Dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v", name, info.Mode())
		}
	}
}

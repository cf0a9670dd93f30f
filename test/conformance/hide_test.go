package conformance

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"skyrealm/test/harness"
)

// TestHideUnknown: with --hide-unknown clients say the same of a name that nobody has
// as of an account whose password was wrong, until both are locked.
func TestHideUnknown(t *testing.T) {
	for _, client := range []string{"kinit", "kinit.heimdal", "ldapsearch"} {
		harness.Need(t, client)
	}
	url := harness.Database(t)
	w := &world{Server: harness.Start(t, "--hide-unknown", "--database", url)}
	var lines strings.Builder
	for i := range 5 {
		fmt.Fprintf(&lines, `{"userPrincipalName":"ada%d@contoso.test","sAMAccountName":"ada%[1]d","displayName":"Ada %[1]d","dnsDomainName":"contoso.local","password":%[2]q}`+"\n", i, adaPassword)
	}
	w.push(t, file(t, "people.jsonl", lines.String()))

	timestamp := w.mit(t, "[plugins]", "clpreauth = {", "disable = spake", "}")
	spake, heimdal := w.mit(t), w.heimdal(t)
	times := regexp.MustCompile(`\d+\.\d+: |\[\d+\] `)
	// both asks for an account and for nobody, and returns the one thing that is said.
	both := func(k *kerberos, i int, args ...string) string {
		t.Helper()
		say := func(name string) string {
			out := times.ReplaceAllString(k.refused("wrong", append(args, name)...), "")
			if strings.Contains(out, "not found in Kerberos database") {
				t.Errorf("%s is said to be nobody:\n%s", name, out)
			}
			return strings.ReplaceAll(out, name, "NAME")
		}
		known, unknown := say(fmt.Sprint("ada", i)), say(fmt.Sprint("zed", i))
		if known != unknown {
			t.Errorf("of an account:\n%s\nof nobody:\n%s", known, unknown)
		}
		return known
	}

	// 1. A password is asked for, and is wrong; five of them lock.
	for _, k := range []*kerberos{timestamp, spake, timestamp, spake, timestamp} {
		says(t, both(k, 0), "Password for NAME@AADDS.CONTOSO.TEST", "Password incorrect")
	}
	says(t, both(timestamp, 0), "revoked")
	says(t, both(heimdal, 4), "Password incorrect") // which guesses twice
	says(t, both(heimdal, 0), "revoked")

	// 2. By other names it is the same account, or none.
	for range 5 {
		says(t, both(timestamp, 1, "-E"), "Password incorrect")
	}
	says(t, both(timestamp, 1), "revoked")

	// 3. LDAP counts with it.
	bind := func(name string) string {
		out, code := w.ldap(t, name+"@contoso.test", "wrong").try("", "ldapsearch", "-s", "base")
		if code != 49 {
			t.Errorf("%s has bound", name)
		}
		return out
	}
	for range 5 {
		for _, name := range []string{"ada2", "zed2"} {
			says(t, bind(name), "data 52e")
		}
	}
	for _, name := range []string{"ada2", "zed2"} {
		says(t, bind(name), "data 775")
	}
	says(t, both(timestamp, 2), "revoked")

	// 4. The salt is after the pattern of the others, and the same after a start.
	timestamp.Setenv("KRB5_TRACE", "/dev/stderr")
	zed, salt := "", "" // chance has most names take after those, and a few after the administrator
	for i := 3; salt == "" && i < 60; i++ {
		zed = fmt.Sprint("zed", i)
		if all := regexp.MustCompile(`salt "CONTOSO.LOCAL` + zed + `"`); all.MatchString(timestamp.refused("wrong", zed)) {
			salt = all.String()
		}
	}
	if salt == "" {
		t.Error("nobody takes after the people of the domain")
	}
	w.Stop()
	w.Run()
	says(t, timestamp.refused("wrong", zed), salt)
	timestamp.Setenv("KRB5_TRACE", "/dev/null")
	timestamp.kinit(adaPassword, "ada3")

	// 5. What is written down is the truth, and nothing else is.
	var log string
	harness.WaitFor(t, "the security log", func() error {
		var err error
		if log, err = w.Skyrealm(t.Context(), nil, "domain", "events", "--account", zed, "--top", "1000"); err == nil && strings.Count(log, " 4768 ") < 4 {
			err = fmt.Errorf("too little in\n%s", log)
		}
		return err
	})
	if strings.Contains(log, " 4771 ") || strings.Count(log, " 4768 ") != strings.Count(log, " 0x6 ") {
		t.Errorf("the security log says\n%s", log)
	}
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	var rows int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM domain.guess WHERE kvno >= 0`).Scan(&rows); err != nil || rows != 4 {
		t.Errorf("%d rows of wrong passwords for four accounts, %v", rows, err)
	}
}

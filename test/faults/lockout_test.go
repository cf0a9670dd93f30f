package faults

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"skyrealm/test/harness"
)

// What is counted of wrong passwords while the database is down is in it when it
// is back, and locks.
func TestGuessesWhileTheDatabaseIsAway(t *testing.T) {
	s := seen(t, harness.Start(t))
	const upn, password = "ada@contoso.test", "Analytical-1843"
	push := func(sam string) {
		t.Helper()
		line := fmt.Sprintf(`{"userPrincipalName":"%s@contoso.test","sAMAccountName":"%[1]s","displayName":"%[1]s","password":%q}`, sam, password)
		if out, err := s.Skyrealm(t.Context(), strings.NewReader(line), "agent", "push", "-"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	push("ada")
	at := s.now.Load()
	try := func(password, want string) {
		t.Helper()
		c, err := at.ldap()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		err = c.Bind(upn, password)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("bind: %v, want %q", err, want)
		}
	}
	rows := func(ctx context.Context, want int64, query string) {
		t.Helper()
		harness.WaitFor(t, "the count in the database", func() error {
			n, err := s.sql(ctx, query)
			if err == nil && n != want {
				err = errors.New(fmt.Sprint(n, " instead of ", want))
			}
			return err
		})
	}
	const count = `SELECT coalesce(sum(count), 0)::bigint FROM domain.guess WHERE kvno > 0`
	try("wrong", "data 52e")
	rows(t.Context(), 1, count)

	release := hold(t, s)
	for range 2 {
		try("wrong", "data 52e")
	}
	release()
	rows(t.Context(), 3, count)

	// Those that come now and those of the outage are one count.
	for range 2 {
		try("wrong", "data 52e")
	}
	try("wrong", "data 775")
	try(password, "data 775")
	rows(t.Context(), 1, `SELECT count(*) FROM domain.guess WHERE until > now() + interval '29 minutes'`)
	rows(t.Context(), 5, `SELECT count(*) FROM domain.event WHERE event = 4776 AND status = 3221225578`) // of the outage too

	admin, err := at.ldap()
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if err := admin.Bind(s.AdminUPN, s.AdminPassword()); err != nil {
		t.Fatal(err)
	}
	unlock := ldap.NewModifyRequest("CN=ada,OU=AADDC Users,"+s.BaseDN, nil)
	unlock.Replace("lockoutTime", []string{"0"})
	if err := admin.Modify(unlock); err != nil {
		t.Fatal(err)
	}
	try(password, "")
}

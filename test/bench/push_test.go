package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"skyrealm/cred"
	"skyrealm/krb5/etype"
	"skyrealm/test/harness"
)

// crews are the groups of a push: one has up to 50,000 members.
const crews = 4

// pushed is what one `skyrealm agent push` took.
type pushed struct {
	acknowledged, usable, whole time.Duration
	service, postgres, agent    time.Duration // CPU
	serviceResident             int64
}

var pushTook = regexp.MustCompile(`(?m)^(\d+) users, 4 groups and (\d+) passwords taken in (\S+)\n(?s:.*)^usable in the managed domain (\S+) later$`)

// push sends a file of n users with NT hash and AES keys, as a directory has
// them, all members of some group, in one command: the agent makes digests and
// seals, the tenant stores, the managed domain follows.
func push(tb testing.TB, n int) pushed {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "users.jsonl")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	legacy, err := cred.NewLegacy(bulkPassword, "CORP.CONTOSO.TESTuser")
	if err != nil {
		tb.Fatal(err)
	}
	var keys []string
	for _, k := range legacy.Keys {
		if k.Key.ID() != etype.RC4 {
			keys = append(keys, fmt.Sprintf(`{"etype":%d,"salt":%q,"iterations":4096,"key":"%x"}`, k.Key.ID(), k.Salt, k.Key.Expose()))
		}
	}
	w := bufio.NewWriter(f)
	for i := range n {
		fmt.Fprintf(w, `{"userPrincipalName":"u%d@contoso.test","sAMAccountName":"u%d","displayName":"User %d","memberOf":["Crew %d"],"ntHash":"%s","kerberosKeys":[%s]}`+"\n",
			i, i, i, i%crews, hex.EncodeToString(legacy.NT.Expose()), strings.Join(keys, ","))
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}

	database := harness.Database(tb)
	s := harness.Start(tb, "--database", database)
	defer s.Stop()
	db, err := pgx.Connect(tb.Context(), database)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close(context.Background())
	postmaster := parent(tb, int(db.PgConn().PID()))
	before := [2]time.Duration{cpuTime(tb, s.PID), cpuTimeOfAll(tb, postmaster)}

	cmd := osexec.CommandContext(tb.Context(), harness.Binary(tb), "agent", "push", path)
	cmd.Env = append(os.Environ(), "SKYREALM_DATA="+s.Dir)
	var out, says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &says
	began := time.Now()
	if err := cmd.Run(); err != nil {
		tb.Fatalf("%v\n%s%s", err, &out, &says)
	}
	p := pushed{whole: time.Since(began), service: cpuTime(tb, s.PID) - before[0], postgres: cpuTimeOfAll(tb, postmaster) - before[1],
		agent: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), serviceResident: residentMost(tb, s.PID)}
	m := pushTook.FindStringSubmatch(out.String())
	if m == nil || m[1] != fmt.Sprint(n) || m[2] != fmt.Sprint(n) || !strings.Contains(out.String(), fmt.Sprintf("reasons: stored %d", 2*n+crews)) {
		tb.Fatalf("it ended with\n%s%s", &out, &says)
	}
	if p.acknowledged, err = time.ParseDuration(m[3]); err != nil {
		tb.Fatal(err)
	}
	if p.usable, err = time.ParseDuration(m[4]); err != nil {
		tb.Fatal(err)
	}
	for i := range 5 {
		signIn(tb, s, fmt.Sprint("u", i*(n/5)+i))
	}
	if text := says.String(); p.whole > 3*plain && !strings.Contains(text, "sync: ") {
		tb.Errorf("no line tells how far it is: %q", text)
	}
	return p
}

// plain is how often a push without a terminal tells how far it is.
const plain = 5 * time.Second

// TestPush is BenchmarkPush at a size for every day.
func TestPush(t *testing.T) { push(t, 1500) }

// BenchmarkPush is 100,000 users with sealed legacy hashes end to end in one
// command: from the file to the last user's first sign-in. An op is all of that
// once, on a new database; the agent, the service and PostgreSQL share the machine.
func BenchmarkPush(b *testing.B) {
	var sum pushed
	for b.Loop() {
		p := push(b, bulkUsers)
		sum.acknowledged += p.acknowledged
		sum.usable += p.usable
		sum.whole += p.whole
		sum.service += p.service
		sum.postgres += p.postgres
		sum.agent += p.agent
		sum.serviceResident = max(sum.serviceResident, p.serviceResident)
	}
	n := float64(b.N)
	b.ReportMetric(n*bulkUsers/sum.whole.Seconds(), "users/s")
	b.ReportMetric(n*bulkUsers/sum.acknowledged.Seconds(), "acknowledged/s")
	b.ReportMetric(sum.usable.Seconds()/n, "s-more-to-usable")
	b.ReportMetric(sum.agent.Seconds()/n, "agent-cpu-s")
	b.ReportMetric(sum.service.Seconds()/n, "service-cpu-s")
	b.ReportMetric(sum.postgres.Seconds()/n, "postgres-cpu-s")
	b.ReportMetric(float64(sum.serviceResident)/(1<<20), "service-MiB")
	b.ReportMetric(0, "ns/op")
}

package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5"
	"github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"

	"skyrealm/test/harness"
)

// bulkUsers is an organisation that is worth a stream.
const bulkUsers = 100_000

// lines makes of the bodies of batches the body of a stream.
func lines(b testing.TB, bodies [][]byte) []byte {
	b.Helper()
	var out bytes.Buffer
	for _, body := range bodies {
		var batch struct{ Items []json.RawMessage }
		if err := json.Unmarshal(body, &batch); err != nil {
			b.Fatal(err)
		}
		for _, item := range batch.Items {
			out.Write(item)
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// stream sends a body to the stream endpoint and returns how long it took until
// the last line was acknowledged, and the USN.
func stream(b testing.TB, s *harness.Server, client *http.Client, token string, body []byte, users int) (time.Duration, int64) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://"+s.HTTPS+"/sync/v1/passwordHashes:stream", bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/x-ndjson")
	began := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Stored, CommittedLines int
		USN                    int64
		Done                   bool
	}
	stored := 0
	answers := bufio.NewScanner(resp.Body)
	for answers.Scan() {
		answer.Stored = 0
		if err := json.Unmarshal(answers.Bytes(), &answer); err != nil {
			b.Fatalf("%s: %s: %v", resp.Status, answers.Bytes(), err)
		}
		if stored += answer.Stored; answer.Done {
			took := time.Since(began)
			if stored != users || answer.CommittedLines != users {
				b.Fatalf("%d of %d users stored: %s", stored, users, answers.Bytes())
			}
			return took, answer.USN
		}
	}
	b.Fatalf("the answer broke off: %s %s %v", resp.Status, answers.Bytes(), answers.Err())
	return 0, 0
}

// BenchmarkStream sends a first password sync of 100,000 users as one stream
// over HTTPS, and copies the same rows as they then stand in the database, in
// one bare COPY each: into a table without any index, and into one with the
// table's own, both of rows that were encoded before the clock started. An op
// is all of that once. The roles are those of BenchmarkHashBatches.
func BenchmarkStream(b *testing.B) {
	for _, mode := range []string{"tenant", "with-domain"} {
		b.Run(mode, func(b *testing.B) {
			database := harness.Database(b)
			s := harness.Start(b, "--database", database)
			a := newAgent(s, b)
			syncUsers(b, a, bulkUsers)
			body := lines(b, hashBodies(b, a, bulkUsers))
			if mode == "tenant" {
				s.Stop()
				s.Restart("--roles", "tenant")
			}
			token := bearer(b, s)
			db, err := pgx.Connect(b.Context(), database)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close(context.Background())
			var push, bare, indexed time.Duration
			for b.Loop() {
				exec(b, db, `TRUNCATE tenant.credential`)
				took, _ := stream(b, s, s.HTTP, token, body, bulkUsers)
				push += took
				rows := encoded(b, db)
				bare += copyEncoded(b, db, rows, "")
				indexed += copyEncoded(b, db, rows, "INCLUDING INDEXES")
			}
			rate := func(d time.Duration) float64 { return float64(b.N) * bulkUsers / d.Seconds() }
			b.ReportMetric(rate(push), "items/s")
			b.ReportMetric(rate(bare), "copy-rows/s")
			b.ReportMetric(rate(indexed), "indexed-copy-rows/s")
			b.ReportMetric(rate(push)/rate(bare), "of-bare-copy")
			b.ReportMetric(rate(push)/rate(indexed), "of-indexed-copy")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// encoded is what stands in tenant.credential, in COPY's binary format.
func encoded(b testing.TB, db *pgx.Conn) []byte {
	b.Helper()
	var out bytes.Buffer
	if _, err := db.PgConn().CopyTo(b.Context(), &out, `COPY tenant.credential TO STDOUT BINARY`); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}

func copyEncoded(b testing.TB, db *pgx.Conn, rows []byte, including string) time.Duration {
	b.Helper()
	exec(b, db, `DROP TABLE IF EXISTS copied`)
	exec(b, db, `CREATE TABLE copied (LIKE tenant.credential INCLUDING STORAGE `+including+`)`)
	began := time.Now()
	tag, err := db.PgConn().CopyFrom(b.Context(), bytes.NewReader(rows), `COPY copied FROM STDIN BINARY`)
	took := time.Since(began)
	if err != nil || tag.RowsAffected() != bulkUsers {
		b.Fatal(tag, err)
	}
	return took
}

// BenchmarkBulk is a new organisation's first day, 100,000 users with sealed legacy
// hashes on one machine with all roles: objects in batches, hashes in one
// stream, and the time until the managed domain has taken all of them in; then
// some of them sign in. The figures of the three parts are users per second; the
// CPU seconds of the service and of PostgreSQL and the service's largest resident
// set are of all three together. An op is all of that once, on a new database.
func BenchmarkBulk(b *testing.B) {
	var objects, acknowledged, usable time.Duration
	var cpu [2]time.Duration
	var resident int64
	for b.Loop() {
		database := harness.Database(b)
		s := harness.Start(b, "--database", database)
		db, err := pgx.Connect(b.Context(), database)
		if err != nil {
			b.Fatal(err)
		}
		postmaster := parent(b, int(db.PgConn().PID()))
		a := newAgent(s, b)
		body := lines(b, hashBodies(b, a, bulkUsers))
		token := bearer(b, s)
		before := [2]time.Duration{cpuTime(b, s.PID), cpuTimeOfAll(b, postmaster)}

		began := time.Now()
		syncUsers(b, a, bulkUsers)
		objects += time.Since(began)
		began = time.Now()
		took, usn := stream(b, s, s.HTTP, token, body, bulkUsers)
		acknowledged += took
		for deadline := time.Now().Add(10 * harness.Patience); ; {
			err := a.WaitUSN(b.Context(), usn)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				b.Fatal(err)
			}
		}
		usable += time.Since(began)

		cpu[0] += cpuTime(b, s.PID) - before[0]
		cpu[1] += cpuTimeOfAll(b, postmaster) - before[1]
		resident = max(resident, residentMost(b, s.PID))
		for i := range 20 {
			signIn(b, s, fmt.Sprint("u", i*(bulkUsers/20)+i))
		}
		_ = db.Close(context.Background())
		s.Stop()
	}
	rate := func(d time.Duration) float64 { return float64(b.N) * bulkUsers / d.Seconds() }
	b.ReportMetric(rate(objects), "objects/s")
	b.ReportMetric(rate(acknowledged), "acknowledged/s")
	b.ReportMetric(rate(usable), "usable/s")
	b.ReportMetric(rate(objects+usable), "users/s")
	b.ReportMetric(cpu[0].Seconds()/float64(b.N), "service-cpu-s")
	b.ReportMetric(cpu[1].Seconds()/float64(b.N), "postgres-cpu-s")
	b.ReportMetric(float64(resident)/(1<<20), "service-MiB")
	b.ReportMetric(0, "ns/op")
}

// signIn proves that a user of [hashBodies] can: over Kerberos, and by a bind.
func signIn(b testing.TB, s *harness.Server, name string) {
	b.Helper()
	text, err := krbconfig.Load(s.Krb5Conf)
	if err != nil {
		b.Fatal(err)
	}
	c := client.NewWithPassword(name, s.Realm, bulkPassword, text, client.DisablePAFXFAST(true))
	defer c.Destroy()
	if err := c.Login(); err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	l, err := ldap.DialURL("ldaps://"+s.LDAPS, ldap.DialWithTLSConfig(s.TLS()))
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	if err := l.Bind(name+"@contoso.test", bulkPassword); err != nil {
		b.Fatalf("%s: %v", name, err)
	}
}

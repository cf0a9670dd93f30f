package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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

package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jcmturner/gokrb5/v8/client"
	krbconfig "github.com/jcmturner/gokrb5/v8/config"

	"skyrealm/agent"
	"skyrealm/cred"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	users      = 20_000
	batchItems = 1000
	senders    = 4

	bulkPassword = "Passw0rd" // everybody's
)

func newAgent(s *harness.Server, b testing.TB) *agent.Client {
	return &agent.Client{BaseURL: "https://" + s.HTTPS, HTTP: s.HTTP, ClientID: s.AgentClientID,
		Secret: agent.Secret(s.AgentSecret()), Now: time.Now, Rand: rand.Reader}
}

// syncUsers creates the users u0… without passwords.
func syncUsers(b testing.TB, a *agent.Client, n int) {
	b.Helper()
	for i := 0; i < n; i += batchItems {
		items := make([]agent.Object, 0, batchItems)
		for j := i; j < min(i+batchItems, n); j++ {
			items = append(items, agent.Object{Type: "user", Operation: "set", Anchor: fmt.Sprint("u", j),
				Attributes: map[string]any{"userPrincipalName": fmt.Sprintf("u%d@contoso.test", j), "displayName": fmt.Sprint("User ", j)}})
		}
		answer, err := a.Objects(b.Context(), items)
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range answer.Results {
			if !r.OK() {
				b.Fatal(r)
			}
		}
	}
}

// hashBodies are the requests of a whole password sync, made before the clock
// starts: digests of random bytes, which cost the service the same, and real
// sealed legacy hashes.
func hashBodies(b testing.TB, a *agent.Client, n int) [][]byte {
	b.Helper()
	config, err := a.Configuration(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	key, err := cred.ParsePublicJWK(config.LegacyKey)
	if err != nil {
		b.Fatal(err)
	}
	legacy, err := cred.NewLegacy(bulkPassword, "CORP.CONTOSO.TESTuser")
	if err != nil {
		b.Fatal(err)
	}
	when := time.Now().UTC()
	bodies := make([][]byte, (n+batchItems-1)/batchItems)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for k := int(next.Add(1)) - 1; k < len(bodies); k = int(next.Add(1)) - 1 {
				var items []agent.Hash
				for j := k * batchItems; j < min((k+1)*batchItems, n); j++ {
					anchor := fmt.Sprint("u", j)
					sealed, err := key.Seal(cred.Binding{Tenant: config.TenantID, Subject: anchor, Version: when.UnixMicro()}, legacy, rand.Reader)
					if err != nil {
						b.Error(err)
					}
					noise := make([]byte, 42)
					_, _ = rand.Read(noise)
					items = append(items, agent.Hash{Anchor: anchor, Changed: when.Format(time.RFC3339Nano), Legacy: string(sealed),
						Digest: fmt.Sprintf("v1;PPH1_MD4,%s,1000,%s;", hex.EncodeToString(noise[:10]), hex.EncodeToString(noise[10:]))})
				}
				body, err := json.Marshal(map[string]any{"items": items})
				if err != nil {
					b.Error(err)
				}
				bodies[k] = body
			}
		})
	}
	wg.Wait()
	return bodies
}

// bearer is an agent's token.
func bearer(b testing.TB, s *harness.Server) string {
	b.Helper()
	form := "grant_type=client_credentials&client_id=" + s.AgentClientID + "&client_secret=" + s.AgentSecret() + "&scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
	resp, err := s.HTTP.Post("https://"+s.HTTPS+"/"+s.TenantID+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		b.Fatal(resp.Status, err)
	}
	return answer.Token
}

// send posts the bodies over several connections and returns how long it took
// until the last was acknowledged.
func send(b testing.TB, s *harness.Server, token string, bodies [][]byte) time.Duration {
	b.Helper()
	var next atomic.Int64
	failed := make(chan error, senders)
	began := time.Now()
	for range senders {
		go func() {
			failed <- func() error {
				for {
					i := int(next.Add(1)) - 1
					if i >= len(bodies) {
						return nil
					}
					req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://"+s.HTTPS+"/sync/v1/passwordHashes:batch", bytes.NewReader(bodies[i]))
					if err != nil {
						return err
					}
					req.Header.Set("Authorization", "Bearer "+token)
					req.Header.Set("Content-Type", "application/json")
					resp, err := s.HTTP.Do(req)
					if err != nil {
						return err
					}
					answer, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil {
						return err
					}
					if resp.StatusCode != http.StatusOK || bytes.Count(answer, []byte(`"stored"`)) != batchItems {
						return fmt.Errorf("%s: %.200s", resp.Status, answer)
					}
				}
			}()
		}()
	}
	for range senders {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began)
}

// BenchmarkHashBatches sends a first password sync of 20,000 users in batches of
// 1,000 over HTTPS, and copies the same rows, as they then stand in the
// database, with one bare COPY into a table of the same shape: without any
// index, and with the table's own. An op is all of that once.
//
// The process runs in the tenant role alone, as the figure is about what is
// acknowledged; with-domain runs the provisioner and the replica beside it on
// the same cores, which open and store what arrives.
func BenchmarkHashBatches(b *testing.B) {
	for _, mode := range []string{"tenant", "with-domain"} {
		b.Run(mode, func(b *testing.B) {
			database := harness.Database(b)
			s := harness.Start(b, "--database", database)
			a := newAgent(s, b)
			syncUsers(b, a, users)
			bodies := hashBodies(b, a, users)
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
			postmaster := parent(b, int(db.PgConn().PID()))
			var push, bare, indexed time.Duration
			var cpu [3]time.Duration // of client, service and database, in push
			used := func() [3]time.Duration {
				return [...]time.Duration{cpuTime(b, os.Getpid()), cpuTime(b, s.PID), cpuTimeOfAll(b, postmaster)}
			}
			for b.Loop() {
				exec(b, db, `TRUNCATE tenant.credential`)
				before := used()
				push += send(b, s, token, bodies)
				for i, after := range used() {
					cpu[i] += after - before[i]
				}
				bare += copyRows(b, db, "")
				indexed += copyRows(b, db, "INCLUDING INDEXES")
			}
			for i, unit := range []string{"client-cpu-us/item", "service-cpu-us/item", "postgres-cpu-us/item"} {
				b.ReportMetric(float64(cpu[i].Microseconds())/float64(b.N*users), unit)
			}
			rate := func(d time.Duration) float64 { return float64(b.N) * users / d.Seconds() }
			b.ReportMetric(rate(push), "items/s")
			b.ReportMetric(rate(bare), "copy-rows/s")
			b.ReportMetric(rate(indexed), "indexed-copy-rows/s")
			b.ReportMetric(rate(push)/rate(bare), "of-bare-copy")
			b.ReportMetric(rate(push)/rate(indexed), "of-indexed-copy")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func exec(b testing.TB, db *pgx.Conn, sql string) {
	b.Helper()
	if _, err := db.Exec(b.Context(), sql); err != nil {
		b.Fatal(err)
	}
}

// copyRows copies what stands in tenant.credential into a table like it.
func copyRows(b testing.TB, db *pgx.Conn, including string) time.Duration {
	b.Helper()
	exec(b, db, `DROP TABLE IF EXISTS copied`)
	exec(b, db, `CREATE TABLE copied (LIKE tenant.credential INCLUDING STORAGE `+including+`)`)
	rows, err := db.Query(b.Context(), `SELECT object_id, version, source, must_change, no_expiry, usn, digest, legacy FROM tenant.credential`)
	if err != nil {
		b.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
	if err != nil || len(all) != users {
		b.Fatal(len(all), err)
	}
	began := time.Now()
	n, err := db.CopyFrom(b.Context(), pgx.Identifier{"copied"}, []string{"object_id", "version", "source", "must_change", "no_expiry", "usn", "digest", "legacy"}, pgx.CopyFromRows(all))
	took := time.Since(began)
	if err != nil || n != users {
		b.Fatal(n, err)
	}
	return took
}

// BenchmarkUsable measures from the acknowledgement of a batch with one user's
// password to the first successful AS exchange with it, as a client sees it: it
// tries until it works. An op is one such change; the service has 1,000 users.
func BenchmarkUsable(b *testing.B) {
	s := harness.Start(b)
	a := newAgent(s, b)
	syncUsers(b, a, 1000)
	config, err := a.Configuration(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	key, err := cred.ParsePublicJWK(config.LegacyKey)
	if err != nil {
		b.Fatal(err)
	}
	text, err := krbconfig.Load(s.Krb5Conf)
	if err != nil {
		b.Fatal(err)
	}
	var took []time.Duration
	for b.Loop() {
		i := len(took)
		anchor, password := fmt.Sprint("u", i%1000), fmt.Sprintf("Passw0rd-%d", i)
		nt := cred.NTHashOf(password)
		digest, err := cred.NewDigest(nt, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		legacy, err := cred.NewLegacy(password, s.Realm+anchor)
		if err != nil {
			b.Fatal(err)
		}
		when := time.Now().UTC()
		sealed, err := key.Seal(cred.Binding{Tenant: config.TenantID, Subject: anchor, Version: when.UnixMicro()}, legacy, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := a.Hashes(b.Context(), []agent.Hash{{Anchor: anchor, Changed: when.Format(time.RFC3339Nano), Digest: digest.Expose(), Legacy: string(sealed)}})
		if err != nil || !answer.Results[0].OK() {
			b.Fatal(answer, err)
		}
		acknowledged := time.Now()
		for {
			c := client.NewWithPassword(anchor, s.Realm, password, text, client.DisablePAFXFAST(true))
			err := c.Login()
			c.Destroy()
			if err == nil {
				break
			}
			if time.Since(acknowledged) > harness.Patience {
				b.Fatal(err)
			}
		}
		took = append(took, time.Since(acknowledged))
	}
	slices.Sort(took)
	at := func(p int) float64 { return float64(took[(len(took)-1)*p/100].Microseconds()) / 1000 }
	b.ReportMetric(at(50), "p50-ms")
	b.ReportMetric(at(99), "p99-ms")
	b.ReportMetric(at(100), "max-ms")
	b.ReportMetric(0, "ns/op")
}

package store

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/tenant"
)

// Rows as a first password sync sends them: every user with digest and legacy hashes
// of the size that NT hash and two Kerberos keys have when sealed.
const (
	benchUsers = 20_000
	benchBatch = tenant.MaxBatchItems
)

func benchSets(b testing.TB, users []tenant.Object) []tenant.Credential {
	noise := make([]byte, 660)
	rand.Read(noise)
	d := digest(b, "password")
	sets := make([]tenant.Credential, len(users))
	for i := range sets {
		rand.Read(noise[:32])
		sets[i] = tenant.Credential{Object: users[i].ID, Source: tenant.FromSync, Digest: d,
			Legacy: cred.Sealed(base64.RawURLEncoding.EncodeToString(noise))}
	}
	return sets
}

func benchHouse(b *testing.B) (*house, []tenant.Credential) {
	h := newHouse(b)
	users := make([]tenant.Object, benchUsers)
	for i := range users {
		users[i] = user(b, fmt.Sprint("u", i))
	}
	for i := 0; i < benchUsers; i += benchBatch {
		h.put(b, users[i:i+benchBatch]...)
	}
	return h, benchSets(b, users)
}

func report(b *testing.B) { b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s") }

// BenchmarkPutCredentials is one writer that sends batches of 1000; an op is one item.
// first: the users' first sets. newer: each replaces one. again: a re-send.
func BenchmarkPutCredentials(b *testing.B) {
	for _, kind := range []string{"first", "newer", "again"} {
		b.Run(kind, func(b *testing.B) {
			h, sets := benchHouse(b)
			run := func(n int) {
				for done := 0; done < n; {
					batch := sets[done%benchUsers:][:min(benchBatch, n-done)]
					if kind == "first" && done > 0 && done%benchUsers == 0 {
						b.StopTimer()
						mustExec(b, h.admin, `TRUNCATE tenant.credential`)
						b.StartTimer()
					}
					if kind == "newer" {
						for i := range batch {
							batch[i].Version++
						}
					}
					if _, _, err := h.tenant.PutCredentials(b.Context(), batch, 0, nil); err != nil {
						b.Fatal(err)
					}
					done += len(batch)
				}
			}
			if kind != "first" {
				run(benchUsers)
			}
			b.ResetTimer()
			run(b.N)
			report(b)
		})
	}
}

// BenchmarkPutCredentialsParallel is four writers on users of their own, each sending
// the next version of them; compare with newer.
func BenchmarkPutCredentialsParallel(b *testing.B) {
	const writers = 4
	h, sets := benchHouse(b)
	b.ResetTimer()
	done := make(chan error)
	for w := range writers {
		own := sets[w*benchUsers/writers:][:benchUsers/writers]
		go func() {
			for n := 0; n < b.N/writers; n += benchBatch {
				batch := own[n%len(own):][:benchBatch]
				for i := range batch {
					batch[i].Version++
				}
				if _, _, err := h.tenant.PutCredentials(b.Context(), batch, 0, nil); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range writers {
		check(b, <-done)
	}
	report(b)
}

// BenchmarkCopy is what the above is measured against: the same rows, encrypted and encoded before
// the clock starts, by one bare COPY. bare: into a table without any index;
// indexed: into one with the indexes of tenant.credential.
func BenchmarkCopy(b *testing.B) {
	for _, like := range []string{"bare", "indexed"} {
		b.Run(like, func(b *testing.B) {
			h, sets := benchHouse(b)
			name, err := h.tenant.tenantID(b.Context())
			check(b, err)
			all := make([]int, len(sets))
			for i := range all {
				all[i] = i
			}
			mustExec(b, h.admin, `CREATE TABLE target (LIKE tenant.credential INCLUDING STORAGE)`)
			if like == "indexed" {
				mustExec(b, h.admin, `CREATE UNIQUE INDEX ON target (object_id)`)
				mustExec(b, h.admin, `CREATE UNIQUE INDEX ON target (usn)`)
			}
			for b.Loop() {
				b.StopTimer()
				mustExec(b, h.admin, `TRUNCATE target`)
				encoded, err := h.tenant.credentialRows(sets, name)
				check(b, err)
				rows, err := io.ReadAll(encoded.reader(all, 0))
				check(b, err)
				b.StartTimer()
				_, err = h.admin.PgConn().CopyFrom(b.Context(), bytes.NewReader(rows), `COPY target
					(usn, object_id, version, source, must_change, no_expiry, digest, legacy) FROM STDIN BINARY`)
				check(b, err)
			}
			b.ReportMetric(float64(b.N*benchUsers)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

// BenchmarkDomain is the way of the same users on into the domain, 1000 at a time; an op
// is one user. changes: the tenant's feed read; apply: new records with keys
// stored; records: a replica's start.
func BenchmarkDomain(b *testing.B) {
	h, sets := benchHouse(b)
	for i := range sets {
		sets[i].Version = 1
	}
	for i := 0; i < len(sets); i += benchBatch {
		_, _, err := h.tenant.PutCredentials(b.Context(), sets[i:i+benchBatch], 0, nil)
		check(b, err)
	}
	b.Run("changes", func(b *testing.B) {
		after := tenant.USN(0)
		for done := 0; done < b.N; {
			got, err := h.domain.TenantChanges(b.Context(), after, benchBatch)
			check(b, err)
			done += len(got)
			after = 0
			if len(got) == benchBatch {
				after = got[len(got)-1].USN
			}
		}
		report(b)
	})
	keys := legacy(b, "password")
	n := 0
	b.Run("apply", func(b *testing.B) {
		for done := 0; done < b.N; done += benchBatch {
			w := make([]domain.Write, benchBatch)
			for i := range w {
				n++
				w[i].Record = account(b, fmt.Sprint("r", n))
				w[i].Record.Source = w[i].Record.GUID
				w[i].Record.Secrets = domain.Secrets{Current: keys, KVNO: 1, Version: 1, Set: moment}
			}
			_, err := h.domain.Apply(b.Context(), w)
			check(b, err)
		}
		report(b)
	})
	b.Run("records", func(b *testing.B) {
		after := domain.USN(0)
		for done := 0; done < b.N; {
			got, _, err := h.domain.Records(b.Context(), after, benchBatch)
			check(b, err)
			done += len(got)
			after = 0
			if len(got) == benchBatch {
				after = got[len(got)-1].USN
			}
		}
		report(b)
	})
}

// BenchmarkMembers changes one member of a group with 50,000.
func BenchmarkMembers(b *testing.B) {
	h := newHouse(b)
	g := group(b, "g")
	members := make([]tenant.Member, tenant.MaxGroupMembers)
	for i := range members {
		members[i].Anchor = fmt.Sprint("m", i)
	}
	for i := 0; i < b.N+1; i++ {
		if i == 1 {
			b.ResetTimer()
		}
		members[0].Anchor = fmt.Sprint("n", i)
		_, err := h.tenant.PutObjects(b.Context(), []tenant.ObjectWrite{{Object: g, Members: &members}}, nil)
		check(b, err)
		g.Revision++
	}
}

// BenchmarkCatchUp is a start of the domain role on a database with 20,000 accounts,
// up to the replica that has them all; an op is one account.
func BenchmarkCatchUp(b *testing.B) {
	h := newHouse(b)
	head := domain.Record{GUID: newID(b), Kind: domain.Container, Class: "domainDNS", RDN: "aadds", Attrs: map[string][][]byte{}, Created: moment, Changed: moment}
	h.apply(b, head)
	keys := legacy(b, "x")
	for i := 0; i < benchUsers; i += benchBatch {
		page := make([]domain.Record, benchBatch)
		for j := range page {
			r := account(b, fmt.Sprint("person", i+j))
			r.Parent, r.Source, r.Secrets = head.GUID, newID(b), domain.Secrets{Current: keys, KVNO: 1, Set: moment}
			page[j] = r
		}
		h.apply(b, page...)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := b.N; n > 0; n -= benchUsers {
		f := domain.Follower{Store: h.domain, Replica: domain.NewReplica(h.info), Log: slog.New(slog.DiscardHandler)}
		check(b, f.CatchUp(b.Context()))
		if f.Replica.Len() != benchUsers+1 {
			b.Fatal(f.Replica.Len(), " objects")
		}
	}
	report(b)
}

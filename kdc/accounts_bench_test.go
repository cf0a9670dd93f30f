package kdc

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/tenant"
)

// BenchmarkASAccounts is BenchmarkAS with a domain of 1,000 and of 1,000,000 people, each
// request another's, chosen at random, and each person with keys, a name and two groups of
// their own: what the number of accounts adds to a sign-in, what an account takes of memory,
// and how long a replica takes to have it (without the database's part).
//
//	go test -run - -bench ASAccounts -cpu 1 ./kdc
func BenchmarkASAccounts(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := benchWorld(b)
			key := w.key("alice", etype.AES256SHA1)
			before := heap()
			began := time.Now()
			w.populate(n)
			took := time.Since(began)
			each := float64(heap()-before) / float64(n)

			in := make([][]byte, requests)
			chance := mrand.New(mrand.NewPCG(1, uint64(n)))
			for i := range in {
				q := w.asReq(personName(chance.IntN(n)))
				q.PAData = krb5.MethodData{w.proof(key, w.now.Add(time.Duration(i)*time.Microsecond))}
				in[i] = krb5.Encode(q)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if reply := w.kdc.Handle(b.Context(), in[i%len(in)], client4, true); reply[0] != 0x6b {
					mustIssue(b, w, reply, krb5.MsgASRep)
				}
			}
			b.ReportMetric(each, "B/account")
			b.ReportMetric(float64(took.Microseconds())/float64(n), "load-us/account")
		})
	}
}

func personName(i int) string { return fmt.Sprintf("person%07d", i) }

// populate puts n people into the domain, and into a hundred departments and ten sites.
func (w *world) populate(n int) {
	const page = 1000
	l := legacy(w.t, testPassword, testRealm+"alice").WithKVNO(2)
	groups := make([]domain.Record, 110)
	for i := range groups {
		r := w.user(fmt.Sprintf("group%03d", i), "")
		r.Kind, r.Class, r.UAC = domain.Group, "group", 0
		r.Attrs = map[string][][]byte{"groupType": {[]byte(domain.GroupGlobalSecurity)}}
		groups[i] = r
	}
	records := make([]domain.Record, 0, page)
	for i := range n {
		r := w.person(i)
		// Memory of its own, as each record from a database has.
		own := cred.Legacy{NT: l.NT, Keys: slices.Clone(l.Keys)}
		r.Secrets = domain.Secrets{Current: own, KVNO: 2, Set: testNow.Add(-time.Hour)}
		for _, g := range []int{i % 100, 100 + i%10} {
			groups[g].Members = append(groups[g].Members, r.Source)
		}
		if records = append(records, r); len(records) == page || i == n-1 {
			w.put(records...)
			records = make([]domain.Record, 0, page)
		}
	}
	w.put(groups...)
}

func (w *world) person(i int) domain.Record {
	var guid, source tenant.ID
	_, _ = rand.Read(guid[:])
	_, _ = rand.Read(source[:])
	binary.BigEndian.PutUint32(source[:], uint32(i))
	w.rid++
	name := personName(i)
	return domain.Record{GUID: guid, Source: source, Kind: domain.User, Class: "user", RID: w.rid, Parent: w.ou, RDN: "Person " + name, SAM: name,
		UPN: name + "@contoso.test", UAC: domain.UACNormal | domain.UACDontExpirePassword, Created: testNow, Changed: testNow,
		Attrs: map[string][][]byte{"displayName": {[]byte("Person " + name)}, "mail": {[]byte(name + "@contoso.test")}}}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

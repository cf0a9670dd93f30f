package domain

import (
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"skyrealm/cred"
	"skyrealm/domain/dit"
)

// account is a record as it comes from a database: nothing of it is anybody
// else's memory.
func (w *world) account(i int, l cred.Legacy) Record {
	name := fmt.Sprintf("person%07d", i)
	r := w.user(name, "")
	r.RDN = "Person " + name
	r.UPN = name + "@contoso.test"
	r.Attrs = map[string][][]byte{"displayName": {[]byte(r.RDN)}, "mail": {[]byte(r.UPN)}}
	keys := slices.Clone(l.Keys)
	salt := "AADDS.CONTOSO.TEST" + name
	for i := range keys {
		keys[i].Salt = salt
	}
	r.Secrets = Secrets{Current: cred.Legacy{NT: l.NT, Keys: keys}, KVNO: 2, Set: testNow}
	return r
}

// populate puts n people into the domain, each a member of two of 110 groups. It
// keeps none of the records.
func (w *world) populate(n int, kept func(*Record)) {
	l, err := cred.NewLegacy("Passw0rd", "CORP.TESTada")
	if err != nil {
		w.t.Fatal(err)
	}
	groups := make([]Record, 110)
	for i := range groups {
		groups[i] = w.group(fmt.Sprintf("group%03d", i))
	}
	for i := 0; i < n; {
		page := make([]Record, min(batch, n-i))
		for j := range page {
			page[j] = w.account(i, l)
			for _, g := range []int{i % 100, 100 + i%10} {
				groups[g].Members = append(groups[g].Members, page[j].Source)
			}
			kept(&page[j])
			i++
		}
		w.put(page...)
	}
	for i := range groups {
		groups[i].Members = slices.Clone(groups[i].Members) // no more than they need
	}
	w.put(groups...)
}

var accounts = flag.Int("accounts", 100_000, "how many accounts BenchmarkMemory is about")

// BenchmarkMemory says what an account takes of the heap: in all, its entry in
// the directory alone, and what is beyond the entry: keys, names to be found by,
// the order of the tree, memberships.
//
//	go test -run - -bench Memory -benchtime 1x ./domain [-accounts 1000000]
func BenchmarkMemory(b *testing.B) {
	n := *accounts
	for b.Loop() {
		w := newWorld(b)
		before := heap()
		w.populate(n, func(*Record) {})
		whole := float64(heap()-before) / float64(n)
		runtime.KeepAlive(w)

		w = newWorld(b)
		entries := make([]*dit.Entry, 0, n)
		parent := w.rep.ByGUID(w.ou).Entry.DN
		l, _ := cred.NewLegacy("Passw0rd", "CORP.TESTada")
		before = heap()
		for i := range n {
			r := w.account(i, l)
			o, err := newObject(&w.rep.Info, &r, parent, &w.rep.shared)
			if err != nil {
				b.Fatal(err)
			}
			entries = append(entries, o.Entry)
		}
		entry := float64(heap()-before) / float64(n)
		runtime.KeepAlive(entries)
		b.ReportMetric(whole, "B/account")
		b.ReportMetric(entry, "B/entry")
		b.ReportMetric(whole-entry, "B-beyond-entry")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkFind finds each of 100,000 accounts by its names, in an order that no
// cache follows.
func BenchmarkFind(b *testing.B) {
	const n = 100_000
	w := newWorld(b)
	var records []Record
	w.populate(n, func(r *Record) {
		records = append(records, Record{GUID: r.GUID, Source: r.Source, RID: r.RID, SAM: strings.Clone(r.SAM), UPN: strings.Clone(r.UPN)})
	})
	dns := make([]dit.DN, n)
	for i := range records {
		dns[i] = mustDN(w.rep.ByGUID(records[i].GUID).Entry.DN.String())
	}
	for name, find := range map[string]func(i int) *Object{
		"SAM":  func(i int) *Object { return w.rep.BySAM(records[i].SAM) },
		"UPN":  func(i int) *Object { return w.rep.ByUPN(records[i].UPN) },
		"GUID": func(i int) *Object { return w.rep.ByGUID(records[i].GUID) },
		"RID":  func(i int) *Object { return w.rep.ByRID(records[i].RID) },
		"DN":   func(i int) *Object { return w.rep.ByDN(dns[i]) },
		"none": func(i int) *Object {
			if w.rep.BySPN(records[i].SAM) != nil {
				return nil
			}
			return w.rep.ByRID(RIDKrbtgt)
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if find(i*7919%n) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
}

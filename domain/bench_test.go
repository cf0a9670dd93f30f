package domain

import (
	"fmt"
	"runtime"
	"testing"

	"skyrealm/cred"
	"skyrealm/domain/dit"
)

// crowd is a world with n accounts with keys, of which the first members are in
// one group that is nested in ten others; with is what else befalls a record.
func crowd(b *testing.B, n, members int, with func(i int, r *Record)) (*world, []Record, Record) {
	b.Helper()
	w := newWorld(b)
	legacy, err := cred.NewLegacy("Passw0rd", "CORP.TESTada")
	if err != nil {
		b.Fatal(err)
	}
	records := make([]Record, n)
	keys := make([]ID, 0, members)
	for i := range records {
		r := w.user(fmt.Sprintf("user%06d", i), "")
		r.Secrets = Secrets{Current: legacy.WithKVNO(1), KVNO: 1, Set: testNow}
		if with != nil {
			with(i, &r)
		}
		records[i] = r
		if i < members {
			keys = append(keys, r.Source)
		}
	}
	group := w.group("everybody", keys...)
	outer := group
	for i := range 10 {
		outer = w.group(fmt.Sprintf("outer%d", i), outer.Source)
		w.put(outer)
	}
	return w, records, group
}

func (w *world) putAll(records []Record) {
	for len(records) > 0 {
		n := min(batch, len(records))
		w.put(records[:n]...)
		records = records[n:]
	}
}

// BenchmarkReplicaLoad is a start of the domain role, but for the database.
func BenchmarkReplicaLoad(b *testing.B) {
	const n = 100_000
	for name, with := range map[string]func(int, *Record){
		"distinct": nil,
		"one-mail": func(_ int, r *Record) { r.Attrs["mail"] = [][]byte{[]byte("all@mail.test")} },
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				w, records, _ := crowd(b, n, 0, with)
				before := heap()
				b.StartTimer()
				w.putAll(records)
				b.StopTimer()
				b.ReportMetric(float64(heap()-before)/n, "B/object")
				runtime.KeepAlive(w)
				runtime.KeepAlive(records)
				b.StartTimer()
			}
			b.ReportMetric(n*float64(b.N)/b.Elapsed().Seconds(), "objects/s")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkGroupChange50k is one member more, and one less, of a large group.
func BenchmarkGroupChange50k(b *testing.B) {
	w, records, group := crowd(b, 60_000, 50_000, nil)
	w.putAll(records)
	w.put(group)
	all := group.Members
	b.ResetTimer()
	for i := range b.N {
		group.Members = all[:len(all)-i%2]
		w.put(group)
	}
}

// BenchmarkMembership is the closure of an account that is in eleven groups, as it
// is worked out anew and as it is remembered.
func BenchmarkMembership(b *testing.B) {
	w, records, group := crowd(b, 1000, 1000, nil)
	w.putAll(records)
	w.put(group)
	o := w.rep.BySAM("user000007")
	if n := len(w.rep.Membership(o).RIDs); n != 12 {
		b.Fatal(n)
	}
	b.Run("new", func(b *testing.B) {
		for range b.N {
			w.rep.close(o)
		}
	})
	b.Run("known", func(b *testing.B) {
		for range b.N {
			w.rep.Membership(o)
		}
	})
}

// BenchmarkSearch finds one of 100,000 accounts, or looks at all of them.
func BenchmarkSearch(b *testing.B) {
	w, records, group := crowd(b, 100_000, 50_000, nil)
	w.putAll(records)
	w.put(group)
	base := w.rep.Info.BaseDN()
	for _, filter := range []string{
		"(sAMAccountName=user054321)",
		"(&(objectClass=user)(mail=user054321@mail.test))",
		"(objectSid=" + w.rep.Info.SID.Append(records[54321].RID).String() + ")",
		"(|(cn=user054321)(cn=user012345))",
		"(displayName=*54321)",
		"(memberOf=CN=everybody,OU=AADDC Users," + base.String() + ")",
		"(memberOf:1.2.840.113556.1.4.1941:=CN=outer9,OU=AADDC Users," + base.String() + ")",
	} {
		f, err := dit.ParseFilter(filter)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filter, func(b *testing.B) {
			b.ReportAllocs()
			found := 0
			for range b.N {
				if err := w.rep.Search(base, dit.Sub, f, "", func(*Object) bool { found++; return true }); err != nil {
					b.Fatal(err)
				}
			}
			if found == 0 {
				b.Fatal("nothing is found")
			}
		})
	}
}

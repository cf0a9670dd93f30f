package kdc

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// BenchmarkHidden measures how well the time of an answer tells who has an account
// (W05): AUC is how often that for a known name takes longer, of a known and an
// unknown one (0.5: as often as not; the aim is 0.55 at most). Each request has another
// of 10,000 names, half of which are accounts.
//
//	go test -run - -bench Hidden -benchtime 50000x ./kdc
func BenchmarkHidden(b *testing.B) {
	for _, c := range []struct {
		name          string
		wrong, by, on bool
	}{
		{"first/called", false, false, true},
		{"first/UDP", false, true, true},
		{"wrong/called", true, false, true},
		{"wrong/UDP", true, true, true},
		{"first/UDP, off", false, true, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			if c.on {
				w = newWorld(b, hide)
			}
			w.kdc.Rand = w.rand
			w.lockout(nil)
			w.put(domain.Record{GUID: w.rep.Info.GUID, Kind: domain.Container, Class: "domainDNS", RDN: "aadds", Created: testNow, Changed: testNow,
				Attrs: map[string][][]byte{"lockoutThreshold": {[]byte("0")}}})
			const names = 10_000
			w.populate(names / 2)
			key, err := etype.Random(etype.AES256SHA1, w.rand)
			if err != nil {
				b.Fatal(err)
			}
			// The order of names is by chance, or the caches would tell.
			order := mrand.New(mrand.NewPCG(1, 2)).Perm(names)
			requests := make([][]byte, names)
			for i := range requests {
				q := w.asReq(fmt.Sprintf("person%07d", i)) // of the first half
				if c.wrong {
					q.PAData = krb5.MethodData{w.proof(key, w.now)}
				}
				requests[i] = krb5.Encode(q)
			}
			ask := func(q []byte) { w.kdc.Handle(b.Context(), q, client4, true) }
			if c.by {
				s, err := w.kdc.Listen("127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				ctx, stop := context.WithCancel(b.Context())
				done := make(chan struct{})
				go func() { _ = s.Serve(ctx); close(done) }()
				defer func() { stop(); <-done }()
				conn, err := net.Dial("udp", s.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				buf := make([]byte, 4096)
				ask = func(q []byte) {
					if _, err := conn.Write(q); err != nil {
						b.Fatal(err)
					}
					if _, err := conn.Read(buf); err != nil {
						b.Fatal(err)
					}
				}
			}
			var known, unknown []time.Duration
			for i := 0; b.Loop(); i++ {
				n := order[i%names]
				began := time.Now()
				ask(requests[n])
				if took := time.Since(began); n < names/2 {
					known = append(known, took)
				} else {
					unknown = append(unknown, took)
				}
			}
			if len(known) > 0 && len(unknown) > 0 {
				b.ReportMetric(auc(known, unknown), "AUC")
				b.ReportMetric(float64(known[len(known)/2]), "ns-known")
				b.ReportMetric(float64(unknown[len(unknown)/2]), "ns-unknown")
			}
		})
	}
}

// auc is the share of pairs in which the first is larger. It sorts both.
func auc(a, b []time.Duration) float64 {
	slices.Sort(a)
	slices.Sort(b)
	sum, below, upTo := 0.0, 0, 0
	for _, x := range a {
		for below < len(b) && b[below] < x {
			below++
		}
		for upTo = max(upTo, below); upTo < len(b) && b[upTo] <= x; {
			upTo++
		}
		sum += float64(below) + float64(upTo-below)/2
	}
	return sum / float64(len(a)) / float64(len(b))
}

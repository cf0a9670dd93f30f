// Package kdc measures the KDC beside those of MIT and Heimdal, from Debian, each in
// a process of its own with the same 10,000 principals, under one generator in the same run.
//
//	go test -run - -bench KDC -benchtime 20000x -timeout 30m ./test/bench/kdc
//
// An op is one request: an AS-REQ with PA-ENC-TIMESTAMP under AES256, or a TGS-REQ,
// over UDP, or over TCP with a connection for each. The servers are given the same load
// in turns. MIT runs in its fastest set-up (disable_last_success, disable_lockout); ours is
// the whole program, signs full PACs and counts wrong passwords exactly.
//
// What counts is the server's CPU time for a request; the rate is bound by the generator,
// which shares the two cores. p99 is measured at a rate that all of them can bear.
package kdc

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"skyrealm/der"
	"skyrealm/krb5"
	"skyrealm/test/harness"
)

func TestMain(m *testing.M) {
	if port, err := strconv.Atoi(os.Getenv(floorPort)); err == nil {
		fmt.Fprintln(os.Stderr, serveFloor(port))
		os.Exit(1)
	}
	harness.Main(m)
}

var (
	only  = flag.String("servers", "skyrealm,mit,heimdal,floor", "which of them to measure; floor, after another, is what the kernel takes of any")
	loads = flag.String("loads", "UDP AS,UDP TGS,TCP AS,TCP TGS", "under which loads")
)

// paced is the rate at which latency is measured, in requests a second.
const paced = 2000

// result is one server's under one load.
type result struct {
	rate float64
	cpu  time.Duration // a request
	p99  time.Duration
}

func BenchmarkKDC(b *testing.B) {
	if b.N < 1000 {
		return // the framework's first try
	}
	start := map[string]func() *server{
		"skyrealm": func() *server { return ours(b) },
		"mit":      func() *server { return mit(b, debian(b), people(b, theirRealm)) },
		"heimdal":  func() *server { return heimdal(b, debian(b), people(b, theirRealm)) },
	}
	var servers []*server
	for name := range strings.SplitSeq(*only, ",") {
		began := time.Now()
		var s *server
		if name == "floor" && len(servers) > 0 {
			s = floor(b, servers[0])
		} else {
			s = start[name]()
		}
		servers = append(servers, s)
		fmt.Fprintf(os.Stderr, "%s: %d principals after %v\n", s.name, *principals, time.Since(began).Round(time.Second))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\trequests/s\tCPU-s/10,000\tratio\tp99 at %d/s\t\n", paced)
	for load := range strings.SplitSeq(*loads, ",") {
		over, exchange, _ := strings.Cut(load, " ")
		results := measure(b, servers, exchange, over == "TCP")
		for i, s := range servers {
			r := results[i]
			ratio := float64(r.cpu) / float64(results[0].cpu)
			fmt.Fprintf(w, "%s %s\t%.0f\t%.3f\t%.1f\t%v\t\n", load, s.name, r.rate, 10_000*r.cpu.Seconds(), ratio, r.p99.Round(10*time.Microsecond))
			if i > 0 {
				b.ReportMetric(ratio, fmt.Sprintf("%s-%s-CPU-of-%s", over, exchange, s.name))
			}
		}
	}
	w.Flush()
	b.ReportMetric(0, "ns/op")
}

// measure gives each server its share of b.N requests in rounds, and the paced ones after.
func measure(b *testing.B, servers []*server, exchange string, tcp bool) []result {
	b.Helper()
	const rounds = 4
	n := b.N / rounds
	results := make([]result, len(servers))
	loads := make([]load, len(servers))
	for i, s := range servers {
		l := load{addr: s.addr, tcp: tcp, want: der.Application(krb5.MsgASRep), make: func(i int) ([]byte, error) {
			request, _, err := s.gen.asReq(i)
			return request, err
		}}
		if exchange == "TGS" {
			if s.name != "floor" {
				must(b, s.gen.signIn(s.addr, 500))
			}
			l.want, l.make = der.Application(krb5.MsgTGSRep), s.gen.tgsReq
		}
		loads[i] = l
	}
	took := make([]time.Duration, len(servers))
	for range rounds {
		for i, s := range servers {
			before := cpuTime(b, s.pid)
			t, _, err := loads[i].run(n)
			must(b, err)
			took[i] += t
			results[i].cpu += cpuTime(b, s.pid) - before
		}
	}
	for i := range servers {
		results[i].rate = float64(rounds*n) / took[i].Seconds()
		results[i].cpu /= time.Duration(rounds * n)
		loads[i].rate = paced
		_, each, err := loads[i].run(2 * paced)
		must(b, err)
		results[i].p99 = each[len(each)*99/100]
	}
	return results
}

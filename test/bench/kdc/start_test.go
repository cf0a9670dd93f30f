package kdc

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
	"skyrealm/store"
	"skyrealm/test/harness"
)

var accounts = flag.Int("accounts", 1_000_000, "how many accounts the domain has that BenchmarkStart starts with")

// BenchmarkStart is a start of `skyrealm serve --roles domain` on a database with
// 1,000,000 accounts, each in two groups, from the command to ready; an op is one
// start. It also says what memory the process has per account, and how many AS
// exchanges it does then with accounts chosen in turn.
//
//	go test -run - -bench Start -benchtime 1x -timeout 60m ./test/bench/kdc [-accounts 50000]
//
// The database is filled by the store's own writer: secrets stand there encrypted,
// as in any other.
func BenchmarkStart(b *testing.B) {
	const requests = 20_000
	database := harness.Database(b)
	s := harness.Start(b, "--debug=false", "--database", database, "--max-udp-reply", "4096")
	s.Stop()
	began := time.Now()
	people := fill(b, s, database, *accounts)
	fmt.Fprintf(os.Stderr, "%d accounts stored after %v\n", *accounts, time.Since(began).Round(time.Second))
	var ready, cpu, exchanges time.Duration
	var resident, most int64
	for b.Loop() {
		began := time.Now()
		s, stop := serve(b, s.Dir, database)
		ready += time.Since(began)
		cpu += cpuTime(b, s.PID)
		resident += memory(b, s.PID, "VmRSS")
		gen := generator{realm: s.Realm, people: people}
		l := load{addr: s.KDC, want: der.Application(krb5.MsgASRep), make: func(i int) ([]byte, error) {
			request, _, err := gen.asReq(i * 7919)
			return request, err
		}}
		took, _, err := l.run(requests)
		must(b, err)
		exchanges += took
		most = max(most, memory(b, s.PID, "VmHWM"))
		stop()
	}
	n, each := float64(b.N), float64(b.N)*float64(*accounts)
	b.ReportMetric(ready.Seconds()/n, "s-to-ready")
	b.ReportMetric(cpu.Seconds()/n, "cpu-s-to-ready")
	b.ReportMetric(float64(resident)/each, "resident-B/account")
	b.ReportMetric(float64(most)/float64(*accounts), "most-resident-B/account")
	b.ReportMetric(n*requests/exchanges.Seconds(), "AS/s")
	b.ReportMetric(0, "ns/op")
}

// serve starts the process and waits until it is ready, longer than the harness
// would; stop ends it.
func serve(b *testing.B, dir, database string) (s harness.Ready, stop func()) {
	b.Helper()
	file := filepath.Join(dir, "ready.json")
	_ = os.Remove(file)
	cmd := exec.Command(harness.Binary(b), "serve", "--data", dir, "--database", database, "--roles", "domain", "--max-udp-reply", "4096",
		"--kdc", ":0", "--kpasswd", ":0", "--ldap", ":0", "--ldaps", ":0")
	var says bytes.Buffer
	cmd.Stdout, cmd.Stderr = &says, &says
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(b, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	b.Cleanup(stop)
	for {
		text, err := os.ReadFile(file)
		if err == nil && json.Unmarshal(text, &s) == nil && s.PID == cmd.Process.Pid {
			return s, stop
		}
		select {
		case err := <-ended:
			ended <- err
			b.Fatalf("%v\n%s", err, &says)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// fill stores n people and 110 groups that they are in, two each. All have one key.
func fill(b *testing.B, s *harness.Server, database string, n int) []person {
	b.Helper()
	text, err := os.ReadFile(filepath.Join(s.Dir, "keys", "domain.ring"))
	must(b, err)
	ring, err := cred.ParseRing(text)
	must(b, err)
	db, err := store.Open(b.Context(), database, store.Options{Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)})
	must(b, err)
	defer db.Close()
	d := db.Domain(ring)
	var parent domain.ID
	founded, _, err := d.Records(b.Context(), 0, 1000)
	must(b, err)
	for _, r := range founded {
		if r.RDN == "AADDC Users" {
			parent = r.GUID
		}
	}

	key, err := etype.StringToKey(etype.AES256SHA1, password, s.Realm+first, etype.AES256SHA1.DefaultIterations())
	must(b, err)
	key128, err := etype.StringToKey(etype.AES128SHA1, password, s.Realm+first, etype.AES128SHA1.DefaultIterations())
	must(b, err)
	secrets := domain.Secrets{KVNO: 1, Set: time.Now().UTC().Truncate(time.Microsecond)}
	secrets.Current.NT = cred.NTHashOf(password)
	for _, k := range []etype.Key{key, key128} {
		secrets.Current.Keys = append(secrets.Current.Keys, cred.KerberosKey{Key: k, Salt: s.Realm + first, Iterations: 4096, KVNO: 1})
	}
	record := func(kind domain.Kind, class, name string) domain.Record {
		r := domain.Record{Kind: kind, Class: class, Parent: parent, RDN: name, SAM: name, Created: secrets.Set, Changed: secrets.Set,
			Attrs: map[string][][]byte{"displayName": {[]byte("Person " + name)}, "mail": {[]byte(name + "@contoso.test")}}}
		_, _ = rand.Read(r.GUID[:])
		_, _ = rand.Read(r.Source[:])
		return r
	}
	groups := make([]domain.Write, 110)
	for i := range groups {
		groups[i].Record = record(domain.Group, "group", fmt.Sprint("group", i))
	}
	const page = 1000
	all := make([]person, n)
	writes := make([]domain.Write, 0, page)
	for i := range all {
		all[i] = person{fmt.Sprintf("u%06d", i), key}
		r := record(domain.User, "user", all[i].name)
		r.UPN, r.UAC, r.Secrets = all[i].name+"@contoso.test", domain.UACNormal, secrets
		for _, g := range []int{i % 100, 100 + i%10} {
			groups[g].Record.Members = append(groups[g].Record.Members, r.Source)
		}
		if writes = append(writes, domain.Write{Record: r}); len(writes) == page || i == n-1 {
			_, err := d.Apply(b.Context(), writes)
			must(b, err)
			writes = writes[:0]
		}
	}
	_, err = d.Apply(b.Context(), groups)
	must(b, err)
	return all
}

// memory is what /proc/PID/status says of a process's, in bytes (proc(5)).
func memory(b *testing.B, pid int, field string) int64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	must(b, err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(lines.Text(), field+": %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	b.Fatal("no ", field)
	return 0
}

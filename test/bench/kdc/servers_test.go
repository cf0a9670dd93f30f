package kdc

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"skyrealm/cred"
	"skyrealm/krb5/etype"
	"skyrealm/test/harness"
)

// server is a KDC in a process of its own.
type server struct {
	name string
	addr string
	pid  int
	gen  *generator
}

var principals = flag.Int("principals", 10_000, "how many people each server knows")

const (
	password   = "Analytical-1843"
	first      = "u000000"
	theirRealm = "BENCH.TEST"
	theirHost  = "web.bench.test"
)

// people are the principals. All have one key, that of the first one's password: what a
// key is costs no server anything, and copies of one entry are loaded in seconds.
func people(b *testing.B, realm string) []person {
	b.Helper()
	key, err := etype.StringToKey(etype.AES256SHA1, password, realm+first, etype.AES256SHA1.DefaultIterations())
	must(b, err)
	all := make([]person, *principals)
	for i := range all {
		all[i] = person{fmt.Sprintf("u%06d", i), key}
	}
	return all
}

// multiply writes a dump of a database again with the first person's line once for everybody.
func multiply(b *testing.B, dump string, all []person) {
	b.Helper()
	text, err := os.ReadFile(dump)
	must(b, err)
	var out strings.Builder
	found := false
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, first+"@") {
			out.WriteString(line)
			continue
		}
		found = true
		for _, p := range all {
			out.WriteString(strings.ReplaceAll(line, first+"@", p.name+"@"))
		}
	}
	if !found {
		b.Fatalf("no %s in %s", first, dump)
	}
	write(b, dump, out.String())
}

// debian is where the KDCs of Debian lie, which need not be installed.
func debian(b *testing.B) string {
	b.Helper()
	cmd := exec.Command("bash", "-c", ". ../../clients.sh && kdc_servers")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("the KDCs of MIT and Heimdal can't be had here (root on Debian can): %v", err)
	}
	return strings.TrimSpace(string(out))
}

func freePort(b *testing.B) int {
	b.Helper()
	// One that is free for TCP is so for UDP, as nothing else runs here.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func write(b *testing.B, path, text string) {
	b.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

func run(b *testing.B, env []string, stdin, name string, args ...string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s: %v\n%s", name, err, out[max(0, len(out)-2000):])
	}
}

// daemon starts a server that ends with the benchmark, and waits until it answers.
func daemon(b *testing.B, env []string, port int, name string, args ...string) int {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	harness.WaitFor(b, name, func() error {
		conn, err := net.DialTimeout("tcp", addr(port), time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cmd.Process.Pid
}

func addr(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// mit is krb5kdc in its fastest set-up: it writes nothing of a sign-in.
func mit(b *testing.B, root string, all []person) *server {
	b.Helper()
	dir, port := b.TempDir(), freePort(b)
	write(b, filepath.Join(dir, "krb5.conf"), fmt.Sprintf(`[libdefaults]
	default_realm = %[1]s
	dns_lookup_kdc = false
	dns_lookup_realm = false
[realms]
	%[1]s = {
		kdc = 127.0.0.1:%[2]d
	}
`, theirRealm, port))
	write(b, filepath.Join(dir, "kdc.conf"), fmt.Sprintf(`[kdcdefaults]
	kdc_listen = 127.0.0.1:%[2]d
	kdc_tcp_listen = 127.0.0.1:%[2]d
[realms]
	%[1]s = {
		database_module = bench
		key_stash_file = %[3]s/stash
		acl_file = %[3]s/acl
		supported_enctypes = aes256-cts-hmac-sha1-96:normal
		max_life = 10h
		max_renewable_life = 7d
	}
[dbmodules]
	db_module_dir = %[4]s/usr/lib/x86_64-linux-gnu/krb5/plugins/kdb
	bench = {
		db_library = db2
		database_name = %[3]s/principal
		disable_last_success = true
		disable_lockout = true
	}
[logging]
	kdc = FILE:/dev/null
`, theirRealm, port, dir, root))
	env := []string{"KRB5_CONFIG=" + dir + "/krb5.conf", "KRB5_KDC_PROFILE=" + dir + "/kdc.conf"}
	run(b, env, "", root+"/usr/sbin/kdb5_util", "create", "-s", "-W", "-r", theirRealm, "-P", "master-"+password)
	run(b, env, fmt.Sprintf("addprinc +requires_preauth -pw %s %s\naddprinc -randkey HTTP/%s\n", password, first, theirHost),
		root+"/usr/sbin/kadmin.local", "-r", theirRealm)
	dump := filepath.Join(dir, "dump")
	run(b, env, "", root+"/usr/sbin/kdb5_util", "-r", theirRealm, "dump", dump)
	multiply(b, dump, all)
	run(b, env, "", root+"/usr/sbin/kdb5_util", "-r", theirRealm, "load", dump)
	pid := daemon(b, env, port, root+"/usr/sbin/krb5kdc", "-n", "-r", theirRealm)
	return &server{"mit", addr(port), pid, &generator{realm: theirRealm, service: []string{"HTTP", theirHost}, people: all}}
}

func heimdal(b *testing.B, root string, all []person) *server {
	b.Helper()
	dir, port := b.TempDir(), freePort(b)
	conf := filepath.Join(dir, "krb5.conf")
	write(b, conf, fmt.Sprintf(`[libdefaults]
	default_realm = %[1]s
[kadmin]
	default_keys = aes256-cts-hmac-sha1-96:pw-salt
	require-preauth = true
[kdc]
	enable-pkinit = false
	require-preauth = true
	max-kdc-datagram-reply-length = 4096
	database = {
		realm = %[1]s
		dbname = %[2]s/heimdal
		log_file = %[2]s/log
		acl_file = %[2]s/acl
	}
[logging]
	kdc = 0/FILE:/dev/null
	default = 0/FILE:/dev/null
`, theirRealm, dir))
	env := []string{"KRB5_CONFIG=" + conf}
	kadmin := filepath.Join(os.Getenv("SKYREALM_HEIMDAL"), "kadmin.heimdal")
	if os.Getenv("SKYREALM_HEIMDAL") == "" {
		kadmin = filepath.Join(root, "../heimdal/usr/bin/kadmin.heimdal")
	}
	run(b, env, fmt.Sprintf("init --realm-max-ticket-life=10h --realm-max-renewable-life=7d %s\nadd --use-defaults --password=%s %s\nadd --use-defaults --random-key HTTP/%s\n",
		theirRealm, password, first, theirHost), kadmin, "-l", "-c", conf)
	dump := filepath.Join(dir, "dump")
	run(b, env, "", kadmin, "-l", "-c", conf, "dump", "--decrypt", dump)
	multiply(b, dump, all)
	run(b, env, "", kadmin, "-l", "-c", conf, "load", dump)
	pid := daemon(b, env, port, root+"/usr/lib/heimdal-servers/kdc", "-c", conf, "--addresses=127.0.0.1", fmt.Sprintf("--ports=%d", port))
	return &server{"heimdal", addr(port), pid, &generator{realm: theirRealm, service: []string{"HTTP", theirHost}, people: all}}
}

// ours is the whole program in all roles, its 10,000 people synced by an agent. Each
// is in five groups, as somebody in a company is.
func ours(b *testing.B) *server {
	b.Helper()
	s := harness.Start(b, "--debug=false", "--max-udp-reply", "4096")
	all := people(b, s.Realm)
	var file bytes.Buffer
	enc := json.NewEncoder(&file)
	nt := cred.NTHashOf(password)
	for i, p := range all {
		must(b, enc.Encode(map[string]any{
			"userPrincipalName": p.name + "@" + s.TenantDomain, "sAMAccountName": p.name, "displayName": "Person " + p.name,
			"memberOf": []string{"All", fmt.Sprint("Site ", i%7), fmt.Sprint("Team ", i%100), fmt.Sprint("Floor ", i%11), fmt.Sprint("Project ", i%500)},
			"ntHash":   hex.EncodeToString(nt.Expose()),
			"kerberosKeys": []map[string]any{{"etype": 18, "salt": s.Realm + first, "iterations": etype.AES256SHA1.DefaultIterations(),
				"kvno": 1, "key": hex.EncodeToString(p.key.Expose())}},
		}))
	}
	path := filepath.Join(b.TempDir(), "people.jsonl")
	write(b, path, file.String())
	if out, err := s.Skyrealm(context.Background(), nil, "agent", "push", path); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	spn := "HTTP/web." + s.Domain
	if out, err := s.Skyrealm(context.Background(), nil, "keytab", "--spn", spn, "--out", filepath.Join(b.TempDir(), "keytab")); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return &server{"skyrealm", s.KDC, s.PID, &generator{realm: s.Realm, service: strings.Split(spn, "/"), people: all}}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// cpuTime is the time that a process and its children have computed (proc(5): utime and
// stime, in hundredths of a second). Heimdal's KDC works in children.
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	must(b, err)
	var sum int64
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// The second field, the command's name in parentheses, may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if id := strings.Split(path, "/")[2]; id != strconv.Itoa(pid) && (fields[4-3] != strconv.Itoa(pid) || strings.Contains(string(text), "(postgres)")) {
			continue
		}
		for _, at := range []int{14 - 3, 15 - 3} {
			n, err := strconv.ParseInt(fields[at], 10, 64)
			must(b, err)
			sum += n
		}
	}
	return time.Duration(sum) * 10 * time.Millisecond
}

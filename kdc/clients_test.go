package kdc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"skyrealm/krb5"
)

var update = flag.Bool("update", false, "record testdata/*.txt anew, with the real clients")

// A conversation is a real client's session with the KDC, or with the password
// change service as well. The world behind it is newWorld's, or newHouse's.
type conversation struct {
	name     string
	programs []string // that it takes
	commands []string // run by sh, one after the other
	expect   string   // in the output
}

var conversations = []conversation{
	{"mit", []string{"kinit", "kvno", "klist"}, []string{
		"printf '%s\\n' '" + testPassword + "' | kinit -f -p -r 2d alice",
		"kvno " + webSPN,
		"kinit -R",
		"kvno -C host/ws1.aadds.contoso.test",
		"klist -e -f",
	}, webSPN + "@" + testRealm},
	{"mit-fast", []string{"kinit", "kvno", "klist"}, []string{
		"printf '%s\\n' '" + testPassword + "' | kinit -c $KRB5CCNAME.armor 'WS1$'",
		"! printf 'wrong\\n' | kinit -T $KRB5CCNAME.armor alice",
		"! printf '%s\\n' '" + testPassword + "' | kinit -T $KRB5CCNAME.armor carol",
		"printf '%s\\n' '" + testPassword + "' | KRB5_TRACE=${KRB5CCNAME#FILE:}.trace kinit -T $KRB5CCNAME.armor alice",
		"grep -F 'module encrypted_challenge (138) (real) returned: 0/Success' ${KRB5CCNAME#FILE:}.trace",
		"grep -F 'FAST reply key' ${KRB5CCNAME#FILE:}.trace",
		"KRB5_TRACE=${KRB5CCNAME#FILE:}.trace2 kvno " + webSPN,
		"grep -F 'FAST reply key' ${KRB5CCNAME#FILE:}.trace2",
		"klist -f",
	}, webSPN + "@" + testRealm},
	{"mit-spake", []string{"kinit", "kvno", "klist"}, []string{
		"dir=${KRB5CCNAME#FILE:}",
		// What MIT's clients do unasked: edwards25519.
		"printf '%s\\n' '" + testPassword + "' | KRB5_TRACE=$dir.ed kinit alice",
		"grep -F 'SPAKE challenge received with group 1' $dir.ed",
		"grep -F 'module spake (151) (real) returned: 0/Success' $dir.ed",
		"if grep -F 'Encrypted timestamp' $dir.ed; then exit 1; fi",
		"kvno " + webSPN,
		"if printf 'wrong\\n' | kinit alice; then exit 1; fi",
		"printf '[libdefaults]\\n spake_preauth_groups = P-256\\n' >$dir.conf",
		"printf '%s\\n' '" + utf8Password + "' | KRB5_CONFIG=$KRB5_CONFIG:$dir.conf KRB5_TRACE=$dir.p256 LC_ALL=C.UTF-8 kinit -r 2d müller",
		"grep -F 'SPAKE challenge received with group 2' $dir.p256",
		"if grep -F 'Encrypted timestamp' $dir.p256; then exit 1; fi",
		// Groups that we don't have: back to the timestamp.
		"printf '[libdefaults]\\n spake_preauth_groups = P-521\\n' >$dir.conf",
		"printf '%s\\n' '" + testPassword + "' | KRB5_CONFIG=$KRB5_CONFIG:$dir.conf KRB5_TRACE=$dir.p521 kinit alice",
		"grep -F 'Encrypted timestamp' $dir.p521",
		"kvno " + webSPN,
		"klist -e",
	}, webSPN + "@" + testRealm},
	{"mit-spake-fast", []string{"kinit", "kvno", "klist"}, []string{
		"dir=${KRB5CCNAME#FILE:}",
		"printf '%s\\n' '" + testPassword + "' | kinit -c $dir.armor 'WS1$'",
		"printf '[plugins]\\n clpreauth = {\\n disable = encrypted_challenge\\n }\\n' >$dir.conf",
		"printf '%s\\n' '" + testPassword + "' | KRB5_CONFIG=$KRB5_CONFIG:$dir.conf KRB5_TRACE=$dir.trace kinit -T $dir.armor alice",
		"grep -F 'SPAKE challenge received with group 1' $dir.trace",
		"grep -F 'FAST reply key' $dir.trace",
		"if grep -F 'ncrypted challenge' $dir.trace; then exit 1; fi",
		"kvno " + webSPN,
		"klist",
	}, webSPN + "@" + testRealm},
	{"mit-pkinit", []string{"kinit", "kvno", "klist", "/usr/lib*/*/krb5/plugins/preauth/pkinit.so"}, []string{
		"kinit -X X509_user_identity=FILE:$CARD/card.pem,$CARD/card-key.pem alice",
		"kvno " + webSPN,
		"kinit -n -c $KRB5CCNAME.armor",
		"kinit -T $KRB5CCNAME.armor -X X509_user_identity=FILE:$CARD/card.pem,$CARD/card-key.pem alice",
		"! kvno -c $KRB5CCNAME.armor " + webSPN,
		"kvno " + webSPN,
		"klist -f",
	}, webSPN + "@" + testRealm},
	{"mit-enterprise", []string{"kinit", "klist"}, []string{
		"printf '%s\\n' '" + testPassword + "' | kinit -E Alice.Liddell@contoso.test",
		"klist",
	}, "Default principal: alice@" + testRealm},
	{"mit-utf8", []string{"kinit", "kvno", "klist"}, []string{
		"printf '%s\\n' '" + utf8Password + "' | LC_ALL=C.UTF-8 kinit müller",
		"kvno HTTP/web",
		"klist",
	}, "müller@" + testRealm},
	{"mit-wrong", []string{"kinit"}, []string{
		"! printf 'wrong\\n' | kinit alice",
		"! printf '%s\\n' '" + testPassword + "' | kinit dave",
		"! printf '%s\\n' '" + testPassword + "' | kinit carol",
		"! printf '%s\\n' '" + testPassword + "' | kinit nobody",
	}, "credentials have been revoked"},
	{"heimdal", []string{"kinit.heimdal", "kgetcred", "heimtools"}, []string{
		"printf '%s\\n' '" + testPassword + "' | kinit.heimdal --password-file=STDIN --forwardable --renewable alice",
		"kinit.heimdal --renew",
		"kgetcred " + webSPN,
		"heimtools klist -v",
	}, webSPN + "@" + testRealm},
	{"heimdal-utf8", []string{"kinit.heimdal", "kgetcred", "heimtools"}, []string{
		"printf '%s\\n' '" + utf8Password + "' | LC_ALL=C.UTF-8 kinit.heimdal --password-file=STDIN müller",
		"kgetcred HTTP/web",
		"heimtools klist",
	}, "müller@" + testRealm},
	{"mit-kpasswd", []string{"kinit", "kpasswd"}, append([]string{
		// It goes to UDP where TCP is refused.
		kpasswdConf + "servers $KPASSWD_UDP >$dir.udp; servers $KPASSWD >$dir.tcp",
		"change() { printf '%s\\n' \"$3\" \"$4\" \"$4\" | KRB5_CONFIG=$dir.$1:$KRB5_CONFIG kpasswd $2 >$dir.out 2>&1 || echo status $? >>$dir.out; cat $dir.out; }",
		"signin() { kinit cleo; }",
		"ok='Password changed' short='Password change rejected: '",
	}, kpasswdChanges...), "status 2"},
	{"heimdal-kpasswd", []string{"kinit.heimdal", "kpasswd.heimdal", "setsid"}, append([]string{
		// What is refused it asks for again with the older protocol, which it speaks
		// over UDP alone.
		kpasswdConf + "servers udp/$KPASSWD >$dir.udp; servers tcp/$KPASSWD udp/$KPASSWD >$dir.tcp",
		// It reads from a terminal where it has one, and its status tells nothing.
		"change() { printf '%s\\n' \"$3\" \"$4\" \"$4\" | KRB5_CONFIG=$dir.$1:$KRB5_CONFIG setsid -w kpasswd.heimdal $2@" + testRealm + " >$dir.out 2>&1 || true; cat $dir.out; }",
		"signin() { kinit.heimdal --password-file=STDIN cleo; }",
		"ok=Success short='Soft error : '",
	}, kpasswdChanges...), "Success"},
}

const thirdPassword = "Third-Passw0rd"

// kpasswdConf writes files that name the password change service.
const kpasswdConf = `dir=${KRB5CCNAME#FILE:}; servers() { echo '[realms]'; echo '` + testRealm + ` = {'; for s; do echo "kpasswd_server = $s"; done; echo '}'; }; `

// kpasswdChanges are a change that the rules refuse, one of a synced user's
// password, and one that is made, by each transport.
var kpasswdChanges = []string{
	"all() {",
	" change $1 cleo \"$2\" short; grep -F \"${short}a password has 8 to 256 characters\" $dir.out",
	" change $1 sync '" + testPassword + "' \"$3\"; grep -F 'on-premises directory' $dir.out",
	" change $1 cleo \"$2\" \"$3\"; grep -F \"$ok\" $dir.out",
	" printf '%s\\n' \"$3\" | signin",
	"}",
	"all udp '" + testPassword + "' " + newPassword,
	"all tcp " + newPassword + " " + thirdPassword,
}

// udpAlone answers datagrams on a port where TCP is refused.
func udpAlone(t *testing.T, handle Handler) string {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		buf := make([]byte, MaxUDPRequest)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(handle(context.Background(), buf[:n], from, false), from)
		}
	})
	t.Cleanup(func() { c.Close(); running.Wait() })
	return c.LocalAddr().String()
}

// TestClients runs real clients against the sockets, and with -update notes what
// was said.
func TestClients(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			path := os.Getenv("PATH")
			if dir := os.Getenv("SKYREALM_HEIMDAL"); dir != "" {
				path += string(filepath.ListSeparator) + dir
			}
			t.Setenv("PATH", path)
			for _, p := range c.programs {
				_, err := exec.LookPath(p)
				if found, _ := filepath.Glob(p); err != nil && len(found) == 0 {
					if *update || os.Getenv("CONFORMANCE") == "require" {
						t.Fatalf("%s is missing; test/all installs it", p)
					}
					t.Skipf("%s is missing; test/all installs it", p)
				}
			}
			c.run(t)
		})
	}
}

func (c *conversation) run(t *testing.T) {
	w, h := c.world(t)
	// One request after the other, each with a time and randomness that a
	// replay knows.
	var mu sync.Mutex
	var script bytes.Buffer
	fmt.Fprintf(&script, "# go test ./kdc -run Clients/%s -update\n", c.name)
	for _, cmd := range c.commands {
		fmt.Fprintf(&script, "# $ %s\n", cmd)
	}
	n := 0
	record := func(s *Server, handle Handler, service string) {
		s.Handle = func(ctx context.Context, b []byte, from netip.AddrPort, tcp bool) []byte {
			mu.Lock()
			defer mu.Unlock()
			n++
			w.now = time.Now().UTC().Truncate(time.Microsecond)
			reply := w.replay(ctx, n, handle, b, tcp)
			transport := "udp"
			if tcp {
				transport = "tcp"
			}
			fmt.Fprintf(&script, "\n%s %s%s\n> %x\n< %x\n", w.now.Format(time.RFC3339Nano), transport, service, b, reply)
			return reply
		}
	}
	var changes []string
	if h != nil {
		s, err := h.kpasswd.Listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		record(s, h.kpasswd.Handle, kpasswdMark)
		w.serve(s)
		changes = append(changes, "KPASSWD="+s.Addr().String(), "KPASSWD_UDP="+udpAlone(t, s.Handle))
	}
	s := w.listen(func(s *Server) { record(s, w.kdc.Handle, "") })
	dir, anchors := t.TempDir(), ""
	if c.certificates() {
		w.cardFiles(dir, w.withPKINIT())
		anchors = "pkinit_anchors = FILE:" + filepath.Join(dir, "anchors.pem")
	}
	conf := filepath.Join(dir, "krb5.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `[libdefaults]
 default_realm = %s
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
[realms]
 %s = {
  kdc = %s
  %s
 }
`, testRealm, testRealm, s.Addr(), anchors), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "set -e\n"+strings.Join(c.commands, "\n"))
	cmd.Env = append(append(os.Environ(), "KRB5_CONFIG="+conf, "KRB5CCNAME=FILE:"+filepath.Join(dir, "cc"), "CARD="+dir), changes...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), c.expect) {
		t.Fatalf("%v\n%s", err, out)
	}
	mu.Lock()
	defer mu.Unlock()
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", c.name+".txt"), script.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// certificates reports whether the conversation needs a KDC that takes them.
func (c *conversation) certificates() bool { return strings.HasSuffix(c.name, "-pkinit") }

// world is what the conversation is with. Passwords do not age there, as it is
// recorded at any time; h is nil where none is changed.
func (c *conversation) world(t *testing.T) (w *world, h *house) {
	if strings.HasSuffix(c.name, kpasswdMark[1:]) {
		h = newHouse(t)
		w = h.world
	} else {
		w = newWorld(t)
	}
	w.maxAge(0)
	return w, h
}

// kpasswdMark stands behind the transport of what went to that service.
const kpasswdMark = " kpasswd"

// replay answers the n-th request of a conversation.
func (w *world) replay(ctx context.Context, n int, handle Handler, b []byte, tcp bool) []byte {
	w.rand.mu.Lock()
	w.rand.n, w.rand.left = uint64(n)<<32, nil
	w.rand.mu.Unlock()
	// At once, not beside the reader: the answer is what is noted.
	return handle(context.WithValue(ctx, laterKey{}, nil), b, client4, tcp)
}

// TestConversations replays what real clients said, byte for byte.
func TestConversations(t *testing.T) {
	for _, c := range conversations {
		t.Run(c.name, func(t *testing.T) {
			file, err := os.ReadFile(filepath.Join("testdata", c.name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			w, h := c.world(t)
			if c.certificates() {
				w.withPKINIT()
			}
			services := map[string]Handler{"": w.kdc.Handle}
			if h != nil {
				h.kpasswd.local = hostAddress(client4.Addr()) // as where it was recorded
				services[kpasswdMark] = h.kpasswd.Handle
			}
			var request []byte
			var head, rest, to string
			n, met := 0, map[string]int{}
			lines := bufio.NewScanner(bytes.NewReader(file))
			lines.Buffer(nil, 1<<20)
			for lines.Scan() {
				switch head, rest, _ = strings.Cut(lines.Text(), " "); head {
				case "", "#":
				case ">":
					if request, err = hex.DecodeString(rest); err != nil {
						t.Fatal(err)
					}
				case "<":
					n++
					met[to]++
					handle := services[to[len("udp"):]]
					if reply := hex.EncodeToString(w.replay(t.Context(), n, handle, request, to[:len("tcp")] == "tcp")); reply != rest {
						t.Fatalf("request %d\n   got %s\nexpect %s", n, reply, rest)
					}
				default:
					if w.now, err = time.Parse(time.RFC3339Nano, head); err != nil {
						t.Fatal(err)
					}
					to = rest
				}
			}
			if n == 0 || w.kdc.Count.Panics.Load() != 0 {
				t.Errorf("%d requests", n)
			}
			if h == nil {
				return
			}
			c := &h.kpasswd.Count
			if met["udp"+kpasswdMark] < 3 || met["tcp"+kpasswdMark] < 3 || c.Sockets.Panics.Load() != 0 ||
				c.Results(krb5.KpasswdSuccess) < 2 || c.Results(krb5.KpasswdSoftError) < 2 || c.Results(krb5.KpasswdAccessDenied) < 2 {
				t.Errorf("requests: %v", met)
			}
			if !h.knows("cleo", thirdPassword) || !h.knows("sync", testPassword) {
				t.Error("other passwords than the clients have set")
			}
		})
	}
}

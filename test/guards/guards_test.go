package guards

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guard is one of them. code stands once in the file: a statement that refuses,
// or the words of one that fills a line, as `"no such thing"`, or a condition that
// refuses, or `value → other`, an expression and what stands there without the guard.
type guard struct {
	name string // the row of trust.md §B2.1 to §B2.3, and which of its guards; or what it is
	file string // and, where code stands in more than one, the function
	code string
	test string // which fails without the guard; of the file's package, or of the one in front
}

var guards = []guard{
	{"K03", "kdc/preauth.go", `!m.place.allows(x.armored())`, "TestChallengeOutsideFAST"},
	{"K13 elsewhere", "kdc/reply.go", `x.proof != nil`, "TestReplayElsewhere"},
	{"K04", "kdc/principal.go", `len(n) == 0`, "TestOmittedInFAST"},
	{"T18 unarmored", "kdc/preauth.go", `"a sign-in without armor"`, "TestArmorRequired"},
	{"T18 a service's ticket", "kdc/preauth_tgs.go", `"not a ticket for this TGS"`, "TestArmorTicket"},
	{"T18 whose armor", "kdc/fast.go", `x.tgt.Flags&krb5.FlagAnonymous == 0`, "TestArmorTicket"},
	{"T18 expired", "kdc/preauth_tgs.go", `"the ticket has expired"`, "TestArmorTicket"},
	{"T18 authenticator", "kdc/preauth_tgs.go", `"the client's clock is off"`, "TestArmorTicket"},
	{"T18 subkey", "kdc/fast.go", `"armor without a subkey"`, "TestArmorTicket"},
	{"T18 checksum", "kdc/fast.go", `"the armor is of another request"`, "TestArmoredRequestAltered"},
	{"T18 option", "kdc/fast.go", `"a critical option that we don't know"`, "TestArmoredRequestAltered"},
	{"T18 stripped", "kdc/fast.go", `"FAST was taken off the request"`, "TestTGSArmor"},
	{"T18 lent", "kdc/preauth_tgs.go", `"good for FAST armor only"`, "TestTGSArmor"},
	{"T18 explicit", "kdc/fast.go", `"explicit armor in a TGS-REQ"`, "TestTGSArmor"},
	{"challenge's time", "kdc/preauth_encts.go", `"the client's clock is off"`, "TestChallengeRefused"},
	{"hidden", "kdc/fast.go", `x.fast.req.Options&krb5.FASTHideClientNames != 0`, "TestHiddenClient"},
	{"cookie's age", "kdc/cookie.go", `age > cookieLife || age < -x.k.Policy.skew()`, "TestCookieIsGoodForOneConversation"},
	{"cookie's account", "kdc/cookie.go", `x.client != nil`, "TestCookieIsGoodForOneConversation"},
	{"K05", "kdc/s4u.go", `"delegation together with what it can't be with"`, "TestS4U2ProxyRefusals"},
	{"K16 S4U2Self", "kdc/s4u_self.go", `x.service.account.RID != front.RID`, "TestS4U2SelfRefusals"},
	{"T01 not forwardable", "kdc/s4u.go", `s.evidence.Flags&krb5.FlagForwardable == 0`, "TestS4U2ProxyRefusals"},
	{"T01 ticket signature", "krb5/pac/sign.go", `!sig.made(signer, ticket)`, "TestTampered"},
	{"T02 full signature", "krb5/pac/sign.go", `!sig.made(signer, zeroed)`, "TestTampered"},
	{"T02 server signature", "krb5/pac/sign.go", `!serverSig.made(server, zeroed)`, "TestTampered"},
	{"T06 no key", "kdc/s4u_self.go", `"PA-FOR-USER under no key"`, "TestS4U2SelfRefusals"},
	{"T06 HMAC", "kdc/s4u_self.go", `!hmac.Equal(u.Checksum.Value, hmacMD5Sum(x.tgt.Key.Expose(), krb5.UsagePACChecksum, u.Signed()))`, "TestS4U2SelfRefusals"},
	{"T06 id, no key", "kdc/s4u_self.go", `"PA-S4U-X509-USER under no key"`, "TestS4U2SelfRefusals"},
	{"T06 id, checksum", "kdc/s4u_self.go", `"PA-S4U-X509-USER is not what its checksum covers"`, "TestS4U2SelfRefusals"},
	{"S4U2Self nonce", "kdc/s4u_self.go", `"PA-S4U-X509-USER of another request"`, "TestS4U2SelfRefusals"},
	{"S4U2Self certificate's path", "kdc/certificate.go", `path != nil`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate's purpose", "kdc/certificate.go", `"a certificate for other purposes than to sign in"`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate's length", "kdc/certificate.go", `len(raw) > pkinit.MaxCertificate`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate, two accounts", "kdc/certificate.go", `o != nil && o.RID != found.RID`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate of a group", "kdc/certificate.go", `!found.SignsIn()`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate and another name", "kdc/certificate.go", `"a certificate for another name"`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self certificate's SID", "kdc/certificate.go", `"a certificate for another SID"`, "TestS4U2SelfByCertificateRefused"},
	{"S4U2Self two names", "kdc/s4u_self.go", `"two names for one person"`, "TestS4U2SelfRefusals"},
	{"S4U2Self disabled", "kdc/s4u_self.go", `"client disabled"`, "TestS4U2SelfRefusals"},
	{"S4U2Self hours", "kdc/s4u_self.go", `"client outside of its logon hours"`, "TestS4U2SelfRefusals"},
	{"S4U2Self realm", "kdc/s4u_self.go", `"S4U2Self for another realm's client"`, "TestS4U2SelfRefusals"},
	{"T07 not trusted", "kdc/s4u_self.go", `front.Delegates() && !front.TrustedToAuth()`, "TestS4U2SelfForwardable"},
	{"T07 sensitive", "kdc/s4u.go", `!x.k.Replica.Delegable(o)`, "TestS4U2ProxyRefusals"},
	{"T08 no list", "kdc/s4u.go", `return refuseStatus(krb5.ErrBadOption, statusNotSupported, "the service may not delegate")`, "TestS4U2ProxyRefusals"},
	{"T08 not listed", "kdc/s4u.go", `return refuseStatus(krb5.ErrBadOption, statusNoMatch, "the service may not delegate to this one")`, "TestS4U2ProxyRefusals"},
	{"T08 descriptor", "kdc/s4u.go", `!x.k.Replica.ActsFor(front, target)`, "TestS4U2ProxyRefusals"},
	{"S4U2Proxy disabled", "kdc/s4u.go", `"the evidence's client is disabled"`, "TestS4U2ProxyRefusals"},
	{"S4U2Proxy realm", "kdc/s4u.go", `part.CRealm != x.k.realm || !x.k.isRealm(t.Realm)`, "TestS4U2ProxyRefusals"},
	{"S4U2Proxy hops", "kdc/s4u.go", `len(s.delegation.Transited) > pac.MaxTransited`, "TestDelegationHops"},
	{"T10 whose", "kdc/u2u.go", `o.RID != x.service.account.RID`, "TestUserToUserRefusals"},
	{"T10 realm", "kdc/u2u.go", `part.CRealm != x.k.realm || part.Flags&krb5.FlagAnonymous != 0 || part.AuthData.Contains(krb5.ADFXArmor)`, "TestUserToUserRefusals"},
	{"T10 expired", "kdc/preauth_tgs.go", `"the ticket has expired"`, "TestUserToUserRefusals"},
	{"T10 two PACs", "kdc/pac.go", `return nil, refuse(code, "the ticket has two PACs")`, "TestUserToUserRefusals"},
	{"K07", "kdc/certificate.go", `"a certificate for another name"`, "TestCertificateRefused"},
	{"certificate's SID", "kdc/certificate.go", `"a certificate for another SID"`, "TestCertificateRefused"},
	{"certificate's object", "kdc/certificate.go", `"a certificate for another object of the tenant's"`, "TestCertificateRefused"},
	{"certificate's age", "kdc/certificate.go", `"a certificate from before the account, which says no SID"`, "TestCertificateRefused"},
	{"certificate's path", "kdc/certificate.go", `return x.typed(krb5.ErrCantVerifyCertificate, "a certificate of an authority that we don't know", pkinit.TrustedCertifiers(x.k.PKINIT.Clients))`, "TestCertificateRefused"},
	{"certificate's end", "kdc/certificate.go", `"the certificate is expired, not yet valid, or not for this use"`, "TestCertificateRefused"},
	{"certificate's purpose", "kdc/certificate.go", `"a certificate for other purposes than to sign in"`, "TestCertificateRefused"},
	{"signature", "kdc/certificate.go", `return refuse(krb5.ErrInvalidSig, err.Error())`, "TestCertificateRefused"},
	{"unsigned", "kdc/preauth_pkinit.go", `(x.client == nil) == signed.Signed`, "TestCertificateRefused"},
	{"AuthPack's time", "kdc/preauth_pkinit.go", `"the client's clock is off"`, "TestCertificateRefused"},
	{"paChecksum left out", "kdc/preauth_pkinit.go", `"no checksum of the request"`, "TestCertificateRefused"},
	{"paChecksum", "kdc/preauth_pkinit.go", `subtle.ConstantTimeCompare(sum[:], pack.Checksum) != 1`, "TestCertificateRefused"},
	{"paChecksum2", "kdc/preauth_pkinit.go", `subtle.ConstantTimeCompare(h.Sum(nil), pack.Checksum2) != 1`, "TestCertificateRefused"},
	{"freshness", "kdc/preauth_pkinit.go", `x.k.PKINIT.RequireFreshness`, "TestCertificateRefused"},
	{"freshness token", "kdc/preauth_pkinit.go", `return x.askFor(krb5.ErrPreauthExpired, "a freshness token that is stale, or none of ours")`, "TestFreshness"},
	{"anonymous service", "kdc/anonymous.go", `"an anonymous ticket for a service"`, "TestAnonymousRefused"},
	{"anonymous somebody", "kdc/anonymous.go", `"anonymity for a client that is named"`, "TestAnonymousRefused"},
	{"SPAKE cookie's age", "kdc/cookie.go", `age > cookieLife || age < -x.k.Policy.skew()`, "TestSPAKERefusals"},
	{"SPAKE's key version", "kdc/preauth_spake.go", `x.client.Secrets.KVNO != s.kvno`, "TestSPAKERefusals"},
	{"SPAKE's type of key", "kdc/preauth_spake.go", `key.Key.ID() != s.etype`, "TestSPAKERefusals"},
	{"SPAKE's factor", "kdc/preauth_spake.go", `factor.Type != spake.SFNone`, "TestSPAKERefusals"},
	{"SPAKE's factor's type", "kdc/preauth_spake.go", `m.Encrypted.EType != int32(first.ID())`, "TestSPAKERefusals"},
	{"SPAKE response twice", "kdc/replay.go", `"a proof that was used before"`, "TestSPAKEReplay"},
	{"canonical element", "krb5/spake/edwards25519.go", `!bytes.Equal(p.Bytes(), peer)`, "TestBadElements"},
	{"small order", "krb5/spake/edwards25519.go", `new(ed.Point).MultByCofactor(p).Equal(none) == 1`, "TestBadElements"},
	{"identity", "krb5/spake/edwards25519.go", `p.Equal(none) == 1`, "TestBadElements"},
	{"multiple of eight", "krb5/spake/edwards25519.go", `b[0]&7 != 0`, "TestBadPrivate"},
	{"compressed", "krb5/spake/p256.go", `len(peer) != p256Element`, "TestBadElements"},
	{"infinity", "krb5/spake/p256.go", `len(out) != p256Element`, "TestBadElements"},
	{"private scalar", "krb5/spake/p256.go", `bytes.Compare(b, p256Order) >= 0`, "TestBadPrivate"},
	{"T11", "kdc/etypes.go", `id == etype.RC4 && !p.AllowRC4 && len(l.Keys) > 0`, "TestETypeMatrix"},
	{"T11 client", "kdc/etypes.go", `return o.EncTypes.Has(id)`, "TestClientETypeMatrix"},
	{"T11 ticket", "kdc/etypes.go", `o.EncTypes.Says() && !o.EncTypes.Has(id)`, "TestETypeMatrix"},
	{"T11 session", "kdc/etypes.go", `return o.EncTypes.HasSession(id)`, "TestETypeMatrix"},
	{"SHA-2 for who knows it", "kdc/etypes.go", `id == etype.AES256SHA2 || id == etype.AES128SHA2`, "TestETypeMatrix"},
	{"anonymous crowd", "kdc/anonymous.go", `p.nobodies.Add(1) > max(1, int32(runtime.GOMAXPROCS(0)/2))`, "TestAnonymousCrowd"},
	{"K08 certificates", "krb5/pkinit/cms.go", `len(all) == MaxCertificates || len(c) > MaxCertificate`, "TestK08"},
	{"K08 names", "krb5/pkinit/cert.go", `n == MaxNames`, "TestK08"},
	{"message digest", "krb5/pkinit/cms.go", `!bytes.Equal(sum(hash, s.Content), s.hash)`, "TestSignedDataAltered"},
	{"small subgroup", "krb5/pkinit/group.go", `!g.valid(theirs)`, "TestAgree"},
	{"group of its own", "krb5/pkinit/group.go", `bytes.Equal(prime, g.prime.Bytes())`, "TestAgree"},
}

const (
	root     = "../.."
	variable = "SKYREALM_GUARD_OFF"
)

// TestEachGuardIsNeeded builds each package's tests once, with all switches.
func TestEachGuardIsNeeded(t *testing.T) {
	binaries := build(t)
	tests := map[string][]string{} // by their package
	for _, g := range guards {
		dir, test := g.place()
		if !slices.Contains(tests[dir], test) {
			tests[dir] = append(tests[dir], test)
		}
		t.Run(g.name, func(t *testing.T) {
			t.Parallel()
			if out, err := run(t, binaries, dir, test, g.name); err == nil {
				t.Errorf("%s passes without the guard %q of %s", test, g.name, g.file)
			} else if !strings.Contains(out, "--- FAIL: "+test) {
				t.Errorf("%s without the guard %q: %v\n%s", test, g.name, err, out)
			}
		})
	}
	// With their guards they pass in these builds too, or their failure without
	// one would say nothing.
	for dir, list := range tests {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, binaries, dir, strings.Join(list, "|"), "")
			if err != nil || strings.Contains(out, "--- SKIP") {
				t.Errorf("the tests of %s fail with all guards on, or are left out: %v\n%s", dir, err, out)
			}
			for _, test := range list {
				if !strings.Contains(out, "--- PASS: "+test+" (") {
					t.Errorf("there is no %s in %s", test, dir)
				}
			}
		})
	}
}

// place is where the test is.
func (g *guard) place() (dir, test string) {
	if dir, test = path.Split(g.test); dir != "" {
		return path.Clean(dir), test
	}
	file, _, _ := strings.Cut(g.file, " ")
	return path.Dir(file), test
}

func run(t *testing.T, binaries, dir, tests, off string) (string, error) {
	binary := filepath.Join(binaries, path.Base(dir)+".test")
	// The first failure is enough where one is what is waited for.
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^("+tests+")$", "-test.timeout", "2m", "-test.v", "-test.failfast")
	cmd.Dir = filepath.Join(root, dir)
	cmd.Env = append(os.Environ(), variable+"="+off)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// build compiles the tests of all packages with switches around the guards, and
// returns where they are.
func build(t *testing.T) (dir string) {
	t.Helper()
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	args := map[string]bool{}
	sources := map[string]string{}
	for _, g := range guards {
		testDir, _ := g.place()
		args["./"+testDir] = true
		file, function, _ := strings.Cut(g.file, " ")
		if sources[file] == "" {
			b, err := os.ReadFile(filepath.Join(abs, file))
			if err != nil {
				t.Fatal(err)
			}
			sources[file] = string(b)
		}
		sources[file] = g.switched(t, sources[file], function)
		sources[path.Dir(file)+"/guard_on.go"] = "package " + path.Base(path.Dir(file)) + switches
	}

	tmp := t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for file, text := range sources {
		to := filepath.Join(tmp, strings.ReplaceAll(file, "/", "+"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(abs, file)] = to
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tmp, "overlay.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(tmp, "tests")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-overlay", file, "-o", dir+"/")
	for arg := range args {
		cmd.Args = append(cmd.Args, arg)
	}
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return dir
}

const switches = `

import "os"

var guardOff = os.Getenv("` + variable + `")

func guardOn(name string) bool { return name != guardOff }

func guardValue[T any](name string, on, off T) T {
	if guardOn(name) {
		return on
	}
	return off
}
`

// switched puts a switch around the guard.
func (g *guard) switched(t *testing.T, source, function string) string {
	t.Helper()
	// Only the function, where there is one.
	from, to := 0, len(source)
	if function != "" {
		for _, line := range strings.SplitAfter(source, "\n") {
			if strings.HasPrefix(line, "func ") && strings.Contains(line, function+"(") {
				from = strings.Index(source, line)
				break
			}
		}
		end := strings.Index(source[from:], "\n}\n")
		if from == 0 || end < 0 {
			t.Fatalf("the guard %q: there is no %s", g.name, g.file)
		}
		to = from + end
	}
	body := source[from:to]
	code, other, value := strings.Cut(g.code, " → ")
	if n := strings.Count(body, code); n != 1 {
		t.Fatalf("the guard %q stands %d times in %s: %s", g.name, n, g.file, code)
	}
	on := `guardOn("` + g.name + `")`
	var switched string
	switch {
	case value:
		switched = `guardValue("` + g.name + `", ` + code + ", " + other + ")"
	case strings.HasPrefix(code, "return "):
		switched = "if " + on + " { " + code + " }"
	case strings.HasPrefix(code, `"`):
		code = statement(body, code)
		if !strings.HasPrefix(code, "return ") {
			t.Fatalf("the guard %q is no statement that refuses: %s", g.name, code)
		}
		switched = "if " + on + " { " + code + " }"
	default:
		switched = on + " && (" + code + ")"
	}
	return source[:from] + strings.Replace(body, code, switched, 1) + source[to:]
}

// statement returns the one in whose line the words stand, also where it has a
// switch already: two tests may be of one guard.
func statement(source, words string) string {
	before, after, _ := strings.Cut(source, words)
	before = before[strings.LastIndexByte(before, '\n')+1:]
	before = before[max(0, strings.LastIndex(before, "return ")):]
	after, _, _ = strings.Cut(after, "\n")
	return before + words + strings.TrimSuffix(after, " }")
}

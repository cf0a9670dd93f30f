package guards

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The other guards of the rows of trust.md §B2.1 to §B2.3.
func init() {
	guards = append(guards,
		guard{"K01", "der/reader.go", `r.depth >= MaxDepth`, "TestDepthIsBounded"},
		guard{"K05 validate", "kdc/tgs.go", `"VALIDATE or anonymous"`, "TestS4U2SelfRefusals"},
		guard{"K05 a TGS's ticket", "kdc/s4u.go", `"S4U2Proxy without a ticket for evidence"`, "TestS4U2ProxyRefusals"},
		guard{"K06", "krb5/kdcreq.go", `len(q.ETypes) == MaxETypes`, "kdc/TestManyETypes"},
		guard{"K10", "kdc/preauth.go", `x.askFor(krb5.ErrPreauthRequired, "no pre-authentication") → nil`, "TestNobodyWithoutProof"},
		guard{"K10 the bit", "domain/writer.go", `v&^settableUAC != 0`, "TestPreauthCantBeLeftOut"},
		guard{"K15", "domain/unique.go", `(r.Kind == Computer) != strings.HasSuffix(r.SAM, "$")`, "TestCollidingNames"},
		guard{"K17", "cred/cred.go", `len(password) > 3*MaxPassword`, "kdc/TestLongPasswords"},
		guard{"K17 characters", "cred/cred.go", `n > MaxPassword`, "kdc/TestLongPasswords"},
		guard{"K17 bind", "domain/authenticate.go", `cred.CheckPassword(password) != nil`, "kdc/TestLongPasswords"},
		guard{"K17 change", "domain/password.go ChangePassword", `checkPassword(password) → nil`, "kdc/TestLongPasswords"},

		guard{"T03 none of ours", "kdc/pac.go", `pac.Verify(part.PAC, server, ticket, kdc...) → nil`, "TestPACOfTGT"},
		guard{"T03 user-to-user", "kdc/pac.go", `pac.Verify(part.PAC, server, ticket, kdc...) → nil`, "TestUserToUserRefusals"},
		guard{"T04 count", "krb5/pac/pac.go", `count > MaxBuffers`, "TestDirectory"},
		guard{"T04 no count", "krb5/pac/pac.go", `count == 0`, "TestDirectory"},
		guard{"T04 past the end", "krb5/pac/pac.go", `offset > uint64(len(b)) || size > uint64(len(b))-offset`, "kdc/TestPACOfTGT"},
		guard{"T04 aligned", "krb5/pac/pac.go", `offset%8 != 0`, "TestDirectory"},
		guard{"T04 in the directory", "krb5/pac/pac.go", `offset < head`, "TestDirectory"},
		guard{"T04 overlap", "krb5/pac/pac.go", `(offset < uint64(e.offset)+uint64(e.size) && uint64(e.offset) < offset+size)`, "TestDirectory"},
		guard{"T04 twice", "krb5/pac/pac.go read", `e.kind == kind`, "TestDirectory"},
		guard{"T05 decrypts", "kdc/tgs.go", `"enc-authorization-data does not decrypt"`, "TestFailingAuthData"},
		guard{"T05 malformed", "kdc/tgs.go", `"malformed enc-authorization-data"`, "TestFailingAuthData"},
		guard{"T05 PAC", "kdc/tgs.go", `"a PAC of the client's own making"`, "TestFailingAuthData"},
		guard{"T05 too much", "kdc/tgs.go", `"too much authorization data"`, "TestFailingAuthData"},
		guard{"T06 authenticator", "kdc/preauth_tgs.go", `a.Checksum.Value == nil || a.Checksum.Type != session.ID().ChecksumType()`, "TestTGSRefusals"},
		guard{"T06 body", "kdc/preauth_tgs.go", `"the body is not what the authenticator vouches for"`, "TestTGSRefusals"},
		guard{"T07 a protected one's life", "kdc/times.go", `x.client != nil && x.k.Replica.Membership(x.client).Protected`, "TestProtectedLife"},
		guard{"T09", "domain/directory.go writable", `!d.Replica.Administers(actor)`, "TestDelegationWrites"},
		guard{"T10 session key", "kdc/u2u.go", `"the TGT's session key is none"`, "TestUserToUserRefusals"},
		guard{"T13 age", "kdc/keyage.go", `age > p.maxLife()+2*p.skew() → false`, "TestKrbtgtKeysAge"},
		guard{"T13 version", "kdc/etypes.go", `"no such version of the key"`, "TestKrbtgtRolls"},
		// There are no trusts: no key of another realm is held, so nothing of another
		// realm is believed. SID filtering and transited paths have nothing to be about.
		guard{"T15 TGT", "kdc/preauth_tgs.go", `"not a ticket for this TGS"`, "TestTGSRefusals"},
		guard{"T15 SIDs", "kdc/s4u.go", `"the evidence is of another domain's account"`, "TestS4U2ProxyRefusals"},
		guard{"T16", "kdc/etypes.go", `"tickets are not issued under this type of key"`, "TestTGSRefusals"},
		guard{"T17 AS", "kdc/times.go", `earliest(till, start.Add(life)) → till`, "TestLifetimes"},
		guard{"T17 AS, renewals", "kdc/times.go", `earliest(rtime, start.Add(renewals)) → rtime`, "TestLifetimes"},
		guard{"T17 AS, before the start", "kdc/times.go asTimes", `!t.EndTime.After(start)`, "TestLifetimes"},
		guard{"T17 TGS", "kdc/times.go", `earliest(wanted(x.req.Till), start.Add(x.maxLife()), tgt.EndTime, basis.EndTime) → wanted(x.req.Till)`, "TestTGSLifetimes"},
		guard{"T17 TGS, before the start", "kdc/times.go tgsTimes", `!t.EndTime.After(start)`, "TestTGSLifetimes"},
		guard{"T17 renewed", "kdc/times.go", `earliest(start.Add(life), t.RenewTill) → start.Add(life)`, "TestRenew"},
		guard{"T21", "kdc/pac.go", `pac.UPNDNSInfo{UPN: o.UPN, DNSDomain: x.k.realm, SAM: o.SAM, SID: o.SID()} → pac.UPNDNSInfo{UPN: o.UPN, DNSDomain: x.k.realm}`, "TestWhoseTGT"},

		guard{"P01 requestor", "kdc/kpasswd_ap.go", `"a TGT under another name"`, "TestKpasswdRefusals"},
		guard{"P01 life", "kdc/kpasswd_ap.go", `"a ticket that lives longer than those for kadmin/changepw"`, "TestKpasswdRefusals"},
		guard{"P01 two minutes", "kdc/times.go", `min(changePWLife, x.k.Policy.maxLife()) → x.k.Policy.maxLife()`, "TestChangeTicketIsNoTGT"},
		guard{"P01 as a TGT", "kdc/pac.go", `x.service.tgs → true`, "TestChangeTicketIsNoTGT"},
		guard{"P02", "kdc/kpasswd_ap.go", `"not a ticket for kadmin/changepw"`, "TestKpasswdRefusals"},
		guard{"P03", "kdc/kpasswd.go", `c.ap.Unmarshal(c.frame.AP) == nil → true`, "TestKpasswdNoAnswer"},
		guard{"P03 the KDC", "kdc/kdc.go", `x.req.Unmarshal(x.raw) != nil`, "TestNoAnswer"},
		guard{"P04 length", "krb5/kpasswd.go", `int(binary.BigEndian.Uint16(b)) != len(b)`, "kdc/TestKpasswdLengths"},
		guard{"P04 AP-REQ's length", "krb5/kpasswd.go", `n >= len(rest)`, "kdc/TestKpasswdLengths"},
		guard{"P05 another's", "kdc/kpasswd.go", `!c.k.Replica.Administers(c.who)`, "TestKpasswd"},
		guard{"P05 by a session", "kdc/kpasswd.go", `"the ticket has to be one that was got with the password"`, "TestKpasswdInitial"},
		guard{"P05 an old ticket", "kdc/kpasswd.go", `!c.fresh && !c.p.once.has(c)`, "TestKpasswdInitial"},
		guard{"P05 LDAP", "domain/directory.go writable", `!d.Replica.Administers(actor)`, "ldapsrv/TestWrites"},
		guard{"P05 empty value", "domain/writer.go unicodePwd", `m.Op != ModReplace || len(m.Values) != 1`, "ldapsrv/TestWrites"},
		guard{"P06 set", "domain/password.go setPassword", `checkPassword(password) → nil`, "kdc/TestDomainSameVerdict"},
		guard{"P06 LDAP", "domain/writer.go", `checkPassword(password) != nil`, "kdc/TestDomainSameVerdict"},
		guard{"P06 tenant", "tenant/password.go change", `checkPolicy(new, user.UPN) → nil`, "kdc/TestKpasswd"},
		guard{"P07", "kdc/proxy.go", `!p.KDC.isRealm(m.Realm)`, "TestProxy"},
		guard{"P08 length", "krb5/proxy.go", `uint64(binary.BigEndian.Uint32(framed)) != uint64(len(framed)-4)`, "kdc/TestProxyLengths"},
		guard{"P08 message", "kdc/proxy.go", `len(m.Message) > MaxTCPMessage`, "TestProxyLengths"},
		guard{"P08 body", "api/server.go", `bounded(maxProxy, problem.Write) → bounded(math.MaxInt64, problem.Write)`, "TestKDCProxy"},
		guard{"P08 drip", "api/proxy.go", `time.Now().Add(proxyTime) → time.Time{}`, "TestKDCProxyDrip"},
	)
}

// without are the rows that have no guard to take away.
var without = map[string]string{
	"K02": "Go's decoders free nothing, so no line stands against it; kdc TestTruncated and test/network TestMutants send what the row asks for",
	"K09": "the first round of a sign-in leaves no state that could be bounded: it is in the client's cookie (kdc TestHalfDone, test/network TestHostile)",
	"T14": "there is no RPC for services to have a PAC validated; the KDC verifies what it is shown (T02, T03)",
	"T19": "no service of ours takes GSS tokens",
	"T20": "no service of ours takes SPNEGO tokens",
}

// TestEachRow: every row of trust.md §B2.1 to §B2.3 has a guard above, or a reason
// why it has none.
func TestEachRow(t *testing.T) {
	var rows []string
	for _, section := range []struct {
		letter string
		last   int
	}{{"K", 17}, {"T", 21}, {"P", 8}} {
		for n := range section.last {
			rows = append(rows, fmt.Sprintf("%s%02d", section.letter, n+1))
		}
	}
	guarded, names := map[string]bool{}, map[string]bool{}
	for _, g := range guards {
		if names[g.name] {
			t.Errorf("two guards are named %s, so one switch is for both", g.name)
		}
		names[g.name] = true
		row, _, _ := strings.Cut(g.name, " ")
		guarded[row] = true
		if len(row) == 3 && strings.Trim(row[1:], "0123456789") == "" && !slices.Contains(rows, row) {
			t.Errorf("there is no row %s", row)
		}
	}
	for _, row := range rows {
		if why, excused := without[row]; guarded[row] == excused {
			t.Errorf("%s has a guard: %v, and a reason why it has none: %q", row, guarded[row], why)
		}
	}
	for row := range without {
		if !slices.Contains(rows, row) {
			t.Errorf("there is no row %s", row)
		}
	}
}

package guards

// Names, those that nobody has too, lifetimes and PACs.
func init() {
	guards = append(guards,
		guard{"K12 timestamp", "kdc/preauth_encts.go", `!x.current(ts.Time)`, "TestSkew"},
		guard{"K13", "kdc/replay.go", `first.request != request`, "TestReplay"},
		guard{"K14 controller's", "domain/unique.go", `o.GUID != w.rec.GUID && o.critical()`, "TestCollidingNames"},
		guard{"K14 without $", "domain/unique.go", `r.Kind != Computer && rep.BySAM(r.SAM+"$") != nil`, "TestCollidingNames"},
		guard{"K16", "kdc/preauth_tgs.go", `!ok || domainSID != x.k.Replica.Info.SID || p.Logon.UserID != rid || p.Logon.LogonDomainID != domainSID`, "TestPACOfTGT"},
		guard{"T03 two", "kdc/pac.go", `part.AuthData.Contains(krb5.ADWin2kPAC)`, "TestPACOfTGT"},
		guard{"T03 another's", "kdc/pac.go", `p.Client.Name != pacName(part.CName) || !p.Client.AuthTime.Equal(part.AuthTime)`, "TestPACOfTGT"},
		guard{"T12", "kdc/principal.go", `o.Kind == domain.User && len(o.SPNs) == 0`, "TestTGSRefusals"},
		guard{"T17", "kdc/times.go", `!tgt.RenewTill.After(start)`, "TestRenew"},
		guard{"T17 skew", "kdc/times.go", `!tgt.EndTime.After(start)`, "TestTGSLifetimes"},
		guard{"password since", "kdc/preauth_tgs.go", `stale(p.KeyVersion, o)`, "TestStaleTGT"},
		guard{"account ended", "kdc/preauth_tgs.go", `o.Settings.Expired(x.now)`, "TestAccountEnds"},
		guard{"token's room", "kdc/membership.go", `len(logon.Groups)+len(logon.ExtraSIDs)-asserted+len(logon.ResourceGroups) > maxSIDs`, "TestTooManyGroups"},
		guard{"history of ours", "domain/groups.go", `d == info.SID`, "TestHistory"},
		guard{"K11 nobody's keys", "kdc/judge.go", `err == nil && x.client.IsDecoy()`, "TestDecoySignsInWithNothing"},
		guard{"K11 nobody's cookie", "kdc/cookie.go", `x.client.IsDecoy()`, "TestDecoySignsInWithNothing"},
		guard{"K11 disabled", "kdc/hide.go", `"client disabled"`, "TestHiddenReasons"},
		guard{"K11 restricted", "kdc/hide.go", `x.client.Settings != nil`, "TestHiddenReasons"},
		guard{"K11 rows", "domain/lockout_alone.go", `g.made`, "TestDecoyLocksLikeAnAccount"},
		guard{"K11 bounded", "domain/lockout_made.go", `t.n >= maxMadeUp`, "TestDecoysAreBounded"},
		guard{"K11 sorts", "domain/decoy.go", `len(m) >= maxSorts`, "TestDecoySortsAreBounded"},
		guard{"K11 long names", "domain/decoy.go", `long > maxDecoyName`, "TestDecoyNames"},
		guard{"another domain's name", "kdc/principal.go", `!k.isRealm(name[:at])`, "TestNameForms"},
	)
}

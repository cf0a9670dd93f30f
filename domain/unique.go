package domain

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// checkNames refuses names by which the KDC or a person could take one account
// for another. That a name is free is read here from the replica, for an answer
// that says what is wrong; that two writers at once do not both take it, the
// store sees to ([Claims]).
func (w *writer) checkNames() error {
	r, rep := w.rec, w.d.Replica
	bare := strings.TrimSuffix(r.SAM, "$")
	if bare == "" || cleanSAM(bare, maxUserSAM) != bare || reserved[Fold(bare)] {
		return &ConstraintError{"sAMAccountName", "it is no account name"}
	}
	if !norm.NFKC.IsNormalString(bare) { // two names that look alike and are not the same
		return &ConstraintError{"sAMAccountName", "it has characters that stand for others (NFKC)"}
	}
	// CVE-2021-42278: only a computer's name ends in $, and every computer's does.
	if (r.Kind == Computer) != strings.HasSuffix(r.SAM, "$") {
		return &ConstraintError{"sAMAccountName", "a computer's name, and no other, ends in $"}
	}
	if o := rep.BySAM(r.SAM); o != nil && o.GUID != r.GUID {
		return ErrExists
	}
	// The KDC never tries a name with a $ added (CVE-2021-42287); other programs do.
	if r.Kind != Computer && rep.BySAM(r.SAM+"$") != nil {
		return ErrExists
	}
	if r.Kind == Group {
		return nil
	}
	if o := rep.ByUPN(r.SAM + "@" + rep.Info.DNSName); o != nil && o.GUID != r.GUID {
		return &ConstraintError{"sAMAccountName", "with the domain's name it is another account's userPrincipalName"}
	}
	if r.UPN == "" {
		return nil
	}
	prefix, suffix, ok := strings.Cut(r.UPN, "@")
	if !ok || prefix == "" || suffix == "" || !plainName(r.UPN) || strings.ContainsAny(r.UPN, `/\ `) || strings.Contains(suffix, "@") ||
		strings.HasSuffix(suffix, ".") {
		return &ConstraintError{"userPrincipalName", "it has the form name@suffix"}
	}
	if o := rep.ByUPN(r.UPN); o != nil && o.GUID != r.GUID {
		return &ConstraintError{"userPrincipalName", "it is another account's"}
	}
	return nil
}

// plainName reports whether a name has only characters that are seen and stand
// for themselves.
func plainName(s string) bool {
	return norm.NFKC.IsNormalString(s) && strings.IndexFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) < 0
}

// checkSPN refuses a service principal name that is no such, or another's.
func (w *writer) checkSPN(spn string) error {
	refused := func(why string) error { return &ConstraintError{"servicePrincipalName", why} }
	service, host, ok := strings.Cut(spn, "/")
	if !ok || service == "" || host == "" || strings.ContainsAny(spn, ` @\`) || !plainName(spn) ||
		strings.Count(host, "/") > 1 || strings.HasPrefix(host, "/") || strings.HasSuffix(host, "/") || strings.HasSuffix(host, ".") {
		return refused("a service principal name has the form service/host")
	}
	// One name, one account: a second holder would make the KDC choose
	// (CVE-2020-25722, CVE-2026-13097).
	if o := w.d.Replica.BySPN(spn); o != nil && o.GUID != w.rec.GUID || strings.EqualFold(service, "krbtgt") {
		return refused("the service principal name is another account's")
	}
	// HTTP/web on an account of its own, beside HOST/web of the computer, is what
	// web servers do, and the name that is written out wins. It takes the service
	// from the computer, though, so as in AD (KB5008382) who may not write the
	// computer may not: the domain's own are nobody's to write.
	if o := w.d.Replica.ByHostAlias(spn); o != nil && o.GUID != w.rec.GUID && o.critical() {
		return refused("the service principal name stands for HOST/ of a computer of the domain's own")
	}
	return nil
}

package domain

import "strings"

// Claims are the names of a record that no other account may have, beside its
// sAMAccountName. A [Store] holds each for one record, so that of two writers at
// once one is refused, whatever their replicas said (CVE-2020-25722,
// CVE-2026-13097). Names are as [Fold] gives them.
type Claims struct {
	// Names are the userPrincipalName and the servicePrincipalNames, with a mark
	// before each that keeps the two kinds apart.
	Names []string
	// Implicit is the name that an account has without being given it,
	// sAMAccountName@domain, marked as in Names: it may be in no other's.
	Implicit string
	// Account is the sAMAccountName whose implicit name the record's own UPN is;
	// no other account may have it.
	Account string
}

// Marks of the kinds of names.
const (
	claimUPN = "u:"
	claimSPN = "s:"
)

// Claims returns what the record claims: nothing, for what does not sign in.
func (r *Record) Claims(info *Info) (c Claims) {
	if r.Deleted || r.Kind != User && r.Kind != Computer {
		return c
	}
	dns := "@" + Fold(info.DNSName)
	c.Implicit = claimUPN + Fold(r.SAM) + dns
	if r.UPN != "" {
		upn := Fold(r.UPN)
		c.Names = append(c.Names, claimUPN+upn)
		c.Account, _ = strings.CutSuffix(upn, dns)
		if c.Account == upn {
			c.Account = ""
		}
	}
	for _, spn := range r.SPNs {
		c.Names = append(c.Names, claimSPN+Fold(spn))
	}
	return c
}

// Yield takes from a record of the domain's own what a tenant's user claims: the
// tenant's names come first (see [Replica]). It reports whether there was any.
func (r *Record) Yield(name string) bool {
	if r.UPN == "" || claimUPN+Fold(r.UPN) != name {
		return false
	}
	r.UPN = ""
	return true
}

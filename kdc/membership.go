package kdc

import (
	"time"

	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/pac"
)

// maxSIDs is how many groups a person may be in: a Windows token holds 1,024
// SIDs, and nine are those of everybody (Microsoft's KB 328889).
const maxSIDs = 1015

// memberships fills in the SIDs beside the client's own ([MS-PAC] §2.5,
// [MS-KILE] §3.3.5.7.3): global and universal groups always, domain-local ones in
// tickets for services, and what account and groups were called in another domain.
func (x *exchange) memberships(logon *pac.LogonInfo) error {
	m := x.k.Replica.Membership(x.client)
	x.groups = x.groups[:0]
	for _, rid := range m.RIDs {
		x.groups = append(x.groups, pac.Group{RID: rid, Attributes: groupAttributes})
	}
	logon.Groups = x.groups
	asserted := len(logon.ExtraSIDs)
	if len(m.Local)+len(m.History) > 0 {
		x.moreSIDs(logon, m)
	}
	if len(logon.Groups)+len(logon.ExtraSIDs)-asserted+len(logon.ResourceGroups) > maxSIDs {
		// One left out could be one that denies access, so AD gives no token.
		return refuseStatus(krb5.ErrPolicy, statusTooManyContextIDs, "the client is in too many groups")
	}
	return nil
}

// moreSIDs adds domain-local groups and SID history.
func (x *exchange) moreSIDs(logon *pac.LogonInfo, m *domain.Membership) {
	const local = groupAttributes | pac.GroupResource
	info := &x.k.Replica.Info
	x.extraSIDs = append(x.extraSIDs[:0], logon.ExtraSIDs...)
	for _, s := range m.History {
		x.extraSIDs = append(x.extraSIDs, pac.SIDAttributes{SID: s, Attributes: groupAttributes})
	}
	switch {
	case len(m.Local) == 0 || x.service.tgs:
	case x.service.account.EncTypes.NoSIDCompression():
		for _, rid := range m.Local {
			x.extraSIDs = append(x.extraSIDs, pac.SIDAttributes{SID: info.SID.Append(rid), Attributes: local})
		}
	default:
		x.local = x.local[:0]
		for _, rid := range m.Local {
			x.local = append(x.local, pac.Group{RID: rid, Attributes: local})
		}
		logon.UserFlags |= pac.LogonResourceGroups
		logon.ResourceGroupDomain, logon.ResourceGroups = info.SID, x.local
	}
	logon.ExtraSIDs = x.extraSIDs
}

// settings fills in where a Windows machine finds the profile, and when the person
// is to leave ([MS-KILE] §3.3.5.6.4.1) and has to.
//
// DIVERGES: AD adds its domain's forceLogoff, which is never, to either. Here a
// session ends with its account.
func settings(logon *pac.LogonInfo, s *domain.Settings, now time.Time) {
	if t := s.Until(now); !t.IsZero() {
		logon.LogoffTime = pac.FileTimeOf(t)
	}
	logon.HomeDirectory, logon.HomeDirectoryDrive = s.HomeDirectory, s.HomeDrive
	logon.ProfilePath, logon.LogonScript = s.ProfilePath, s.ScriptPath
	if !s.Expires.IsZero() {
		logon.KickOffTime = pac.FileTimeOf(s.Expires)
	}
}

// stale reports whether a TGT is of another password than the account has. Groups
// are no part of it: each ticket has those of its own moment (see sealPAC), which
// is stricter than to refuse the TGT, and cuts nobody's session.
//
// DIVERGES: AD lets a TGT live on after a change of password. Here a person whose
// password was stolen is rid of the thief with the change, and signs in again, as
// Windows asks for by itself. A machine changes its password on its own, in the
// midst of its work, so a TGT of the one before is good, as its service keys are.
func stale(kvno uint32, o *domain.Object) bool {
	now := o.Secrets.KVNO
	return kvno != now && !(o.Kind == domain.Computer && kvno+1 == now)
}

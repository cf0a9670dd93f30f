package pac

import "skyrealm/sid"

// Attributes of a group ([MS-PAC] §2.2.2).
const (
	GroupMandatory        uint32 = 1 << 0
	GroupEnabledByDefault uint32 = 1 << 1
	GroupEnabled          uint32 = 1 << 2
	GroupResource         uint32 = 1 << 29
	// GroupUsual is what Windows gives an ordinary membership.
	GroupUsual = GroupMandatory | GroupEnabledByDefault | GroupEnabled
)

// UserFlags of LOGON_INFO ([MS-PAC] §2.5).
const (
	// LogonExtraSIDs must be set where ExtraSIDs are there to be read.
	LogonExtraSIDs uint32 = 0x20
	// LogonResourceGroups likewise, for ResourceGroups.
	LogonResourceGroups uint32 = 0x200
)

// UserAccountControl of LOGON_INFO: the bits of SAM, not those of the LDAP
// attribute ([MS-SAMR] §2.2.1.12).
const (
	AccountDisabled           uint32 = 0x1
	AccountPasswordNotReqd    uint32 = 0x4
	AccountNormal             uint32 = 0x10
	AccountWorkstation        uint32 = 0x80
	AccountServer             uint32 = 0x100
	AccountDontExpirePassword uint32 = 0x200
	AccountAutoLocked         uint32 = 0x400
	AccountTrustedForDeleg    uint32 = 0x2000
	AccountNotDelegated       uint32 = 0x4000
	AccountDontRequirePreauth uint32 = 0x10000
	AccountTrustedToAuth      uint32 = 0x40000
	AccountPasswordExpired    uint32 = 0x20000
)

// Group is a membership in a group of one domain.
type Group struct {
	RID        uint32
	Attributes uint32
}

// SIDAttributes is a membership in a group of any domain.
type SIDAttributes struct {
	SID        sid.SID
	Attributes uint32
}

// LogonInfo is KERB_VALIDATION_INFO, buffer type 1 ([MS-PAC] §2.5).
type LogonInfo struct {
	LogonTime          FileTime
	LogoffTime         FileTime // Never, as KickOffTime, where no logon hours hold
	KickOffTime        FileTime
	PasswordLastSet    FileTime
	PasswordCanChange  FileTime
	PasswordMustChange FileTime

	EffectiveName      string // sAMAccountName
	FullName           string
	LogonScript        string
	ProfilePath        string
	HomeDirectory      string
	HomeDirectoryDrive string
	LogonCount         uint16
	BadPasswordCount   uint16

	UserID         uint32 // RID in LogonDomainID
	PrimaryGroupID uint32 // RID in LogonDomainID; one of Groups as well
	Groups         []Group
	UserFlags      uint32
	UserSessionKey [16]byte // zero in Kerberos

	LogonServer     string // NetBIOS name of the KDC
	LogonDomainName string // NetBIOS name
	LogonDomainID   sid.SID

	UserAccountControl  uint32
	SubAuthStatus       uint32
	LastSuccessfulLogon FileTime
	LastFailedLogon     FileTime
	FailedLogonCount    uint32

	ExtraSIDs           []SIDAttributes
	ResourceGroupDomain sid.SID
	ResourceGroups      []Group
}

// append puts the buffer's bytes. Pointers stand in the structure and what they
// point to after it, in the order of the pointers.
func (l *LogonInfo) append(w *writer) {
	start := w.structure()
	for _, t := range [...]FileTime{l.LogonTime, l.LogoffTime, l.KickOffTime, l.PasswordLastSet, l.PasswordCanChange, l.PasswordMustChange} {
		w.time(t)
	}
	names := [...]string{l.EffectiveName, l.FullName, l.LogonScript, l.ProfilePath, l.HomeDirectory, l.HomeDirectoryDrive}
	for _, s := range names {
		w.str(s, 0)
	}
	w.u16(l.LogonCount)
	w.u16(l.BadPasswordCount)
	w.u32(l.UserID)
	w.u32(l.PrimaryGroupID)
	w.u32(uint32(len(l.Groups)))
	w.pointer(len(l.Groups) > 0)
	w.u32(l.UserFlags)
	w.b = append(w.b, l.UserSessionKey[:]...)
	w.str(l.LogonServer, 1)
	w.str(l.LogonDomainName, 1)
	w.pointer(l.LogonDomainID != "")
	w.u32(0)
	w.u32(0)
	w.u32(l.UserAccountControl)
	w.u32(l.SubAuthStatus)
	w.time(l.LastSuccessfulLogon)
	w.time(l.LastFailedLogon)
	w.u32(l.FailedLogonCount)
	w.u32(0)
	w.u32(uint32(len(l.ExtraSIDs)))
	w.pointer(len(l.ExtraSIDs) > 0)
	inner := w.ref // Windows numbers the pointers in the array here
	w.ref += 4 * uint32(len(l.ExtraSIDs))
	w.pointer(l.ResourceGroupDomain != "")
	w.u32(uint32(len(l.ResourceGroups)))
	w.pointer(len(l.ResourceGroups) > 0)

	for _, s := range names {
		w.chars(s, 0)
	}
	if len(l.Groups) > 0 {
		w.groups(l.Groups)
	}
	w.chars(l.LogonServer, 1)
	w.chars(l.LogonDomainName, 1)
	if l.LogonDomainID != "" {
		w.sid(l.LogonDomainID)
	}
	if len(l.ExtraSIDs) > 0 {
		w.align(4)
		w.u32(uint32(len(l.ExtraSIDs)))
		w.ref = inner
		for _, e := range l.ExtraSIDs {
			w.pointer(e.SID != "")
			w.u32(e.Attributes)
		}
		for _, e := range l.ExtraSIDs {
			if e.SID != "" {
				w.sid(e.SID)
			}
		}
	}
	if l.ResourceGroupDomain != "" {
		w.sid(l.ResourceGroupDomain)
	}
	if len(l.ResourceGroups) > 0 {
		w.groups(l.ResourceGroups)
	}
	w.endStructure(start)
	if max(len(l.Groups), len(l.ExtraSIDs), len(l.ResourceGroups)) > MaxGroups {
		w.long = true
	}
}

func parseLogonInfo(b []byte) (*LogonInfo, error) {
	const what = SyntaxError("LOGON_INFO")
	r, ok := readStructure(b)
	if !ok {
		return nil, what
	}
	l := new(LogonInfo)
	for _, t := range [...]*FileTime{&l.LogonTime, &l.LogoffTime, &l.KickOffTime, &l.PasswordLastSet, &l.PasswordCanChange, &l.PasswordMustChange} {
		*t = r.time()
	}
	names := [...]*string{&l.EffectiveName, &l.FullName, &l.LogonScript, &l.ProfilePath, &l.HomeDirectory, &l.HomeDirectoryDrive}
	var heads [len(names)]str
	for i := range heads {
		heads[i] = r.str()
	}
	l.LogonCount, l.BadPasswordCount = r.u16(), r.u16()
	l.UserID, l.PrimaryGroupID = r.u32(), r.u32()
	groups, hasGroups := r.u32(), r.pointer()
	l.UserFlags = r.u32()
	copy(l.UserSessionKey[:], r.take(16))
	server, domain := r.str(), r.str()
	hasDomainID := r.pointer()
	r.take(8)
	l.UserAccountControl, l.SubAuthStatus = r.u32(), r.u32()
	l.LastSuccessfulLogon, l.LastFailedLogon = r.time(), r.time()
	l.FailedLogonCount = r.u32()
	r.take(4)
	extra, hasExtra := r.u32(), r.pointer()
	hasResourceDomain := r.pointer()
	resource, hasResource := r.u32(), r.pointer()
	if !hasGroups && groups != 0 || !hasExtra && extra != 0 || !hasResource && resource != 0 {
		return nil, what
	}

	for i, p := range names {
		*p = r.chars(heads[i])
	}
	if hasGroups {
		l.Groups = r.groups(groups)
	}
	l.LogonServer = r.chars(server)
	l.LogonDomainName = r.chars(domain)
	if hasDomainID {
		l.LogonDomainID = r.sid()
	}
	if hasExtra {
		l.ExtraSIDs = r.extraSIDs(extra)
	}
	if hasResourceDomain {
		l.ResourceGroupDomain = r.sid()
	}
	if hasResource {
		l.ResourceGroups = r.groups(resource)
	}
	if r.bad || len(r.b)-r.off >= 8 {
		return nil, what
	}
	return l, nil
}

func (r *reader) extraSIDs(want uint32) []SIDAttributes {
	n := r.count(want, 8)
	if n == 0 {
		return nil
	}
	list, present := make([]SIDAttributes, n), make([]bool, n)
	for i := range list {
		present[i] = r.pointer()
		list[i].Attributes = r.u32()
	}
	for i := range list {
		if present[i] {
			list[i].SID = r.sid()
		}
	}
	return list
}

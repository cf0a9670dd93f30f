package domain

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"skyrealm/domain/dit"
)

// Attributes that entries are built of, looked up once.
var (
	aObjectClass    = dit.Attr("objectClass")
	aObjectCategory = dit.Attr("objectCategory")
	aName           = dit.Attr("name")
	aDN             = dit.Attr("distinguishedName")
	aGUID           = dit.Attr("objectGUID")
	aDisplayName    = dit.Attr("displayName")
	aSID            = dit.Attr("objectSid")
	aSAM            = dit.Attr("sAMAccountName")
	aSAMType        = dit.Attr("sAMAccountType")
	aUPN            = dit.Attr("userPrincipalName")
	aSPN            = dit.Attr("servicePrincipalName")
	aUAC            = dit.Attr("userAccountControl")
	aPrimaryGroup   = dit.Attr("primaryGroupID")
	aPwdLastSet     = dit.Attr("pwdLastSet")
	aExpires        = dit.Attr("accountExpires")
	aGroupType      = dit.Attr("groupType")
	aInstanceType   = dit.Attr("instanceType")
	aWhenCreated    = dit.Attr("whenCreated")
	aWhenChanged    = dit.Attr("whenChanged")
	aUSNChanged     = dit.Attr("uSNChanged")
	aAADObjectID    = dit.Attr("msDS-aadObjectId")
	aAADGroupID     = dit.Attr("msDS-AzureADObjectId")
	aWellKnown      = dit.Attr("wellKnownObjects")
	aCritical       = dit.Attr("isCriticalSystemObject")
)

// The groupType of global groups, for access and for mail ([MS-ADTS] §2.2.12).
const (
	GroupGlobalSecurity     = "-2147483646"
	GroupGlobalDistribution = "2"
)

// sAMAccountType values ([MS-SAMR] §2.2.1.9).
const (
	samGroup        = 0x10000000
	samDistribution = 0x10000001
	samAlias        = 0x20000000 // a domain-local group, for access; one more for mail
	samUser         = 0x30000000
	samMachine      = 0x30000001
)

// never is the FILETIME that means no time ([MS-ADTS] §3.1.1.4.5).
const never = "9223372036854775807"

// wellKnown are the containers that clients find by GUID ([MS-ADTS] §6.1.1.4).
var wellKnown = []struct {
	guid []byte
	rdn  string
}{
	// The real service sends new computers and users to its own OUs.
	{guidBytes("aa312825768811d1aded00c04fd8d5cd"), "OU=AADDC Computers"},
	{guidBytes("a9d1ca15768811d1aded00c04fd8d5cd"), "OU=AADDC Users"},
	{guidBytes("a361b2ffffd211d1aa4b00c04fd7d83a"), "OU=Domain Controllers"},
	{guidBytes("ab1d30f3768811d1aded00c04fd8d5cd"), "CN=System"},
}

func guidBytes(hex string) []byte {
	b := make([]byte, len(hex)/2)
	for i := range b {
		v, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			panic(err) // a constant of this file
		}
		b[i] = byte(v)
	}
	return b
}

// wireGUID turns a GUID between RFC 9562 order and the little-endian order of
// LDAP's octets and of [MS-DTYP] §2.3.4.2; it is its own inverse.
func wireGUID(b []byte) ID {
	return ID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// FileTime is t in units of 100 ns since 1601, the zero time as 0
// ([MS-DTYP] §2.3.3).
func FileTime(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return (t.Unix()+11644473600)*1e7 + int64(t.Nanosecond()/100)
}

func filetime(t time.Time) string { return strconv.FormatInt(FileTime(t), 10) }

const generalizedTime = "20060102150405.0Z"

// generalized writes whole seconds, as AD does: else the layout would give tenths.
func generalized(t time.Time) string { return t.UTC().Truncate(time.Second).Format(generalizedTime) }

// newObject makes the object that a record describes.
func newObject(info *Info, rec *Record, parent dit.DN, shared *dit.Shared) (*Object, error) {
	class := dit.ClassByName(rec.Class)
	if class == nil {
		return nil, fmt.Errorf("domain: record %s: unknown class", rec.GUID)
	}
	dn, err := objectDN(info, rec, class, parent)
	if err != nil {
		return nil, fmt.Errorf("domain: record %s: %w", rec.GUID, err)
	}
	o := &Object{
		GUID: rec.GUID, Key: rec.Key(), Kind: rec.Kind, RID: rec.RID, UAC: rec.UAC, Secrets: rec.Secrets.inMemory(),
		Particulars: &Particulars{SPNs: rec.SPNs, EncTypes: rec.encTypes(), Members: rec.Members, History: historyOf(info, rec.Attrs["sIDHistory"])},
	}
	b := dit.NewBuilder(24 + len(rec.Attrs))
	for name, values := range rec.Attrs {
		// What the schema doesn't know can't be read by anyone.
		if t := dit.Attr(name); t != nil && !t.Computed {
			b.Set(t, values...)
		}
	}
	guid := wireGUID(rec.GUID[:])
	b.SetCommon(aObjectClass, class.Chain()...)
	b.SetCommon(aObjectCategory, "CN="+class.Category+",CN=Schema,CN=Configuration,"+info.BaseDN().String())
	b.SetString(dit.Attr(class.RDN), rec.RDN)
	b.SetString(aName, rec.RDN)
	b.SetString(aDN, dn.String())
	b.Set(aGUID, guid[:])
	b.SetCommon(aInstanceType, "4")
	b.SetString(aWhenCreated, generalized(rec.Created))
	b.SetString(aWhenChanged, generalized(rec.Changed))
	b.SetString(aUSNChanged, strconv.FormatInt(int64(rec.USN), 10))
	if rec.RID != 0 {
		b.SetString(aSID, string(info.SID.Append(rec.RID)))
		b.SetString(aSAM, rec.SAM)
	}
	switch rec.Kind {
	case User, Computer:
		o.account(b, rec)
	case Group:
		o.group(b, rec)
	case Container:
		if parent.IsRoot() {
			o.head(b, info, policyOf(rec.Attrs))
		}
	}
	if o.Particulars.empty() {
		o.Particulars = noParticulars
	}
	o.Entry = b.Entry(dn, shared)
	o.SAM, o.UPN = held(o.Entry, aSAM, rec.SAM), held(o.Entry, aUPN, rec.UPN)
	return o, nil
}

// held returns the entry's own memory of a name.
func held(e *dit.Entry, t *dit.AttrType, name string) string {
	if v := e.First(t); v == name {
		return v
	}
	return name
}

func objectDN(info *Info, rec *Record, class *dit.Class, parent dit.DN) (dit.DN, error) {
	if rec.Parent.IsZero() {
		return info.BaseDN(), nil
	}
	return parent.Child(rdnType(class.RDN), rec.RDN)
}

// rdnType writes the naming attribute as AD does: CN, OU, DC.
func rdnType(attr string) string {
	b := []byte(attr)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

func (o *Object) account(b *dit.Builder, rec *Record) {
	o.PrimaryGroup = RIDDomainUsers
	kind := samUser
	if rec.Kind == Computer {
		kind, o.PrimaryGroup = samMachine, RIDDomainComputers
		if rec.UAC&UACServer != 0 {
			o.PrimaryGroup = RIDDomainControllers
		}
	}
	o.delegation(rec)
	b.SetCommon(aSAMType, strconv.Itoa(kind))
	b.SetString(aUPN, rec.UPN)
	b.SetString(aSPN, rec.SPNs...)
	b.SetCommon(aUAC, strconv.Itoa(int(rec.UAC)))
	b.SetCommon(aPrimaryGroup, strconv.Itoa(int(o.PrimaryGroup)))
	b.SetString(aPwdLastSet, filetime(rec.Secrets.Set))
	o.Settings = settingsOf(rec.Attrs)
	if len(rec.Attrs["accountExpires"]) == 0 {
		b.SetCommon(aExpires, never)
	}
	if !rec.Source.IsZero() {
		b.SetString(aAADObjectID, rec.Source.String())
	}
}

func (o *Object) group(b *dit.Builder, rec *Record) {
	groupType := GroupGlobalSecurity
	if v := rec.Attrs["groupType"]; len(v) == 1 {
		groupType = string(v[0])
	}
	o.Security = strings.HasPrefix(groupType, "-") // the security bit is the sign
	o.Scope = scopeOf(groupType)
	kind := samDistribution
	if o.Security {
		kind = samGroup
	}
	if o.Scope == ScopeLocal {
		kind += samAlias - samGroup
	}
	b.SetCommon(aSAMType, strconv.Itoa(kind))
	b.SetCommon(aGroupType, groupType)
	if !rec.Source.IsZero() {
		b.SetString(aAADGroupID, rec.Source.String())
	}
}

// head fills the entry of the domain itself.
func (o *Object) head(b *dit.Builder, info *Info, p *Policy) {
	b.SetString(aSID, string(info.SID))
	b.SetCommon(aInstanceType, "5")
	for _, t := range policyAttrs {
		b.SetString(t, p.text(t))
	}
	places := make([]string, 0, len(wellKnown))
	for _, w := range wellKnown {
		places = append(places, fmt.Sprintf("B:32:%X:%s,%s", w.guid, w.rdn, info.BaseDN()))
	}
	b.SetString(aWellKnown, places...)
}

package tenant

import (
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"skyrealm/cred"
)

// ID is an object id: a random UUID (RFC 9562 §5.4).
type ID [16]byte

// NewID draws an ID.
func NewID(rand io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return ID{}, err
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// ErrIDSyntax is returned for text that is no object id.
var ErrIDSyntax = errors.New("tenant: malformed object id")

// ParseID reads the 36-character form, in either case.
func ParseID(text string) (ID, error) {
	var id ID
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, ErrIDSyntax
	}
	if _, err := hex.Decode(id[:], []byte(strings.ReplaceAll(text, "-", ""))); err != nil {
		return ID{}, ErrIDSyntax
	}
	return id, nil
}

// String returns the 36-character form in lower case.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// IsZero reports whether id is no id.
func (id ID) IsZero() bool { return id == ID{} }

// USN numbers the tenant's changes: one that is visible never has a smaller one
// become visible after it.
type USN int64

// Kind is what an object is.
type Kind uint8

// The kinds of objects.
const (
	User    Kind = 1
	Group   Kind = 2
	Contact Kind = 3
	Device  Kind = 4
	// InetOrgPerson is a user of another object class. It is kept like one, and
	// its password is not: password sync is for object type user only.
	InetOrgPerson Kind = 5
)

func (k Kind) String() string {
	switch k {
	case User:
		return "user"
	case Group:
		return "group"
	case Contact:
		return "contact"
	case Device:
		return "device"
	case InetOrgPerson:
		return "inetOrgPerson"
	}
	return "unknown"
}

// ParseKind is the inverse of String.
func ParseKind(text string) (Kind, bool) {
	for k := User; k <= InetOrgPerson; k++ {
		if k.String() == text {
			return k, true
		}
	}
	return 0, false
}

// Person reports whether objects of the kind have a sign-in name.
func (k Kind) Person() bool { return k == User || k == InetOrgPerson }

// RoleGlobalAdministrator is the role template id that Entra uses everywhere;
// it also stands in a token's wids claim.
const RoleGlobalAdministrator = "62e90394-69f5-4237-9190-012177145e10"

// Object is a user or a group of the tenant.
type Object struct {
	ID      ID
	Kind    Kind
	Anchor  string // sourceAnchor, the agent's immutable key; Graph's onPremisesImmutableId
	UPN     string // persons: the sign-in name, unique in the tenant without regard to case
	Enabled bool
	Profile Profile
	Roles   []string // directory role template ids

	Created time.Time
	Changed time.Time
	Deleted time.Time // zero: not deleted

	// Generation counts the times this object came back from deletion. A new
	// one is a new account in the managed domain, with a new SID.
	Generation int32
	// Revision is that of the stored row, and 0 for an object not stored yet.
	// A write names the one it has read and is refused when it is stale.
	Revision int64
}

// Synced reports whether an on-premises directory masters the object. An anchor
// alone does not make it so: an administrator may set one for an agent to find.
func (o *Object) Synced() bool { return o.Profile.SyncEnabled != nil && *o.Profile.SyncEnabled }

// Addresses are the mail addresses that the object answers to, in lower case.
func (o *Object) Addresses() []string {
	var out []string
	add := func(a string) {
		if a = strings.ToLower(a); a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	add(o.Profile.Mail)
	for _, p := range o.Profile.ProxyAddresses {
		if kind, a, ok := strings.Cut(p, ":"); ok && strings.EqualFold(kind, "smtp") {
			add(a)
		}
	}
	return out
}

// PrimaryAddress is the address that a soft match goes by: the one proxy address
// whose type is in capitals, else mail.
func (o *Object) PrimaryAddress() string {
	for _, p := range o.Profile.ProxyAddresses {
		if a, ok := strings.CutPrefix(p, "SMTP:"); ok {
			return strings.ToLower(a)
		}
	}
	return strings.ToLower(o.Profile.Mail)
}

// Profile is what else an object carries. The JSON names are Graph's, and so
// they stand in the database.
type Profile struct {
	DisplayName       string   `json:"displayName,omitempty"`
	GivenName         string   `json:"givenName,omitempty"`
	Surname           string   `json:"surname,omitempty"`
	Description       string   `json:"description,omitempty"`
	JobTitle          string   `json:"jobTitle,omitempty"`
	Department        string   `json:"department,omitempty"`
	CompanyName       string   `json:"companyName,omitempty"`
	EmployeeID        string   `json:"employeeId,omitempty"`
	EmployeeType      string   `json:"employeeType,omitempty"`
	Mail              string   `json:"mail,omitempty"`
	MailNickname      string   `json:"mailNickname,omitempty"`
	ProxyAddresses    []string `json:"proxyAddresses,omitempty"`
	BusinessPhones    []string `json:"businessPhones,omitempty"`
	MobilePhone       string   `json:"mobilePhone,omitempty"`
	FaxNumber         string   `json:"faxNumber,omitempty"`
	StreetAddress     string   `json:"streetAddress,omitempty"`
	City              string   `json:"city,omitempty"`
	State             string   `json:"state,omitempty"`
	PostalCode        string   `json:"postalCode,omitempty"`
	Country           string   `json:"country,omitempty"`
	OfficeLocation    string   `json:"officeLocation,omitempty"`
	PreferredLanguage string   `json:"preferredLanguage,omitempty"`
	UsageLocation     string   `json:"usageLocation,omitempty"`
	UserType          string   `json:"userType,omitempty"`
	Manager           string   `json:"manager,omitempty"` // object id, or the anchor as synced
	PasswordPolicies  string   `json:"passwordPolicies,omitempty"`
	SecurityEnabled   bool     `json:"securityEnabled,omitempty"`
	MailEnabled       bool     `json:"mailEnabled,omitempty"`

	OnPremisesSAMAccountName     string   `json:"onPremisesSamAccountName,omitempty"`
	OnPremisesSecurityIdentifier string   `json:"onPremisesSecurityIdentifier,omitempty"` // string form
	OnPremisesDistinguishedName  string   `json:"onPremisesDistinguishedName,omitempty"`
	OnPremisesDomainName         string   `json:"onPremisesDomainName,omitempty"`
	OnPremisesNetBIOSName        string   `json:"onPremisesNetBiosName,omitempty"`
	OnPremisesUserPrincipalName  string   `json:"onPremisesUserPrincipalName,omitempty"`
	UserCertificates             [][]byte `json:"userCertificate,omitempty"`

	// SyncEnabled is true for what an on-premises directory masters, false for
	// what one did, nil for what none ever has.
	SyncEnabled *bool               `json:"onPremisesSyncEnabled,omitempty"`
	LastSync    time.Time           `json:"onPremisesLastSyncDateTime,omitzero"`
	Errors      []ProvisioningError `json:"onPremisesProvisioningErrors,omitempty"`

	// Devices.
	DeviceID  string `json:"deviceId,omitempty"`
	TrustType string `json:"trustType,omitempty"`
	OS        string `json:"operatingSystem,omitempty"`
	OSVersion string `json:"operatingSystemVersion,omitempty"`
}

// ProvisioningError is a value that an agent sent and another object holds: it
// is left out, in quarantine, until it is free.
type ProvisioningError struct {
	Category string    `json:"category"` // PropertyConflict
	Occurred time.Time `json:"occurredDateTime"`
	Property string    `json:"propertyCausingError"` // UserPrincipalName, ProxyAddress
	Value    string    `json:"value"`
}

// What a ProvisioningError says.
const (
	PropertyConflict = "PropertyConflict"
	ConflictUPN      = "UserPrincipalName"
	ConflictProxy    = "ProxyAddress"
)

// Source says by which way a credential came.
type Source uint8

// The sources of credentials.
const (
	FromSync   Source = 1 // an agent's password hash batch
	FromChange Source = 2 // the user changed it in the cloud
	FromReset  Source = 3 // an administrator set it
)

// Credential is one user's set of verifiers. It is stored whole or not at all.
type Credential struct {
	Object ID
	// Version orders the sets of one user and is bound into every encrypted
	// part: the change date in microseconds since 1970, never in the future of
	// its receipt.
	Version    int64
	Source     Source
	Digest     cred.Digest
	Legacy     cred.Sealed // "" where none was made or sent
	MustChange bool        // the next sign-in has to set a new password
	// NeverExpires: the cloud's password age does not bind this password. Each
	// hash sync decides anew (DisablePasswordExpiration).
	NeverExpires bool
}

// Changed returns the change date.
func (c *Credential) Changed() time.Time { return time.UnixMicro(c.Version).UTC() }

// Settings are the tenant's own.
type Settings struct {
	TenantID        ID       `json:"tenantId"`
	DisplayName     string   `json:"displayName"`
	InitialDomain   string   `json:"initialDomain"`
	VerifiedDomains []string `json:"verifiedDomains"`

	DirSync  bool     `json:"dirSync"`
	Features Features `json:"features"`

	// Domain Services. Realm is the managed domain's, upper case; legacy hashes
	// are sealed for DomainKey, a public JWK.
	DomainServices bool   `json:"domainServices"`
	Realm          string `json:"realm"`
	DomainKey      []byte `json:"domainKey"`
	// Administrators is the group whose members administer the managed domain
	// ([DCAdministrators]), whatever it is called by now.
	Administrators ID `json:"administrators"`
	// EnvelopeCertificate is what agents of the real service encrypt for, DER.
	EnvelopeCertificate []byte `json:"envelopeCertificate,omitempty"`

	// NTLMOff: NT hashes are not taken into the domain any more (SyncNtlmPasswords).
	NTLMOff bool `json:"ntlmOff,omitempty"`
	// SyncRevokes: a password that comes by sync ends the refresh tokens that
	// were issued under the one before. The real service's documents do not say.
	SyncRevokes bool `json:"phsRevokesRefreshTokens,omitempty"`
	// FullPasswordSync is since when agents are asked to send every password
	// again: password sync, or Domain Services, was turned on.
	FullPasswordSync time.Time `json:"fullPasswordSync,omitzero"`
	Deletions        Deletions `json:"accidentalDeletionPrevention"`
}

// Deletions is the threshold at which agents stop an export (§D of the wire
// reference): the tenant keeps it and agents hold to it.
type Deletions struct {
	Prevention string `json:"synchronizationPreventionType"` // disabled, enabledForCount, enabledForPercentage
	Threshold  int    `json:"alertThreshold"`
}

// Features is the bit mask of the sync service, DirSyncFeatures. Bits without a
// name here are kept as they come.
type Features int64

// The features, by their bits on the wire (§A9 of the wire reference).
const (
	PasswordHashSync            Features = 1 << 0
	PasswordWriteback           Features = 1 << 1
	DirectoryExtensions         Features = 1 << 2
	DuplicateUPNResiliency      Features = 1 << 3
	SoftMatchOnUPN              Features = 1 << 4
	DuplicateProxyResiliency    Features = 1 << 5
	EnforceCloudPasswordPolicy  Features = 1 << 9
	UnifiedGroupWriteback       Features = 1 << 10
	UserWriteback               Features = 1 << 11
	DeviceWriteback             Features = 1 << 12
	SynchronizeUPNForManaged    Features = 1 << 13
	ForcePasswordChangeOnLogon  Features = 1 << 14
	PassThroughAuthentication   Features = 1 << 17
	BlockSoftMatch              Features = 1 << 19
	BlockCloudObjectTakeoverHMF Features = 1 << 20
)

// Has reports whether all of want are on.
func (f Features) Has(want Features) bool { return f&want == want }

// App is a client that signs in as itself: a sync agent.
type App struct {
	ClientID    ID
	DisplayName string
	// SecretHash is the SHA-256 of the secret. The secret is 256 random bits,
	// so a slow hash would protect nothing and cost a sign-in its time.
	SecretHash [32]byte
	Roles      []string // app roles: RoleSync
}

// RoleSync lets an app send batches to the sync API.
const RoleSync = "Sync.ReadWrite.All"

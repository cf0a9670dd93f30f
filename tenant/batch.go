package tenant

import (
	"time"

	"skyrealm/cred"
)

// Limits of one batch (§A of the wire reference; the real service takes 50).
const (
	MaxBatchItems   = 1000
	MaxGroupMembers = 50000
)

// Reason is the stable code that says what became of one item of a batch.
type Reason string

// The reasons. The first five are successes.
const (
	ReasonStored      Reason = "stored"
	ReasonQuarantined Reason = "quarantined" // stored, without a name that another object has
	ReasonUnchanged   Reason = "unchanged"   // a re-send: what it says was there already
	ReasonSuperseded  Reason = "superseded"  // a newer change had come before; nothing changed
	ReasonDeleted     Reason = "deleted"

	ReasonMalformed          Reason = "malformed"
	ReasonUnknownAnchor      Reason = "unknownAnchor"
	ReasonDuplicateInBatch   Reason = "duplicateInBatch"
	ReasonTypeMismatch       Reason = "typeMismatch"
	ReasonNotAUser           Reason = "notAUser"
	ReasonUPNTaken           Reason = "userPrincipalNameTaken"
	ReasonUPNInvalid         Reason = "userPrincipalNameInvalid"
	ReasonAttributeInvalid   Reason = "attributeInvalid"
	ReasonAttributeTooLong   Reason = "attributeTooLong"
	ReasonTooManyMembers     Reason = "tooManyMembers"
	ReasonDigestMalformed    Reason = "digestMalformed"
	ReasonDigestIterations   Reason = "digestIterationsOutOfBounds"
	ReasonDateMalformed      Reason = "changeDateMalformed"
	ReasonSealedMalformed    Reason = "legacyMalformed"
	ReasonSealedUnknownKey   Reason = "legacyUnknownKey"
	ReasonDomainServicesOff  Reason = "domainServicesOff"
	ReasonTemporaryPassword  Reason = "temporaryPasswordFiltered"
	ReasonProxyTaken         Reason = "proxyAddressTaken"
	ReasonAdminRoleConflict  Reason = "existingAdminRoleConflict"
	ReasonHardMatchBlocked   Reason = "hardMatchBlocked"
	ReasonCloudMastered      Reason = "cloudMastered"
	ReasonAgentTooOld        Reason = "agentTooOld"
	ReasonUnsupportedFeature Reason = "unsupported"
)

// OK reports whether the reason is a success.
func (r Reason) OK() bool {
	switch r {
	case ReasonStored, ReasonQuarantined, ReasonUnchanged, ReasonSuperseded, ReasonDeleted:
		return true
	}
	return false
}

// ItemResult is the answer to one item, in the batch's order.
type ItemResult struct {
	Anchor string
	Reason Reason
	Detail string // a sentence for a person; "" where the reason says all
	ID     ID     // the object, where one is known
}

// BatchResult is the answer to a batch. USN covers every item that was stored.
type BatchResult struct {
	USN   USN
	Items []ItemResult
}

// Operation is what an object item asks for.
type Operation uint8

// The operations.
const (
	Set    Operation = 1
	Delete Operation = 2
)

// ObjectItem is one object of an agent's batch. Attributes are named as on the
// real sync wire (userPrincipalName, accountEnabled, onPremisesSamAccountName,
// member, …), without regard to case; a value is a string, bool, float64 or
// json.Number, []string, [][]byte or nil. A name that is absent leaves what is stored,
// nil clears it.
type ObjectItem struct {
	Kind       Kind
	Operation  Operation
	Anchor     string
	Object     ID // names the object where the anchor is left out; it has to have one
	Attributes map[string]any
}

// HashItem is one user's password change of an agent's batch.
type HashItem struct {
	Anchor     string
	Object     ID // names the user where the anchor is left out
	Changed    time.Time
	Digest     string      // entra-wire §B text; not yet checked
	Legacy     cred.Sealed // "" for none
	MustChange bool        // "user must change password at next logon"

	// The legacy hashes as agents of the real service send them (§C2 of the wire
	// reference), instead of Legacy; either may be nil.
	WindowsLegacy       []byte
	WindowsSupplemental []byte
}

// Configuration is what an agent asks for before it sends.
type Configuration struct {
	TenantID        ID
	DisplayName     string
	InitialDomain   string
	VerifiedDomains []string
	DirSync         bool
	PasswordSync    bool
	Features        Features
	ObjectInterval  time.Duration
	HashInterval    time.Duration
	Legacy          bool   // legacy hashes are wanted
	DomainKey       []byte // public JWK to seal them for
	// EnvelopeCertificate is what agents of the real service encrypt them for.
	EnvelopeCertificate []byte
	Realm               string
	MaxItems            int
	// FullPasswordSync is since when all passwords are asked for again.
	FullPasswordSync time.Time
	Deletions        Deletions
}

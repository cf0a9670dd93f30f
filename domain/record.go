package domain

import (
	"context"
	"errors"
	"time"

	"skyrealm/cred"
	"skyrealm/sid"
	"skyrealm/tenant"
)

// ID is an objectGUID in the byte order of RFC 9562; on the wire of LDAP and
// [MS-PAC] the first three fields are little-endian.
type ID = tenant.ID

// USN numbers the domain's changes, as gap-free as the tenant's.
type USN int64

// Kind is what a record is.
type Kind uint8

// The kinds of records.
const (
	User      Kind = 1
	Group     Kind = 2
	Computer  Kind = 3
	Container Kind = 4 // container, organizationalUnit, domainDNS, builtinDomain: see Class
)

// Info is what names the domain. It never changes.
type Info struct {
	DNSName string  `json:"dnsName"` // aadds.contoso.test
	NetBIOS string  `json:"netbios"` // AADDS
	SID     sid.SID `json:"-"`       // S-1-5-21-…
	GUID    ID      `json:"-"`
	DC      string  `json:"dc"` // host name of the first domain controller, DC1
	Tenant  ID      `json:"-"`
	// Administrators is the tenant's group whose members may write to the domain.
	Administrators ID `json:"-"`
	Created        time.Time
}

// Record is an object of the domain as it is stored.
type Record struct {
	GUID ID
	USN  USN // assigned by the store
	Kind Kind
	// Class is the structural object class; it tells organizationalUnit from
	// container and a gMSA from a computer.
	Class string

	// Source is the tenant object that this record follows, zero for what was
	// made in the domain; Generation is that object's.
	Source     ID
	Generation int32

	RID    uint32 // assigned by the store where 0 and Kind has one (user, group, computer)
	Parent ID     // zero for the domain head
	RDN    string // value of the naming attribute: cn, ou or dc by Class
	SAM    string // sAMAccountName, unique without regard to case
	UPN    string
	SPNs   []string
	// Attrs are the other attributes by LDAP name, text or, for octet strings,
	// bytes as they are.
	Attrs map[string][][]byte
	UAC   uint32 // userAccountControl ([MS-ADTS] §2.2.16), without computed bits
	// Members are a group's, by the Source of those that have one, else by GUID.
	// One that the domain does not hold (yet) is kept and has no effect.
	Members []ID

	Secrets Secrets

	Created time.Time
	Changed time.Time
	Deleted bool // a tombstone: GUID, RID, Source, Generation and USN stand, nothing else
}

// Key is what memberships name the record by.
func (r *Record) Key() ID {
	if !r.Source.IsZero() {
		return r.Source
	}
	return r.GUID
}

// Secrets are a record's password forms. They move as one.
type Secrets struct {
	Current  cred.Legacy
	Previous cred.Legacy // of KVNO-1: machines, services and krbtgt between two changes
	// History are the passwords before Current, the last first, at most two: a
	// wrong password that is one of them is no guess.
	History []cred.Legacy
	// KVNO is the version number of Current; 0 where there never was a password.
	KVNO uint32
	// Version is the tenant credential's that Current came from, 0 for those
	// set in the domain.
	Version int64
	// Set is when the password was last changed; zero with a KVNO means that it
	// has to be changed before it can be used (pwdLastSet 0).
	Set time.Time
}

// Errors that a Store returns.
var (
	// ErrNoDomain: the database holds no managed domain yet.
	ErrNoDomain = errors.New("domain: not created yet")
	// ErrConflict: a name is taken or a record changed since it was read.
	ErrConflict = errors.New("domain: conflicting write")
	// ErrRepeated: the request was carried out before.
	ErrRepeated = errors.New("domain: the request was carried out before")
	// ErrUnavailable: the database can't be reached now.
	ErrUnavailable = tenant.ErrUnavailable
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("domain: not found")
	// ErrNotLeader: another process provisions this domain now.
	ErrNotLeader = errors.New("domain: another process is the provisioner")
)

// Write is one record to be stored; USN is that of the record it replaces, 0
// for a new one. The store refuses a stale one with ErrConflict.
type Write struct {
	Record Record
	Once   *Once // nil for what does no harm when it is done again
}

// Once makes a request one that is carried out at most once, by all replicas
// together. The store keeps the hashes with what it writes, and refuses to write
// with ErrRepeated where it has one of them already.
type Once struct {
	Hashes [][]byte      // of what tells the request from others: SHA-256, all different
	For    time.Duration // from now on; it can't be sent later
}

// Store keeps a managed domain. Writes are atomic and durable when they return.
type Store interface {
	// Info returns what Create stored, or ErrNoDomain.
	Info(ctx context.Context) (Info, error)
	// Create stores the domain and its first records; ErrConflict if there is
	// one already.
	Create(ctx context.Context, info Info, records []Record) error

	// Records returns up to limit records with a USN above after, in USN order,
	// tombstones included, and the tenant USN that all of the domain up to the
	// last of them reflects (of the head when fewer than limit are returned).
	Records(ctx context.Context, after USN, limit int) ([]Record, tenant.USN, error)
	// BySource returns the records (no tombstones) that follow the objects.
	BySource(ctx context.Context, ids []ID) ([]Record, error)
	// Record returns one that is no tombstone, or ErrNotFound.
	Record(ctx context.Context, guid ID) (Record, error)
	// NamesTaken returns which of the sAMAccountNames, as [Fold] gives them, are
	// held, and by which record.
	NamesTaken(ctx context.Context, names []string) (map[string]ID, error)
	// RDNsTaken returns which of the RDN values under parent, as [Fold] gives
	// them, are held, and by which record.
	RDNsTaken(ctx context.Context, parent ID, rdns []string) (map[string]ID, error)
	// Apply stores all of the records or none, giving a RID to each that needs
	// one, and what is to be done once with them.
	Apply(ctx context.Context, writes []Write) (USN, error)
	// Provision is Apply of what the tenant's changes above from and up to upTo
	// come to, and notes that they are in. ErrNotLeader where those up to from
	// are not the last that are: writes were worked out of an older state then.
	Provision(ctx context.Context, writes []Write, from, upTo tenant.USN) (USN, error)

	// TenantChanges returns up to limit of the tenant's changes above after, in
	// order. It never passes a USN that can still appear.
	TenantChanges(ctx context.Context, after tenant.USN, limit int) ([]tenant.Change, error)
	// NTLMOff reports whether the tenant keeps NT hashes out of the domain.
	NTLMOff(ctx context.Context) (bool, error)
	// Provisioned returns the tenant USN of the last Provision.
	Provisioned(ctx context.Context) (tenant.USN, error)

	// Lead takes the provisioner's lock for as long as ctx and the connection
	// last: lost is closed when it is gone. ErrNotLeader if another holds it.
	Lead(ctx context.Context) (lost <-chan struct{}, err error)
	// Watch returns a channel that receives after changes of the tenant's feed
	// (and of the domain's). It only wakes: a notice may be lost or doubled, and
	// readers also poll. The channel closes when ctx ends.
	Watch(ctx context.Context) <-chan struct{}
}

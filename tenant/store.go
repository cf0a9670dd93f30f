package tenant

import (
	"context"
	"errors"
	"time"
)

// Errors that a Store returns.
var (
	// ErrNotFound: no such object, live, is stored.
	ErrNotFound = errors.New("tenant: not found")
	// ErrConflict: what was read before this write has changed since, or a name
	// is taken. Reading again and deciding again is the way out.
	ErrConflict = errors.New("tenant: conflicting write")
	// ErrNoTenant: the database holds no tenant yet.
	ErrNoTenant = errors.New("tenant: not created yet")
	// ErrUnavailable: the store can't be asked now; nothing was written that
	// was not acknowledged.
	ErrUnavailable = errors.New("tenant: store unavailable")
)

// Ref is an object as an anchor names it.
type Ref struct {
	Anchor string
	ID     ID
	Kind   Kind
	Live   bool // not deleted
	Synced bool // an on-premises directory masters it
}

// Member names a member of a group: by object id, or by source anchor where an
// agent named it and the object may not have come yet.
type Member struct {
	ID     ID
	Anchor string
}

// ObjectWrite is one object to be stored.
type ObjectWrite struct {
	Object Object
	// Members, where not nil, is a group's whole new list.
	Members *[]Member
	// Credential, where not nil, is stored in the same transaction (a user that
	// is created with a password).
	Credential *Credential
}

// Outcome is what became of a credential that was put.
type Outcome uint8

// The outcomes.
const (
	Stored     Outcome = 1 // the set replaced an older one, or is the first
	Unchanged  Outcome = 2 // the same set was there already: same version, same digest
	Superseded Outcome = 3 // a newer set was there; nothing changed
)

// Change is one step of the tenant's change feed: an object as it is now.
type Change struct {
	USN    USN
	Object Object
	// Credential is nil where the user has none. Its Digest is zero: the domain
	// has no use for it.
	Credential *Credential
	// Members are a group's members that exist, by object id.
	Members []ID
}

// Store keeps a tenant. All writes are atomic, are durable when they return, and
// put what they touched on the change feed under the USN they return, which is
// the highest of theirs. A write that changes nothing returns the current head.
type Store interface {
	// Settings returns the tenant's, or ErrNoTenant.
	Settings(ctx context.Context) (Settings, error)
	// UpdateSettings applies change to the current settings under a row lock.
	UpdateSettings(ctx context.Context, change func(*Settings) error) error

	// ObjectsByAnchor returns those of the anchored objects that exist, deleted
	// ones included, in no order.
	ObjectsByAnchor(ctx context.Context, anchors []string) ([]Object, error)
	// Refs returns whom the anchors name, deleted ones included, in no order. It
	// is what a password batch needs, at a fraction of ObjectsByAnchor's cost. What
	// it says is no older than the head of the feed that it returns.
	Refs(ctx context.Context, anchors []string) ([]Ref, USN, error)
	// ObjectsByUPN returns the live users that hold one of the names, compared
	// without regard to case.
	ObjectsByUPN(ctx context.Context, upns []string) ([]Object, error)
	// ObjectsByAddress returns the live objects that answer to one of the mail
	// addresses, which are in lower case ([Object.Addresses]).
	ObjectsByAddress(ctx context.Context, addresses []string) ([]Object, error)
	// ObjectsInConflict returns up to limit live objects with provisioning errors.
	ObjectsInConflict(ctx context.Context, limit int) ([]Object, error)
	// Object returns a live object, or ErrNotFound.
	Object(ctx context.Context, id ID) (Object, error)
	// Objects returns those of the objects that are stored, deleted ones
	// included, in no order.
	Objects(ctx context.Context, ids []ID) ([]Object, error)
	// Members returns the lists of groups, one for each of them, in no order. A
	// list names members as it was written, those that do not exist included.
	Members(ctx context.Context, groups []ID) (map[ID][]Member, error)
	// List returns up to limit live objects of the kinds in the order of their
	// ids, beyond one.
	List(ctx context.Context, kinds []Kind, after ID, limit int) ([]Object, error)
	// UserByUPN returns a live user and the credential, nil where there is none.
	UserByUPN(ctx context.Context, upn string) (Object, *Credential, error)
	// Credential returns a user's, or nil.
	Credential(ctx context.Context, id ID) (*Credential, error)
	// PutObjects stores all of them or none, and the record, where there is one,
	// with them. An Object with Revision 0 is
	// inserted; any other replaces the row of that revision. ErrConflict where
	// a revision is stale or an anchor or UPN is taken by a live object.
	PutObjects(ctx context.Context, writes []ObjectWrite, record *Record) (USN, error)

	// PutCredentials stores each set that is newer than, or as old as and
	// different from, what the user has; one outcome for each, in order. At most
	// one set per user may be in sets. asOf is a head of the feed under which all
	// of them were live users, 0 where nobody looked: where an object has changed
	// since, the store looks again, and returns ErrConflict if one is none. record, where it is not nil, is asked for
	// the record once the outcomes are known, and it is stored with the sets. It
	// may be asked more than once, and the last answer counts.
	PutCredentials(ctx context.Context, sets []Credential, asOf USN, record func([]Outcome) *Record) ([]Outcome, USN, error)
	// ReplaceCredential stores set on the condition that the user's current
	// version is still was (0: none), else ErrConflict.
	ReplaceCredential(ctx context.Context, set Credential, was int64, record *Record) (USN, error)

	// PutRecord stores a record that goes with no write.
	PutRecord(ctx context.Context, record *Record) error
	// Records returns what the query selects.
	Records(ctx context.Context, q RecordQuery) ([]Record, error)
	// Activity returns when agents last did what.
	Activity(ctx context.Context) (Activity, error)
	// DropRecords deletes the records that ended before, and returns how many.
	DropRecords(ctx context.Context, before time.Time) (int64, error)

	// App returns a registered app, or ErrNotFound.
	App(ctx context.Context, clientID ID) (App, error)

	// Standing returns what a live object's sessions depend on, or ErrNotFound.
	Standing(ctx context.Context, id ID) (Standing, error)
	// EndSessions makes sign-ins of a user before a time count no more. It is no
	// change on the feed, and never takes an earlier one back.
	EndSessions(ctx context.Context, id ID, before time.Time) error

	// PutDevice stores a device code, and forgets those that expired before a
	// time. ErrConflict where the user code is taken.
	PutDevice(ctx context.Context, d DeviceCode, forget time.Time) error
	// Device returns a device code by its hash, or ErrNotFound.
	Device(ctx context.Context, hash [32]byte) (DeviceCode, error)
	// DeviceByUserCode returns a device code, or ErrNotFound.
	DeviceByUserCode(ctx context.Context, userCode string) (DeviceCode, error)
	// DecideDevice stores the state and the session of a code that is pending and
	// has not expired by now, else ErrNotFound.
	DecideDevice(ctx context.Context, d DeviceCode, now time.Time) error
	// TakeDevice removes an approved device code, or returns ErrNotFound where
	// someone else has.
	TakeDevice(ctx context.Context, hash [32]byte) error

	// ReadBack returns up to limit objects beyond since.USN in the feed's order,
	// without those that had been deleted by since.From, and the feed's head. Of
	// the zero since, From is the head.
	ReadBack(ctx context.Context, since Since, limit int) ([]Listed, USN, error)
}

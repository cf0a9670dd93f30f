package tenant

import (
	"strings"
	"time"
)

// Origin says who asks: a sync agent, as far as it says, or a person.
type Origin struct {
	Name    string // client id, or sign-in name
	Build   string // version of the agent's software, "" where it does not say
	Machine string
	Request ID // correlates the record with the log; zero where there is none
	// Before is how many items came in the same request before these: a stream is
	// many batches, and as large as all of them to whoever reads the log. It is
	// not stored.
	Before int
}

// RecordKind is what a record tells of.
type RecordKind uint8

// The kinds of records.
const (
	ObjectBatch    RecordKind = 1
	HashBatch      RecordKind = 2
	Heartbeat      RecordKind = 3
	PasswordChange RecordKind = 4 // a user's own, in the cloud
	PasswordReset  RecordKind = 5 // an administrator's, in the cloud
	AgentReport    RecordKind = 6 // what an agent says of itself
)

// Record is the tenant's memory of one batch, heartbeat or password change: what
// came, and what became of it. It is stored in the transaction of what it tells
// of, so that neither is there without the other. The API shows it as the
// events of §D of the wire reference. No record holds a hash.
type Record struct {
	ID     int64 // ascending, assigned by the store
	Kind   RecordKind
	Origin Origin
	Began  time.Time
	Ended  time.Time
	Items  []RecordItem
	Error  string // why the batch as a whole was refused
	Events []AgentEvent
}

// AgentEvent is an event of an agent's own log that the tenant would not know of:
// retries, a directory that can't be read, a full sync, a stopped export.
type AgentEvent struct {
	ID     int       `json:"id"` // its number in the real agent's log (§D of the wire reference)
	Time   time.Time `json:"time"`
	Anchor string    `json:"anchor,omitempty"`
	DN     string    `json:"dn,omitempty"`
	Result string    `json:"result,omitempty"` // a status or reason
	Text   string    `json:"text,omitempty"`
}

// RecordItem is one item of a batch. The anchor stands where no object is known.
type RecordItem struct {
	Object  ID
	Anchor  string
	Changed time.Time // the change date; zero for objects
	Reason  Reason
}

// recorded is an anchor as a record holds it. What an agent sent may be longer
// than any anchor, or be no text to the database, and is to harm no other item.
func recorded(anchor string) string {
	anchor = anchor[:min(len(anchor), maxAnchor)]
	if checkAnchor(anchor) == nil {
		return anchor
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, anchor)
}

// RecordQuery selects records, newest first.
type RecordQuery struct {
	Object ID         // only those that name the object
	Anchor string     // or, where Object is zero, this anchor
	Kind   RecordKind // 0 for all
	After  time.Time  // ended at or after
	Before int64      // only records with a smaller ID: the next page
	Limit  int
}

// Activity is when things of each kind last happened.
type Activity struct {
	ObjectSync   time.Time
	PasswordSync time.Time
	Heartbeat    time.Time
}

// Last is the latest sign of life of any agent.
func (a Activity) Last() time.Time {
	last := a.ObjectSync
	for _, t := range []time.Time{a.PasswordSync, a.Heartbeat} {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// reasons numbers the reasons for storage. A number is never given twice.
var reasonNumbers = map[Reason]int16{
	ReasonStored: 1, ReasonUnchanged: 2, ReasonSuperseded: 3, ReasonDeleted: 4, ReasonQuarantined: 5,
	ReasonMalformed: 20, ReasonUnknownAnchor: 21, ReasonDuplicateInBatch: 22, ReasonTypeMismatch: 23, ReasonNotAUser: 24,
	ReasonUPNTaken: 25, ReasonUPNInvalid: 26, ReasonAttributeInvalid: 27, ReasonAttributeTooLong: 28, ReasonTooManyMembers: 29,
	ReasonDigestMalformed: 30, ReasonDigestIterations: 31, ReasonDateMalformed: 32, ReasonSealedMalformed: 33,
	ReasonSealedUnknownKey: 34, ReasonDomainServicesOff: 35, ReasonTemporaryPassword: 36, ReasonCloudMastered: 37,
	ReasonUnsupportedFeature: 38, ReasonProxyTaken: 39, ReasonAdminRoleConflict: 40, ReasonHardMatchBlocked: 41,
	ReasonAgentTooOld: 42,
}

var numberedReasons = func() map[int16]Reason {
	m := make(map[int16]Reason, len(reasonNumbers))
	for r, n := range reasonNumbers {
		m[n] = r
	}
	return m
}()

// Number is the reason as the store keeps it; 0 for one that is not known.
func (r Reason) Number() int16 { return reasonNumbers[r] }

// ReasonOf is the inverse of [Reason.Number].
func ReasonOf(n int16) Reason { return numberedReasons[n] }

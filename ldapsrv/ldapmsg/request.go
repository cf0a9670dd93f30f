package ldapmsg

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"skyrealm/domain/dit"
)

// Message is a request with its envelope. On an error of [Decode] ID and Tag
// are there as far as they could be read, to answer with.
type Message struct {
	ID int32
	// Tag is the request's operation.
	Tag Op
	// Op is one of the …Request types, by pointer.
	Op       any
	Controls []Control
}

// Response returns the operation that answers the request, for a search its
// end; 0 for those that have no answer, and for unknown ones.
func (m *Message) Response() Op {
	switch m.Tag {
	case OpBindRequest, OpModifyRequest, OpAddRequest, OpModifyDNRequest, OpCompareRequest, OpExtendedRequest:
		return m.Tag + 1
	case OpSearchRequest:
		return OpSearchDone
	case OpDeleteRequest:
		return OpDeleteResponse
	}
	return 0
}

// Control returns the first control of that type, or nil.
func (m *Message) Control(oid string) *Control {
	for i := range m.Controls {
		if m.Controls[i].OID == oid {
			return &m.Controls[i]
		}
	}
	return nil
}

// Control extends an operation (RFC 4511 §4.1.11). Value is nil when absent.
type Control struct {
	OID      string
	Critical bool
	Value    []byte
}

// Secret is a credential out of a request. It prints as [redacted].
type Secret struct{ b []byte }

// Expose returns the bytes.
func (s Secret) Expose() []byte { return s.b }

// Len returns how many bytes there are.
func (s Secret) Len() int { return len(s.b) }

const redacted = "[redacted]"

func (Secret) String() string               { return redacted }
func (Secret) GoString() string             { return redacted }
func (Secret) Format(f fmt.State, _ rune)   { f.Write([]byte(redacted)) }
func (Secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// The choices of authentication in a bind (RFC 4511 §4.2). Others, such as
// Windows's Sicily (9 to 11), come through by their number.
const (
	AuthSimple = 0
	AuthSASL   = 3
)

// BindRequest is a bind. The credentials lie in the message's buffer, so that
// wiping the buffer wipes them.
type BindRequest struct {
	Version   int32
	Name      string
	Auth      int    // number of the choice
	Mechanism string // of SASL
	// Credentials are the password or the SASL token. HasCredentials tells an
	// absent token from an empty one (RFC 4513 §5.2.1.4).
	Credentials    Secret
	HasCredentials bool
}

// UnbindRequest ends the session.
type UnbindRequest struct{}

// SearchRequest is a search (RFC 4511 §4.5.1).
type SearchRequest struct {
	Base      string
	Scope     dit.Scope
	Deref     int32
	SizeLimit int32
	TimeLimit int32 // seconds
	TypesOnly bool
	Filter    *dit.Filter
	Attrs     Selection
}

// Attribute is an attribute as a client wrote it; Type is nil where the schema
// does not have it. It prints without its values: passwords are set as values.
type Attribute struct {
	Name   string
	Type   *dit.AttrType
	Values [][]byte
}

func (a Attribute) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%q(%d)", a.Name, len(a.Values)) }
func (a Attribute) MarshalJSON() ([]byte, error) {
	return json.Marshal(fmt.Sprint(a))
}

// ChangeOp is what a change does with its values.
type ChangeOp int32

// The changes (RFC 4511 §4.6, RFC 4525).
const (
	ChangeAdd       ChangeOp = 0
	ChangeDelete    ChangeOp = 1
	ChangeReplace   ChangeOp = 2
	ChangeIncrement ChangeOp = 3
)

// Change is one step of a modify.
type Change struct {
	Op ChangeOp
	Attribute
}

// ModifyRequest changes an entry, all of it or nothing.
type ModifyRequest struct {
	DN      string
	Changes []Change
}

// AddRequest makes an entry.
type AddRequest struct {
	DN    string
	Attrs []Attribute
}

// DeleteRequest removes an entry.
type DeleteRequest struct{ DN string }

// ModifyDNRequest renames or moves an entry.
type ModifyDNRequest struct {
	DN          string
	NewRDN      string
	DeleteOld   bool
	NewSuperior string
	HasSuperior bool
}

// CompareRequest asks whether an attribute has a value.
type CompareRequest struct {
	DN    string
	Name  string
	Type  *dit.AttrType
	Value Secret // clients compare passwords
}

// AbandonRequest asks to stop an operation.
type AbandonRequest struct{ ID int32 }

// ExtendedRequest is any other operation. HasValue tells an absent value from
// an empty one; the value can be a new password.
type ExtendedRequest struct {
	Name     string
	Value    Secret
	HasValue bool
}

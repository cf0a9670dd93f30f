package spake

import (
	"crypto/sha256"
	"errors"
	"io"
	"strconv"
)

// Group is a number of the IANA registry "Kerberos SPAKE Groups". One that is
// not implemented is a valid value for which Known reports false.
type Group int32

// The groups that are implemented.
const (
	Edwards25519 Group = 1
	P256         Group = 2
)

// Role is a party: the constants M and N are one's and the other's.
type Role bool

// The two parties.
const (
	KDC    Role = false
	Client Role = true
)

var (
	// ErrGroup is returned for a group that is not implemented.
	ErrGroup = errors.New("spake: unknown group")
	// ErrElement is the one answer to a public element that is none: of another
	// length, no point of the curve, one that is not encoded in the one
	// canonical way, or one of so small an order that the result would not
	// depend on the other party's secret.
	ErrElement = errors.New("spake: not a public element of the group")
	// ErrPrivate is returned for a private scalar that Generate can't have made.
	ErrPrivate = errors.New("spake: not a private scalar of the group")
)

// HashSize is the length of a transcript hash: groups 1 and 2 use SHA-256 (RFC
// 9588 §12.3).
const HashSize = sha256.Size

// scalarSize is the length of w and of private scalars in both groups.
const scalarSize = 32

// curve is the arithmetic of one group. w is the output of PRF+, any 32 bytes.
type curve interface {
	// generate makes a private scalar and the public element.
	generate(role Role, w *[scalarSize]byte, rand io.Reader) (private, public []byte, err error)
	// public makes the public element of a private scalar.
	public(role Role, w *[scalarSize]byte, private []byte) ([]byte, error)
	// result multiplies the other party's element, freed of w, by the private
	// scalar.
	result(role Role, w *[scalarSize]byte, private, peer []byte) ([]byte, error)
}

func (g Group) curve() curve {
	switch g {
	case Edwards25519:
		return edwards{}
	case P256:
		return p256{}
	}
	return nil
}

// Known reports whether the group is implemented.
func (g Group) Known() bool { return g.curve() != nil }

// String is the registered name, or the number of an unknown group.
func (g Group) String() string {
	switch g {
	case Edwards25519:
		return "edwards25519"
	case P256:
		return "P-256"
	}
	return "group " + strconv.Itoa(int(g))
}

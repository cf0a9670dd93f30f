package kdc

import (
	"bytes"
	"context"
	"errors"
	"net/netip"

	"skyrealm/krb5"
)

// errLater is the answer of a request that would wait for the database, or takes long to
// answer, to who can't wait: see [KDC.later].
var errLater = errors.New("kdc: the answer comes later")

// judge takes what a mechanism makes of a client's element to the lockout, which
// decides what may be said of it.
func (x *exchange) judge(m *mechanism, value []byte) error {
	x.preAuth = m.kind
	err := m.prove(x, value)
	if err == nil && x.client.IsDecoy() {
		err = errWrong // nobody knows its keys, and if somebody does
	}
	switch {
	case err == nil:
		if x.mayNotWait && x.k.Replica.Lockout.Busy(x.client, true) {
			return errLater
		}
		if x.k.Replica.Lockout.Right(x.client) != nil {
			return errLocked
		}
		return nil
	case err != errWrong:
		return err
	}

	// Whoever has the last password or the one before guesses at nothing: a
	// telephone that was not told yet must not lock its owner out. In SPAKE
	// nobody can tell: what the client says is bound to the key of the challenge.
	earlier, secrets := false, x.secrets
	for i := range x.client.Secrets.History {
		x.secrets = &x.client.Secrets.History[i]
		if earlier = m.prove(x, value) == nil; earlier {
			break
		}
	}
	x.secrets, x.proof, x.repPAData = secrets, nil, x.repPAData[:0]
	l := x.k.Replica.Lockout
	switch {
	case earlier && l.IsLocked(x.client):
		return errLocked
	case earlier:
		return x.askFor(krb5.ErrPreauthFailed, "an earlier password")
	case x.mayNotWait && l.Busy(x.client, false):
		return errLater
	case l.Wrong(x.ctx, x.client, uint64(fingerprintOf(value))) != nil:
		return errLocked
	}
	return x.askFor(krb5.ErrPreauthFailed, "wrong password")
}

// errWrong is a mechanism's word for a proof that was made of another password.
// Only this is a guess: what is malformed, or not for us, is none.
var errWrong = errors.New("kdc: wrong password")

// errLocked is all that anybody is told of an account that is locked out, the
// right password or not.
var errLocked = refuseStatus(krb5.ErrClientRevoked, statusLockedOut, "account locked out")

const statusLockedOut = 0xc0000234 // STATUS_ACCOUNT_LOCKED_OUT

// laterKey is the key of a context's [postpone].
type laterKey struct{}

// postpone answers a request beside those who read from a socket, and sends the
// answer; false where too many are on their way already.
type postpone func(to netip.AddrPort, answer func() []byte) bool

// later answers a request again, where it may wait. The reader of a socket must
// not: a handful of wrong passwords would keep everybody from signing in.
func (k *KDC) later(ctx context.Context, request []byte, from netip.AddrPort, tcp bool) {
	aside, _ := ctx.Value(laterKey{}).(postpone)
	raw := bytes.Clone(request)
	if !aside(from, func() []byte { return k.Handle(context.WithValue(ctx, laterKey{}, nil), raw, from, tcp) }) {
		k.Count.Dropped.Add(1)
	}
}

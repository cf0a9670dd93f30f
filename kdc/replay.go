package kdc

import (
	"time"

	"skyrealm/krb5"
)

// replayCache remembers which proofs (encrypted timestamps and authenticators,
// once found genuine) were answered and how.
//
// The same request again is the client's retransmission, or its change to TCP
// after RESPONSE_TOO_BIG: it gets the same reply, byte for byte, and no second
// session key comes into being. The same proof in another request is somebody
// else's doing: KRB_AP_ERR_REPEAT.
//
// Its size is bounded (see [recent]), and it is this process's. A KDC so busy that it
// forgets within the clock skew, one that was started again, and another replica answer
// a replay as if it were new, with a reply that only the key's owner can read; this is
// what MIT's and Microsoft's KDCs do always. The session key is the same all the same
// (see makeSession).
//
// Two proofs that collide in their hash cost one client an error.
type replayCache struct{ recent[answered] }

const replayEntries = 256 // of a generation of a shard: 16,384 replies in all, some 25 MB

type answered struct {
	request fingerprint
	reply   []byte
}

// once returns the reply to send: this one, or that of the same request before.
func (x *exchange) once(reply []byte) ([]byte, error) {
	proof, request := fingerprintOf(x.proof), fingerprintOf(x.raw)
	// A timestamp from the future stays good for twice the skew.
	first, repeated := x.k.replay.remember(proof, answered{request, reply}, x.now, 2*x.k.Policy.skew())
	if first.request != request {
		return nil, refuse(krb5.ErrRepeat, "a proof that was used before")
	}
	x.k.Count.Tickets.Add(1)
	if repeated {
		x.k.Count.Repeats.Add(1)
		x.repeated = true
	}
	return first.reply, nil
}

// remember returns what stands under proof, which is a unless there was
// something already.
func (c *replayCache) remember(proof fingerprint, a answered, now time.Time, window time.Duration) (first answered, repeated bool) {
	return c.recent.remember(proof, a, now, window, replayEntries)
}

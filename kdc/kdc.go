package kdc

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"skyrealm/cred"
	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/pac"
)

// KDC answers Kerberos requests for one domain. Set the exported fields before
// the first request; Handle may then be called from any number of goroutines.
type KDC struct {
	Replica *domain.Replica
	Now     func() time.Time
	Rand    io.Reader // safe for concurrent use; all keys and confounders come from it
	Policy  Policy
	Log     *slog.Logger // nil: no log
	Count   Counters
	PKINIT  *PKINIT // nil: no sign-in with certificates, and no anonymous one

	once  sync.Once
	realm string
	tgs   krb5.PrincipalName // krbtgt/REALM

	mechanisms []mechanism // of pre-authentication

	keys   keyCache
	replay replayCache
	opened recent[*opened]
}

// Policy is what the domain's administrators decide. A zero field has the
// default of Active Directory.
type Policy struct {
	MaxLife  time.Duration // of a ticket; 0: 10 hours
	MaxRenew time.Duration // how long a ticket can be renewed; 0: 7 days
	Skew     time.Duration // between our clock and a client's; 0: 5 minutes
	// AllowRC4 lets accounts that have AES keys use RC4 as well. Without it RC4
	// is for those that have nothing better.
	AllowRC4 bool
	// RequireArmor lets people sign in inside FAST only, so that nobody on the
	// way sees what a password could be guessed from. Machines and services,
	// whose tickets armor is made of, sign in without.
	RequireArmor bool
	// MaxUDPReply is the longest reply in a datagram; a client that is told
	// RESPONSE_TOO_BIG comes by TCP. 0: 1,400 bytes, which fit the smallest
	// usual MTU with a tunnel's headers.
	MaxUDPReply int
}

func (p *Policy) maxLife() time.Duration  { return cmp.Or(p.MaxLife, 10*time.Hour) }
func (p *Policy) maxRenew() time.Duration { return cmp.Or(p.MaxRenew, 7*24*time.Hour) }
func (p *Policy) skew() time.Duration     { return cmp.Or(p.Skew, 5*time.Minute) }
func (p *Policy) maxUDPReply() int        { return cmp.Or(p.MaxUDPReply, 1400) }

// Counters count since the start.
type Counters struct {
	AS, TGS       atomic.Uint64 // requests that could be decoded
	Tickets       atomic.Uint64 // replies with a ticket, repeated ones too
	Repeats       atomic.Uint64 // of these, those that answered a request come twice
	Dropped       atomic.Uint64 // what was no request, and got no answer
	TooBig        atomic.Uint64 // replies that did not fit a datagram
	Panics        atomic.Uint64
	refused       [maxErrorCode]atomic.Uint64
	TCPOpen       atomic.Int64  // connections now
	TCPCrowdedOut atomic.Uint64 // connections closed for newer ones
}

// maxErrorCode is above every code in use (RFC 6113 §7 has the highest, 93).
const maxErrorCode = 128

// Refused returns how many requests were answered with the error code.
func (c *Counters) Refused(code krb5.ErrorCode) uint64 {
	if code < 0 || code >= maxErrorCode {
		return 0
	}
	return c.refused[code].Load()
}

// exchange is one request on its way to a reply. It is used again and again, as
// its buffers are most of what a request costs.
type exchange struct {
	k    *KDC
	ctx  context.Context
	from netip.AddrPort
	raw  []byte
	now  time.Time // to the microsecond
	req  krb5.KDCReq

	s4u        *s4u // nil but for delegation
	repeated   bool // the request was answered before
	preAuth    int32
	mayNotWait bool // whoever sent it here reads others' requests as well

	client  *domain.Object
	secrets *cred.Legacy       // the client's, whose knowledge is to be proven
	cname   krb5.PrincipalName // as the tickets have it
	crealm  string             // the client's realm: ours, or that of nobody
	service target

	proof   []byte // the ciphertext that proved who asks: what must not come twice
	reply   replyKey
	session sessionKey

	fast     *fastState // nil outside FAST
	fastRoom fastState

	ap     krb5.APReq
	auth   krb5.Authenticator
	opened *opened // the TGT of the AP-REQ, whose part is tgt as well
	tgt    krb5.EncTicketPart
	ticket krb5.EncTicketPart
	part   krb5.EncKDCRepPart
	rep    krb5.KDCRep

	// The room that all of it is decrypted into and written in.
	tgtPlain, authPlain, plain, pacRoom []byte
	out, aux                            der.Writer
	outRoom                             [4096]byte
	auxRoom                             [3072]byte
	etypeInfo                           krb5.ETypeInfo2
	padata                              krb5.MethodData
	repPAData                           krb5.MethodData // of the reply, beside its encrypted part
	authData                            krb5.AuthorizationData
	groups, local                       []pac.Group
	extraSIDs                           []pac.SIDAttributes
	lastReq                             [1]krb5.LastReq
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// Handle answers one request; nil means that nothing is sent back. The reply may
// be kept for a repeated request, so the caller must not change it. It does not
// use request after it returns.
func (k *KDC) Handle(ctx context.Context, request []byte, from netip.AddrPort, tcp bool) (reply []byte) {
	k.once.Do(k.init)
	x := exchanges.Get().(*exchange)
	x.begin(ctx, k, request, from)
	x.mayNotWait = ctx.Value(laterKey{}) != nil
	defer func() {
		// The last defence: one request must not end the sign-ins of all. The
		// exchange is left to the collector, and nothing of the request is
		// logged, as it may be what breaks the log.
		if p := recover(); p != nil {
			k.Count.Panics.Add(1)
			k.Log.ErrorContext(ctx, "kdc: panic in a request", "from", from.String(), "stack", string(debug.Stack()))
			reply = nil
			return
		}
		x.end()
	}()

	reply, err := x.answer()
	if err == errLater {
		k.Count.AS.Add(^uint64(0)) // it is counted when it comes again
		k.later(ctx, request, from, tcp)
		return nil
	}
	if err != nil {
		reply = x.refuse(ctx, err)
	} else if reply != nil {
		x.audit(krb5.ErrNone)
	}
	if !tcp && len(reply) > k.Policy.maxUDPReply() {
		k.Count.TooBig.Add(1)
		reply = x.refuse(ctx, krb5.ErrResponseTooBig)
	}
	return reply
}

func (k *KDC) init() {
	k.realm = k.Replica.Info.Realm()
	k.tgs = krb5.Principal(krb5.NTSrvInst, "krbtgt", k.realm)
	k.mechanisms = allMechanisms()
	if k.PKINIT != nil {
		k.mechanisms = append([]mechanism{certificates}, k.mechanisms...)
	}
	if k.Log == nil {
		k.Log = slog.New(slog.DiscardHandler)
	}
}

func (x *exchange) begin(ctx context.Context, k *KDC, request []byte, from netip.AddrPort) {
	x.k, x.ctx, x.from, x.raw, x.crealm = k, ctx, from, request, k.realm
	x.now = k.Now().UTC().Truncate(time.Microsecond)
	x.repeated, x.preAuth = false, 0
	x.out.Reset(x.outRoom[:])
	x.aux.Reset(x.auxRoom[:])
	x.repPAData = x.repPAData[:0]
}

// end forgets whom the exchange was about, before it serves another.
func (x *exchange) end() {
	clear(x.tgtPlain[:cap(x.tgtPlain)])
	clear(x.authPlain[:cap(x.authPlain)])
	clear(x.plain[:cap(x.plain)])
	x.forgetFAST()
	x.reply, x.session = replyKey{}, sessionKey{}
	x.client, x.secrets, x.s4u, x.service, x.cname = nil, nil, nil, target{}, krb5.PrincipalName{}
	x.raw, x.proof, x.k, x.ctx = nil, nil, nil, nil
	// Its parts may be a remembered TGT's, in which the next one must not be read.
	x.tgt, x.opened = krb5.EncTicketPart{}, nil
	exchanges.Put(x)
}

// answer is phase 1, decoding, and the choice of the exchange. A nil reply
// without an error is no answer at all.
func (x *exchange) answer() ([]byte, error) {
	if len(x.raw) == 0 {
		return x.drop()
	}
	switch der.Tag(x.raw[0]) {
	case der.Application(krb5.MsgASReq), der.Application(krb5.MsgTGSReq):
	default:
		// Errors and replies least of all: two KDCs, or one and itself, would
		// answer each other for ever (CVE-2002-2443 is kpasswd's).
		return x.drop()
	}
	if x.req.Unmarshal(x.raw) != nil {
		return x.drop()
	}
	if x.req.MsgType == krb5.MsgASReq {
		x.k.Count.AS.Add(1)
		return x.as()
	}
	x.k.Count.TGS.Add(1)
	return x.tgsExchange()
}

func (x *exchange) drop() ([]byte, error) {
	x.k.Count.Dropped.Add(1)
	return nil, nil
}

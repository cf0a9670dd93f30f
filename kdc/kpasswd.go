package kdc

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"skyrealm/der"
	"skyrealm/domain"
	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// Kpasswd answers requests to change or set a password (RFC 3244). Set the
// exported fields before the first request; Handle may then be called from any
// number of goroutines.
type Kpasswd struct {
	KDC       *KDC // whose keys, clock and randomness it works with
	Directory *domain.Directory
	Count     KpasswdCounters

	local krb5.HostAddress // where the sockets are, as replies say it
	once  changesDone
}

// KpasswdCounters count since the start.
type KpasswdCounters struct {
	Sockets  Counters      // Dropped, TCPOpen, TCPCrowdedOut, Panics
	Requests atomic.Uint64 // that could be decoded
	results  [krb5.KpasswdInitialFlagNeeded + 1]atomic.Uint64
}

// Results returns how many requests had an outcome.
func (c *KpasswdCounters) Results(r krb5.KpasswdResult) uint64 {
	if int(r) >= len(c.results) {
		return 0
	}
	return c.results[r].Load()
}

// changeTime bounds a change, with the wait until it is usable. Clients give up,
// or send again, after about as long.
const changeTime = 8 * time.Second

// change is one request on its way.
type change struct {
	exchange // the ticket, its keys and its PAC are checked as a TGT's are
	p        *Kpasswd
	frame    krb5.Kpasswd
	priv     krb5.Priv
	part     krb5.EncPrivPart

	session, subkey etype.Key
	fresh           bool // the password is the one that the ticket was got with
	who, target     *domain.Object
	name            string // of the target, as the log has it
	password        string
}

// outcome is what a client is told.
type outcome struct {
	result krb5.KpasswdResult
	text   string // for people: one sentence, without its full stop
	why    string // for the log, where the text does not say it
	err    error  // of our own
}

// Handle answers one request; nil means that nothing is sent back. It does not use
// request after it returns.
//
// What is no request gets no answer: least of all an error, or what Handle answers
// itself, or two servers would talk for ever (CVE-2002-2443). No answer is sent for
// less than a whole AP-REQ and a KRB-PRIV, so a forged sender is sent no more than
// it took to forge.
func (p *Kpasswd) Handle(ctx context.Context, request []byte, from netip.AddrPort, _ bool) (reply []byte) {
	p.KDC.once.Do(p.KDC.init)
	log := p.KDC.Log
	defer func() {
		if v := recover(); v != nil { // as in KDC.Handle
			p.Count.Sockets.Panics.Add(1)
			log.ErrorContext(ctx, "kdc: panic in a password change", "from", from.String(), "stack", string(debug.Stack()))
			reply = nil
		}
	}()
	c := &change{p: p}
	c.begin(ctx, p.KDC, request, from)
	if !c.decode() {
		p.Count.Sockets.Dropped.Add(1)
		return nil
	}
	p.Count.Requests.Add(1)
	defer func() { clear(c.plain[:cap(c.plain)]) }()

	if err := c.authenticate(); err != nil {
		return c.refuse(ctx, err)
	}
	ctx, cancel := context.WithTimeout(ctx, changeTime)
	defer cancel()
	o := c.read()
	if o == nil {
		done := p.once.do(ctx, c)
		o = &done
	}
	c.log(ctx, o)
	reply, err := c.reply(o)
	if err != nil {
		log.ErrorContext(ctx, "kdc: reply to a password change", "error", err)
		return nil
	}
	return reply
}

// decode takes the request apart, as far as that takes no key.
func (c *change) decode() bool {
	return c.frame.Unmarshal(c.raw) == nil && len(c.frame.AP) > 0 && der.Tag(c.frame.AP[0]) == der.Application(krb5.MsgAPReq) &&
		c.ap.Unmarshal(c.frame.AP) == nil && c.priv.Unmarshal(c.frame.Body) == nil
}

// read finds out what is asked for; an outcome where that is known without doing
// anything.
func (c *change) read() *outcome {
	data := c.part.UserData
	c.target, c.name = c.who, c.who.SAM
	switch c.frame.Version {
	case krb5.KpasswdChange:
	case krb5.KpasswdSet:
		var set krb5.ChangePasswdData
		if set.Unmarshal(data.Expose()) != nil {
			return &outcome{result: krb5.KpasswdMalformed, text: "the request is malformed", why: "ChangePasswdData"}
		}
		data = set.NewPassword
		if !set.TargetName.IsZero() {
			c.name = set.TargetName.String()
			c.target = nil
			if set.TargetRealm == "" || c.k.isRealm(set.TargetRealm) {
				c.target = c.k.clientByName(set.TargetName)
			}
		}
	default:
		return &outcome{result: krb5.KpasswdBadVersion, text: "the request is of a version that is not known here"}
	}
	c.password = string(data.Expose())

	if c.target != nil && c.target.GUID == c.who.GUID {
		switch {
		case c.ticket.Flags&krb5.FlagInitial == 0:
			// Whoever finds an open session has a TGT, and does not know the password.
			return &outcome{result: krb5.KpasswdInitialFlagNeeded, text: "the ticket has to be one that was got with the password"}
		case !c.fresh && !c.p.once.has(c):
			// Not the password that this ticket was got with: an administrator's
			// reset must not be undone with a ticket from before it.
			return &outcome{result: krb5.KpasswdAuthError, text: "the password was changed since you signed in", why: "stale ticket"}
		}
		return nil
	}
	if !c.k.Replica.Administers(c.who) { // whether there is such an account or not
		return &outcome{result: krb5.KpasswdAccessDenied, text: "you may not set the password of another account", why: "no administrator"}
	}
	if c.target == nil {
		return &outcome{result: krb5.KpasswdHardError, text: "there is no such account", why: "no such target"}
	}
	return nil
}

// perform changes the password.
func (c *change) perform(ctx context.Context) outcome {
	var err error
	if c.target.GUID == c.who.GUID {
		err = c.p.Directory.ChangePassword(ctx, c.target, c.password)
	} else {
		err = c.p.Directory.SetPassword(ctx, c.who, c.target, c.password, c.onceForAll())
	}
	return outcomeOf(err, c.target.GUID != c.who.GUID)
}

// outcomeOf is the one map from the rules' errors to what clients are told. MIT's
// programs show the text behind "Password change rejected: ", and put a full stop
// after it; Heimdal's show it as it is.
//
// DIVERGES: AD sends 30 bytes of binary policy for a soft error, which Heimdal
// prints as such and which do not say what was wrong. RFC 3244 §2 wants UTF-8.
func outcomeOf(err error, another bool) outcome {
	var policy *domain.PolicyError
	var constraint *domain.ConstraintError
	o := outcome{err: err}
	switch {
	case err == nil:
		o.result = krb5.KpasswdSuccess
	case errors.Is(err, domain.ErrNotUsableYet):
		// It is: a password that was changed is changed, and the old one ends.
		o.result, o.text = krb5.KpasswdSuccess, "the password is changed and will be usable soon"
	case errors.As(err, &policy):
		o.result, o.text, o.err = krb5.KpasswdSoftError, policy.Reason, nil
	case errors.As(err, &constraint):
		o.result, o.text = krb5.KpasswdSoftError, constraint.Why
	case errors.Is(err, domain.ErrSyncedPassword):
		o.result, o.err = krb5.KpasswdAccessDenied, nil
		o.text = "the password of this account is kept in your organization's on-premises directory; change it there, and it is taken over here"
		o.why = "synced"
	case errors.Is(err, domain.ErrTenantPassword):
		o.result = krb5.KpasswdAccessDenied
		o.text = "this server can't change passwords that the tenant keeps; change it in the tenant, and it is taken over here"
	case errors.Is(err, domain.ErrAccessDenied) && another:
		o.result, o.text = krb5.KpasswdAccessDenied, "the password of this account can't be set here"
	case errors.Is(err, domain.ErrAccessDenied):
		o.result, o.text = krb5.KpasswdAccessDenied, "the password of this account can't be changed"
	case errors.Is(err, domain.ErrRepeated):
		o.result, o.text, o.why, o.err = krb5.KpasswdAuthError, "the request was sent before", "replay", nil
	case errors.Is(err, domain.ErrConflict):
		o.result, o.text = krb5.KpasswdAuthError, "the password was changed since you signed in"
	case errors.Is(err, domain.ErrNotFound):
		o.result, o.text = krb5.KpasswdHardError, "there is no such account"
	case errors.Is(err, domain.ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, errBusy):
		o.result, o.text = krb5.KpasswdHardError, "the service is not available now; try again later"
	default:
		o.result, o.text, o.why = krb5.KpasswdHardError, "the server failed; its log says why", "internal"
	}
	return o
}

// log writes one line for each request: who, for whom, from where, and never what.
func (c *change) log(ctx context.Context, o *outcome) {
	c.p.Count.results[o.result].Add(1)
	level := slog.LevelInfo
	if o.why == "internal" {
		level = slog.LevelError
	}
	if !c.k.Log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.Int("result", int(o.result)),
		slog.String("client", shown(c.ticket.CName.String())),
		slog.String("account", shown(c.name)),
		slog.String("from", c.from.String()),
	}
	if why := cmp.Or(o.why, o.text); why != "" {
		attrs = append(attrs, slog.String("why", why))
	}
	if o.err != nil {
		attrs = append(attrs, slog.Any("error", o.err))
	}
	message := "kdc: password changed"
	if o.result != krb5.KpasswdSuccess {
		message = "kdc: password not changed"
	}
	c.k.Log.LogAttrs(ctx, level, message, attrs...)
}

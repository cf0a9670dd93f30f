package domain

import (
	"strconv"
	"time"

	"skyrealm/domain/dit"
)

// Policy is the domain's password and lockout policy. It stands where AD has it,
// in attributes of the domain's head ([MS-SAMR] §3.1.1.8.4).
type Policy struct {
	Threshold int           // wrong passwords that lock an account; 0: none does
	Window    time.Duration // a wrong password counts together with one that came within this time before
	Duration  time.Duration // of a lockout; 0: until an administrator ends it
	MaxAge    time.Duration // of a password; 0: any
}

// DefaultPolicy is the managed domain's (EDS/password-policy): five within two
// minutes lock an account for thirty, and a password lasts ninety days.
var DefaultPolicy = Policy{Threshold: 5, Window: 2 * time.Minute, Duration: 30 * time.Minute, MaxAge: 90 * 24 * time.Hour}

var (
	aThreshold = dit.Attr("lockoutThreshold")
	aWindow    = dit.Attr("lockOutObservationWindow")
	aDuration  = dit.Attr("lockoutDuration")
	aMaxAge    = dit.Attr("maxPwdAge")
)

// policyText is what the attributes hold: a count, and spans of time as negative
// numbers of 100 ns, where the smallest of all is for ever ([MS-SAMR] §2.2.4.1).
func (p *Policy) text(t *dit.AttrType) string {
	span := func(d time.Duration) string {
		if d == 0 {
			return strconv.FormatInt(-1<<63, 10)
		}
		return strconv.FormatInt(-int64(d/100), 10)
	}
	switch t {
	case aThreshold:
		return strconv.Itoa(p.Threshold)
	case aWindow:
		return strconv.FormatInt(-int64(p.Window/100), 10)
	case aDuration:
		return span(p.Duration)
	case aMaxAge:
		return span(p.MaxAge)
	}
	return ""
}

var policyAttrs = [...]*dit.AttrType{aThreshold, aWindow, aDuration, aMaxAge}

// policyOf reads the attributes of a head; what is not there, or makes no sense,
// is the default's.
func policyOf(attrs map[string][][]byte) *Policy {
	p := DefaultPolicy
	read := func(t *dit.AttrType) (int64, bool) {
		v := attrs[t.Name]
		if len(v) != 1 {
			return 0, false
		}
		n, err := strconv.ParseInt(string(v[0]), 10, 64)
		return n, err == nil
	}
	span := func(t *dit.AttrType, d *time.Duration) {
		switch n, ok := read(t); {
		case ok && (n == -1<<63 || n == 0):
			*d = 0
		case ok && n < 0 && n >= -int64(maxSpan/100):
			*d = time.Duration(-n) * 100
		}
	}
	if n, ok := read(aThreshold); ok && n >= 0 && n <= maxThreshold {
		p.Threshold = int(n)
	}
	span(aWindow, &p.Window)
	span(aDuration, &p.Duration)
	span(aMaxAge, &p.MaxAge)
	return &p
}

// Limits of a policy. A thousand guesses are no limit to a guesser, and ten years
// none to a password.
const (
	maxThreshold = 999
	maxSpan      = 99999 * 24 * time.Hour
)

// Check returns a *[ConstraintError] for a policy that can't be set.
func (p *Policy) Check() error {
	switch {
	case p.Threshold < 0 || p.Threshold > maxThreshold:
		return &ConstraintError{aThreshold.Name, "it is 0 to 999"}
	case p.Window < time.Second || p.Window > maxSpan:
		return &ConstraintError{aWindow.Name, "it is one second at least"}
	case p.Duration < 0 || p.Duration > maxSpan || p.Duration != 0 && p.Duration < p.Window:
		// [MS-SAMR] §3.1.1.5: else a lockout would end with its count still standing.
		return &ConstraintError{aDuration.Name, "it is not shorter than the observation window"}
	case p.MaxAge < 0 || p.MaxAge > maxSpan:
		return &ConstraintError{aMaxAge.Name, "it is 0 (no limit) to 99999 days"}
	}
	return nil
}

// Policy returns the domain's.
func (r *Replica) Policy() *Policy {
	if p := r.policy.Load(); p != nil {
		return p
	}
	return &DefaultPolicy
}

// PasswordExpires returns when a person's password is older than the policy lets
// it become ([MS-SAMR] §3.1.5.14.4): the zero time for one that has to be changed
// before it is used, and false for one that never is. Those of synced users never
// are: their directory sees to it, and marks them (UACDontExpirePassword) at every
// sync.
func (o *Object) PasswordExpires(p *Policy) (at time.Time, ok bool) {
	switch {
	case o.Kind != User || o.UAC&UACDontExpirePassword != 0 || o.RID == RIDKrbtgt:
		return at, false
	case o.Secrets.Set.IsZero():
		return at, true
	case p.MaxAge == 0:
		return at, false
	}
	return o.Secrets.Set.Add(p.MaxAge), true
}

// PasswordExpired reports whether a password that was set has come to its end.
func (o *Object) PasswordExpired(p *Policy, now time.Time) bool {
	at, ok := o.PasswordExpires(p)
	return ok && !at.IsZero() && !now.Before(at)
}

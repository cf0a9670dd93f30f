package domain

import (
	"context"
	"fmt"
	"strings"
	"time"

	"skyrealm/cred"
	"skyrealm/domain/dit"
)

// Refusal says why an account may not sign in. Its values are the Win32 error
// codes that AD puts into LDAP's diagnostic message (data 52e).
type Refusal uint32

// The refusals.
const (
	BadCredentials Refusal = 0x52e // unknown name or wrong password: one answer
	OutOfHours     Refusal = 0x530
	NotFromThere   Refusal = 0x531
	AccountOff     Refusal = 0x533
	PasswordOld    Refusal = 0x532
	AccountExpired Refusal = 0x701
	MustChangePW   Refusal = 0x773
	AccountLocked  Refusal = 0x775
)

func (r Refusal) Error() string { return fmt.Sprintf("domain: sign-in refused (%x)", uint32(r)) }

// nobody is compared with where there is no NT hash, so that an unknown name
// costs what a wrong password does.
var nobody = cred.NTHashOf("\x00 no account has this password \x00")

// ByBindName finds an account by any name that a simple bind may carry: a DN, a
// UPN, DOMAIN\name, or the bare sAMAccountName ([MS-ADTS] §5.1.1.1.1).
func (r *Replica) ByBindName(name string) *Object {
	var o *Object
	if dn, err := dit.ParseDN(name); err == nil && strings.Contains(name, "=") {
		o = r.ByDN(dn)
	} else if netbios, sam, ok := strings.Cut(name, `\`); ok {
		if Fold(netbios) == Fold(r.Info.NetBIOS) || Fold(netbios) == Fold(r.Info.DNSName) {
			o = r.BySAM(sam)
		}
	} else if strings.Contains(name, "@") {
		o = r.ByUPN(name)
	} else {
		o = r.BySAM(name)
	}
	if o == nil || !o.SignsIn() {
		return nil
	}
	return o
}

// Authenticate verifies a plaintext password against the NT hash of the named
// account, under its lockout. Any refusal is a [Refusal]; the reasons beyond
// [BadCredentials] and [AccountLocked] are given only to who knows the password.
// The account is returned as far as it is known, for the log.
func (r *Replica) Authenticate(ctx context.Context, now time.Time, name, password string) (*Object, error) {
	o, l := r.ByBindName(name), r.Lockout
	nt, real := nobody, o != nil && !o.Secrets.Current.NT.IsZero()
	if real {
		nt = o.Secrets.Current.NT
	}
	// Too long a password is refused before it costs a hash (CVE-2020-1722); an
	// empty one never signs in, whatever the hash (RFC 4513 §5.1.2). Neither is a
	// guess at anything.
	if password == "" || cred.CheckPassword(password) != nil {
		return o, BadCredentials
	}
	// An account without a hash opens to nothing, nobody's password included.
	hash := cred.NTHashOf(password)
	switch right := hash.Equal(nt) && real; {
	case right:
		if err := l.Right(o); err != nil {
			return o, err
		}
		return o, o.MaySignIn(r.Policy(), now)
	case o == nil:
		return nil, r.wrongName(ctx, name)
	case o.Secrets.WasPassword(hash):
		if l.IsLocked(o) {
			return o, AccountLocked
		}
	default:
		if err := l.Wrong(ctx, o, 0); err != nil {
			return o, err
		}
	}
	return o, BadCredentials
}

// MaySignIn returns why an account whose password was right may still not sign
// in, or nil.
func (o *Object) MaySignIn(p *Policy, now time.Time) error {
	switch {
	case o.Disabled():
		return AccountOff
	case o.MustChange():
		return MustChangePW
	case o.PasswordExpired(p, now):
		return PasswordOld
	}
	return nil
}

// wrongName counts a password for a name that nobody has.
func (r *Replica) wrongName(ctx context.Context, name string) error {
	if r.Decoys != nil {
		if o := r.Decoys.Named(name); o != nil {
			if err := r.Lockout.Wrong(ctx, o, 0); err != nil {
				return err
			}
			return BadCredentials
		}
	}
	r.Lockout.Nobody(ctx, name)
	return BadCredentials
}

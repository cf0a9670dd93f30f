package domain

import (
	"context"
	"errors"
	"fmt"
	"unicode/utf8"

	"skyrealm/cred"
	"skyrealm/tenant"
)

// PolicyError is a password that the rules of its account refuse; the reason is
// for who chose it.
type PolicyError = tenant.PolicyError

// Refusals of password changes, beside ErrAccessDenied, ErrConflict (another
// change came first), ErrUnavailable and *PolicyError.
var (
	// ErrSyncedPassword: an on-premises directory keeps the password.
	ErrSyncedPassword = tenant.ErrSyncedPassword
	// ErrTenantPassword: the tenant keeps the password, and this process can't
	// write there.
	ErrTenantPassword = errors.New("domain: the tenant keeps the password, and this process has no key to write it")
	// ErrNotUsableYet is no refusal: the password is changed, and the domain has
	// not taken it in within the time that there was.
	ErrNotUsableYet = errors.New("domain: the password is changed and not usable here yet")
)

// minPassword is the shortest password of an account that was made in the domain,
// as in AD's default policy.
const minPassword = 7

// checkPassword holds a password that is kept in the domain to the domain's rules,
// whichever way it comes (P06).
func checkPassword(password string) error {
	if cred.CheckPassword(password) != nil || utf8.RuneCountInString(password) < minPassword {
		return &PolicyError{Reason: fmt.Sprintf("a password has %d to %d characters", minPassword, cred.MaxPassword)}
	}
	return nil
}

// ChangePassword is an account's own change. who is the account as it was when it
// showed to know its password: where it has got another since, that was no proof,
// and the answer is ErrConflict. A nil error means that the new one is usable.
func (d *Directory) ChangePassword(ctx context.Context, who *Object, password string) error {
	switch {
	case who == nil || !who.SignsIn() || who.critical():
		return ErrAccessDenied
	case who.synced():
		return d.changeUser(ctx, who, password)
	}
	read := func() (Record, error) { return d.Store.Record(ctx, who.GUID) }
	return d.retry(ctx, read, func(rec *Record) error {
		if rec.Secrets.KVNO != who.Secrets.KVNO {
			return ErrConflict
		}
		if err := checkPassword(password); err != nil { // before it costs a hash (CVE-2020-1722)
			return err
		}
		if cred.NTHashOf(password).Equal(rec.Secrets.Current.NT) {
			return &PolicyError{Reason: "the new password has to differ from the old one"}
		}
		return d.setPassword(rec, password)
	}, nil)
}

// changeUser hands the change of a tenant's user to the tenant, whose rules and
// forms it has, and waits until it has come back through the change feed.
func (d *Directory) changeUser(ctx context.Context, who *Object, password string) error {
	if d.ChangeUser == nil {
		return ErrTenantPassword
	}
	usn, err := d.ChangeUser(ctx, who.Key, who.Secrets.Version, password)
	var refused *tenant.SignInError
	switch {
	case errors.Is(err, tenant.ErrConflict), errors.Is(err, tenant.ErrNotFound):
		return fmt.Errorf("%w: %w", ErrConflict, err)
	case errors.As(err, &refused): // disabled, which has not come here yet
		return fmt.Errorf("%w: %w", ErrAccessDenied, err)
	case err != nil:
		return err
	}
	if err := d.Replica.WaitTenant(ctx, usn); err != nil {
		return fmt.Errorf("%w: %w", ErrNotUsableYet, err)
	}
	return nil
}

// SetPassword is an administrator's, for an account that was made in the domain.
// Whatever the account's password is now, this one replaces it; so a request that
// others may have recorded comes with what makes it one that is carried out once. The
// answer to one that was is nil as long as its password is the account's, for
// clients that send again what is not answered, and then ErrRepeated.
func (d *Directory) SetPassword(ctx context.Context, actor, target *Object, password string, once *Once) error {
	if !target.SignsIn() {
		return ErrAccessDenied
	}
	read := func() (Record, error) { return d.writable(ctx, actor, target.Entry.DN, false) }
	err := d.retry(ctx, read, func(rec *Record) error { return d.setPassword(rec, password) }, once)
	if !errors.Is(err, ErrRepeated) {
		return err
	}
	rec, unreadable := read()
	if unreadable != nil {
		return unreadable
	}
	if !cred.NTHashOf(password).Equal(rec.Secrets.Current.NT) {
		return err
	}
	return d.Replica.Wait(ctx, rec.USN)
}

func (d *Directory) setPassword(rec *Record, password string) error {
	if err := checkPassword(password); err != nil {
		return err
	}
	w := &writer{d: d, rec: rec, now: d.Now().UTC(), password: password, changed: true}
	rec.Changed = w.now
	return w.finish()
}

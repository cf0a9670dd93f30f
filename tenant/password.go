package tenant

import (
	"context"
	"errors"
	"strings"

	"skyrealm/cred"
)

// Errors of password changes.
var (
	ErrWrongPassword = errors.New("tenant: the current password is wrong")
	// ErrSyncedPassword: an on-premises directory masters the password, and
	// password writeback is not on.
	ErrSyncedPassword = errors.New("tenant: the password is kept on-premises and can be changed only there")
)

// PolicyError is a password that the cloud's rules refuse.
type PolicyError struct{ Reason string }

func (e *PolicyError) Error() string { return "tenant: password policy: " + e.Reason }

// checkPolicy holds a cloud password to the cloud's rules: 8 to 256 characters,
// no Unicode, three of four classes (EAU/concept-sspr-policy).
func checkPolicy(password, upn string) error {
	if len(password) < 8 || len(password) > cred.MaxPassword {
		return &PolicyError{"a password has 8 to 256 characters"}
	}
	var classes [4]bool
	for _, c := range []byte(password) {
		switch {
		case c >= 'a' && c <= 'z':
			classes[0] = true
		case c >= 'A' && c <= 'Z':
			classes[1] = true
		case c >= '0' && c <= '9':
			classes[2] = true
		case c >= ' ' && c <= '~':
			classes[3] = true
		default:
			return &PolicyError{"a cloud password has only printable ASCII characters"}
		}
	}
	n := 0
	for _, there := range classes {
		if there {
			n++
		}
	}
	if n < 3 {
		return &PolicyError{"a password needs three of: lower case, upper case, digits, symbols"}
	}
	if prefix, _, _ := strings.Cut(upn, "@"); len(prefix) >= 4 && strings.Contains(strings.ToLower(password), strings.ToLower(prefix)) {
		return &PolicyError{"a password may not contain the user name"}
	}
	return nil
}

// ChangePassword is a user's own change. Knowing the new password, it makes all
// forms of it: the digest, and, where Domain Services is on, the legacy hashes
// sealed for the managed domain.
func (s *Service) ChangePassword(ctx context.Context, id ID, old, new string) (USN, error) {
	// 1. Is it the user's to change, and does the user know the old one?
	user, was, err := s.changeable(ctx, id)
	if err != nil {
		return 0, err
	}
	if was == nil || cred.CheckPassword(old) != nil || !was.Digest.Verify(old) {
		return 0, ErrWrongPassword
	}
	return s.change(ctx, &user, was, new)
}

// ChangeProvenPassword is the same for a user who has shown to know the old
// password elsewhere: to the managed domain, which knows it as version proven of
// the user's credential. ErrConflict where the tenant has another by now: what
// was shown is then no proof any more.
func (s *Service) ChangeProvenPassword(ctx context.Context, id ID, proven int64, new string) (USN, error) {
	user, was, err := s.changeable(ctx, id)
	switch {
	case err != nil:
		return 0, err
	case !user.Enabled:
		return 0, &SignInError{CodeDisabled}
	case was == nil || was.Version != proven:
		return 0, ErrConflict
	}
	return s.change(ctx, &user, was, new)
}

// changeable returns a user who may change the password here, and its credential,
// nil where there is none.
func (s *Service) changeable(ctx context.Context, id ID) (Object, *Credential, error) {
	user, err := s.Store.Object(ctx, id)
	if err != nil {
		return Object{}, nil, err
	}
	if user.Kind != User {
		return Object{}, nil, ErrNotFound
	}
	if user.Synced() {
		return Object{}, nil, ErrSyncedPassword
	}
	was, err := s.Store.Credential(ctx, id)
	return user, was, err
}

// change replaces the credential that the user was seen to know. Both ways to it
// judge the new password here, so they judge alike (P06).
func (s *Service) change(ctx context.Context, user *Object, was *Credential, new string) (USN, error) {
	// 2. Is the new one good? The last password may not be used again.
	if err := checkPolicy(new, user.UPN); err != nil {
		return 0, err
	}
	if was.Digest.Verify(new) {
		return 0, &PolicyError{"the new password has to differ from the old one"}
	}

	// 3. Make all forms and store them as one.
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return 0, err
	}
	set, err := s.credential(&settings, user, new, FromChange, was.Version)
	if err != nil {
		return 0, err
	}
	return s.Store.ReplaceCredential(ctx, set, was.Version, s.record(PasswordChange, user, &set))
}

// record tells of one password change in the cloud.
func (s *Service) record(kind RecordKind, user *Object, set *Credential) *Record {
	now := s.Now().UTC()
	return &Record{Kind: kind, Origin: Origin{Name: user.UPN}, Began: now, Ended: now,
		Items: []RecordItem{{Object: user.ID, Anchor: user.Anchor, Changed: set.Changed(), Reason: ReasonStored}}}
}

// ResetPassword is an administrator's: it overrides what was synced, until the
// next on-premises change. It makes no legacy hashes: they come with the user's
// own change, and the old ones end here.
func (s *Service) ResetPassword(ctx context.Context, id ID, password string, mustChange bool) (USN, error) {
	user, err := s.Store.Object(ctx, id)
	if err != nil {
		return 0, err
	}
	if user.Kind != User {
		return 0, ErrNotFound
	}
	if err := checkPolicy(password, user.UPN); err != nil {
		return 0, err
	}
	was, err := s.Store.Credential(ctx, id)
	if err != nil {
		return 0, err
	}
	version := int64(0)
	if was != nil {
		version = was.Version
	}
	set, err := s.credential(nil, &user, password, FromReset, version)
	if err != nil {
		return 0, err
	}
	set.MustChange = mustChange
	return s.Store.ReplaceCredential(ctx, set, version, s.record(PasswordReset, &user, &set))
}

// credential makes a set of a password, newer than version after. Legacy hashes
// are in it where settings are given and Domain Services is on.
func (s *Service) credential(settings *Settings, user *Object, password string, from Source, after int64) (Credential, error) {
	digest, err := cred.NewDigest(cred.NTHashOf(password), s.Rand)
	if err != nil {
		return Credential{}, err
	}
	set := Credential{
		Object:  user.ID,
		Version: max(s.Now().UnixMicro(), after+1),
		Source:  from,
		Digest:  digest,
	}
	if settings == nil || !settings.DomainServices {
		return set, nil
	}
	key, err := cred.ParsePublicJWK(settings.DomainKey)
	if err != nil {
		return Credential{}, err
	}
	// The KDC announces each user's salt, so any would do; this is the form
	// that clients assume where they do not ask ([MS-KILE] §3.1.1.2).
	prefix, _, _ := strings.Cut(user.UPN, "@")
	legacy, err := cred.NewLegacy(password, settings.Realm+prefix)
	if err != nil {
		return Credential{}, err
	}
	bound := cred.Binding{Tenant: settings.TenantID.String(), Subject: user.Subject(), Version: set.Version}
	set.Legacy, err = key.Seal(bound, legacy, s.Rand)
	return set, err
}

// Subject is what a user's sealed hashes are bound to: the anchor, which is all
// that an agent knows, or the object id where there is none.
func (o *Object) Subject() string {
	if o.Anchor != "" {
		return o.Anchor
	}
	return o.ID.String()
}

package tenant

import (
	"context"
	"errors"
	"slices"
)

// RoleDirectorySync is the role "Directory Synchronization Accounts". Its
// holders are what agents of the real service sign in as, and may do no more.
const RoleDirectorySync = "d29b2b05-8046-44ba-8758-1e26182fcf32"

// ErrNotServiceAccount: the name is that of an account that is no agent's.
var ErrNotServiceAccount = errors.New("tenant: the account is not one of a sync agent")

// ServiceAccount makes the account name@INITIAL-DOMAIN for a sync agent, or
// gives it a new password where it is there. Agents call themselves
// Sync_HOST_HEX. It never touches an account that was not made so, whatever its
// name: else this would be a way around every rule on resetting passwords.
func (s *Service) ServiceAccount(ctx context.Context, name string) (upn, password string, err error) {
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return "", "", err
	}
	upn = name + "@" + settings.InitialDomain
	if prefix, _, ok := splitUPN(upn); !ok || prefix != name {
		return "", "", &InvalidError{"identifier", "it has to be the first part of a sign-in name"}
	}
	if password, err = NewPassword(s.Rand); err != nil {
		return "", "", err
	}
	for try := 0; ; try++ {
		err := s.putServiceAccount(ctx, upn, password)
		if !errors.Is(err, ErrConflict) || try == 2 {
			return upn, password, err
		}
	}
}

func (s *Service) putServiceAccount(ctx context.Context, upn, password string) error {
	user, was, err := s.Store.UserByUPN(ctx, upn)
	switch {
	case errors.Is(err, ErrNotFound):
		return s.newServiceAccount(ctx, upn, password)
	case err != nil:
		return err
	case user.Synced() || !slices.Equal(user.Roles, []string{RoleDirectorySync}):
		return ErrNotServiceAccount
	}
	version := int64(0)
	if was != nil {
		version = was.Version
	}
	set, err := s.credential(nil, &user, password, FromReset, version)
	if err != nil {
		return err
	}
	set.NeverExpires = true
	_, err = s.Store.ReplaceCredential(ctx, set, version, s.record(PasswordReset, &user, &set))
	return err
}

func (s *Service) newServiceAccount(ctx context.Context, upn, password string) error {
	id, err := NewID(s.Rand)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	prefix, _, _ := splitUPN(upn)
	user := Object{ID: id, Kind: User, UPN: upn, Enabled: true, Roles: []string{RoleDirectorySync}, Created: now, Changed: now,
		Profile: Profile{DisplayName: "On-Premises Directory Synchronization Service Account", MailNickname: prefix}}
	set, err := s.credential(nil, &user, password, FromReset, 0)
	if err != nil {
		return err
	}
	set.NeverExpires = true // nobody is there to change it
	_, err = s.Store.PutObjects(ctx, []ObjectWrite{{Object: user, Credential: &set}}, s.record(PasswordReset, &user, &set))
	return err
}

package tenant

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrUPNTaken: another user of the tenant has the name.
var ErrUPNTaken = errors.New("tenant: the userPrincipalName is taken")

// InvalidError is a property that can't be taken as it is.
type InvalidError struct{ Property, Message string }

func (e *InvalidError) Error() string {
	return fmt.Sprintf("tenant: invalid %s: %s", e.Property, e.Message)
}

// NewUser is a cloud-only user to be created.
type NewUser struct {
	UPN        string
	Password   string
	Enabled    bool
	MustChange bool
	Profile    Profile // DisplayName and MailNickname are required
}

// CreateUser creates a cloud-only user. The user has no legacy hashes, and so no
// account in the managed domain, until the first password change
// (EDS/synchronization).
func (s *Service) CreateUser(ctx context.Context, u NewUser) (Object, USN, error) {
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return Object{}, 0, err
	}
	user, err := s.newUser(&settings, u)
	if err != nil {
		return Object{}, 0, err
	}
	set, err := s.credential(nil, &user, u.Password, FromReset, 0)
	if err != nil {
		return Object{}, 0, err
	}
	set.MustChange = u.MustChange
	for try := 0; ; try++ {
		holders, err := s.Store.ObjectsByUPN(ctx, []string{u.UPN})
		if err != nil {
			return Object{}, 0, err
		}
		if len(holders) > 0 {
			return Object{}, 0, ErrUPNTaken
		}
		usn, err := s.Store.PutObjects(ctx, []ObjectWrite{{Object: user, Credential: &set}}, nil)
		if errors.Is(err, ErrConflict) && try < 2 {
			continue // someone took the name in between: the next look says so
		}
		if err == nil {
			user.Revision = 1
		}
		return user, usn, err
	}
}

func (s *Service) newUser(settings *Settings, u NewUser) (Object, error) {
	_, suffix, ok := splitUPN(u.UPN)
	switch {
	case !ok:
		return Object{}, &InvalidError{"userPrincipalName", "it has to be a name of the form prefix@domain"}
	case !settings.verified(suffix):
		return Object{}, &InvalidError{"userPrincipalName", "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization."}
	case u.Profile.DisplayName == "":
		return Object{}, &InvalidError{"displayName", "it is required"}
	case u.Profile.MailNickname == "" || strings.ContainsAny(u.Profile.MailNickname, "@()\\[]\";:<>, "):
		return Object{}, &InvalidError{"mailNickname", "it is required and holds none of @ ( ) \\ [ ] \" ; : < > , SPACE"}
	}
	// A NUL is text to JSON and not to the database.
	if text, err := json.Marshal(u.Profile); err != nil || bytes.Contains(text, []byte(`\u0000`)) {
		return Object{}, &InvalidError{"profile", "a value holds a NUL character"}
	}
	if err := checkPolicy(u.Password, u.UPN); err != nil {
		return Object{}, err
	}
	id, err := NewID(s.Rand)
	if err != nil {
		return Object{}, err
	}
	now := s.Now().UTC()
	return Object{ID: id, Kind: User, UPN: u.UPN, Enabled: u.Enabled, Profile: u.Profile, Created: now, Changed: now}, nil
}

// User returns a live user by object id or UPN.
func (s *Service) User(ctx context.Context, key string) (Object, error) {
	if id, err := ParseID(key); err == nil {
		o, err := s.Store.Object(ctx, id)
		if err == nil && o.Kind != User {
			return Object{}, ErrNotFound
		}
		return o, err
	}
	o, _, err := s.Store.UserByUPN(ctx, key)
	return o, err
}

package tenant

import (
	"context"
	"errors"
	"time"
)

// CodeRevoked is the refusal of a session that was ended: the password was set in
// the cloud since, or someone revoked the user's sessions.
const CodeRevoked = 50173

// Session is a user's sign-in that lasts: what a refresh token stands for.
// Refreshing it does not make it younger.
type Session struct {
	User     ID
	SignedIn time.Time // to the microsecond
	Version  int64     // of the credential that it was signed in with
}

// Standing is what decides whether a user's sessions go on.
type Standing struct {
	User       Object
	Version    int64 // of the credential, 0 where there is none
	MustChange bool
	// CloudVersion is that of the newest credential that was set in the cloud,
	// by whatever it has been replaced since.
	CloudVersion int64
	ValidFrom    time.Time // sign-ins before do not count any more
}

// Resume returns the user of a session that goes on, as the user is now. A refusal
// is a *[SignInError].
//
// What a password event does to a session (tenant-api §4.5): one set in the cloud
// ends it. A synced one does not, as "the currently signed-in user is not
// impacted", unless the tenant says so ([Settings].SyncRevokes).
//
// DIVERGES: the real service lets the tokens of confidential clients live on when a
// user changes the password, and those of a session whose password expired.
func (s *Service) Resume(ctx context.Context, session Session) (Object, error) {
	settings, err := s.Store.Settings(ctx)
	if err != nil {
		return Object{}, err
	}
	now, err := s.Store.Standing(ctx, session.User)
	if errors.Is(err, ErrNotFound) {
		return Object{}, &SignInError{CodeUnknownUser}
	}
	if err != nil {
		return Object{}, err
	}
	switch {
	case now.User.Kind != User:
		return Object{}, &SignInError{CodeUnknownUser}
	case !now.User.Enabled:
		return Object{}, &SignInError{CodeDisabled}
	case session.Version < now.CloudVersion,
		session.Version < now.Version && settings.SyncRevokes,
		session.SignedIn.Before(now.ValidFrom),
		now.Version == 0: // what it was signed in with is gone
		return Object{}, &SignInError{CodeRevoked}
	case now.MustChange:
		return Object{}, &SignInError{CodeMustChangePassword}
	}
	return now.User, nil
}

// EndSessions ends all sessions of a user; who wants to go on has to sign in anew.
// Access tokens that are out live until they expire.
func (s *Service) EndSessions(ctx context.Context, id ID) error {
	user, err := s.Store.Object(ctx, id)
	if err != nil {
		return err
	}
	if user.Kind != User {
		return ErrNotFound
	}
	return s.Store.EndSessions(ctx, id, s.Now())
}

package tenant

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"skyrealm/cred"
)

// The refusals of a sign-in, by AADSTS number (§F of the wire reference).
const (
	CodeUnknownUser        = 50034
	CodeWrongPassword      = 50126
	CodeNoPassword         = 50056
	CodeDisabled           = 50057
	CodeMustChangePassword = 50055
)

// SignInError is a refused sign-in.
type SignInError struct{ Code int }

func (e *SignInError) Error() string { return fmt.Sprintf("tenant: sign-in refused, AADSTS%d", e.Code) }

// ErrBadSecret: the app exists and the secret is not its own.
var ErrBadSecret = errors.New("tenant: wrong client secret")

// nobody is verified against where there is no digest, so that a sign-in costs
// the same whether or not the user exists (W05).
var nobody = func() cred.Digest {
	d, err := cred.ParseDigest("v1;PPH1_MD4,01cda06eceb9d9bc2621,1000,9d4fc778add44776555d3fa6ccb4f9637f25e34a62dbc5fa0f782ef8c762c902;")
	if err != nil {
		panic(err) // a constant of this file
	}
	return d
}()

// SignIn verifies a user's password against the digest, and returns the user with
// the session that begins. A refusal is a *[SignInError].
func (s *Service) SignIn(ctx context.Context, upn, password string) (Object, Session, error) {
	at := s.Now() // before anything is read: what is revoked from here on ends the session
	// 1. Who is it? An unknown name goes on to the same work.
	// A NUL is in no name, and no text to a database.
	user, set, err := s.Store.UserByUPN(ctx, strings.ReplaceAll(upn, "\x00", "\ufffd"))
	unknown := errors.Is(err, ErrNotFound)
	if err != nil && !unknown {
		return Object{}, Session{}, err
	}

	// 2. One verification, whatever is known by now.
	digest := nobody
	if set != nil {
		digest = set.Digest
	}
	// An empty password is refused even where the digest is that of one (L12).
	right := cred.CheckPassword(password) == nil && digest.Verify(password) && password != ""

	// 3. Say what the real service says.
	switch {
	case unknown:
		return Object{}, Session{}, &SignInError{CodeUnknownUser}
	case !user.Enabled:
		return Object{}, Session{}, &SignInError{CodeDisabled}
	case set == nil:
		return Object{}, Session{}, &SignInError{CodeNoPassword}
	case !right:
		return Object{}, Session{}, &SignInError{CodeWrongPassword}
	case set.MustChange:
		return Object{}, Session{}, &SignInError{CodeMustChangePassword}
	}
	return user, Session{User: user.ID, SignedIn: at.Truncate(time.Microsecond), Version: set.Version}, nil
}

// App verifies a client's secret: ErrNotFound or ErrBadSecret where it is not good.
func (s *Service) App(ctx context.Context, clientID ID, secret string) (App, error) {
	app, err := s.Store.App(ctx, clientID)
	if err != nil {
		return App{}, err
	}
	sum := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(sum[:], app.SecretHash[:]) != 1 {
		return App{}, ErrBadSecret
	}
	return app, nil
}

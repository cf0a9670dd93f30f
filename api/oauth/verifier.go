package oauth

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate names, and names in another case

	"skyrealm/tenant"
)

// Verifier judges access tokens. It asks nobody: a token is good until it
// expires, as in the real service.
type Verifier struct {
	Signer *Signer
	Issuer Issuer
	Now    func() time.Time
}

// Errors of [Verifier.Verify]. They say as much as a caller may know.
var (
	ErrToken   = errors.New("oauth: the token is malformed, foreign or forged")
	ErrExpired = errors.New("oauth: the token has expired or is not yet valid")
)

const (
	// maxToken bounds the work on a hostile token (CVE-2025-22868). Ours have
	// under 2 kB.
	maxToken = 8 << 10
	// earlyBy is how far the clock of the replica that made a token may run
	// ahead of ours.
	earlyBy = time.Minute
)

// Verify returns the bearer of an access token.
func (v *Verifier) Verify(raw string) (*Caller, error) {
	// 1. Is it worth a look? Everything up to the signature is hostile.
	if len(raw) > maxToken || strings.Count(raw, ".") != 2 {
		return nil, ErrToken
	}
	jws, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{algorithm})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, ErrToken
	}
	// The kid chooses among our keys, of which there is one. It is never a path,
	// a URL or a query, and keys that a token brings (jwk, x5c, jku) are nothing.
	if jws.Signatures[0].Protected.KeyID != v.Signer.public.KeyID {
		return nil, ErrToken
	}

	// 2. Did we sign it?
	payload, err := jws.Verify(v.Signer.public.Key)
	if err != nil {
		return nil, ErrToken
	}

	// 3. Is it an access token for this API, of this tenant, for now? An id_token
	// carries our signature as well; its audience, issuer and version differ.
	var c accessClaims
	if err := json.Unmarshal(payload, &c); err != nil {
		return nil, ErrToken
	}
	if c.Version != "1.0" || c.Issuer != v.Issuer.access() || c.Tenant != v.Issuer.Tenant.String() ||
		!slices.Contains(audiences, c.Audience) {
		return nil, ErrToken
	}
	now := v.Now()
	if c.Expires == 0 || now.Unix() >= c.Expires || now.Add(earlyBy).Unix() < c.NotBefore {
		return nil, ErrExpired
	}

	// 4. Who is it?
	id, err := tenant.ParseID(c.Object)
	if err != nil {
		return nil, ErrToken
	}
	return &Caller{
		ID: id, IsApp: c.IDType == "app", ClientID: c.ClientID,
		Roles: c.Roles, Directory: c.DirectoryRoles, Scopes: strings.Fields(c.Scopes),
	}, nil
}

// Caller is the bearer of a good token.
type Caller struct {
	ID        tenant.ID // of the user, or the app's own
	IsApp     bool      // an app that acts as itself
	ClientID  string
	Roles     []string // app roles, where IsApp
	Directory []string // directory role template ids of a user
	Scopes    []string // what a user lets the client do
}

// Administers reports whether the caller is a Global Administrator, signed in.
func (c *Caller) Administers() bool {
	return !c.IsApp && slices.Contains(c.Directory, tenant.RoleGlobalAdministrator)
}

// HasRole reports whether the caller is an app with one of the roles.
func (c *Caller) HasRole(roles ...string) bool {
	return c.IsApp && slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(c.Roles, r) })
}

// HasScope reports whether the caller is a user whose client got one of the
// scopes. The rights that ".default" stands for hold them all.
func (c *Caller) HasScope(scopes ...string) bool {
	return !c.IsApp && (slices.Contains(c.Scopes, fullScope) ||
		slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(c.Scopes, s) }))
}

type callerKey struct{}

// With returns ctx carrying the caller.
func With(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From returns the caller of ctx. It panics where the request was not
// authenticated: a handler that was mounted outside of the check.
func From(ctx context.Context) *Caller { return ctx.Value(callerKey{}).(*Caller) }

package problem

import (
	"context"
	"slices"
	"strings"

	"skyrealm/tenant"
)

// FullScope is the scope of a client that may do all that its user may.
const FullScope = "Directory.AccessAsUser.All"

// Caller is who makes a request: the bearer of a good access token. It stands
// here because a surface knows no other one, and what it refuses depends on it.
type Caller struct {
	ID        tenant.ID // of the user, or the app's own
	IsApp     bool      // an app that acts as itself
	ClientID  string
	Audience  string   // the resource that the token is for, as the client named it
	Roles     []string // app roles, where IsApp
	Directory []string // directory role template ids of a user
	Scopes    []string // what a user lets the client do
}

// Name is who calls, for a record: an app's client id, a user's object id.
func (c *Caller) Name() string {
	if c.IsApp {
		return c.ClientID
	}
	return c.ID.String()
}

// Administers reports whether the caller is a Global Administrator, signed in.
func (c *Caller) Administers() bool {
	return !c.IsApp && slices.Contains(c.Directory, tenant.RoleGlobalAdministrator)
}

// ForSyncService reports whether the token is for the old directory API, which is
// what agents get one for (entra-wire §A2): the real sync service takes no other.
func (c *Caller) ForSyncService() bool {
	switch strings.TrimSuffix(c.Audience, "/") {
	case "https://graph.windows.net", "00000002-0000-0000-c000-000000000000":
		return true
	}
	return false
}

// HasRole reports whether the caller is an app with one of the roles.
func (c *Caller) HasRole(roles ...string) bool {
	return c.IsApp && slices.ContainsFunc(roles, func(r string) bool { return slices.Contains(c.Roles, r) })
}

// HasScope reports whether the caller is a user whose client got one of the
// scopes, or all of them.
func (c *Caller) HasScope(scopes ...string) bool {
	return !c.IsApp && (slices.Contains(c.Scopes, FullScope) ||
		slices.ContainsFunc(scopes, func(s string) bool { return slices.Contains(c.Scopes, s) }))
}

type callerKey struct{}

// WithCaller returns ctx carrying the caller.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf returns the caller of ctx. It panics where the request was not
// authenticated: a handler that was mounted outside of the check.
func CallerOf(ctx context.Context) *Caller { return ctx.Value(callerKey{}).(*Caller) }

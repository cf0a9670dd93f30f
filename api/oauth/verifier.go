package oauth

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate names, and names in another case

	"skyrealm/api/problem"
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
func (v *Verifier) Verify(raw string) (*problem.Caller, error) {
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
	// An id_token has no idtyp either, whatever its audience.
	if c.Version != "1.0" || c.IDType != "user" && c.IDType != "app" || c.Issuer != v.Issuer.access() || c.Tenant != v.Issuer.Tenant.String() ||
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
	return &problem.Caller{
		ID: id, IsApp: c.IDType == "app", ClientID: c.ClientID, Audience: c.Audience,
		Roles: c.Roles, Directory: c.DirectoryRoles, Scopes: strings.Fields(c.Scopes),
	}, nil
}

package oauth

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"skyrealm/tenant"
)

// refreshLifetime is how long a refresh token is good that nobody uses
// (tenant-api §4.5).
const refreshLifetime = 90 * 24 * time.Hour

// refresh is what a refresh token says. It is bound to a user and a client, and
// not to a resource: one is good for all that the client may ask for.
//
// Nothing is stored for it, so a refresh costs one read. Each use returns a new one
// and the old ones stay good.
//
// DIVERGES: from trust A03 and RFC 9700 §4.14.2 (one use, and a second one ends the
// family): the real service does not, and MSAL's processes that share a cache
// rely on it (tenant-api §4.5).
type refresh struct {
	session tenant.Session
	client  tenant.ID
	issued  time.Time
}

// The token is a version, a nonce, and the sealed fields: user, client, sign-in
// and issue (microseconds since 1970), credential version. It has no dot, so it is
// never taken for a JWS, and an access token is no sealed text under this key.
const (
	refreshVersion = 1
	refreshPlain   = 16 + 16 + 8 + 8 + 8
	refreshSize    = 1 + chacha20poly1305.NonceSizeX + refreshPlain + chacha20poly1305.Overhead
)

// errRefresh is a refresh token that is none, or not of this tenant and key.
var errRefresh = errors.New("oauth: the refresh token is malformed, foreign or forged")

var refreshText = base64.RawURLEncoding.Strict() // one text for one token

// newRefreshAEAD derives the key of refresh tokens from the signing key, so that
// replicas agree and there is no further secret to keep. The nonce of XChaCha20 is
// long enough to be drawn for as many tokens as there may ever be.
func newRefreshAEAD(key *rsa.PrivateKey) (cipher.AEAD, error) {
	secret, err := hkdf.Key(sha256.New, x509.MarshalPKCS1PrivateKey(key), nil, "skyrealm refresh token", chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return chacha20poly1305.NewX(secret)
}

// sealRefresh makes the token of r for a tenant.
func (s *Signer) sealRefresh(r *refresh, at tenant.ID, rand io.Reader) (string, error) {
	out := make([]byte, 1+chacha20poly1305.NonceSizeX, refreshSize)
	out[0] = refreshVersion
	if _, err := io.ReadFull(rand, out[1:]); err != nil {
		return "", err
	}
	plain := make([]byte, 0, refreshPlain)
	plain = append(append(plain, r.session.User[:]...), r.client[:]...)
	for _, n := range [...]int64{r.session.SignedIn.UnixMicro(), r.issued.UnixMicro(), r.session.Version} {
		plain = binary.BigEndian.AppendUint64(plain, uint64(n))
	}
	return refreshText.EncodeToString(s.refresh.Seal(out, out[1:], plain, at[:])), nil
}

// openRefresh reads a token of a tenant. The only error is errRefresh.
func (s *Signer) openRefresh(token string, at tenant.ID) (*refresh, error) {
	var raw [refreshSize]byte
	if len(token) != refreshText.EncodedLen(refreshSize) {
		return nil, errRefresh
	}
	if n, err := refreshText.Decode(raw[:], []byte(token)); err != nil || n != refreshSize || raw[0] != refreshVersion {
		return nil, errRefresh
	}
	sealed := 1 + chacha20poly1305.NonceSizeX
	plain, err := s.refresh.Open(nil, raw[1:sealed], raw[sealed:], at[:])
	if err != nil || len(plain) != refreshPlain {
		return nil, errRefresh
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(plain[32+8*i:])) }
	r := &refresh{issued: time.UnixMicro(number(1)).UTC()}
	r.session = tenant.Session{User: tenant.ID(plain[:16]), SignedIn: time.UnixMicro(number(0)).UTC(), Version: number(2)}
	r.client = tenant.ID(plain[16:32])
	return r, nil
}

// refreshToken is RFC 6749 §6.
func (h *Handler) refreshToken(ctx context.Context, req *request) (*tenant.Object, *oauthError) {
	token := req.form.Get("refresh_token")
	if token == "" {
		return nil, missing("refresh_token")
	}
	r, err := h.Signer.openRefresh(token, h.Issuer.Tenant)
	if err != nil || r.client != req.clientID {
		return nil, refuse("invalid_grant", 70000, "Provided grant is invalid or malformed.")
	}
	if !h.Now().Before(r.issued.Add(refreshLifetime)) {
		return nil, refuse("invalid_grant", 700082, "The refresh token has expired due to inactivity. The token was issued on "+
			r.issued.Format("2006-01-02T15:04:05.0000000Z")+" and was inactive for 90.00:00:00.")
	}
	return h.resume(ctx, req, r.session)
}

// resume goes on with a session, where it does go on.
func (h *Handler) resume(ctx context.Context, req *request, session tenant.Session) (*tenant.Object, *oauthError) {
	user, err := h.Tenant.Resume(ctx, session)
	if refused := (*tenant.SignInError)(nil); errors.As(err, &refused) {
		return nil, signInRefused(refused)
	}
	if err != nil {
		return nil, internal(err)
	}
	req.session = session
	return &user, nil
}

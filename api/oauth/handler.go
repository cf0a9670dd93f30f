package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// Handler is the sign-in surface. All fields are required.
type Handler struct {
	Tenant *tenant.Service
	Signer *Signer
	Issuer Issuer
	Limit  *Limiter
	Now    func() time.Time
	Rand   io.Reader
}

// request is a token request on its way through [Handler.Token].
type request struct {
	*http.Request
	form     url.Values
	v1       bool // at the v1.0 endpoint
	clientID tenant.ID
	secret   string
	app      *tenant.App // where the client has proven to be one of ours
	scopes   grantScopes
	source   string
	session  tenant.Session // of the user
	device   tenant.Session // where a device code was redeemed: of who approved it
}

// grant proves who the token is for: a user, with the request's session, or the
// app itself where it returns none. The shared checks have run before.
type grant func(h *Handler, ctx context.Context, req *request) (*tenant.Object, *oauthError)

// The names of grants that are asked about.
const (
	grantRefresh   = "refresh_token"
	grantDevice    = "urn:ietf:params:oauth:grant-type:device_code"
	grantDeviceOld = "device_code" // what Azure's older clients call it
)

var grants = map[string]grant{
	"password":           (*Handler).password,
	"client_credentials": (*Handler).clientCredentials,
	grantRefresh:         (*Handler).refreshToken,
	grantDevice:          (*Handler).deviceCode,
	grantDeviceOld:       (*Handler).deviceCode,
}

// Token is the token endpoint.
func (h *Handler) Token(w http.ResponseWriter, r *http.Request) { h.answer(w, r, false) }

// TokenV1 is that of the v1.0 endpoints: resource for scope, and numbers in
// strings.
func (h *Handler) TokenV1(w http.ResponseWriter, r *http.Request) { h.answer(w, r, true) }

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, v1 bool) {
	req, refusal := h.open(r, v1)
	var answer *tokenAnswer
	if refusal == nil {
		answer, refusal = h.token(r.Context(), req)
	}
	if refusal != nil {
		writeError(w, r, refusal)
		return
	}
	noStore(w)
	if v1 {
		problem.JSON(w, http.StatusOK, answer.v1(req))
		return
	}
	problem.JSON(w, http.StatusOK, answer)
}

type tokenAnswer struct {
	Type       string `json:"token_type"`
	Scope      string `json:"scope,omitempty"`
	Expires    int    `json:"expires_in"`
	ExtExpires int    `json:"ext_expires_in"`
	Access     string `json:"access_token"`
	Refresh    string `json:"refresh_token,omitempty"`
	ID         string `json:"id_token,omitempty"`
	ClientInfo string `json:"client_info,omitempty"`
	notBefore  int64
	notAfter   int64
}

// open reads what any of the endpoints is sent, up to the client.
func (h *Handler) open(r *http.Request, v1 bool) (*request, *oauthError) {
	// 1. Is it our tenant?
	if refusal := h.knows(r.Context(), r.PathValue("tenant")); refusal != nil {
		return nil, refusal
	}

	// 2. What is asked? Only the body counts: what stands in a URL ends up in logs.
	if err := r.ParseForm(); err != nil {
		// The parser's error quotes the body, which may be a password.
		e := refuse("invalid_request", 9002313, "Invalid request. Request is malformed or invalid.")
		if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
			e.Status = http.StatusRequestEntityTooLarge
		}
		return nil, e
	}
	return &request{Request: r, form: r.PostForm, v1: v1, source: source(r)}, nil
}

// token takes every request through the same steps, so that no grant can forget one.
func (h *Handler) token(ctx context.Context, req *request) (*tokenAnswer, *oauthError) {
	kind := req.form.Get("grant_type")
	prove := grants[kind]
	switch {
	case kind == "":
		return nil, missing("grant_type")
	case prove == nil:
		return nil, refuse("unsupported_grant_type", 70003, "The app requested an unsupported grant type '"+clip(kind)+"'.")
	}

	// 3. Which client asks, and is it the one it says?
	if refusal := h.client(ctx, req); refusal != nil {
		return nil, refusal
	}

	// 4. For what?
	scope, refusal := h.asked(ctx, req, kind)
	if refusal != nil {
		return nil, refusal
	}
	if req.scopes, refusal = readScopes(scope, req.Host); refusal != nil {
		return nil, refusal
	}

	// 5. For whom? The grant says.
	user, refusal := prove(h, ctx, req)
	if refusal != nil {
		return nil, refusal
	}

	// 6. Sign.
	now := h.Now()
	claims, err := h.Issuer.newAccess(now, h.Rand, req.scopes.audience)
	if err != nil {
		return nil, internal(err)
	}
	if user == nil {
		claims.app(req.app)
	} else {
		claims.user(user, req.clientID.String(), req.app != nil, req.scopes.granted)
	}
	answer := &tokenAnswer{Type: "Bearer", Expires: int(lifetime/time.Second) - 1, ExtExpires: int(lifetime/time.Second) - 1,
		notBefore: claims.NotBefore, notAfter: claims.Expires}
	if answer.Access, err = h.Signer.sign(&claims); err != nil {
		return nil, internal(err)
	}
	if user == nil {
		return answer, nil
	}
	answer.Scope = strings.Join(req.scopes.echo, " ")
	if req.scopes.offline || kind == grantRefresh {
		r := refresh{session: req.session, client: req.clientID, issued: now}
		if answer.Refresh, err = h.Signer.sealRefresh(&r, h.Issuer.Tenant, h.Rand); err != nil {
			return nil, internal(err)
		}
	}
	if req.scopes.openID {
		if answer.ID, err = h.idToken(req, user, now); err != nil {
			return nil, internal(err)
		}
	}
	if req.form.Get("client_info") == "1" {
		answer.ClientInfo = base64.RawURLEncoding.EncodeToString(
			[]byte(`{"uid":"` + user.ID.String() + `","utid":"` + h.Issuer.Tenant.String() + `"}`))
	}
	return answer, nil
}

// asked returns the scopes that a request is about. A device said so when it asked
// for its code.
func (h *Handler) asked(ctx context.Context, req *request, kind string) (string, *oauthError) {
	scope := req.form.Get("scope")
	switch {
	case kind == grantDevice || kind == grantDeviceOld:
		return h.redeem(ctx, req)
	case req.v1:
		return resourceScope(req.form.Get("resource"), scope)
	case scope == "" && kind == grantRefresh: // RFC 6749 §6: it may be left out
		return graphURI + "/.default openid profile", nil
	case scope == "":
		return "", missing("scope")
	}
	return scope, nil
}

// client identifies the client. Any GUID is taken as a public client: directory
// tools use many well-known ones. An app of ours has to prove itself.
func (h *Handler) client(ctx context.Context, req *request) *oauthError {
	name := req.form.Get("client_id")
	req.secret = req.form.Get("client_secret")
	if id, secret, ok := req.BasicAuth(); ok { // RFC 6749 §2.3.1: both form-encoded
		var err1, err2 error
		name, err1 = url.QueryUnescape(id)
		req.secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return badClient(7000215, "Invalid client secret provided.")
		}
	}
	if name == "" {
		return missing("client_id")
	}
	id, err := tenant.ParseID(name)
	if err != nil || id.String() == graphID || id.String() == aadID {
		// A resource is no client: an id_token for one would have the audience
		// of an access token.
		return h.unknownApp(name)
	}
	req.clientID = id
	if req.secret != "" {
		if wait := h.Limit.wait(req.source, id.String(), h.Now()); wait > 0 {
			return throttled(wait)
		}
	}
	app, err := h.Tenant.App(ctx, id, req.secret)
	switch {
	case err == nil:
		req.app = &app
	case errors.Is(err, tenant.ErrBadSecret) && req.secret == "":
		return badClient(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	case errors.Is(err, tenant.ErrBadSecret):
		return badClient(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '"+id.String()+"'.")
	case !errors.Is(err, tenant.ErrNotFound):
		return internal(err)
	case req.secret != "":
		return badClient(700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	}
	return nil
}

func (h *Handler) unknownApp(id string) *oauthError {
	return refuse("unauthorized_client", 700016, "Application with identifier '"+clip(id)+"' was not found in the directory '"+h.Issuer.Domain+"'.")
}

// password is RFC 6749 §4.3.
func (h *Handler) password(ctx context.Context, req *request) (*tenant.Object, *oauthError) {
	name, password := strings.TrimSpace(req.form.Get("username")), req.form.Get("password")
	switch {
	case name == "":
		return nil, missing("username")
	case password == "":
		return nil, missing("password")
	}
	if wait := h.Limit.wait(req.source, strings.ToLower(name), h.Now()); wait > 0 {
		return nil, throttled(wait)
	}
	user, session, err := h.Tenant.SignIn(ctx, name, password)
	if refused := (*tenant.SignInError)(nil); errors.As(err, &refused) {
		return nil, signInRefused(refused)
	}
	if err != nil {
		return nil, internal(err)
	}
	req.session = session
	return &user, nil
}

// clientCredentials is RFC 6749 §4.4.
func (h *Handler) clientCredentials(_ context.Context, req *request) (*tenant.Object, *oauthError) {
	if req.app == nil {
		return nil, h.unknownApp(req.clientID.String())
	}
	if !req.scopes.onlyApp { // MSAL adds openid and its kin even here (§1.3)
		return nil, badScope(req.form.Get("scope"))
	}
	return nil, nil
}

func (h *Handler) idToken(req *request, user *tenant.Object, now time.Time) (string, error) {
	id, err := tokenID(h.Rand)
	if err != nil {
		return "", err
	}
	client := req.clientID.String()
	claims := &idClaims{
		Audience: client, Issuer: "https://" + safeHost(req.Request) + "/" + h.Issuer.Tenant.String() + "/v2.0",
		Issued: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(lifetime).Unix(),
		Name: user.Profile.DisplayName, Object: user.ID.String(), Username: user.UPN,
		Subject: pairwise(user.ID.String(), client), Tenant: h.Issuer.Tenant.String(),
		TokenID: id, Version: "2.0",
	}
	if req.v1 {
		claims.Version, claims.Issuer, claims.Username = "1.0", h.Issuer.access(), ""
		claims.UPN, claims.UniqueName = user.UPN, user.UPN // what ADAL calls the user
	}
	return h.Signer.sign(claims)
}

// knows refuses a tenant segment that does not name this tenant.
func (h *Handler) knows(ctx context.Context, segment string) *oauthError {
	switch lower := strings.ToLower(segment); {
	case lower == "common", lower == "organizations",
		lower == h.Issuer.Tenant.String(), lower == strings.ToLower(h.Issuer.Domain):
		return nil
	}
	c, err := h.Tenant.Configuration(ctx)
	if err != nil {
		return internal(err)
	}
	for _, d := range c.VerifiedDomains {
		if strings.EqualFold(d, segment) {
			return nil
		}
	}
	return unknownTenant(segment)
}

// source is what attempts are counted by: the peer's address. A header that a
// client can write is not asked.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

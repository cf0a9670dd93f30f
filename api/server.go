// Package api is the HTTP edge of the tenant: it mounts the surfaces, decides
// who calls them, bounds what they read and answers for what they do not catch.
// Each surface is a package below it; what they refuse, [problem] words.
//
// References: §5 of the design (paths, error shapes, limits); tenant-api §1.
package api

import (
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"skyrealm/api/graph"
	"skyrealm/api/managed"
	"skyrealm/api/oauth"
	"skyrealm/api/problem"
	"skyrealm/api/provisioning"
	"skyrealm/api/sync"
	"skyrealm/tenant"
)

// Limits of the listener (§7 of the design; trust B3, F10).
const (
	maxBody         = 16 << 20
	maxForm         = 1 << 20
	maxPage         = 64 << 10
	maxHeader       = 64 << 10
	readHeaderTime  = 10 * time.Second
	readTime        = 60 * time.Second
	writeTime       = 90 * time.Second // longer than the longest wait for a USN
	idleTime        = 120 * time.Second
	drainTime       = 8 * time.Second
	maxStreams      = 250
	readyTime       = 5 * time.Second
	maxRoutePattern = 100
)

// Server is the tenant's HTTP server. All fields are required but the functions
// below Rand.
type Server struct {
	Tenant  *tenant.Service
	Key     *rsa.PrivateKey // signs tokens; replicas share it
	Log     *slog.Logger
	Metrics *prometheus.Registry
	Now     func() time.Time
	Rand    io.Reader

	// Reached waits until the managed domain has followed the tenant up to a
	// USN; nil where this process has no part in it.
	Reached func(ctx context.Context, usn tenant.USN) error
	// Forms tells which forms of a user's password the managed domain holds; nil
	// where this process has none.
	Forms func(user tenant.ID) []tenant.Form
	// WorkTime is how long a request may take that has been read, where it is not
	// 0, instead of [workTime].
	WorkTime time.Duration
	// MaxConns is how many connections may be open, where it is not 0, instead of
	// [maxConns].
	MaxConns int
	// Certify issues certificates that sign users in to the managed domain; nil
	// where the key for it is kept elsewhere.
	Certify graph.Certify
	// KDCProxy answers Kerberos messages of clients that reach no other port; nil
	// where this process has no part in the domain.
	KDCProxy KDCProxy
	// Managed administers the managed domain; nil where this process has none.
	Managed *managed.Handler
	// Ready returns why this process can't serve now; nil is always ready.
	Ready func(ctx context.Context) error
}

// Handler returns the handler of all surfaces. The tenant has to exist. ctx
// bounds the handler's life: when it ends, those who wait for a USN are sent away.
func (s *Server) Handler(ctx context.Context) (http.Handler, error) {
	signer, err := oauth.NewSigner(s.Key)
	if err != nil {
		return nil, err
	}
	config, err := s.Tenant.Configuration(ctx)
	if err != nil {
		return nil, err
	}
	issuer := oauth.Issuer{Tenant: config.TenantID, Domain: config.InitialDomain}
	metrics, err := newMetrics(s.Metrics)
	if err != nil {
		return nil, err
	}
	e := &edge{
		Server:   s,
		metrics:  metrics,
		verifier: &oauth.Verifier{Signer: signer, Issuer: issuer, Now: s.Now},
	}
	signIn := &oauth.Handler{Tenant: s.Tenant, Signer: signer, Issuer: issuer, Limit: oauth.NewLimiter(), Now: s.Now, Rand: s.Rand}
	agents := &sync.Handler{Tenant: s.Tenant, Now: s.Now, Reached: until(ctx, s.Reached), Forms: s.Forms, StoreTime: s.WorkTime, Stopping: ctx.Done()}
	return fold(e.mount(signIn, &graph.Handler{Tenant: s.Tenant, Certify: s.Certify, Log: s.Log}, agents)), nil
}

// mount is the table of contents. Paths stand in lower case; [fold] has brought
// every request there.
func (e *edge) mount(signIn *oauth.Handler, directory *graph.Handler, agents *sync.Handler) http.Handler {
	root := chi.NewRouter()
	root.Use(e.identify, recovered(problem.Write))
	root.NotFound(notFound)
	root.MethodNotAllowed(methodNotAllowed)

	// Operations.
	root.Get("/healthz", e.healthy)
	root.Get("/readyz", e.ready)
	root.Method(http.MethodGet, "/metrics", promhttp.HandlerFor(e.Metrics, promhttp.HandlerOpts{}))

	// Sign-in. Errors are OAuth's below a tenant's oauth2.
	root.Route("/{tenant}/oauth2", func(r chi.Router) {
		r.Use(e.timed, recovered(oauth.Failed), bounded(maxForm, oauth.Failed))
		r.NotFound(oauth.NotFound)
		r.MethodNotAllowed(oauth.MethodNotAllowed)
		r.Post("/v2.0/token", signIn.Token)
		r.Post("/v2.0/devicecode", signIn.Device)
		r.Post("/token", signIn.TokenV1)
		r.Post("/devicecode", signIn.DeviceV1)
	})
	root.Route("/devicelogin", func(r chi.Router) {
		r.Use(e.timed, recovered(oauth.PageFailed), bounded(maxPage, oauth.PageFailed))
		r.Get("/", signIn.DevicePage)
		r.Post("/", signIn.DeviceForm)
	})
	root.Get(oauth.StylePath, oauth.Style)
	root.Get("/{tenant}/v2.0/.well-known/openid-configuration", signIn.Configuration)
	root.Get("/{tenant}/.well-known/openid-configuration", signIn.ConfigurationV1)
	root.Get("/{tenant}/discovery/v2.0/keys", signIn.Keys)
	root.Get("/{tenant}/discovery/keys", signIn.Keys)
	root.Get("/{tenant}/discovery/instance", signIn.Instance)
	root.Get("/{tenant}/userrealm", signIn.UserRealm)
	root.Get("/{tenant}/userrealm/{upn}", signIn.UserRealm)

	// Microsoft Graph.
	for _, version := range []string{"/v1.0", "/beta"} {
		root.Route(version, func(r chi.Router) {
			r.Use(e.timed, e.authenticate, bounded(maxBody, problem.Write))
			r.Get("/me", directory.Me)
			r.Post("/me/changepassword", directory.ChangePassword)
			r.Post("/me/revokesigninsessions", directory.RevokeMine)
			r.Post("/users/{key}/revokesigninsessions", directory.Revoke)
			r.Post("/users({key})/revokesigninsessions", directory.Revoke)
			r.Post("/users", directory.Create)
			r.Get("/users", directory.Users)
			r.Get("/groups", directory.Groups)
			r.Get("/devices", directory.Devices)
			r.Get("/users/{key}", directory.Get)
			r.Patch("/users/{key}", directory.Patch)
			r.Post("/users/{key}/certificates", directory.Certificate)
			r.Post("/users({key})/certificates", directory.Certificate)
			r.Get("/organization", directory.Organization)
			r.Get("/organization/{id}", directory.Organization)
			r.Patch("/organization/{id}", directory.PatchOrganization)
			r.Get("/directory/onpremisessynchronization", directory.Synchronization)
			r.Get("/directory/onpremisessynchronization/{id}", directory.Synchronization)
			r.Patch("/directory/onpremisessynchronization/{id}", directory.PatchSynchronization)
			r.Get("/users({key})", directory.Get)
			r.Patch("/users({key})", directory.Patch)
		})
	}

	// Sync agents.
	root.Route("/sync/v1", func(r chi.Router) {
		r.Use(e.authenticate, permit(sync.Allowed), bounded(sync.MaxBody, problem.Write))
		r.Get("/usn", agents.USN) // waits for as long as it is told, and not for the database
		r = r.With(e.timed)
		r.Get("/configuration", agents.Configuration)
		r.Get("/settings", agents.Settings)
		r.With(permit(sync.MaySet)).Patch("/settings", agents.PatchSettings)
		r.Post("/objects:batch", agents.Objects)
		r.Post("/passwordhashes:batch", agents.PasswordHashes)
		r.Post("/heartbeat", agents.Heartbeat)
		r.Get("/health", agents.Health)
		r.Get("/events", agents.Events)
		r.Post("/events", agents.Report)
		r.Get("/users/{key}/timeline", agents.Timeline)
	})
	// A stream has no length; what it holds at a time is bounded there.
	root.With(e.authenticate, permit(sync.Allowed), bounded(math.MaxInt64, problem.Write)).
		Post("/sync/v1/passwordhashes:stream", agents.Stream)

	root.With(bounded(maxProxy, problem.Write)).Post("/kdcproxy", e.kdcProxy)

	// The managed domain.
	if m := e.Managed; m != nil {
		root.Route("/domain/v1", func(r chi.Router) {
			r.Use(e.authenticate, permit(managed.Allowed), bounded(managed.MaxBody, problem.Write), e.timed)
			r.Get("/policy", m.GetPolicy)
			r.Patch("/policy", m.PatchPolicy)
			r.Post("/krbtgt:rotate", m.Roll)
			r.Get("/events", m.GetEvents)
		})
	}

	// Agents of the real service. The token is in the body; every answer is theirs.
	root.With(e.timed, recovered(provisioning.Failed), bounded(provisioning.MaxBody, provisioning.Failed)).
		Handle("/provisioningservice.svc", &provisioning.Handler{Tenant: e.Tenant, Authenticate: e.bearer})
	return root
}

// Serve answers on ln with what [Server.Handler] returned until ctx ends, then
// takes no more, lets the requests in flight finish and returns nil. config
// holds the certificate. It asks the database for nothing.
func (s *Server) Serve(ctx context.Context, ln net.Listener, config *tls.Config, handler http.Handler) error {
	config = config.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	config.NextProtos = []string{"h2", "http/1.1"}
	places := newPlaces(ln, cmp.Or(s.MaxConns, maxConns))
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         config,
		ReadHeaderTimeout: readHeaderTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ConnState:         places.changed,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug), // handshakes of scanners
	}
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		drained <- server.Shutdown(last)
	})
	err := server.ServeTLS(places, "", "")
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err // the listener failed
	}
	if err := <-drained; err != nil {
		_ = server.Close() // whoever did not finish in time is cut off
		return err
	}
	return nil
}

// until makes reached end with the server, too.
func until(server context.Context, reached func(context.Context, tenant.USN) error) func(context.Context, tenant.USN) error {
	if reached == nil {
		return nil
	}
	return func(ctx context.Context, usn tenant.USN) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(server, cancel)()
		return reached(ctx, usn)
	}
}

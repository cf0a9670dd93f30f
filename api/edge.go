package api

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"skyrealm/api/oauth"
	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// edge is what the surfaces share.
type edge struct {
	*Server
	metrics  *metrics
	verifier *oauth.Verifier
}

type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(registry *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skyrealm_http_requests_total", Help: "HTTP requests by route and status."}, []string{"route", "method", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "skyrealm_http_request_seconds", Help: "Time from a request's header to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15)}, []string{"route"}),
	}
	return m, errors.Join(registry.Register(m.requests), registry.Register(m.seconds))
}

// fold brings a path to the one form that routes have: lower case, as the real
// service does not tell cases apart (/common/UserRealm and /common/userrealm are
// both in use), single slashes, as a base address with a slash at its end makes
// double ones and a redirect would lose the body of a POST, and none at the end.
func fold(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.ToLower(r.URL.Path)
		for strings.Contains(path, "//") {
			path = strings.ReplaceAll(path, "//", "/")
		}
		if len(path) > 1 {
			path = strings.TrimSuffix(path, "/")
		}
		folded := *r
		url := *r.URL
		url.Path, url.RawPath = path, ""
		folded.URL = &url
		next.ServeHTTP(w, &folded)
	})
}

// writer remembers what was answered.
type writer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// identify gives the request its identity, and the log and the metrics their
// line. Query, headers and body stay out of both: they hold passwords.
func (e *edge) identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := e.Now()
		id, err := tenant.NewID(e.Rand)
		if err != nil {
			e.Log.Error("no randomness", "error", err)
			problem.Bytes(rw, http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":""}}`))
			return
		}
		req := &problem.Request{ID: id.String(), ClientID: clientRequestID(r), Date: start, Log: e.Log}
		h := rw.Header()
		h.Set("request-id", req.ID)
		h.Set("x-ms-request-id", req.ID) // what the sign-in host calls it
		if req.ClientID != "" {
			h.Set("client-request-id", req.ClientID)
		}
		h.Set("X-Content-Type-Options", "nosniff")

		w := &writer{ResponseWriter: rw}
		r = r.WithContext(problem.With(r.Context(), req))
		next.ServeHTTP(w, r)

		route, took := pattern(r), e.Now().Sub(start)
		if w.status == 0 {
			w.status = http.StatusOK
		}
		e.metrics.requests.WithLabelValues(route, method(r.Method), strconv.Itoa(w.status)).Inc()
		e.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
		e.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
			slog.String("request", req.ID), slog.String("method", method(r.Method)), slog.String("route", route),
			slog.Int("status", w.status), slog.Int64("bytes", w.bytes),
			slog.Duration("took", took), slog.String("from", r.RemoteAddr))
	})
}

// clientRequestID returns the caller's own, from the header or, as msal-node
// does it, the query. Only a GUID is repeated.
func clientRequestID(r *http.Request) string {
	text := r.Header.Get("client-request-id")
	if text == "" {
		text = r.URL.Query().Get("client-request-id")
	}
	id, err := tenant.ParseID(text)
	if err != nil {
		return ""
	}
	return id.String()
}

// pattern names the route, and not the path: that would be a label without bound.
func pattern(r *http.Request) string {
	p := chi.RouteContext(r.Context()).RoutePattern()
	if p == "" || strings.HasSuffix(p, "*") || len(p) > maxRoutePattern {
		return "unknown"
	}
	return p
}

func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "OTHER"
}

// failure answers an error in the shape of a surface.
type failure func(http.ResponseWriter, *http.Request, error)

// recovered answers panics.
func recovered(failed failure) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer func() {
				v := recover()
				if v == nil {
					return
				}
				if v == http.ErrAbortHandler {
					panic(v)
				}
				err := fmt.Errorf("panic: %v\n%s", v, debug.Stack())
				if written, ok := w.(*writer); ok && written.status != 0 {
					problem.Log(r, http.StatusInternalServerError, err)
					panic(http.ErrAbortHandler) // the answer has begun: cut it, so that it does not look whole
				}
				failed(w, r, err)
			}()
			next.ServeHTTP(w, r)
		})
	}
}

// bounded limits the body, inflated and not.
func bounded(limit int64, failed failure) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := bound(w, r, limit); err != nil {
				failed(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// bound limits r's body. Graph's Go SDK compresses every body (tenant-api §0.5);
// the limit holds for what comes out, so a bomb costs no more than its size.
func bound(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit}
	}
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	switch strings.ToLower(r.Header.Get("Content-Encoding")) {
	case "", "identity":
		return nil
	case "gzip":
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			return problem.BadRequest("The request body is no gzip.")
		}
		r.Body = http.MaxBytesReader(w, inflated{z, r.Body}, limit)
		r.ContentLength = -1
		r.Header.Del("Content-Encoding")
		return nil
	}
	return &problem.Error{Status: http.StatusUnsupportedMediaType, Code: "UnsupportedMediaType",
		Message: "A request body is sent plain or with Content-Encoding gzip."}
}

type inflated struct {
	*gzip.Reader
	under io.Closer
}

func (i inflated) Close() error { return errors.Join(i.Reader.Close(), i.under.Close()) }

// authenticate lets a request pass that carries a good access token.
func (e *edge) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		token = strings.TrimSpace(token)
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			problem.Write(w, r, problem.Unauthorized("Access token is empty."))
			return
		}
		caller, err := e.bearer(r, token)
		switch {
		case errors.Is(err, oauth.ErrExpired):
			problem.Write(w, r, problem.Unauthorized("Access token has expired or is not yet valid."))
			return
		case err != nil:
			problem.Write(w, r, problem.Unauthorized("Access token validation failure."))
			return
		}
		next.ServeHTTP(w, r.WithContext(problem.WithCaller(r.Context(), caller)))
	})
}

// bearer returns who has the token.
func (e *edge) bearer(r *http.Request, token string) (*problem.Caller, error) {
	caller, err := e.verifier.Verify(token)
	if err != nil && !errors.Is(err, oauth.ErrExpired) {
		// Forged or foreign: the tenant's own log has to know (A01).
		e.Log.Warn("access token refused", "request", problem.From(r.Context()).ID, "from", r.RemoteAddr)
	}
	return caller, err
}

// permit lets those callers pass that may use a surface.
func permit(may func(*problem.Caller) bool) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !may(problem.CallerOf(r.Context())) {
				problem.Write(w, r, problem.Forbidden())
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func (e *edge) healthy(w http.ResponseWriter, _ *http.Request) {
	problem.JSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (e *edge) ready(w http.ResponseWriter, r *http.Request) {
	if e.Ready != nil {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := e.Ready(ctx); err != nil {
			e.Log.Warn("not ready", "error", err)
			problem.JSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
			return
		}
	}
	problem.JSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// notFound answers an unknown route in Graph's shape: a plain text breaks the
// Graph SDK (tenant-api §1.4).
func notFound(w http.ResponseWriter, r *http.Request) {
	segment := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if len(segment) > 100 {
		segment = segment[:100]
	}
	problem.Write(w, r, &problem.Error{Status: http.StatusNotFound, Code: "ResourceNotFound",
		Message: "Resource not found for the segment '" + segment + "'."})
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request) {
	problem.Write(w, r, &problem.Error{Status: http.StatusMethodNotAllowed, Code: "Request_BadRequest",
		Message: "Specified HTTP method is not allowed for the request target."})
}

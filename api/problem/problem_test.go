package problem

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"skyrealm/tenant"
)

func TestOf(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
		code   string
		again  bool
	}{
		{tenant.ErrUnavailable, 503, "ServiceUnavailable", true},
		{tenant.ErrNoTenant, 503, "ServiceUnavailable", true},
		{context.DeadlineExceeded, 503, "ServiceUnavailable", true},
		{tenant.ErrConflict, 409, "Directory_ConcurrencyViolation", true},
		{tenant.ErrNotFound, 404, "Request_ResourceNotFound", false},
		{tenant.ErrDirSyncOff, 403, "DirectorySyncNotActivated", false},
		{tenant.ErrPasswordSyncOff, 403, "PasswordSyncNotActivated", false},
		{tenant.ErrBatchTooLarge, 413, "BatchTooLarge", false},
		{tenant.ErrUPNTaken, 400, "Request_BadRequest", false},
		{tenant.ErrWrongPassword, 400, "Request_BadRequest", false},
		{tenant.ErrSyncedPassword, 400, "Request_BadRequest", false},
		{&tenant.PolicyError{Reason: "short"}, 400, "Request_BadRequest", false},
		{&tenant.InvalidError{Property: "p", Message: "m"}, 400, "Request_BadRequest", false},
		{&http.MaxBytesError{Limit: 1}, 413, "RequestEntityTooLarge", false},
		{errors.New("anything else"), 500, "InternalServerError", false},
	} {
		p := Of(fmt.Errorf("wrapped: %w", test.err))
		if p.Status != test.status || p.Code != test.code || p.RetryAfter > 0 != test.again {
			t.Errorf("%v: %+v", test.err, p)
		}
	}
}

// TestInside: what an unknown error says stays in the log, where it stands once,
// under the request-id that the caller got.
func TestInside(t *testing.T) {
	var log bytes.Buffer
	r := httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(With(r.Context(), &Request{ID: "the-id", Date: time.Unix(0, 0), Log: slog.New(slog.NewTextHandler(&log, nil))}))
	w := httptest.NewRecorder()
	Write(w, r, errors.New("the-canary"))
	if w.Code != 500 || strings.Contains(w.Body.String(), "the-canary") || !strings.Contains(w.Body.String(), "the-id") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if s := log.String(); strings.Count(s, "the-canary") != 1 || !strings.Contains(s, "the-id") {
		t.Errorf("log %s", s)
	}
	log.Reset()
	Write(httptest.NewRecorder(), r, tenant.ErrUPNTaken)
	if log.Len() != 0 {
		t.Errorf("a refusal is logged: %s", &log)
	}
	w = httptest.NewRecorder()
	Write(w, r, tenant.ErrUnavailable)
	if w.Header().Get("Retry-After") != "2" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
	if RetryAfter(1100*time.Millisecond) != "2" || RetryAfter(time.Millisecond) != "1" {
		t.Error("pauses are not rounded up")
	}
}

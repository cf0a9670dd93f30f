// Package problem owns what a caller is told when a request is refused: the
// error shape of Microsoft Graph, the one function that turns an error of the
// rules into it, and what that depends on: the request's identity, which both log
// and answer name, and its [Caller].
//
// What [Of] does not know becomes "internal": its text goes to the log, once,
// and never to the caller.
//
// References: tenant-api §2.8 (envelope, codes and the sentences that clients
// match with regular expressions).
package problem

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"skyrealm/tenant"
)

// Error is a refusal as the caller sees it.
type Error struct {
	Status        int
	Code          string
	Message       string
	Target        string        // the property that is wrong, "" for none
	Detail        string        // the code that goes with Target
	DetailMessage string        // what is wrong with Target
	RetryAfter    time.Duration // 0: no such header
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// BadRequest returns a 400 with Graph's general code.
func BadRequest(message string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: "Request_BadRequest", Message: message}
}

// Forbidden returns the refusal of a caller who is known and may not.
func Forbidden() *Error {
	return &Error{Status: http.StatusForbidden, Code: "Authorization_RequestDenied",
		Message: "Insufficient privileges to complete the operation."}
}

// NotFound returns the refusal that names an object. HashiCorp's SDK matches
// the sentence.
func NotFound(key string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "Request_ResourceNotFound",
		Message: "Resource '" + key + "' does not exist or one of its queried reference-property objects are not present."}
}

// Unauthorized returns the refusal of a caller without a good token.
func Unauthorized(message string) *Error {
	return &Error{Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken", Message: message}
}

// Of maps an error to what the caller is told. It is the only such place.
func Of(err error) *Error {
	var (
		known   *Error
		tooBig  *http.MaxBytesError
		policy  *tenant.PolicyError
		invalid *tenant.InvalidError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooBig):
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "RequestEntityTooLarge",
			Message: "The request body is larger than " + strconv.FormatInt(tooBig.Limit, 10) + " bytes."}

	case errors.As(err, &policy):
		return &Error{Status: http.StatusBadRequest, Code: "Request_BadRequest",
			Message: "The specified password does not comply with password complexity requirements. Please provide a different password.",
			Target:  "password", Detail: "InvalidPassword", DetailMessage: policy.Reason}
	case errors.As(err, &invalid):
		return &Error{Status: http.StatusBadRequest, Code: "Request_BadRequest", Message: "One or more property values specified are invalid.",
			Target: invalid.Property, Detail: "InvalidValue", DetailMessage: invalid.Message}
	case errors.Is(err, tenant.ErrUPNTaken):
		return &Error{Status: http.StatusBadRequest, Code: "Request_BadRequest",
			Message: "Another object with the same value for property userPrincipalName already exists.",
			Target:  "userPrincipalName", Detail: "ObjectConflict", DetailMessage: "the name belongs to another object"}
	case errors.Is(err, tenant.ErrWrongPassword):
		return BadRequest("The specified current password is not correct.")
	case errors.Is(err, tenant.ErrSyncedPassword):
		return BadRequest("Unable to update the specified properties for on-premises mastered Directory Sync objects or objects currently undergoing migration.")
	case errors.Is(err, tenant.ErrNotFound):
		return &Error{Status: http.StatusNotFound, Code: "Request_ResourceNotFound", Message: "Resource not found."}

	case errors.Is(err, tenant.ErrDirSyncOff):
		return &Error{Status: http.StatusForbidden, Code: "DirectorySyncNotActivated",
			Message: "Identity synchronization is not yet activated for this company."}
	case errors.Is(err, tenant.ErrPasswordSyncOff):
		return &Error{Status: http.StatusForbidden, Code: "PasswordSyncNotActivated",
			Message: "Password Synchronization has not been activated for this company."}
	case errors.Is(err, tenant.ErrBatchTooLarge):
		return &Error{Status: http.StatusRequestEntityTooLarge, Code: "BatchTooLarge",
			Message: "A batch holds at most " + strconv.Itoa(tenant.MaxBatchItems) + " items."}

	case errors.Is(err, tenant.ErrConflict):
		// The rules have read again and decided again already; what is left is a
		// writer that kept winning, and waiting helps.
		return &Error{Status: http.StatusConflict, Code: "Directory_ConcurrencyViolation",
			Message: "Another write changed the same object. Send the request again.", RetryAfter: time.Second}
	case errors.Is(err, tenant.ErrUnavailable), errors.Is(err, tenant.ErrNoTenant),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable",
			Message: "The service is not available now. Send the request again.", RetryAfter: 2 * time.Second}
	}
	return &Error{Status: http.StatusInternalServerError, Code: "InternalServerError",
		Message: "An error occurred on the server. The log has it under the request-id."}
}

// Request says which request an answer and a log line belong to.
type Request struct {
	ID       string // ours, a GUID
	ClientID string // the caller's client-request-id, where it is a GUID
	Date     time.Time
	Log      *slog.Logger
}

// Correlation is the id that a caller looks for: the own one, or ours.
func (r *Request) Correlation() string {
	if r.ClientID != "" {
		return r.ClientID
	}
	return r.ID
}

type requestKey struct{}

// With returns ctx carrying req.
func With(ctx context.Context, req *Request) context.Context {
	return context.WithValue(ctx, requestKey{}, req)
}

// From returns the request of ctx. It panics outside of one: a handler that the
// server did not mount.
func From(ctx context.Context) *Request { return ctx.Value(requestKey{}).(*Request) }

// Write answers err in Graph's shape, and logs it where the fault is ours.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	req, p := From(r.Context()), Of(err)
	Log(r, p.Status, err)

	type detail struct {
		Code    string `json:"code"`
		Target  string `json:"target"`
		Message string `json:"message"`
	}
	type inner struct {
		Date     string `json:"date"`
		ID       string `json:"request-id"`
		ClientID string `json:"client-request-id"`
	}
	var body struct {
		Error struct {
			Code    string   `json:"code"`
			Message string   `json:"message"`
			Details []detail `json:"details,omitempty"`
			Inner   inner    `json:"innerError"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = p.Code, p.Message
	if p.Target != "" {
		body.Error.Details = []detail{{p.Detail, p.Target, p.DetailMessage}}
	}
	body.Error.Inner = inner{req.Date.UTC().Format("2006-01-02T15:04:05"), req.ID, req.Correlation()}
	if p.Status == http.StatusUnauthorized {
		// RFC 6750 §3: a client learns the scheme from here.
		w.Header().Set("WWW-Authenticate", `Bearer realm="", error="invalid_token"`)
	}
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", RetryAfter(p.RetryAfter))
	}
	w.Header().Set("Cache-Control", "no-store")
	JSON(w, p.Status, body)
}

// Log writes err to the log where status says that the fault is ours.
func Log(r *http.Request, status int, err error) {
	if status < 500 {
		return
	}
	req := From(r.Context())
	level := slog.LevelError
	if r.Context().Err() != nil { // the caller has gone; nobody is to be woken for it
		level = slog.LevelDebug
	}
	req.Log.Log(r.Context(), level, "request failed", "request", req.ID, "status", status, "error", err)
}

// RetryAfter renders a pause for the header, in whole seconds and at least one.
func RetryAfter(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}

// JSON answers v.
func JSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil { // our own types always marshal
		panic(err)
	}
	Bytes(w, status, b)
}

// Bytes answers a body that is JSON already.
func Bytes(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone; the access log says so
}

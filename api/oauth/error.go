package oauth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// oauthError is a refusal in Entra's token error shape (tenant-api §4.4).
type oauthError struct {
	Status     int
	Type       string // the "error" member
	Code       int    // AADSTS
	Text       string
	Sub        string // the "suberror" member
	RetryAfter time.Duration
	cause      error // for the log
}

func (e *oauthError) Error() string { return fmt.Sprintf("oauth: %s, AADSTS%d", e.Type, e.Code) }

func refuse(kind string, code int, text string) *oauthError {
	return &oauthError{Status: http.StatusBadRequest, Type: kind, Code: code, Text: text}
}

func missing(parameter string) *oauthError {
	return refuse("invalid_request", 900144, "The request body must contain the following parameter: '"+parameter+"'.")
}

func badScope(scope string) *oauthError {
	return refuse("invalid_scope", 70011, "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope "+clip(scope)+" is not valid.")
}

func badResource(name string) *oauthError {
	return refuse("invalid_resource", 500011, "The resource principal named "+clip(name)+" was not found in the tenant. Check that the application has been installed by the administrator of the tenant.")
}

const codeUnknownTenant = 90002

func unknownTenant(name string) *oauthError {
	return refuse("invalid_request", codeUnknownTenant, "Tenant '"+clip(name)+"' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.")
}

// devicePoll says what Entra says to a device that polls (RFC 8628 §3.5, with names
// of its own).
func devicePoll(err error) *oauthError {
	switch {
	case errors.Is(err, tenant.ErrDevicePending):
		return refuse("authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	case errors.Is(err, tenant.ErrDeviceDeclined):
		return refuse("authorization_declined", 65004, "User declined to consent to access the app.")
	case errors.Is(err, tenant.ErrDeviceExpired):
		return refuse("expired_token", 70019, "Verification code expired.")
	case errors.Is(err, tenant.ErrNotFound):
		return refuse("bad_verification_code", 70018, "Invalid verification code.")
	}
	return internal(err)
}

func badClient(code int, text string) *oauthError {
	e := refuse("invalid_client", code, text)
	e.Status = http.StatusUnauthorized
	return e
}

func throttled(wait time.Duration) *oauthError {
	e := refuse("temporarily_unavailable", 90055, "Too many sign-in attempts. Wait and try again.")
	e.Status, e.RetryAfter = http.StatusTooManyRequests, wait
	return e
}

// clip bounds what an answer repeats of a request.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200]
	}
	return s
}

// signInText says what Entra says to the refusals of a sign-in.
var signInText = map[int]string{
	tenant.CodeWrongPassword:      "Error validating credentials due to invalid username or password.",
	tenant.CodeUnknownUser:        "The user account does not exist in the directory. To sign into this application, the account must be added to the directory.",
	tenant.CodeNoPassword:         "Invalid or null password: password does not exist in the directory for this user.",
	tenant.CodeDisabled:           "The user account is disabled.",
	tenant.CodeMustChangePassword: "The password is expired.",
	tenant.CodeRevoked:            "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password.",
}

func signInRefused(e *tenant.SignInError) *oauthError {
	text := signInText[e.Code]
	if text == "" {
		text = "The sign-in was refused."
	}
	out := refuse("invalid_grant", e.Code, text)
	switch e.Code {
	case tenant.CodeMustChangePassword:
		out.Sub = "user_password_expired"
	case tenant.CodeRevoked:
		out.Sub = "bad_token"
	}
	return out
}

// internal maps an error of the rules that is no refusal, by the one function
// that knows them.
func internal(err error) *oauthError {
	p := problem.Of(err)
	out := &oauthError{Status: p.Status, Type: "server_error", Code: 90033, RetryAfter: p.RetryAfter, cause: err,
		Text: "A transient error has occurred. Please try again."}
	if p.Status == http.StatusServiceUnavailable {
		out.Type = "temporarily_unavailable"
	}
	return out
}

func writeError(w http.ResponseWriter, r *http.Request, e *oauthError) {
	req := problem.From(r.Context())
	problem.Log(r, e.Status, e.cause)
	correlation := req.Correlation()
	at := req.Date.UTC().Format("2006-01-02 15:04:05Z")
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", problem.RetryAfter(e.RetryAfter))
	}
	if e.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`) // RFC 6749 §5.2
	}
	noStore(w)
	problem.JSON(w, e.Status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		Timestamp   string `json:"timestamp"`
		Trace       string `json:"trace_id"`
		Correlation string `json:"correlation_id"`
		URI         string `json:"error_uri"`
		Sub         string `json:"suberror,omitempty"`
	}{
		e.Type,
		fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s", e.Code, e.Text, req.ID, correlation, at),
		[]int{e.Code}, at, req.ID, correlation,
		fmt.Sprintf("https://%s/error?code=%d", safeHost(r), e.Code), e.Sub,
	})
}

// NotFound answers an unknown route below a tenant's oauth2 path.
func NotFound(w http.ResponseWriter, r *http.Request) {
	e := refuse("invalid_request", 9002313, "Invalid request. Request is malformed or invalid.")
	e.Status = http.StatusNotFound
	writeError(w, r, e)
}

// MethodNotAllowed answers the wrong verb there.
func MethodNotAllowed(w http.ResponseWriter, r *http.Request) {
	e := refuse("invalid_request", 900561, "The endpoint only accepts POST requests. Received a "+clip(r.Method)+" request.")
	e.Status = http.StatusMethodNotAllowed
	w.Header().Set("Allow", http.MethodPost)
	writeError(w, r, e)
}

// Failed answers an error that arose before a handler could, such as a panic or
// a body that is no gzip.
func Failed(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err)
	if p.Status < 500 {
		e := refuse("invalid_request", 9002313, "Invalid request. Request is malformed or invalid.")
		e.Status = p.Status
		writeError(w, r, e)
		return
	}
	writeError(w, r, internal(err))
}

func noStore(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store, no-cache") // RFC 6749 §5.1
	w.Header().Set("Pragma", "no-cache")
}

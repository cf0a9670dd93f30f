package oauth

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// pollInterval is how long a device is asked to wait between its polls.
const pollInterval = 5 * time.Second

// Device gives a device a code, and a shorter one for a person to type at
// [Handler.DevicePage] (RFC 8628 §3.1).
func (h *Handler) Device(w http.ResponseWriter, r *http.Request) { h.newDevice(w, r, false) }

// DeviceV1 is that of the v1.0 endpoints.
func (h *Handler) DeviceV1(w http.ResponseWriter, r *http.Request) { h.newDevice(w, r, true) }

func (h *Handler) newDevice(w http.ResponseWriter, r *http.Request, v1 bool) {
	code, d, refusal := h.wish(r, v1)
	if refusal != nil {
		writeError(w, r, refusal)
		return
	}
	page := "https://" + safeHost(r) + "/devicelogin"
	// Agents print the sentence, and scripts look for the code in it.
	message := "To sign in, use a web browser to open the page " + page + " and enter the code " + d.UserCode + " to authenticate."
	expires, interval := int(tenant.DeviceLifetime/time.Second), int(pollInterval/time.Second)
	noStore(w)
	if v1 {
		problem.JSON(w, http.StatusOK, struct {
			UserCode string `json:"user_code"`
			Code     string `json:"device_code"`
			Page     string `json:"verification_url"`
			Expires  string `json:"expires_in"`
			Interval string `json:"interval"`
			Message  string `json:"message"`
		}{d.UserCode, code, page, strconv.Itoa(expires), strconv.Itoa(interval), message})
		return
	}
	problem.JSON(w, http.StatusOK, struct {
		UserCode string `json:"user_code"`
		Code     string `json:"device_code"`
		Page     string `json:"verification_uri"`
		Expires  int    `json:"expires_in"`
		Interval int    `json:"interval"`
		Message  string `json:"message"`
	}{d.UserCode, code, page, expires, interval, message})
}

func (h *Handler) wish(r *http.Request, v1 bool) (code string, d tenant.DeviceCode, refusal *oauthError) {
	req, refusal := h.open(r, v1)
	if refusal != nil {
		return "", d, refusal
	}
	if refusal := h.client(r.Context(), req); refusal != nil {
		return "", d, refusal
	}
	scope := req.form.Get("scope")
	if v1 {
		scope, refusal = resourceScope(req.form.Get("resource"), scope)
	}
	switch {
	case refusal != nil:
		return "", d, refusal
	case scope == "":
		return "", d, missing("scope")
	case len(scope) > maxScope, !utf8.ValidString(scope), strings.ContainsRune(scope, 0): // text to the database
		return "", d, badScope(scope)
	}
	if _, refusal := readScopes(scope, r.Host); refusal != nil { // not when it is too late to ask anew
		return "", d, refusal
	}
	// Anyone may ask, and each wish is a row: what one source can leave is bounded.
	if wait := h.Limit.wait(req.source, "a device code", h.Now()); wait > 0 {
		return "", d, throttled(wait)
	}
	code, d, err := h.Tenant.NewDevice(r.Context(), req.clientID, scope)
	if err != nil {
		return "", d, internal(err)
	}
	return code, d, nil
}

// redeem takes a device's code, where it is approved, and returns the scopes that it
// was for. MSAL sends the code under both names, v1.0 clients as code only.
func (h *Handler) redeem(ctx context.Context, req *request) (scope string, refusal *oauthError) {
	code := req.form.Get("device_code")
	if code == "" {
		code = req.form.Get("code")
	}
	if code == "" {
		return "", missing("device_code")
	}
	d, err := h.Tenant.RedeemDevice(ctx, code, req.clientID)
	if err != nil {
		return "", devicePoll(err)
	}
	req.device = d.Session
	return d.Scope, nil
}

// deviceCode is RFC 8628 §3.4. Who approved it may have been disabled since.
func (h *Handler) deviceCode(ctx context.Context, req *request) (*tenant.Object, *oauthError) {
	return h.resume(ctx, req, req.device)
}

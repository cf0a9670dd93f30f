// Package managed is the administrator's surface for the managed domain: its
// lockout and password policy, the krbtgt's key, its security log. What happens
// is the domain's to say; this process may have no part in it, so the functions
// are given.
//
// References: docs of Domain Services (password policy); Graph's error shape.
package managed

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"skyrealm/api/problem"
)

// MaxBody is the longest request body.
const MaxBody = 64 << 10

// Policy is the domain's, as it stands on the wire: times in seconds.
type Policy struct {
	Threshold      *int   `json:"lockoutThreshold,omitempty"`
	Window         *int64 `json:"lockoutObservationSeconds,omitempty"`
	Duration       *int64 `json:"lockoutSeconds,omitempty"`
	MaxPasswordAge *int64 `json:"maxPasswordAgeSeconds,omitempty"`
}

// Event is a line of the security log.
type Event struct {
	Number     int64     `json:"number"`
	ID         uint16    `json:"eventId"`
	At         time.Time `json:"timeCreated"`
	Account    string    `json:"targetUserName"`
	SID        string    `json:"targetSid,omitempty"`
	Service    string    `json:"serviceName,omitempty"`
	ServiceSID string    `json:"serviceSid,omitempty"`
	Options    string    `json:"ticketOptions,omitempty"`
	EType      string    `json:"ticketEncryptionType,omitempty"`
	Status     string    `json:"status"`
	PreAuth    int32     `json:"preAuthType,omitempty"`
	Address    string    `json:"ipAddress,omitempty"`
	Port       uint16    `json:"ipPort,omitempty"`
}

// Handler serves below /domain/v1. All fields are required.
type Handler struct {
	Policy func() Policy
	// SetPolicy changes what is not nil. A refused value is a *problem.Error.
	SetPolicy func(ctx context.Context, change Policy) (Policy, error)
	// RollKrbtgt gives the krbtgt a new key.
	RollKrbtgt func(ctx context.Context) (kvno uint32, from time.Time, err error)
	Events     func(ctx context.Context, account string, id uint16, before int64, limit int) ([]Event, error)
}

// Allowed reports whether a caller may use the surface.
func Allowed(c *problem.Caller) bool { return c.Administers() && c.HasScope("Directory.ReadWrite.All") }

// GetPolicy is GET /policy.
func (h *Handler) GetPolicy(w http.ResponseWriter, _ *http.Request) {
	problem.JSON(w, http.StatusOK, h.Policy())
}

// PatchPolicy is PATCH /policy.
func (h *Handler) PatchPolicy(w http.ResponseWriter, r *http.Request) {
	var change Policy
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&change); err != nil {
		problem.Write(w, r, problem.BadRequest("The body is no policy: lockoutThreshold, lockoutObservationSeconds, lockoutSeconds, maxPasswordAgeSeconds."))
		return
	}
	p, err := h.SetPolicy(r.Context(), change)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	problem.JSON(w, http.StatusOK, p)
}

// Roll is POST /krbtgt:rotate.
func (h *Handler) Roll(w http.ResponseWriter, r *http.Request) {
	kvno, from, err := h.RollKrbtgt(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	problem.JSON(w, http.StatusOK, map[string]any{"kvno": kvno, "usedFrom": from.UTC().Format(time.RFC3339)})
}

// maxEvents are given at once.
const maxEvents = 1000

// GetEvents is GET /events: the newest first; before continues a list.
func (h *Handler) GetEvents(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	number := func(name string, most, otherwise int64) (int64, bool) {
		text := q.Get(name)
		if text == "" {
			return otherwise, true
		}
		n, err := strconv.ParseInt(text, 10, 64)
		return n, err == nil && n > 0 && n <= most
	}
	id, ok := number("id", 1<<15-1, 0)
	before, ok2 := number("before", 1<<62, 0)
	top, ok3 := number("top", maxEvents, 100)
	if !ok || !ok2 || !ok3 {
		problem.Write(w, r, problem.BadRequest("id, before and top (at most 1000) are positive numbers."))
		return
	}
	events, err := h.Events(r.Context(), q.Get("account"), uint16(id), before, int(top))
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	if events == nil {
		events = []Event{}
	}
	problem.JSON(w, http.StatusOK, map[string]any{"value": events})
}

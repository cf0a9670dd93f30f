package sync

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// MaxBody bounds a batch, after inflation.
const MaxBody = 4 << 20

// Bounds of the wait for a USN.
const (
	defaultWait = 30 * time.Second
	maxWait     = 60 * time.Second
)

// Handler is the surface. Reached waits until the managed domain has followed
// the tenant up to a USN; it is nil where this process has no part in it.
type Handler struct {
	Tenant  *tenant.Service
	Reached func(ctx context.Context, usn tenant.USN) error
	// Forms tells which forms of a user's password the domain holds; nil where
	// this process has no domain.
	Forms func(user tenant.ID) []tenant.Form
	Now   func() time.Time
	// StoreTime is how long a chunk of a stream may be in the database's hands,
	// where it is not 0, instead of [storeTime].
	StoreTime time.Duration
	// Stopping is closed when the server stops: streams then come to an end.
	Stopping <-chan struct{}

	streams atomic.Int32 // open ones
}

// Allowed is the surface's check of its caller: a registered agent, or an
// administrator.
func Allowed(c *problem.Caller) bool { return c.HasRole(tenant.RoleSync) || c.Administers() }

// Configuration is GET configuration.
func (h *Handler) Configuration(w http.ResponseWriter, r *http.Request) {
	c, err := h.Tenant.Configuration(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	var full *time.Time
	if !c.FullPasswordSync.IsZero() {
		full = &c.FullPasswordSync
	}
	type deletions tenant.Deletions
	type limits struct {
		Items int `json:"items"`
		Bytes int `json:"bytes"`
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, struct {
		TenantID        string          `json:"tenantId"`
		DisplayName     string          `json:"displayName"`
		InitialDomain   string          `json:"initialDomain"`
		VerifiedDomains []string        `json:"verifiedDomains"`
		Realm           string          `json:"realm"`
		DirSync         bool            `json:"directorySync"`
		PasswordSync    bool            `json:"passwordSync"`
		Features        int64           `json:"features"`
		ObjectSeconds   int             `json:"objectIntervalSeconds"`
		HashSeconds     int             `json:"hashIntervalSeconds"`
		LegacyHashes    bool            `json:"legacyHashes"`
		LegacyKey       json.RawMessage `json:"legacyKey,omitempty"`
		Certificate     []byte          `json:"legacyCertificate,omitempty"` // DER, for the envelopes of the real service's agents
		Limits          limits          `json:"limits"`
		// Now lets an agent with a wrong clock date its changes: a date in the
		// future is clamped on receipt, and what was sealed under it is lost.
		Now string `json:"now"`
		// FullPasswordSync: an agent whose last full password sync is older
		// sends every password again.
		FullPasswordSync *time.Time `json:"fullPasswordSync,omitempty"`
		Deletions        deletions  `json:"accidentalDeletionPrevention"`
	}{
		c.TenantID.String(), c.DisplayName, c.InitialDomain, c.VerifiedDomains, c.Realm,
		c.DirSync, c.PasswordSync, int64(c.Features),
		int(c.ObjectInterval / time.Second), int(c.HashInterval / time.Second),
		c.Legacy, c.DomainKey, c.EnvelopeCertificate, limits{c.MaxItems, MaxBody},
		h.Now().UTC().Format(time.RFC3339Nano),
		full, deletions(c.Deletions),
	})
}

// Objects is POST objects:batch.
func (h *Handler) Objects(w http.ResponseWriter, r *http.Request) {
	serve(w, r, decodeObjects, h.Tenant.SyncObjects)
}

// PasswordHashes is POST passwordHashes:batch.
func (h *Handler) PasswordHashes(w http.ResponseWriter, r *http.Request) {
	serve(w, r, decodeHashes, h.Tenant.SyncHashes)
}

func serve[T any](w http.ResponseWriter, r *http.Request, decode func(string) (*batch[T], error),
	store func(context.Context, tenant.Origin, []T) (tenant.BatchResult, error)) {
	body, err := readAll(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	b, err := decode(body)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	// Also without one good item: the rules say whether the tenant takes any.
	done, err := store(r.Context(), origin(r), b.good)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.Bytes(w, http.StatusOK, encode(done.USN, b.merge(done.Items)))
}

// headerBuild is where an agent says its build, as on the real service's wire
// (§A3 of the wire reference).
const headerBuild = "x-ms-aadmsods-dirsyncbuildnumber"

func origin(r *http.Request) tenant.Origin {
	return problem.OriginOf(r, problem.CallerOf(r.Context()), r.Header.Get(headerBuild))
}

// readAll returns the body, in one piece and uncopied. The mounting server has
// bounded it, so the length that a client claims is one that it may send.
func readAll(r *http.Request) (string, error) {
	var b strings.Builder
	if n := r.ContentLength; n > 0 && n <= MaxBody {
		b.Grow(int(n))
	}
	_, err := io.Copy(&b, r.Body)
	if err == nil {
		return b.String(), nil
	}
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return "", err
	}
	return "", &problem.Error{Status: http.StatusBadRequest, Code: "MalformedBatch", Message: "The body could not be read to its end."}
}

// encode writes the answer to a batch. By hand, as reading is: there are a
// thousand results in one.
func encode(usn tenant.USN, results []tenant.ItemResult) []byte {
	b := make([]byte, 0, 64+160*len(results))
	b = append(b, `{"usn":`...)
	b = strconv.AppendInt(b, int64(usn), 10)
	b = append(b, `,"results":[`...)
	for i := range results {
		one := &results[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = quote(append(b, `{"sourceAnchor":`...), one.Anchor)
		if one.Reason.OK() {
			b = append(b, `,"status":"ok","reason":`...)
		} else {
			b = append(b, `,"status":"error","reason":`...)
		}
		b = quote(b, string(one.Reason))
		if one.Detail != "" {
			b = quote(append(b, `,"detail":`...), one.Detail)
		}
		if !one.ID.IsZero() {
			b = quote(append(b, `,"id":`...), one.ID.String())
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// quote appends s as a JSON string.
func quote(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			text, _ := json.Marshal(s) // a string always marshals
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// USN is GET usn?reached=N&timeout=30s: it answers when the managed domain has
// taken in the tenant's changes up to N, or when the time is up.
func (h *Handler) USN(w http.ResponseWriter, r *http.Request) {
	if h.Reached == nil {
		problem.Write(w, r, &problem.Error{Status: http.StatusNotImplemented, Code: "DomainNotHere",
			Message: "This process does not follow the managed domain."})
		return
	}
	query := r.URL.Query()
	usn, err := strconv.ParseInt(query.Get("reached"), 10, 64)
	wait := defaultWait
	if text := query.Get("timeout"); text != "" && err == nil {
		wait, err = time.ParseDuration(text)
	}
	if err != nil || usn < 0 || wait < 0 || wait > maxWait {
		problem.Write(w, r, problem.BadRequest("reached has to be a USN, and timeout a duration up to 60s."))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	err = h.Reached(ctx, tenant.USN(usn))
	if err != nil && ctx.Err() == nil {
		problem.Write(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, struct {
		USN     int64 `json:"usn"`
		Reached bool  `json:"reached"`
	}{usn, err == nil})
}

package graph

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// Organization is GET /organization and GET /organization/{id}.
func (h *Handler) Organization(w http.ResponseWriter, r *http.Request) {
	c, err := h.Tenant.Configuration(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	id := chi.URLParam(r, "id")
	if id != "" && !strings.EqualFold(id, c.TenantID.String()) {
		problem.Write(w, r, named(tenant.ErrNotFound, id))
		return
	}
	health, err := h.Tenant.Health(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	domains := make([]map[string]any, 0, len(c.VerifiedDomains))
	for _, d := range c.VerifiedDomains {
		initial := strings.EqualFold(d, c.InitialDomain)
		domains = append(domains, map[string]any{"name": d, "type": "Managed", "isInitial": initial, "isDefault": initial,
			"capabilities": "Email, OfficeCommunicationsOnline"})
	}
	one := map[string]any{
		"id": c.TenantID.String(), "displayName": c.DisplayName, "verifiedDomains": domains,
		"onPremisesSyncEnabled":              c.DirSync,
		"onPremisesLastSyncDateTime":         stamp(health.ObjectSync),
		"onPremisesLastPasswordSyncDateTime": stamp(health.Activity.PasswordSync),
	}
	if id == "" {
		problem.JSON(w, http.StatusOK, map[string]any{"value": []any{one}})
		return
	}
	problem.JSON(w, http.StatusOK, one)
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.Format(time.RFC3339)
}

// PatchOrganization is PATCH /organization/{id}: directory sync on or off.
func (h *Handler) PatchOrganization(w http.ResponseWriter, r *http.Request) {
	var body struct {
		DirSync *bool `json:"onPremisesSyncEnabled"` // the decoder takes it in any case, as agents send it
	}
	if !h.administers(w, r, &body) {
		return
	}
	if body.DirSync == nil {
		problem.Write(w, r, problem.BadRequest("Only onPremisesSyncEnabled can be updated here."))
		return
	}
	done(w, r, h.Tenant.SetDirSync(r.Context(), *body.DirSync))
}

// Synchronization is GET /directory/onPremisesSynchronization[/{id}].
func (h *Handler) Synchronization(w http.ResponseWriter, r *http.Request) {
	c, err := h.Tenant.Configuration(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	id := chi.URLParam(r, "id")
	if id != "" && !strings.EqualFold(id, c.TenantID.String()) {
		problem.Write(w, r, named(tenant.ErrNotFound, id))
		return
	}
	features := make(map[string]bool, len(tenant.FeatureNames))
	for name, bit := range tenant.FeatureNames {
		features[name] = c.Features.Has(bit)
	}
	one := map[string]any{"id": c.TenantID.String(), "features": features,
		"configuration": map[string]any{"accidentalDeletionPrevention": c.Deletions}}
	if id == "" {
		problem.JSON(w, http.StatusOK, map[string]any{"value": []any{one}})
		return
	}
	problem.JSON(w, http.StatusOK, one)
}

// PatchSynchronization is PATCH /directory/onPremisesSynchronization/{id}. What
// the body does not name stays.
func (h *Handler) PatchSynchronization(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Features      map[string]*bool `json:"features"`
		Configuration struct {
			Deletions *struct {
				Prevention *string `json:"synchronizationPreventionType"`
				Threshold  *int    `json:"alertThreshold"`
			} `json:"accidentalDeletionPrevention"`
		} `json:"configuration"`
	}
	if !h.administers(w, r, &body) {
		return
	}
	var values, mask tenant.Features
	for name, on := range body.Features {
		bit, ok := feature(name)
		if !ok {
			problem.Write(w, r, problem.BadRequest("There is no feature of the name '"+name+"'."))
			return
		}
		if on == nil {
			continue
		}
		mask |= bit
		if *on {
			values |= bit
		}
	}
	if mask != 0 {
		if err := h.Tenant.SetFeatures(r.Context(), values, mask); err != nil {
			done(w, r, err)
			return
		}
	}
	if d := body.Configuration.Deletions; d != nil {
		c, err := h.Tenant.Configuration(r.Context())
		if err != nil {
			problem.Write(w, r, err)
			return
		}
		next := c.Deletions
		if d.Prevention != nil {
			next.Prevention = *d.Prevention
		}
		if d.Threshold != nil {
			next.Threshold = *d.Threshold
		}
		done(w, r, h.Tenant.SetDeletions(r.Context(), next))
		return
	}
	done(w, r, nil)
}

func feature(name string) (tenant.Features, bool) {
	for n, bit := range tenant.FeatureNames {
		if strings.EqualFold(n, name) {
			return bit, true
		}
	}
	return 0, false
}

// administers reads the body of a caller who may change the tenant: an
// administrator, signed in. The real service takes these from no app.
func (h *Handler) administers(w http.ResponseWriter, r *http.Request, body any) bool {
	c := problem.CallerOf(r.Context())
	if !c.Administers() || !c.HasScope("Organization.ReadWrite.All", "OnPremDirectorySynchronization.ReadWrite.All", "Directory.ReadWrite.All") {
		problem.Write(w, r, problem.Forbidden())
		return false
	}
	if id := chi.URLParam(r, "id"); id != "" {
		config, err := h.Tenant.Configuration(r.Context())
		if err == nil && !strings.EqualFold(id, config.TenantID.String()) {
			err = named(tenant.ErrNotFound, id)
		}
		if err != nil {
			problem.Write(w, r, err)
			return false
		}
	}
	if err := decode(w, r, body); err != nil {
		problem.Write(w, r, err)
		return false
	}
	return true
}

func done(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *tenant.InvalidError
	switch {
	case errors.Is(err, tenant.ErrWriteback):
		problem.Write(w, r, problem.BadRequest("passwordWritebackEnabled is not in use, and can't be updated."))
	case errors.As(err, &invalid):
		problem.Write(w, r, problem.BadRequest(invalid.Property+": "+invalid.Message+"."))
	case err != nil:
		problem.Write(w, r, err)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

package sync

import (
	"encoding/json"
	"io"
	"net/http"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// MaySet is the surface's check of who may change settings: an administrator,
// through a client that has the scope.
func MaySet(c *problem.Caller) bool {
	return c.Administers() && c.HasScope("Organization.ReadWrite.All", "Directory.ReadWrite.All")
}

// switches are those of password sync that Graph has no name for.
type switches struct {
	DomainServices *bool `json:"domainServices"`
	NTLM           *bool `json:"syncNtlmPasswords"` // as Domain Services calls it (EDS/secure-your-domain)
	SyncRevokes    *bool `json:"passwordSyncRevokesRefreshTokens"`
}

// Settings is GET settings.
func (h *Handler) Settings(w http.ResponseWriter, r *http.Request) {
	set, err := h.Tenant.Store.Settings(r.Context())
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	ntlm := !set.NTLMOff
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusOK, switches{&set.DomainServices, &ntlm, &set.SyncRevokes})
}

// PatchSettings is PATCH settings, of those that are named, all or none.
func (h *Handler) PatchSettings(w http.ResponseWriter, r *http.Request) {
	body := json.NewDecoder(r.Body)
	body.DisallowUnknownFields() // what is not done must not look as if it were
	var to switches
	if err := body.Decode(&to); err != nil || body.Decode(new(any)) != io.EOF {
		problem.Write(w, r, problem.BadRequest("The body has to be a JSON object of domainServices, syncNtlmPasswords and passwordSyncRevokesRefreshTokens, each true or false."))
		return
	}
	if err := h.Tenant.Switch(r.Context(), tenant.Switches(to)); err != nil {
		problem.Write(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

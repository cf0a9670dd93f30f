package graph

import (
	"net/http"

	"skyrealm/api/problem"
)

// revokers are the permissions of Graph's reference for revokeSignInSessions.
var revokers = []string{"User.RevokeSessions.All", "User.ReadWrite.All", "Directory.ReadWrite.All"}

// RevokeMine is POST /me/revokeSignInSessions.
func (h *Handler) RevokeMine(w http.ResponseWriter, r *http.Request) {
	caller := problem.CallerOf(r.Context())
	if caller.IsApp {
		problem.Write(w, r, problem.BadRequest("/me request is only valid with delegated authentication flow."))
		return
	}
	h.revoke(w, r, caller.ID.String())
}

// Revoke is POST /users/{key}/revokeSignInSessions.
func (h *Handler) Revoke(w http.ResponseWriter, r *http.Request) { h.revoke(w, r, key(r)) }

// revoke ends a user's sessions: refresh tokens from before are refused.
func (h *Handler) revoke(w http.ResponseWriter, r *http.Request, name string) {
	caller := problem.CallerOf(r.Context())
	if !caller.HasRole(revokers...) && !caller.HasScope(revokers...) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	user, err := h.Tenant.User(r.Context(), name)
	if err == nil {
		if !caller.IsApp && caller.ID != user.ID && !caller.Administers() {
			problem.Write(w, r, problem.Forbidden())
			return
		}
		err = h.Tenant.EndSessions(r.Context(), user.ID)
	}
	if err != nil {
		problem.Write(w, r, named(err, name))
		return
	}
	problem.JSON(w, http.StatusOK, struct {
		Context string `json:"@odata.context"`
		Value   bool   `json:"value"`
	}{root(r) + "/$metadata#Edm.Boolean", true})
}

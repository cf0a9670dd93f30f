package graph

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// maxEntity bounds one user or one password in a body.
const maxEntity = 1 << 20

// usnHeader tells the USN of a write, so that a client can wait for it to have
// arrived in the managed domain.
const usnHeader = "X-Skyrealm-Usn"

// The app roles and scopes of Graph's permissions reference that count here.
var (
	readUsers  = []string{"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"}
	writeUsers = []string{"User.ReadWrite.All", "Directory.ReadWrite.All"}
	ownSecret  = []string{"Directory.AccessAsUser.All", "User-PasswordProfile.ReadWrite.All"}
)

// Handler is the surface.
type Handler struct {
	Tenant  *tenant.Service
	Certify Certify // nil: no certificates are issued here
	Log     *slog.Logger
}

// mayWrite reports whether the caller may write users: an app with the role, or
// an administrator through a client that got the scope.
func mayWrite(c *problem.Caller) bool {
	return c.HasRole(writeUsers...) || c.Administers() && c.HasScope(writeUsers...)
}

// Me is GET /me.
func (h *Handler) Me(w http.ResponseWriter, r *http.Request) {
	caller := problem.CallerOf(r.Context())
	if caller.IsApp {
		problem.Write(w, r, problem.BadRequest("/me request is only valid with delegated authentication flow."))
		return
	}
	h.read(w, r, caller.ID.String())
}

// Get is GET /users/{key}.
func (h *Handler) Get(w http.ResponseWriter, r *http.Request) {
	// Every member may read the directory; an app needs the role.
	if caller := problem.CallerOf(r.Context()); caller.IsApp && !caller.HasRole(readUsers...) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	h.read(w, r, key(r))
}

func (h *Handler) read(w http.ResponseWriter, r *http.Request, key string) {
	show, err := selected(r)
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	user, err := h.Tenant.User(r.Context(), key)
	if err != nil {
		problem.Write(w, r, named(err, key))
		return
	}
	write(w, r, http.StatusOK, &user, show)
}

// Create is POST /users.
func (h *Handler) Create(w http.ResponseWriter, r *http.Request) {
	if !mayWrite(problem.CallerOf(r.Context())) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	var body struct {
		AccountEnabled    *bool            `json:"accountEnabled"`
		UserPrincipalName string           `json:"userPrincipalName"`
		PasswordProfile   *passwordProfile `json:"passwordProfile"`

		DisplayName       string   `json:"displayName"`
		MailNickname      string   `json:"mailNickname"`
		GivenName         string   `json:"givenName"`
		Surname           string   `json:"surname"`
		JobTitle          string   `json:"jobTitle"`
		Department        string   `json:"department"`
		CompanyName       string   `json:"companyName"`
		EmployeeID        string   `json:"employeeId"`
		EmployeeType      string   `json:"employeeType"`
		Mail              string   `json:"mail"`
		BusinessPhones    []string `json:"businessPhones"`
		MobilePhone       string   `json:"mobilePhone"`
		FaxNumber         string   `json:"faxNumber"`
		StreetAddress     string   `json:"streetAddress"`
		City              string   `json:"city"`
		State             string   `json:"state"`
		PostalCode        string   `json:"postalCode"`
		Country           string   `json:"country"`
		OfficeLocation    string   `json:"officeLocation"`
		PreferredLanguage string   `json:"preferredLanguage"`
		UsageLocation     string   `json:"usageLocation"`
		UserType          string   `json:"userType"`
		PasswordPolicies  string   `json:"passwordPolicies"`
	}
	if err := decode(w, r, &body); err != nil {
		problem.Write(w, r, err)
		return
	}
	switch { // entra-wire §F: the five that a user can't be without
	case body.AccountEnabled == nil:
		problem.Write(w, r, required("accountEnabled"))
		return
	case body.UserPrincipalName == "":
		problem.Write(w, r, required("userPrincipalName"))
		return
	case body.PasswordProfile == nil || body.PasswordProfile.Password == nil:
		problem.Write(w, r, required("passwordProfile"))
		return
	}
	user, usn, err := h.Tenant.CreateUser(r.Context(), tenant.NewUser{
		UPN: body.UserPrincipalName, Password: *body.PasswordProfile.Password,
		Enabled: *body.AccountEnabled, MustChange: body.PasswordProfile.mustChange(),
		Profile: tenant.Profile{
			DisplayName: body.DisplayName, MailNickname: body.MailNickname,
			GivenName: body.GivenName, Surname: body.Surname, JobTitle: body.JobTitle, Department: body.Department,
			CompanyName: body.CompanyName, EmployeeID: body.EmployeeID, EmployeeType: body.EmployeeType, Mail: body.Mail,
			BusinessPhones: body.BusinessPhones, MobilePhone: body.MobilePhone, FaxNumber: body.FaxNumber,
			StreetAddress: body.StreetAddress, City: body.City, State: body.State, PostalCode: body.PostalCode,
			Country: body.Country, OfficeLocation: body.OfficeLocation, PreferredLanguage: body.PreferredLanguage,
			UsageLocation: body.UsageLocation, UserType: body.UserType, PasswordPolicies: body.PasswordPolicies,
		},
	})
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	tellUSN(w, usn)
	w.Header().Set("Location", root(r)+"/users/"+user.ID.String())
	write(w, r, http.StatusCreated, &user, properties[:defaults])
}

// ChangePassword is POST /me/changePassword.
func (h *Handler) ChangePassword(w http.ResponseWriter, r *http.Request) {
	caller := problem.CallerOf(r.Context())
	if !caller.HasScope(ownSecret...) { // so no app that acts as itself
		problem.Write(w, r, problem.Forbidden())
		return
	}
	var body struct {
		Current *string `json:"currentPassword"`
		New     *string `json:"newPassword"`
	}
	if err := decode(w, r, &body); err != nil {
		problem.Write(w, r, err)
		return
	}
	switch {
	case body.Current == nil:
		problem.Write(w, r, required("currentPassword"))
		return
	case body.New == nil:
		problem.Write(w, r, required("newPassword"))
		return
	}
	usn, err := h.Tenant.ChangePassword(r.Context(), caller.ID, *body.Current, *body.New)
	if err != nil {
		problem.Write(w, r, named(err, caller.ID.String()))
		return
	}
	tellUSN(w, usn)
	w.WriteHeader(http.StatusNoContent)
}

// Patch is PATCH /users/{key}, which takes passwordProfile only: an
// administrator's reset.
func (h *Handler) Patch(w http.ResponseWriter, r *http.Request) {
	if !mayWrite(problem.CallerOf(r.Context())) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	var body map[string]json.RawMessage
	if err := decode(w, r, &body); err != nil {
		problem.Write(w, r, err)
		return
	}
	var profile *passwordProfile
	for name, raw := range body {
		switch {
		case strings.HasPrefix(name, "@odata."):
		case strings.EqualFold(name, "passwordProfile"):
			if json.Unmarshal(raw, &profile) != nil {
				problem.Write(w, r, malformed)
				return
			}
		default:
			// A write that is not done must not look as if it were.
			problem.Write(w, r, &problem.Error{Status: http.StatusNotImplemented, Code: "NotImplemented",
				Message: "Only passwordProfile can be updated here."})
			return
		}
	}
	if profile == nil || profile.Password == nil {
		problem.Write(w, r, required("passwordProfile"))
		return
	}
	name := key(r)
	user, err := h.Tenant.User(r.Context(), name)
	if err != nil {
		problem.Write(w, r, named(err, name))
		return
	}
	usn, err := h.Tenant.ResetPassword(r.Context(), user.ID, *profile.Password, profile.mustChange())
	if err != nil {
		problem.Write(w, r, named(err, name))
		return
	}
	tellUSN(w, usn)
	w.WriteHeader(http.StatusNoContent)
}

// passwordProfile is Graph's. The password is plain here, on its way into the
// rules; the type has no other use.
type passwordProfile struct {
	Password *string `json:"password"`
	Force    *bool   `json:"forceChangePasswordNextSignIn"`
	ForceMFA *bool   `json:"forceChangePasswordNextSignInWithMfa"`
}

// mustChange: not said is yes, as Graph's reference has it for new passwords.
func (p *passwordProfile) mustChange() bool {
	return p.Force == nil || *p.Force || p.ForceMFA != nil && *p.ForceMFA
}

// malformed is all that is said of a body that can't be read: what the parser
// says quotes it.
var malformed = problem.BadRequest("Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format.")

// decode reads a body. encoding/json matches names without regard to case and
// takes null as unset, which is what the surface promises.
func decode(w http.ResponseWriter, r *http.Request, into any) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEntity))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		return err
	}
	if err != nil || json.Unmarshal(raw, into) != nil {
		return malformed
	}
	return nil
}

// required is Graph's refusal of a missing property.
func required(name string) *problem.Error {
	return &problem.Error{Status: http.StatusBadRequest, Code: "Request_BadRequest",
		Message: "A value is required for property '" + name + "' of resource 'User'.",
		Target:  name, Detail: "PropertyRequired", DetailMessage: "the property has no value"}
}

// named gives a missing object its name in the sentence that clients match.
func named(err error, key string) error {
	if errors.Is(err, tenant.ErrNotFound) {
		if len(key) > 200 {
			key = key[:200]
		}
		return problem.NotFound(key)
	}
	return err
}

// key is the user that the path names: /users/KEY or /users('KEY').
func key(r *http.Request) string {
	k := r.PathValue("key")
	if len(k) >= 2 && k[0] == '\'' && k[len(k)-1] == '\'' {
		k = strings.ReplaceAll(k[1:len(k)-1], "''", "'")
	}
	return k
}

func tellUSN(w http.ResponseWriter, usn tenant.USN) {
	w.Header().Set(usnHeader, strconv.FormatInt(int64(usn), 10))
}

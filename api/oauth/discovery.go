package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"skyrealm/api/problem"
)

// wellKnownHosts are the sign-in hosts compiled into clients. A client that asks
// about one of them reached us through its resolver.
var wellKnownHosts = []string{"login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net"}

// safeHost returns the name that the client calls us by, for the URLs of an
// answer. Clients compare it with the authority they were given (tenant-api
// §1.2). Text that is no host and port becomes "localhost": it must not reach a
// URL that a person clicks.
func safeHost(r *http.Request) string {
	ok := r.Host != "" && len(r.Host) <= 255
	for _, c := range []byte(r.Host) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		ok = ok && (letter || strings.IndexByte(".-:[]", c) >= 0)
	}
	if !ok {
		return "localhost"
	}
	return r.Host
}

// public answers a document that any page may read (tenant-api §4.1: CORS). It
// names the host the client used, so no shared cache may keep it.
func public(w http.ResponseWriter, v any) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Cache-Control", "private, max-age=3600")
	problem.JSON(w, http.StatusOK, v)
}

type metadata struct {
	Issuer         string   `json:"issuer"`
	Authorization  string   `json:"authorization_endpoint"`
	Token          string   `json:"token_endpoint"`
	Device         string   `json:"device_authorization_endpoint"`
	Keys           string   `json:"jwks_uri"`
	AuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	Grants         []string `json:"grant_types_supported"`
	ResponseModes  []string `json:"response_modes_supported"`
	ResponseTypes  []string `json:"response_types_supported"`
	Scopes         []string `json:"scopes_supported"`
	SubjectTypes   []string `json:"subject_types_supported"`
	Algorithms     []string `json:"id_token_signing_alg_values_supported"`
	Claims         []string `json:"claims_supported"`
	RequestURI     bool     `json:"request_uri_parameter_supported"`
	CloudInstance  string   `json:"cloud_instance_name"`
	CloudGraphHost string   `json:"cloud_graph_host_name"`
	MSGraphHost    string   `json:"msgraph_host"`
}

// Configuration is the v2.0 openid-configuration (OIDC Discovery §3).
//
// DIVERGES: authorization_endpoint stands there because every MSAL refuses a
// document without it; the endpoint is not served yet.
func (h *Handler) Configuration(w http.ResponseWriter, r *http.Request) {
	h.configuration(w, r, "/oauth2/v2.0", "/discovery/v2.0/keys", func(host, tid string) string {
		return "https://" + host + "/" + tid + "/v2.0"
	})
}

// ConfigurationV1 is the same for the v1.0 endpoints, which issue under the name
// that stands in access tokens.
func (h *Handler) ConfigurationV1(w http.ResponseWriter, r *http.Request) {
	h.configuration(w, r, "/oauth2", "/discovery/keys", func(_, tid string) string {
		return "https://sts." + h.Issuer.Domain + "/" + tid + "/"
	})
}

func (h *Handler) configuration(w http.ResponseWriter, r *http.Request, endpoints, keys string, issuer func(host, tid string) string) {
	segment := strings.ToLower(r.PathValue("tenant"))
	if refusal := h.knows(r.Context(), segment); refusal != nil {
		if refusal.Code == codeUnknownTenant {
			refusal.Type = "invalid_tenant" // here; an agent that knows a domain only looks for it
		}
		writeError(w, r, refusal)
		return
	}
	host, tid := safeHost(r), h.Issuer.Tenant.String()
	if segment == "common" || segment == "organizations" {
		tid = "{tenantid}" // literally so: the client fills in the token's tid
	} else {
		// Whichever name was asked for: agents read the tenant's id from here, and
		// MSAL files its tokens under it (entra-wire §A1, §A2).
		segment = tid
	}
	base := "https://" + host + "/" + segment
	public(w, metadata{
		Issuer:        issuer(host, tid),
		Authorization: base + endpoints + "/authorize",
		Token:         base + endpoints + "/token",
		Device:        base + endpoints + "/devicecode",
		Keys:          base + keys,
		AuthMethods:   []string{"client_secret_post", "client_secret_basic"},
		Grants:        []string{"password", "client_credentials", grantRefresh, grantDevice},
		// Required by OIDC Discovery; the values of the real service.
		ResponseModes: []string{"query", "fragment", "form_post"},
		ResponseTypes: []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:        []string{"openid", "profile", "email", "offline_access"},
		SubjectTypes:  []string{"pairwise"},
		Algorithms:    []string{string(algorithm)},
		Claims:        []string{"sub", "iss", "aud", "exp", "iat", "nbf", "name", "oid", "preferred_username", "tid", "uti", "ver"},
		CloudInstance: host, CloudGraphHost: host, MSGraphHost: host,
	})
}

// Keys is the key set that tokens verify with.
func (h *Handler) Keys(w http.ResponseWriter, r *http.Request) {
	if refusal := h.knows(r.Context(), r.PathValue("tenant")); refusal != nil {
		writeError(w, r, refusal)
		return
	}
	public(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{h.Signer.public}})
}

// UserRealm says how a user signs in: always here, with a password. MSAL needs
// each of the members, and asks another server for "Federated". The name stands in
// the path, or in the query as older clients have it.
func (h *Handler) UserRealm(w http.ResponseWriter, r *http.Request) {
	upn := r.PathValue("upn")
	if upn == "" {
		upn = r.URL.Query().Get("user")
	}
	_, domain, _ := strings.Cut(upn, "@")
	public(w, struct {
		Version  string `json:"ver"`
		Account  string `json:"account_type"`
		Domain   string `json:"domain_name"`
		Cloud    string `json:"cloud_instance_name"`
		Audience string `json:"cloud_audience_urn"`
	}{"1.0", "Managed", clip(domain), safeHost(r), "urn:federation:MicrosoftOnline"})
}

// Instance answers instance discovery: is the host of authorization_endpoint an
// authority, and where is its document? The answer is about that host and not
// about the one asked, else the Azure CLI moves over to it (tenant-api §1.2).
func (h *Handler) Instance(w http.ResponseWriter, r *http.Request) {
	u, err := url.Parse(r.URL.Query().Get("authorization_endpoint"))
	host := safeHost(r)
	if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, host) && !slices.Contains(wellKnownHosts, strings.ToLower(u.Host)) {
		writeError(w, r, refuse("invalid_instance", 50049, "Unknown or invalid instance."))
		return
	}
	segment, _, _ := strings.Cut(strings.TrimLeft(u.Path, "/"), "/")
	type entry struct {
		Network string   `json:"preferred_network"`
		Cache   string   `json:"preferred_cache"`
		Aliases []string `json:"aliases"`
	}
	public(w, struct {
		Endpoint string  `json:"tenant_discovery_endpoint"`
		Version  string  `json:"api-version"`
		Metadata []entry `json:"metadata"`
	}{
		"https://" + u.Host + "/" + url.PathEscape(segment) + "/v2.0/.well-known/openid-configuration", "1.1",
		[]entry{{u.Host, u.Host, []string{u.Host}}},
	})
}

package provisioning

import (
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"skyrealm/api/problem"
	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// MaxBody bounds a request, after inflation.
const MaxBody = 4 << 20

// Namespaces of bodies, beside [nbfx.NSChange] (§A6 of the wire reference).
const (
	nsObjects     = "http://schemas.microsoft.com/online/aws/change/2014/06"
	nsCredentials = "http://schemas.datacontract.org/2004/07/Microsoft.Online.Coexistence.Schema"
	nsArrays      = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"
	nsXSD         = "http://www.w3.org/2001/XMLSchema"
	actions       = nbfx.NSChange + "/IProvisioningWebService/"
)

// Handler is the surface. Authenticate judges an access token, which here comes
// inside the message and in no header.
type Handler struct {
	Tenant       *tenant.Service
	Authenticate func(r *http.Request, token string) (*problem.Caller, error)

	large atomic.Int32 // requests over largeBody that are being served
}

// The token is inside the message, so anybody can have one decoded, and the worst
// of 4 MB becomes a tree of 50 (A12). Few may at once; an agent that is told to
// come again does.
const (
	largeBody = 256 << 10
	maxLarge  = 8
)

// call is one request of an agent that may make it.
type call struct {
	*Handler
	r    *http.Request
	body *nbfx.Element
	from tenant.Origin
}

// An operation does what a request asks and returns what writes the content of
// its response element.
type operation struct {
	do func(*call) (func(*nbfx.Writer), error)
	// admin: for administrators alone. An agent that could make accounts for
	// agents would outlive its own.
	admin bool
}

var operations = map[string]operation{
	"GetCompanyConfiguration":     {do: (*call).companyConfiguration},
	"SetCompanyDirsyncFeatures":   {do: (*call).setFeatures},
	"ProvisionAzureADSyncObjects": {do: func(c *call) (func(*nbfx.Writer), error) { return c.objects("ProvisionAzureADSyncObjectsResult") }},
	// The second version may say of a group's members who comes and who goes.
	"ProvisionAzureADSyncObjects2": {do: func(c *call) (func(*nbfx.Writer), error) { return c.objects("ProvisionAzureADSyncObjects2Result") }},
	"ProvisionCredentials":         {do: (*call).credentials},
	"ReadBackAzureADSyncObjects":   {do: func(c *call) (func(*nbfx.Writer), error) { return c.readBack("ReadBackAzureADSyncObjectsResult", true) }},
	"ReadBackAzureADSyncObjects2": {do: func(c *call) (func(*nbfx.Writer), error) {
		return c.readBack("ReadBackAzureADSyncObjects2Result", false)
	}},
	"FinalizeExport":                  {do: (*call).finalizeExport},
	"GetServiceAccount":               {do: (*call).serviceAccount, admin: true},
	"GetWindowsCredentialsSyncConfig": {do: (*call).windowsCredentials},
	"GetKerberosDomainSyncConfig":     {do: (*call).kerberosSync},
	"GetKerberosDomain":               {do: none("GetKerberosDomainResult")},
	"GetDeviceConfiguration":          {do: (*call).deviceConfiguration},
	"GetMonitoringTenantCertificate":  {do: none("GetMonitoringTenantCertificateResult")},
	"Capabilities":                    {do: (*call).capabilities},
}

// ServeHTTP answers any request to the address, always in binary XML: agents
// decode whatever comes before they look at anything else.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		fail(w, r, "", http.StatusMethodNotAllowed, &fault{nbfx.Sender, 0, "A request is a POST."})
		return
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != nbfx.ContentType {
		fail(w, r, "", http.StatusUnsupportedMediaType, &fault{nbfx.Sender, 0, "A request is of the type " + nbfx.ContentType + "."})
		return
	}
	body, err := read(r)
	if err != nil {
		Failed(w, r, err)
		return
	}
	if len(body) > largeBody {
		defer h.large.Add(-1)
		if h.large.Add(1) > maxLarge {
			Failed(w, r, errBusy)
			return
		}
	}
	root, err := nbfx.Decode(body, nbfx.Defaults)
	if err != nil {
		Failed(w, r, err)
		return
	}
	envelope, err := nbfx.ParseEnvelope(root)
	if err != nil {
		Failed(w, r, err)
		return
	}
	reply, err := h.serve(r, &envelope)
	if err != nil {
		fail(w, r, envelope.MessageID, http.StatusInternalServerError, err)
		return
	}
	write(w, http.StatusOK, reply)
}

// read returns the body. The mounting server has bounded it.
func read(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err == nil && len(body) > MaxBody {
		return nil, &http.MaxBytesError{Limit: MaxBody}
	}
	return body, err
}

func (h *Handler) serve(r *http.Request, envelope *nbfx.Envelope) ([]byte, error) {
	// 1. Who is it? Nothing about the operation is told before.
	caller, err := h.Authenticate(r, strings.TrimSpace(envelope.SyncToken.Child(nbfx.NSChange, "BearerToken").Text()))
	if err != nil || !caller.ForSyncService() {
		return nil, errDenied
	}

	// 2. What is asked, and may the caller? WCF goes by the action; one that says
	// another than the body would be two requests to two readers.
	name, ok := strings.CutPrefix(envelope.Action, actions)
	op, known := operations[name]
	switch {
	case !ok || !known:
		return nil, &fault{nbfx.Sender, 0, "The action is none of this service's."}
	case !envelope.Body.Is(nbfx.NSChange, name):
		return nil, &fault{nbfx.Sender, 0, "The body is not that of the action."}
	case !allowed(caller, op.admin):
		return nil, errDenied
	}
	c := &call{h, r, envelope.Body, origin(r, caller, envelope.SyncToken)}
	c.log("sync request", slog.String("operation", name), slog.String("by", c.from.Name))
	if c.from.Retired() {
		return nil, errRetired
	}

	// 3. Do it.
	content, err := op.do(c)
	if err != nil {
		return nil, err
	}
	return nbfx.Reply(actions+name+"Response", envelope.MessageID, func(w *nbfx.Writer) {
		w.Start("", name+"Response")
		w.Xmlns("", nbfx.NSChange)
		if content != nil {
			content(w)
		}
		w.End()
	})
}

// allowed says who may use the surface: a registered agent, an account of an
// agent, an administrator. A user's token has to be for all that the user may do.
func allowed(c *problem.Caller, adminOnly bool) bool {
	admin := c.Administers() && c.HasScope()
	return admin || !adminOnly && (c.HasRole(tenant.RoleSync) || !c.IsApp && slices.Contains(c.Directory, tenant.RoleDirectorySync) && c.HasScope())
}

func origin(r *http.Request, caller *problem.Caller, token *nbfx.Element) tenant.Origin {
	o := problem.OriginOf(r, caller, token.Child(nbfx.NSChange, "DirSyncBuildNumber").Text())
	// The tracking id is what the agent's own event log names.
	if id, err := tenant.ParseID(token.Child(nbfx.NSChange, "TrackingId").Text()); err == nil {
		o.Request = id
	}
	return o
}

// log writes a line that joins our id of the request with the agent's.
func (c *call) log(what string, attrs ...slog.Attr) {
	req := problem.From(c.r.Context())
	attrs = append(attrs, slog.String("request", req.ID), slog.String("tracking", c.from.Request.String()))
	req.Log.LogAttrs(c.r.Context(), slog.LevelDebug, what, attrs...)
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", nbfx.ContentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may have gone; the access log says so
}

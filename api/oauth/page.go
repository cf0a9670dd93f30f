package oauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed" // pages
	"encoding/base64"
	"encoding/hex"
	"errors"
	"html/template"
	"io"
	"net/http"
	"strconv"
	"strings"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

//go:embed pages/device.html
var deviceHTML string

//go:embed pages/style.css
var styleCSS []byte

var devicePage = template.Must(template.New("device").Parse(deviceHTML))

// StylePath names the style sheet after its content, so that browsers may keep it
// forever.
var StylePath = func() string {
	sum := sha256.Sum256(styleCSS)
	return "/devicelogin/" + hex.EncodeToString(sum[:8]) + ".css"
}()

// Style is the style sheet of the pages.
func Style(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/css; charset=utf-8")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(styleCSS)
}

// canaryCookie holds what each form has to repeat. The prefix keeps a neighbouring
// host from setting it (RFC 6265bis §4.1.3.2).
const canaryCookie = "__Host-canary"

// sameOrigin refuses what the browser itself says comes from elsewhere.
var sameOrigin = http.NewCrossOriginProtection()

// page is what the template shows.
type page struct {
	Step, Title, Error string
	Tenant, Style      string
	Canary             string
	UserCode, Name     string
	Client             string
	Request, Date      string
	status             int
}

// The steps, and so the forms: code, name, password, then done or declined.
var (
	codePage     = page{Step: "code", Title: "Enter the code", status: http.StatusOK}
	namePage     = page{Step: "name", Title: "Sign in", status: http.StatusOK}
	passwordPage = page{Step: "password", Title: "Enter your password", status: http.StatusOK}
	donePage     = page{Step: "done", Title: "Signed in", status: http.StatusOK}
	declinedPage = page{Step: "declined", Title: "Cancelled", status: http.StatusOK}
)

func (p page) wrong(text string) page {
	p.Error, p.status = text, http.StatusUnprocessableEntity
	return p
}

// stopped is a page that leads nowhere.
func stopped(status int, text string) page {
	return page{Step: "stopped", Title: "This did not work", Error: text, status: status}
}

// DevicePage is where a person enters the code that a device shows. Whoever has
// the names and ids of the real service's forms in a script finds them here.
func (h *Handler) DevicePage(w http.ResponseWriter, r *http.Request) { h.show(w, r, codePage) }

// DeviceForm takes each of the forms. All that a step knows stands in its form and
// is checked anew; no state is kept for a person who is not signed in.
func (h *Handler) DeviceForm(w http.ResponseWriter, r *http.Request) {
	p, err := h.deviceStep(r)
	if err != nil {
		PageFailed(w, r, err)
		return
	}
	h.show(w, r, p)
}

// deviceStep returns the page that follows on a form. An error is none of the
// person's.
func (h *Handler) deviceStep(r *http.Request) (page, error) {
	ctx := r.Context()

	// 1. Does it come from our own page? (A04: a foreign page must not sign a person
	// in or out of a device, as anyone.)
	if r.ParseForm() != nil {
		return stopped(http.StatusBadRequest, "The form could not be read."), nil
	}
	form := r.PostForm
	cookie, err := r.Cookie(canaryCookie)
	if sameOrigin.Check(r) != nil || err != nil || cookie.Value == "" ||
		subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(form.Get("canary"))) != 1 {
		return stopped(http.StatusForbidden, "The page has expired, your browser keeps no cookies, or the form came from another site."), nil
	}

	// 2. Is there a device with this code? Each look is a guess (RFC 8628 §5.1).
	if h.Limit.wait(source(r), "a user code", h.Now()) > 0 {
		return stopped(http.StatusTooManyRequests, "There were too many attempts. Wait a minute and try again."), nil
	}
	typed := clip(form.Get("otc"))
	d, err := h.Tenant.PendingDevice(ctx, typed)
	if errors.Is(err, tenant.ErrNotFound) {
		p := codePage.wrong("That code did not work. Compare it with the one on your device, or have the device show a new one.")
		p.UserCode = typed
		return p, nil
	}
	if err != nil {
		return page{}, err
	}
	client, err := h.clientName(ctx, d.Client)
	if err != nil {
		return page{}, err
	}
	name := strings.TrimSpace(clip(form.Get("loginfmt")))
	on := func(p page) (page, error) {
		p.UserCode, p.Client, p.Name = d.UserCode, client, name
		return p, nil
	}

	// 3. What does the person say?
	_, named := form["loginfmt"]
	_, passworded := form["passwd"]
	switch {
	case form.Get("action") == "cancel":
		if err := h.Tenant.DecideDevice(ctx, d, nil); err != nil && !errors.Is(err, tenant.ErrNotFound) {
			return page{}, err
		}
		return on(declinedPage)
	case !named:
		return on(namePage)
	case name == "":
		return on(namePage.wrong("Enter your user name."))
	case !passworded:
		return on(passwordPage)
	case form.Get("passwd") == "":
		return on(passwordPage.wrong("Enter your password."))
	}

	// 4. Is it that person?
	if h.Limit.wait(source(r), strings.ToLower(name), h.Now()) > 0 {
		return stopped(http.StatusTooManyRequests, "There were too many attempts. Wait a minute and try again."), nil
	}
	_, session, err := h.Tenant.SignIn(ctx, name, form.Get("passwd"))
	if refused := (*tenant.SignInError)(nil); errors.As(err, &refused) {
		return on(passwordPage.wrong(deviceText(refused.Code)))
	}
	if err != nil {
		return page{}, err
	}
	err = h.Tenant.DecideDevice(ctx, d, &session)
	if errors.Is(err, tenant.ErrNotFound) {
		return codePage.wrong("The code has expired in the meantime. Have the device show a new one."), nil
	}
	if err != nil {
		return page{}, err
	}
	return on(donePage)
}

// deviceText tells a person less than the token endpoint tells a program: which
// names exist is of no use to someone who mistyped.
func deviceText(code int) string {
	switch code {
	case tenant.CodeDisabled:
		return "Your account has been disabled. Ask your administrator."
	case tenant.CodeMustChangePassword:
		return "Your password has to be changed before you can sign in here."
	}
	return "Your user name or password is incorrect."
}

// clientNames are of clients that everybody may be. It is what the person is to
// recognize; the id is a claim of whoever asked, so it stands beside.
var clientNames = map[string]string{
	"04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Azure CLI",
	"1b730954-1685-4b74-9bfd-dac224a7b894": "Azure AD PowerShell",
	"14d82eec-204b-4c2f-b7e8-296a70dab67e": "Microsoft Graph PowerShell",
}

func (h *Handler) clientName(ctx context.Context, id tenant.ID) (string, error) {
	if name := clientNames[id.String()]; name != "" {
		return name + " (" + id.String() + ")", nil
	}
	app, err := h.Tenant.Store.App(ctx, id)
	switch {
	case err == nil:
		return app.DisplayName, nil
	case errors.Is(err, tenant.ErrNotFound):
		return "the application " + id.String(), nil
	}
	return "", err
}

// show answers a page. A browser that has no canary yet gets one.
func (h *Handler) show(w http.ResponseWriter, r *http.Request, p page) {
	p.Tenant = h.Issuer.Domain
	if cookie, err := r.Cookie(canaryCookie); err == nil && len(cookie.Value) == canarySize {
		p.Canary = cookie.Value
	} else {
		var b [32]byte
		if _, err := io.ReadFull(h.Rand, b[:]); err != nil {
			PageFailed(w, r, err)
			return
		}
		p.Canary = base64.RawURLEncoding.EncodeToString(b[:])
		http.SetCookie(w, &http.Cookie{Name: canaryCookie, Value: p.Canary, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	}
	writePage(w, r, p)
}

const canarySize = 43 // 32 bytes in base64

// PageFailed answers an error of ours, or of a body that could not be read.
func PageFailed(w http.ResponseWriter, r *http.Request, err error) {
	known := problem.Of(err)
	problem.Log(r, known.Status, err)
	p := stopped(known.Status, "Something went wrong here. Please try again.")
	if known.Status < 500 {
		p.Error = known.Message
	}
	if known.RetryAfter > 0 {
		w.Header().Set("Retry-After", problem.RetryAfter(known.RetryAfter))
	}
	writePage(w, r, p)
}

func writePage(w http.ResponseWriter, r *http.Request, p page) {
	req := problem.From(r.Context())
	p.Style, p.Request, p.Date = StylePath, req.ID, req.Date.UTC().Format("2006-01-02 15:04:05Z")
	var b bytes.Buffer
	if err := devicePage.Execute(&b, p); err != nil {
		panic(err) // our own template with our own type
	}
	noStore(w)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin") // no-referrer makes browsers send Origin: null with the form
	w.WriteHeader(p.status)
	_, _ = w.Write(b.Bytes())
}

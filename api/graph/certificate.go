package graph

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"skyrealm/api/problem"
	"skyrealm/tenant"
)

// CertificateOrder is what a certificate that signs a user in is to be.
type CertificateOrder struct {
	Request []byte // PKCS #10; of it only the key counts
	SID     string // of the user in the managed domain; "" where nobody says
	Life    time.Duration
}

// What is wrong with an order.
var (
	ErrCertificateRequest = errors.New("graph: certificateRequest is no PKCS #10 request with an RSA or ECDSA key")
	ErrSecurityIdentifier = errors.New("graph: securityIdentifier is none")
)

// Life of a certificate. Nothing revokes one but the end of the account, so the
// default is short for what it is.
const (
	defaultCertificateDays = 90
	maxCertificateDays     = 397
)

// Certificate is POST /users/{key}/certificates, which Graph has not: a
// certificate that signs the user in to the managed domain in the place of the
// password. It is for administrators in person; an app that could have it would
// be everybody.
func (h *Handler) Certificate(w http.ResponseWriter, r *http.Request) {
	caller := problem.CallerOf(r.Context())
	if caller.IsApp || !caller.Administers() || !caller.HasScope(writeUsers...) {
		problem.Write(w, r, problem.Forbidden())
		return
	}
	if h.Certify == nil {
		problem.Write(w, r, &problem.Error{Status: http.StatusNotImplemented, Code: "NotImplemented",
			Message: "The key of the sign-in CA is not here, so no certificates are issued."})
		return
	}
	var body struct {
		Request []byte `json:"certificateRequest"`
		SID     string `json:"securityIdentifier"`
		Days    *int   `json:"days"`
	}
	if err := decode(w, r, &body); err != nil {
		problem.Write(w, r, err)
		return
	}
	days := defaultCertificateDays
	if body.Days != nil {
		days = *body.Days
	}
	if days < 1 || days > maxCertificateDays {
		problem.Write(w, r, problem.BadRequest("The value of property 'days' has to be from 1 to 397."))
		return
	}
	name := key(r)
	user, err := h.Tenant.User(r.Context(), name)
	if err != nil {
		problem.Write(w, r, named(err, name))
		return
	}
	cert, err := h.Certify(&user, CertificateOrder{Request: body.Request, SID: body.SID, Life: time.Duration(days) * 24 * time.Hour})
	if errors.Is(err, ErrCertificateRequest) || errors.Is(err, ErrSecurityIdentifier) {
		err = problem.BadRequest(err.Error())
	}
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	// Who has it is the user until it ends: this must be seen.
	h.Log.InfoContext(r.Context(), "certificate issued", slog.String("user", user.UPN), slog.String("id", user.ID.String()),
		slog.String("serial", cert.SerialNumber.Text(16)), slog.Time("until", cert.NotAfter), slog.String("by", caller.ID.String()))
	w.Header().Set("Cache-Control", "no-store")
	problem.JSON(w, http.StatusCreated, map[string]any{"certificate": cert.Raw, "serialNumber": cert.SerialNumber.Text(16),
		"notBefore": date(cert.NotBefore), "notAfter": date(cert.NotAfter)})
}

// Certify issues what [Handler.Certificate] is asked for.
type Certify func(user *tenant.Object, order CertificateOrder) (*x509.Certificate, error)

package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"skyrealm/api/problem"
)

// Refusals of [Server.KDCProxy].
var (
	ErrProxyMessage = errors.New("api: no Kerberos message")
	ErrProxyRealm   = errors.New("api: not the realm that is served here")
)

// Limits of /KdcProxy (trust.md P08).
const (
	maxProxy  = 128 << 10
	proxyTime = 10 * time.Second // for a message, however slowly it comes
)

// kdcProxy is Kerberos over HTTPS ([MS-KKDCP]) for clients that reach no other
// port. Nobody is authenticated here: the messages do that.
func (e *edge) kdcProxy(w http.ResponseWriter, r *http.Request) {
	if e.KDCProxy == nil {
		problem.Write(w, r, &problem.Error{Status: http.StatusServiceUnavailable, Code: "DomainNotHere",
			Message: "This process does not serve the managed domain."})
		return
	}
	// A recorder of tests has no deadline to set.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(proxyTime))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if !errors.As(err, &tooLarge) {
			err = problem.BadRequest("The message did not arrive whole.")
		}
		problem.Write(w, r, err)
		return
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // for the log; the zero one where there is none
	reply, err := e.KDCProxy(r.Context(), body, from)
	switch {
	case errors.Is(err, ErrProxyMessage):
		err = problem.BadRequest("The body is no KDC-PROXY-MESSAGE with a Kerberos request.")
	case errors.Is(err, ErrProxyRealm):
		err = &problem.Error{Status: http.StatusNotFound, Code: "RealmNotHere", Message: "This server is the proxy of its own realm alone."}
	}
	if err != nil {
		problem.Write(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/kerberos")
	h.Set("Cache-Control", "no-store")
	problem.Bytes(w, http.StatusOK, reply)
}

// KDCProxy answers one KDC-PROXY-MESSAGE; from is the client, for the log.
type KDCProxy func(ctx context.Context, message []byte, from netip.AddrPort) (reply []byte, err error)

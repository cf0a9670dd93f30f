package provisioning

import (
	"context"
	"errors"
	"net/http"

	"skyrealm/api/problem"
	"skyrealm/nbfx"
	"skyrealm/tenant"
)

// fault is a refusal of a request as a whole. Its number is the service's own
// where one is known (§A8 of the wire reference), else 0; its text is what agents
// match.
type fault struct {
	code   string // whose fault it is: nbfx.Sender, …
	number int
	text   string
}

func (f *fault) Error() string { return f.text }

// The numbers that are known.
const (
	numberBusy         = 81
	numberPasswordsOff = 90
)

var (
	errDenied  = &fault{nbfx.Sender, 0, "Access to Azure Active Directory has been denied. Contact Technical Support."}
	errBusy    = &fault{nbfx.Receiver, numberBusy, "Windows Azure Active Directory is currently busy. This operation will be retried automatically."}
	errRetired = &fault{nbfx.Sender, 0, "This version of the synchronization client is no longer supported. Install build " + tenant.OldestBuild + " or later."}
)

// faultOf maps an error to what the agent is told. It is the only such place.
func faultOf(err error) *fault {
	var (
		known   *fault
		tooBig  *http.MaxBytesError
		invalid *tenant.InvalidError
	)
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &tooBig), errors.Is(err, nbfx.ErrLimit):
		return &fault{nbfx.Sender, 0, "The request is too large, or too deep."}
	case errors.Is(err, nbfx.ErrNotUnderstood):
		return &fault{nbfx.MustUnderstand, 0, "A header that has to be understood is not."}
	case errors.Is(err, nbfx.ErrMalformed), errors.Is(err, nbfx.ErrDictionary), errors.Is(err, nbfx.ErrNamespace), errors.Is(err, nbfx.ErrEnvelope):
		return &fault{nbfx.Sender, 0, "The request is no SOAP 1.2 envelope in .NET binary XML."}

	case errors.Is(err, tenant.ErrDirSyncOff):
		return &fault{nbfx.Sender, 0, "Identity synchronization is not yet activated for this company."}
	case errors.Is(err, tenant.ErrPasswordSyncOff):
		return &fault{nbfx.Sender, numberPasswordsOff, "Password Synchronization has not been activated for this company."}
	case errors.Is(err, tenant.ErrBatchTooLarge):
		return &fault{nbfx.Sender, 0, "The request holds too many items."}
	case errors.Is(err, tenant.ErrWriteback):
		return &fault{nbfx.Sender, 0, "The feature PasswordWriteBack can't be changed here."}
	case errors.Is(err, tenant.ErrNotServiceAccount):
		return &fault{nbfx.Sender, 0, "There is another account of this name."}
	case errors.As(err, &invalid):
		return &fault{nbfx.Sender, 0, "The value of " + invalid.Property + " is invalid: " + invalid.Message + "."}

	case errors.Is(err, tenant.ErrUnavailable), errors.Is(err, tenant.ErrNoTenant), errors.Is(err, tenant.ErrConflict),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errBusy
	}
	return &fault{nbfx.Receiver, 0, "An error occurred on the server. The log has it under the request's id."}
}

// Failed answers an error that came before there was a message to answer.
func Failed(w http.ResponseWriter, r *http.Request, err error) {
	fail(w, r, "", http.StatusInternalServerError, err)
}

// fail answers a fault. A fault of a request that was read has the status 500
// whoever is to blame: agents take a body of no other but 200.
func fail(w http.ResponseWriter, r *http.Request, relatesTo string, status int, err error) {
	f := faultOf(err)
	if f.code == nbfx.Receiver {
		problem.Log(r, http.StatusInternalServerError, err)
	}
	id := problem.From(r.Context()).Correlation()
	body, err := nbfx.Fault(relatesTo, f.code, f.text, func(w *nbfx.Writer) {
		w.Start("", "AdminWebServiceFault")
		w.Xmlns("", nsCredentials)
		if f.number != 0 {
			leafInt(w, "", "ErrorCode", f.number)
		}
		w.Leaf("", "ErrorDescription", f.text)
		w.Leaf("", "TrackingId", id)
		w.End()
	})
	if err != nil { // our own texts can always be written
		panic(err)
	}
	write(w, status, body)
}

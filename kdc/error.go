package kdc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"skyrealm/krb5"
)

// refusal is why a request gets no ticket: what the client is told, and what
// only the log is told.
type refusal struct {
	code krb5.ErrorCode
	why  string
	// The e-data is either METHOD-DATA, which FAST carries in its own way, or
	// bytes that the code gives their meaning.
	methods krb5.MethodData
	data    []byte
	crealm  string // where the client belongs, with ErrWrongRealm
}

func (r *refusal) Error() string { return fmt.Sprintf("kdc: %v: %s", r.code, r.why) }

func (r *refusal) Unwrap() error { return r.code }

func refuse(code krb5.ErrorCode, why string) error { return &refusal{code: code, why: why} }

// refuseStatus is refuse with the NTSTATUS that AD's clients read.
func refuseStatus(code krb5.ErrorCode, status krb5.ExtError, why string) error {
	return &refusal{code: code, why: why, data: krb5.Encode(status)}
}

// refuse is the one place where an error becomes a KRB-ERROR. What it does not
// know becomes KRB_ERR_GENERIC without a word, and stays in the log.
func (x *exchange) refuse(ctx context.Context, err error) []byte {
	var known *refusal
	code, why := krb5.ErrGeneric, ""
	var data []byte
	var methods krb5.MethodData
	level := slog.LevelInfo
	switch {
	case errors.As(err, &known):
		code, why, data = known.code, known.why, known.data
		if methods = known.methods; len(methods) > 0 && x.fast == nil {
			data = x.aside(&methods)
		}
	case errors.As(err, &code):
	default:
		level, why = slog.LevelError, err.Error()
	}
	if code == krb5.ErrPreauthRequired || code == krb5.ErrMorePreauthRequired || code == krb5.ErrResponseTooBig {
		level = slog.LevelDebug // every sign-in begins so
	}
	x.k.Count.refused[code].Add(1)
	x.audit(code)
	if x.k.Log.Enabled(ctx, level) {
		x.k.Log.LogAttrs(ctx, level, "kdc: request refused",
			slog.String("code", code.String()),
			slog.String("why", x.truth(why)),
			slog.String("exchange", x.kind()),
			slog.String("client", shown(x.clientName())),
			slog.String("service", shown(x.req.SName.String())),
			slog.String("from", x.from.String()))
	}

	// The names of RFC 4120 §5.9.1: those of the service, always there.
	e := krb5.Error{STime: x.now, Code: code, Realm: x.k.realm, SName: x.req.SName, EData: data}
	if known != nil && known.crealm != "" {
		e.CRealm, e.CName = known.crealm, x.req.CName
	}
	if e.SName.IsZero() {
		e.SName = x.k.tgs
	}
	if x.fast != nil && code != krb5.ErrResponseTooBig { // that one is for the transport
		e.EData = nil // no NTSTATUS either: AD says none inside FAST
		if data, err := x.armorError(&e, methods); err == nil {
			e.EData = data
		}
	}
	x.out.Reset(x.outRoom[:])
	e.Marshal(&x.out)
	return bytes.Clone(x.out.Bytes())
}

func (x *exchange) kind() string {
	if x.req.MsgType == krb5.MsgASReq {
		return "AS"
	}
	return "TGS"
}

func (x *exchange) clientName() string {
	if !x.cname.IsZero() {
		return x.cname.String()
	}
	return x.req.CName.String()
}

// shown cuts what a stranger may have filled with 4 kB.
func shown(name string) string {
	const most = 256
	if len(name) > most {
		return name[:most] + "…"
	}
	return name
}

// fieldTooLong answers a length on TCP that is none (RFC 4120 §7.2.2).
func (k *KDC) fieldTooLong() []byte {
	k.once.Do(k.init)
	k.Count.refused[krb5.ErrFieldTooLong].Add(1)
	return krb5.Encode(&krb5.Error{STime: k.Now().UTC(), Code: krb5.ErrFieldTooLong, Realm: k.realm, SName: k.tgs})
}
